"""Samples of one metric of both targets, and quantiles of their bootstrap resamples. Pure.

If steps are chosen at random, or by the callers, the shares of steps differ between two targets.
Then a quantile over all turns may differ although it is the same in each step (Simpson's paradox).
The baseline has A_s turns of step s, and the candidate B_s. Each turn of step s in the candidate
gets the weight A_s/ΣA · 1/B_s. The candidate's p-quantile is the smallest x at which the weights of
the values ≤ x add up to p. A_s and B_s are counted in each resample, so the interval includes the
variance of the shares. If the candidate's resample has no turn of a step, this step has no weight,
and the weights of the other steps add up to 1. If the resamples of both targets have no step in
common, the candidate's own shares are used.

As in `bootstrap`, only values near the quantile are examined. They are called the window. The
values below the window are reduced to one count per session and step. The window is split into
cells, and only one cell is searched. A few resamples have their quantile outside the window. For
these, all values are examined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reports.statistics.bootstrap import (
    Weights,
    edges_of,
    in_cells,
    prepare,
    quantiles_of,
    resample_weights,
    resampled_quantiles,
    resamples_at_once,
    weights,
)
from reports.statistics.counting import Floats, Integers, count_nonzero
from reports.statistics.quantiles import Sample, effective_size, quantile

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped, unused-ignore]

SLACK = 1e-9
"""The tolerance for rounding errors in sums of weights."""


class Cells(NamedTuple):
    """The cells of values near the p-quantile of a candidate.

    - `edges` is the indices of values at which the cells begin and end.
    - `counts` is the number of turns. Each step has one row for the values below the cells, and one
      row per cell. Each cluster is a column.
    """

    p: float
    edges: Integers
    counts: csr_matrix


def weights_of(base_turns: Floats, turns: Floats | Integers) -> Floats:
    """Return the weight of one turn of each step (row) in each resample (column).

    `base_turns` and `turns` are the numbers of turns of each step in the baseline and in the
    candidate.
    """
    counts = np.where(turns > 0, base_turns, 0.0)
    counts = np.where(counts.sum(axis=0) > 0, counts, turns)
    weights: Floats = counts / np.maximum(counts.sum(axis=0), 1) / np.maximum(turns, 1)
    return weights


def _first(reached: Floats, p: float) -> int:
    """Return the first index at which the sum of weights reaches p."""
    return min(int(np.searchsorted(reached, p - SLACK)), reached.size - 1)


class Mixed:
    """The samples of both targets, divided by step.

    `steps` is the step of each value, as a code from 0: one array for each target.
    """

    def __init__(
        self,
        base: Sample,
        cand: Sample,
        steps: tuple[Integers, Integers],
        clusters: tuple[int, int],
    ):
        self.step_count = 1 + max(int(codes.max(initial=0)) for codes in steps)
        self.base_turns, self.turns = (  # turns of each step (row) in each cluster (column)
            np.bincount(codes * size + sample.sessions, minlength=self.step_count * size).reshape(
                self.step_count, size
            )
            for sample, codes, size in zip((base, cand), steps, clusters, strict=True)
        )
        self.sample = cand
        self.steps = steps[1]
        weights = weights_of(
            self.base_turns.sum(axis=1)[:, None].astype(float), self.turns.sum(axis=1)[:, None]
        )
        self.weights = weights[self.steps, 0]
        """The weight of each value of the candidate. The sum is 1."""
        self.reached = np.cumsum(self.weights)

    def value(self, p: float) -> float:
        """Return the weighted p-quantile of the candidate's sample. Nothing is resampled."""
        return float(self.sample.values[_first(self.reached, p)])

    def cells(self, p: float) -> Cells:
        """Return the cells of the candidate's values near the p-quantile. `quantiles` needs
        them.
        """
        from scipy.sparse import csr_matrix  # type: ignore[import-untyped, unused-ignore]

        share = (_first(self.reached, p) + 1) / self.sample.n
        edges = edges_of(self.sample, share, self.turns.sum(axis=0))
        clusters = self.turns.shape[1]
        # cell 0 is below the window
        cell = np.searchsorted(edges, np.arange(edges[-1]), "right")
        row = self.steps[: edges[-1]] * edges.size + cell
        ones = np.ones(row.size, int)
        sessions = self.sample.sessions[: edges[-1]]
        return Cells(
            p,
            edges,
            csr_matrix((ones, (row, sessions)), shape=(self.step_count * edges.size, clusters)),
        )

    def quantiles(
        self, windows: Sequence[Cells], cluster_weights: Weights, base_turns: Floats
    ) -> Floats:
        """Return the weighted quantiles of the candidate's resamples: one row per resample, one
        column per window.

        - `windows` is the cells near each quantile.
        - `cluster_weights` is the weight of each cluster (row) in each resample (column).
        - `base_turns` is the number of the baseline's turns of each step (row) in each resample
          (column).
        """
        values = np.full((cluster_weights.shape[1], len(windows)), np.nan)
        turns = self.turns @ cluster_weights
        weights = weights_of(base_turns, turns)
        for column, (p, edges, turns_of_cells) in enumerate(windows):
            counts = (turns_of_cells @ cluster_weights).reshape(self.step_count, edges.size, -1)
            cumulative_weights = np.cumsum(np.einsum("skd,sd->kd", counts, weights), axis=0)
            ranks = np.full(cluster_weights.shape[1], p - SLACK)
            values[:, column], outside = in_cells(
                self.sample,
                edges,
                cumulative_weights,
                ranks,
                cluster_weights,
                (weights, self.steps),
            )
            for resample in outside[turns.sum(axis=0)[outside] > 0].tolist():
                turn_weights = (
                    cluster_weights[self.sample.sessions, resample] * weights[self.steps, resample]
                )
                values[resample, column] = self.sample.values[_first(np.cumsum(turn_weights), p)]
        return values


@dataclass(frozen=True)
class TwoSamples:
    """The samples of one metric of both targets.

    - `clusters` is the number of clusters to resample, one number for each target. Clusters without
      a value are included.
    - `paired` is True if the clusters are pairs. Then both numbers in `clusters` are the number of
      pairs.
    - `steps` is the step of each value, or its step and turn number, as a code from 0: one array
      for each target. It is None if turns are not weighted. Otherwise the candidate's steps are
      weighted to the baseline's shares.
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
        return max(count_nonzero(turns) for turns in self.turns)

    def values(self, p: float) -> tuple[float, float]:
        """Return the p-quantiles of both targets.

        If steps are weighted, the candidate's quantile is weighted to the baseline's shares of
        steps.
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
        """The weight of each turn of the candidate. The mean is 1. It is None if turns are not
        weighted.
        """
        return None if self.steps is None else self.mixed.weights * self.cand.n


def target_resamples(
    samples: TwoSamples, ps: Sequence[float], *, draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the quantiles of resamples of both targets: two arrays, the baseline's first.

    Each array has one row per resample, and one column per p.
    """
    if samples.steps is not None:
        return _mixed_resamples(samples, ps, draws, rng)
    if samples.paired:
        first, second = resample_weights(
            (samples.base, samples.cand), ps, samples.clusters[0], draws, rng
        )
        return first, second
    first = resampled_quantiles(
        samples.base, ps, clusters=samples.clusters[0], draws=draws, rng=rng
    )
    return first, resampled_quantiles(
        samples.cand, ps, clusters=samples.clusters[1], draws=draws, rng=rng
    )


def _mixed_resamples(
    samples: TwoSamples, ps: Sequence[float], draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the same result as `target_resamples`, but weight the candidate's steps to the
    baseline's shares.
    """
    mixed = samples.mixed
    windows = [mixed.cells(p) for p in ps]
    base = prepare(samples.base, ps, samples.clusters[0])
    first = np.full((draws, len(ps)), np.nan)
    second = np.full((draws, len(ps)), np.nan)
    max_rows = max(window.counts.shape[0] for window in windows)
    portion = resamples_at_once(*samples.clusters, base.counts.shape[0], max_rows)
    done = 0
    base_weights = weights(samples.clusters[0], draws, rng, portion=portion)
    cand_weights = (
        None if samples.paired else weights(samples.clusters[1], draws, rng, portion=portion)
    )
    for cluster_weights in base_weights:
        columns = cluster_weights.T.astype(float, order="C")
        others = columns if cand_weights is None else next(cand_weights).T.astype(float, order="C")
        rows = slice(done, done + len(cluster_weights))
        first[rows] = quantiles_of(base, columns)
        second[rows] = mixed.quantiles(windows, others, mixed.base_turns @ columns)
        done += len(cluster_weights)
    return first, second
