"""The cluster bootstrap of quantiles: sessions, or pairs of them, are drawn with replacement. Pure.

No resample is sorted. A resample is a weight for each cluster, so its p-quantile is the first of the sorted values up
to which the weights of the clusters add up to the rank. Only values within six standard errors of rank p·n are likely
to be the quantile. The values below this window are one count per cluster, and the window is split into cells. One
sparse product gives the counts of all cells in many resamples at once; then only one cell is searched. The few
resamples whose quantile is outside the window are counted completely, so the quantiles are exactly those of a plain
bootstrap.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, vstack  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.counting import Floats, Integers
from reports.statistics.quantiles import Sample, rank

RESAMPLES = 10_000
REACH = 6.0
"""The half-width of the window, in standard errors of p·n."""
CELLS_AT_ONCE = 250_000
"""The maximum size of the largest array of a portion of resamples. Larger arrays do not fit in the processor's cache.
"""
EXACT = 2**24
"""The limit below which counts are exact in single precision."""

Weights = npt.NDArray[np.floating]


def seed_of(*run_ids: str) -> int:
    """Return a seed below 2⁴⁸ from run IDs: the same runs in the same order give the same verdict."""
    return int.from_bytes(hashlib.sha256("\0".join(run_ids).encode()).digest()[:6], "big")


def resampled_quantiles(
    sample: Sample, ps: Sequence[float], *, clusters: int, draws: int = RESAMPLES, rng: np.random.Generator
) -> Floats:
    """Return quantiles of resamples: one row per resample, one column per p; NaN if a resample has no values.

    The sample's `sessions` are codes below `clusters`. Clusters without values are drawn with the same probability.
    """
    return resample_weights((sample,), ps, clusters, draws, rng)[0]


def variance(drawn: Floats, least: float = 0.0) -> float:
    """Return the variance of the finite values; NaN with fewer than two, or if their share is below `least`."""
    finite = drawn[np.isfinite(drawn)]
    return float(finite.var(ddof=1)) if finite.size > 1 and finite.size >= least * drawn.size else math.nan


def resamples_at_once(*rows: int) -> int:
    """Return the number of resamples to compute at once, from the numbers of rows of their arrays.

    Return 1 instead of two to four, because a product with a vector is faster.
    """
    portion = CELLS_AT_ONCE // max(rows)
    return portion if portion > 4 else 1


def weights(clusters: int, draws: int, rng: np.random.Generator, *, portion: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield how often each cluster (column) is drawn in each resample (row), `portion` rows at a time."""
    for done in range(0, draws, portion):
        rows = min(portion, draws - done)
        drawn = rng.integers(0, clusters, (rows, clusters)) + np.arange(rows)[:, None] * clusters
        yield np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters)


@dataclass(frozen=True)
class PreparedSample:
    """A sample prepared for resampling.

    - `edges`: for each p, the indices (from 0) at which the cells of its window begin and end
    - `counts`: turns by cluster. Multiplied by the weights of clusters, they give the total number of turns, and for
    each p the number of turns below its window and in each cell
    """

    sample: Sample
    ps: tuple[float, ...]
    edges: tuple[Integers, ...]
    counts: Any


def resample_weights(
    samples: Sequence[Sample], ps: Sequence[float], clusters: int, draws: int, rng: np.random.Generator
) -> list[Floats]:
    arms = [prepare(sample, ps, clusters) for sample in samples]
    found = [np.full((draws, len(ps)), np.nan) for _ in samples]
    portion = resamples_at_once(clusters, *(arm.counts.shape[0] for arm in arms))
    done = 0
    for drawn in weights(clusters, draws, rng, portion=portion) if clusters else ():
        for arm, rows in zip(arms, found, strict=True):
            rows[done : done + len(drawn)] = quantiles_of(arm, drawn.T.astype(arm.counts.dtype, order="C"))
        done += len(drawn)
    return found


def prepare(sample: Sample, ps: Sequence[float], clusters: int) -> PreparedSample:
    turns = np.bincount(sample.sessions, minlength=clusters)
    exact = clusters * int(turns.max(initial=0)) < EXACT
    edges = tuple(edges_of(sample, p, turns) for p in ps)
    rows = [csr_matrix(turns[None, :])]
    for cut in edges:
        inside, cell = sample.sessions[cut[0] : cut[-1]], np.repeat(np.arange(cut.size - 1), np.diff(cut))
        below = np.bincount(sample.sessions[: cut[0]], minlength=clusters)
        there = np.ones(inside.size, dtype=np.int64)
        rows += [csr_matrix(below[None, :]), csr_matrix((there, (cell, inside)), shape=(cut.size - 1, clusters))]
    return PreparedSample(sample, tuple(ps), edges, vstack(rows).tocsr().astype(np.float32 if exact else np.float64))


def edges_of(sample: Sample, p: float, turns: Integers) -> Integers:
    """Return the edges of √n cells of about √n values. Each resample searches the cells, and then only one cell."""
    n, clusters = sample.n, turns.size
    if not n:
        return np.zeros(1, dtype=np.int64)
    off = np.bincount(sample.sessions[: rank(p, n)], minlength=clusters) - p * turns
    spread = math.sqrt(clusters / max(1, clusters - 1) * float(((off - off.mean()) ** 2).sum())) / n
    reach = REACH * max(spread, math.sqrt(p * (1 - p) / n))
    first, last = max(0, math.floor((p - reach) * n) - 2), min(n, math.ceil((p + reach) * n) + 2)
    return np.unique(np.linspace(first, last, math.ceil(math.sqrt(last - first)) + 1).astype(np.int64))


def quantiles_of(arm: PreparedSample, drawn: Weights) -> Floats:
    """Return the quantiles of resamples, given the weights by cluster (row) and resample (column)."""
    sums = arm.counts @ drawn
    turns, row = sums[0].astype(np.float64), 1
    found = np.full((turns.size, len(arm.ps)), np.nan)
    for column, (p, edges) in enumerate(zip(arm.ps, arm.edges, strict=True)):
        upto = np.cumsum(sums[row : row + edges.size], axis=0, dtype=np.float64)
        row += edges.size
        ranks = np.ceil(p * turns - 1e-9)  # the same as in `rank`
        found[:, column], outside = in_cells(arm.sample, edges, upto, ranks, drawn)
        for resample in outside[turns[outside] > 0].tolist():
            passed = np.cumsum(drawn[arm.sample.sessions, resample], dtype=np.float64)
            found[resample, column] = arm.sample.values[np.searchsorted(passed, ranks[resample])]
    return found


def in_cells(
    sample: Sample,
    edges: Integers,
    upto: Floats,
    ranks: Floats,
    drawn: Weights,
    of_steps: tuple[Floats, Integers] | None = None,
) -> tuple[Floats, Integers]:
    """Return the value at which each resample reaches its rank, and the indices of resamples that reach it in no cell.

    - `upto`: the weight below the cells and up to the end of each cell (row), in each resample
    - `of_steps`: the weight of each step (row) in each resample, and the step of each value; if None, all weights are 1
    """
    cell = (upto < ranks).sum(axis=0) - 1
    inside = (cell >= 0) & (cell < edges.size - 1)
    found, resample, cell = np.full(cell.size, np.nan), np.flatnonzero(inside), cell[inside]
    if resample.size:
        places = np.minimum(edges[cell][:, None] + np.arange(int(np.diff(edges).max())), sample.n - 1)
        weights = drawn[sample.sessions[places], resample[:, None]]
        if of_steps is not None:
            weights = weights * of_steps[0][of_steps[1][places], resample[:, None]]
        missing = ranks[resample] - upto[cell, resample]
        passed = np.cumsum(weights, axis=1, dtype=np.float64)
        last = np.minimum((passed < missing[:, None]).sum(axis=1), edges[cell + 1] - edges[cell] - 1)
        found[resample] = sample.values[edges[cell] + last]
    return found, np.flatnonzero(~inside)
