"""Dose and response: how values follow a numeric setting, and the value at which a share is
reached. Pure.

A run with K values of a setting has K samples. A cluster has one session of each setting, which
started together, so the resamples of all samples draw the same clusters. With the dose x_k and the
value v_k (a quantile, or a share), the slope is that of least squares,

    b = Σ w_k · v_k,     w_k = (x_k − x̄) / Σ (x_j − x̄)²

and x̄ is the mean of the doses that differ in nothing else. Its standard error is the sd of b over
the resamples, and its interval is that of Student's t with one degree of freedom less than the
smallest number of clusters.

The value at a share has the expanded percentile interval of `reports.statistics.differences`. It is
interpolated between the settings, along the logarithm of the share: shares
of pauses that are longer than a limit fall about exponentially. A share is (events + 1/2) /
(trials + 1), so that a share of no event has a logarithm, and resamples of it vary least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reports.statistics.bootstrap import prepare, quantiles_of, resamples_at_once, weights
from reports.statistics.counting import Floats, Integers, count_nonzero
from reports.statistics.differences import student
from reports.statistics.distributions import ndtr, stdtrit
from reports.statistics.quantiles import CONFIDENCE, Sample, quantile

if TYPE_CHECKING:
    from reports.statistics.rates import PerCluster

RESAMPLES = 2_000
TAIL = (1 - CONFIDENCE) / 2
MIN_CLUSTERS = 5
"""The minimum number of sessions of each setting."""


class Interval(NamedTuple):
    """A value with its interval of 95 %. An unknown end is NaN."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Interval:
        """Return the interval of the value times a factor that is positive."""
        return Interval(*(factor * end for end in self))


class Resampled(NamedTuple):
    """A statistic of each setting: its value, one number a setting, and those of resamples, one row
    a resample. `clusters` is the smallest number of clusters with a value.
    """

    values: Floats
    resamples: Floats
    clusters: int


def resampled(
    samples: Sequence[Sample],
    totals: Sequence[PerCluster],
    p: float,
    seed: int,
) -> tuple[Resampled, Resampled]:
    """Return the p-quantile of a metric and the share of events at each setting. A cluster has
    sessions of all settings, so all have the same draws.
    """
    latencies, shares = (np.full((RESAMPLES, len(samples)), np.nan) for _ in range(2))
    for column, (sample, (events, trials)) in enumerate(zip(samples, totals, strict=True)):
        size = trials.size
        prepared = prepare(sample, (p,), size)
        rng = np.random.default_rng(seed)
        done = 0
        for drawn in weights(size, RESAMPLES, rng, portion=resamples_at_once(size)) if size else ():
            rows = slice(done, done + len(drawn))
            latencies[rows, column] = quantiles_of(
                prepared, drawn.T.astype(prepared.counts.dtype, order="C")
            )[:, 0]
            shares[rows, column] = (drawn @ events + 0.5) / (drawn @ trials + 1)
            done += len(drawn)
    values = np.array([quantile(sample.values, p) if sample.n else math.nan for sample in samples])
    of_totals = np.array([(events.sum() + 0.5) / (trials.sum() + 1) for events, trials in totals])
    with_value = min((np.unique(sample.sessions).size for sample in samples), default=0)
    with_trial = min((count_nonzero(trials) for _, trials in totals), default=0)
    return Resampled(values, latencies, with_value), Resampled(of_totals, shares, with_trial)


def slope(of: Resampled, doses: Floats, others: Integers) -> Interval:
    """Return the slope. `others` is a code of what else differs between the settings. It is NaN if
    a value is unknown, or infinite, or if there are too few clusters.
    """
    centred = doses - np.array([doses[others == code].mean() for code in others])
    weights_of_settings = centred / (centred**2).sum()
    value = float(of.values @ weights_of_settings)
    if not math.isfinite(value) or of.clusters < MIN_CLUSTERS:
        return Interval(math.nan, math.nan, math.nan)
    slopes = of.resamples @ weights_of_settings
    if not np.isfinite(slopes).all():
        return Interval(math.nan, math.nan, math.nan)
    ends = student(value, float(slopes.std(ddof=1)), of.clusters - 1, TAIL)
    return Interval(value, ends.low, ends.high)


def turns_back(of: Resampled, doses: Floats) -> bool:
    """Return whether a value certainly goes back between two neighbouring doses: its change is
    against that from the lowest to the highest dose, and both are certain.
    """
    steps = np.unique(doses)
    means = np.array([of.resamples[:, doses == step].mean(axis=1) for step in steps])
    changes = np.vstack([np.diff(means, axis=0), means[-1:] - means[:1]])
    tail = TAIL / len(changes)
    low, high = np.quantile(changes, (tail, 1 - tail), axis=1, method="nearest")
    return bool(((low > 0) & (high[-1] < 0)).any() or ((high < 0) & (low[-1] > 0)).any())


def value_at_share(values: Resampled, shares: Resampled, share: float) -> Interval:
    """Return the value at which a share is reached, if it falls as the value rises. An end beyond
    all settings is NaN.
    """
    found = _crossing(values.values, shares.values, share)
    every = [
        _crossing(of_values, of_shares, share)
        for of_values, of_shares in zip(values.resamples, shares.resamples, strict=True)
    ]
    clusters = max(2, min(values.clusters, shares.clusters))
    reach = stdtrit(clusters - 1, 1 - TAIL) * math.sqrt(clusters / (clusters - 1))
    tail = float(ndtr(-reach))
    ends = np.quantile(every, (tail, 1 - tail), method="nearest")
    value, low, high = (end if math.isfinite(end) else math.nan for end in (found, *ends))
    return Interval(value, low, high)


def _crossing(values: Floats, shares: Floats, share: float) -> float:
    """Return where the falling line through the settings has this share; −inf or +inf if it is
    before, or behind, all of them.
    """
    order = np.argsort(values)
    falling = np.minimum.accumulate(np.log(shares[order]))[::-1]
    wanted = math.log(share)
    return float(np.interp(wanted, falling, values[order][::-1], left=math.inf, right=-math.inf))
