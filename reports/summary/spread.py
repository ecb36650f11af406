"""How far the waits of a run scatter, in words: what the size of a comparison hangs on."""

from __future__ import annotations

import math

from reports.numbers import NONE, three
from reports.statistics.components import Spread


def figures_of(spread: Spread) -> tuple[str, ...]:
    """Sigma, ICC and the design effects of p50 and p95, each in two digits; what its sessions count as."""
    told = (spread.sigma, spread.icc, spread.deff50, spread.deff95)
    return (*(three(float(f"{value:.2g}")) if math.isfinite(value) else NONE for value in told), three(spread.worth))
