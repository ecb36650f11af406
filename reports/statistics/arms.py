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

    - `clusters`: for each target, the number of clusters to resample, including those without a value
    - `paired`: the clusters are pairs; then `clusters` has the number of pairs twice
    - `steps`: the step of each value of both targets, as codes from 0, if the candidate's steps are weighted to the
      baseline's shares (`reports.statistics.mix`)
    """

    base: Sample
    cand: Sample
    clusters: tuple[int, int]
    paired: bool
    steps: tuple[Integers, Integers] | None = None

    @cached_property
    def turns(self) -> tuple[Integers, ...]:
        """The number of turns per cluster, for each target; if paired, one array for both targets together."""
        first, second = (
            np.bincount(arm.sessions, minlength=of)
            for arm, of in zip((self.base, self.cand), self.clusters, strict=True)
        )
        return (first + second,) if self.paired else (first, second)

    @cached_property
    def effective_sessions(self) -> tuple[float, ...]:
        """Kish's effective number of sessions of each target, or of pairs. Clusters without a value do not count."""
        return tuple(effective_size(turns) for turns in self.turns)

    @cached_property
    def max_sessions(self) -> int:
        """The number of sessions with a value of the larger target, or of pairs."""
        return max(int(np.count_nonzero(turns)) for turns in self.turns)

    def values(self, p: float) -> tuple[float, float]:
        """Return the p-quantiles of both targets; the candidate's is weighted to the baseline's shares of steps."""
        if self.steps is None:
            return quantile(self.base.values, p), quantile(self.cand.values, p)
        return quantile(self.base.values, p), self.mixed.value(p)

    @cached_property
    def mixed(self) -> Mixed:
        """Both samples by step."""
        assert self.steps is not None, "steps are weighted"
        return Mixed(self.base, self.cand, self.steps, self.clusters)


def target_resamples(
    arms: TwoSamples, ps: Sequence[float], *, draws: int = RESAMPLES, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the quantiles of resamples of both targets, the baseline first: one row per resample, one column per p."""
    if arms.steps is not None:
        return _mixed_resamples(arms, ps, draws, rng)
    if arms.paired:
        first, second = resample_weights((arms.base, arms.cand), ps, arms.clusters[0], draws, rng)
        return first, second
    first = resampled_quantiles(arms.base, ps, clusters=arms.clusters[0], draws=draws, rng=rng)
    return first, resampled_quantiles(arms.cand, ps, clusters=arms.clusters[1], draws=draws, rng=rng)


def _mixed_resamples(
    arms: TwoSamples, ps: Sequence[float], draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the same as `target_resamples`, with the candidate's steps weighted to the baseline's shares."""
    mixed = arms.mixed
    windows, base = [mixed.cells(p) for p in ps], prepare(arms.base, ps, arms.clusters[0])
    first, second = np.full((draws, len(ps)), np.nan), np.full((draws, len(ps)), np.nan)
    rows_most = max(window.counts.shape[0] for window in windows)
    portion, done = resamples_at_once(*arms.clusters, base.counts.shape[0], rows_most), 0
    of_base = weights(arms.clusters[0], draws, rng, portion=portion)
    of_cand = None if arms.paired else weights(arms.clusters[1], draws, rng, portion=portion)
    for drawn in of_base:
        columns = drawn.T.astype(np.float64, order="C")
        others = columns if of_cand is None else next(of_cand).T.astype(np.float64, order="C")
        rows = slice(done, done + len(drawn))
        first[rows] = quantiles_of(base, columns)
        second[rows] = mixed.quantiles(windows, others, mixed.base_turns @ columns)
        done += len(drawn)
    return first, second
