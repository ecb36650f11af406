"""Resampled quantiles: sessions, or pairs of them, drawn with replacement, and the quantiles of what was drawn; pure.

Nothing is sorted anew. A resample is a weight for each cluster, so its p-quantile is the first place along the sorted
values up to which the weights of their clusters add up to the rank. Only ranks within six standard errors of p·n can
become that place: what lies below them is one count for each cluster, and the rest is cut into cells. One sparse
product gives the counts of all cells in many resamples at once; then the place is looked for in a single cell. The few
resamples that leave the window are counted in full, so the quantiles are those of plain resampling, exactly.
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

DRAWS = 10_000
REACH = 6.0
"""Standard errors of p·n that the window reaches to either side."""
CELLS_AT_ONCE = 250_000
"""Numbers in the largest array of a portion of resamples. Larger portions leave the processor's cache."""
EXACT = 2**24
"""Counts below it are exact in single precision."""

Weights = npt.NDArray[np.floating]


def seed_of(*run_ids: str) -> int:
    """A seed below 2⁴⁸ from run ids: the same runs, in the same order, give the same verdict."""
    return int.from_bytes(hashlib.sha256("\0".join(run_ids).encode()).digest()[:6], "big")


def quantile_draws(
    sample: Sample, ps: Sequence[float], *, clusters: int, draws: int = DRAWS, rng: np.random.Generator
) -> Floats:
    """Quantiles of resamples, a row for each draw and a column for each p; NaN where nothing was drawn.

    The sample's `sessions` are codes below `clusters`; a cluster without values is drawn as often as any other.
    """
    return draws_of((sample,), ps, clusters, draws, rng)[0]


def variance(drawn: Floats, least: float = 0.0) -> float:
    """Variance of the finite draws; NaN for fewer than two, or if less than the share `least` is finite."""
    finite = drawn[np.isfinite(drawn)]
    return float(finite.var(ddof=1)) if finite.size > 1 and finite.size >= least * drawn.size else math.nan


def portion_of(*rows: int) -> int:
    """Return how many resamples are made at once, by the rows of the arrays that they take: the weights of one are a
    vector, whose product is quicker than those of two to four.
    """
    portion = CELLS_AT_ONCE // max(rows)
    return portion if portion > 4 else 1


def weights(clusters: int, draws: int, rng: np.random.Generator, *, portion: int) -> Iterator[npt.NDArray[np.int64]]:
    """How often each cluster (column) was drawn in each resample (row), so many resamples at once."""
    for done in range(0, draws, portion):
        rows = min(portion, draws - done)
        drawn = rng.integers(0, clusters, (rows, clusters)) + np.arange(rows)[:, None] * clusters
        yield np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters)


@dataclass(frozen=True)
class Ready:
    """A sample made ready. `edges`: for each p, the places (from 0) at which the cells of its window begin and end.

    `counts`, times weights by cluster: turns in all; then for each p those below its window, and those in each cell.
    """

    sample: Sample
    ps: tuple[float, ...]
    edges: tuple[Integers, ...]
    counts: Any


def draws_of(
    samples: Sequence[Sample], ps: Sequence[float], clusters: int, draws: int, rng: np.random.Generator
) -> list[Floats]:
    arms = [ready(sample, ps, clusters) for sample in samples]
    found = [np.full((draws, len(ps)), np.nan) for _ in samples]
    portion = portion_of(clusters, *(arm.counts.shape[0] for arm in arms))
    done = 0
    for drawn in weights(clusters, draws, rng, portion=portion) if clusters else ():
        for arm, rows in zip(arms, found, strict=True):
            rows[done : done + len(drawn)] = quantiles_of(arm, drawn.T.astype(arm.counts.dtype, order="C"))
        done += len(drawn)
    return found


def ready(sample: Sample, ps: Sequence[float], clusters: int) -> Ready:
    turns = np.bincount(sample.sessions, minlength=clusters)
    exact = clusters * int(turns.max(initial=0)) < EXACT
    edges = tuple(edges_of(sample, p, turns) for p in ps)
    rows = [csr_matrix(turns[None, :])]
    for cut in edges:
        inside, cell = sample.sessions[cut[0] : cut[-1]], np.repeat(np.arange(cut.size - 1), np.diff(cut))
        below = np.bincount(sample.sessions[: cut[0]], minlength=clusters)
        there = np.ones(inside.size, dtype=np.int64)
        rows += [csr_matrix(below[None, :]), csr_matrix((there, (cell, inside)), shape=(cut.size - 1, clusters))]
    return Ready(sample, tuple(ps), edges, vstack(rows).tocsr().astype(np.float32 if exact else np.float64))


def edges_of(sample: Sample, p: float, turns: Integers) -> Integers:
    """About as many cells as places in each: both are looked through for every resample."""
    n, clusters = sample.n, turns.size
    if not n:
        return np.zeros(1, dtype=np.int64)
    off = np.bincount(sample.sessions[: rank(p, n)], minlength=clusters) - p * turns
    spread = math.sqrt(clusters / max(1, clusters - 1) * float(((off - off.mean()) ** 2).sum())) / n
    reach = REACH * max(spread, math.sqrt(p * (1 - p) / n))
    first, last = max(0, math.floor((p - reach) * n) - 2), min(n, math.ceil((p + reach) * n) + 2)
    return np.unique(np.linspace(first, last, math.ceil(math.sqrt(last - first)) + 1).astype(np.int64))


def quantiles_of(arm: Ready, drawn: Weights) -> Floats:
    """Quantiles of resamples, whose weights are given by cluster (row) and resample (column)."""
    sums = arm.counts @ drawn
    turns, row = sums[0].astype(np.float64), 1
    found = np.full((turns.size, len(arm.ps)), np.nan)
    for column, (p, edges) in enumerate(zip(arm.ps, arm.edges, strict=True)):
        upto = np.cumsum(sums[row : row + edges.size], axis=0, dtype=np.float64)
        row += edges.size
        ranks = np.ceil(p * turns - 1e-9)  # as `rank` has it
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
    """Return the value at which each resample reaches its rank, NaN if no cell has it; and the resamples without one.

    `upto`: the weight below the cells, and that up to the end of each (row), in each resample. `of_steps`: the weight
    of each step (row) in each resample, and the step of each value; by default all weigh 1.
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
