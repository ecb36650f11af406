"""The plot of a peak of load: calls, and the latency of probe callers. It computes no values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.analysis.overload import PeakSeries
from reports.formatting import log_range, ms
from reports.render.svg import WIDE, PixelScale, Plot, Point, identity, log_scale, log_ticks

TOP = 24
CALLS = 90
LATENCY = 150
GAP = 40


def overload_plot(series: PeakSeries, recovered_s: float) -> Plot:
    """Plot the calls that began in each bin, and below them the median latency of probe callers,
    over the band of the margin. `recovered_s` is when the service had recovered; NaN if unknown.
    """
    ground = TOP + CALLS + GAP + LATENCY
    title = "Calls and probe latency around the peak"
    desc = "Above: calls offered, and of them accepted. Below: latency of probe callers; the band"
    desc += " reaches from the median before the peak to the margin above it."
    plot = Plot(WIDE, ground + 30, left=56, right=66, top=TOP, bottom=30, title=title, desc=desc)
    x = PixelScale(identity, 0.0, series.length_s, plot.x0, plot.x1)

    def points(values: Sequence[float], y: PixelScale) -> list[Point]:
        middles = ((number + 0.5) * series.bin_s for number in range(len(values)))
        pairs = zip(middles, values, strict=True)
        return [(x.clip(at), y.clip(value)) for at, value in pairs if value == value]

    plot.y0 = TOP + CALLS
    plot.text(plot.x0, TOP - 6, "calls that began: offered (line), accepted (area)", "lab")
    y = plot.count_axis(float(series.offered.max(initial=1.0)))
    begin, end = map(x.clip, series.peak_s)
    with plot.along_run():
        plot.rect(begin, TOP, end - begin, ground - TOP, "failed-band")
        opened = points(series.opened.tolist(), y)
        plot.band([(at, y(0)) for at, _ in opened], opened, "area")
        plot.path(points(series.offered.tolist(), y), "curve s1")
    plot.y1 = TOP + CALLS + GAP
    plot.y0 = ground
    levels = np.append(series.latency, series.band)
    low, high = log_range(levels[np.isfinite(levels) & (levels > 0)])
    value = log_scale(low, high, plot.y0, plot.y1)
    plot.text(plot.x0, plot.y1 - 6, "probe latency, with the band of the margin", "lab")
    plot.y_axis(value, log_ticks(low, high, 4), ms)
    marks = [(end, "end of the peak")]
    if recovered_s == recovered_s:
        marks.append((x.clip(recovered_s), "recovered (estimate)"))
    with plot.along_run():
        if np.isfinite(series.band).all():
            lower, upper = (
                [(at, value(level)) for at in (plot.x0, plot.x1)] for level in series.band
            )
            plot.band(lower, upper, "area")
        plot.path(points(series.latency.tolist(), value), "curve s0")
        for at, _ in marks:
            plot.line(at, TOP, at, ground, "curve s2")
    for row, (at, text) in enumerate(marks):
        plot.text(at + 4, TOP + 10 + 14 * row, text, "lab")
    plot.run_axis(x)
    return plot
