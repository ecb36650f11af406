"""The plot of a peak of load: calls, and the latency of probe callers. It computes no values."""

from __future__ import annotations

import math
from collections.abc import Iterable

from reports.analysis.overload import PeakSeries
from reports.formatting import log_range, ms
from reports.render.svg import WIDE, PixelScale, Plot, Point, identity, log_scale, log_ticks

TOP = 24
CALLS = 90
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
    ground = TOP + CALLS + GAP + LATENCY
    plot = Plot(WIDE, ground + 30, left=56, right=66, top=TOP, bottom=30, title=TITLE, desc=READ)
    x = PixelScale(identity, 0.0, float(series.at_s[0] + series.at_s[-1]), plot.x0, plot.x1)

    def points(values: Iterable[float], y: PixelScale) -> list[Point]:
        pairs = zip(series.at_s, values, strict=True)
        return [(x.clip(at), y.clip(value)) for at, value in pairs if not math.isnan(value)]

    plot.y0 = TOP + CALLS
    plot.text(plot.x0, TOP - 6, "calls that began: offered (line), accepted (area)", "lab")
    y = plot.count_axis(float(series.offered.max(initial=1.0)))
    begin, end = map(x.clip, series.peak_s)
    with plot.along_run():
        plot.rect(begin, TOP, end - begin, ground - TOP, "failed-band")
        plot.band(points(0 * series.opened, y), points(series.opened, y), "area")
        plot.path(points(series.offered, y), "curve s1")
    plot.y1 = TOP + CALLS + GAP
    plot.y0 = ground
    low, high = log_range([*series.latency, *series.band])
    value = log_scale(low, high, plot.y0, plot.y1)
    plot.text(plot.x0, plot.y1 - 6, "probe latency, with the band of the margin", "lab")
    plot.y_axis(value, log_ticks(low, high, 4), ms)
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
