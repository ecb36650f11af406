"""How far the waits of a run scatter, in words: what the size of a comparison hangs on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reports.statistics.components import Spread
from reports.wording.numbers import NONE, three

if TYPE_CHECKING:
    from reports.summary.summary import Summary


def figures_of(spread: Spread) -> tuple[str, ...]:
    """Sigma, ICC and the design effects of p50 and p95, each in two digits."""
    told = (spread.sigma, spread.icc, spread.deff50, spread.deff95)
    return tuple(three(float(f"{value:.2g}")) if math.isfinite(value) else NONE for value in told)


def line_of(summary: Summary, most: int) -> list[str]:
    """sigma 0.46 · ICC 0.3 · deff 2.9 (p50), 2.0 (p95); of several targets a part for each."""
    told = [(figures.label, *figures_of(spread)) for figures, spread in summary.spreads if spread.sigma == spread.sigma]
    if len(told) == 1:
        (_, sigma, icc, deff50, deff95), *_ = told
        return [f"sigma {sigma}", f"ICC {icc}", f"deff {deff50} (p50), {deff95} (p95)"]
    return [
        f"{label}: sigma {sigma}, ICC {icc}, deff {deff50} (p50), {deff95} (p95)"
        for label, sigma, icc, deff50, deff95 in told[:most]
    ]
