"""What `rtbench report` prints, of one run and of several side by side: at most so many columns, colour where wanted.

Of several runs nothing is pooled, and nothing compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.untrusted.sanitize import escape_control
from reports.numbers import NBSP, NONE, count, moment, shortened, three
from reports.render.blocks import MARKS, Cell, Paragraph, Row, make_row
from reports.render.terminal import Badges, Command, Grid, Named, Part, render_lines
from reports.summary.figures import ALL
from reports.summary.summary import Summary
from reports.wording import groups, remarks, settings, words
from reports.wording.notices import decided, notices
from reports.wording.sentences import longer_runs, next_step, run_beside, run_headline, run_second
from reports.wording.validity import remedy_line, trust

NAME_LEAST, NAME_MOST = 9, 14
"""Letters of a label beside its figures."""
MARK = 2
"""Letters of a target's mark."""


HEADS = ("", "turns", "p50 (95 %)", "p50", "p95 (95 %)", "p95", "p99", "max", "failed", "failed")
NAME, TURNS, P50_WIDE, P50, P95_WIDE, P95, P99, HIGH, FAILED, SHARE = range(len(HEADS))
LAYOUTS = (
    (NAME, TURNS, P50_WIDE, P95_WIDE, P99, HIGH, FAILED),
    (NAME, TURNS, P50_WIDE, P95_WIDE, P99, HIGH, SHARE),
    (NAME, TURNS, P50_WIDE, P95_WIDE, P99, SHARE),
    (NAME, TURNS, P50_WIDE, P95_WIDE, SHARE),
    (NAME, P50_WIDE, P95_WIDE, SHARE),
    (P50_WIDE, P95_WIDE, SHARE),
    (NAME, P50_WIDE, P95, SHARE),
    (NAME, P50, P95, SHARE),
    (NAME, P50, SHARE),
)
"""From the widest to the narrowest. What failed stays, for no figure may be read without it."""


def answers_grid(summary: Summary) -> Grid:
    """The rows of the page's table: measures under what they count from, or targets under their metric."""
    rows, alone, above = [make_row(list(HEADS), "soft")], len(summary.targets) == 1, ""
    for group in words.tables(summary):
        head = f"from {group.measured_from}, ms" if alone else f"{group.about}, ms"
        if head != above:
            named = f"{summary.targets[0]}, " if alone and not above else ""
            rows.append(make_row([Cell(f"{named}{head}", style="soft")]))
        above = head
        for answer in group.rows:
            name = " · ".join(filter(None, [group.metric if alone else answer.target, group.apart(answer)]))
            target = summary.targets.index(answer.target)
            several = len(summary.targets) > 1
            first = Cell(name.ljust(NAME_LEAST), target=target if several else None, marked=several)
            p50, p95, p99 = (words.cell(answer.figures, p).figure for p in (0.5, 0.95, 0.99))
            failures = words.failures(answer)
            asides = [words.aside(answer.figures.at(p), answer.figures.n) for p in (0.5, 0.95)]
            wide = [f"{figure} {aside}".rstrip() for figure, aside in zip((p50, p95), asides, strict=True)]
            figures = (count(answer.turns), wide[0], p50, wide[1], p95, p99)
            more = three(answer.figures.high), "  ".join(reversed(failures)), failures.figure
            rows.append(Row((first, *map(Cell, (*figures, *more)))))
    return Grid(rows, (NAME,), LAYOUTS, indent="  ", most=MARK + NAME_MOST)


WIDE_HEADS = {"p50": "p50 (95 %)", "p95": "p95 (95 %)"}
GROUP_LAYOUTS = ((0, 2, 3, 4, 5, 6, 7), (0, 2, 4, 5, 6, 7), (0, 2, 4, 5, 6), (0, 4, 5, 6), (0, 5, 6))


def waits_parts(summary: Summary, by: str) -> Iterable[Part]:
    """Groups of turns in rows under the pool that they are of; nothing where the key says nothing of the run."""
    pools = [waits for of in summary.waits_by(by) for waits in of]
    rows: list[Row] = []
    for place, one in enumerate(pools):
        table = groups.waits_table([one], summary.targets)
        rows += (
            []
            if place
            else [make_row([WIDE_HEADS.get(str(column.head), column.head) for column in table.columns], "soft")]
        )
        named = [one.target] if len(summary.targets) > 1 else []
        rows.append(make_row([Cell(", ".join([groups.waits_caption(one), *named, "ms"]), style="soft")]))
        rows += [Row(tuple(groups.brief_cells(one, group))) for group in one.groups]
    if pools:
        width = len(rows[0].cells)
        yield Grid(rows, (0,), [[at for at in layout if at < width] for layout in GROUP_LAYOUTS], indent="  ")
        if said := groups.unplaced_words(pools):
            yield Paragraph(said)


INTERRUPTED = ("barge_in_yield", "unplayed_audio")
CALLED = ("function_call_done", "function_execution", "function_answer_ttfa")
QUOTED = 3
REMEDIES = 2
SHOWN = 4
INCIDENTS = 3
INCIDENT_LINES = 2


def report_text(summary: Summary, width: int = 100, colour: bool = False) -> str:
    """The summary as text, some twenty lines."""
    table = [answers_grid(summary)] if sum(summary.outcomes.begun) else []
    compared = dict.fromkeys(waits.by for waits in summary.waits if waits.compared)
    by_key = (waits_parts(summary, key) for key in compared)
    return render_lines((_opening(summary), table, *by_key, _closing(summary)), width, colour)


def _opening(summary: Summary) -> Iterable[Part]:
    verdict = summary.validity
    run = f"{summary.called}  {moment(summary.window.started_utc_ns)}  {words.lasted(summary)}"
    yield Badges([*zip(words.run_badges(summary), (MARKS[verdict.word].ink, "sim"), strict=False)], run, last=True)
    yield Paragraph(run_headline(summary), "bold")
    yield Named("machine", [remarks.machine(summary)])
    for check, remedy in words.with_remedies(verdict.failed):
        yield Paragraph(f"{words.check_line(check)} {words.check_details(check)}", "bad")
        yield Paragraph(f"What to do: {remedy}" if remedy else "")
    yield Paragraph(" ".join(filter(None, (decided(summary.run), run_beside(summary), run_second(summary)))))


def _closing(summary: Summary) -> Iterable[Part]:
    yield Named("calls", remarks.lines(summary))
    yield Named("throughput", remarks.throughput(summary))
    interleaved = [remarks.interleaved(summary.interleaving).rstrip(".")] if summary.interleaving else []
    yield Named("targets", [*interleaved, *remarks.against(summary)])
    alone = len(summary.targets) == 1
    told = [row for row in summary.breakdowns if row.step == ALL and alone and len(row.segments) > 1]
    for row in told[:SHOWN]:
        yield Named("breakdown", [words.breakdown(row, summary)])
    yield Named("interrupted", words.medians(summary, INTERRUPTED))
    yield Named("functions", words.medians(summary, CALLED))
    yield Named("drift", [remarks.drift_suspected(summary.drifts)])
    yield Named("slope", words.slope_lines(summary))
    named = len(summary.targets) > 1
    faults = [(counts.target, fault) for counts in summary.counts[:SHOWN] for fault in words.detection(counts)]
    yield Named("detection", [f"{target}: {fault}" if named else fault for target, fault in faults])
    yield Named("rates", words.rate_lines(summary))
    endings = [f"{ending.outcome} {count(sum(ending.counts))}" for ending in summary.outcomes.turns]
    shown = endings if len(endings) <= 5 else [*endings[:4], f"{len(endings) - 4} others"]
    lost = sum(summary.outcomes.lost)
    yield Named("outcomes", shown + ([f"not started {count(lost)}"] if lost else []))
    for ending in summary.outcomes.quoted()[:QUOTED]:
        yield Named("service says", [f"{ending.outcome}: {ending.said}"])
    for remedy in summary.outcomes.remedies()[:REMEDIES]:
        yield Named("what to do", [remedy_line(remedy)])
    yield Named("rate limits", [remarks.limits_in_all(summary.quota)])
    for incident in remarks.incident_lines(summary, INCIDENTS):
        yield Named("incident", [incident], most=INCIDENT_LINES)
    yield Named("cost", remarks.cost(summary.money, simulated=summary.simulated))
    checks = [words.check_in_words(check) for check in summary.validity.checks if check.value is not None]
    handled = [
        f"{words.RECEIVE_DELAY.format(f'{three(row.p99)}{NBSP}ms')} (p99)"
        for row in summary.harness
        if row.metric == "receive_delay"
    ]
    yield Named("load generator", checks + handled + trust(summary.run))
    infinite = [words.INFINITE_NOTE] if _has_infinite(summary) else []
    for notice in (*infinite, *notices(summary), settings.chunks(summary.setup)):
        yield Named("note", [notice])
    yield Named("next step", [next_step(summary, commands=False).replace("`", "")])
    for run in longer_runs(summary):
        if run.command:
            yield Named("", [f"For {run.figure}:"])
            yield Command(run.command)


def _has_infinite(summary: Summary) -> bool:
    """Return whether a quantile of the first table lies among the failed turns."""
    rows = [answer.figures for group in words.tables(summary) for answer in group.rows]
    return any(figures.at(p).status == "in_failures" for figures in rows for p in (0.5, 0.95, 0.99))


RUN_HEADS = ("run", "target", "turns", "p50", "p95", "p99", "failed", "valid")
RUN_LEFT = (0, 1, 7)
"""Columns of text."""
RUN_LEAST, TARGET_MOST = 12, 24
WARNING = "Each row is a separate run: `rtbench compare` tests whether their differences are more than chance."


@dataclass(frozen=True)
class RunRow:
    """The cells of one target of one run; `head` says what it counts, rows of one head stand together."""

    head: str
    cells: tuple[str, ...]


def rows_of(summary: Summary) -> list[RunRow]:
    """The rows of one run; of a run without turns one that says so."""
    run, valid = escape_control(summary.run.folder.resolve().name), " ".join(words.run_badges(summary))
    if not sum(summary.outcomes.begun):
        return [RunRow("no turns", (run, NONE, "0", *("n/a",) * 3, "n/a", valid))]
    return [
        RunRow(
            f"{words.named(answer.figures)}, ms",
            (
                *(run, shortened(answer.target, TARGET_MOST), count(answer.turns)),
                *(words.cell(answer.figures, p).figure for p in (0.5, 0.95, 0.99)),
                *(words.failures(answer).figure, valid),
            ),
        )
        for group in words.tables(summary)
        for answer in group.rows
    ]


def several(rows: Sequence[RunRow], pages: Sequence[Path], width: int = 100) -> str:
    """The table, and where each run's own report was written; lines of at most so many columns, paths apart."""
    heads = dict.fromkeys(row.head for row in rows)
    tables = []
    for head in heads:
        shown = [make_row(list(cells)) for cells in (RUN_HEADS, *(row.cells for row in rows if row.head == head))]
        # what is too wide loses letters of the runs' names, from their beginning: the scenario is at their end
        tables.append((Paragraph(head), Grid(shown, RUN_LEFT, least=RUN_LEAST)))
    return "\n".join((render_lines(tables, width), WARNING, *map(str, pages), ""))
