"""Means and rates of two targets, as ratios of totals over sessions, and upper bounds of rates. Pure.

A mean is Σ amounts / Σ turns, a rate Σ events / Σ turns. With r = Σx/Σn in a target of G sessions, by the jackknife

    V(r) = (G−1)/G · Σ((x_g − r·n_g) / (Σn − n_g))²      V(log r) = V(r) / r²

which for sessions of equal length is G/(G−1)·Σ(x_g − r·n_g)²/(Σn)². Intervals of differences are d ∓ t·SE with Welch's
df. For pairs, SE² = (G−1)/G·Σe² over the contributions of pairs, e = e_cand − e_base with e = (x − r·n)/(Σn − n) for
each target (divided by r for logs). Degrees of freedom use Kish's effective number of sessions, or pairs
(`reports.statistics.quantiles.effective_size`).

With few failures the SE of a rate is too small. So "not worse" uses the largest of three upper bounds: the one above;
one from both targets' own bounds, squared and added as by Newcombe; and one from the candidate's bound as if nothing
had failed, because failures that both targets have in common prove nothing:

    d + √((upper_cand − r_cand)² + (r_base − lower_base)²)      d + upper_cand of no failure

The bounds of each target are those of `reports.statistics.unseen`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri, stdtrit  # type: ignore[import-untyped, unused-ignore]

from reports.statistics import differences
from reports.statistics.counting import Floats
from reports.statistics.differences import LEVEL, Better, Difference, Inference, Margin, OneSidedBounds, StandardError
from reports.statistics.quantiles import effective_size
from reports.statistics.unseen import lower_share, upper_share

PerCluster = tuple[Floats, Floats]
"""The sum (of amounts, or of events) and the number of turns, by session or by pair."""


@dataclass(frozen=True)
class RatioEstimate:
    """A mean or a rate of one target, its variance, and its numbers of turns and sessions.

    - `square`: for a rate, the mean over turns of the squared share of events in their session
    - `effective_sessions`: Kish's effective number of sessions
    - `sessions_if_all_longest`: the turns as a multiple of those of the longest session
    - `words`: True for a rate over words; no session fails in all its words

    If `effective_sessions` and `sessions_if_all_longest` are not given, sessions are assumed to be equally long.
    """

    value: float
    variance: float
    turns: float
    clusters: int
    square: float = math.nan
    effective_sessions: float = math.nan
    sessions_if_all_longest: float = math.nan
    words: bool = False

    def __post_init__(self) -> None:
        if math.isnan(self.effective_sessions):
            square = self.value**2 + (self.clusters - 1) * self.variance
            vars(self).update(
                square=square, effective_sessions=float(self.clusters), sessions_if_all_longest=float(self.clusters)
            )

    @property
    def log_variance(self) -> float:
        return self.variance / self.value**2 if self.value else math.nan

    @property
    def deff(self) -> float:
        """The design effect of a rate: its variance relative to that of independent turns; 1 if unknown."""
        independent = self.value * (1 - self.value) / self.turns
        return max(1.0, self.variance / independent) if independent > 0 else 1.0

    def upper(self, level: float) -> float:
        """Return the upper bound of a rate. It is also valid if there are few events."""
        if self.value > 1:
            return self._student(level).high
        return upper_share(self.value, self.square, self.sessions_if_all_longest, level)

    def lower(self, level: float) -> float:
        if self.value > 1:
            return self._student(level).low
        return lower_share(self.value, self.square, self.sessions_if_all_longest, level)

    def reach(self, level: float) -> float:
        """Return t · SE at a one-sided error; inf with one session, which gives no information about other sessions."""
        if self.clusters < 2:
            return math.inf
        return float(stdtrit(self.effective_sessions - 1, 1 - level)) * math.sqrt(self.variance)

    def unseen(self, level: float) -> float:
        """Return the upper bound of the rate as if no event had occurred in as many sessions; 0 for words."""
        return 0.0 if self.words else upper_share(0.0, 0.0, self.sessions_if_all_longest, level)

    def left(self) -> RatioEstimate:
        """Return the complement: the rate of the turns that are not events."""
        return replace(self, value=1 - self.value, square=1 - 2 * self.value + self.square)

    def _student(self, level: float) -> OneSidedBounds:
        """Return Student's bounds. They are used for a rate above 1, since there may be more word errors than words."""
        return differences.student(self.value, math.sqrt(self.variance), self.effective_sessions - 1, level)

    def with_sessions(self, more: int, existing: int) -> RatioEstimate:
        """Return the estimate with `more` additional sessions for each `existing` sessions."""
        times = 1 + more / existing
        return replace(
            self,
            variance=self.variance / times,
            turns=self.turns * times,
            clusters=round(self.clusters * times),
            effective_sessions=self.effective_sessions * times,
            sessions_if_all_longest=self.sessions_if_all_longest * times,
        )


def ratio_of(totals: PerCluster, *, words: bool = False) -> RatioEstimate:
    """Return the ratio of totals of a target. Sessions without a turn do not count. NaN without turns."""
    turns, clusters = float(totals[1].sum()), int(np.count_nonzero(totals[1]))
    value = float(totals[0].sum()) / turns if turns else math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        square = (
            float((totals[0] * np.where(totals[1] > 0, totals[0] / totals[1], 0.0)).sum()) / turns
            if turns
            else math.nan
        )
    longest = turns / float(totals[1].max()) if turns else math.nan
    effective_sessions = effective_size(totals[1]) if turns else 0.0
    return RatioEstimate(
        value,
        _jackknife_variance(_jackknife_contributions(totals), clusters),
        turns,
        clusters,
        square,
        effective_sessions,
        longest,
        words,
    )


@dataclass(frozen=True)
class ClusterTotals:
    """The totals of the turns of both targets, by session or by pair. `words`: a rate is counted over words."""

    base: PerCluster
    cand: PerCluster
    paired: bool
    words: bool = False

    @property
    def ratios(self) -> tuple[RatioEstimate, RatioEstimate]:
        return ratio_of(self.base, words=self.words), ratio_of(self.cand, words=self.words)

    @property
    def df_of_pairs(self) -> float:
        return effective_size(self.base[1] + self.cand[1]) - 1

    def variance_of_pairs(self, parts: Floats) -> float:
        """Return the variance of a difference, from the contribution of each pair to its error."""
        return _jackknife_variance(parts, int(np.count_nonzero(self.base[1] + self.cand[1])))


def mean_difference(totals: ClusterTotals, margin: Margin, better: Better, inference: Inference) -> Difference:
    """Return the log ratio of two means of positive amounts; unbounded if the mean of a target is not positive."""
    base, cand = totals.ratios
    if totals.paired:
        parts = _jackknife_contributions(totals.cand) / (cand.value or math.nan) - _jackknife_contributions(
            totals.base
        ) / (base.value or math.nan)
        within, df = totals.variance_of_pairs(parts), totals.df_of_pairs
    else:
        variances = base.log_variance, cand.log_variance
        within, df = sum(variances), differences.welch(variances, (base.effective_sessions, cand.effective_sessions))
    se, clusters = math.sqrt(within + inference.run_variance), max(base.clusters, cand.clusters)
    error = StandardError(se, df, clusters, inference.run_variance, assumed=inference.run_variance)
    return log_difference((base.value, cand.value), error, margin, better, inference.level)


def log_difference(
    values: tuple[float, float], error: StandardError, margin: Margin, better: Better, level: float = LEVEL
) -> Difference:
    """Return the difference of two values, the baseline's first, given the standard error of their log ratio."""
    base, cand = (np.array([value]) for value in values)
    d = float(differences.log_ratio(cand, base)[0])
    bad_by, good_by = (
        float(differences.excess_over_margin(pair, margin, better)[0]) for pair in ((base, cand), (cand, base))
    )
    interval, bad, good = (differences.student(value, error.se, error.df, level) for value in (d, bad_by, good_by))
    more = None if differences.is_conclusive(bad) else differences.more_sessions(bad_by, error, level)
    return Difference(
        "ratio", *values, d, interval.low, interval.high, error.se, error.df, bad, good, level, more, error.assumed,
    )  # fmt: skip


def between_runs(rates: Iterable[float], run_sd: float) -> float:
    """Return the sum of the run-to-run variances of these rates: (sd of log odds · r(1 − r))² each."""
    return sum((run_sd * rate * max(0.0, 1 - rate)) ** 2 for rate in rates if math.isfinite(rate))


def with_runs(error: StandardError, between: float) -> StandardError:
    """Return a standard error with the run-to-run variance added."""
    se = math.sqrt(error.se**2 + between)
    return replace(error, se=se, fixed=error.fixed + between, assumed=error.assumed + between)


def complement(totals: PerCluster) -> PerCluster:
    """Return the totals of the complement of a rate: of the turns that are not events."""
    events, turns = totals
    return turns - events, turns


def mirrored(difference: Difference) -> Difference:
    """Return the difference of two rates if more is better, from the difference of their complements.

    The complements are tested.
    """
    return replace(
        difference,
        baseline=1 - difference.baseline,
        candidate=1 - difference.candidate,
        d=-difference.d,
        low=-difference.high,
        high=-difference.low,
    )


def rate_difference(
    totals: ClusterTotals,
    margin: Margin,
    better: Better = "lower",
    level: float = LEVEL,
    *,
    error: StandardError | None = None,
) -> Difference:
    """Return the candidate's rate minus the baseline's.

    `error`: the standard error to use instead of that from sessions.
    """
    if better == "higher":
        complements = replace(totals, base=complement(totals.base), cand=complement(totals.cand))
        return mirrored(rate_difference(complements, margin, level=level, error=error))
    return points_difference(*totals.ratios, error or se_of_rates(totals), margin, level)


def se_of_rates(totals: ClusterTotals) -> StandardError:
    """Return the standard error of the difference of two rates, from the contributions of sessions or pairs."""
    base, cand = totals.ratios
    clusters = max(base.clusters, cand.clusters)
    if totals.paired:
        se = math.sqrt(
            totals.variance_of_pairs(_jackknife_contributions(totals.cand) - _jackknife_contributions(totals.base))
        )
        return StandardError(se, totals.df_of_pairs, clusters)
    variances = base.variance, cand.variance
    df = differences.welch(variances, (base.effective_sessions, cand.effective_sessions))
    return StandardError(math.sqrt(sum(variances)), df, clusters)


def points_difference(
    base: RatioEstimate, cand: RatioEstimate, error: StandardError, margin: Margin, level: float = LEVEL
) -> Difference:
    """Return the difference of two rates.

    The bounds d ∓ t · SE decide "worse" and "better"; the largest of the three upper bounds decides "not worse".
    """
    d, se, df = cand.value - base.value, error.se, error.df
    simple = differences.student(d, se, df, level)
    high, low = upper_of_points(base, cand, se, df, level), -upper_of_points(cand, base, se, df, level)
    bad = replace(differences.student(d - margin.points, se, df, level), high=high - margin.points)
    good = replace(differences.student(-d - margin.points, se, df, level), high=-low - margin.points)
    more = None
    if not differences.is_conclusive(bad) and d > margin.points:
        more = differences.more_sessions(d - margin.points, error, level)
    elif not differences.is_conclusive(bad):
        more = _more_to_pass((base, cand), error, margin, level)
    return Difference(
        "points", base.value, cand.value, d, simple.low, high, se, df, bad, good, level, more, error.assumed,
    )  # fmt: skip


def upper_of_points(base: RatioEstimate, cand: RatioEstimate, se: float, df: float, level: float) -> float:
    """Return the upper bound of the candidate's rate minus the baseline's."""
    return max(_upper_bounds(base, cand, se, df, level))


def _upper_bounds(base: RatioEstimate, cand: RatioEstimate, se: float, df: float, level: float) -> Iterator[float]:
    """Yield the three bounds, of which the largest is used; the slowest to compute is last."""
    d = cand.value - base.value
    yield differences.student(d, se, df, level).high
    yield d + cand.unseen(level)
    yield d + math.hypot(cand.upper(level) - cand.value, base.value - base.lower(level))


def _more_to_pass(
    ratios: tuple[RatioEstimate, RatioEstimate], error: StandardError, margin: Margin, level: float
) -> int | None:
    """Return the approximate number of additional sessions to pass with a power of 80 %.

    To pass, the upper bound must be below the margin. The true rates are assumed to be the estimates. Return None if
    MAX_SESSIONS_RATIO times as many sessions do not suffice. The bound has no inverse, so the number is found by
    bisection.
    """
    base, cand = ratios
    clusters, fixed = error.clusters, error.fixed

    def passes(more: int) -> bool:
        larger_base, larger_cand = (
            base if error.alone else base.with_sessions(more, clusters),
            cand.with_sessions(more, clusters),
        )
        times = 1 + more / clusters
        now = math.sqrt(fixed + max(0.0, error.se**2 - fixed) / times)
        highs = _upper_bounds(larger_base, larger_cand, now, error.df if fixed else error.df * times, level)
        return all(high + float(ndtri(differences.POWER)) * now < margin.points for high in highs)

    max_more = differences.MAX_SESSIONS_RATIO * clusters
    if not (math.isfinite(error.se) and clusters and passes(max_more)):
        return None
    more = bisect_left(range(1, max_more), True, key=passes) + 1
    return differences.two_digits(more) if error.se else more


def any_event(totals: PerCluster) -> RatioEstimate:
    """Return the share of sessions with any event. Sessions are independent, so its variance is binomial."""
    sessions = int(np.count_nonzero(totals[1]))
    share = np.count_nonzero(totals[0][totals[1] > 0]) / sessions if sessions else math.nan
    return RatioEstimate(share, share * (1 - share) / sessions if sessions else math.nan, float(sessions), sessions)


def newcombe(base: RatioEstimate, cand: RatioEstimate, level: float = LEVEL) -> tuple[float, float]:
    """Return Newcombe's interval of the difference of two shares, from Wilson's limits of each."""
    z = float(ndtri(1 - level))

    def upper(low: RatioEstimate, high: RatioEstimate) -> float:
        ends = (wilson(ratio.value, ratio.turns, sign * z) - ratio.value for ratio, sign in ((high, 1), (low, -1)))
        return high.value - low.value + math.hypot(*ends)

    return -upper(cand, base), upper(base, cand)


def _jackknife_contributions(totals: PerCluster) -> Floats:
    """Return the contribution of each cluster to the ratio's error, by the jackknife: (x − r·n) / (Σn − n)."""
    amounts, turns = totals
    total = turns.sum()
    if not total:
        return np.full(turns.size, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts: Floats = (amounts - amounts.sum() / total * turns) / (total - turns)
    return parts


def _jackknife_variance(parts: Floats, clusters: int) -> float:
    return (clusters - 1) / clusters * float((parts**2).sum()) if clusters > 1 else math.nan


def wilson(share: float, n: float, z: float) -> float:
    """Return Wilson's limit of a share of n events: the upper limit if z is above 0, the lower one if z is below 0."""
    root = math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (share + z**2 / (2 * n) + z * root) / (1 + z**2 / n)
