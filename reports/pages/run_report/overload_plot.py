"""The plot of a peak of load: calls, and the latency of probe callers. It computes no values."""

from __future__ import annotations

import numpy as np

from reports.analysis.overload.series import PeakSeries
from reports.formatting import log_range, ms
from reports.render.svg import WIDE, PixelScale, Plot, identity, log_scale, log_ticks

CALLS = 90
LATENCY = 150
GAP = 40


def overload_plot(series: PeakSeries, recovered_s: float) -> Plot:
    """Plot the calls that began in each bin, and below them the median latency of probe callers,
    over the band of the margin. `recovered_s` is when the service had recovered; NaN if unknown.
    """
    height = 24 + CALLS + GAP + LATENCY + 30
    title = "Calls and probe latency around the peak"
    desc = "Above: calls offered, and of them accepted. Below: latency of probe callers; the band"
    desc += " reaches from the median before the peak to the margin above it."
    plot = Plot(WIDE, height, left=56, right=66, top=24, bottom=30, title=title, desc=desc)
    x = PixelScale(identity, 0.0, series.length_s, plot.x0, plot.x1)
    ground = plot.y0
    edges = np.arange(series.offered.size) * series.bin_s + series.bin_s / 2
    plot.y0 = 24 + CALLS
    plot.y1 = 24
    plot.text(plot.x0, plot.y1 - 6, "calls: offered (line), accepted (area)", "lab")
    y = plot.count_axis(float(series.offered.max(initial=1.0)))
    with plot.along_run():
        plot.rect(
            x.clip(series.peak_s[0]),
            24,
            x.clip(series.peak_s[1]) - x.clip(series.peak_s[0]),
            ground - 24,
            "veil",
        )
        accepted, offered = (
            [(x.clip(at), y(number)) for at, number in zip(edges, numbers, strict=True)]
            for numbers in (series.opened, series.offered)
        )
        plot.band([(at, y(0)) for at, _ in accepted], accepted, "area")
        plot.path(offered, "curve s1")
    plot.y1 = 24 + CALLS + GAP
    plot.y0 = ground
    known = np.isfinite(series.latency)
    levels = np.append(series.latency[known], series.band)
    low, high = log_range(levels[np.isfinite(levels) & (levels > 0)])
    value = log_scale(low, high, plot.y0, plot.y1)
    plot.text(plot.x0, plot.y1 - 6, "probe latency, with the band of the margin", "lab")
    plot.y_axis(value, log_ticks(low, high, 4), ms)
    with plot.along_run():
        if np.isfinite(series.band).all():
            lower, upper = (
                [(x.clip(at), value.clip(end)) for at in (0.0, series.length_s)]
                for end in series.band
            )
            plot.band(lower, upper, "area")
        points = zip(edges[known], series.latency[known], strict=True)
        plot.path([(x.clip(at), value.clip(each)) for at, each in points], "curve s0")
        for at_s in filter(np.isfinite, (series.peak_s[1], recovered_s)):
            plot.line(x.clip(at_s), 24, x.clip(at_s), ground, "curve s2")
    for at_s, text in ((series.peak_s[1], "end of the peak"), (recovered_s, "recovered")):
        if np.isfinite(at_s):
            plot.text(x.clip(at_s) + 4, ground - 6, text, "lab")
    plot.run_axis(x)
    return plot
