"""Writes figures of live views as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

FAILED = "failed"
"""In the place of a quantile that lands on a failed turn."""
UNKNOWN = "–"
BARS = "▁▂▃▄▅▆▇█"
FAILED_BAR = "×"


def milliseconds(value_ms: float | None) -> str:
    if value_ms is None:
        return UNKNOWN
    if math.isinf(value_ms):
        return FAILED
    return f"{value_ms:.0f}" if value_ms >= 10 else f"{value_ms:.1f}"


def clock(seconds: float) -> str:
    """Seconds as a clock has them: 00:42, 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def sparkline(values: Sequence[float]) -> str:
    """A bar for each value ≥ 0, from nothing to the largest finite one; a cross for one without end."""
    largest = max(filter(math.isfinite, values), default=0.0) or 1.0
    return "".join(BARS[round(value / largest * 7)] if math.isfinite(value) else FAILED_BAR for value in values)
