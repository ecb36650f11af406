"""The section on a peak of load: what happened to callers, and the recovery."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from reports.analysis import overload as of_peak
from reports.analysis.summary.summary import Summary
from reports.formatting import NONE, change, count, format_duration, join_words, ms, percent
from reports.pages.run_report.overload_plot import READ, overload_plot
from reports.render import blocks as b
from reports.render.svg import plot_figure
from reports.results.reason import Reason
from reports.results.value import Value
from reports.text.reasons import reason_text

NEVER_LEFT = Reason("never_left")
CALLS = ("offered", "opened", "refused", "dropped", "failed")
QUESTION = "What happens to callers when there are too many, and when is it over?"
MEANING = (
    "Refused: did not open. Dropped: closed by the service in progress. Harm: change of p95 of the"
    " calls that were in progress when the peak began, by step and paired by call. Recovery time:"
    " from the end of the peak; calls of the peak that are then in progress still end."
)


def overload(summary: Summary) -> Iterable[b.Section]:
    """Yield a section for each target; nothing if the load had no peak."""
    for number, target in enumerate(summary.targets):
        if (of := of_peak.calls_of_peak(summary.run, summary.samples, number)) is not None:
            values = [value for value in summary.overload if value.target == target]
            heading = f"Overload and recovery{f' · {target}' if number else ''}"
            yield _section(of, values, f"overload-{number}", heading)


def _section(of: of_peak.CallsOfPeak, values: list[Value], anchor: str, heading: str) -> b.Section:
    table = {(value.group.name if value.group else "", value.name): value for value in values}
    recovery = table["", "recovery_time value"]
    refused = [
        f"{count(value.n)} {status}, Retry-After {_text(table[status, of_peak.RETRY_AFTER], ms)}"
        for (status, name), value in table.items()
        if name == of_peak.REFUSED and status not in of_peak.PARTS
    ]
    texts = {
        "recovery time": _text(recovery, lambda at_ms: format_duration(at_ms / 1000)),
        "refused share of the peak": _text(table["", "refused_share"], lambda of: percent(of, 1)),
        "harm to calls in progress": _text(table["", "harm p95"], lambda of: change(1 + of / 100)),
        "refused in all": "; ".join(refused) or "no call",
    }
    problems = dict(zip(of_peak.PARTS, of.problems, strict=True))
    if set(problems.values()) - {"", of_peak.NOT_RUN}:
        usable = [part for part, problem in problems.items() if not problem]
        texts["usable parts of the run"] = join_words(usable) or "none"
    lines = [f"{name}: {text}" for name, text in texts.items()]
    heads: list[b.Head] = ["part", "validity", *CALLS, f"{of.metric} of probes", "change by caller"]
    rows: list[b.Line] = [
        [
            part,
            {"": "VALID", of_peak.NOT_RUN: "not run"}.get(problem, "INVALID"),
            *(count(table[part, f"calls_{call}"].n) for call in CALLS),
            ms(table[part, of.metric].value) if of.metric else NONE,
            _text(table.get((part, f"{of.metric} {of_peak.CHANGE}")), "×{:.2f}".format),
        ]
        for part, problem in problems.items()
    ]
    calls = b.table(heads, rows)
    series = of_peak.peak_series(of)
    plot = overload_plot(series, series.peak_s[1] + recovery.value / 1000)
    paragraphs = (b.Paragraph(f"{line[0].upper()}{line[1:]}.") for line in lines)
    blocks: list[b.Block] = [*paragraphs, plot_figure(plot, READ), calls, *b.note(MEANING)]
    return b.Section(anchor, heading, QUESTION, blocks, brief=[*b.fact("overload", lines), calls])


def _text(value: Value | None, write: Callable[[float], str]) -> str:
    """Return a value with its interval and its reason; a dash without any of them."""
    reason = reason_text(value.reason if value else None)
    if value is None or math.isnan(value.value) or value.reason == NEVER_LEFT:
        return reason or NONE
    text = write(value.value)
    if not math.isnan(value.low):
        text += f" ({write(value.low)} to {'∞' if math.isnan(value.high) else write(value.high)})"
    return f"{reason}; estimate {text}" if reason else text
