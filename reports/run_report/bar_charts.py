"""The small figures: steps, throughput, and the strip of intervals in the answer's table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.metrics import VAD_SEGMENTS
from reports.numbers import log_range, ms, plural, shortened, three
from reports.render import svg
from reports.render.markers import colour_class, marker_char, marker_shape
from reports.render.svg import WIDE, PixelScale, Plot, identity, linear_ticks, log_scale, log_ticks
from reports.statistics.quantiles import QuantileEstimate
from reports.summary.figures import MetricSummary
from reports.summary.segments import Breakdown
from reports.wording.breakdown import segment_title
from reports.wording.words import bound, breakdown_title

STEPS_MOST = 32
INTERVALS = 250
ARROW = 4
NAMED = 35
"""Half of the width that a line's name takes, in pixels."""


def step_bars(rows: Sequence[tuple[str, Sequence[tuple[int, MetricSummary]]]], metric: str) -> Plot:
    """Return p50 (filled) and p95 (open) of each step and target; an interval without an end goes on to an arrow."""
    rows = rows[:STEPS_MOST]
    targets = {colour: figures.target for _, group in rows for colour, figures in group}
    pitch = 16 + 18 * max(1, len(targets))
    left = int(min(300, max(100, 20 + 7.9 * max(len(step) for step, _ in rows))))  # room for the names, within reason
    height, legend = len(rows) * pitch + 50, sorted(targets.items()) if len(targets) > 1 else ()
    title = f"{metric} by step"
    desc = "For each step of the script the median and the 95th percentile with 95 % intervals."
    plot = Plot(WIDE, height, legend, left=left, right=24, bottom=40, title=title, desc=desc)
    shown = [e for _, group in rows for _, figures in group for e in _published(figures)]
    drawn = [end for e in shown for end in (e.told, e.low, e.high) if math.isfinite(end)]
    low, high = log_range(drawn or [f.high for _, group in rows for _, f in group])
    x = log_scale(low, high, plot.x0, plot.x1)
    plot.x_axis(x, log_ticks(low, high, 5), ms, metric, grid=True)
    for row, (step, group) in enumerate(rows):
        middle = plot.y1 + pitch / 2 + row * pitch
        plot.text(plot.x0 - 10, middle + 4, shortened(step, int((left - 12) / 7.9)), "rowlab", "end")
        if row:
            plot.line(0, middle - pitch / 2, plot.x1, middle - pitch / 2, "grid")
        for place, (colour, figures) in enumerate(group):
            with plot.of(colour):
                _step(plot, figures, colour, x, middle + 18 * (place - (len(group) - 1) / 2), step)
    plot.text(0, plot.y0 + 35, "filled p50, open p95", "lab")
    return plot


def _published(figures: MetricSummary) -> list[QuantileEstimate]:
    return [figures.at(p) for p in (0.5, 0.95) if figures.at(p).bounded]


def _step(plot: Plot, figures: MetricSummary, colour: int, x: PixelScale, y: float, step: str) -> None:
    shown = _published(figures)
    for estimate in shown:
        _interval(plot, estimate, x, y, colour)
    for estimate in shown:
        told = f"{bound(estimate)}{ms(estimate.told)}"
        tip = f"{figures.target}, {step}, p{estimate.p * 100:g}: {told}, {figures.n} turns"
        _mark(plot, estimate, x, y, colour, 4.2, tip)
    if not shown:
        few = f"{figures.n} turn{'' if figures.n == 1 else 's'}: too few"
        plot.text(plot.x0 + 6, y + 4, f"{figures.failed} of {figures.n} failed" if figures.failed else few, "tiny")


def _mark(
    plot: Plot, estimate: QuantileEstimate, x: PixelScale, y: float, colour: int, r: float, tip: str = ""
) -> None:
    style = f"mark {colour_class(colour)}{'' if estimate.p == 0.5 else ' open'}"
    plot.dot(x.clip(estimate.told), y, marker_shape(colour), style, r, tip)


def _interval(plot: Plot, estimate: QuantileEstimate, x: PixelScale, y: float, colour: int) -> None:
    """From end to end; where there is none an arrow at the edge."""
    low, high, cls = x.clip(estimate.low), x.clip(estimate.high), f"whisker {colour_class(colour)}"
    plot.line(low, y, high, y, cls)
    for end, at, way in ((estimate.low, low, 1), (estimate.high, high, -1)):
        if math.isinf(end):
            plot.path([(at + way * ARROW, y - ARROW), (at, y), (at + way * ARROW, y + ARROW)], cls)


def interval_scale(figures: Sequence[MetricSummary]) -> tuple[float, float]:
    """One scale for the strips of all targets."""
    shown = [e for f in figures for e in f.quantiles if e.bounded and e.p != 0.9]
    return log_range(end for e in shown for end in (e.low, e.told, e.high))


def interval_axis(ends: tuple[float, float]) -> str:
    """The ticks above the strips; the figures stand in the table, so this is for the eye alone."""
    x = log_scale(*ends, 14, INTERVALS - 14)
    texts = ((x(tick), svg.clean(ms(tick))) for tick in log_ticks(*ends, 3))
    ticks = "".join(f'<text x="{at:.1f}" y="12" class="tick" text-anchor="middle">{text}</text>' for at, text in texts)
    size = f'viewBox="0 0 {INTERVALS} 16" width="{INTERVALS}" height="16"'
    return f'<svg class="intervals" {size} aria-hidden="true">{ticks}</svg>'


def interval_plot(figures: MetricSummary, colour: int, ends: tuple[float, float]) -> str:
    """The intervals of p50, p95 and p99 on a common scale, for a cell of the table."""
    title = f"Intervals of p50, p95, p99 of {figures.target}"
    plot = Plot(INTERVALS, 30, left=14, right=14, top=2, bottom=2, title=title)
    x = log_scale(*ends, plot.x0, plot.x1)
    for tick in log_ticks(*ends, 3):
        plot.line(x(tick), 2, x(tick), 28, "grid")
    shown = [figures.at(p) for p in (0.5, 0.95, 0.99)]
    for estimate in shown:
        if estimate.bounded:
            _interval(plot, estimate, x, 15, colour)
            _mark(plot, estimate, x, 15, colour, 4)
    if any(estimate.status == "in_failures" for estimate in shown):
        plot.path([(x(ends[1]) + 2, 10), (x(ends[1]) + 8, 15), (x(ends[1]) + 2, 20)], f"whisker {colour_class(colour)}")
    return plot.svg("intervals")


PITCH = 42
BAR = 18
SWATCH = 18
ROWS_MOST = 32
INSTANTS = ("speech_stopped", "committed", "response_created", "first_audio", "first_audible", "request_sent")
SHADES = {instant: shade for shade, instant in enumerate(INSTANTS)}
"""The colour of a segment, by the instant that ends it."""


def segment_bars(rows: Sequence[Breakdown], targets: Sequence[str]) -> Plot:
    """Mean segments of voice_to_voice; those below zero lie to the left of it, and the tick is the sum."""
    rows = rows[:ROWS_MOST]
    shades = {segment_title(segment): SHADES[segment.end] for row in rows for segment in row.segments}
    low, high = min(_extent(row, -1) for row in rows), max(_extent(row, 1) for row in rows) or 1.0
    spoken = "; ".join(f"{row.target}, {breakdown_title(row)}: {ms(row.mean_ms)}" for row in rows)
    legend = svg.in_rows([(shades[name], name) for name in names_of(rows)], WIDE - 8, _width) or [[]]
    top, title = 12 + SWATCH * len(legend), "Breakdown of voice_to_voice"
    desc = f"Mean segments from the end of speech to the first audible sample. {spoken}."
    plot = Plot(WIDE, top + 28 + PITCH * len(rows), left=4, right=70, top=top, bottom=28, title=title, desc=desc)
    x = PixelScale(identity, low, high, plot.x0, plot.x1)
    plot.x_axis(x, linear_ticks(low, high, 5), lambda v: ms(v) if v else "0", grid=True)
    if low < 0:
        plot.line(x(0.0), plot.y1, x(0.0), plot.y0, "zero")
    for line, named in enumerate(legend):
        at = plot.x0 + 0.0
        for shade, name in named:
            plot.rect(at, 2 + SWATCH * line, 10, 10, f"g{shade}")
            plot.text(at + 13, 11 + SWATCH * line, name, "lab")
            at += _width(name)
    for place, row in enumerate(rows):
        with plot.of(targets.index(row.target)):
            _bar(plot, row, plot.y1 + 20 + place * PITCH, targets.index(row.target), x)
    return plot


def names_of(rows: Sequence[Breakdown]) -> list[str]:
    """The titles of all segments, in the order of their ends; the longer of two that end together first."""
    ends = {segment_title(segment): (segment.end, segment.begin) for row in rows for segment in row.segments}
    return sorted(ends, key=lambda name: [VAD_SEGMENTS.index(instant) for instant in ends[name]])


def _extent(row: Breakdown, sign: int) -> float:
    """How far its bar reaches to one side of zero."""
    return sum((value for segment in row.segments if (value := segment.mean_ms) * sign > 0), 0.0)


def _width(name: str) -> float:
    return 13 + len(name) * 7.3 + 10


def _bar(plot: Plot, row: Breakdown, y: float, colour: int, x: PixelScale) -> None:
    label = f"{shortened(row.target, 40)}, {shortened(breakdown_title(row), 80)}: {plural(row.turns, 'turn')}"
    plot.text(plot.x0, y - 5, f"{marker_char(colour)} {label}", f"rowlab {colour_class(colour, 't')}")
    right, left, whole = 0.0, 0.0, sum(segment.mean_ms for segment in row.segments)
    for segment in row.segments:
        shade, name, value = SHADES[segment.end], segment_title(segment), segment.mean_ms
        begin = right if value > 0 else left + value
        right, left = right + max(value, 0.0), left + min(value, 0.0)
        width = x(begin + abs(value)) - x(begin)
        if value:
            plot.rect(x(begin), y, max(width - 1, 0.8), BAR, f"g{shade}", f"{name}: {ms(value)}")
        if width > 34:
            plot.text(x(begin) + width / 2, y + 13, three(value), f"in{shade}", "middle")
    if left < 0:
        plot.line(x(whole), y - 3, x(whole), y + BAR + 3, "zero")
    plot.text(x(right) + 5, y + 13, ms(whole), "dl")
