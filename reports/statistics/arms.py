"""Samples of one metric of both targets, and quantiles of their bootstrap resamples. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reports.statistics.bootstrap import (
    RESAMPLES,
    prepare,
    quantiles_of,
    resample_weights,
    resampled_quantiles,
    resamples_at_once,
    weights,
)
from reports.statistics.counting import Floats, Integers
from reports.statistics.mix import Mixed
from reports.statistics.quantiles import Sample, effective_size, quantile


@dataclass(frozen=True)
class TwoSamples:
    """The samples of one metric of both targets.

    - `clusters` is the number of clusters to resample, one number for each target. Clusters without a value are
    included.
    - `paired` is True if the clusters are pairs. Then both numbers in `clusters` are the number of pairs.
    - `steps` is the step of each value, or its step and turn number, as a code from 0: one array for each target. It is
    None if turns are not weighted. Otherwise `reports.statistics.mix` weights the candidate's steps to the baseline's
    shares.
    """

    base: Sample
    cand: Sample
    clusters: tuple[int, int]
    paired: bool
    steps: tuple[Integers, Integers] | None = None

    @cached_property
    def turns(self) -> tuple[Integers, ...]:
        """The number of turns in each cluster.

        There is one array per target; if the clusters are pairs, there is one array for both.
        """
        first, second = (
            np.bincount(sample.sessions, minlength=size)
            for sample, size in zip((self.base, self.cand), self.clusters, strict=True)
        )
        return (first + second,) if self.paired else (first, second)

    @cached_property
    def effective_sessions(self) -> tuple[float, ...]:
        """Kish's effective number of sessions of each target; of pairs, if sessions are paired.

        Clusters without a value do not count.
        """
        return tuple(effective_size(turns) for turns in self.turns)

    @cached_property
    def max_sessions(self) -> int:
        """The number of sessions with a value in the target that has more of them.

        If sessions are paired, it is the number of pairs with a value.
        """
        return max(int(np.count_nonzero(turns)) for turns in self.turns)

    def values(self, p: float) -> tuple[float, float]:
        """Return the p-quantiles of both targets.

        If steps are weighted, the candidate's quantile is weighted to the baseline's shares of steps.
        """
        if self.steps is None:
            return quantile(self.base.values, p), quantile(self.cand.values, p)
        return quantile(self.base.values, p), self.mixed.value(p)

    @cached_property
    def mixed(self) -> Mixed:
        """Both samples, divided by step."""
        assert self.steps is not None, "steps are weighted"
        return Mixed(self.base, self.cand, self.steps, self.clusters)

    @cached_property
    def cand_weights(self) -> Floats | None:
        """The weight of each turn of the candidate. The mean is 1. It is None if turns are not weighted."""
        return None if self.steps is None else self.mixed.weights * self.cand.n


def target_resamples(
    samples: TwoSamples, ps: Sequence[float], *, draws: int = RESAMPLES, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the quantiles of resamples of both targets: two arrays, the baseline's first.

    Each array has one row per resample, and one column per p.
    """
    if samples.steps is not None:
        return _mixed_resamples(samples, ps, draws, rng)
    if samples.paired:
        first, second = resample_weights((samples.base, samples.cand), ps, samples.clusters[0], draws, rng)
        return first, second
    first = resampled_quantiles(samples.base, ps, clusters=samples.clusters[0], draws=draws, rng=rng)
    return first, resampled_quantiles(samples.cand, ps, clusters=samples.clusters[1], draws=draws, rng=rng)


def _mixed_resamples(
    samples: TwoSamples, ps: Sequence[float], draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the same result as `target_resamples`, but weight the candidate's steps to the baseline's shares."""
    mixed = samples.mixed
    windows, base = [mixed.cells(p) for p in ps], prepare(samples.base, ps, samples.clusters[0])
    first, second = np.full((draws, len(ps)), np.nan), np.full((draws, len(ps)), np.nan)
    max_rows = max(window.counts.shape[0] for window in windows)
    portion, done = resamples_at_once(*samples.clusters, base.counts.shape[0], max_rows), 0
    base_weights = weights(samples.clusters[0], draws, rng, portion=portion)
    cand_weights = None if samples.paired else weights(samples.clusters[1], draws, rng, portion=portion)
    for cluster_weights in base_weights:
        columns = cluster_weights.T.astype(np.float64, order="C")
        others = columns if cand_weights is None else next(cand_weights).T.astype(np.float64, order="C")
        rows = slice(done, done + len(cluster_weights))
        first[rows] = quantiles_of(base, columns)
        second[rows] = mixed.quantiles(windows, others, mixed.base_turns @ columns)
        done += len(cluster_weights)
    return first, second
