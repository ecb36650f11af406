"""The sections on the outcomes of turns and sessions, and on rates."""

from bench.catalogue.outcomes import detail_text
from reports.analysis.summary.outcomes import OutcomeCount
from reports.analysis.summary.summary import Summary
from reports.formatting import NONE, count, percent, plural
from reports.metrics.rate_metrics import MIN_RATE_UNITS, RATES
from reports.pages.run_report.metric_tables import TARGET, target_cell
from reports.render import blocks as b
from reports.text import cells
from reports.text.sentences import remedy
from reports.text.validity import ending_text, remedy_line


def rates(summary: Summary) -> b.Section | None:
    """Return the section on rates, which are computed from columns of turns, and on the shares by a
    deadline. The deadlines are those of the run's thresholds. Return None if no turn counts for any
    rate.
    """
    if not summary.rates and not summary.within:
        return None
    heads = ("rate", TARGET, "share", "counted", "sessions")
    values = (*summary.rates, *summary.within)
    rows: list[b.Line] = [
        [
            (b.Term(rate.metric), cells.rate_title(rate).removeprefix(rate.metric)),
            target_cell(summary, rate.target, rate.title),
            cells.rate_cell(rate),
            cells.rate_events(rate),
            count(rate.sessions),
        ]
        for rate in values
    ]
    few_note = (
        ""
        if all(rate.n >= MIN_RATE_UNITS for rate in values)
        else f" For fewer than {MIN_RATE_UNITS} turns, only counts are shown."
    )
    population = "all turns"
    if any(RATES[rate.metric].words_column for rate in summary.rates):
        population += (
            "; a word error rate is per word, or per character of scripts without spaces, and can"
            " exceed 100 %"
        )
    blocks = [
        b.table(heads, rows),
        *b.note(f"Shares with 95 % intervals over sessions, of {population}.{few_note}"),
    ]
    brief = b.fact("rates", cells.rate_lines(summary))
    return b.Section("rates", "Rates", "How often did each of these happen?", blocks, brief=brief)


ENDINGS = 5
QUOTED = 3
REMEDIES = 2
"""The maximum numbers of outcomes, of messages, and of remedies that a terminal shows."""


def outcomes(summary: Summary) -> b.Section | None:
    """Return the section on the outcomes of turns and sessions; None if no turn started and no
    session opened.
    """
    run_outcomes = summary.endings
    if not run_outcomes.opened and not run_outcomes.started:
        return None
    targets = run_outcomes.targets
    opened = " and ".join(count(target.sessions_started) for target in targets)
    rates = [
        percent(target.failure_rate, 1) if target.turns_planned else NONE for target in targets
    ]
    sums = [
        ("started, total", "turns_started", "every turn has one outcome"),
        ("failed, total", "turns_failed", ""),
        ("not started", "turns_not_started", "planned, but their session had ended"),
        (
            "failure_rate",
            "",
            "(failed + not started) ÷ planned, excluding unfinished and starved turns",
        ),
        ("sessions with any failure", "sessions_with_failure", f"of {opened}"),
    ]
    heads: b.Heads = [
        "outcome",
        *summary.targets,
        b.TextColumn("meaning", style="narrowout"),
    ]
    sum_rows: list[b.Row] = []
    for name, field, meaning in sums:
        numbers = [count(getattr(target, field)) for target in targets] if field else rates
        sum_rows.append(b.make_row([name, *numbers, meaning], "" if sum_rows else "sum"))
    started = (
        f"{plural(run_outcomes.started, 'turn')} started in the measured phase, one outcome each"
    )
    table = b.table(heads, [*map(_ending, run_outcomes.turns), *sum_rows])
    blocks: b.Blocks = [
        b.Paragraph(f"{started}; {count(run_outcomes.not_started)} not started."),
        table,
    ]
    if run_outcomes.sessions:
        blocks += [
            b.Heading("Session outcomes"),
            b.table(heads, [*map(_ending, run_outcomes.sessions)]),
        ]
    remedies = run_outcomes.remedies()
    if remedies:
        blocks += [
            b.Heading("What to do"),
            b.Bullets([b.coded(remedy_line(remedy)) for remedy in remedies]),
        ]
    endings = [f"{ending.outcome} {count(sum(ending.counts))}" for ending in run_outcomes.turns]
    listed = (
        endings
        if len(endings) <= ENDINGS
        else [*endings[: ENDINGS - 1], f"{len(endings) - ENDINGS + 1} others"]
    )
    not_started = (
        [f"not started {count(run_outcomes.not_started)}"] if run_outcomes.not_started else []
    )
    messages = [
        f"{ending.outcome}: {detail_text(ending.outcome, ending.message)}"
        for ending in run_outcomes.quoted()[:QUOTED]
    ]
    # the first may already be in the lead
    advice = map(remedy_line, remedies[bool(remedy(summary)) : REMEDIES])
    brief = [
        *b.fact("outcomes", [*listed, *not_started]),
        *b.facts("message", messages),
        *b.facts("what to do", map(b.coded, advice)),
    ]
    return b.Section("outcomes", "Turn outcomes", "How did the turns end?", blocks, brief=brief)


def _ending(ending: OutcomeCount) -> b.Row:
    return b.make_row(
        [b.Code(ending.outcome), *(count(n) for n in ending.counts), ending_text(ending)]
    )
