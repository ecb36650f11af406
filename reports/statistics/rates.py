"""Means and rates of two targets, and upper bounds of rates. Each is a ratio of two sums over
sessions. Pure.

A mean is Σ amounts / Σ turns, a rate Σ events / Σ turns. A target has G sessions, and r = Σx/Σn.
The jackknife gives

    V(r) = (G−1)/G · Σ((x_g − r·n_g) / (Σn − n_g))²      V(log r) = V(r) / r²

For sessions of equal length, V(r) is G/(G−1)·Σ(x_g − r·n_g)²/(Σn)². Intervals of differences are d
∓ t·SE with Welch's df. For G pairs, SE² = (G−1)/G·Σe². Each pair contributes e = e_cand − e_base.
For each target, e is (x − r·n)/(Σn − n); for logs it is divided by r. Degrees of freedom use Kish's
effective number of sessions, or of pairs (`reports.statistics.quantiles.effective_size`).

With few failures the SE of a rate is too small. So "not worse" uses the largest of three upper
bounds of the difference. The first is d + t·SE. The second combines both targets' own bounds, as
Newcombe does: their distances are squared and added. The third adds the upper bound that the
candidate would have without any failure, because failures that both targets have in common prove
nothing:

    d + √((upper_cand − r_cand)² + (r_base − lower_base)²)      d + upper_cand of no failure

If the baseline has far fewer sessions than the candidate, its SE is too small too. So "worse" uses
the smaller of two lower bounds, d − t·SE and the one that mirrors the second bound above. In the
same way, "better" uses it if the candidate has far fewer sessions. With sessions of 1:2 or more it
counts fully, with equal numbers not at all, and between them in proportion to the log of the ratio:

    d − √((upper_base − r_base)² + (r_cand − lower_cand)²)

The bounds of each target are those of `reports.statistics.unseen`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from reports.statistics.counting import Floats, count_nonzero, without_warnings
from reports.statistics.differences import (
    LEVEL,
    MAX_SESSIONS_RATIO,
    POWER,
    Better,
    Difference,
    Inference,
    Margin,
    OneSidedBounds,
    StandardError,
    excess_over_margin,
    is_conclusive,
    log_ratio,
    more_sessions,
    student,
    two_digits,
    welch,
)
from reports.statistics.distributions import ndtri, stdtrit
from reports.statistics.quantiles import Sample, effective_size
from reports.statistics.unseen import lower_share, upper_share

PerCluster = tuple[Floats, Floats]
"""The sum of amounts, or of events, in each session, and the number of turns in each session. If
sessions are paired, the numbers are those of each pair."""


@dataclass(frozen=True)
class RatioEstimate:
    """A mean or a rate of one target, its variance, and the numbers of turns and sessions.

    - `square` is set for a rate. Take the share of events in the session of each turn; `square` is
      the mean of its square over all turns.
    - `effective_sessions` is Kish's effective number of sessions.
    - `sessions_if_all_longest` is the number of turns divided by that of the longest session.
    - `words` is True for a rate over words. It is assumed that no session fails in all its words.
    - `by_sixths` is the variance if the clusters are sixths of the run; NaN if it is unknown.

    If `effective_sessions` is not given, sessions are assumed to be equally long.
    """

    value: float
    variance: float
    turns: float
    clusters: int
    square: float = math.nan
    effective_sessions: float = math.nan
    sessions_if_all_longest: float = math.nan
    words: bool = False
    by_sixths: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.effective_sessions):
            vars(self).update(
                square=self.value**2 + (self.clusters - 1) * self.variance,
                effective_sessions=float(self.clusters),
                sessions_if_all_longest=float(self.clusters),
            )

    @property
    def log_variance(self) -> float:
        return self.variance / self.value**2 if self.value else math.nan

    @property
    def deff(self) -> float:
        """The design effect of a rate: its variance relative to that of independent turns.

        It is at least 1; 1 if it is unknown.
        """
        independent = self.value * (1 - self.value) / self.turns if self.turns else 0.0
        return max(1.0, self.variance / independent) if independent > 0 else 1.0

    def upper(self, level: float) -> float:
        """Return the upper bound of a rate at a one-sided type I error. It is also valid if
        there are few events.
        """
        if self.value > 1:
            return self._student(level).high
        return upper_share(self.value, self.square, self.sessions_if_all_longest, level)

    def lower(self, level: float) -> float:
        if self.value > 1:
            return self._student(level).low
        return lower_share(self.value, self.square, self.sessions_if_all_longest, level)

    def reach(self, level: float) -> float:
        """Return t · SE at a one-sided type I error.

        Return inf with one session, which gives no information about other sessions.
        """
        if self.clusters < 2:
            return math.inf
        return float(stdtrit(self.effective_sessions - 1, 1 - level)) * math.sqrt(self.variance)

    def unseen(self, level: float) -> float:
        """Return the upper bound that the rate would have without any event; 0 for a rate over
        words.
        """
        return 0.0 if self.words else upper_share(0.0, 0.0, self.sessions_if_all_longest, level)

    def left(self) -> RatioEstimate:
        """Return the complement: the rate of the turns without an event."""
        return replace(self, value=1 - self.value, square=1 - 2 * self.value + self.square)

    def _student(self, level: float) -> OneSidedBounds:
        """Return Student's bounds of a rate above 1.

        The word error rate may be above 1, because there may be more errors than words.
        """
        return student(self.value, math.sqrt(self.variance), self.effective_sessions - 1, level)

    def with_sessions(self, more: int, existing: int) -> RatioEstimate:
        """Return the estimate as it would be with more sessions: `more` for each `existing`
        sessions.
        """
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
    """Return the mean or the rate of one target, NaN without turns. Sessions without a turn do
    not count.
    """
    turns = float(totals[1].sum())
    clusters = count_nonzero(totals[1])
    value = float(totals[0].sum()) / turns if turns else math.nan
    with without_warnings():
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
    """The sums of both targets in each session, or in each pair. `words` is True for a rate over
    words.
    """

    base: PerCluster
    cand: PerCluster
    paired: bool
    words: bool = False

    @cached_property
    def ratios(self) -> tuple[RatioEstimate, RatioEstimate]:
        return ratio_of(self.base, words=self.words), ratio_of(self.cand, words=self.words)

    @property
    def complements(self) -> ClusterTotals:
        """The totals of the complements of both rates."""
        return replace(self, base=complement(self.base), cand=complement(self.cand))

    @property
    def df_of_pairs(self) -> float:
        return effective_size(self.base[1] + self.cand[1]) - 1

    def variance_of_pairs(self, parts: Floats) -> float:
        """Return the variance of a difference, given the contribution of each pair to its error."""
        return _jackknife_variance(parts, count_nonzero(self.base[1] + self.cand[1]))


def mean_difference(
    totals: ClusterTotals, margin: Margin, better: Better, inference: Inference
) -> Difference:
    """Compare two means of positive amounts by the log of their ratio.

    The bounds are open if a mean is not positive.
    """
    base, cand = totals.ratios
    if totals.paired:
        parts = _jackknife_contributions(totals.cand) / (
            cand.value or math.nan
        ) - _jackknife_contributions(totals.base) / (base.value or math.nan)
        within = totals.variance_of_pairs(parts)
        df = totals.df_of_pairs
    else:
        variances = base.log_variance, cand.log_variance
        within = sum(variances)
        df = welch(variances, (base.effective_sessions, cand.effective_sessions))
    se = math.sqrt(within + inference.run_variance)
    clusters = max(base.clusters, cand.clusters)
    error = StandardError(se, df, clusters, inference.run_variance)
    return log_difference((base.value, cand.value), error, margin, better, inference.level)


def log_difference(
    values: tuple[float, float],
    error: StandardError,
    margin: Margin,
    better: Better,
    level: float,
) -> Difference:
    """Compare two values by the log of their ratio. `values` has the baseline's value first.

    `error` is the standard error of this log.
    """
    base, cand = (np.array([value]) for value in values)
    d = float(log_ratio(cand, base)[0])
    bad_by, good_by = (
        float(excess_over_margin(pair, margin, better)[0]) for pair in ((base, cand), (cand, base))
    )
    interval, bad, good = (
        student(value, error.se, error.df, level) for value in (d, bad_by, good_by)
    )
    more = None if is_conclusive(bad) else more_sessions(bad_by, error, level)
    return Difference(
        "ratio",
        *values,
        d,
        interval.low,
        interval.high,
        error.se,
        error.df,
        bad,
        good,
        level,
        more,
    )


def between_runs(rates: Iterable[float], run_sd: float) -> float:
    """Return the sum of the run-to-run variances of these rates.

    The variance of a rate r is (sd of log odds · r(1 − r))².
    """
    return sum((run_sd * rate * max(0.0, 1 - rate)) ** 2 for rate in rates if math.isfinite(rate))


def with_runs(error: StandardError, between: float) -> StandardError:
    """Return the standard error with the run-to-run variance `between` added."""
    return replace(error, se=math.sqrt(error.se**2 + between), fixed=error.fixed + between)


def complement(totals: PerCluster) -> PerCluster:
    """Return the totals of the complement of a rate: its events are the turns without an event."""
    events, turns = totals
    return turns - events, turns


def mirrored(difference: Difference) -> Difference:
    """Return the difference of two rates of which more is better. `difference` is that of their
    complements.

    The complements are tested, so `worse` and `better` are not changed.
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
    """Compare two rates by the candidate's rate minus the baseline's.

    `error` is a standard error to use instead of the one computed from sessions or pairs.
    """
    if better == "higher":
        return mirrored(rate_difference(totals.complements, margin, level=level, error=error))
    return points_difference(*totals.ratios, error or se_of_rates(totals), margin, level)


def se_of_rates(totals: ClusterTotals) -> StandardError:
    """Return the standard error of the difference of two rates, computed from sessions or pairs."""
    base, cand = totals.ratios
    clusters = max(base.clusters, cand.clusters)
    if totals.paired:
        se = math.sqrt(
            totals.variance_of_pairs(
                _jackknife_contributions(totals.cand) - _jackknife_contributions(totals.base)
            )
        )
        return StandardError(se, totals.df_of_pairs, clusters)
    variances = base.variance, cand.variance
    df = welch(variances, (base.effective_sessions, cand.effective_sessions))
    return StandardError(math.sqrt(sum(variances)), df, clusters)


def points_difference(
    base: RatioEstimate,
    cand: RatioEstimate,
    error: StandardError,
    margin: Margin,
    level: float = LEVEL,
) -> Difference:
    """Compare two rates by the candidate's rate minus the baseline's, given the standard error.

    The lower bounds of `_worse` decide "worse" and "better". The largest of three upper bounds
    decides "not worse".
    """
    d = cand.value - base.value
    se = error.se
    df = error.df
    high = upper_of_points(base, cand, se, df, level)
    low = -upper_of_points(cand, base, se, df, level)
    bad = replace(_worse(base, cand, error, margin.points, level), high=high - margin.points)
    good = replace(_worse(cand, base, error, margin.points, level), high=-low - margin.points)
    needed = None
    if bad.low <= 0 < student(d - margin.points, se, df, level).low:
        needed = _baseline_sessions(base, cand, error, margin.points, level)
    more = None
    if not is_conclusive(bad) and d > margin.points:
        more = more_sessions(d - margin.points, error, level)
    elif not is_conclusive(bad):
        more = _more_to_pass((base, cand), error, margin, level)
    return Difference(
        "points",
        base.value,
        cand.value,
        d,
        bad.low + margin.points,
        high,
        se,
        df,
        bad,
        good,
        level,
        more,
        baseline_sessions=needed,
    )


FAR_FEWER = 2.0
"""The ratio of the numbers of sessions from which on the target with fewer sessions needs a
bound of its own."""


def _worse(
    base: RatioEstimate, cand: RatioEstimate, error: StandardError, points: float, level: float
) -> OneSidedBounds:
    """Return the bounds of the candidate's rate minus the baseline's and minus `points`.

    If the baseline has far fewer sessions, the lower bound allows for one unseen session of the
    baseline. The p-value is that of Student's t with a standard error that gives this bound.
    """
    value = cand.value - base.value - points
    bounds = student(value, error.se, error.df, level)
    sessions = base.effective_sessions, cand.effective_sessions
    if not (0 < sessions[0] < sessions[1] and math.isfinite(bounds.low)):
        return bounds
    weight = min(1.0, math.log(sessions[1] / sessions[0]) / math.log(FAR_FEWER))
    reach = _reach(cand, base, level)
    low = bounds.low - weight * max(0.0, bounds.low - (value - reach))
    if low == bounds.low:
        return bounds
    se = (value - low) / float(stdtrit(error.df, 1 - level))
    return replace(bounds, low=low, p=max(bounds.p, student(value, se, error.df, level).p))


def _baseline_sessions(
    base: RatioEstimate, cand: RatioEstimate, error: StandardError, points: float, level: float
) -> int | None:
    """Return the approximate number of sessions of the baseline with which the candidate is worse
    by its lower bound.

    The rates are assumed to be the estimated ones. Return None if MAX_SESSIONS_RATIO times the
    sessions do not suffice.
    """

    def is_worse(more: int) -> bool:
        return _worse(base.with_sessions(more, base.clusters), cand, error, points, level).low > 0

    most = MAX_SESSIONS_RATIO * base.clusters
    if not is_worse(most):
        return None
    return two_digits(base.clusters + bisect_left(range(1, most), True, key=is_worse) + 1)


def upper_of_points(
    base: RatioEstimate, cand: RatioEstimate, se: float, df: float, level: float
) -> float:
    """Return the upper bound of the candidate's rate minus the baseline's: the largest of three
    bounds.
    """
    return max(_upper_bounds(base, cand, se, df, level))


def _upper_bounds(
    base: RatioEstimate, cand: RatioEstimate, se: float, df: float, level: float
) -> Iterator[float]:
    """Yield the three upper bounds of the difference, the slowest to compute last. The largest
    is used.
    """
    d = cand.value - base.value
    yield student(d, se, df, level).high
    yield d + cand.unseen(level)
    yield d + _reach(base, cand, level)


def _reach(base: RatioEstimate, cand: RatioEstimate, level: float) -> float:
    """Return the distance of the upper bound that combines both targets' own bounds."""
    return math.hypot(cand.upper(level) - cand.value, base.value - base.lower(level))


def _more_to_pass(
    ratios: tuple[RatioEstimate, RatioEstimate], error: StandardError, margin: Margin, level: float
) -> int | None:
    """Return the approximate number of additional sessions with which the candidate passes with a
    power of 80 %.

    To pass, the upper bound of the difference must be below the margin. The true rates are assumed
    to be the estimated ones. Return None if MAX_SESSIONS_RATIO times the existing sessions do not
    suffice. The bound has no inverse, so the number is found by bisection.
    """
    base, cand = ratios
    clusters = error.clusters
    fixed = error.fixed

    def passes(more: int) -> bool:
        larger_base = base if error.alone else base.with_sessions(more, clusters)
        larger_cand = cand.with_sessions(more, clusters)
        times = 1 + more / clusters
        now = math.sqrt(fixed + max(0.0, error.se**2 - fixed) / times)
        highs = _upper_bounds(
            larger_base, larger_cand, now, error.df if fixed else error.df * times, level
        )
        return all(high + float(ndtri(POWER)) * now < margin.points for high in highs)

    max_more = MAX_SESSIONS_RATIO * clusters
    if not (math.isfinite(error.se) and clusters and passes(max_more)):
        return None
    more = bisect_left(range(1, max_more), True, key=passes) + 1
    return two_digits(more) if error.se else more


def any_event(totals: PerCluster) -> RatioEstimate:
    """Return the share of sessions with an event. Sessions are independent, so its variance is
    binomial.
    """
    sessions = count_nonzero(totals[1])
    share = count_nonzero(totals[0][totals[1] > 0]) / sessions if sessions else math.nan
    return RatioEstimate(
        share, share * (1 - share) / sessions if sessions else math.nan, float(sessions), sessions
    )


def newcombe(base: RatioEstimate, cand: RatioEstimate, level: float = LEVEL) -> tuple[float, float]:
    """Return Newcombe's interval of the difference of two shares, from the bounds of each share."""
    d = cand.value - base.value
    return d - _reach(cand, base, level), d + _reach(base, cand, level)


def _jackknife_contributions(totals: PerCluster) -> Floats:
    """Return the contribution of each cluster to the error of the ratio, by the jackknife: (x −
    r·n) / (Σn − n).
    """
    amounts, turns = totals
    total = turns.sum()
    if not total:
        return np.full(turns.size, np.nan)
    with without_warnings():
        parts: Floats = (amounts - amounts.sum() / total * turns) / (total - turns)
    return parts


def _jackknife_variance(parts: Floats, clusters: int) -> float:
    return (clusters - 1) / clusters * float((parts**2).sum()) if clusters > 1 else math.nan


def beyond(sample: Sample, cut: float, clusters: int, weights: Floats | None = None) -> PerCluster:
    """Return the number of turns beyond the cut, and the number of turns, in each cluster.

    If there are weights, return their sums. If the cut is infinite, the turns beyond it are the
    infinite ones.
    """
    first = int(np.searchsorted(sample.values, cut, "right" if math.isfinite(cut) else "left"))
    turns = np.bincount(sample.sessions, weights, clusters).astype(float)
    above = None if weights is None else weights[first:]
    return np.bincount(sample.sessions[first:], above, clusters).astype(float), turns
