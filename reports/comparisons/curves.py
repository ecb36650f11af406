"""The difference by percentile: ratio curves → Plot, computing nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.bins import nines
from reports.comparisons.shift import RatioCurve
from reports.numbers import NBSP, change, shortened
from reports.page.svg import COLOURS, HALF, Plot, Scale, frame, log_scale, tone
from reports.statistics.differences import Difference

CUT = 8.0
"""The axis of ratios goes no farther than this multiple, either way."""
RATIOS = (0.125, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 8.0)


def sentence(ratios: Sequence[RatioCurve]) -> str:
    """p50 −1 %, largest difference +102 % at p97: of each candidate, by name where there are several."""
    said = []
    for ratio in ratios:
        places = [k for k, found in enumerate(ratio.differences) if math.isfinite(found.d)]
        if places:
            top = max(places, key=lambda k: abs(ratio.differences[k].d))
            middle = ratio.at(0.5)
            parts = [f"p50 {change(math.exp(middle.d))}"] if middle and math.isfinite(middle.d) else []
            parts.append(f"largest difference {change(math.exp(ratio.differences[top].d))} at {_name(ratio.ps[top])}")
            whose = f"{ratio.candidate}: " if len(ratios) > 1 else ""
            said.append(whose + ", ".join(parts))
    return f"{'; '.join(said)}." if said else ""


def by_percentile(ratios: Sequence[RatioCurve], measure: str) -> Plot:
    """The candidates' quantiles as multiples of the baseline's, over percentiles by nines."""
    plot = frame(
        HALF,
        304,
        [(ratio.colour, shortened(ratio.candidate)) for ratio in ratios],
        left=58,
        right=16,
        title=f"Difference of {measure} by percentile",
        desc=f"Candidate against baseline at each percentile with its interval. {sentence(ratios)}",
    )
    last = max(p for ratio in ratios for p in ratio.ps)
    x = Scale(nines, 0.0, last, plot.x0, plot.x1)
    y = log_scale(*ends(ratios), plot.y0, plot.y1)
    ticks = [p for p in (0.0, 0.5, 0.9, 0.99, 0.999) if p <= last]
    plot.x_axis(x, ticks, lambda p: "min" if not p else f"p{p * 100:g}", "percentile, by nines", grid=True)
    plot.y_axis(y, _ticks(y), lambda ratio: change(ratio))
    plot.line(plot.x0, y(1), plot.x1, y(1), "zero")
    plot.text(plot.x0 - 6, y(1) + 4, "same", "tick", "end")
    for ratio in ratios:
        _line(plot, ratio, x, y, banded=len(ratios) < COLOURS)
    _read(plot, ratios, x)
    return plot


def ends(ratios: Sequence[RatioCurve]) -> tuple[float, float]:
    """Where the axis of multiples ends: around all lines and, as far as they are no wider, their bands."""
    points = [d for ratio in ratios for d in ratio.differences]
    lines = [d.d for d in points if math.isfinite(d.d)] or [0.0]
    most = min(max(2.5 * max(map(abs, lines)), math.log(1.25)), math.log(CUT))
    bands = [end for d in points for end in (d.low, d.high) if not math.isnan(end)]
    low, high = max(min([*bands, -0.1]), -most), min(max([*bands, 0.1]), most)
    return math.exp(low - 0.03), math.exp(high + 0.03)


def _ticks(y: Scale) -> list[float]:
    """Round multiples, apart from each other and from "same"."""
    kept = [1.0]
    for value in sorted(RATIOS, key=lambda ratio: abs(math.log(ratio)), reverse=True):
        if y.low <= value <= y.high and all(abs(y(value) - y(other)) >= 24 for other in kept):
            kept.append(value)
    return sorted(kept[1:])


def _line(plot: Plot, ratio: RatioCurve, x: Scale, y: Scale, *, banded: bool) -> None:
    cls = f"s{tone(ratio.colour)}"
    points = [(p, found) for p, found in zip(ratio.ps, ratio.differences, strict=True) if not math.isnan(found.d)]
    if banded:
        lower = [(x(p), y.clip(_multiple(found.low))) for p, found in points]
        plot.band(lower, [(x(p), y.clip(_multiple(found.high))) for p, found in points], f"band {cls}")
    finite = [(x(p), y.clip(_multiple(found.d))) for p, found in points if math.isfinite(found.d)]
    plot.path(finite, f"curve {cls}{' again' if ratio.colour >= COLOURS else ''}")


def _multiple(d: float) -> float:
    return math.exp(min(max(d, -50.0), 50.0))


def _read(plot: Plot, ratios: Sequence[RatioCurve], x: Scale) -> None:
    ps = sorted({p for ratio in ratios for p in ratio.ps})
    lines = [(r.candidate, {p: spoken(d) for p, d in zip(r.ps, r.differences, strict=True)}) for r in ratios]
    plot.read_lines([(p, x(p), _name(p)) for p in ps], lines)


def spoken(found: Difference) -> str:
    """+65 % (+47 to +87 %), with `failed` and `open` where there is no number."""
    if math.isnan(found.d):
        return "failed in both"
    middle, low, high = (
        change(math.exp(end)) if math.isfinite(end) else word
        for end, word in ((found.d, "failed"), (found.low, "open"), (found.high, "open"))
    )
    return f"{middle} ({low.removesuffix(f'{NBSP}%') if high != 'open' else low} to {high})"


def _name(p: float) -> str:
    return f"p{p * 100:.0f}" if p < 0.9 else f"p{p * 100:.3g}" if p < 0.99 else f"p{p * 100:.4g}"
