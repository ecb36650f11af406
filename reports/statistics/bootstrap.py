"""The cluster bootstrap of quantiles: sessions, or pairs of sessions, are drawn with replacement.
Pure.

No resample is sorted. A resample is a weight for each cluster: how often the cluster was drawn.
Each value has the weight of its cluster, and the weights are added up over the sorted values. The
p-quantile of the resample is the first value at which this sum reaches the rank. Only values within
six standard errors of rank p·n are likely to be the quantile. They are called the window. The
values below the window are reduced to one count per cluster, and the window is split into cells.
One sparse product gives the counts of all cells in many resamples at once; then only one cell is
searched. A few resamples have their quantile outside the window. For these, all values are
examined. So the quantiles are exactly those of a plain bootstrap.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reports.statistics.counting import Floats, Integers
from reports.statistics.quantiles import Sample, rank

RESAMPLES = 10_000
REACH = 6.0
"""The half-width of the window of likely quantiles, in standard errors of rank p·n."""
CELLS_AT_ONCE = 250_000
"""The maximum number of elements of the largest array, if several resamples are computed at once. A
larger array does not fit in the processor's cache."""
EXACT = 2**24
"""The limit of counts: smaller counts are exact in single precision."""

Weights = npt.NDArray[np.floating]


def seed_of(*run_ids: str) -> int:
    """Return a seed below 2⁴⁸ that depends only on the run IDs and their order, so that verdicts
    are reproducible.
    """
    return int.from_bytes(hashlib.sha256("\0".join(run_ids).encode()).digest()[:6], "big")


def resampled_quantiles(
    sample: Sample,
    ps: Sequence[float],
    *,
    clusters: int,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Return the quantiles of resamples of one sample: one row per resample, one column per p.

    The `sessions` of the sample are codes from 0 to `clusters` − 1. Clusters without values are
    drawn with the same probability as others. If a resample has no values, its quantiles are NaN.
    """
    return resample_weights((sample,), ps, clusters, draws, rng)[0]


def variance(values: Floats, min_share: float = 0.0) -> float:
    """Return the variance of the finite values.

    Return NaN if fewer than two values are finite, or if the share of finite values is below
    `min_share`.
    """
    finite = values[np.isfinite(values)]
    return (
        float(finite.var(ddof=1))
        if finite.size > 1 and finite.size >= min_share * values.size
        else math.nan
    )


def resamples_at_once(*rows: int) -> int:
    """Return how many resamples to compute at once.

    `rows` is the number of rows of each array; its columns are the resamples. If the result would
    be 2 to 4, return 1, because a product with a vector is faster.
    """
    portion = CELLS_AT_ONCE // max(rows)
    return portion if portion > 4 else 1


def weights(
    clusters: int, draws: int, rng: np.random.Generator, *, portion: int
) -> Iterator[Integers]:
    """Yield arrays of how often each cluster (column) is drawn in each resample (row).

    All arrays together have `draws` rows. Each has `portion` rows; the last one may have fewer.
    """
    for done in range(0, draws, portion):
        rows = min(portion, draws - done)
        codes = rng.integers(0, clusters, (rows, clusters)) + np.arange(rows)[:, None] * clusters
        yield np.bincount(codes.ravel(), minlength=rows * clusters).reshape(rows, clusters)


class PreparedSample(NamedTuple):
    """A sample with the counts that its resamples need.

    - `edges` is one array for each p: the indices in `sample.values` at which the cells near the
      p-quantile begin and end.
    - `counts` is a matrix with one column per cluster. The first row is the number of turns. Then,
      for each p, there is a row with the number of turns below the first cell, and a row for each
      cell. A product with the weights of the clusters gives these numbers for a resample.
    """

    sample: Sample
    ps: tuple[float, ...]
    edges: tuple[Integers, ...]
    counts: Any


def resample_weights(
    samples: Sequence[Sample],
    ps: Sequence[float],
    clusters: int,
    draws: int,
    rng: np.random.Generator,
) -> list[Floats]:
    """Return the quantiles of resamples, one array per sample: one row per resample, one column per
    p.

    In each resample, the same clusters are drawn for all samples.
    """
    prepared_samples = [prepare(sample, ps, clusters) for sample in samples]
    quantiles = [np.full((draws, len(ps)), np.nan) for _ in samples]
    portion = resamples_at_once(
        clusters, *(prepared.counts.shape[0] for prepared in prepared_samples)
    )
    done = 0
    for cluster_weights in weights(clusters, draws, rng, portion=portion) if clusters else ():
        for prepared, rows in zip(prepared_samples, quantiles, strict=True):
            rows[done : done + len(cluster_weights)] = quantiles_of(
                prepared, cluster_weights.T.astype(prepared.counts.dtype, order="C")
            )
        done += len(cluster_weights)
    return quantiles


def prepare(sample: Sample, ps: Sequence[float], clusters: int) -> PreparedSample:
    """Return the sample with the counts that resamples of these quantiles need."""
    turns = np.bincount(sample.sessions, minlength=clusters)
    exact = clusters * int(turns.max(initial=0)) < EXACT
    edges = tuple(edges_of(sample, p, turns) for p in ps)
    every = np.arange(clusters)
    n_rows = 1
    counts = [turns]
    rows = [np.zeros(clusters, int)]
    columns: list[Integers] = [every]
    for window_edges in edges:
        below = np.bincount(sample.sessions[: window_edges[0]], minlength=clusters)
        inside = sample.sessions[window_edges[0] : window_edges[-1]]
        cell = np.repeat(np.arange(n_rows + 1, n_rows + window_edges.size), np.diff(window_edges))
        counts += [below, np.ones(inside.size, int)]
        rows += [np.full(clusters, n_rows), cell]
        columns += [every, inside]
        n_rows += window_edges.size
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped, unused-ignore]

    # one matrix, because scipy takes a tenth of a millisecond for each
    places = np.concatenate(rows), np.concatenate(columns)
    matrix = csr_matrix((np.concatenate(counts), places), shape=(n_rows, clusters))
    return PreparedSample(
        sample, tuple(ps), edges, matrix.astype(np.float32 if exact else np.float64)
    )


def edges_of(sample: Sample, p: float, turns: Integers) -> Integers:
    """Return the edges of about √n cells, each with about √n of the n values near the p-quantile.

    `turns` is the number of turns in each cluster. A resample first finds its cell, and then
    searches only this cell.
    """
    n = sample.n
    clusters = turns.size
    if not n:
        return np.zeros(1, int)
    errors = np.bincount(sample.sessions[: rank(p, n)], minlength=clusters) - p * turns
    se = (
        math.sqrt(clusters / max(1, clusters - 1) * float(((errors - errors.mean()) ** 2).sum()))
        / n
    )
    reach = REACH * max(se, math.sqrt(p * (1 - p) / n))
    first = max(0, math.floor((p - reach) * n) - 2)
    last = min(n, math.ceil((p + reach) * n) + 2)
    return np.unique(np.linspace(first, last, math.ceil(math.sqrt(last - first)) + 1).astype(int))


def quantiles_of(prepared: PreparedSample, cluster_weights: Weights) -> Floats:
    """Return the quantiles of resamples: one row per resample, one column per p.

    `cluster_weights` is the weight of each cluster (row) in each resample (column).
    """
    sums = prepared.counts @ cluster_weights
    turns = sums[0].astype(float)
    row = 1
    quantiles = np.full((turns.size, len(prepared.ps)), np.nan)
    for column, (p, edges) in enumerate(zip(prepared.ps, prepared.edges, strict=True)):
        cumulative_weights = np.cumsum(sums[row : row + edges.size], axis=0, dtype=float)
        row += edges.size
        ranks = np.ceil(p * turns - 1e-9)  # the same as in `rank`
        quantiles[:, column], outside = in_cells(
            prepared.sample, edges, cumulative_weights, ranks, cluster_weights
        )
        for resample in outside[turns[outside] > 0].tolist():
            passed = np.cumsum(cluster_weights[prepared.sample.sessions, resample], dtype=float)
            quantiles[resample, column] = prepared.sample.values[
                np.searchsorted(passed, ranks[resample])
            ]
    return quantiles


def in_cells(
    sample: Sample,
    edges: Integers,
    cumulative_weights: Floats,
    ranks: Floats,
    cluster_weights: Weights,
    step_weights: tuple[Floats, Integers] | None = None,
) -> tuple[Floats, Integers]:
    """Return the value at which the weights of each resample add up to its rank.

    Also return the indices of the resamples for which this value is in no cell.

    - `cumulative_weights` has a column for each resample. Its first row is the weight of the values
      below the cells. Each further row is the weight up to the end of a cell.
    - `ranks` is the rank of the quantile in each resample.
    - `step_weights` is the weight of each step (row) in each resample (column), and the step of
      each value. If it is None, each step has the weight 1.
    """
    cell = (cumulative_weights < ranks).sum(axis=0) - 1
    inside = (cell >= 0) & (cell < edges.size - 1)
    values = np.full(cell.size, np.nan)
    resample = np.flatnonzero(inside)
    cell = cell[inside]
    if resample.size:
        indices = np.minimum(
            edges[cell][:, None] + np.arange(int(np.diff(edges).max())), sample.n - 1
        )
        weights = cluster_weights[sample.sessions[indices], resample[:, None]]
        if step_weights is not None:
            weights = weights * step_weights[0][step_weights[1][indices], resample[:, None]]
        missing = ranks[resample] - cumulative_weights[cell, resample]
        passed = np.cumsum(weights, axis=1, dtype=float)
        last = np.minimum(
            (passed < missing[:, None]).sum(axis=1), edges[cell + 1] - edges[cell] - 1
        )
        values[resample] = sample.values[edges[cell] + last]
    return values, np.flatnonzero(~inside)
