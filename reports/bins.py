"""Round widths of bins and of steps between ticks; ends and places on axes."""

from __future__ import annotations

import math
from collections.abc import Iterable

SECONDS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def nice(value: float) -> float:
    """The next of 1, 2, 2.5, 5 · 10^k that is not below the value."""
    if value <= 0:
        return 1.0
    base = 10.0 ** math.floor(math.log10(value))
    return next(m * base for m in (1, 2, 2.5, 5, 10) if m * base >= value * (1 - 1e-9))


def time_step(length_s: float, most: int) -> float:
    """The smallest round number of seconds that gives at most so many steps."""
    return next((float(s) for s in SECONDS if length_s / s <= most), nice(length_s / most))


def count_step(largest: float, most: int) -> int:
    """The smallest round whole number of which at most so many steps reach a count: 1, 2, 5, 10, 20, 25, 50, 100 …"""
    step = nice(max(1.0, largest / most))
    return 5 if step == 2.5 else int(step)


def log_range(values: Iterable[float]) -> tuple[float, float]:
    """Ends for a logarithmic axis over the positive finite values, at least a factor of two apart."""
    kept = [value for value in values if 0 < value < math.inf]
    low, high = (min(kept), max(kept)) if kept else (1.0, 10.0)
    if high < 2 * low:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(2), middle * math.sqrt(2)
    return low / 1.06, high * 1.06


def nines(p: float) -> float:
    """0.9 → 1, 0.99 → 2, 0.999 → 3."""
    return -math.log10(1 - p)
