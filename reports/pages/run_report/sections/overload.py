"""The section on a peak of load: what happened to callers, and the recovery."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from reports.analysis.overload.parts import PARTS, CallsOfPeak, calls_of_peak
from reports.analysis.overload.series import peak_series
from reports.analysis.overload.values import (
    CHANGE,
    HARM,
    OUTCOME,
    RECOVERY_TIME,
    REFUSED,
    REFUSED_SHARE,
    RETRY_AFTER,
)
from reports.analysis.summary.summary import Summary
from reports.formatting import NONE, count, format_duration, ms, percent
from reports.pages.run_report.overload_plot import overload_plot
from reports.render import blocks as b
from reports.render.svg import plot_figure
from reports.results.value import Value
from reports.text.reasons import reason_text

CALLS = ("offered", "opened", "refused", "dropped", "failed")
READ = (
    "Shaded: the peak. Above: calls that began, and of them those that opened. Below: the median"
    " latency of probe callers; the band reaches from their median before the peak to the margin."
    " Lines mark the end of the peak, and the instant from which latency was as before."
)
MEANING = (
    "Refused: did not open. Dropped: closed by the service in progress. Harm: change of p95 of the"
    " calls that were in progress when the peak began, by step and paired by call. Recovery time:"
    " from the end of the peak; calls of the peak that are then in progress still end."
)


def overload(summary: Summary) -> Iterable[b.Section]:
    """Return a section for each target; none if the load had no peak."""
    for number, target in enumerate(summary.targets):
        of = calls_of_peak(summary.run, summary.samples, number)
        if of is not None:
            values = [value for value in summary.overload if value.target == target]
            heading = f"Overload and recovery{f' · {target}' if number else ''}"
            yield _section(of, values, f"overload-{number}", heading)


def _section(of: CallsOfPeak, values: list[Value], anchor: str, heading: str) -> b.Section:
    table = {(value.group.name if value.group else "", value.name): value for value in values}
    recovery = table["", f"{RECOVERY_TIME} value"]
    share = _text(table["", REFUSED_SHARE], lambda value: percent(value, 1))
    harm = _text(table["", f"{HARM} p95"], lambda change: f"{change:+.0f} %")
    lines = [
        f"recovery time: {_text(recovery, lambda time_ms: format_duration(time_ms / 1000))}",
        f"refused: {share}",
        f"harm to calls in progress: {harm}",
    ]
    heads: list[b.Head] = ["part", *CALLS, f"{of.metric} of probes", "change, paired by caller"]
    # the lines above have the reason why a median is missing
    known = {part: table.get((part, of.metric)) for part in PARTS}
    medians = {part: None if value and value.reason else value for part, value in known.items()}
    rows: list[b.Line] = [
        [
            part,
            *(count(round(table[part, f"calls_{call}"].value)) for call in CALLS),
            _text(medians[part], ms),
            _text(table.get((part, f"{of.metric} {CHANGE}")), lambda ratio: f"×{ratio:.2f}"),
        ]
        for part in PARTS
    ]
    refused = [
        f"{value.group.name} {count(value.n)}, Retry-After"
        f" {_text(table[value.group.name, RETRY_AFTER], ms)}"
        for value in values
        if value.group and (value.metric, value.group.by) == (REFUSED, OUTCOME)
    ]
    lines += [f"refused calls by outcome: {'; '.join(refused)}"] if refused else []
    series = peak_series(of)
    plot = overload_plot(series, series.peak_s[1] + recovery.value / 1000)
    calls = b.table(heads, rows)
    paragraphs = (b.Paragraph(f"{line[0].upper()}{line[1:]}.") for line in lines)
    blocks: list[b.Block] = [*paragraphs, plot_figure(plot, READ), calls, *b.note(MEANING)]
    question = "What happens to callers when there are too many, and when is it over?"
    return b.Section(anchor, heading, question, blocks, brief=[*b.fact("overload", lines), calls])


def _text(value: Value | None, write: Callable[[float], str]) -> str:
    """Return a value with its interval and its reason; a dash without any of them."""
    if value is None:
        return NONE
    reason = reason_text(value.reason)
    if math.isnan(value.value):
        return reason or NONE
    text = write(value.value)
    if not math.isnan(value.low):
        text += f" ({write(value.low)} to {'∞' if math.isnan(value.high) else write(value.high)})"
    return f"{reason}; estimate {text}" if reason else text
