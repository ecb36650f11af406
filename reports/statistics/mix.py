"""Bootstrap quantiles of a candidate whose steps are weighted to the baseline's shares. Pure.

If steps are chosen at random, or by the callers, the shares of steps differ between two targets. A quantile over all
turns may then differ although no step does (Simpson's paradox). With A_s the baseline's turns of step s, and B_s the
candidate's, the candidate's turns of step s have the weight A_s/ΣA · 1/B_s. Its p-quantile is the smallest x at which
the weights of the values ≤ x add up to p. Both counts are those of the resample, so the variance of the shares is part
of the interval. A step that is missing in the candidate's resample has no weight, and the others add up to 1. If the
resamples have no step in common, the candidate's own shares are used.

As in `bootstrap`, only values near the quantile are examined: below a window there is one count per session and step,
the window is split into cells, and only one cell is searched. The few resamples whose quantile is outside the window
are counted completely.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.bootstrap import Weights, edges_of, in_cells
from reports.statistics.counting import Floats, Integers
from reports.statistics.quantiles import Sample

SLACK = 1e-9
"""The rounding error of sums of weights that is tolerated."""


class Cells(NamedTuple):
    """Cells of values near a quantile.

    `counts`: the number of turns of each step, below the cells and in each cell (row), by cluster (column).
    """

    p: float
    edges: Integers
    counts: csr_matrix


def weights_of(base_turns: Floats, turns: Floats | Integers) -> Floats:
    """Return the weight of one turn of each step (row) in each resample (column), from the turns of both targets."""
    counts = np.where(turns > 0, base_turns, 0.0)
    counts = np.where(counts.sum(axis=0) > 0, counts, turns)
    weights: Floats = counts / np.maximum(counts.sum(axis=0), 1) / np.maximum(turns, 1)
    return weights


def _first(reached: Floats, p: float) -> int:
    """Return the index of the first sum of weights that reaches p."""
    return min(int(np.searchsorted(reached, p - SLACK)), reached.size - 1)


class Mixed:
    """The samples of both targets, divided by step. `steps`: the step of each value, as codes from 0."""

    def __init__(self, base: Sample, cand: Sample, steps: tuple[Integers, Integers], clusters: tuple[int, int]):
        self.step_count = 1 + max(int(codes.max(initial=0)) for codes in steps)
        self.base_turns, self.turns = (  # turns of each step (row) in each cluster (column)
            np.bincount(codes * size + sample.sessions, minlength=self.step_count * size).reshape(self.step_count, size)
            for sample, codes, size in zip((base, cand), steps, clusters, strict=True)
        )
        self.sample, self.steps = cand, steps[1]
        weights = weights_of(self.base_turns.sum(axis=1)[:, None].astype(np.float64), self.turns.sum(axis=1)[:, None])
        self.reached = np.cumsum(weights[self.steps, 0])

    def value(self, p: float) -> float:
        """Return the weighted p-quantile of the candidate's sample, without resampling."""
        return float(self.sample.values[_first(self.reached, p)])

    def cells(self, p: float) -> Cells:
        """Return the cells near the p-quantile, which its resamples need."""
        share = (_first(self.reached, p) + 1) / self.sample.n
        edges, clusters = edges_of(self.sample, share, self.turns.sum(axis=0)), self.turns.shape[1]
        cell = np.searchsorted(edges, np.arange(edges[-1]), side="right")  # cell 0 is below the window
        row = self.steps[: edges[-1]] * edges.size + cell
        ones, sessions = np.ones(row.size, dtype=np.int64), self.sample.sessions[: edges[-1]]
        return Cells(p, edges, csr_matrix((ones, (row, sessions)), shape=(self.step_count * edges.size, clusters)))

    def quantiles(self, windows: Sequence[Cells], cluster_weights: Weights, base_turns: Floats) -> Floats:
        """Return quantiles of resamples: one row per resample, one column per window.

        - `cluster_weights`: the weight of each cluster (row) in each resample (column)
        - `base_turns`: the baseline's turns of each step (row) in each resample
        """
        values = np.full((cluster_weights.shape[1], len(windows)), np.nan)
        turns = self.turns @ cluster_weights
        weights = weights_of(base_turns, turns)
        for column, (p, edges, turns_of_cells) in enumerate(windows):
            counts = (turns_of_cells @ cluster_weights).reshape(self.step_count, edges.size, -1)
            cumulative_weights = np.cumsum(np.einsum("skd,sd->kd", counts, weights), axis=0)
            ranks = np.full(cluster_weights.shape[1], p - SLACK)
            values[:, column], outside = in_cells(
                self.sample, edges, cumulative_weights, ranks, cluster_weights, (weights, self.steps)
            )
            for resample in outside[turns.sum(axis=0)[outside] > 0].tolist():
                turn_weights = cluster_weights[self.sample.sessions, resample] * weights[self.steps, resample]
                values[resample, column] = self.sample.values[_first(np.cumsum(turn_weights), p)]
        return values
