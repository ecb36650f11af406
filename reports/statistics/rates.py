"""Means and rates of two arms, as ratios of totals over sessions, and how large a rate may truly be; pure.

A mean is Σ amounts / Σ turns, a rate Σ events / Σ turns. With r = Σx/Σn in an arm of G sessions, by the jackknife

    V(r) = (G−1)/G · Σ((x_g − r·n_g) / (Σn − n_g))²      V(log r) = V(r) / r²

which of sessions of one length is G/(G−1)·Σ(x_g − r·n_g)²/(Σn)². Differences are d ∓ t·SE with Welch's df. Of pairs
SE² = (G−1)/G·Σe² of what each pair adds, e = e_cand − e_base with e_arm = (x − r·n)/(Σn − n) (divided by r for logs).
Degrees of freedom count sessions, or pairs, as Kish does (`reports.statistics.quantiles.kish`).

Few failures make the SE of a rate too small, so that it is *not* worse takes the largest of three upper bounds: that
one, what either arm's own bound leaves, squared and added as Newcombe does it, and what the candidate's would leave had
nothing failed, for failures that both arms share are no proof of anything:

    d + √((upper_cand − r_cand)² + (r_base − lower_base)²)      d + upper_cand of no failure

Failures come alone, a few together, or as whole sessions (refused, or lost behind a dropped connection), and what a
run did not see it cannot rule out. So an arm's own bound is a quantile of the Bayesian bootstrap of the
sessions and **one more that nobody saw**, of which as much fails as of the session that a random failure lies in, the
unseen one counted in as one of which all fails, and which is as long as the longest. So a run is worth G sessions, its
turns / those of its longest session. With x the share of the session that a turn is in, and means over turns:

    S = G · mean(x)      T = G · mean(x²)      c = (1 + T) / (1 + S)      M = (S + c) / (G + 1)
    V = (T − G·mean(x)² + G·(mean(x) − M)² + (c − M)²) / ((G + 1)(G + 2))
    upper = (1−a)-quantile of Beta with mean M, variance V, and at least that of T sessions that failed whole

Without any failure c is 1 and the bound 1 − a^(1/G), and where only whole sessions of one length failed it is Clopper
and Pearson's of sessions; both exactly. The more failures were seen alone, the less the unseen session adds, which
would let a run prove more by failing a turn. So the bound is the largest one of S from T, where only whole sessions
failed, up to what was seen: it rises with S and with T, and each further failure raises both.

After: Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable"
(2005); Learned-Miller, Thomas, "A new confidence interval for the mean of a bounded random variable" (2020). There c is
always 1 and the quantile one of draws; a Beta distribution lies within a point of it in error and in power.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import betaincinv, ndtri  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.differences import (
    FAR,
    LEVEL,
    POWER,
    Better,
    Bounds,
    Difference,
    Margin,
    beyond,
    log_ratio,
    more_sessions,
    settled,
    student,
    two_digits,
    welch,
)
from reports.statistics.quantiles import Floats, kish

PerCluster = tuple[Floats, Floats]
"""By session, or by pair: the sum (of amounts, or of events), and the number of turns."""


@dataclass(frozen=True)
class Ratio:
    """A mean or a rate of one arm: its value, the variance of that, and of how many turns and sessions it is.

    `square`: of a rate, the mean over turns of the squared share of their session; `worth`: sessions as Kish counts
    them; `longest`: sessions as long as the longest. Left out, sessions are equally long. `words`: it is counted over
    words, of which a session does not fail as a whole.
    """

    value: float
    variance: float
    turns: float
    clusters: int
    square: float = math.nan
    worth: float = math.nan
    longest: float = math.nan
    words: bool = False

    def __post_init__(self) -> None:
        if math.isnan(self.worth):
            square = self.value**2 + (self.clusters - 1) * self.variance
            vars(self).update(square=square, worth=float(self.clusters), longest=float(self.clusters))

    @property
    def log_variance(self) -> float:
        return self.variance / self.value**2 if self.value else math.nan

    @property
    def deff(self) -> float:
        """Of a rate: how much wider than independent turns the sessions make it; 1 where nothing is known."""
        independent = self.value * (1 - self.value) / self.turns
        return max(1.0, self.variance / independent) if independent > 0 else 1.0

    def upper(self, level: float) -> float:
        """Of a rate: the bound of what it may truly be, for where events are few."""
        if self.value > 1:
            return self._student(level).high
        return upper_share(self.value, self.square, self.longest, level)

    def lower(self, level: float) -> float:
        if self.value > 1:
            return self._student(level).low
        return lower_share(self.value, self.square, self.longest, level)

    def unseen(self, level: float) -> float:
        """The upper bound of a rate of which as much was measured, and none was seen; 0 of words."""
        return 0.0 if self.words else upper_share(0.0, 0.0, self.longest, level)

    def left(self) -> Ratio:
        """The rate of all turns that are no event."""
        return replace(self, value=1 - self.value, square=1 - 2 * self.value + self.square)

    def _student(self, level: float) -> Bounds:
        """The plain bounds, of a rate above 1, which is no share: words may have more errors than there are words."""
        return student(self.value, math.sqrt(self.variance), self.worth - 1, level)

    def grown(self, more: int, of: int) -> Ratio:
        """The same with so many more sessions for each `of` of them."""
        times = 1 + more / of
        return replace(
            self,
            variance=self.variance / times,
            turns=self.turns * times,
            clusters=round(self.clusters * times),
            worth=self.worth * times,
            longest=self.longest * times,
        )


def ratio_of(arm: PerCluster, *, words: bool = False) -> Ratio:
    """Sessions without a turn do not count; NaN of nothing."""
    turns, clusters = float(arm[1].sum()), int(np.count_nonzero(arm[1]))
    value = float(arm[0].sum()) / turns if turns else math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        square = float((arm[0] * np.where(arm[1] > 0, arm[0] / arm[1], 0.0)).sum()) / turns if turns else math.nan
    longest = turns / float(arm[1].max()) if turns else math.nan
    worth = kish(arm[1]) if turns else 0.0
    return Ratio(value, _spread(_parts(arm), clusters), turns, clusters, square, worth, longest, words)


def mean_difference(
    base: PerCluster,
    cand: PerCluster,
    margin: Margin,
    *,
    paired: bool,
    better: Better,
    level: float = LEVEL,
    run_sd: float = 0.0,
) -> Difference:
    """Log ratio of two means of positive amounts; an arm whose mean is not positive leaves it open."""
    one, other = ratio_of(base), ratio_of(cand)
    if paired:
        both = _pairs(base, cand)
        parts = _parts(cand) / (other.value or math.nan) - _parts(base) / (one.value or math.nan)
        within, df = _spread(parts, both), kish(base[1] + cand[1]) - 1
    else:
        variances = one.log_variance, other.log_variance
        within, df = sum(variances), welch(variances, (one.worth, other.worth))
    se = math.sqrt(within + 2 * run_sd**2)
    most = max(one.clusters, other.clusters)
    return log_difference(one.value, other.value, se, df, most, margin, better, level, fixed=2 * run_sd**2)


def log_difference(
    base: float,
    cand: float,
    se: float,
    df: float,
    clusters: int,
    margin: Margin,
    better: Better,
    level: float = LEVEL,
    *,
    fixed: float = 0.0,
) -> Difference:
    """Of two figures whose log ratio has this SE. `fixed`: the part of SE² that more sessions do not touch."""
    one, other = np.array([base]), np.array([cand])
    d = float(log_ratio(other, one)[0])
    apart = float(beyond((one, other), margin, better)[0])
    interval, bad = student(d, se, df, level), student(apart, se, df, level)
    good = student(float(beyond((other, one), margin, better)[0]), se, df, level)
    more = None if settled(bad) else more_sessions(apart, se, clusters, level, fixed=fixed)
    return Difference(
        "ratio", base, cand, d, interval.low, interval.high, se, df,
        bad.low, bad.high, good.low, bad.p, good.p, level, more, good.high,
    )  # fmt: skip


def complement(arm: PerCluster) -> PerCluster:
    """What a rate leaves: all turns that are no event."""
    events, turns = arm
    return turns - events, turns


def mirrored(found: Difference) -> Difference:
    """The difference of two rates of which more is better, from that of what they leave, which is judged."""
    return replace(
        found, baseline=1 - found.baseline, candidate=1 - found.candidate, d=-found.d, low=-found.high, high=-found.low
    )


def rate_difference(
    base: PerCluster,
    cand: PerCluster,
    margin: Margin,
    *,
    paired: bool,
    better: Better = "lower",
    level: float = LEVEL,
    words: bool = False,
) -> Difference:
    """Candidate's rate minus the baseline's. Events and turns by session, or by pair if `paired`."""
    if better == "higher":
        left = complement(base), complement(cand)
        return mirrored(rate_difference(*left, margin, paired=paired, level=level, words=words))
    one, other = ratio_of(base, words=words), ratio_of(cand, words=words)
    if paired:
        both = _pairs(base, cand)
        se, df = math.sqrt(_spread(_parts(cand) - _parts(base), both)), kish(base[1] + cand[1]) - 1
    else:
        variances = one.variance, other.variance
        se, df = math.sqrt(sum(variances)), welch(variances, (one.worth, other.worth))
    return points_difference(one, other, se, df, margin, level)


def points_difference(
    base: Ratio,
    cand: Ratio,
    se: float,
    df: float,
    margin: Margin,
    level: float = LEVEL,
    *,
    fixed: float = 0.0,
    clusters: int | None = None,
) -> Difference:
    """Of two rates whose difference has this SE: worse and better are said by SE + t, their denial by the wider rule.

    `fixed`: the part of SE² that more sessions do not touch; `clusters`: how many there are, else those of the larger
    arm.
    """
    d = cand.value - base.value
    simple = student(d, se, df, level)
    high, low = upper_of_points(base, cand, se, df, level), -upper_of_points(cand, base, se, df, level)
    bad = replace(student(d - margin.points, se, df, level), high=high - margin.points)
    good = replace(student(-d - margin.points, se, df, level), high=-low - margin.points)
    most, more = clusters or max(base.clusters, cand.clusters), None
    if not settled(bad) and d > margin.points:
        more = more_sessions(d - margin.points, se, most, level, fixed=fixed)
    elif not settled(bad):
        more = _more_to_pass((base, cand), se, df, margin, level, fixed, most, alone=clusters is not None)
    return Difference(
        "points", base.value, cand.value, d, simple.low, high, se, df,
        bad.low, bad.high, good.low, bad.p, good.p, level, more, good.high,
    )  # fmt: skip


def upper_of_points(base: Ratio, cand: Ratio, se: float, df: float, level: float) -> float:
    """The upper bound of how far the candidate's rate lies above the baseline's."""
    d = cand.value - base.value
    few = math.hypot(cand.upper(level) - cand.value, base.value - base.lower(level))
    return max(student(d, se, df, level).high, d + few, d + cand.unseen(level))


def _more_to_pass(
    arms: tuple[Ratio, Ratio],
    se: float,
    df: float,
    margin: Margin,
    level: float,
    fixed: float,
    clusters: int,
    *,
    alone: bool,
) -> int | None:
    """About so many more sessions bring the upper bound below the margin with a power of 80 %, if the rates are what
    they seem. None where more than `FAR` times as many would not. `alone`: the candidate alone grows.

    The bound has no inverse, so the number is searched for. Without any failure it is exact.
    """
    base, cand = arms

    def passes(more: int) -> bool:
        one, other = base if alone else base.grown(more, clusters), cand.grown(more, clusters)
        times = 1 + more / clusters
        now = math.sqrt(fixed + max(0.0, se**2 - fixed) / times)
        high = upper_of_points(one, other, now, df if fixed else df * times, level)
        return bool(high + float(ndtri(POWER)) * now < margin.points)

    most = FAR * clusters
    if not (math.isfinite(se) and clusters and passes(most)):
        return None
    more = bisect_left(range(1, most), True, key=passes) + 1
    return two_digits(more) if se else more


def any_event(arm: PerCluster) -> Ratio:
    """The share of sessions with any event. Sessions are independent, so it is plainly binomial."""
    sessions = int(np.count_nonzero(arm[1]))
    share = np.count_nonzero(arm[0][arm[1] > 0]) / sessions if sessions else math.nan
    return Ratio(share, share * (1 - share) / sessions if sessions else math.nan, float(sessions), sessions)


def newcombe(base: Ratio, cand: Ratio, level: float = LEVEL) -> tuple[float, float]:
    """Newcombe's interval of the difference of two shares."""
    return -_newcombe(cand, base, level), _newcombe(base, cand, level)


def _parts(arm: PerCluster) -> Floats:
    """What each cluster adds to the error of the ratio, had the others been all: (x − r·n) / (Σn − n)."""
    amounts, turns = arm
    total = turns.sum()
    if not total:
        return np.full(turns.size, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts: Floats = (amounts - amounts.sum() / total * turns) / (total - turns)
    return parts


def _spread(parts: Floats, clusters: int) -> float:
    return (clusters - 1) / clusters * float((parts**2).sum()) if clusters > 1 else math.nan


def _pairs(base: PerCluster, cand: PerCluster) -> int:
    return int(np.count_nonzero(base[1] + cand[1]))


def _newcombe(low: Ratio, high: Ratio, level: float) -> float:
    """Newcombe's upper bound of high − low, from Wilson's limits of either."""
    z = float(ndtri(1 - level))
    ends = (wilson(arm.value, arm.turns, side * z) - arm.value for arm, side in ((high, 1), (low, -1)))
    return high.value - low.value + math.hypot(*ends)


def wilson(share: float, n: float, z: float) -> float:
    """Wilson's limit of a share of n: the upper one for z above 0, the lower one below."""
    root = math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (share + z**2 / (2 * n) + z * root) / (1 + z**2 / n)


SHARE_STEPS = 33
"""Shares at which the largest bound is looked for, and again around it."""


def upper_share(share: float, square: float, sessions: float, level: float) -> float:
    """The upper bound of a share, at this one-sided error. `square`: the mean over turns of the squared share of their
    session; `sessions`: as long as the longest.

    1 where sessions tell nothing of one another: of fewer than two, or where that is not known.
    """
    if not (sessions > 1 and math.isfinite(square)) or share >= 1:
        return 1.0
    together = min(max(square, share**2), share)
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
    """The least number of sessions that show nothing for the upper bound to lie below `points`; None where none do.
    `longest`: turns of the longest of them, as a multiple of their mean.
    """
    if points <= 0:
        return None
    return max(2, math.floor(longest * math.log(level) / math.log1p(-points)) + 1) if points < 1 else 2
