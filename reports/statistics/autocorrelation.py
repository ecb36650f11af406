"""Dependence that resampling does not see: autocorrelated sessions, and samples generated with one
seed. Pure.

The bootstrap treats sessions, or pairs of them, as if their order had no meaning. A drift that both
targets of a pair share cancels inside the pair. A drift of one target does not cancel: then a
hundred pairs within ten minutes are evidence only about those ten minutes. So a series of numbers
is tested for autocorrelation. If sessions are paired, the series has one number per pair: the
difference between its two targets. Otherwise each target has its own series, with one number per
session. The pairs or sessions are in the order in which they started. Each of the two tests has a
type I error of 2.5 %:

    slow    one-way analysis of variance over the quarters of the series, F(3, n − 4)
    quick   von Neumann: (r_1 + 1/n)·√n is normal, where r_1 is the lag-1 autocorrelation

For a quantile, the series has the median of each cluster; for a mean, the mean of each cluster. If
either test is significant, a target drifts, and the k = 4 quarters of the run become the clusters.
Failures and stalls come in bursts that medians do not show. So for a rate, the series has the share
of events in each cluster. A quantile other than the median has a second series: the share of turns
in each cluster that lie beyond the quantile of both targets together. If either test is significant
for one of these two series, the events come in bursts, and k = 6 batches become the clusters.
Bursts are short compared with a sixth of the run; if they are not, they are too few for any method.
V is the variance of the statistic over resamples of the k parts. Both targets of pairs are
resampled together, otherwise each target alone:

    SE² = V · k/(k − 1)      bounds d ∓ t·SE with k − 1 degrees of freedom, or Welch's of two runs

The percentile interval is not used, because it needs more clusters. For rates, SE is computed from
the sums of each part. With bursts, the bounds of a quantile must also follow from its share of
turns (`share_test`). These bounds are compared with the usual ones (`differences`, `rates`), and
the wider ones are used. If a drift is slower than a part of the run, SE is still too small. So such
a verdict is also provisional.

Two samples may also be more similar than independent samples are. The samples have n and m values,
and D is the largest distance between their empirical distributions. λ = (D + 1/min(n, m)) · √(nm /
(n + m)) has Kolmogorov's distribution if both are independent samples of one distribution (the 1/n
corrects for the steps of D): P(λ < x) ≈ √(2π)/x · exp(−π²/8x²), 3·10⁻⁴ at 0.35. A correlation
within sessions makes λ larger, not smaller.

After: von Neumann, "Distribution of the ratio of the mean square successive difference to the
variance" (1941).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from reports.statistics.counting import Floats, Integers, without_warnings
from reports.statistics.differences import (
    Better,
    Difference,
    Inference,
    Margin,
    OneSidedBounds,
    Order,
    StandardError,
    log_ratio,
    log_variance,
    quantile_differences,
    welch,
)
from reports.statistics.distributions import fdtrc, ndtr
from reports.statistics.quantiles import Sample, quantile
from reports.statistics.rates import (
    ClusterTotals,
    PerCluster,
    RatioEstimate,
    between_runs,
    beyond,
    log_difference,
    mean_difference,
    mirrored,
    rate_difference,
    ratio_of,
    se_of_rates,
    with_runs,
)

if TYPE_CHECKING:
    from reports.statistics.arms import TwoSamples

QUARTERS = 4
BATCHES = 6
"""The number of parts of a run that become its clusters: QUARTERS if a target drifts, BATCHES if
its events come in bursts."""
FOUND = 0.025
EARLY = 0.1
"""The type I error of each of the two tests for autocorrelation.

With FOUND = 0.025, 4 to 5 % of runs without autocorrelation test positive. EARLY is used at an
interim analysis that would stop the run. It may be larger, because a later analysis can still stop
the run. A verdict is provisional only if a test is significant at FOUND, at the analysis that
decides it.
"""
BURST_ALPHA_FACTOR = 0.6
"""The factor on the type I error of the tests for bursts. It is below 1 because each positive test
costs power, and because bursts that matter are obvious."""
MIN_VALUES = 20
"""The minimum length of a series that is tested, and the minimum size of each of two samples: with
fewer values, the steps of D are too large."""


def part_of(clusters: int, parts: int = QUARTERS) -> Integers:
    """Return the part of the run in which each cluster lies, from 0. The clusters are in the
    order of their start.
    """
    return np.arange(clusters) * parts // max(1, clusters)


def is_autocorrelated(series: Floats, error: float = FOUND) -> bool:
    """Return whether a series is autocorrelated at this type I error. Values that are not finite
    are left out.

    Return False if fewer than MIN_VALUES values remain, or if all are equal.
    """
    x = series[np.isfinite(series)]
    n = x.size
    if n < MIN_VALUES or not np.ptp(x) > 0:
        return False
    deviations = x - x.mean()
    quarter = part_of(n)
    squares = float((deviations**2).sum())
    between = float((np.bincount(quarter, deviations) ** 2 / np.bincount(quarter)).sum())
    within = squares - between
    ratio = between / (QUARTERS - 1) / (within / (n - QUARTERS)) if within > 0 else math.inf
    slow = float(fdtrc(QUARTERS - 1, n - QUARTERS, ratio))
    neighbours = float((deviations[1:] * deviations[:-1]).sum() / squares)
    quick = float(ndtr(-(neighbours + 1 / n) * math.sqrt(n)))
    return min(slow, quick) < error


def cluster_levels(sample: Sample, clusters: int) -> Floats:
    """Return the median of the logs of each cluster's values.

    It is NaN for a cluster without values. It is infinite if the cluster's median is infinite or 0.
    """
    order = np.lexsort((sample.values, sample.sessions))
    values = sample.values[order]
    counts = np.bincount(sample.sessions, minlength=clusters)
    first = np.concatenate(([0], np.cumsum(counts)[:-1]))
    has_values = counts > 0
    levels = np.full(clusters, np.nan)
    with without_warnings():
        low, high = (
            values[(first + position)[has_values]] for position in ((counts - 1) // 2, counts // 2)
        )
        levels[has_values] = (np.log(low) + np.log(high)) / 2
    return levels


def shares_beyond(sample: Sample, clusters: int, value: float) -> Floats:
    """Return the share of turns above `value` in each cluster; NaN for a cluster without turns.

    If `value` is infinite, it is the share of infinite turns.
    """
    return shares(beyond(sample, value, clusters))


def in_parts(sample: Sample, clusters: int, parts: int) -> Sample:
    """Return the sample with other clusters: the run is divided into `parts` parts, and each
    part is one cluster.
    """
    return Sample(
        sample.values, part_of(clusters, parts)[sample.sessions], sample.failed, sample.unfinished
    )


PARTS: dict[Order, int] = {"drift": QUARTERS, "bursts": BATCHES}
FINITE = 0.99
"""The minimum share of finite resamples. It applies if the bounds of a quantile are computed
from parts of a run."""


def shares(totals: PerCluster) -> Floats:
    """Return the share of events in each cluster; NaN for a cluster without turns."""
    with without_warnings():
        event_shares: Floats = totals[0] / totals[1]
    return event_shares


def shares_burst(totals: PerCluster) -> bool:
    """Return whether the events of one target come in bursts."""
    return is_autocorrelated(shares(totals), BURST_ALPHA_FACTOR * FOUND)


def dependence_test(sample: Sample, clusters: int, p: float) -> Order | None:
    """Return the type of autocorrelation of one target that affects a quantile; None if there is
    no autocorrelation.
    """
    if is_autocorrelated(cluster_levels(sample, clusters)):
        return "drift"
    burst = p != 0.5 and is_autocorrelated(
        shares_beyond(sample, clusters, quantile(sample.values, p)), BURST_ALPHA_FACTOR * FOUND
    )
    return "bursts" if burst else None


def _is_one_target_ordered(first: Floats, second: Floats, error: float, *, paired: bool) -> bool:
    """Return whether a target is autocorrelated.

    If sessions are paired, the differences of the pairs are tested; otherwise, the series of each
    target. `error` is the type I error of all these tests together.
    """
    with without_warnings():
        series = [second - first] if paired else [first, second]
    return any(is_autocorrelated(values, error / len(series)) for values in series)


def latencies_by_order(
    samples: TwoSamples,
    margins: Sequence[tuple[float, Margin]],
    better: Better,
    inference: Inference,
) -> list[Difference]:
    """Compare quantiles as `differences.quantile_differences` does.

    `margins` is the level of each quantile, with its margin.

    If a target drifts, or its slow turns come in bursts, also compute bounds with parts of the run
    as clusters, and use the wider bounds.
    """
    from reports.statistics.arms import target_resamples
    from reports.statistics.share_test import share_difference

    rng = np.random.default_rng(inference.seed)
    comparisons = quantile_differences(samples, margins, better, replace(inference, seed=rng))
    for order, indices in by_order(samples, [p for p, _ in margins]).items():
        of_parts = by_parts(samples, PARTS[order])
        ps = [margins[index][0] for index in indices]
        resamples = target_resamples(of_parts, ps, draws=inference.resamples, rng=rng)
        for column, index in enumerate(indices):
            p, margin = margins[index]
            low, high = (values[:, column] for values in resamples)
            se = math.sqrt(
                part_variance(log_ratio(high, low), PARTS[order]) + inference.run_variance
            )
            df = PARTS[order] - 1.0
            if not samples.paired:
                df = welch([log_variance(values) for values in (low, high)], [PARTS[order]] * 2)
            error = StandardError(se, df, samples.clusters[0])
            by_parts_alone = log_difference(
                samples.values(p), error, margin, better, inference.level
            )
            comparisons[index] = wider(comparisons[index], by_parts_alone, order)
            if p != 0.5 and (by_share := share_difference(of_parts, p, margin, better, inference)):
                comparisons[index] = comparisons[index].wider_of(by_share)
    return comparisons


def by_order(
    samples: TwoSamples, ps: Sequence[float], error: float = FOUND
) -> dict[Order, list[int]]:
    """Return the quantiles that must also be compared by parts of the run, for each type of
    autocorrelation.

    The result has their indices in `ps`.

    If a target drifts, these are all quantiles. Otherwise they are the quantiles, except the
    median, for which the turns beyond the quantile come in bursts.
    """
    targets = tuple(zip((samples.base, samples.cand), samples.clusters, strict=True))
    first, second = (cluster_levels(sample, clusters) for sample, clusters in targets)
    if _is_one_target_ordered(first, second, error, paired=samples.paired):
        return {"drift": list(range(len(ps)))}
    pooled = np.sort(np.concatenate([samples.base.values, samples.cand.values]))
    bursts = []
    for index, p in enumerate(ps):
        if p == 0.5:
            continue
        first, second = (
            shares_beyond(sample, clusters, quantile(pooled, p)) for sample, clusters in targets
        )
        if _is_one_target_ordered(first, second, BURST_ALPHA_FACTOR * error, paired=samples.paired):
            bursts.append(index)
    return {"bursts": bursts} if bursts else {}


def mean_by_order(
    totals: ClusterTotals,
    margin: Margin,
    better: Better,
    inference: Inference,
    error: float = FOUND,
) -> Difference:
    """Compare two means as `rates.mean_difference` does.

    If a target drifts, also compute bounds with quarters of the run as clusters, and use the wider
    bounds. `error` is the type I error of the tests for drift.
    """
    usual = mean_difference(totals, margin, better, inference)
    if not means_drift(totals, error):
        return usual
    return wider(
        usual, mean_difference(_sums_by_parts(totals, QUARTERS), margin, better, inference), "drift"
    )


def means_drift(totals: ClusterTotals, error: float = FOUND) -> bool:
    """Return whether a target drifts, by the means of clusters relative to their target's mean."""
    with without_warnings():
        first, second = (
            amounts / turns / (amounts.sum() / turns.sum())
            for amounts, turns in (totals.base, totals.cand)
        )
    return _is_one_target_ordered(first, second, error, paired=totals.paired)


def rate_by_order(
    totals: ClusterTotals,
    margin: Margin,
    better: Better,
    inference: Inference,
    error: float = FOUND,
) -> Difference:
    """Compare two rates as `rates.rate_difference` does.

    If a target's events come in bursts, also compute bounds with sixths of the run as clusters, and
    use the wider bounds. The type I error of the tests for bursts is BURST_ALPHA_FACTOR times
    `error`. The bounds of each target's own rate are always computed from its sessions, because
    parts of a run show less about unseen sessions.
    """
    if better == "higher":
        return mirrored(rate_by_order(totals.complements, margin, "lower", inference, error))
    between = between_runs([ratio.value for ratio in totals.ratios], inference.rate_run_sd)
    usual = rate_difference(
        totals, margin, level=inference.level, error=with_runs(se_of_rates(totals), between)
    )
    if not rates_burst(totals, error):
        return usual
    batched = with_runs(se_of_rates(_sums_by_parts(totals, BATCHES)), between)
    return wider(
        usual, rate_difference(totals, margin, level=inference.level, error=batched), "bursts"
    )


def rates_burst(totals: ClusterTotals, error: float = FOUND) -> bool:
    """Return whether the events of a target come in bursts."""
    first = shares(totals.base)
    second = shares(totals.cand)
    return _is_one_target_ordered(first, second, BURST_ALPHA_FACTOR * error, paired=totals.paired)


def wider(usual: Difference, parts: Difference, order: Order) -> Difference:
    """Return the difference `usual` with the wider bounds of `usual` and `parts`.

    `parts` is the difference computed from parts of the run.

    The standard error is the larger of both; if that of `parts` is NaN, the result is NaN.
    """
    interval = OneSidedBounds(usual.low, usual.high).wider_of(OneSidedBounds(parts.low, parts.high))
    return replace(
        usual,
        low=interval.low,
        high=interval.high,
        worse=usual.worse.wider_of(parts.worse),
        better=usual.better.wider_of(parts.better),
        se=parts.se if math.isnan(parts.se) else max(usual.se, parts.se),
        df=parts.df,
        more_sessions=None,
        order=order,
        baseline_sessions=None,
    )


def by_parts(samples: TwoSamples, parts: int) -> TwoSamples:
    """Return the samples of both targets with other clusters: each of the `parts` parts of the
    run is one cluster.
    """
    first = in_parts(samples.base, samples.clusters[0], parts)
    second = in_parts(samples.cand, samples.clusters[1], parts)
    return replace(samples, base=first, cand=second, clusters=(parts, parts))


def part_variance(values: Floats, parts: int) -> float:
    """Return the variance of a statistic, given its value in each resample of the parts of a run.

    Return NaN if too few of the values are finite.
    """
    from reports.statistics.bootstrap import variance

    return variance(values, FINITE) * parts / (parts - 1)


def log_variances_by_parts(
    sample: Sample,
    ps: Sequence[float],
    clusters: int,
    parts: int,
    draws: int,
    rng: np.random.Generator,
) -> list[float]:
    """Return the variance of the log of each quantile, with parts of the run as clusters."""
    from reports.statistics.bootstrap import resampled_quantiles

    resamples = resampled_quantiles(
        in_parts(sample, clusters, parts), ps, clusters=parts, draws=draws, rng=rng
    )
    with without_warnings():
        return [part_variance(column, parts) for column in np.log(resamples).T]


def with_sixths(totals: PerCluster, *, words: bool = False) -> RatioEstimate:
    """Return the rate of one target, as `rates.ratio_of` does, also with its variance between
    sixths of the run.
    """
    return replace(
        ratio_of(totals, words=words), by_sixths=ratio_of(by_part(totals, BATCHES)).variance
    )


def _sums_by_parts(totals: ClusterTotals, parts: int) -> ClusterTotals:
    return replace(totals, base=by_part(totals.base, parts), cand=by_part(totals.cand, parts))


def by_part(totals: PerCluster, parts: int) -> PerCluster:
    """Return the totals of one target for each part of the run: the sums over the part's
    clusters.
    """
    part_codes = part_of(totals[0].size, parts)
    part_totals = np.zeros((2, parts))
    for sums, values in zip(part_totals, totals, strict=True):
        np.add.at(sums, part_codes, values)
    return part_totals[0], part_totals[1]


NEIGHBOUR_ALPHA = 0.35
"""The limit of λ: if λ is below it, two samples are too similar to be independent."""


def have_same_distribution(first: Floats, second: Floats) -> bool:
    """Return whether two samples of finite values are too similar to be independent samples.

    Return False if a sample has fewer than MIN_VALUES values.
    """
    return (
        min(first.size, second.size) >= MIN_VALUES
        and kolmogorov_distance(first, second) < NEIGHBOUR_ALPHA
    )


def kolmogorov_distance(first: Floats, second: Floats) -> float:
    """Return λ of two samples, as this module's docstring defines it.

    The samples need not be sorted. Each must have a value.
    """
    a = np.sort(first)
    b = np.sort(second)
    points = np.concatenate([a, b])
    distances = (
        np.searchsorted(a, points, "right") / a.size - np.searchsorted(b, points, "right") / b.size
    )
    min_size = min(a.size, b.size)
    return (float(np.abs(distances).max()) + 1 / min_size) * math.sqrt(
        a.size * b.size / (a.size + b.size)
    )
