"""Unseen sessions: bounds of a share of turns with one more session, and when quantiles allow for it. Pure.

Failures occur alone, a few together, or as whole sessions (refused, or ended by a dropped connection). A run cannot
exclude events that did not occur in it. So the bound is a quantile of the Bayesian bootstrap of the sessions and **one
more, unseen** session, which is as long as the longest. Its share of failures is that of the session in which a random
failure lies, where the unseen session counts as one that fails completely. The number of sessions G of a run is its
turns divided by those of its longest session. With x the failed share of the session that a turn is in, and means over
turns:

    S = G · mean(x)      T = G · mean(x²)      c = (1 + T) / (1 + S)      M = (S + c) / (G + 1)
    V = (T − G·mean(x)² + G·(mean(x) − M)² + (c − M)²) / ((G + 1)(G + 2))
    upper = (1−a)-quantile of Beta with mean M, variance V, and at least that of T sessions that failed completely

Without any failure, c is 1 and the bound 1 − a^(1/G). If only whole sessions of one length failed, it is that of
Clopper and Pearson for sessions. Both are exact. The more failures occur alone, the less the unseen session adds, so an
additional failed turn could lower the bound. To prevent this, the bound is the largest one for any S from T (as if only
whole sessions had failed) to the observed S: it increases with S and with T, and each further failure increases both.

After: Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable"
(2005); Learned-Miller, Thomas, "A new confidence interval for the mean of a bounded random variable" (2020). There c is
always 1 and the quantile is that of random draws; a Beta distribution is within one percentage point of it in error and
in power.

A quantile over turns weights each session by its length. If few sessions have many of the turns, and long sessions
differ from short ones, the quantile depends on sessions of which a run has very few, and no variance inside the run
shows that. So its interval then also allows for an unseen session. Both conditions must hold: the longest session has
at least four times the mean number of turns, and Spearman's test finds a correlation between the sessions' lengths and
the mean ranks of their turns at 10 %. The level is more than 5 %, because a missed correlation makes an interval too
narrow.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betaincinv, stdtr  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.counting import Floats, Integers, ranks

SHARE_STEPS = 33
"""The number of shares at which the largest bound is searched, and again around the best one."""


def upper_share(share: float, square: float, sessions: float, level: float) -> float:
    """Return the upper bound of a share at a one-sided error; 1 with fewer than two sessions or an unknown `square`.

    - `square`: the mean over turns of the squared share in their session
    - `sessions`: the turns as a multiple of those of the longest session
    """
    if not (sessions > 1 and math.isfinite(square)) or share >= 1:
        return 1.0
    together = min(max(square, share**2), share)
    if together == share:  # each session failed either completely or in no turn
        return float(_bounds(np.array([share]), together, sessions, level)[0])
    shares = np.linspace(together, share, SHARE_STEPS)
    best = int(_bounds(shares, together, sessions, level).argmax())
    near = np.linspace(shares[max(0, best - 1)], shares[min(SHARE_STEPS - 1, best + 1)], SHARE_STEPS)
    return float(_bounds(near, together, sessions, level).max())


def _bounds(shares: Floats, square: float, sessions: float, level: float) -> Floats:
    """Return the bound for each of these shares, given one mean square."""
    unseen: Floats = np.minimum(1.0, (1 + sessions * square) / (1 + sessions * shares))
    mean = (sessions * shares + unseen) / (sessions + 1)
    scaled_variance = sessions * (np.maximum(0.0, square - shares**2) + (shares - mean) ** 2) + (unseen - mean) ** 2
    weight = np.maximum(1.0, mean * (1 - mean) * (sessions + 1) * (sessions + 2) / scaled_variance - 1)
    return np.asarray(betaincinv(mean * weight, (1 - mean) * weight, 1 - level), dtype=np.float64)


def lower_share(share: float, square: float, sessions: float, level: float) -> float:
    """Return the lower bound of a share: 1 − the upper bound of the share of all other turns."""
    return 1 - upper_share(1 - share, 1 - 2 * share + square, sessions, level)


def sessions_without(points: float, level: float, longest: float = 1.0) -> int | None:
    """Return the number of sessions without any event that bring the upper bound below `points`; None if impossible.

    `longest`: the turns of the longest session relative to the mean.
    """
    if points <= 0:
        return None
    return max(2, math.floor(longest * math.log(level) / math.log1p(-points)) + 1) if points < 1 else 2


MAX_LENGTH_RATIO = 4.0
"""The ratio of the longest session's turns to the mean from which the lengths of sessions matter."""
DEPENDENCE_ALPHA = 0.1
"""The type I error of the test of a correlation."""
MIN_SESSIONS = 10
"""The minimum number of sessions for the test."""


def differ_by_length(sessions: Integers) -> bool:
    """Return whether long sessions differ from short ones, and the longest session has enough turns to matter.

    `sessions`: the session of each value, in ascending order of the values.
    """
    turns = np.bincount(sessions)
    lengths = turns[turns > 0]
    if lengths.size < MIN_SESSIONS or lengths.max() < MAX_LENGTH_RATIO * lengths.mean():
        return False
    levels = np.bincount(sessions, weights=np.arange(sessions.size))[turns > 0] / lengths
    r = float(np.corrcoef(ranks(lengths), ranks(levels))[0, 1])
    t = abs(r) * math.sqrt((lengths.size - 2) / max(1e-12, 1 - r**2))
    return bool(2 * stdtr(lengths.size - 2, -t) < DEPENDENCE_ALPHA)
