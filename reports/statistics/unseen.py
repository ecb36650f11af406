"""Bounds of a share of turns that allow for one more, unseen session; and when quantiles must allow
for it. Pure.

Failures occur alone, a few together, or as whole sessions (refused, or ended by a dropped
connection). A run cannot exclude events that did not occur in it. So one session is added to those
of the run: an **unseen** session, as long as the longest one. The bound is a quantile of the
Bayesian bootstrap of all these sessions. The unseen session needs a share of failures, c: choose a
failure at random, and take the share of failures of its session; c is the mean of this share. For
this choice, the unseen session counts as one that fails completely. G is the number of sessions if
all were as long as the longest: the turns of the run divided by those of its longest session. Each
turn has an x, the share of failed turns in its session. mean(…) is the mean over turns:

    S = G · mean(x)      T = G · mean(x²)      c = (1 + T) / (1 + S)      M = (S + c) / (G + 1)
    V = (T − G·mean(x)² + G·(mean(x) − M)² + (c − M)²) / ((G + 1)(G + 2))
    upper = (1−a)-quantile of Beta with mean M, variance V, and at least that of T sessions that
            failed completely

Without any failure, c is 1, and the bound is 1 − a^(1/G). If sessions are equally long, and each
failed completely or not, it is the bound of Clopper and Pearson for sessions. Both are exact. The
more failures occur alone, the smaller c is, so an additional failed turn could reduce the bound. To
prevent this, the bound is computed for every S from T to the observed S, and the largest result is
used. (With S = T, only whole sessions would have failed.) This maximum increases with S and with T,
and each further failure increases both.

After: Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a
nonnegative variable" (2005); Learned-Miller, Thomas, "A new confidence interval for the mean of a
bounded random variable" (2020). In these papers, c is always 1, and the quantile is computed from
random draws. The Beta distribution used here differs from it by less than one percentage point in
type I error and in power.

A quantile over turns weights each session by its length. If few sessions have many of the turns,
and long sessions differ from short ones, the quantile depends on very few sessions. No variance
inside the run shows this. So its interval then also allows for an unseen session. Both conditions
must hold: the longest session has at least four times the mean number of turns; and Spearman's test
finds, at 10 %, that the length of a session and the mean rank of its turns are correlated. The
level of this test is more than 5 %, because a missed correlation makes an interval too narrow.
"""

import math

import numpy as np

from reports.statistics.counting import Floats, Integers, rank_correlation
from reports.statistics.distributions import betaincinv, stdtr

SHARE_STEPS = 33
"""The number of values of S at which the bound is computed to find the largest. As many are then
computed around the best one."""


def upper_share(share: float, square: float, sessions: float, level: float) -> float:
    """Return the upper bound of a share of turns at a one-sided type I error.

    Return 1 if there are no sessions, or if `square` is unknown.

    - `square` is the mean over turns of x², where x is the share of events in the turn's session.
    - `sessions` is the number of turns divided by that of the longest session.
    """
    if not (sessions > 0 and math.isfinite(square)) or share >= 1:
        return 1.0
    together = min(max(square, share**2), share)
    if together == share:  # each session failed either completely or in no turn
        return float(_bounds(np.array([share]), together, sessions, level)[0])
    shares = np.linspace(together, share, SHARE_STEPS)
    best = int(_bounds(shares, together, sessions, level).argmax())
    near = np.linspace(
        shares[max(0, best - 1)], shares[min(SHARE_STEPS - 1, best + 1)], SHARE_STEPS
    )
    return float(_bounds(near, together, sessions, level).max())


def _bounds(shares: Floats, square: float, sessions: float, level: float) -> Floats:
    """Return the upper bound for each of these shares. `square` is the same for all."""
    unseen: Floats = np.minimum(1.0, (1 + sessions * square) / (1 + sessions * shares))
    mean = (sessions * shares + unseen) / (sessions + 1)
    scaled_variance = (
        sessions * (np.maximum(0.0, square - shares**2) + (shares - mean) ** 2)
        + (unseen - mean) ** 2
    )
    weight = np.maximum(
        1.0, mean * (1 - mean) * (sessions + 1) * (sessions + 2) / scaled_variance - 1
    )
    return np.asarray(betaincinv(mean * weight, (1 - mean) * weight, 1 - level), float)


def lower_share(share: float, square: float, sessions: float, level: float) -> float:
    """Return the lower bound of a share of turns: 1 − the upper bound of the share of all other
    turns.
    """
    return 1 - upper_share(1 - share, 1 - 2 * share + square, sessions, level)


def sessions_without(points: float, level: float, longest: float = 1.0) -> int | None:
    """Return how many sessions without any event bring the upper bound below `points`; None if no
    number is enough.

    `longest` is the number of turns of the longest session, as a multiple of the mean.
    """
    if points <= 0:
        return None
    return (
        max(2, math.floor(longest * math.log(level) / math.log1p(-points)) + 1) if points < 1 else 2
    )


MAX_LENGTH_RATIO = 4.0
"""The ratio of the longest session's turns to the mean turns per session. From this ratio on, the
lengths of sessions matter."""
DEPENDENCE_ALPHA = 0.1
"""The type I error of the test for a correlation between the length of sessions and their
values."""
MIN_SESSIONS = 10
"""The minimum number of sessions for the test of a correlation."""


def differ_by_length(sessions: Integers) -> bool:
    """Return whether long sessions differ from short ones, and the longest session has enough turns
    to matter.

    `sessions` is the session of each value. The values are in ascending order.
    """
    turns = np.bincount(sessions)
    lengths = turns[turns > 0]
    if lengths.size < MIN_SESSIONS or lengths.max() < MAX_LENGTH_RATIO * lengths.mean():
        return False
    levels = np.bincount(sessions, weights=np.arange(sessions.size))[turns > 0] / lengths
    r = rank_correlation(lengths, levels)
    t = abs(r) * math.sqrt((lengths.size - 2) / max(1e-12, 1 - r**2))
    return bool(2 * stdtr(lengths.size - 2, -t) < DEPENDENCE_ALPHA)
