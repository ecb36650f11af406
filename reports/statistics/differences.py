"""The difference of one metric between two targets, with its confidence interval and its p-value at
a margin. Pure.

Quantiles and means are compared by the log of their ratio, rates by their difference. The sampling
unit is the session. If sessions of both targets start in pairs, it is the pair: then both targets
are resampled with the same draws.

The interval of a quantile is the expanded percentile interval of the resampled D* = log q*_cand −
log q*_base. G_c and G_b are the effective (Kish) numbers of sessions of candidate and baseline, and
g is the smaller of them; for pairs, g is the effective number of pairs. V_c and V_b are the
variances of log q* over the resamples of each target. t has Welch's df:

    df = (V_c + V_b)² / (V_c²/(G_c−1) + V_b²/(G_b−1))     paired: df = pairs − 1
    a' = Φ(−t_{1−a, df} · √(g/(g−1)))     bounds: the a'- and (1−a')-quantiles of D*
    p  = T_df(Φ⁻¹((#{D* ≤ margin} + 1)/(B+1)) · √((g−1)/g))   of "not worse than the margin"

B is the number of resamples. If a' · B < 1, the bounds are open. Failed turns are +inf, so a bound
may be infinite. A resample that is infinite in both targets has no ratio: it counts as −inf for the
lower bound, and as +inf for the upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from reports.results.value import Scale, as_share
from reports.statistics.bootstrap import RESAMPLES
from reports.statistics.counting import Floats, count_nonzero, without_warnings
from reports.statistics.distributions import ndtr, ndtri, stdtr, stdtrit
from reports.statistics.quantiles import Sample, quantile

if TYPE_CHECKING:
    from reports.statistics.arms import TwoSamples

LEVEL = 0.05
"""The one-sided type I error. Reports print the two-sided interval of 90 %; its two ends are the
bounds that decide."""

POWER = 0.8
MAX_SESSIONS_RATIO = 20
"""The maximum number of additional sessions to recommend, as a multiple of the existing ones. If
more are needed, no number is recommended."""

Better = Literal["lower", "higher"]
Order = Literal["drift", "bursts"]
"""The type of autocorrelation in a target. "drift": the latencies of its sessions drift. "bursts":
its failures or slow turns come in bursts."""


@dataclass(frozen=True)
class Margin:
    """The largest deterioration that is accepted.

    - `ratio` is the margin of quantiles and means; 0.1 is 10 %.
    - `points` is the margin of rates; 0.01 is one percentage point.
    - `plus` is the margin in the unit of the metric. Slopes use only `plus`. If a quantile or mean
      has `ratio` and `plus`, a regression must exceed both.
    """

    ratio: float = 0.0
    points: float = 0.0
    plus: float = 0.0


@dataclass(frozen=True)
class OneSidedBounds:
    """The lower and the upper bound of a quantity. Each is one-sided, with the same type I error.

    `p` is the p-value of the null hypothesis "the quantity is not above 0".
    """

    low: float = -math.inf
    high: float = math.inf
    p: float = 1.0

    def wider_of(self, other: OneSidedBounds) -> OneSidedBounds:
        """Return the lower of the lower bounds, the higher of the upper bounds, and the larger
        p-value.
        """
        return OneSidedBounds(
            min(self.low, other.low), max(self.high, other.high), max(self.p, other.p)
        )

    def scaled(self, factor: float) -> OneSidedBounds:
        return replace(self, low=factor * self.low, high=factor * self.high)


@dataclass(frozen=True)
class Difference:
    """A comparison of a candidate with its baseline.

    - `d` is the log of the ratio or, for rates and slopes, candidate minus baseline.
    - `low` and `high` are the bounds of `d`; −inf and +inf if they are open.
    - `worse` is the distance by which the candidate is worse than the margin allows. Below 0, it is
      not.
    - `better` is the distance by which the candidate is better than the margin. Below 0, it is not.
      If only the interval of `d` is known, `worse` and `better` have no bounds.
    """

    scale: Scale
    baseline: float
    candidate: float
    d: float
    low: float
    high: float
    se: float = math.nan
    df: float = math.nan
    worse: OneSidedBounds = OneSidedBounds()
    better: OneSidedBounds = OneSidedBounds()
    level: float = LEVEL
    more_sessions: int | None = None
    """The approximate number of additional sessions per target that a decision needs. None if the
    metric is decided, or if no number suffices."""
    order: Order | None = None
    """The type of autocorrelation that was found in a target; None if none was found. If it is set,
    the clusters are parts of the run, not sessions or pairs."""
    baseline_sessions: int | None = None
    """The approximate number of sessions of the baseline with which the candidate would be worse.
    It is set if only the number of the baseline's sessions prevents this verdict."""
    by_length: bool = False
    """True if the change depends on the length of sessions, so that one of the bounds allows for
    an unseen session."""

    @property
    def shares(self) -> tuple[float | None, float | None, float | None]:
        """The difference and both ends of its interval: 0.2 is +20 % or, for a rate, 20 points;
        None if unbounded.
        """
        d, low, high = (
            as_share(end, self.scale, self.candidate) for end in (self.d, self.low, self.high)
        )
        return d, low, high

    def is_nonzero(self, tests: int) -> bool:
        """Return whether the difference is not 0, with Bonferroni's correction for a number of
        tests (Student's t).
        """
        t = abs(self.d) / self.se if self.se > 0 and math.isfinite(self.d) else 0.0
        return bool(stdtr(self.df, -t) < self.level / tests)

    def wider_of(self, other: Difference) -> Difference:
        """Return this difference with the wider of both bounds. More sessions make them no
        narrower.
        """
        ends = min(self.low, other.low), max(self.high, other.high)
        worse = self.worse.wider_of(other.worse)
        better = self.better.wider_of(other.better)
        return replace(
            self, low=ends[0], high=ends[1], worse=worse, better=better, more_sessions=None
        )


@dataclass(frozen=True)
class Inference:
    """The settings from which the interval of a difference is computed.

    - `level` is the one-sided type I error.
    - `run_sd` is the run-to-run sd of the log of a quantile. It is 0 if both targets are in one
      run.
    - `rate_run_sd` is the run-to-run sd of the log odds of a rate. It is 0 if both targets are in
      one run.
    - `resamples` is the number of bootstrap resamples.
    - `seed` is the seed of the resamples, or a random number generator.
    """

    level: float = LEVEL
    run_sd: float = 0.0
    rate_run_sd: float = 0.0
    resamples: int = RESAMPLES
    seed: int | np.random.Generator = 0

    @property
    def run_variance(self) -> float:
        """The part of a quantile's SE² from the variation between two runs, which more sessions
        do not reduce.
        """
        return 2 * self.run_sd**2


@dataclass(frozen=True)
class StandardError:
    """The standard error of a difference.

    - `clusters` is the number of sessions of the larger target.
    - `fixed` is the part of SE² that more sessions do not reduce.
    - `alone` is True if additional sessions are for the candidate only.
    """

    se: float
    df: float
    clusters: int
    fixed: float = 0.0
    alone: bool = False


def quantile_differences(
    samples: TwoSamples,
    margins: Sequence[tuple[float, Margin]],
    better: Better,
    inference: Inference,
) -> list[Difference]:
    """Compare quantiles of the candidate with the same quantiles of the baseline, by resampling
    sessions or pairs.

    `margins` is the level of each quantile, with its margin.

    Clusters without a value are also drawn, but they do not count in the effective number of
    sessions. If a quantile is below 0, it has no log, and its bounds are open.
    """
    from reports.statistics.arms import target_resamples
    from reports.statistics.bootstrap import variance
    from reports.statistics.by_length import changes_by_length, reaches

    rng = np.random.default_rng(inference.seed)
    first, second = target_resamples(
        samples, [p for p, _ in margins], draws=inference.resamples, rng=rng
    )
    noise = (
        rng.normal(0, math.sqrt(2) * inference.run_sd, inference.resamples)
        if inference.run_sd
        else np.zeros(inference.resamples)
    )  # the variance between runs
    drift = noise if better == "lower" else -noise
    differences = []
    by_length = changes_by_length(samples)
    for column, (p, margin) in enumerate(margins):
        resamples = first[:, column], second[:, column]
        ratio = log_ratio(resamples[1], resamples[0]) + noise
        bad_by = excess_over_margin(resamples, margin, better) + drift
        good_by = excess_over_margin(resamples[::-1], margin, better) - drift
        df = welch(
            [] if samples.paired else [log_variance(values) for values in resamples],
            samples.effective_sessions,
        )
        interval, worse, good = (
            _expanded(values, min(samples.effective_sessions), df, inference.level)
            for values in (ratio, bad_by, good_by)
        )
        error = StandardError(
            math.sqrt(variance(ratio)), df, samples.max_sessions, inference.run_variance
        )
        base, cand = (np.array([value]) for value in samples.values(p))
        more = None
        if not is_conclusive(worse):
            more = more_sessions(
                float(excess_over_margin((base, cand), margin, better)[0]), error, inference.level
            )
        difference = Difference(
            "ratio",
            float(base[0]),
            float(cand[0]),
            float(log_ratio(cand, base)[0]),
            interval.low,
            interval.high,
            error.se,
            df,
            worse,
            good,
            inference.level,
            more,
        )
        if by_length:
            excesses = (
                excess_over_margin(values, margin, better)
                for values in ((base, cand), (cand, base))
            )
            low, high = reaches(samples, p, inference.level)
            one_sided = (0.0, high) if by_length > 0 else (low, 0.0)
            difference = _with_unseen(
                difference, one_sided, [float(excess[0]) for excess in excesses], better
            )
        differences.append(difference)
    return differences


def _with_unseen(
    difference: Difference, reaches: tuple[float, float], excesses: Sequence[float], better: Better
) -> Difference:
    """Return the difference with bounds that also allow for an unseen session of each target.

    `reaches` is the distances of these bounds from the log ratio; 0 if a bound need not allow for
    it. `excesses` is by how much the candidate is worse, and better, than the margin allows.
    """
    from reports.statistics.by_length import p_value

    low, high = reaches
    of_worse = reaches if better == "lower" else reaches[::-1]
    worse, good = (
        OneSidedBounds(
            excess - ends[0], excess + ends[1], p_value(excess, ends[0], difference.level)
        )
        for excess, ends in zip(excesses, (of_worse, of_worse[::-1]), strict=True)
    )
    wider = replace(
        difference, low=difference.d - low, high=difference.d + high, worse=worse, better=good
    )
    return replace(difference.wider_of(wider), by_length=True)


def log_ratio(more: Floats, less: Floats, margin: Margin = Margin()) -> Floats:
    """Return log more − log max((1 + ratio)·less, less + plus), where `ratio` and `plus` are those
    of the margin.

    If both numbers are 0, the result is that of two equal values. It is NaN if both are +inf, or if
    one is negative.
    """
    accepted = np.maximum((1 + margin.ratio) * less, less + margin.plus)
    with without_warnings():
        ratio = np.log(more) - np.log(accepted)
    ratio = np.where((more == 0) & (accepted == 0), -math.log1p(margin.ratio), ratio)
    # exactly on the margin is not beyond it, regardless of rounding errors
    return np.round(ratio, 12)


def excess_over_margin(values: tuple[Floats, Floats], margin: Margin, better: Better) -> Floats:
    """Return by how much the candidate is worse than the margin allows. `values` has the baseline's
    values first.

    If `values` has the candidate's values first, the result is by how much the candidate is better
    than the margin.
    """
    return (
        log_ratio(values[1], values[0], margin)
        if better == "lower"
        else log_ratio(values[0], values[1], margin)
    )


def log_variance(values: Floats) -> float:
    """Return the variance of the logs of resampled values. Only finite logs count; with fewer
    than two, return 0.
    """
    from reports.statistics.bootstrap import variance

    finite_variance = variance(np.log(values[values > 0]))
    return 0.0 if math.isnan(finite_variance) else finite_variance


def welch(variances: Sequence[float], clusters: Sequence[float]) -> float:
    """Return Welch's degrees of freedom of a difference. Each target has one entry in `variances`
    and in `clusters`.

    For pairs, the number of pairs is the only entry of `clusters`; the result is this number − 1.
    """
    if len(clusters) == 1:
        return float(clusters[0] - 1)
    squares = sum(v**2 / max(1, g - 1) for v, g in zip(variances, clusters, strict=True))
    return float(sum(variances) ** 2 / squares) if squares else float(sum(clusters) - len(clusters))


def _expanded(values: Floats, clusters: float, df: float, level: float) -> OneSidedBounds:
    """Return the expanded percentile interval of resampled values, and the p-value of "not above
    0".

    If all n resamples are above 0, the p-value from counting is at least 1/(n + 1). With many
    primary metrics, no metric could then fail after Holm's correction. So in this case the p-value
    of Student's t is used if it is smaller.
    """
    if clusters < 2:
        return OneSidedBounds()
    widen = math.sqrt(clusters / (clusters - 1))
    unknown = np.isnan(values)
    tail = float(ndtr(-widen * float(stdtrit(df, 1 - level))))
    others = count_nonzero(~(values > 0))
    p = float(stdtr(df, float(ndtri((others + 1) / (values.size + 1))) / widen))
    if not others and (finite := values[np.isfinite(values)]).size:
        capped_values = np.minimum(values, finite.max())
        p = min(
            p,
            student(
                float(capped_values.mean()), float(capped_values.std(ddof=1)) * widen, df, level
            ).p,
        )
    if tail * values.size < 1:
        return OneSidedBounds(p=p)
    low = quantile(np.sort(np.where(unknown, -np.inf, values)), tail)
    return OneSidedBounds(low, quantile(np.sort(np.where(unknown, np.inf, values)), 1 - tail), p)


def student(value: float, se: float, df: float, level: float = LEVEL) -> OneSidedBounds:
    """Return the bounds value ∓ t·SE, and the p-value. The bounds are open if the value, SE or
    df is unknown.
    """
    if not (math.isfinite(value) and math.isfinite(se) and df > 0):
        return OneSidedBounds()
    reach = float(stdtrit(df, 1 - level)) * se
    p = float(stdtr(df, -value / se)) if se else float(value <= 0)
    return OneSidedBounds(value - reach, value + reach, p)


def is_conclusive(bad: OneSidedBounds) -> bool:
    """Return whether the whole interval of `bad` lies on one side of the margin; False if it
    ends on the margin.
    """
    return bad.low > 0 or bad.high < 0


def more_sessions(distance: float, error: StandardError, level: float = LEVEL) -> int | None:
    """Return the approximate number of additional sessions per target that a decision with a power
    of 80 % needs.

    `distance` is the estimated distance from the margin; the true one is assumed to be the same.
    More sessions reduce SE², but not its fixed part. The number is rounded up to two significant
    digits. Return None if no number suffices, or if it exceeds MAX_SESSIONS_RATIO times the
    existing sessions.
    """
    required_variance = (distance / float(ndtri(1 - level) + ndtri(POWER))) ** 2 - error.fixed
    if not (math.isfinite(required_variance) and math.isfinite(error.se)) or required_variance <= 0:
        return None
    more = max(1.0, error.clusters * ((error.se**2 - error.fixed) / required_variance - 1))
    return None if more > MAX_SESSIONS_RATIO * error.clusters else two_digits(more)


def two_digits(number: float) -> int:
    """Round up to two significant digits: 241 → 250."""
    unit: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / unit) * unit


TIED = 0.01
MIN_TIED = 5
"""The minimum share, and number, of values that are equal to the quantile, if the values have
ticks."""
LARGE = 1 / 3
"""The share of the margin above which a tick is reported."""


def tick_at(sample: Sample, p: float) -> float:
    """Return the tick of the values at the p-quantile: the step of a clock or of audio frames; 0 if
    they have none.

    A tick is the smallest distance between two values that occur several times. It bounds how small
    a difference can be.
    """
    values = sample.succeeded
    if not values.size:
        return 0.0
    at = quantile(sample.values, p)
    tied = int(np.searchsorted(values, at, "right") - np.searchsorted(values, at))
    if tied < max(MIN_TIED, TIED * values.size):
        return 0.0
    distinct, counts = np.unique(values, return_counts=True)
    gaps: Floats = np.diff(distinct[counts > 1])
    return float(gaps.min()) if gaps.size else 0.0


def is_large(tick: float, value: float, margin: Margin) -> bool:
    """Return whether a tick is a large share of a margin on the baseline's `value`, and larger
    than its `plus`.
    """
    return tick > LARGE * max(margin.ratio * value, margin.plus) and tick > margin.plus + 1e-6
