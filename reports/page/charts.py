"""The percentile curves: (frame, width) → Plot, computing nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.bins import log_range, nines
from reports.numbers import count, ms, percent, shortened
from reports.page.svg import (
    COLOURS,
    WIDE,
    Plot,
    Scale,
    frame,
    identity,
    linear_ticks,
    log_scale,
    log_ticks,
    shape,
    tone,
)
from reports.statistics.quantiles import Estimate
from reports.summary.curves import GRIDS, Curve, Way, Ways

SHELF = 12
MARKED = (0.5, 0.75, 0.9, 0.95, 0.99)
LABELLED = 2
"""Up to so many failing targets are named on the shelf; the shares of more stand in the legend."""


def percentiles(curves: Sequence[Curve], measure: str, w: int = WIDE) -> Plot:
    """Latency over percentiles on an axis of nines; a curve that meets the shelf has only failed turns beyond."""
    half = w < WIDE
    failing = [curve for curve in curves if curve.failed]
    plot = frame(
        w,
        304 if half else 374,
        _named(curves),
        left=56,
        right=14 if half else 84,
        top=10 + (15 * len(failing) if len(failing) <= LABELLED else 0),
        title=f"Percentile curve of {measure}",
        desc="Horizontal: percentile on a scale of nines. Vertical: latency, logarithmic. " + _spoken(curves),
    )
    low, high = log_range(end for curve in curves for e in curve.points for end in (e.value, e.low, e.high))
    end = min(0.9999, max(0.9, 1 - 1 / max(curve.n for curve in curves)))
    if len(failing) == len(curves):  # nothing but the shelf lies far beyond the last good turn
        end = min(end, max(0.96, 1 - min(curve.failed / curve.n for curve in curves) / 3))
    x = Scale(nines, 0.0, end, plot.x0, plot.x1)
    y = log_scale(low, high, plot.y0, plot.y1 + 20)
    plot.y_axis(y, log_ticks(low, high, 5 if half else 7), ms)
    if failing:
        plot.rect(plot.x0, plot.y1, plot.x1 - plot.x0, SHELF, "shelf")
        plot.text(plot.x0 + 5, plot.y1 + 10, "failed turns", "tiny")
    plot.x_axis(x, _ticks(end, half=half), _percentile_tick, "percentile, by nines", grid=True)
    for curve in curves:
        with plot.of(curve.colour):
            _curve(plot, curve, x, y, bands=len(curves) <= COLOURS)
            if len(curves) > COLOURS:
                _marks(plot, curve, x, y)
    _shelf(plot, failing, x, half=half)
    _read_curves(plot, curves, x)
    return plot


def _spoken(curves: Sequence[Curve]) -> str:
    return "; ".join(f"{c.target}: {count(c.n)} turns, {count(c.failed)} failed" for c in curves) + "."


def _ticks(end: float, *, half: bool) -> list[float]:
    wanted = (0.5, 0.9, 0.99, 0.999, 0.9999) if half else (0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)
    return [p for p in wanted if p <= end + 1e-9]


def _percentile_tick(p: float) -> str:
    return "min" if p == 0 else f"p{p * 100:g}"


def _curve(plot: Plot, curve: Curve, x: Scale, y: Scale, *, bands: bool) -> None:
    shown = [e for e in curve.points if e.value < math.inf and e.p <= x.high]
    solid = [e for e in shown if e.p <= curve.solid_to]
    banded = [e for e in curve.points if e.p <= min(curve.solid_to, x.high) and not math.isnan(e.deff)]
    cls = f"s{tone(curve.colour)}"
    if bands:
        plot.band([(x(e.p), y.clip(e.low)) for e in banded], [(x(e.p), y.clip(e.high)) for e in banded], f"band {cls}")
    plot.path([(x(e.p), y.clip(e.value)) for e in solid], f"curve {cls}{' again' if curve.colour >= COLOURS else ''}")
    plot.path([(x(e.p), y.clip(e.value)) for e in solid[-1:] + shown[len(solid) :]], f"curve thin {cls}")
    share = 1 - curve.failed / curve.n
    if curve.failed and shown and share <= x.high:
        plot.line(x(share), y.clip(shown[-1].value), x(share), plot.y1 + SHELF, f"curve thin {cls}")


def _marks(plot: Plot, curve: Curve, x: Scale, y: Scale) -> None:
    """A curve's mark at the percentiles of the tables: more curves than colours are told apart by it."""
    for estimate in curve.points:
        if estimate.p in MARKED and estimate.p <= curve.solid_to and estimate.value < math.inf:
            at = x.clip(estimate.p), y.clip(estimate.value)
            plot.dot(*at, shape(curve.colour), f"mark s{tone(curve.colour)}", 4, curve.target)


def _named(curves: Sequence[Curve]) -> list[tuple[int, str]]:
    """The legend; with the shares of failed turns where the shelf has no room for them."""
    many = sum(curve.failed > 0 for curve in curves) > LABELLED
    return [
        (c.colour, f"{shortened(c.target)} {percent(c.failed, c.n)}" if many and c.failed else shortened(c.target))
        for c in curves
    ]


def _shelf(plot: Plot, failing: Sequence[Curve], x: Scale, *, half: bool) -> None:
    """Where each curve meets the shelf, and the share of failed turns; labels in rows so that they never overlap."""
    for row, curve in enumerate(sorted(failing, key=lambda c: -c.failed / c.n)):
        with plot.of(curve.colour):
            _meets(plot, curve, x, half=half, row=row, of=len(failing))


def _meets(plot: Plot, curve: Curve, x: Scale, *, half: bool, row: int, of: int) -> None:
    at = x.clip(1 - curve.failed / curve.n)
    tip = f"{curve.target}: {count(curve.failed)} of {count(curve.n)} turns failed"
    plot.dot(at, plot.y1 + 6, shape(curve.colour), f"mark s{tone(curve.colour)}", 4, tip)
    if of > LABELLED:
        return
    text = f"{shortened(curve.target, 12 if half else 18)} {percent(curve.failed, curve.n)} failed"
    left = at > (plot.x0 + plot.x1) / 2
    lift = 5 if of == 1 else 5 + 13 * max(0, 1 - row)
    plot.text(at + (4 if left else -4), plot.y1 - lift, text, f"lab t{tone(curve.colour)}", "end" if left else "start")


def _read_curves(plot: Plot, curves: Sequence[Curve], x: Scale) -> None:
    ps = sorted({e.p for curve in curves for e in curve.points if e.p <= x.high})
    lines = [(curve.target, {e.p: _read(e, curve) for e in curve.points}) for curve in curves]
    plot.read_lines([(p, x(p), _name(p)) for p in ps], lines)


def _name(p: float) -> str:
    return f"p{p * 100:.0f}" if p < 0.9 else f"p{p * 100:.1f}" if p < 0.99 else f"p{p * 100:.2f}"


def _read(estimate: Estimate, curve: Curve) -> str:
    value = "failed" if estimate.value == math.inf else ms(estimate.value)
    if estimate.p > curve.solid_to:
        return f"{value} (too few turns)"
    low, high = (ms(end) if math.isfinite(end) else "open" for end in (estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def scatter(ways: Ways, w: int) -> Plot:
    """A mark for each session, or hexagons by the number of sessions: what the way costs and what the service does."""
    named = [(way.colour, shortened(way.label, 24)) for way in ways.ways]
    plot = frame(
        w,
        310,
        named if len(named) > 1 else (),
        left=56,
        right=14,
        top=26,
        title="Network round trip against the service’s own time",
        desc="One mark for each session: across, its shortest round trip; up, the median of its ttfa_less_rtt. "
        + "; ".join(f"{v.label}: {count(v.sessions)} sessions, {ms(v.rtt_ms)} and {ms(v.rest_ms)}" for v in ways.ways)
        + ".",
    )
    x = Scale(identity, ways.low_rtt, ways.high_rtt, plot.x0, plot.x1)
    y = log_scale(ways.low_rest, ways.high_rest, plot.y0, plot.y1)
    plot.y_axis(y, log_ticks(ways.low_rest, ways.high_rest, 5), ms)
    ticks = linear_ticks(ways.low_rtt, ways.high_rtt, 4 if w < WIDE else 7)
    plot.x_axis(x, ticks, lambda v: ms(v) if v else "0", "network_rtt, the session’s shortest")
    plot.text(plot.x0, plot.y1 - 10, "ttfa_less_rtt, the session’s median", "lab")
    for way in ways.ways:
        with plot.of(way.colour):
            if way.marks is None:
                _hexagons(plot, way)
            else:
                places = [(x(rtt), y(rest)) for rtt, rest in zip(*way.marks, strict=True)]
                plot.dots(places, shape(way.colour), f"specks s{tone(way.colour)}", 2.6)
    return plot


def _hexagons(plot: Plot, way: Way) -> None:
    """Shades by the square root of the number of sessions, five of them."""
    size = int(plot.w < WIDE)
    columns, lines = GRIDS[size]
    wide, high = (plot.x1 - plot.x0) / columns, (plot.y0 - plot.y1) / lines
    cells = way.hexagons[size]
    most = int(cells[:, 2].max())
    outline = f"l{wide / 2:.1f} {high / 3:.1f}v{high * 2 / 3:.1f}l{-wide / 2:.1f} {high / 3:.1f}"
    outline += f"l{-wide / 2:.1f} {-high / 3:.1f}v{-high * 2 / 3:.1f}Z"
    for shade in range(1, 6):
        drawn = [
            f"M{plot.x0 + (column + 0.5 * (line % 2)) * wide:.1f} {plot.y0 - line * high - high * 2 / 3:.1f}{outline}"
            for column, line, n in cells.tolist()
            if math.ceil(5 * math.sqrt(n / most)) == shade
        ]
        if drawn:
            plot.add(f'<path d="{"".join(drawn)}" class="cell s{tone(way.colour)} k{shade}"/>')
