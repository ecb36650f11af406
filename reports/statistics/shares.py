"""How large a share of turns may truly be, told by sessions, where few of them show any of it; pure.

Failures come alone, a few together, or as whole sessions (refused, or lost behind a dropped connection), and what a
run did not see it cannot rule out. So the upper bound of a share is a quantile of the Bayesian bootstrap of the
sessions and **one more that nobody saw**, of which as much fails as of the session that a random failure lies in, the
unseen one counted in as one of which all fails. With x the shares of G sessions:

    c = (1 + Σx²) / (1 + Σx)
    M = (Σx + c) / (G + 1)
    V = (Σ(x − M)² + (c − M)²) / ((G + 1)(G + 2))    upper = (1−a)-quantile of Beta with mean M, variance V

Without any failure c is 1 and the bound 1 − a^(1/G), and where only whole sessions failed it is Clopper and Pearson's
of sessions; both exactly. The more failures were seen alone, the less the unseen session adds.

After: Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable"
(2005); Learned-Miller, Thomas, "A new confidence interval for the mean of a bounded random variable" (2020). There c is
always 1 and the quantile one of draws; a Beta distribution lies within a point of it in error and in power.
"""

from __future__ import annotations

import math

from scipy.special import betaincinv  # type: ignore[import-untyped, unused-ignore]


def upper(share: float, variance: float, sessions: int, level: float) -> float:
    """The upper bound of a share, at this one-sided error. `variance`: that of the share, between its sessions.

    1 where sessions tell nothing of one another: of fewer than two, or where the variance is not known.
    """
    if sessions < 2 or not math.isfinite(variance) or share >= 1:
        return 1.0
    around = sessions * (sessions - 1) * variance
    unseen = min(1.0, (1 + around + sessions * share**2) / (1 + sessions * share))
    mean = (sessions * share + unseen) / (sessions + 1)
    spread = around + sessions * (share - mean) ** 2 + (unseen - mean) ** 2
    weight = max(1.0, mean * (1 - mean) * (sessions + 1) * (sessions + 2) / spread - 1)
    return float(betaincinv(mean * weight, (1 - mean) * weight, 1 - level))


def lower(share: float, variance: float, sessions: int, level: float) -> float:
    """The lower bound: what is left of the upper one of all other turns."""
    return 1 - upper(1 - share, variance, sessions, level)


def sessions_without(points: float, level: float) -> int | None:
    """The least number of sessions that show nothing for the upper bound to lie below `points`; None where none do."""
    if points <= 0:
        return None
    return max(2, math.floor(math.log(level) / math.log1p(-points)) + 1) if points < 1 else 2
