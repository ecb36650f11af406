"""Plots of steps, of segments, and of histograms. They compute no values."""

import math
from collections.abc import Sequence
from itertools import pairwise

from bench.catalogue.metrics import VAD_SEGMENTS
from reports.analysis.summary.distributions import Histogram, HistogramTarget
from reports.analysis.summary.metrics import MetricSummary
from reports.analysis.summary.segments import Breakdown
from reports.formatting import count, excerpt, format_number, log_range, ms, percent, plural
from reports.render.markers import colour_class, curve_class, marker_char, marker_shape
from reports.render.svg import (
    WIDE,
    PixelScale,
    Plot,
    Point,
    in_rows,
    linear_ticks,
    log_scale,
    log_ticks,
)
from reports.results.value import TYPICAL_LEVELS
from reports.statistics.quantiles import QuantileEstimate
from reports.text.breakdown import segment_title
from reports.text.cells import breakdown_title, open_end_sign

MAX_STEPS = 32
ARROW = 4


def step_bars(rows: Sequence[tuple[str, Sequence[tuple[int, MetricSummary]]]], metric: str) -> Plot:
    """Plot p50 (filled marker) and p95 (open marker) of each step and target.

    An unbounded interval ends in an arrow.
    """
    rows = rows[:MAX_STEPS]
    targets = {colour: row.target for _, group in rows for colour, row in group}
    pitch = 16 + 18 * max(1, len(targets))
    # room for the names, within limits
    left = int(min(300, max(100, 20 + 7.9 * max(len(step) for step, _ in rows))))
    height = len(rows) * pitch + 50
    legend = sorted(targets.items()) if len(targets) > 1 else ()
    title = f"{metric} by step"
    desc = "For each step of the script the median and the 95th percentile with 95 % intervals."
    plot = Plot(WIDE, height, legend, left=left, right=24, bottom=40, title=title, desc=desc)
    estimates = [
        e for _, group in rows for _, row in group for e in _published(*map(row.at, TYPICAL_LEVELS))
    ]
    interval_ends = [
        end for e in estimates for end in (e.reported_value, e.low, e.high) if math.isfinite(end)
    ]
    low, high = log_range(interval_ends or [row.largest for _, group in rows for _, row in group])
    x = log_scale(low, high, plot.x0, plot.x1)
    plot.x_axis(x, log_ticks(low, high, 5), ms, metric, grid=True)
    for line, (step, group) in enumerate(rows):
        middle = plot.y1 + pitch / 2 + line * pitch
        plot.text(plot.x0 - 10, middle + 4, excerpt(step, int((left - 12) / 7.9)), "rowlab", "end")
        if line:
            plot.line(0, middle - pitch / 2, plot.x1, middle - pitch / 2, "grid")
        for index, (colour, row) in enumerate(group):
            with plot.of(colour):
                _step(plot, row, colour, x, middle + 18 * (index - (len(group) - 1) / 2), step)
    plot.text(0, plot.y0 + 35, "filled p50, open p95", "lab")
    return plot


def _published(*quantiles: QuantileEstimate) -> list[QuantileEstimate]:
    """Return the percentiles that have an interval, which are those that the tables show."""
    return [estimate for estimate in quantiles if estimate.has_interval]


def _step(plot: Plot, row: MetricSummary, colour: int, x: PixelScale, y: float, step: str) -> None:
    estimates = _published(*map(row.at, TYPICAL_LEVELS))
    for estimate in estimates:
        _interval(plot, estimate, x, y, colour)
    for estimate in estimates:
        value_text = f"{open_end_sign(estimate)}{ms(estimate.reported_value)}"
        tip = f"{row.target}, {step}, p{estimate.p * 100:g}: {value_text}, {row.n} turns"
        _marker(plot, estimate, x, y, colour, 4.2, tip)
    if not estimates:
        too_few = f"{row.n} turn{'' if row.n == 1 else 's'}: too few"
        plot.text(
            plot.x0 + 6, y + 4, f"{row.failed} of {row.n} failed" if row.failed else too_few, "tiny"
        )


def _marker(
    plot: Plot,
    estimate: QuantileEstimate,
    x: PixelScale,
    y: float,
    colour: int,
    r: float,
    tip: str = "",
) -> None:
    style = f"mark {colour_class(colour)}{'' if estimate.p == 0.5 else ' open'}"
    plot.dot(x.clip(estimate.reported_value), y, marker_shape(colour), style, r, tip)


def _interval(plot: Plot, estimate: QuantileEstimate, x: PixelScale, y: float, colour: int) -> None:
    """Draw an interval as a line between its ends. An unbounded end is an arrow at the edge."""
    low = x.clip(estimate.low)
    high = x.clip(estimate.high)
    cls = f"whisker {colour_class(colour)}"
    plot.line(low, y, high, y, cls)
    for end, at, sign in ((estimate.low, low, 1), (estimate.high, high, -1)):
        if math.isinf(end):
            plot.path(
                [(at + sign * ARROW, y - ARROW), (at, y), (at + sign * ARROW, y + ARROW)], cls
            )


PITCH = 42
BAR = 18
SWATCH = 18
MAX_ROWS = 32
INSTANTS = (
    "speech_stopped",
    "committed",
    "response_created",
    "first_audio",
    "first_audible",
    "request_sent",
)
SHADES = {instant: shade for shade, instant in enumerate(INSTANTS)}
"""The colour of a segment, by the instant at which the segment ends."""


def segment_bars(rows: Sequence[Breakdown], targets: Sequence[str]) -> Plot:
    """Plot the mean segments of voice_to_voice. Negative segments are left of zero; a tick then
    marks the sum.
    """
    rows = rows[:MAX_ROWS]
    shades = {
        segment_title(segment): SHADES[segment.end] for row in rows for segment in row.segments
    }
    low = min(_extent(row, -1) for row in rows)
    high = max(_extent(row, 1) for row in rows) or 1.0
    spoken = "; ".join(f"{row.target}, {breakdown_title(row)}: {ms(row.mean_ms)}" for row in rows)
    legend = in_rows([(shades[name], name) for name in names_of(rows)], WIDE - 8, _width) or [[]]
    top = 12 + SWATCH * len(legend)
    plot = Plot(
        WIDE,
        top + 28 + PITCH * len(rows),
        left=4,
        right=70,
        top=top,
        bottom=28,
        title="Breakdown of voice_to_voice",
        desc=f"Mean segments from the end of speech to the first audible sample. {spoken}.",
    )
    x = plot.along_x(low, high)
    plot.x_axis(x, linear_ticks(low, high, 5), lambda v: ms(v) if v else "0", grid=True)
    if low < 0:
        plot.line(x(0.0), plot.y1, x(0.0), plot.y0, "zero")
    for line, named in enumerate(legend):
        at = plot.x0 + 0.0
        for shade, name in named:
            plot.rect(at, 2 + SWATCH * line, 10, 10, f"g{shade}")
            plot.text(at + 13, 11 + SWATCH * line, name, "lab")
            at += _width(name)
    for index, row in enumerate(rows):
        with plot.of(targets.index(row.target)):
            _bar(plot, row, plot.y1 + 20 + index * PITCH, targets.index(row.target), x)
    return plot


def names_of(rows: Sequence[Breakdown]) -> list[str]:
    """Return the titles of all segments, in the order of the instants that end them. Of two
    segments with the same end, the longer one is first.
    """
    ends = {
        segment_title(segment): (segment.end, segment.begin)
        for row in rows
        for segment in row.segments
    }
    return sorted(ends, key=lambda name: [VAD_SEGMENTS.index(instant) for instant in ends[name]])


def _extent(row: Breakdown, sign: int) -> float:
    """Return how far the bar of a row extends from zero, in ms: to the right for `sign` 1, to
    the left for −1.
    """
    return sum((value for segment in row.segments if (value := segment.mean_ms) * sign > 0), 0.0)


def _width(name: str) -> float:
    return 13 + len(name) * 7.3 + 10


def _bar(plot: Plot, row: Breakdown, y: float, colour: int, x: PixelScale) -> None:
    label = (
        f"{excerpt(row.target, 40)}, {excerpt(breakdown_title(row), 80)}:"
        f" {plural(row.turns, 'turn')}"
    )
    plot.text(
        plot.x0, y - 5, f"{marker_char(colour)} {label}", f"rowlab {colour_class(colour, 't')}"
    )
    right = 0.0
    left = 0.0
    total = sum(segment.mean_ms for segment in row.segments)
    for segment in row.segments:
        shade = SHADES[segment.end]
        name = segment_title(segment)
        value = segment.mean_ms
        start = right if value > 0 else left + value
        right = right + max(value, 0.0)
        left = left + min(value, 0.0)
        width = x(start + abs(value)) - x(start)
        if value:
            plot.rect(x(start), y, max(width - 1, 0.8), BAR, f"g{shade}", f"{name}: {ms(value)}")
        if width > 34:
            plot.text(x(start) + width / 2, y + 13, format_number(value), f"in{shade}", "middle")
    if left < 0:
        plot.line(x(total), y - 3, x(total), y + BAR + 3, "zero")
    plot.text(x(right) + 5, y + 13, ms(total), "dl")


HEIGHT = 216
FAILED = 56
GAP = 16
"""The width of all bars of failed turns together, and of the gap to their left."""
NAME = 86.0
"""The space for the name and value of a percentile, in pixels."""
NAMED = 2
"""The maximum number of targets for which a histogram marks percentiles."""


def histogram(frame: Histogram, metric: str, wide: int = WIDE) -> Plot:
    """Plot the share of turns in each bin. One target has bars; several targets have outlines. The
    failed turns are shown on the right, beyond the axis. `wide` is the width in pixels.
    """
    targets = frame.targets
    is_single = len(frame.targets) == 1
    failing = any(target.failed for target in targets)
    marked = [
        target for target in targets if len(targets) <= NAMED and _published(*target.quantiles)
    ]
    named = [] if is_single else [(target.colour, excerpt(target.target)) for target in targets]
    right = 24 + (FAILED + GAP if failing else 0)
    rows = 14 * len(marked)
    title = f"{'Histogram' if wide == WIDE else 'Narrow histogram'} of {metric}"
    spoken = []
    for target in targets:
        quantile_texts = [
            f"p{e.p * 100:g} {open_end_sign(e)}{ms(e.reported_value)}"
            for e in _published(*target.quantiles)
        ]
        spoken.append(
            ", ".join(
                [
                    f"{target.target}: {count(target.n)} turns",
                    *quantile_texts,
                    f"{count(target.failed)} failed",
                ]
            )
        )
    desc = f"Horizontal: latency, logarithmic. Vertical: share of turns. {'; '.join(spoken)}."
    plot = Plot(
        wide, HEIGHT + rows, named, left=56, right=right, top=16 + rows, title=title, desc=desc
    )
    x = log_scale(float(frame.edges[0]), float(frame.edges[-1]), plot.x0, plot.x1)
    top = max(max(float(target.shares.max()), target.failed / target.n) for target in targets)
    y = plot.along_y(0.0, top * 1.04)
    plot.y_axis(y, linear_ticks(0.0, top, 4), lambda share: percent(share, 1) if share else "0")
    edge_xs = [x(float(edge)) for edge in frame.edges]
    for target in targets:
        with plot.of(target.colour):
            (_bars if is_single else _outline)(plot, target, edge_xs, y)
            if failing:
                _failed(plot, target, targets, y)
    plot.x_axis(x, log_ticks(x.low, x.high, wide // 100), ms, "latency (log scale)")
    if failing:
        plot.line(plot.x1 + GAP, plot.y0, plot.x1 + GAP + FAILED, plot.y0, "axis")
        plot.text(plot.x1 + GAP + FAILED / 2, plot.y0 + 17, "failed", "tick", "middle")
    heights = [plot.y1 - 6.0 - 14 * row for row in range(len(marked))]
    for target, height in zip(marked, heights, strict=True):  # all lines below all names
        with plot.of(target.colour):
            for estimate in _published(*target.quantiles):
                at = x.clip(estimate.reported_value)
                plot.line(at, height + 3, at, plot.y0, f"curve thin {colour_class(target.colour)}")
    for target, height in zip(marked, heights, strict=True):
        with plot.of(target.colour):
            _quantile_names(plot, target, x, height)
    middles = [(left + right) / 2 for left, right in pairwise(edge_xs)]
    names = [f"{ms(float(low))} to {ms(float(high))}" for low, high in pairwise(frame.edges)]
    stops = [(k, at, name) for k, (at, name) in enumerate(zip(middles, names, strict=True))]
    if failing:
        stops.append((len(middles), plot.x1 + GAP + FAILED / 2, "failed"))
    lines = []
    for target in targets:
        texts = {
            k: _share(number, target.n) for k, number in enumerate(target.counts.tolist()) if number
        }
        lines.append(
            (
                target.target,
                texts | ({len(middles): _share(target.failed, target.n)} if failing else {}),
            )
        )
    plot.read_lines(stops, lines)
    return plot


def _share(number: int, of: int) -> str:
    return f"{plural(number, 'turn')} ({percent(number, of)})"


def _bars(plot: Plot, target: HistogramTarget, edge_xs: Sequence[float], y: PixelScale) -> None:
    for (left, right), share in zip(pairwise(edge_xs), target.shares.tolist(), strict=True):
        if share:
            plot.rect(
                left,
                y(share),
                max(right - left - 1, 0.6),
                plot.y0 - y(share),
                f"bin {colour_class(target.colour)}",
            )


def _outline(plot: Plot, target: HistogramTarget, edge_xs: Sequence[float], y: PixelScale) -> None:
    steps: list[Point] = [(edge_xs[0], plot.y0)]
    for (left, right), share in zip(pairwise(edge_xs), target.shares.tolist(), strict=True):
        steps += [(left, y(share)), (right, y(share))]
    steps.append((edge_xs[-1], plot.y0))
    plot.path(steps, f"band {colour_class(target.colour)}", close=True)
    plot.path(steps, curve_class(target.colour))


def _failed(
    plot: Plot, target: HistogramTarget, targets: Sequence[HistogramTarget], y: PixelScale
) -> None:
    width = FAILED / len(targets)
    share = target.failed / target.n
    if share:
        at = plot.x1 + GAP + width * targets.index(target)
        tip = f"{target.target}: {_share(target.failed, target.n)} failed"
        plot.rect(at + 1, y(share), width - 2, plot.y0 - y(share), "failbar", tip)


def _quantile_names(plot: Plot, target: HistogramTarget, x: PixelScale, height: float) -> None:
    """Draw the name and the value of p50 and p95 at their lines. They are moved so that they do
    not overlap.
    """
    last = plot.x0 - NAME
    for estimate in _published(*target.quantiles):
        at = x.clip(estimate.reported_value)
        text = f"p{estimate.p * 100:g} {open_end_sign(estimate)}{ms(estimate.reported_value)}"
        left = at > (plot.x0 + plot.x1) * 0.75
        label_x = at if left else max(at, last + NAME)
        plot.text(
            label_x,
            height,
            text,
            f"lab {colour_class(target.colour, 't')}",
            "end" if left else "start",
        )
        last = label_x
