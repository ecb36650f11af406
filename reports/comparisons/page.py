"""compare.html: a comparison as a page of blocks; verdicts are taken, never made here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.blocks import (
    Beside,
    Block,
    Cell,
    Code,
    Column,
    Definitions,
    Figure,
    Fold,
    Head,
    Heading,
    Inline,
    Judged,
    Paragraph,
    Row,
    Section,
    Table,
    Term,
    row_of,
    table,
)
from reports.comparisons import curves, forest, page_head, path, sentences
from reports.comparisons.comparison import Comparison, Design
from reports.comparisons.forest_rows import ForestPanel, ForestRow, definition, panels, with_unit
from reports.comparisons.shift import BEYOND, Shift
from reports.looks.decision import Decision
from reports.numbers import NBSP, count, listed, percent, plural, three
from reports.page.charts import percentiles
from reports.page.html import MEASURED_AGAINST, Page, poured
from reports.page.pieces import drawing, figure, note
from reports.page.svg import HALF
from reports.question import Question
from reports.sides.fairness import Check
from reports.wording.words import since

VERDICTS = {
    "regressed": "The whole interval lies beyond the margin, on the bad side.",
    "not regressed": "The interval ends before the margin: it did not get worse by more than is accepted.",
    "equivalent": "Both ends of the interval lie within the margin, on the bad side and on the good one.",
    "improved": "The whole interval lies beyond the margin, on the good side.",
    "inconclusive": "None of these: the interval contains the margin, or there are too few turns. That is no pass.",
}
WORDS = {
    "margin": "How much worse is still accepted. It is agreed before the run: a share of the baseline’s figure, "
    "for rates percentage points.",
    "provisional": "The spread from run to run was assumed, not known, because too few runs of the baseline are "
    "stored; or an arm drifts by itself, and the run is too short to know how far.",
    "Holm": "Several gated figures are several chances of a false alarm. For “regressed” the surest one must hold at "
    "the level divided by their number, the next at the level divided by one less, and so on.",
    "failed turns": "Counted as endlessly slow in every percentile of a wait. "
    "Turns cut by the end of the run are left out, and counted.",
}
RESAMPLED: dict[Design, str] = {
    "pairs": "pairs of sessions that began together, one of each arm, are resampled together",
    "sessions": "whole sessions are resampled, in each arm by itself",
}
UNITS: dict[Design, str] = {"pairs": "pairs", "sessions": "sessions"}


def definitions(comparison: Comparison) -> dict[str, str]:
    """Of the figures, the verdicts and the method, in this order."""
    method = comparison.method
    measures = dict.fromkeys(finding.question.measure for finding in comparison.findings)
    two, one = (f"{three(100 * (1 - k * method.level))}{NBSP}%" for k in (2, 1))
    said = {name: definition(name) for name in measures if definition(name)}
    interval = (
        f"{two}, so that each end alone is a bound at {one}. {RESAMPLED[method.design].capitalize()}; quantiles and "
        "means are compared by the log of their ratio, shown as a percentage, and rates by their difference."
    )
    spread = {}
    if method.run_sd:
        assumed = f"{three(100 * method.run_sd)}{NBSP}%"
        spread = {"run-to-run spread": f"{assumed} of spread between runs of one unchanged service was added."}
    return said | VERDICTS | {"interval": interval} | WORDS | spread


def method(comparison: Comparison) -> str:
    """Seed 7, 10,000 resamples of pairs, level 5 % one-sided, Holm over 3 gated figures."""
    method = comparison.method
    parts = [
        f"Seed {method.seed}",
        f"{count(method.draws)} resamples of {UNITS[method.design]} ({count(method.unit)})",
        f"level {three(100 * method.level)}{NBSP}% one-sided",
        f"Holm over {plural(method.holm, 'gated figure')}",
    ]
    versions = {str(side.run.document.get("definitions") or "") for side in comparison.sides} - {""}
    defined = f" Definitions of measures: version {listed(sorted(versions))}." if versions else ""
    return f"{', '.join(parts)}.{defined}"


TURNS_OF = (
    "Turns, sessions, failed turns (those that never began among them), and the share of what was wanted that has the "
    "figure: of the baseline / of the candidate."
)
BOUNDS = "Bars: the bounds that decide at each look, in colour the one that decided. Dashed: the margin."


def html(comparison: Comparison) -> str:
    """The page: one file that needs nothing else."""
    return poured(page_of(comparison))


def page_of(comparison: Comparison) -> Page:
    """What the page says: the verdict, the bars behind it, the looks, the percentiles, and whether all was fair."""
    defined = definitions(comparison)
    sections = (
        _answer(comparison),
        _looks(comparison.decision),
        _percentiles(comparison),
        _fair(comparison),
        Section("how", "", "Definitions and method", [Definitions(list(defined.items()))]),
    )
    badges = list(page_head.badges(comparison))
    files: Inline = ("The same verdicts are in ", Code("compare.json"), f". {method(comparison)} All times UTC.")
    return Page(
        title=page_head.title(comparison, badges),
        badges=badges,
        headline=page_head.headline(comparison),
        lead=page_head.lead(comparison),
        sections=list(filter(None, sections)),
        definitions=defined,
        footer=(MEASURED_AGAINST if comparison.simulated else "", files),
        struck=bool(comparison.unfair),
    )


def _answer(comparison: Comparison) -> Section:
    """The forest plots, how to read them, and their numbers."""
    drawn = panels(comparison)
    rows = [row for panel in drawn for row in panel.rows]
    blocks: list[Block] = [block for place, panel in enumerate(drawn) for block in _panel(panel, first=place == 0)]
    blocks += [Paragraph(f"Worst step: {step}.", "note") for step in sentences.worst_steps(comparison)]
    figures = dict.fromkeys(row.finding.question.measure for row in rows)
    blocks += note(("What they are: ", _terms(figures), ". What the words mean: ", _terms(_named(rows)), "."))
    blocks.append(Fold("The numbers", [_numbers(comparison, rows), *note(TURNS_OF)]))
    nothing = Paragraph("There is no figure that both arms have.")
    shown = Figure("", forest.reading(drawn), below=blocks) if drawn else nothing
    return Section("answer", "", "What changed, and by how much?", [shown])


def _panel(panel: ForestPanel, *, first: bool) -> Iterable[Block]:
    """Named, unless it is the only one or the first of waits."""
    if not first or panel.axis != "lower":
        yield Heading(panel.title)
    yield drawing(forest.forest(panel))


def _terms(names: Iterable[str]) -> Inline:
    """Words with their definitions, a dot between two."""
    return tuple(part for name in names for part in (" · ", Term(name)))[1:]


def _named(rows: Sequence[ForestRow]) -> Iterable[str]:
    """The words of these rows that have a definition."""
    yield from (word for word in VERDICTS if any(row.word == word for row in rows))
    yield from ("margin", "interval")
    if any(row.after_holm for row in rows):
        yield "Holm"
    if any(row.finding.verdict.provisional for row in rows):
        yield "provisional"


def _numbers(comparison: Comparison, rows: Sequence[ForestRow]) -> Table:
    several = len(comparison.sides) > 2
    verdict, interval = Column("verdict", left=True), f"{_interval(comparison)} interval"
    heads: list[Head] = ["figure", *([Column("candidate", left=True)] if several else [])]
    heads += [
        "baseline",
        "candidate",
        "difference",
        interval,
        "margin",
        verdict,
        "turns",
        "sessions",
        "failed",
        "reached",
    ]
    return table(heads, [_row(row, several=several) for row in rows])


def _row(row: ForestRow, *, several: bool) -> Row:
    """A line of the table of numbers."""
    finding, measure = row.finding, row.finding.question.measure
    rest = row.name.removeprefix(measure) if row.name.startswith(measure) else ""
    figures = [*(with_unit(value, row.unit) for value in row.values), row.change, row.interval]
    counts = [" / ".join(map(count, numbers)) for numbers in (finding.turns, finding.sessions, finding.failed)]
    counts.append(" / ".join(percent(share, 1) for share in finding.reached))
    return row_of(
        [
            Cell((Term(measure), rest), row.beside),
            *([Cell(row.candidate, target=row.colour)] if several else []),
            *(Cell(text, style="fig nowrap") for text in figures),
            Cell(row.margin_text, style="nowrap"),
            Cell(Judged(row.judged, row.word), row.why),
            *(Cell(text, style="nowrap") for text in counts),
        ]
    )


def _interval(comparison: Comparison) -> str:
    """90 %: the interval whose ends are bounds at the level."""
    return f"{three(100 * (1 - 2 * comparison.method.level))}{NBSP}%"


def _looks(decision: Decision | None) -> Section | None:
    """The estimates over the looks; None where a run was not looked at, or no look has one."""
    estimates = path.paths(decision) if decision else []
    if not decision or not estimates:
        return None
    figures = [figure(path.path(estimate), estimate.line, head=estimate.name) for estimate in estimates]
    reason = Paragraph(f"{path.reason(decision)} {BOUNDS}")
    return Section("path", "", "When was it decided?", [reason, Beside(figures)])


def _percentiles(comparison: Comparison) -> Section | None:
    """Both curves and the difference by percentile, of the main figure; None where it has no good turn."""
    shift = comparison.shift
    if shift is None:
        return None
    measure = shift.question.measure
    read = (
        Term(measure),
        f"{_since(comparison, shift.question)}. Shaded: 95 % interval. Dotted: fewer than five turns beyond.",
    )
    waits = figure(percentiles(shift.curves, measure, HALF), read, head="The waits, one curve per arm")
    return Section("shift", "", "Which turns got slower?", [Beside([waits, _differences(comparison, shift)])])


def _differences(comparison: Comparison, shift: Shift) -> Figure:
    """By percentile; drawn where enough turns lie beyond the median."""
    head = "The difference at each percentile"
    if not shift.ratios:
        few = f"Not drawn: fewer than {BEYOND} turns of an arm lie beyond its median."
        return Figure("", head=head, below=[Paragraph(few)])
    read = (
        f"{curves.sentence(shift.ratios)} Shaded: {_interval(comparison)} interval, as in the bars above. "
        f"The line ends where fewer than {BEYOND} turns of an arm lie beyond."
    )
    return figure(curves.by_percentile(shift.ratios, shift.question.measure), read, head=head)


def _since(comparison: Comparison, question: Question) -> str:
    """What the measure counts from, of which traits, and which step it is of."""
    every = {stratum for side in comparison.sides for stratum in side.turns.strata}
    mine = [stratum for stratum in every if question.stratum is None or question.stratum.covers(stratum)]
    counted = since(question.measure, mine[0]) if len(mine) == 1 else ""
    return f"{counted}, {question.step}" if question.step else counted


def _fair(comparison: Comparison) -> Section:
    """What was checked, with a text for each side."""
    sides = [
        Column(
            side.label,
            left=True,
            target=place,
            marked=True,
            below=f"{'candidate' if place else 'baseline'}, {side.run.folder.resolve().name}",
        )
        for place, side in enumerate(comparison.sides)
    ]
    heads: list[Head] = ["check", *sides, Column("result", left=True)]
    checks = table(heads, [_check(check) for check in comparison.checks], "facts", stacked=True)
    nothing = Paragraph("Nothing was checked.")
    return Section("fair", "", "Was the comparison fair?", [checks if comparison.checks else nothing])


RESULTS = {None: ("for information", "soft"), True: ("✓ passed", "good"), False: ("✕ failed", "bad")}


def _check(check: Check) -> Row:
    word, style = RESULTS[check.fair]
    remedy = check.remedy if check.fair is not True else ""
    return row_of([check.name, *check.texts, Cell(word, remedy, style=f"{style}-ink")])
