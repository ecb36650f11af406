"""Waits and failures by calls in progress: frames → Plot, computing nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.numbers import count, ms, percent, shortened
from reports.page.svg import (
    COLOURS,
    WIDE,
    Plot,
    Point,
    Scale,
    frame,
    identity,
    linear_ticks,
    log_range,
    log_scale,
    log_ticks,
    shape,
    tone,
)
from reports.page.trends import End, label_ends
from reports.statistics.quantiles import Estimate
from reports.summary.by_load import ByLoad, Level
from reports.summary.rates import Rate

WAITS, RATES, GAP = 230, 74, 40
"""Heights of the two panels, and between them."""
COUNTS = 15
"""Height of a line of counts below the axis."""
BESIDE = 7
"""Marks of one level stand so far beside each other."""


def levels(pools: Sequence[ByLoad]) -> Plot:
    """p50 and p95 (dashed) with intervals by calls in progress; below them the shares that failed, and the counts."""
    counted = COUNTS * (len(pools) if len(pools) <= COLOURS else 0)
    plot = frame(
        WIDE,
        WAITS + GAP + RATES + 64 + counted,
        [(pool.target, shortened(pool.label, 24)) for pool in pools] if len(pools) > 1 else (),
        left=56,
        right=44,
        top=22,
        bottom=42 + counted,
        title=f"{pools[0].measure} and failures by calls in progress",
        desc="Median and 95th percentile with 95 % intervals; below, shares that failed. "
        + "; ".join(map(_spoken, pools))
        + ".",
    )
    x = Scale(identity, 0.0, float(max(pool.levels[-1].most for pool in pools)), plot.x0, plot.x1)
    ground, top = plot.y0, plot.y1
    plot.y0 = top + WAITS
    _waits(plot, pools, x)
    plot.y0, plot.y1 = ground, ground - RATES
    _rates(plot, pools, x)
    plot.x_axis(x, linear_ticks(0.0, x.high, 10), count)
    if counted:
        _counts(plot, pools, x)
    plot.text(plot.x1, plot.h - 9, "calls in progress", "lab", "end")
    plot.y1 = top
    _read(plot, pools, x)
    return plot


def _spoken(pool: ByLoad) -> str:
    ends = (f"{level.in_progress} {_described(level)}" for level in (pool.levels[0], pool.levels[-1]))
    return f"{pool.label}: {', '.join(ends)}"


def _places(pool: ByLoad, x: Scale, slot: int, slots: int) -> list[float]:
    """Where the marks of a pool's levels stand: at the mean of their calls, beside those in other slots."""
    return [x(level.mean) + BESIDE * (slot - (slots - 1) / 2) for level in pool.levels]


def _waits(plot: Plot, pools: Sequence[ByLoad], x: Scale) -> None:
    drawn = [quantile for pool in pools for level in pool.levels for quantile in _quantiles(level)]
    low, high = log_range(end for quantile in drawn for end in (quantile.value, quantile.low, quantile.high))
    y = log_scale(low, high, plot.y0, plot.y1 + 6)
    plot.text(plot.x0, plot.y1 - 8, pools[0].measure, "lab")
    plot.y_axis(y, log_ticks(low, high, 6), ms)
    ends: list[End] = []
    for row, pool in enumerate(pools):
        placed = [*zip(_places(pool, x, row, len(pools)), pool.levels, strict=True)]
        with plot.of(pool.target):
            ends += _curve(plot, [(at, level.p50) for at, level in placed if level.p50.bounded], pool, y)
            ends += _curve(plot, [(at, level.p95) for at, level in placed if level.has_p95], pool, y)
    label_ends(plot, ends)


def _quantiles(level: Level) -> list[Estimate]:
    """Those that may be drawn."""
    return [level.p50] * level.p50.bounded + [level.p95] * level.has_p95


def _curve(plot: Plot, quantiles: Sequence[tuple[float, Estimate]], pool: ByLoad, y: Scale) -> list[End]:
    """Draw one quantile of a pool, an interval without an end up to the edge of the panel; where its line ends."""
    if not quantiles:
        return []
    tail, cls = quantiles[0][1].p > 0.5, f"s{tone(pool.target)}"
    points: list[Point] = [(at, y.clip(quantile.value)) for at, quantile in quantiles]
    plot.path(points, f"curve {cls}{' t-tail' if tail else ''}")
    for at, quantile in quantiles:
        plot.line(at, y.clip(quantile.low), at, y.clip(quantile.high), f"whisker {cls}")
    for at, height in points:
        plot.dot(at, height, shape(pool.target), f"mark {cls}{' open' if tail else ''}", 4)
    return [(points[-1][1], points[-1][0] + 2, "p95" if tail else "p50", pool.target)]


def _rates(plot: Plot, pools: Sequence[ByLoad], x: Scale) -> None:
    """The shares of turns that failed, and with open marks those of sessions that did not open, where there are any."""
    kinds = [[[level.failed for level in pool.levels] for pool in pools]]
    if any(level.unopened.count for pool in pools for level in pool.levels):
        kinds.append([[level.unopened for level in pool.levels] for pool in pools])
    most = max((rate.high for kind in kinds for rates in kind for rate in rates if rate.of), default=1.0)
    y = Scale(identity, 0.0, most, plot.y0, plot.y1)
    beside = "; open marks: sessions that did not open" if len(kinds) > 1 else ""
    plot.text(plot.x0, plot.y1 - 8, f"failed turns{beside}", "lab")
    plot.y_axis(y, linear_ticks(0.0, most, 3), lambda share: percent(share, 1) if share else "0")
    for kind, of_pools in enumerate(kinds):
        for row, (pool, rates) in enumerate(zip(pools, of_pools, strict=True)):
            at = _places(pool, x, kind * len(pools) + row, len(kinds) * len(pools))
            with plot.of(pool.target):
                _marks(plot, at, rates, y, pool.target, " open" if kind else "")


def _marks(plot: Plot, at: list[float], rates: list[Rate], y: Scale, target: int, style: str) -> None:
    for place, rate in zip(at, rates, strict=True):
        if rate.of:
            plot.line(place, y(rate.low), place, y(rate.high), f"whisker s{tone(target)}")
            plot.dot(place, y(rate.value), shape(target), f"mark s{tone(target)}{style}", 4)


def _counts(plot: Plot, pools: Sequence[ByLoad], x: Scale) -> None:
    for row, pool in enumerate(pools):
        height = plot.y0 + 17 + COUNTS * (row + 1)
        plot.text(plot.x0 - 6, height, "turns", f"tiny t{tone(pool.target)}", "end")
        for level in pool.levels:
            plot.text(x(level.mean), height, f"{level.name}: {count(level.turns)}", "tiny", "middle")


def _read(plot: Plot, pools: Sequence[ByLoad], x: Scale) -> None:
    named = {level.name: level for pool in pools for level in pool.levels}
    ordered = sorted(named.values(), key=lambda level: level.mean)
    lines = [(pool.label, {level.name: _described(level) for level in pool.levels}) for pool in pools]
    plot.read_lines([(level.name, x(level.mean), level.in_progress) for level in ordered], lines)


def _described(level: Level) -> str:
    """p50 480 ms (462 ms to 501 ms), p95 902 ms (…), 240 turns of 24 sessions, 0.8 % failed."""
    waits = [f"p{e.p * 100:g} {ms(e.value)} ({_end(e.low)} to {_end(e.high)})" for e in _quantiles(level)]
    counted = f"{count(level.turns)} turns of {count(level.sessions)} session{'' if level.sessions == 1 else 's'}"
    unopened = f", {count(level.unopened.count)} of {count(level.unopened.of)} sessions did not open"
    failed = f"{percent(level.failed.count, level.failed.of)} failed"
    return ", ".join([*waits, counted, failed]) + (unopened if level.unopened.count else "")


def _end(value: float) -> str:
    return ms(value) if math.isfinite(value) else "open"
