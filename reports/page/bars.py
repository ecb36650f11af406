"""The small figures: steps, throughput, and the strip of intervals in the answer's table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.numbers import clock, ms, scale_of, shortened, three
from reports.page.frames import Flow
from reports.page.svg import (
    WIDE,
    Plot,
    Point,
    Scale,
    clean,
    frame,
    identity,
    linear_ticks,
    log_range,
    log_scale,
    log_ticks,
    shape,
    tone,
)
from reports.statistics.quantiles import Estimate
from reports.summary.figures import Figures
from reports.wording.words import bound

STEPS_MOST = 32
STRIP = 250
ARROW = 4
NAMED = 35
"""Half of the width that a line's name takes, in pixels."""


def steps(rows: Sequence[tuple[str, Sequence[tuple[int, Figures]]]], measure: str) -> Plot:
    """For each step and target p50 (filled) and p95 (open) with their intervals, where they may be told.

    An interval without an end goes on to an arrow at the edge, and its mark stands at its other end.
    """
    rows = rows[:STEPS_MOST]
    targets = {colour: figures.target for _, group in rows for colour, figures in group}
    pitch, left = 16 + 18 * max(1, len(targets)), _gutter([step for step, _ in rows])
    plot = frame(
        WIDE,
        len(rows) * pitch + 50,
        sorted(targets.items()) if len(targets) > 1 else (),
        left=left,
        right=24,
        bottom=40,
        title=f"{measure} by step",
        desc="For each step of the script the median and the 95th percentile with 95 % intervals.",
    )
    low, high = log_range(_drawn(rows))
    x = log_scale(low, high, plot.x0, plot.x1)
    plot.x_axis(x, log_ticks(low, high, 5), ms, measure, grid=True)
    for row, (step, group) in enumerate(rows):
        middle = plot.y1 + pitch / 2 + row * pitch
        plot.text(plot.x0 - 10, middle + 4, shortened(step, int((left - 12) / 7.9)), "rowlab", "end")
        if row:
            plot.line(0, middle - pitch / 2, plot.x1, middle - pitch / 2, "grid")
        for place, (colour, figures) in enumerate(group):
            with plot.of(colour):
                _step(plot, figures, colour, x, middle + 18 * (place - (len(group) - 1) / 2), step)
    plot.text(0, plot.y0 + 33, "filled p50, open p95", "lab")
    return plot


def _gutter(labels: Sequence[str]) -> int:
    """Room for the labels of rows, within reason."""
    return int(min(300, max(100, 20 + 7.9 * max(len(label) for label in labels))))


def _drawn(rows: Sequence[tuple[str, Sequence[tuple[int, Figures]]]]) -> list[float]:
    shown = [e for _, group in rows for _, figures in group for e in _published(figures)]
    ends = [end for e in shown for end in (e.told, e.low, e.high) if math.isfinite(end)]
    return ends or [f.high for _, group in rows for _, f in group]


def _published(figures: Figures) -> list[Estimate]:
    return [figures.at(p) for p in (0.5, 0.95) if figures.at(p).bounded]


def _step(plot: Plot, figures: Figures, colour: int, x: Scale, y: float, step: str) -> None:
    shown = _published(figures)
    for estimate in shown:
        _interval(plot, estimate, x, y, colour)
    for estimate in shown:
        told = f"{bound(estimate)}{ms(estimate.told)}"
        tip = f"{figures.target}, {step}, p{estimate.p * 100:g}: {told}, {figures.n} turns"
        open_ = "" if estimate.p == 0.5 else " open"
        plot.dot(x.clip(estimate.told), y, shape(colour), f"mark s{tone(colour)}{open_}", 4.2, tip)
    if not shown:
        few = (
            f"{figures.n} turn{'' if figures.n == 1 else 's'}: too few"
            if not figures.failed
            else f"{figures.failed} of {figures.n} failed"
        )
        plot.text(plot.x0 + 6, y + 4, few, "tiny")


def _interval(plot: Plot, estimate: Estimate, x: Scale, y: float, colour: int) -> None:
    """From end to end; where there is none an arrow at the edge."""
    low, high, cls = x.clip(estimate.low), x.clip(estimate.high), f"whisker s{tone(colour)}"
    plot.line(low, y, high, y, cls)
    for end, at, way in ((estimate.low, low, 1), (estimate.high, high, -1)):
        if math.isinf(end):
            plot.path([(at + way * ARROW, y - ARROW), (at, y), (at + way * ARROW, y + ARROW)], cls)


def flow(sums: Flow, length_s: float, w: int) -> Plot:
    """Bytes per second sent and received, all targets together."""
    size, unit = scale_of(float(max(sums.sent.max(), sums.received.max())))
    kind = {"audio": "decoded audio", "wire": "WebSocket frames"}[sums.kind]
    plot = Plot(
        w,
        226,
        left=50,
        right=24,
        top=26,
        bottom=28,
        title=f"Throughput of {kind}",
        desc="Bytes per second, sent and received, all targets together.",
    )
    top = float(max(sums.sent.max(), sums.received.max())) / size
    x, y = Scale(identity, 0.0, length_s, plot.x0, plot.x1), Scale(identity, 0.0, top * 1.05 or 1.0, plot.y0, plot.y1)
    plot.y_axis(y, linear_ticks(0.0, top, 4), three)
    plot.run_axis(x, 5)
    plot.text(plot.x0, plot.y1 - 10, f"{unit}/s of {kind}", "lab")
    lines = {}
    for word, values, style in (("received", sums.received, ""), ("sent", sums.sent, " t-tail")):
        lines[word] = [(x.clip(t), y(v / size)) for t, v in zip(sums.at_s, values, strict=True)]
        with plot.along_run():
            plot.path(lines[word], f"curve flow{style}")
    at = _widest(*lines.values())
    upper, lower = sorted(lines, key=lambda word: lines[word][at][1])
    _on_line(plot, upper, lines[upper], at, above=True)
    _on_line(plot, lower, lines[lower], at, above=False)
    said = [
        f"{clock(t, long=length_s > 180)} · received {three(b / size)} {unit}/s · sent {three(a / size)} {unit}/s"
        for t, a, b in zip(sums.at_s, sums.sent, sums.received, strict=True)
    ]
    plot.readout([x.clip(t) for t in sums.at_s], said)
    return plot


def _widest(first: Sequence[Point], second: Sequence[Point]) -> int:
    """The place among the points of two lines where they are furthest apart, off the ends of these."""
    inner = range(len(first) // 8, max(len(first) // 8 + 1, 7 * len(first) // 8))
    return max(inner, key=lambda place: abs(first[place][1] - second[place][1]))


def _on_line(plot: Plot, word: str, points: Sequence[Point], place: int, *, above: bool) -> None:
    """The name of a line at one of its points, above or below what is there of it."""
    at = points[place][0]
    heights = [height for x, height in points if abs(x - at) <= NAMED]
    low = min(max(heights) + 16, plot.y0 - 5)
    plot.text(at, max(min(heights) - 6, plot.y1) if above else low, word, "lab whole", "middle")


def strip_scale(figures: Sequence[Figures]) -> tuple[float, float]:
    """One scale for the strips of all targets."""
    shown = [e for f in figures for e in f.quantiles if e.bounded and e.p != 0.9]
    return log_range(end for e in shown for end in (e.low, e.told, e.high))


def strip_axis(ends: tuple[float, float]) -> str:
    """The ticks above the strips; the figures stand in the table, so this is for the eye alone."""
    x = log_scale(*ends, 14, STRIP - 14)
    ticks = "".join(
        f'<text x="{x(t):.1f}" y="12" class="tick" text-anchor="middle">{clean(ms(t))}</text>'
        for t in log_ticks(*ends, 3)
    )
    return f'<svg class="strip" viewBox="0 0 {STRIP} 16" width="{STRIP}" height="16" aria-hidden="true">{ticks}</svg>'


def strip(figures: Figures, colour: int, ends: tuple[float, float]) -> str:
    """The intervals of p50, p95 and p99 on a common scale, for a cell of the table."""
    plot = Plot(STRIP, 30, left=14, right=14, top=2, bottom=2, title=f"Intervals of p50, p95, p99 of {figures.target}")
    x = log_scale(*ends, plot.x0, plot.x1)
    for tick in log_ticks(*ends, 3):
        plot.line(x(tick), 2, x(tick), 28, "grid")
    shown = [figures.at(p) for p in (0.5, 0.95, 0.99)]
    for estimate in shown:
        if estimate.bounded:
            _interval(plot, estimate, x, 15, colour)
            open_ = "" if estimate.p == 0.5 else " open"
            plot.dot(x.clip(estimate.told), 15, shape(colour), f"mark s{tone(colour)}{open_}", 4)
    if any(estimate.status == "failed share" for estimate in shown):
        plot.path([(x(ends[1]) + 2, 10), (x(ends[1]) + 8, 15), (x(ends[1]) + 2, 20)], f"whisker s{tone(colour)}")
    return plot.svg("strip")
