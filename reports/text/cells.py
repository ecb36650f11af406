"""Cells of tables, and phrases, which several forms of a report use."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from bench.base.cpu import others_are_busy
from bench.catalogue.metrics import CATALOGUE, REGULAR, TRANSCRIPT_METRICS
from bench.record.document import Check
from bench.record.validity import LOAD_GENERATOR_CHECKS
from reports.analysis.summary.example_turns import ExampleTurn, Role
from reports.analysis.summary.metrics import ALL, MetricSummary
from reports.analysis.summary.segments import Breakdown
from reports.analysis.summary.summary import GREETING, TRANSCRIPT_RESULTS, MainResult, Summary
from reports.data.samples import ANSWER_VOICE_TO_VOICE, VOICE_TO_VOICE
from reports.formatting import (
    NBSP,
    count,
    format_duration,
    format_number,
    join_present,
    join_words,
    ms,
    percent,
    plural,
)
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.rate_metrics import MIN_RATE_UNITS
from reports.metrics.statistic_types.rate import Within
from reports.metrics.strata import MEASURED_FROM_TEXTS, Stratum, turn_type_text
from reports.render.blocks import MARKS, Cell, source_marks, with_marker
from reports.results.value import Estimate, Value, ValuesOfSubject
from reports.statistics.quantiles import QuantileEstimate
from reports.text import settings
from reports.text.breakdown import segment_title
from reports.text.phrases import (
    CHECKS,
    INFINITE,
    check_value,
    interval,
    shortfall_text,
)

SLOPE_OF_ALL = "latency_slope"
KINDS = {"ttfa": "audio", "ttft": "text"}
TRANSCRIPT_ENDS = {
    **dict.fromkeys(TRANSCRIPT_METRICS, "the finished transcript"),
    "input_transcript_first": "the first text of the transcript",
    "transcript_lag": "the delta with the word; the median of a turn",
}
"""The ends of the metrics of transcripts, in words."""
TRANSCRIPT_BEGINS = {
    "input_transcript_total": "end of speech",
    "input_transcript": "the commit",
    "input_transcript_first": "start of speech",
    "transcript_lag": "the end of a word (even pace assumed)",
}
"""Their beginnings."""
COMPARABLE = (
    "ttfa of VAD turns and of manual turns cannot be compared: it is measured from the end of"
    " speech in VAD turns, from response.create in manual turns. voice_to_voice has one definition,"
    " but with VAD it includes silence_duration_ms, which manual turns do not have."
)


def run_badges(summary: Summary) -> list[str]:
    """Return the badges of a run, such as `✓ VALID` and `◇ SIMULATED`: its verdict, and its source
    if that is no live service.
    """
    return [
        with_marker(summary.validity.title),
        *source_marks(simulated=summary.simulated, recorded=summary.recorded),
    ]


def result(result: str) -> tuple[str, str]:
    """Return the text for the result of a check, and its style. The texts are `✓ pass`, `✕ fail`,
    and `– not evaluated`.
    """
    if result not in ("pass", "fail"):
        return f"– {result.replace('_', ' ')}", "soft"
    return with_marker(result), MARKS[result].colour


FAILED_TURNS = (
    "Failed turns count as infinite latencies in every percentile. Turns cut by the end of the run,"
    " and those that ended as starved, are excluded and counted separately."
)
"""The explanation of failed turns on a page."""


def quantile_cell(row: MetricSummary, p: float, noun: str = "turn") -> Cell:
    """Return the cell of a percentile: a value such as `986` above its interval `969 – 1,010`, or
    why there is none. `noun` is the unit of a value. If it is "", the reason does not include the
    number of failures.
    """
    return estimate_cell(row.at(p), row.n, row.failed, noun)


def estimate_cell(
    estimate: QuantileEstimate | Value,
    n: int,
    failed: int,
    noun: str = "turn",
    *,
    uncertain: bool = False,
) -> Cell:
    """Return the cell of a percentile of n turns. If it is infinite, the cell also has the
    percentile of successful turns. If its values are uncertain, the cell states that they are.
    """
    if uncertain:
        cell = estimate_cell(estimate, n, failed, noun)
        return replace(cell, below=join_present("; ", str(cell.below), "uncertain in this run"))
    if estimate.reason is None:
        return Cell(format_number(estimate.value), _interval(estimate))
    if not n:
        return Cell("n/a", f"no {noun or 'turn'}")
    failures = f"{count(failed)} of {count(n)} failed" if noun else ""
    if estimate.status == "in_failures":
        successes = (
            f"successes {format_number(estimate.successes)}"
            if math.isfinite(estimate.successes)
            else ""
        )
        return Cell(
            INFINITE,
            join_present("; ", failures, successes) or ("all failed" if failed == n else ""),
        )
    if estimate.status == "unbounded":
        lacks = f"no {'upper' if math.isfinite(estimate.low) else 'lower'} bound"
        reason = f": {'long sessions differ' if estimate.by_length else failures or 'failures'}"
        needs = f"; needs {plural(estimate.required, 'session')}" if estimate.required else reason
        return Cell(
            f"{open_end_sign(estimate)}{format_number(estimate.reported_value)}",
            f"{lacks}{needs}",
            lacks,
        )
    units = (
        (n, noun or "turn")
        if estimate.status == "too_few_turns"
        else (estimate.sessions, "session")
    )
    return Cell(
        "n/a",
        shortfall_text(*units, estimate.required),
        f"needs {plural(estimate.required, units[1])}",
    )


def open_end_sign(estimate: Estimate) -> str:
    """Return the sign before a percentile: `≥ ` if its interval has no upper bound, `≤ ` if it has
    no lower bound. Return "" if it has both.
    """
    if estimate.status != "unbounded":
        return ""
    return f"{'≥' if math.isfinite(estimate.low) else '≤'}{NBSP}"


def failures(result: MainResult) -> Cell:
    """Return a cell with the share of planned turns that failed or did not start, above the counts.
    Example: `52.9 %` above `45 of these 85`, or `45 of 85 planned` if some did not start.
    """
    planned = count(result.turns_planned)
    of = f"{planned} planned" if result.turns_planned > result.turns else f"these {planned}"
    return Cell(
        percent(result.failed_or_not_started, result.turns_planned),
        f"{count(result.failed_or_not_started)} of {of}",
        style="bad-ink" if result.failed_or_not_started else "",
    )


def completed_share(row: MetricSummary) -> Cell:
    """Return a cell with the share of planned turns that have the metric, above the number of turns
    that lack it. Example: `71.2 %` above `115 failed, …`.
    """
    texts = [
        f"{count(number)} {what}"
        for number, what in (
            (row.failed, "failed"),
            (row.not_started, "not started"),
            (row.unscored, "without a value"),
        )
        if number
    ]
    return Cell(percent(row.completed_share, 1), ", ".join(texts))


def _interval(estimate: Estimate) -> str:
    return interval(estimate.low, estimate.high, format_number, " – ")


def cause(summary: Summary) -> str:
    """Return the reason why a run is invalid, without the values of the failed checks.

    If other programs used the machine, they are the reason, because the load generator could not
    keep up with them.
    """
    failed = summary.validity.failed
    if not failed:
        return "a check failed"
    others = [
        machine["other_programs"] or 0.0 for machine in summary.machines if others_are_busy(machine)
    ]
    if others and failed[0].name in LOAD_GENERATOR_CHECKS:
        return f"other programs used {percent(max(others), 1)} of the CPU"
    return CHECKS[failed[0].name].consequence


def check_text(check: Check) -> str:
    """Return the value and the limit of a check as a text, such as `timestamps of ttfa may be off
    by 2.9 ms (p99; limit 3.8 ms)`.
    """
    text = CHECKS[check.name].value.format(check_value(check, check.value))
    if check.name == "timestamp_uncertainty" and check.note:
        text = text.replace("timestamps", f"timestamps of {check.note}", 1)
        for origin, origin_text in MEASURED_FROM_TEXTS.items():
            text = text.replace(f"from {origin}", f"from {origin_text}")
    if check.name == "rtp_stream":
        text = f"{check.note}: {text}"
    p99 = "p99; " if check.unit == "ms" else ""
    return f"{text} ({p99}limit {check_value(check, check.limit)})"


def with_remedies(checks: Sequence[Check]) -> Iterable[tuple[Check, str]]:
    """Yield each check with its remedy as a sentence; "" if it has none. If several checks have the
    same remedy, only the last of them gets it.
    """
    last = {check.remedy: check for check in checks}
    for check in checks:
        yield (
            check,
            f"{check.remedy.rstrip('. ')}." if check.remedy and last[check.remedy] is check else "",
        )


def lasted(summary: Summary) -> str:
    """Return the duration of a run as a text, such as `20 min measured after 3 min of warm-up`."""
    after = f" after {format_duration(summary.warmup_s)} of warm-up" if summary.warmup_s else ""
    return f"{format_duration(summary.measured_s)} measured{after}"


INPUTS = {
    frozenset({True}): "spoken turns",
    frozenset({False}): "typed turns",
    frozenset({True, False}): "typed and spoken turns",
    frozenset[bool](): "",
}
"""The names of turns by whether they are spoken."""


class ResultRows(NamedTuple):
    """Rows of the first table of a report, for one metric. There is one row for each target and
    stratum. `measured_from` and `end` are the names of the instants at which the metric starts and
    ends. `turns` is such as `spoken turns`; "" if the metric is only of spoken turns.
    """

    metric: str
    measured_from: str
    end: str
    rows: Sequence[MainResult]
    turns: str = ""

    def distinction(self, result: MainResult) -> str:
        """Return how a row differs from other rows of its target, such as `with function calls`. If
        its values are uncertain, the text includes `uncertain in this run`.
        """
        which = result.title.removeprefix(result.target).lstrip(" ·")
        if CATALOGUE[self.metric].begin == "measured_from":
            several = len({row.stratum.turn_type for row in self.rows}) > 1
            which = result.stratum.turn_type_text or (REGULAR if several else "")
        return join_present(" · ", which, "uncertain in this run" if result.uncertain else "")


def main_metrics(summary: Summary) -> list[str]:
    """Return the names of the metrics in the first table, in its order."""
    return list(dict.fromkeys(row.metric for group in tables(summary) for row in group.rows))


def tables(summary: Summary) -> list[ResultRows]:
    """Return the rows of the first table, grouped by metric and by the instant from which it is
    measured. The groups are in this order: voice_to_voice, first deltas and transcripts,
    transcripts of the caller, greetings.
    """
    strata = summary.turns.strata
    ends = {name: f"the first {kind} delta" for name, kind in KINDS.items()}
    audible_end = f"the first audible sample, {settings.player(summary.playback)}"
    answer_end = f"the first audible sample of the answer, {settings.player(summary.playback)}"
    ends |= {
        VOICE_TO_VOICE: audible_end,
        **TRANSCRIPT_ENDS,
    }
    main_rows = [
        ResultRows(
            rows[0].metric,
            _begin(rows[0].metric, measured_from),
            ends[rows[0].metric],
            rows,
            (
                ""
                if rows[0].metric == VOICE_TO_VOICE
                else INPUTS[frozenset(summary.turns.spoken_from(measured_from))]
            ),
        )
        for measured_from in dict.fromkeys(stratum.measured_from for stratum in strata)
        if (
            rows := [
                result
                for stratum in strata
                if stratum.measured_from == measured_from
                for result in summary.results
                if result.stratum == stratum
            ]
        )
    ]
    first = (
        ResultRows(
            VOICE_TO_VOICE, MEASURED_FROM_TEXTS["speech_end"], audible_end, summary.voice_to_voice
        ),
        ResultRows(
            ANSWER_VOICE_TO_VOICE, MEASURED_FROM_TEXTS["speech_end"], answer_end, summary.answered
        ),
    )
    greeted = ResultRows(
        GREETING,
        "start of connecting",
        "the first audible sample of the greeting",
        summary.greeting,
    )
    streamed = (
        ResultRows(
            name,
            TRANSCRIPT_BEGINS[name],
            TRANSCRIPT_ENDS[name],
            [a for a in summary.transcripts if a.metric == name],
        )
        for name in TRANSCRIPT_RESULTS
    )
    groups = [results for results in (*first, *main_rows, *streamed, greeted) if results.rows]
    planned = [
        results for results in groups if any(row.turns or row.turns_planned for row in results.rows)
    ]
    return planned or groups


def _begin(metric: str, measured_from: str) -> str:
    return TRANSCRIPT_BEGINS.get(metric) or MEASURED_FROM_TEXTS[measured_from]


def metric_title(metric: str, stratum: Stratum) -> str:
    """Return the name of a metric, such as `ttfa from end of speech`. The name has the instant from
    which the metric is measured, if turns differ in it.
    """
    return f"{metric}{measured_from_text(metric, stratum)}"


def measured_from_text(metric: str, stratum: Stratum) -> str:
    """Return the instant from which a metric is measured, such as ` from end of speech`. Return ""
    if the metric always has the same start.
    """
    return (
        f" {stratum.measured_from_text}"
        if CATALOGUE[metric].begin == "measured_from" and stratum.measured_from_text
        else ""
    )


def row_title(row: MetricSummary) -> str:
    """Return the title of a row: its metric, in the form that `metric_title` returns."""
    return metric_title(row.metric, row.stratum)


def row_target(row: MetricSummary) -> str:
    """Return the target of a row. If its values are uncertain, the text includes `uncertain in this
    run`. If the title of the row (`row_title`) does not contain the stratum, this text contains it.
    """
    name = row.target if measured_from_text(row.metric, row.stratum) else row.title
    return f"{name} · uncertain in this run" if row.uncertain else name


LATE_AUDIO = "audio arrived late, from the service or the network"
"""Why a reply stalls. Arrivals are those at this machine, so a process that reads late is no
cause."""


def stalled_cell(stalled: int, replies: int) -> str:
    """Return the number of stalled replies as a text, such as `3 of 40 replies stalled while
    playing (7.5 %)`.
    """
    of = f"{count(stalled)} of {plural(replies, 'reply', 'replies')}"
    return f"{of} stalled while playing ({percent(stalled, replies)})"


def rate_events(rate: Value) -> str:
    """Return the two counts of a rate: `3 of 40` for turns, `12 of 400 words` for words, or `1
    of 8 characters`.
    """
    units = "" if rate.unit == "turns" else f"{NBSP}{rate.unit}"
    counts = f"{count(rate.events)} of {count(rate.n)}{units}"
    return join_present("; ", counts, not_scored(rate.unscored))


def not_scored(unscored: int) -> str:
    """Return the number of turns, sessions or words that could not be scored; "" if all were."""
    return f"{count(unscored)} not scored" if unscored else ""


def rate_cell(rate: Value) -> Cell:
    """Return the cell of a rate: `92.5 %` above `79.6 to 98.4 %`, or `n/a` above `needs 10
    turns`.
    """
    if rate.n < MIN_RATE_UNITS:
        return Cell("n/a", f"needs {MIN_RATE_UNITS} {rate.unit}")
    return Cell(percent(rate.value, 1), share_interval(rate))


def share_interval(share: Value) -> str:
    """Return the interval of a share, such as `79.6 to 98.4 %`."""
    return interval(share.low, share.high, partial(percent, total=1))


def rate_title(rate: Value) -> str:
    """Return the name of a rate, such as `yield_rate` or `ttfa greeting within 800 ms`."""
    within = Within.read(rate.statistic)
    return MetricSpec(rate.metric, within, step=rate.step).name if within else rate.metric


def share_cell(share: Value) -> Cell:
    """Return the cell of a share: `92.5 %` above `37 of 40`. With too few turns, it has only the
    two counts.
    """
    counts = rate_events(share)
    if not share.n:
        return Cell("n/a", not_scored(share.unscored) or "no turn")
    return (
        Cell(percent(share.events, share.n), counts) if share.n >= MIN_RATE_UNITS else Cell(counts)
    )


OF_EVERY_TURN = frozenset({"cut_off_rate", "preamble_rate"})
"""The rates that all runs have, even if the script does not need them. They are printed only if
an event occurred."""


def rate_lines(summary: Summary) -> list[str]:
    """Return a line for each rate, such as `yield_rate 92.5 % (79.6 to 98.4 %; 37 of 40)`. If there
    are several targets, a line begins with the target.
    """
    lines = []
    several = summary.has_several_targets
    rates = [
        rate
        for rate in summary.rates
        if rate.count or rate.unscored or rate.metric not in OF_EVERY_TURN
    ]
    for rate in (*rates, *summary.within):
        cell = rate_cell(rate)
        title = rate.title or rate.target
        is_shown = rate.n >= MIN_RATE_UNITS
        value = (
            f"{cell.text} ({cell.below}; {rate_events(rate)})" if is_shown else rate_events(rate)
        )
        lines.append(
            f"{f'{title}: ' if several or title != rate.target else ''}{rate_title(rate)} {value}"
        )
    return lines


def medians(summary: Summary, names: Sequence[str]) -> list[str]:
    """Return a line with the median of each metric, such as `barge_in_yield p50 110 ms (104 – 120),
    max 180 ms`. If there are several targets, there is a line for each.
    """
    summaries = [
        row
        for name in names
        for row in summary.turn_metrics
        if row.metric == name and row.step == ALL
    ]
    has_titles = len({row.title for row in summaries}) > 1
    lines = []
    for row in summaries:
        cell = quantile_cell(row, 0.5)
        where = f" on {row.title}" if has_titles else ""
        value = f"{cell.text} ({cell.below})" if cell.below else f"{cell.text}"
        is_partial = row.failed or row.unscored
        reached_by = f", completed by {completed_share(row).text}" if is_partial else ""
        lines.append(
            f"{row.metric} p50{where} {value}, max"
            f" {format_number(row.largest)}{NBSP}{row.unit}{reached_by}"
        )
    return lines


def slope_lines(summary: Summary) -> list[str]:
    """Return a line for each slope that may be printed. Example: `latency_slope p50 on direct 12
    ms/1k tokens (9.1 – 15)`. Only slopes over all input tokens are included, not those without
    cached tokens.
    """
    slopes = [
        row for row in summary.slopes if row.metric == SLOPE_OF_ALL and row.at(0.5).has_interval
    ]
    several = len({row.stratum for row in slopes}) > 1
    return [
        f"{row.metric}"
        f" p50{f' on {row.title if several else row.target}' if len(slopes) > 1 else ''}"
        f" {format_number(row.at(0.5).value)}{NBSP}{row.unit} ({_interval(row.at(0.5))})"
        for row in slopes
    ]


def detection(counts: ValuesOfSubject) -> list[str]:
    """Return the errors of the service's turn detection, with their counts; [] if there are
    none.
    """
    faults = list[str]()
    early = counts["end_detected_early"]
    split, splits = (counts[name].n for name in ("turns_split", "splits"))
    if split:
        extra = f", or split by {plural(splits, 'extra commit')}" if splits else ""
        faults.append(f"{plural(split, 'turn')} cut off before the caller had finished{extra}")
    if early.count:
        of = f"{count(early.count)} of {plural(early.n, 'turn')}"
        faults.append(f"end of speech detected too early in {of}")
    return faults


def slowest_step(summary: Summary, stratum: Stratum) -> str:
    """Return a sentence on the slowest step, such as `Slowest step by p50: order_status on
    direct (785 ms)`.
    """
    slowest = []
    for label in summary.targets:
        published = [
            row
            for row in steps_of(summary, stratum)
            if row.target == label and row.at(0.5).reported
        ]
        if len(published) > 1:
            top = max(published, key=lambda row: row.at(0.5).value)
            where = f" on {label}" if summary.has_several_targets else ""
            slowest.append(f"{top.step}{where} ({ms(top.at(0.5).value)})")
    if not slowest:
        return "Too few turns per step to rank steps by their median."
    return (
        f"Slowest step by p50: {join_words(slowest)}."
        if len(slowest) <= 3
        else "Steps in the order of the script."
    )


def steps_of(summary: Summary, stratum: Stratum) -> list[MetricSummary]:
    """Return the summaries of the main metric of a stratum, one for each step and target."""
    main = summary.mains[stratum]
    return [
        row
        for row in summary.turn_metrics
        if row.metric == main and row.step != ALL and row.stratum == stratum
    ]


ROLES: dict[Role, str] = {
    "median": "median turn",
    "slowest": "slowest",
    "second": "second slowest",
    "stall": "longest stall",
    "interrupted": "interrupted",
    "calls": "with a function call",
    "only": "its only turn",
}


def example_name(example: ExampleTurn) -> str:
    """Return the reason why an example turn was chosen, such as `median turn, longest stall`."""
    return f"{ROLES[example.role]}{', longest stall' if example.longest_stall else ''}"


def breakdown_title(row: Breakdown) -> str:
    """Return the title of a breakdown. Examples: `order_status, VAD turns`; `all steps, manual
    turns (incomplete)`; `typical (p50), VAD turns, …`.
    """
    of = "all steps" if row.step == ALL else row.step
    if not math.isnan(row.p):
        of = f"{'typical' if row.p == 0.5 else 'slow'} (p{row.p * 100:g})"
    kind = (
        f"{of}, {'VAD' if row.has_end_detection else 'manual'}"
        f" turns{'' if row.is_complete else ' (incomplete)'}"
    )
    return f"{kind}, {turn_type_text(row.turn_type)}" if row.turn_type else kind


def breakdown(row: Breakdown, summary: Summary) -> str:
    """Return a breakdown as one line: the mean of each segment, and the total. Example:
    `end-of-turn detection (VAD) 319 · audio commit 4 · … · total 727 ms (mean of 40 turns)`.
    """
    parts = " · ".join(
        f"{segment_title(segment)} {format_number(segment.mean_ms)}" for segment in row.segments
    )
    where = f" on {row.target}" if summary.has_several_targets else ""
    of = f" {turn_type_text(row.turn_type)}" if row.turn_type else ""
    return (
        f"{parts} · total {format_number(row.mean_ms)}{NBSP}ms (mean of"
        f" {plural(row.turns, 'turn')}{of}{where})"
    )
