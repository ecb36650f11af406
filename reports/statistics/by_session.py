"""Quantiles with equal weight for each session; pure.

The quantile is the smallest x at which the mean of the sessions' shares of turns ≤ x
reaches p. It answers another question than one over turns, and every session adds as much to it, so its interval holds
however unequal the lengths are. With s_g the share of session g that is ≤ x, of G sessions, and z, t as in `quantiles`:

    v = var(s_g) / G      n_e = min(n, p(1−p)/v) · (z / t_{G−1})²

v being the larger one, as a share of p(1 − p), of that at p and that twice as far from the end.
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
    """Return the quantile of these values, ascending, with equal weight for each session, of two sessions or more."""
    turns = np.bincount(sessions)
    clusters = int(np.count_nonzero(turns))
    reached = np.cumsum(1 / (turns[sessions] * clusters))

    def at(share: float) -> float:
        place = int(np.searchsorted(reached, share - 1e-12))
        return float(values[place]) if place < values.size else math.inf

    def effective(share: float) -> float:
        below = np.bincount(sessions[: np.searchsorted(values, at(share), side="right")], minlength=turns.size)
        shares = below[turns > 0] / turns[turns > 0]
        variance = float(shares.var(ddof=1)) / clusters
        return share * (1 - share) / variance if variance else math.inf

    many = min(values.size, effective(p), effective(nearer(p))) * shrink_of(clusters, confidence)
    (low,), (high,) = end_shares([p], np.array([many]), confidence)
    first = int(np.searchsorted(reached, low, side="right")) - 1
    lower_end = float(values[first]) if first >= 0 else -math.inf
    return BySession(at(p), lower_end, math.inf if math.isnan(high) else at(high))
