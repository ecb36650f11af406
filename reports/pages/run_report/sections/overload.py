"""The section on a peak of load: what happened to callers, and the recovery."""

import math
from collections.abc import Iterable

from reports.analysis.overload import (
    CALLS,
    CHANGE,
    PARTS,
    REFUSED,
    RETRY_AFTER,
    CallsOfPeak,
    PeakSeries,
    calls_of_peak,
    peak_series,
)
from reports.analysis.summary.summary import Summary
from reports.data.parts import NOT_RUN
from reports.formatting import NONE, count, join_words, log_range, ms
from reports.render import blocks as b
from reports.render.svg import (
    WIDE,
    PixelScale,
    Plot,
    Point,
    plot_figure,
)
from reports.results.value import Value
from reports.text.peak import peak_results, value_text

TOP = 24
CALLS_HEIGHT = 90
LATENCY = 150
GAP = 40
TITLE = "Calls and probe latency around the peak"
READ = (
    "Shaded: the peak. Above: calls that began (line), and of them those that opened (area). Below:"
    " the median latency of probe callers; the band reaches from their median before the peak to"
    " the margin. Lines mark the end of the peak, and the instant from which latency was as before."
)


def overload_plot(series: PeakSeries, recovered_s: float) -> Plot:
    """Plot the calls that began in each bin, and below them the median latency of probe callers,
    over the band of the margin. `recovered_s` is when the service had recovered; NaN if unknown.
    """
    ground = TOP + CALLS_HEIGHT + GAP + LATENCY
    plot = Plot(WIDE, ground + 30, left=56, right=66, top=TOP, bottom=30, title=TITLE, desc=READ)
    x = plot.along_x(0.0, float(series.at_s[0] + series.at_s[-1]))

    def points(values: Iterable[float], y: PixelScale) -> list[Point]:
        pairs = zip(series.at_s, values, strict=True)
        return [(x.clip(at), y.clip(value)) for at, value in pairs if not math.isnan(value)]

    plot.y0 = TOP + CALLS_HEIGHT
    plot.text(plot.x0, TOP - 6, "calls that began: offered (line), accepted (area)", "lab")
    y = plot.count_axis(float(series.offered.max(initial=1.0)))
    begin, end = map(x.clip, series.peak_s)
    with plot.along_run():
        plot.rect(begin, TOP, end - begin, ground - TOP, "failed-band")
        plot.band(points(0 * series.opened, y), points(series.opened, y), "area")
        plot.path(points(series.offered, y), "curve s1")
    plot.y1 = TOP + CALLS_HEIGHT + GAP
    plot.y0 = ground
    low, high = log_range([*series.latency, *series.band])
    plot.text(plot.x0, plot.y1 - 6, "probe latency, with the band of the margin", "lab")
    value = plot.latency_axis(low, high, 4)
    marks = {"end of the peak": end}
    if not math.isnan(recovered_s):
        marks["recovered (estimate)"] = x.clip(recovered_s)
    lower, upper = (points([level] * len(series.at_s), value) for level in series.band)
    with plot.along_run():
        plot.band(lower, upper, "area")
        plot.path(points(series.latency, value), "curve s0")
        for at in marks.values():
            plot.line(at, TOP, at, ground, "curve s2")
    for row, (text, at) in enumerate(marks.items()):
        plot.text(at + 4, TOP + 10 + 14 * row, text, "lab")
    plot.run_axis(x)
    return plot


QUESTION = "What happens to callers when there are too many, and when is it over?"
MEANING = (
    "Refused: did not open. Dropped: closed by the service in progress. Harm: change of p95 of the"
    " calls that were in progress when the peak began, by step and paired by call. Recovery time:"
    " from the end of the peak; calls of the peak that are then in progress still end."
)


def overload(summary: Summary) -> Iterable[b.Section]:
    """Yield a section for each target; nothing if the load had no peak."""
    for number, target in enumerate(summary.targets):
        if (of := calls_of_peak(summary.run, summary.samples, number)) is not None:
            values = [value for value in summary.overload if value.target == target]
            heading = f"Overload and recovery{f' · {target}' if number else ''}"
            yield _section(of, values, f"overload-{number}", heading)


def _section(of: CallsOfPeak, values: list[Value], anchor: str, heading: str) -> b.Section:
    table = {(value.group.name if value.group else "", value.name): value for value in values}
    recovery = table["", "recovery_time value"]
    refused = [
        f"{count(value.n)} {status}, Retry-After {value_text(table[status, RETRY_AFTER], ms)}"
        for (status, name), value in table.items()
        if name == REFUSED and status not in PARTS
    ]
    lines = [
        *peak_results({name: value for (group, name), value in table.items() if not group}),
        f"refused in all: {'; '.join(refused) or 'no call'}",
    ]
    if set(of.problems.values()) - {"", NOT_RUN}:
        usable = [part for part, problem in of.problems.items() if not problem]
        lines.append(f"usable parts of the run: {join_words(usable) or 'none'}")
    heads = ["part", "validity", *CALLS, f"{of.metric} of probes", "change by caller"]
    rows = [
        [
            part,
            {"": "VALID", NOT_RUN: "not run"}.get(problem, "INVALID"),
            *(count(table[part, f"calls_{call}"].n) for call in CALLS),
            ms(table[part, of.metric].value) if of.metric else NONE,
            value_text(table.get((part, f"{of.metric} {CHANGE}")), "×{:.2f}".format),
        ]
        for part, problem in of.problems.items()
    ]
    calls = b.table(heads, rows)
    series = peak_series(of)
    plot = overload_plot(series, series.peak_s[1] + recovery.value / 1000)
    paragraphs = (b.Paragraph(f"{line[0].upper()}{line[1:]}.") for line in lines)
    blocks = [*paragraphs, plot_figure(plot, READ), calls, *b.note(MEANING)]
    return b.Section(anchor, heading, QUESTION, blocks, brief=[*b.fact("overload", lines), calls])
