"""Quantiles with equal weight for each session. Pure.

Such a quantile is the smallest x at which the mean, over sessions, of the share of turns ≤ x reaches p. It is not the
same as a quantile over turns. Each session contributes equally, so its interval holds for sessions of any lengths.
There are G sessions. s_g is the share of turns ≤ x in session g. z and t are defined as in `quantiles`:

    v = var(s_g) / G      n_e = min(n, p(1−p)/v) · (z / t_{G−1})²

The ratio v / (p(1−p)) is computed twice: at p, and at the share that is twice as far from the end of the distribution
(`quantiles.nearer`). The larger ratio is used.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from reports.statistics.counting import Floats, Integers
from reports.statistics.quantiles import end_shares, nearer, shrink_of


class BySession(NamedTuple):
    """A quantile with equal weight for each session, and its interval."""

    value: float
    low: float
    high: float


def with_equal_weights(values: Floats, sessions: Integers, p: float, confidence: float) -> BySession:
    """Return the quantile of `values` with equal weight for each session.

    `values` are in ascending order, and `sessions` is the session of each value. At least two sessions are needed.
    """
    turns = np.bincount(sessions)
    clusters = int(np.count_nonzero(turns))
    reached = np.cumsum(1 / (turns[sessions] * clusters))

    def at(share: float) -> float:
        index = int(np.searchsorted(reached, share - 1e-12))
        return float(values[index]) if index < values.size else math.inf

    def effective(share: float) -> float:
        below = np.bincount(sessions[: np.searchsorted(values, at(share), side="right")], minlength=turns.size)
        shares = below[turns > 0] / turns[turns > 0]
        variance = float(shares.var(ddof=1)) / clusters
        return share * (1 - share) / variance if variance else math.inf

    effective_size = min(values.size, effective(p), effective(nearer(p))) * shrink_of(clusters, confidence)
    (low,), (high,) = end_shares([p], np.array([effective_size]), confidence)
    first = int(np.searchsorted(reached, low, side="right")) - 1
    lower_end = float(values[first]) if first >= 0 else -math.inf
    return BySession(at(p), lower_end, math.inf if math.isnan(high) else at(high))
