"""Ticks of values: the step of a clock or of audio frames, which bounds how small a difference can be. Pure."""

from __future__ import annotations

import numpy as np

from reports.statistics.counting import Floats
from reports.statistics.differences import Margin
from reports.statistics.quantiles import Sample, quantile

TIED, MIN_TIED = 0.01, 5
"""The minimum share, and number, of values that are equal to the quantile, if the values have ticks."""
LARGE = 1 / 3
"""The share of the margin above which a tick is reported."""


def tick_at(sample: Sample, p: float) -> float:
    """Return the tick of the values at the p-quantile; 0 if they have none.

    It is the smallest distance between two values that occur several times.
    """
    values = sample.succeeded
    if not values.size:
        return 0.0
    at = quantile(sample.values, p)
    tied = int(np.searchsorted(values, at, side="right") - np.searchsorted(values, at))
    if tied < max(MIN_TIED, TIED * values.size):
        return 0.0
    distinct, counts = np.unique(values, return_counts=True)
    gaps: Floats = np.diff(distinct[counts > 1])
    return float(gaps.min()) if gaps.size else 0.0


def is_large(tick: float, value: float, margin: Margin) -> bool:
    """Return whether a tick is a large share of a margin on the baseline's `value`, and larger than its `plus`."""
    return tick > LARGE * max(margin.ratio * value, margin.plus) and tick > margin.plus + 1e-6
