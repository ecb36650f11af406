"""The distribution of a metric in ms, as percentile curves and as histograms on a logarithmic
axis. Pure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from reports.data.samples import MetricSample
from reports.data.turns import Pool
from reports.formatting import log_range, nines
from reports.results.value import LEVELS, TYPICAL_LEVELS
from reports.statistics.counting import Floats, Integers
from reports.statistics.quantiles import QuantileEstimate, Sample, quantiles

PUBLISHED = tuple(sorted({*LEVELS, 0.75, 0.999}))
"""The levels of the table below a percentile curve."""
_GRID = np.array(
    [n for n in np.linspace(0.02, 4.0, 100) if all(abs(n - nines(p)) > 0.012 for p in PUBLISHED)]
)
CURVE = np.unique(np.r_[1 - 10**-_GRID, PUBLISHED])
"""The percentiles of a curve: those that tables have, and others at equal distances on the axis
−log₁₀(1 − p). If one of the others is close to a percentile of tables, it is left out."""


@dataclass(frozen=True)
class PercentileCurve:
    """The percentiles of one target, with their intervals."""

    target: str
    colour: int
    n: int
    failed: int
    points: tuple[QuantileEstimate, ...]

    @cached_property
    def solid_to(self) -> float:
        """The last percentile, from the median on, that has enough turns and sessions for
        tables; 0 if none has.
        """
        return max((e.p for e in self.points if e.p >= 0.5 and not e.has_too_few), default=0.0)


def curves(metric_sample: MetricSample, pools: Sequence[Pool]) -> list[PercentileCurve]:
    """Return the percentile curve of each pool that has values of the metric."""
    return [
        curve_of(metric_sample.turns.targets[target], target, sample)
        for target, sample in _samples(metric_sample, pools)
    ]


def _samples(metric_sample: MetricSample, pools: Sequence[Pool]) -> list[tuple[int, Sample]]:
    """Return the sample of each pool that has values, with the index of its target."""
    samples = [(pool.target, metric_sample.of(pool.target, pool.steps)) for pool in pools]
    return [(target, sample) for target, sample in samples if sample.n]


def curve_of(target: str, colour: int, sample: Sample) -> PercentileCurve:
    """Return the percentile curve of a sample. The last percentile has at least half a turn
    beyond it.
    """
    ps = [float(p) for p in CURVE if p <= 1 - 0.5 / sample.n]
    return PercentileCurve(target, colour, sample.n, sample.failed, tuple(quantiles(sample, ps)))


MIN_TURNS = 5
"""The minimum number of successful turns to plot a distribution. With fewer turns, a table of slow
turns is more useful."""
BINS_LEAST = 8
BINS_MOST = 48


class HistogramTarget(NamedTuple):
    """The turns of one target in a histogram.

    - `counts` is the number of turns in each bin.
    - `failed` is the number of failed turns. They have no bin, and count as infinite latencies.
    """

    target: str
    colour: int
    counts: Integers
    failed: int
    quantiles: tuple[QuantileEstimate, ...]
    """The p50 and the p95."""

    @property
    def n(self) -> int:
        """The number of successful and failed turns."""
        return int(self.counts.sum()) + self.failed

    @property
    def shares(self) -> Floats:
        return self.counts / max(1, self.n)


class Histogram(NamedTuple):
    """A histogram of several targets. All use the same bins, so that they can be compared. `edges`
    are the n + 1 edges of n bins, in ms.
    """

    edges: Floats
    targets: tuple[HistogramTarget, ...]


def histogram_of(metric_sample: MetricSample, pools: Sequence[Pool]) -> Histogram | None:
    """Return the histogram of a metric, with one target per pool.

    Return None if no target has enough positive values.

    """
    target_samples = _samples(metric_sample, pools)
    if max((_positive(sample).size for _, sample in target_samples), default=0) < MIN_TURNS:
        return None
    all_values = np.concatenate([_positive(sample) for _, sample in target_samples])
    min_value = float(all_values.min())
    max_value = float(all_values.max())
    low, high = log_range((min_value, max_value))
    # number of bins by the rule of Freedman and Diaconis on logarithms
    lower, upper = np.quantile(np.log(all_values), (0.25, 0.75))
    width = 2 * float(upper - lower) / math.cbrt(all_values.size)
    bins = math.ceil(math.log(high / low) / width) if width > 0 else BINS_MOST
    edges = np.geomspace(
        min(low, min_value),
        max(high, max_value) * (1 + 1e-9),
        1 + min(BINS_MOST, max(BINS_LEAST, bins)),
    )
    targets = []
    for target, sample in target_samples:
        values = _positive(sample)
        estimates = tuple(quantiles(sample, TYPICAL_LEVELS))
        counts = np.diff(
            [*values.searchsorted(edges[:-1]), values.searchsorted(edges[-1], "right")]
        )
        targets.append(
            HistogramTarget(
                metric_sample.turns.targets[target], target, counts, sample.failed, estimates
            )
        )
    return Histogram(edges, tuple(targets))


def _positive(sample: Sample) -> Floats:
    """Return the positive values of successful turns, because a logarithmic axis has no place
    for others.
    """
    return sample.succeeded[sample.succeeded > 0]
