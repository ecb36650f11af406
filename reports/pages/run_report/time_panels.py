"""Plots over the time of a run: latency and failures, rate limits, and arrivals. They compute no
values.
"""

import math
from collections.abc import Iterable

import numpy as np

from reports.analysis.summary.load import CallBins, RateLimitSeries, Throttling
from reports.analysis.summary.over_time import ROWS, OverTime, Panel, StepsOverTime, TimeBin
from reports.formatting import (
    NBSP,
    clock,
    count,
    excerpt,
    format_duration,
    join_words,
    ms,
    percent,
    plural,
)
from reports.render.markers import colour_class, marker_char
from reports.render.svg import (
    FAILED_BAND,
    WIDE,
    PixelScale,
    Plot,
    Point,
)

MAX_TICKS = 300
"""The maximum number of failures that are drawn one by one. With more, a shade shows the share of
failures in each bin.
"""


def _run_plot(height: int, top: int, title: str, desc: str) -> Plot:
    return Plot(WIDE, height, left=56, right=66, top=top, bottom=30, title=title, desc=desc)


def _bin_stops(
    bins: Iterable[TimeBin], bin_s: float, length_s: float, x: PixelScale
) -> list[tuple[float, float, str]]:
    """Return (start, pixel of the middle, start as text) of each bin, for the readout."""
    starts = sorted({bin_.begin_s for bin_ in bins})
    return [
        (start, x.clip(start + bin_s / 2), f"from {clock(start, long=length_s > 180)}")
        for start in starts
    ]


def time_panels(frame: OverTime) -> Plot:
    """Plot a panel for each target, and a panel of the active sessions below them. The panel of a
    target shows its turns as dots or as a shade, p50 and p95 of each bin, and failures at the top.
    """
    panel_height = 150 if frame.is_plottable else FAILED_BAND
    gap = 34
    foot = 52
    panel_count = len(frame.panels)
    has_active = frame.active[0].size > 0
    height = 24 + panel_count * (panel_height + gap) + (foot + 8 if has_active else -gap + 8) + 30
    desc = "One panel per target, and per start instant if there are several. "
    desc += "Lines: the median and the 95th percentile; ticks in the band above: failed turns. "
    desc += "; ".join(
        f"{p.label}: {count(p.turns)} turns, {count(p.failed)} failed"
        + (f", {count(p.not_started)} of them not started" if p.not_started else "")
        for p in frame.panels
    )
    plot = _run_plot(height, 24, f"{join_words(list(frame.metrics))} over time", desc)
    x = plot.along_x(0.0, frame.duration_s)
    ground = plot.y0
    for row, panel in enumerate(frame.panels):
        bottom = 24 + row * (panel_height + gap) + panel_height
        plot.y0 = bottom
        plot.y1 = bottom - panel_height
        with plot.of(panel.colour):
            _panel(plot, panel, frame, x)
        with plot.along_run():
            if frame.warmup_s:
                plot.rect(
                    plot.x0, plot.y1, x.clip(frame.warmup_s) - plot.x0, plot.y0 - plot.y1, "veil"
                )
    warm = x.clip(frame.warmup_s) if frame.warmup_s else plot.x0
    if warm - plot.x0 > 60:  # the meaning of the veil of the first panel, if there is room
        for line, text in enumerate(("warm-up,", "not counted")):
            plot.text(
                (plot.x0 + warm) / 2,
                24 + FAILED_BAND + 14 + 16 * line,
                text,
                "tiny whole",
                "middle",
            )
    plot.y0 = ground
    if has_active:
        plot.y1 = ground - foot
        at, sessions = frame.active
        plot.text(plot.x0, plot.y1 - 6, "active sessions", "lab")
        y = plot.count_axis(float(sessions.max()))
        with plot.along_run():
            upper = [(x.clip(t), y(n)) for t, n in zip(at, sessions, strict=True)]
            plot.band([(x.clip(t), y(0)) for t in at], upper, "area")
    plot.run_axis(x)
    plot.y1 = 24
    lines = []
    for panel in frame.panels:
        texts = {}
        for time_bin in panel.bins:
            quantiles = (("p50", time_bin.p50), ("p95", time_bin.p95))
            quantile_texts = [
                f"{p} {'failed' if value == math.inf else ms(value)}"
                for p, value in quantiles
                if value == value
            ]
            failed = f", {time_bin.failed} failed" if time_bin.failed else ""
            texts[time_bin.begin_s] = ", ".join(
                [
                    *quantile_texts,
                    f"{time_bin.turns} turn{'' if time_bin.turns == 1 else 's'}{failed}",
                ]
            )
        lines.append((panel.label, texts))
    bins = (bin_ for panel in frame.panels for bin_ in panel.bins)
    plot.read_lines(_bin_stops(bins, frame.bin_s, frame.duration_s, x), lines)
    return plot


def _panel(plot: Plot, panel: Panel, frame: OverTime, x: PixelScale) -> None:
    rail = FAILED_BAND if panel.failures_s.size else 0
    name = f"{marker_char(panel.colour)} {excerpt(panel.label, 60)}"
    plot.text(plot.x0, plot.y1 - 6, name, f"dl {colour_class(panel.colour, 't')}")
    if frame.is_plottable:
        _values(plot, panel, frame, x, rail)
    if rail:
        with plot.along_run():
            # failed turns above the others: a tick each, or with many turns their share in each bin
            # as a shade
            plot.rect(plot.x0, plot.y1, plot.x1 - plot.x0, rail, "failed-band")
            if panel.failures_s.size <= MAX_TICKS:
                for at in panel.failures_s:
                    plot.line(x.clip(at), plot.y1 + 1, x.clip(at), plot.y1 + rail - 1, "fail")
            else:
                for bin_ in panel.bins:
                    left = x.clip(bin_.begin_s)
                    right = x.clip(bin_.begin_s + frame.bin_s)
                    shade = math.ceil(5 * math.sqrt(bin_.failed / bin_.turns))
                    plot.rect(left, plot.y1 + 1, right - left, rail - 2, f"failcell k{shade}")
        plot.text(plot.x1 + 6, plot.y1 + 10, f"{count(panel.failed)} failed", "lab whole")


def _values(plot: Plot, panel: Panel, frame: OverTime, x: PixelScale, rail: int) -> None:
    cls = colour_class(panel.colour)
    y = plot.latency_axis(frame.low, frame.high, 4, above=rail + 4)
    lines = {
        "mid": ("p50", _points(panel, "p50", frame, x, y)),
        "tail": ("p95", _points(panel, "p95", frame, x, y)),
    }
    with plot.along_run():
        if panel.dots is None:
            # shades by the square root of the count, because otherwise rare slow turns vanish
            level = np.ceil(np.sqrt(panel.cells / max(1, panel.cells.max())) * 5).astype(int)
            wide = (plot.x1 - plot.x0) / panel.cells.shape[0]
            high = (y.start - y.end) / ROWS
            for shade in range(1, 6):
                boxes = "".join(
                    f"M{plot.x0 + i * wide:.1f}"
                    f" {y.start - (j + 1) * high:.1f}h{wide:.1f}v{high:.1f}h{-wide:.1f}Z"
                    for i, j in np.argwhere(level == shade)
                )
                if boxes:
                    plot.add(f'<path d="{boxes}" class="cell {cls} k{shade}"/>')
        else:
            for at, value in zip(*panel.dots, strict=True):
                plot.point(x.clip(at), y.clip(value), cls)
        for style, (_, points) in lines.items():
            plot.path(points, "halo" if panel.dots is None else "halo thin")
            plot.path(points, f"curve t-{style} {cls}")
    for label, points in lines.values():
        if points:
            below = plot.y1 + (2 * FAILED_BAND if panel.failures_s.size else 0)
            at_end = points[-1][0] + 6, max(points[-1][1] + 4, below)
            plot.text(*at_end, label, f"lab {colour_class(panel.colour, 't')} whole")


def _points(
    panel: Panel, quantile: str, frame: OverTime, x: PixelScale, y: PixelScale
) -> list[Point]:
    return [
        (x.clip(start_s + frame.bin_s / 2), y.clip(value))
        for start_s, value in panel.line(quantile)
    ]


PANEL_HEIGHT = 62
GAP = 26


def step_panels(frame: StepsOverTime) -> Plot:
    """Plot a panel for each step, with the median of each bin.

    Each target is a line; all panels have the same scale.
    """
    named = sorted(
        {(series.target, excerpt(frame.targets[series.target], 24)) for series in frame.series}
    )
    height = len(frame.steps) * (PANEL_HEIGHT + GAP) + 30
    legend = named if len(named) > 1 else ()
    title = f"{frame.metric} of each step over time"
    desc = (
        f"One panel for each step: {', '.join(frame.steps)}. Lines: medians of the turns in each"
        " interval."
    )
    plot = Plot(WIDE, height, legend, left=56, right=24, top=0, bottom=30, title=title, desc=desc)
    x = plot.along_x(0.0, frame.duration_s)
    ground = plot.y0
    top = plot.y1
    for row, step in enumerate(frame.steps):
        plot.y1 = top + row * (PANEL_HEIGHT + GAP) + GAP
        plot.y0 = plot.y1 + PANEL_HEIGHT
        plot.text(plot.x0, plot.y1 - 7, excerpt(step, 60), "rowlab")
        y = plot.latency_axis(frame.low, frame.high, 3)
        for series in frame.series:
            if series.step == step:
                points = [
                    (x.clip(bin_.begin_s + frame.bin_s / 2), y.clip(bin_.p50))
                    for bin_ in series.bins
                ]
                with plot.of(series.target), plot.along_run():
                    plot.path(points, f"curve {colour_class(series.target)}")
                    for point in points:
                        plot.point(*point, f"solid {colour_class(series.target)}")
    plot.y0 = ground
    plot.y1 = top
    plot.run_axis(x)
    _read(plot, frame, x)
    return plot


def _read(plot: Plot, frame: StepsOverTime, x: PixelScale) -> None:
    """Add a readout with a stop for each bin. A stop has a text for each step, such as `greeting
    direct 480 ms, gateway 510 ms`.
    """
    lines = []
    for step in frame.steps:
        texts: dict[float, str] = {}
        for series in frame.series:
            for bin_ in series.bins if series.step == step else ():
                text = f"{frame.targets[series.target]} " if len(frame.targets) > 1 else ""
                text += "failed" if bin_.p50 == math.inf else ms(bin_.p50)
                texts[bin_.begin_s] = (
                    f"{texts[bin_.begin_s]}, {text}" if bin_.begin_s in texts else text
                )
        lines.append((step, texts))
    bins = (bin_ for series in frame.series for bin_ in series.bins)
    plot.read_lines(_bin_stops(bins, frame.bin_s, frame.duration_s, x), lines)


SHARE = 64
COUNT = 46
BETWEEN_TARGETS = 50
PART_GAP = 28
STYLES = {"tokens": "t-mid", "requests": "t-tail"}


def limit_panels(frame: RateLimitSeries) -> Plot:
    """Plot the share of each target's limits that remained. Below it, plot the throttled turns
    and sessions.
    """
    plotted = [
        (index, throttling)
        for index, throttling in enumerate(frame.targets)
        if throttling.remaining or throttling.counts.any()
    ]
    spoken: list[str] = []
    for _, throttling in plotted:
        min_shares = [
            f"at least {percent(share, 1)} of {limit} remained"
            for limit, share in throttling.min_remaining.items()
        ]
        turns = plural(throttling.throttled_turns, "turn")
        throttled = f"{turns} and {plural(throttling.throttled_sessions, 'session')} throttled"
        spoken.append(f"{throttling.target}: {', '.join([throttled, *min_shares])}")
    height = sum(BETWEEN_TARGETS + _height(throttling) for _, throttling in plotted) + 30
    desc = (
        "For each target, the minimum share of its limits that remained, and throttled turns and"
        " sessions. "
    )
    plot = _run_plot(height, 0, "Limits of the service over time", desc + "; ".join(spoken))
    x = plot.along_x(0.0, frame.duration_s)
    ground = plot.y0
    top = 0.0
    for index, throttling in plotted:
        with plot.of(index):
            _target(plot, throttling, index, frame.bin_s, x, top)
        top += BETWEEN_TARGETS + _height(throttling)
    plot.y0 = ground
    plot.y1 = 0
    plot.run_axis(x)
    stops = []
    rows = []
    for bin_ in range(frame.targets[0].counts.size):
        texts = []
        for _, throttling in plotted:  # such as: sweden 3 throttled, 42 % of tokens left
            target_texts = (
                [f"{count(throttling.counts[bin_])} throttled"] if throttling.counts[bin_] else []
            )
            for remaining in throttling.remaining:
                (at_bin,) = np.nonzero(np.isclose(remaining.at_s, (bin_ + 0.5) * frame.bin_s))
                target_texts += (
                    [f"{percent(float(remaining.share[at_bin[0]]), 1)} of {remaining.limit} left"]
                    if at_bin.size
                    else []
                )
            texts += [f"{throttling.target} {', '.join(target_texts)}"] if target_texts else []
        if texts:
            stops.append(x.clip((bin_ + 0.5) * frame.bin_s))
            rows.append(
                " · ".join(
                    [f"from {clock(bin_ * frame.bin_s, long=frame.duration_s > 180)}", *texts]
                )
            )
    plot.readout(stops, rows)
    return plot


def _target(
    plot: Plot, throttling: Throttling, index: int, bin_s: float, x: PixelScale, top: float
) -> None:
    plot.text(
        plot.x0,
        top + 24,
        f"{marker_char(index)} {excerpt(throttling.target, 60)}",
        f"dl {colour_class(index, 't')}",
    )
    top += BETWEEN_TARGETS
    if throttling.remaining:
        plot.y1 = int(top)
        plot.y0 = int(top) + SHARE
        y = plot.along_y(0.0, 1.0)
        plot.text(plot.x0, plot.y1 - 7, "share of the limit that remained", "lab")
        plot.y_axis(y, (0.0, 0.5, 1.0), lambda share: f"{share * 100:.0f}{NBSP}%")
        ends = []
        for remaining in throttling.remaining:
            points = [
                (x.clip(at), y(share))
                for at, share in zip(remaining.at_s, remaining.share, strict=True)
            ]
            with plot.along_run():
                plot.path(points, f"curve {STYLES[remaining.limit]} {colour_class(index)}")
                if len(points) == 1:
                    plot.dot(*points[0], "circle", f"mark {colour_class(index)}", 3)
            ends.append((points[-1], remaining.limit))
        for row, (end, limit) in enumerate(sorted(ends, key=lambda end: end[0][1])):
            below = min(y for (_, y), _ in ends) + 14 * row
            plot.text(
                plot.x1 + 6, max(end[1], below) + 4, limit, f"lab {colour_class(index, 't')} whole"
            )
        top += SHARE + PART_GAP
    if throttling.counts.any():
        plot.y1 = int(top)
        plot.y0 = int(top) + COUNT
        plot.text(plot.x0, plot.y1 - 7, "throttled turns and sessions", "lab")
        y = plot.count_axis(float(throttling.counts.max()))
        with plot.along_run():
            for bin_index, number in enumerate(throttling.counts):
                if number:
                    left = x.clip(bin_index * bin_s)
                    right = x.clip((bin_index + 1) * bin_s)
                    tip = f"from {clock(bin_index * bin_s, long=True)}: {count(number)} throttled"
                    plot.rect(
                        left,
                        y(number),
                        max(1.5, right - left - 1),
                        plot.y0 - y(number),
                        "failcell",
                        tip,
                    )
        plot.line(plot.x0, plot.y0, plot.x1, plot.y0, "axis")


def _height(throttling: Throttling) -> int:
    both = bool(throttling.remaining) and bool(throttling.counts.any())
    return (
        (SHARE if throttling.remaining else 0)
        + (COUNT if throttling.counts.any() else 0)
        + (PART_GAP if both else 0)
    )


def arrivals(frame: CallBins) -> Plot:
    """Plot the calls that arrived over time. The blocked calls are drawn above the carried
    calls.
    """
    length_s = frame.bin_s * frame.calls.size
    desc = f"{count(frame.calls.sum())} calls, {count(frame.blocked.sum())} of them blocked."
    plot = _run_plot(180, 26, "Calls that arrived over time", desc)
    x = plot.along_x(0.0, length_s)
    plot.text(plot.x0, plot.y1 - 9, f"calls each {format_duration(frame.bin_s)}", "lab")
    y = plot.count_axis(float(frame.calls.max(initial=1.0)))
    long = length_s > 180
    stops = []
    texts = []
    with plot.along_run():
        for index, (calls, blocked) in enumerate(zip(frame.calls, frame.blocked, strict=True)):
            left = x.clip(index * frame.bin_s)
            right = x.clip((index + 1) * frame.bin_s)
            width = max(1.0, right - left - 1)
            if calls > blocked:
                plot.rect(
                    left, y(calls - blocked), width, plot.y0 - y(calls - blocked), "cell s0 k4"
                )
            if blocked:
                plot.rect(left, y(calls), width, y(calls - blocked) - y(calls), "failcell")
            stops.append((left + right) / 2)
            blocked_text = f" · {count(blocked)} blocked" if blocked else ""
            texts.append(
                f"from {clock(index * frame.bin_s, long=long)} · {count(calls)} calls{blocked_text}"
            )
    plot.line(plot.x0, plot.y0, plot.x1, plot.y0, "axis")
    plot.run_axis(x)
    plot.readout(stops, texts)
    return plot
