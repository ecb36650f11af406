"""Differences of two arms whose sessions, or pairs, are numbered in the order of their start; pure.

Where an arm drifts by itself (`reports.statistics.serial`), quarters of the run are resampled in the place of sessions
or pairs. With V the variance over resamples of four of them, of each arm or of both together:

    SE² = V · 4/3      bounds d ∓ t·SE with 3 degrees of freedom, or Welch's of two runs

for the percentile interval is made for more clusters than four; and of these bounds and the usual ones the wider count.
Elsewhere the differences are those of `differences` and `rates`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reports.statistics.differences import (
    LEVEL,
    Better,
    Difference,
    Margin,
    log_ratio,
    log_variance,
    quantile_differences,
    welch,
)
from reports.statistics.quantiles import Floats, Sample, quantile
from reports.statistics.rates import PerCluster, log_difference, mean_difference
from reports.statistics.resample import DRAWS, paired_draws, quantile_draws, variance
from reports.statistics.serial import FOUND, QUARTERS, drifts, in_quarters, levels, quarters

FINITE = 0.99
"""The least share of draws that must be finite for a bound by quarters."""


def waits_drift(
    base: Sample, cand: Sample, *, paired: bool, base_clusters: int, cand_clusters: int, error: float = FOUND
) -> bool:
    """Whether an arm drifts by itself: of pairs, how far their arms lie apart; else either arm."""
    first, second = levels(base, base_clusters), levels(cand, cand_clusters)
    if not paired:
        return drifts(first, error) or drifts(second, error)
    with np.errstate(invalid="ignore"):
        return drifts(second - first, error)


def means_drift(base: PerCluster, cand: PerCluster, *, paired: bool, error: float = FOUND) -> bool:
    """The same of the means of an amount in each cluster, as shares of their arm's own."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (amounts / turns / (amounts.sum() / turns.sum()) for amounts, turns in (base, cand))
        return drifts(second - first, error) if paired else drifts(first, error) or drifts(second, error)


def waits_by_order(
    base: Sample,
    cand: Sample,
    asked: Sequence[tuple[float, Margin]],
    *,
    paired: bool,
    base_clusters: int,
    cand_clusters: int,
    better: Better,
    rng: np.random.Generator,
    draws: int = DRAWS,
    level: float = LEVEL,
    run_sd: float = 0.0,
) -> list[Difference]:
    """As `quantile_differences`, by quarters where an arm drifts by itself."""
    both: dict[str, Any] = {"paired": paired, "base_clusters": base_clusters, "cand_clusters": cand_clusters}
    how: dict[str, Any] = {"better": better, "rng": rng, "draws": draws, "level": level, "run_sd": run_sd}
    usual = quantile_differences(base, cand, asked, **both, **how)
    if not waits_drift(base, cand, **both):
        return usual
    drawn = quarter_draws(base, cand, [p for p, _ in asked], **both, rng=rng, draws=draws)
    found = []
    for at, (p, margin) in enumerate(asked):
        low, high = (one[:, at] for one in drawn)
        se = math.sqrt(quarter_variance(log_ratio(high, low)) + 2 * run_sd**2)
        df = QUARTERS - 1.0 if paired else welch((log_variance(low), log_variance(high)), (QUARTERS, QUARTERS))
        points = quantile(base.values, p), quantile(cand.values, p)
        found.append(_wider(usual[at], log_difference(*points, se, df, base_clusters, margin, better, level)))
    return found


def mean_by_order(
    base: PerCluster,
    cand: PerCluster,
    margin: Margin,
    *,
    paired: bool,
    better: Better,
    level: float = LEVEL,
    run_sd: float = 0.0,
    error: float = FOUND,
) -> Difference:
    """As `mean_difference`, by quarters where an arm drifts by itself. `error`: of the tests of that."""
    usual = mean_difference(base, cand, margin, paired=paired, better=better, level=level, run_sd=run_sd)
    if not means_drift(base, cand, paired=paired, error=error):
        return usual
    arms = _by_quarter(base), _by_quarter(cand)
    return _wider(usual, mean_difference(*arms, margin, paired=paired, better=better, level=level, run_sd=run_sd))


def _wider(usual: Difference, quarterly: Difference) -> Difference:
    """The wider bounds of two of one difference; the error is that of the quarters where it is the larger one."""
    least = {name: min(getattr(usual, name), getattr(quarterly, name)) for name in ("low", "worse_low", "better_low")}
    most = {
        name: max(getattr(usual, name), getattr(quarterly, name))
        for name in ("high", "worse_high", "better_high", "p_worse", "p_better")
    }
    se = quarterly.se if math.isnan(quarterly.se) else max(usual.se, quarterly.se)
    return replace(usual, **least, **most, se=se, df=quarterly.df, more_sessions=None, drifts=True)


def quarter_draws(
    base: Sample,
    cand: Sample,
    ps: Sequence[float],
    *,
    paired: bool,
    base_clusters: int,
    cand_clusters: int,
    rng: np.random.Generator,
    draws: int,
) -> tuple[Floats, Floats]:
    """Quantiles of both arms, whose quarters are drawn: of pairs the same ones."""
    first, second = in_quarters(base, base_clusters), in_quarters(cand, cand_clusters)
    if paired:
        return paired_draws(first, second, ps, clusters=QUARTERS, draws=draws, rng=rng)
    drawn = [quantile_draws(one, ps, clusters=QUARTERS, draws=draws, rng=rng) for one in (first, second)]
    return drawn[0], drawn[1]


def quarter_variance(drawn: Floats) -> float:
    """Of what is computed from draws of four quarters; NaN where too many are endless."""
    return variance(drawn, FINITE) * QUARTERS / (QUARTERS - 1)


def _by_quarter(arm: PerCluster) -> PerCluster:
    quarter, found = quarters(arm[0].size), np.zeros((2, QUARTERS))
    for sums, values in zip(found, arm, strict=True):
        np.add.at(sums, quarter, values)
    return found[0], found[1]
