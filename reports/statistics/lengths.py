"""Sessions of very unequal length whose values depend on their length; pure.

A quantile over turns weights each session by its length. If few sessions have many of the turns, and long sessions
differ from short ones, it depends on sessions of which a run has hardly any, and no variance inside the run shows that.
So its interval then allows for one more session that was not seen (`reports.statistics.quantiles`).

Both must be true: the longest session has at least four times the mean number of turns, and Spearman's test finds a
correlation of the sessions' lengths and the mean ranks of their turns at 10 %. That is more than 5 %, because it is the
missed correlation that makes an interval too narrow.

With equal weight for each session the quantile is the smallest x at which the mean of the sessions' shares of turns ≤ x
reaches p. It answers another question, and every session adds as much to it, so its interval holds however unequal the
lengths are. With s_g the share of session g that is ≤ x, of G sessions, and z, t as in `quantiles`:

    v = var(s_g) / G      n_e = min(n, p(1−p)/v) · (z / t_{G−1})²

v being the larger one, as a share of p(1 − p), of that at p and that twice as far from the end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtri, stdtr, stdtrit  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.counting import Floats, Integers, ranks

LONGEST = 4.0
"""Turns of the longest session, as a multiple of their mean, from which the lengths matter."""
FOUND = 0.1
"""The error of the test of a correlation."""
LEAST = 10
"""Sessions that the test needs."""


class BySession(NamedTuple):
    """A quantile with equal weight for each session, and its interval."""

    value: float
    low: float
    high: float


def nearer(p: float) -> float:
    """Twice as far from the end of the distribution, at most in its middle: 0.95 → 0.9, 0.05 → 0.1, 0.6 → 0.5."""
    return max(0.5, 1 - 2 * (1 - p)) if p >= 0.5 else min(0.5, 2 * p)


def differ_by_length(sessions: Integers) -> bool:
    """Return whether long sessions differ from short ones, and the longest is so long that it matters.

    `sessions`: the code of each turn's session, in ascending order of the turns' values.
    """
    turns = np.bincount(sessions)
    lengths = turns[turns > 0]
    if lengths.size < LEAST or lengths.max() < LONGEST * lengths.mean():
        return False
    levels = np.bincount(sessions, weights=np.arange(sessions.size))[turns > 0] / lengths
    r = float(np.corrcoef(ranks(lengths), ranks(levels))[0, 1])
    t = abs(r) * math.sqrt((lengths.size - 2) / max(1e-12, 1 - r**2))
    return bool(2 * stdtr(lengths.size - 2, -t) < FOUND)


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

    tail = 1 - (1 - confidence) / 2
    shrink = float((ndtri(tail) / stdtrit(clusters - 1, tail)) ** 2)
    many = min(values.size, effective(p), effective(nearer(p))) * shrink
    low = float(betaincinv(p * many, (1 - p) * many + 1, 1 - tail))
    high = float(betaincinv(p * many + 1, (1 - p) * many, tail))
    first = int(np.searchsorted(reached, low, side="right")) - 1
    return BySession(
        at(p), float(values[first]) if first >= 0 else -math.inf, at(high) if p**many <= 1 - tail else math.inf
    )
