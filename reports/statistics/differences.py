"""The difference of one metric between two targets, with its confidence interval and its p-value at a margin. Pure.

Quantiles and means are compared by the log of their ratio, rates by their difference. The sampling unit is the session,
or the pair of sessions if they start together: then both targets are resampled with the same draws.

The interval of a quantile is the expanded percentile interval of the resampled D* = log q*_cand − log q*_base. With g
the effective (Kish) number of sessions of the smaller target, or of pairs; V the variance of log q* in a target; and t
with Welch's df,

    df = (V_c + V_b)² / (V_c²/(G_c−1) + V_b²/(G_b−1))     paired: df = pairs − 1
    a' = Φ(−t_{1−a, df} · √(g/(g−1)))                       bounds: the a'- and (1−a')-quantiles of D*
    p  = T_df(Φ⁻¹((#{D* ≤ margin} + 1)/(B+1)) · √((g−1)/g))   of "not worse than the margin"

Failed turns are +inf, so a bound may be infinite. A resample that is infinite in both targets has no ratio: it counts
as −inf for the lower bound and as +inf for the upper one. If a' · B < 1, the bounds are open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.arms import TwoSamples, target_resamples
from reports.statistics.bootstrap import RESAMPLES, variance
from reports.statistics.counting import Floats
from reports.statistics.quantiles import quantile

LEVEL = 0.05
"""The one-sided type I error. Reports print the two-sided interval of 90 %, whose ends are the bounds that decide."""

POWER = 0.8
MAX_SESSIONS_RATIO = 20
"""The maximum number of additional sessions, as a multiple of the existing ones. If more are needed, no number is
recommended."""

Scale = Literal["ratio", "points", "slope"]
Better = Literal["lower", "higher"]
Order = Literal["drift", "bursts"]
"""The type of autocorrelation of a target: its sessions drift, or its events come in bursts."""


@dataclass(frozen=True)
class Margin:
    """The largest deterioration that is accepted.

    - `ratio`: the margin of quantiles and means; 0.1 is 10 %
    - `points`: the margin of rates; 0.01 is one percentage point
    - `plus`: the margin in the unit of the metric. Slopes use only `plus`. If `ratio` is also given, a regression must
    exceed both
    """

    ratio: float = 0.0
    points: float = 0.0
    plus: float = 0.0


@dataclass(frozen=True)
class OneSidedBounds:
    """The one-sided bounds of a quantity, each at the same type I error.

    `p`: the p-value of the null hypothesis "the quantity is not above 0".
    """

    low: float = -math.inf
    high: float = math.inf
    p: float = 1.0

    def wider_of(self, other: OneSidedBounds) -> OneSidedBounds:
        """Return the lower of the lower bounds, the higher of the upper bounds, and the larger p-value."""
        return OneSidedBounds(min(self.low, other.low), max(self.high, other.high), max(self.p, other.p))

    def scaled(self, factor: float) -> OneSidedBounds:
        return replace(self, low=factor * self.low, high=factor * self.high)


@dataclass(frozen=True)
class Difference:
    """A comparison of candidate and baseline.

    - `d`, `low`, `high`: the log of the ratio, or the difference of rates or slopes; `low` and `high` are ±inf if open
    - `worse`, `better`: the distance of the candidate beyond the margin, in the bad and in the good direction. Above 0,
    the candidate is beyond the margin; below 0, it is not. Both are unbounded if only the interval is known.
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
    """The approximate number of sessions to add per target to decide; None if decided, or if no number suffices."""
    assumed: float = 0.0
    """The part of `se`² that comes from assumed run-to-run variation."""
    order: Order | None = None
    """The type of autocorrelation found in a target. If set, the clusters are parts of the run, not sessions or pairs.
    """


@dataclass(frozen=True)
class Inference:
    """The settings for the interval of a difference.

    - `level`: the one-sided type I error
    - `run_sd`, `rate_run_sd`: the run-to-run sd of the log of a quantile, and of the log odds of a rate, if the targets
    are two runs
    - `seed`: the seed of the resamples, or a generator
    """

    level: float = LEVEL
    run_sd: float = 0.0
    rate_run_sd: float = 0.0
    resamples: int = RESAMPLES
    seed: int | np.random.Generator = 0

    @property
    def run_variance(self) -> float:
        """The variance that two runs add to a quantile's SE²; more sessions do not reduce it."""
        return 2 * self.run_sd**2


@dataclass(frozen=True)
class StandardError:
    """The standard error of a difference.

    - `clusters`: the number of sessions of the larger target
    - `fixed`: the part of SE² that more sessions do not reduce
    - `alone`: True if only the candidate would get more sessions
    - `assumed`: the part of SE² that comes from assumed run-to-run variation
    """

    se: float
    df: float
    clusters: int
    fixed: float = 0.0
    alone: bool = False
    assumed: float = 0.0


def quantile_differences(
    samples: TwoSamples, margins: Sequence[tuple[float, Margin]], better: Better, inference: Inference
) -> list[Difference]:
    """Compare quantiles of the candidate with the baseline's, by resampling sessions or pairs.

    `margins`: the level of each quantile, with its margin.

    Clusters without a value are also drawn, but do not count in g. A quantile below 0 has no log: all its bounds are
    open.
    """
    rng = np.random.default_rng(inference.seed)
    first, second = target_resamples(samples, [p for p, _ in margins], draws=inference.resamples, rng=rng)
    noise = (
        rng.normal(0, math.sqrt(2) * inference.run_sd, inference.resamples)
        if inference.run_sd
        else np.zeros(inference.resamples)
    )  # the variance between runs
    drift = noise if better == "lower" else -noise
    differences = []
    for column, (p, margin) in enumerate(margins):
        resamples = first[:, column], second[:, column]
        ratio = log_ratio(resamples[1], resamples[0]) + noise
        bad_by, good_by = (
            excess_over_margin(resamples, margin, better) + drift,
            excess_over_margin(resamples[::-1], margin, better) - drift,
        )
        df = welch([] if samples.paired else [log_variance(values) for values in resamples], samples.effective_sessions)
        interval, worse, good = (
            _expanded(values, min(samples.effective_sessions), df, inference.level)
            for values in (ratio, bad_by, good_by)
        )
        error = StandardError(math.sqrt(variance(ratio)), df, samples.max_sessions, inference.run_variance)
        base, cand = (np.array([value]) for value in samples.values(p))
        more = None
        if not is_conclusive(worse):
            more = more_sessions(float(excess_over_margin((base, cand), margin, better)[0]), error, inference.level)
        differences.append(Difference(
            "ratio", float(base[0]), float(cand[0]), float(log_ratio(cand, base)[0]), interval.low, interval.high,
            error.se, df, worse, good, inference.level, more, inference.run_variance,
        ))  # fmt: skip
    return differences


def log_ratio(more: Floats, less: Floats, margin: Margin = Margin()) -> Floats:
    """Return log more − log max((1+m)·less, less + plus).

    Here m is the margin's `ratio`, and plus its `plus`. Two zeros do not differ. The result is NaN if both values are
    +inf or if a value is negative.
    """
    accepted = np.maximum((1 + margin.ratio) * less, less + margin.plus)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(more) - np.log(accepted)
    ratio = np.where((more == 0) & (accepted == 0), -math.log1p(margin.ratio), ratio)
    return np.round(ratio, 12)  # exactly on the margin is not beyond it, regardless of rounding errors


def excess_over_margin(values: tuple[Floats, Floats], margin: Margin, better: Better) -> Floats:
    """Return how far the second target is beyond the margin on the bad side.

    If the targets are swapped, the result is how far the candidate is better.
    """
    return log_ratio(values[1], values[0], margin) if better == "lower" else log_ratio(values[0], values[1], margin)


def log_variance(values: Floats) -> float:
    """Return the variance of the finite logs of resampled values; 0 with fewer than two."""
    finite_variance = variance(np.log(values[values > 0]))
    return 0.0 if math.isnan(finite_variance) else finite_variance


def welch(variances: Sequence[float], clusters: Sequence[float]) -> float:
    """Return Welch's degrees of freedom of a difference.

    For pairs, give one number of clusters and no variances; the result is pairs − 1.
    """
    if len(clusters) == 1:
        return float(clusters[0] - 1)
    squares = sum(v**2 / max(1, g - 1) for v, g in zip(variances, clusters, strict=True))
    return float(sum(variances) ** 2 / squares) if squares else float(sum(clusters) - len(clusters))


def _expanded(values: Floats, clusters: float, df: float, level: float) -> OneSidedBounds:
    """Return the expanded percentile interval of resampled values, and their p-value.

    If no resample lies on the good side, the number n of resamples bounds the p-value from below: 1/(n + 1). With many
    primary metrics none could then fail after Holm's correction. So the tail of Student's t is used if it is smaller.
    """
    if clusters < 2:
        return OneSidedBounds()
    widen, unknown = math.sqrt(clusters / (clusters - 1)), np.isnan(values)
    tail = float(ndtr(-widen * float(stdtrit(df, 1 - level))))
    others = np.count_nonzero(~(values > 0))
    p = float(stdtr(df, float(ndtri((others + 1) / (values.size + 1))) / widen))
    if not others and (finite := values[np.isfinite(values)]).size:
        capped_values = np.minimum(values, finite.max())
        p = min(p, student(float(capped_values.mean()), float(capped_values.std(ddof=1)) * widen, df, level).p)
    if tail * values.size < 1:
        return OneSidedBounds(p=p)
    low = quantile(np.sort(np.where(unknown, -np.inf, values)), tail)
    return OneSidedBounds(low, quantile(np.sort(np.where(unknown, np.inf, values)), 1 - tail), p)


def student(value: float, se: float, df: float, level: float = LEVEL) -> OneSidedBounds:
    """Return value ∓ t·SE and the p-value; open if the value, SE or df is unknown."""
    if not (math.isfinite(value) and math.isfinite(se) and df > 0):
        return OneSidedBounds()
    reach = float(stdtrit(df, 1 - level)) * se
    p = float(stdtr(df, -value / se)) if se else float(value <= 0)
    return OneSidedBounds(value - reach, value + reach, p)


def at_twice_the_run_sd(difference: Difference) -> Difference:
    """Return the difference as if the run-to-run sd were twice the assumed one.

    `assumed` is a variance, so it counts four times. As SE grows by a factor, so does the distance of the bounds from
    their middle. The p-values are those of a t that is smaller by this factor.
    """
    if not (difference.assumed > 0 and difference.se > 0):
        return difference
    times = math.sqrt(1 + 3 * difference.assumed / difference.se**2)

    def wider(bounds: OneSidedBounds) -> OneSidedBounds:
        low, high, p = bounds.low, bounds.high, bounds.p
        if math.isfinite(high - low):
            more = (times - 1) * (high - low) / 2
            low, high = low - more, high + more
        return OneSidedBounds(
            low, high, float(stdtr(difference.df, float(stdtrit(difference.df, p)) / times)) if 0 < p < 1 else p
        )

    interval = wider(OneSidedBounds(difference.low, difference.high))
    return replace(
        difference, low=interval.low, high=interval.high, worse=wider(difference.worse),
        better=wider(difference.better), se=times * difference.se, assumed=4 * difference.assumed,
    )  # fmt: skip


def is_conclusive(bad: OneSidedBounds) -> bool:
    """Return whether the interval lies on one side of the margin. An interval that ends on the margin does not."""
    return bad.low > 0 or bad.high < 0


def more_sessions(distance: float, error: StandardError, level: float = LEVEL) -> int | None:
    """Return the approximate number of additional sessions per target for a decision with a power of 80 %.

    The number has two significant digits. Return None if no number suffices, or if it exceeds MAX_SESSIONS_RATIO times
    the existing sessions. The true distance from the margin is assumed to be the estimated one. More sessions reduce
    SE² down to its fixed part.
    """
    required_variance = (distance / float(ndtri(1 - level) + ndtri(POWER))) ** 2 - error.fixed
    if not (math.isfinite(required_variance) and math.isfinite(error.se)) or required_variance <= 0:
        return None
    more = max(1.0, error.clusters * ((error.se**2 - error.fixed) / required_variance - 1))
    return None if more > MAX_SESSIONS_RATIO * error.clusters else two_digits(more)


def two_digits(number: float) -> int:
    """Round up to two digits: 241 → 250."""
    unit: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / unit) * unit
