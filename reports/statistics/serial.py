"""Dependence that resampling would miss: sessions in an order, and samples drawn by one seed; pure.

Sessions, or pairs of them, are resampled as if any order of them were as likely. What all pairs share cancels inside
them; a drift that one arm has for itself does not, and then a hundred pairs of ten minutes tell of ten minutes. So a
series with a number for each pair in the order of their start (how far its arms lie apart), or for each session of an
arm, is put to two tests of "no order", each at 2.5 %:

    slow    one-way analysis of variance over the quarters of the series, F(3, n − 4)
    quick   von Neumann: (r_1 + 1/n)·√n is normal, r_1 being the correlation of neighbours

Where either finds it, the quarters are the clusters: four, with 3 degrees of freedom. With V the variance over
resamples of four of them, of each arm or of both together:

    SE² = V · 4/3      bounds d ∓ t·SE with 3 degrees of freedom, or Welch's of two runs

for the percentile interval is made for more clusters than four; and of these bounds and the usual ones (`differences`,
`rates`) the wider count. A drift that is slower than a quarter is still underrated, which is why such a verdict is
provisional as well.

Two samples may also lie closer together than independent ones do. D is the largest distance of their empirical
distributions, of n and m values. λ = (D + 1/min(n, m)) · √(nm / (n + m)) has Kolmogorov's distribution where both are
independent draws of one (the 1/n is for D's steps): P(λ < x) ≈ √(2π)/x · exp(−π²/8x²), 3·10⁻⁴ at 0.35. Sessions that
resemble each other inside make λ larger, not smaller.

After: von Neumann, "Distribution of the ratio of the mean square successive difference to the variance" (1941).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import fdtrc, ndtr  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.counting import Floats, Integers
from reports.statistics.differences import (
    Better,
    Difference,
    Inference,
    Margin,
    StandardError,
    log_ratio,
    log_variance,
    quantile_differences,
    welch,
)
from reports.statistics.quantiles import Sample, quantile
from reports.statistics.rates import ArmSums, PerCluster, log_difference, mean_difference
from reports.statistics.resample import Arms, arm_draws, variance

QUARTERS = 4
FOUND, EARLY = 0.025, 0.1
"""The error of each of the two tests: of runs without any order 4 to 5 % are taken for ordered. At a look that would
end a run before its time more of them may be: there is a later one."""
LEAST = 20
"""Numbers that a series needs before anything is said of it."""


def quarters(clusters: int) -> Integers:
    """The quarter, from 0, of each of so many clusters in their order."""
    return np.arange(clusters) * QUARTERS // max(1, clusters)


def is_ordered(series: Floats, error: float = FOUND) -> bool:
    """Whether a series has an order. Those of its numbers that are not finite are left out."""
    x = series[np.isfinite(series)]
    n = x.size
    if n < LEAST or not np.ptp(x) > 0:
        return False
    return min(_slow(x, n), _quick(x, n)) < error


def _slow(x: Floats, n: int) -> float:
    quarter = quarters(n)
    many, sums = np.bincount(quarter), np.bincount(quarter, x - x.mean())
    between = float((sums**2 / many).sum())
    within = float(((x - x.mean()) ** 2).sum()) - between
    if within <= 0:
        return 0.0
    return float(fdtrc(QUARTERS - 1, n - QUARTERS, between / (QUARTERS - 1) / (within / (n - QUARTERS))))


def _quick(x: Floats, n: int) -> float:
    off = x - x.mean()
    neighbours = float((off[1:] * off[:-1]).sum() / (off**2).sum())
    return float(ndtr(-(neighbours + 1 / n) * math.sqrt(n)))


def cluster_levels(sample: Sample, clusters: int) -> Floats:
    """The median of the logs of each cluster's values; NaN of one without any, and not finite of one that failed."""
    order = np.lexsort((sample.values, sample.sessions))
    values, many = sample.values[order], np.bincount(sample.sessions, minlength=clusters)
    first = np.concatenate(([0], np.cumsum(many)[:-1]))
    there = many > 0
    found = np.full(clusters, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (values[(first + place)[there]] for place in ((many - 1) // 2, many // 2))
        found[there] = (np.log(low) + np.log(high)) / 2
    return found


def in_quarters(sample: Sample, clusters: int) -> Sample:
    """The same values, whose clusters are quarters of the run."""
    return Sample(sample.values, quarters(clusters)[sample.sessions], sample.failed, sample.unfinished)


FINITE = 0.99
"""The least share of draws that must be finite for a bound by quarters."""


def waits_drift(arms: Arms, error: float = FOUND) -> bool:
    """Whether an arm drifts by itself: of pairs, how far their arms lie apart; else either arm."""
    first, second = cluster_levels(arms.base, arms.clusters[0]), cluster_levels(arms.cand, arms.clusters[1])
    if not arms.paired:
        return is_ordered(first, error) or is_ordered(second, error)
    with np.errstate(invalid="ignore"):
        return is_ordered(second - first, error)


def means_drift(arms: ArmSums, error: float = FOUND) -> bool:
    """The same of the means of an amount in each cluster, as shares of their arm's own."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (amounts / turns / (amounts.sum() / turns.sum()) for amounts, turns in (arms.base, arms.cand))
        return (
            is_ordered(second - first, error) if arms.paired else is_ordered(first, error) or is_ordered(second, error)
        )


def waits_by_order(
    arms: Arms, asked: Sequence[tuple[float, Margin]], better: Better, how: Inference
) -> list[Difference]:
    """As `quantile_differences`, by quarters where an arm drifts by itself."""
    rng = np.random.default_rng(how.seed)
    usual = quantile_differences(arms, asked, better, replace(how, seed=rng))
    if not waits_drift(arms):
        return usual
    drawn = arm_draws(by_quarters(arms), [p for p, _ in asked], draws=how.draws, rng=rng)
    found = []
    for at, (p, margin) in enumerate(asked):
        low, high = (one[:, at] for one in drawn)
        se = math.sqrt(quarter_variance(log_ratio(high, low)) + how.between)
        df = QUARTERS - 1.0 if arms.paired else welch((log_variance(low), log_variance(high)), (QUARTERS, QUARTERS))
        points = quantile(arms.base.values, p), quantile(arms.cand.values, p)
        error = StandardError(se, df, arms.clusters[0])
        found.append(_wider(usual[at], log_difference(points, error, margin, better, how.level)))
    return found


def mean_by_order(arms: ArmSums, margin: Margin, better: Better, how: Inference, error: float = FOUND) -> Difference:
    """As `mean_difference`, by quarters where an arm drifts by itself. `error`: of the tests of that."""
    usual = mean_difference(arms, margin, better, how)
    if not means_drift(arms, error):
        return usual
    quarterly = replace(arms, base=_by_quarter(arms.base), cand=_by_quarter(arms.cand))
    return _wider(usual, mean_difference(quarterly, margin, better, how))


def _wider(usual: Difference, quarterly: Difference) -> Difference:
    """The wider bounds of two of one difference; the error is that of the quarters where it is the larger one."""
    least = {name: min(getattr(usual, name), getattr(quarterly, name)) for name in ("low", "worse_low", "better_low")}
    most = {
        name: max(getattr(usual, name), getattr(quarterly, name))
        for name in ("high", "worse_high", "better_high", "p_worse", "p_better")
    }
    se = quarterly.se if math.isnan(quarterly.se) else max(usual.se, quarterly.se)
    return replace(usual, **least, **most, se=se, df=quarterly.df, more_sessions=None, drifts=True)


def by_quarters(arms: Arms) -> Arms:
    """The same samples, whose clusters are quarters of the run."""
    first, second = in_quarters(arms.base, arms.clusters[0]), in_quarters(arms.cand, arms.clusters[1])
    return replace(arms, base=first, cand=second, clusters=(QUARTERS, QUARTERS))


def quarter_variance(drawn: Floats) -> float:
    """Of what is computed from draws of four quarters; NaN where too many are endless."""
    return variance(drawn, FINITE) * QUARTERS / (QUARTERS - 1)


def _by_quarter(arm: PerCluster) -> PerCluster:
    quarter, found = quarters(arm[0].size), np.zeros((2, QUARTERS))
    for sums, values in zip(found, arm, strict=True):
        np.add.at(sums, quarter, values)
    return found[0], found[1]


NEAR = 0.35
LEAST_VALUES = 20
"""Values of either sample from which on D is fine enough to tell."""


def are_alike(one: Floats, other: Floats) -> bool:
    """Whether two samples of finite values are too close to be independent; never of fewer than 20 values."""
    return min(one.size, other.size) >= LEAST_VALUES and kolmogorov_distance(one, other) < NEAR


def kolmogorov_distance(one: Floats, other: Floats) -> float:
    """λ of two samples that are not empty, in any order."""
    a, b = np.sort(one), np.sort(other)
    at = np.concatenate([a, b])
    apart = np.searchsorted(a, at, side="right") / a.size - np.searchsorted(b, at, side="right") / b.size
    least = min(a.size, b.size)
    return (float(np.abs(apart).max()) + 1 / least) * math.sqrt(a.size * b.size / (a.size + b.size))
