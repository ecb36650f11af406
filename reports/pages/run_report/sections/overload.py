"""The section on a peak of load: what happened to callers, and the recovery."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from reports.analysis import overload as of_peak
from reports.analysis.summary.summary import Summary
from reports.formatting import NONE, change, count, format_duration, join_words, ms, percent
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
LONGER = "a longer --after, more --probes or a larger --margin may show it"


def overload(summary: Summary) -> Iterable[b.Section]:
    """Return a section for each target; none if the load had no peak."""
    for number, target in enumerate(summary.targets):
        of = of_peak.calls_of_peak(summary.run, summary.samples, number)
        if of is not None:
            values = [value for value in summary.overload if value.target == target]
            heading = f"Overload and recovery{f' · {target}' if number else ''}"
            yield _section(of, values, f"overload-{number}", heading)


def _section(of: of_peak.CallsOfPeak, values: list[Value], anchor: str, heading: str) -> b.Section:
    table = {(value.group.name if value.group else "", value.name): value for value in values}
    recovery = table["", f"{of_peak.RECOVERY_TIME} value"]
    share = table["", of_peak.REFUSED_SHARE]
    refused = [
        f"{count(value.n)} {value.group.name}, Retry-After"
        f" {_text(table[value.group.name, of_peak.RETRY_AFTER], ms)}"
        for value in values
        if value.group and (value.metric, value.group.by) == (of_peak.REFUSED, of_peak.OUTCOME)
    ]
    texts = {
        "recovery time": _recovery(recovery),
        "refused share of the peak": _text(share, lambda of: percent(of, 1)),
        "harm to calls in progress": _text(table["", "harm p95"], lambda of: change(1 + of / 100)),
        "refused in all": "; ".join(refused) or "no call",
    }
    usable = [part for part, problem in zip(of_peak.PARTS, of.problems, strict=True) if not problem]
    if any(problem not in ("", of_peak.NOT_RUN) for problem in of.problems):
        texts["usable parts of the run"] = join_words(usable) or "none"
    by_text: dict[str, list[str]] = {}
    for name, text in texts.items():
        by_text.setdefault(text, []).append(name)
    lines = [f"{join_words(names)}: {text}" for text, names in by_text.items()]
    heads: list[b.Head] = ["part", "validity", *CALLS, f"{of.metric} of probes", "change by caller"]
    rows: list[b.Line] = [
        [
            part,
            _validity(problem),
            *(count(round(table[part, f"calls_{call}"].value)) for call in CALLS),
            ms(table[part, of.metric].value) if of.metric else NONE,
            _text(
                table.get((part, f"{of.metric} {of_peak.CHANGE}")), lambda ratio: f"×{ratio:.2f}"
            ),
        ]
        for part, problem in zip(of_peak.PARTS, of.problems, strict=True)
    ]
    series = of_peak.peak_series(of)
    plot = overload_plot(series, series.peak_s[1] + recovery.value / 1000)
    calls = b.table(heads, rows)
    paragraphs = (b.Paragraph(f"{line[0].upper()}{line[1:]}.") for line in lines)
    blocks: list[b.Block] = [*paragraphs, plot_figure(plot, READ), calls, *b.note(MEANING)]
    question = "What happens to callers when there are too many, and when is it over?"
    return b.Section(anchor, heading, question, blocks, brief=[*b.fact("overload", lines), calls])


def _recovery(recovery: Value) -> str:
    code = recovery.reason.code if recovery.reason else ""
    if code == "never_left":
        return reason_text(recovery.reason)
    text = _text(recovery, lambda time_ms: format_duration(time_ms / 1000))
    return f"{text}; {LONGER}" if code == "not_recovered" else text


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


def _validity(problem: str) -> str:
    return {"": "VALID", of_peak.NOT_RUN: "not run"}.get(problem, "INVALID")
