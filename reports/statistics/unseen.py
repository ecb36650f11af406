"""Sessions that were not seen: bounds of a share of turns with one more of them, and when quantiles allow for it; pure.

Failures come alone, a few together, or as whole sessions (refused, or lost when a connection drops), and a run cannot
rule out what did not occur in it. So the bound is a quantile of the Bayesian bootstrap of the sessions and **one more,
unseen**, which is as long as the longest. Its share of failures is that of the session in which a random failure lies,
where the unseen session itself counts as one that fails as a whole. A run counts as G sessions: its turns divided by
those of its longest session. With x the share that failed of the session that a turn is in, and means over turns:

    S = G · mean(x)      T = G · mean(x²)      c = (1 + T) / (1 + S)      M = (S + c) / (G + 1)
    V = (T − G·mean(x)² + G·(mean(x) − M)² + (c − M)²) / ((G + 1)(G + 2))
    upper = (1−a)-quantile of Beta with mean M, variance V, and at least that of T sessions that failed whole

Without any failure c is 1 and the bound 1 − a^(1/G). If only whole sessions of one length failed, it is that of Clopper
and Pearson for sessions. Both are exact. The more failures come alone, the less the unseen session adds, so a run could
prove more by failing a turn. Therefore the bound is the largest one of any S from T, as if only whole sessions had
failed, to the observed S: it rises with S and with T, and each further failure raises both.

After: Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable"
(2005); Learned-Miller, Thomas, "A new confidence interval for the mean of a bounded random variable" (2020). There c is
always 1 and the quantile one of draws; a Beta distribution lies within a point of it in error and in power.

A quantile over turns weights each session by its length. If few sessions have many of the turns, and long sessions
differ from short ones, it depends on sessions of which a run has hardly any, and no variance inside the run shows that.
So its interval then allows for an unseen session, too. Both must be true: the longest session has at least four times
the mean number of turns, and Spearman's test finds a correlation of the sessions' lengths and the mean ranks of their
turns at 10 %. That is more than 5 %, because it is the missed correlation that makes an interval too narrow.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betaincinv, stdtr  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.counting import Floats, Integers, ranks

SHARE_STEPS = 33
"""Shares at which the largest bound is looked for, and again around it."""


def upper_share(share: float, square: float, sessions: float, level: float) -> float:
    """Return the upper bound of a share at a one-sided error; 1 of fewer than two sessions, or of an unknown `square`.

    `square`: the mean over turns of the squared share of their session; `sessions`: as long as the longest.
    """
    if not (sessions > 1 and math.isfinite(square)) or share >= 1:
        return 1.0
    together = min(max(square, share**2), share)
    if together == share:  # sessions miss all of their turns, or none
        return float(_bounds(np.array([share]), together, sessions, level)[0])
    shares = np.linspace(together, share, SHARE_STEPS)
    best = int(_bounds(shares, together, sessions, level).argmax())
    near = np.linspace(shares[max(0, best - 1)], shares[min(SHARE_STEPS - 1, best + 1)], SHARE_STEPS)
    return float(_bounds(near, together, sessions, level).max())


def _bounds(shares: Floats, square: float, sessions: float, level: float) -> Floats:
    """Of shares of one mean square, each by itself."""
    unseen: Floats = np.minimum(1.0, (1 + sessions * square) / (1 + sessions * shares))
    mean = (sessions * shares + unseen) / (sessions + 1)
    spread = sessions * (np.maximum(0.0, square - shares**2) + (shares - mean) ** 2) + (unseen - mean) ** 2
    weight = np.maximum(1.0, mean * (1 - mean) * (sessions + 1) * (sessions + 2) / spread - 1)
    return np.asarray(betaincinv(mean * weight, (1 - mean) * weight, 1 - level), dtype=np.float64)


def lower_share(share: float, square: float, sessions: float, level: float) -> float:
    """The lower bound: what is left of the upper one of all other turns."""
    return 1 - upper_share(1 - share, 1 - 2 * share + square, sessions, level)


def sessions_without(points: float, level: float, longest: float = 1.0) -> int | None:
    """Return how many sessions without any event bring the upper bound below `points`; None if none do. `longest`: see
    `LONGEST`.
    """
    if points <= 0:
        return None
    return max(2, math.floor(longest * math.log(level) / math.log1p(-points)) + 1) if points < 1 else 2


LONGEST = 4.0
"""Turns of the longest session, as a multiple of their mean, from which the lengths matter."""
FOUND = 0.1
"""The error of the test of a correlation."""
LEAST = 10
"""Sessions that the test needs."""


def differ_by_length(sessions: Integers) -> bool:
    """Return whether long sessions differ from short ones, and the longest matters. `sessions`: by ascending value."""
    turns = np.bincount(sessions)
    lengths = turns[turns > 0]
    if lengths.size < LEAST or lengths.max() < LONGEST * lengths.mean():
        return False
    levels = np.bincount(sessions, weights=np.arange(sessions.size))[turns > 0] / lengths
    r = float(np.corrcoef(ranks(lengths), ranks(levels))[0, 1])
    t = abs(r) * math.sqrt((lengths.size - 2) / max(1e-12, 1 - r**2))
    return bool(2 * stdtr(lengths.size - 2, -t) < FOUND)
