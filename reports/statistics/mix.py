"""Bootstrap quantiles of a candidate whose steps are weighted to the baseline's shares. Pure.

If steps are chosen at random, or by the callers, the shares of steps differ between two targets. Then a quantile over
all turns may differ although it is the same in each step (Simpson's paradox). The baseline has A_s turns of step s, and
the candidate B_s. Each turn of step s in the candidate gets the weight A_s/ΣA · 1/B_s. The candidate's p-quantile is
the smallest x at which the weights of the values ≤ x add up to p. A_s and B_s are counted in each resample, so the
interval includes the variance of the shares. If the candidate's resample has no turn of a step, this step has no
weight, and the weights of the other steps add up to 1. If the resamples of both targets have no step in common, the
candidate's own shares are used.

As in `bootstrap`, only values near the quantile are examined. They are called the window. The values below the window
are reduced to one count per session and step. The window is split into cells, and only one cell is searched. A few
resamples have their quantile outside the window. For these, all values are examined.
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
"""The tolerance for rounding errors in sums of weights."""


class Cells(NamedTuple):
    """The cells of values near the p-quantile of a candidate.

    - `edges` is the indices of values at which the cells begin and end.
    - `counts` is the number of turns. Each step has one row for the values below the cells, and one row per cell. Each
    cluster is a column.
    """

    p: float
    edges: Integers
    counts: csr_matrix


def weights_of(base_turns: Floats, turns: Floats | Integers) -> Floats:
    """Return the weight of one turn of each step (row) in each resample (column).

    `base_turns` and `turns` are the numbers of turns of each step in the baseline and in the candidate.
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

    def __init__(self, base: Sample, cand: Sample, steps: tuple[Integers, Integers], clusters: tuple[int, int]):
        self.step_count = 1 + max(int(codes.max(initial=0)) for codes in steps)
        self.base_turns, self.turns = (  # turns of each step (row) in each cluster (column)
            np.bincount(codes * size + sample.sessions, minlength=self.step_count * size).reshape(self.step_count, size)
            for sample, codes, size in zip((base, cand), steps, clusters, strict=True)
        )
        self.sample, self.steps = cand, steps[1]
        weights = weights_of(self.base_turns.sum(axis=1)[:, None].astype(np.float64), self.turns.sum(axis=1)[:, None])
        self.weights = weights[self.steps, 0]
        """The weight of each value of the candidate. The sum is 1."""
        self.reached = np.cumsum(self.weights)

    def value(self, p: float) -> float:
        """Return the weighted p-quantile of the candidate's sample. Nothing is resampled."""
        return float(self.sample.values[_first(self.reached, p)])

    def cells(self, p: float) -> Cells:
        """Return the cells of the candidate's values near the p-quantile. `quantiles` needs them."""
        share = (_first(self.reached, p) + 1) / self.sample.n
        edges, clusters = edges_of(self.sample, share, self.turns.sum(axis=0)), self.turns.shape[1]
        cell = np.searchsorted(edges, np.arange(edges[-1]), side="right")  # cell 0 is below the window
        row = self.steps[: edges[-1]] * edges.size + cell
        ones, sessions = np.ones(row.size, dtype=np.int64), self.sample.sessions[: edges[-1]]
        return Cells(p, edges, csr_matrix((ones, (row, sessions)), shape=(self.step_count * edges.size, clusters)))

    def quantiles(self, windows: Sequence[Cells], cluster_weights: Weights, base_turns: Floats) -> Floats:
        """Return the weighted quantiles of the candidate's resamples: one row per resample, one column per window.

        - `windows` is the cells near each quantile.
        - `cluster_weights` is the weight of each cluster (row) in each resample (column).
        - `base_turns` is the number of the baseline's turns of each step (row) in each resample (column).
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
