"""The histogram of a metric: Histogram → Plot, computing nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from reports.numbers import count, ms, percent, plural, shortened
from reports.render.markers import colour_class, curve_class
from reports.render.svg import WIDE, PixelScale, Plot, Point, identity, linear_ticks, log_scale, log_ticks
from reports.statistics.quantiles import QuantileEstimate
from reports.summary.histograms import Histogram, HistogramTarget
from reports.wording.words import bound

FAILED, GAP = 56, 16
"""Width of the bar of failed turns, and the gap before it."""
NAME = 86.0
"""Pixels that the name of a quantile takes."""
NAMED = 2
"""Up to so many targets have their quantiles marked in the figure."""


def histogram(found: Histogram, metric: str) -> Plot:
    """The share of turns in each bin: bars of one target, outlines of several; failed turns stand beyond the axis."""
    targets, alone = found.targets, len(found.targets) == 1
    failing = any(one.failed for one in targets)
    marked = [one for one in targets if len(targets) <= NAMED and _published(one)]
    named = [] if alone else [(one.colour, shortened(one.target)) for one in targets]
    right, rows = 24 + (FAILED + GAP if failing else 0), 14 * len(marked)
    title = f"Histogram of {metric}"
    spoken = []
    for one in targets:
        told = [f"p{e.p * 100:g} {bound(e)}{ms(e.told)}" for e in _published(one)]
        spoken.append(", ".join([f"{one.target}: {count(one.n)} turns", *told, f"{count(one.failed)} failed"]))
    desc = f"Horizontal: latency, logarithmic. Vertical: share of turns. {'; '.join(spoken)}."
    plot = Plot(WIDE, 300 + rows, named, left=56, right=right, top=16 + rows, title=title, desc=desc)
    x = log_scale(float(found.edges[0]), float(found.edges[-1]), plot.x0, plot.x1)
    top = max(max(float(one.shares.max()), one.failed / one.n) for one in targets)
    y = PixelScale(identity, 0.0, top * 1.04, plot.y0, plot.y1)
    plot.y_axis(y, linear_ticks(0.0, top, 4), lambda share: percent(share, 1) if share else "0")
    places = [x(float(edge)) for edge in found.edges]
    for one in targets:
        with plot.of(one.colour):
            (_bars if alone else _outline)(plot, one, places, y)
            if failing:
                _failed(plot, one, targets, y)
    plot.x_axis(x, log_ticks(x.low, x.high, 8), ms, "latency (log scale)")
    if failing:
        plot.line(plot.x1 + GAP, plot.y0, plot.x1 + GAP + FAILED, plot.y0, "axis")
        plot.text(plot.x1 + GAP + FAILED / 2, plot.y0 + 17, "failed", "tick", "middle")
    heights = [plot.y1 - 6.0 - 14 * row for row in range(len(marked))]
    for one, height in zip(marked, heights, strict=True):  # all lines below all names
        with plot.of(one.colour):
            for estimate in _published(one):
                at = x.clip(estimate.told)
                plot.line(at, height + 3, at, plot.y0, f"curve thin {colour_class(one.colour)}")
    for one, height in zip(marked, heights, strict=True):
        with plot.of(one.colour):
            _quantile_names(plot, one, x, height)
    middles = [(left + right) / 2 for left, right in pairwise(places)]
    names = [f"{ms(float(low))} to {ms(float(high))}" for low, high in pairwise(found.edges)]
    stops = [(k, at, name) for k, (at, name) in enumerate(zip(middles, names, strict=True))]
    if failing:
        stops.append((len(middles), plot.x1 + GAP + FAILED / 2, "failed"))
    lines = []
    for one in targets:
        texts = {k: _share(number, one.n) for k, number in enumerate(one.counts.tolist()) if number}
        lines.append((one.target, texts | ({len(middles): _share(one.failed, one.n)} if failing else {})))
    plot.read_lines(stops, lines)
    return plot


def _share(number: int, of: int) -> str:
    """12 turns (5.5 %)."""
    return f"{plural(number, 'turn')} ({percent(number, of)})"


def _bars(plot: Plot, one: HistogramTarget, places: Sequence[float], y: PixelScale) -> None:
    for (left, right), share in zip(pairwise(places), one.shares.tolist(), strict=True):
        if share:
            plot.rect(left, y(share), max(right - left - 1, 0.6), plot.y0 - y(share), f"bin {colour_class(one.colour)}")


def _outline(plot: Plot, one: HistogramTarget, places: Sequence[float], y: PixelScale) -> None:
    steps: list[Point] = [(places[0], plot.y0)]
    for (left, right), share in zip(pairwise(places), one.shares.tolist(), strict=True):
        steps += [(left, y(share)), (right, y(share))]
    steps.append((places[-1], plot.y0))
    plot.path(steps, f"band {colour_class(one.colour)}", close=True)
    plot.path(steps, curve_class(one.colour))


def _failed(plot: Plot, one: HistogramTarget, targets: Sequence[HistogramTarget], y: PixelScale) -> None:
    width, share = FAILED / len(targets), one.failed / one.n
    if share:
        at = plot.x1 + GAP + width * targets.index(one)
        tip = f"{one.target}: {_share(one.failed, one.n)} failed"
        plot.rect(at + 1, y(share), width - 2, plot.y0 - y(share), "failbar", tip)


def _published(one: HistogramTarget) -> list[QuantileEstimate]:
    """p50 and p95, as far as the tables have them."""
    return [estimate for estimate in one.quantiles if estimate.bounded]


def _quantile_names(plot: Plot, one: HistogramTarget, x: PixelScale, height: float) -> None:
    """The names of the lines of p50 and p95, with their values, moved apart."""
    last = plot.x0 - NAME
    for estimate in _published(one):
        at = x.clip(estimate.told)
        text = f"p{estimate.p * 100:g} {bound(estimate)}{ms(estimate.told)}"
        left = at > (plot.x0 + plot.x1) * 0.75
        place = at if left else max(at, last + NAME)
        plot.text(place, height, text, f"lab {colour_class(one.colour, 't')}", "end" if left else "start")
        last = place
