"""Percentile curves of a run, which figures draw and the tables of numbers below them repeat; in ms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.numbers import nines
from reports.samples import Sampled
from reports.statistics.quantiles import QuantileEstimate, Sample, quantiles
from reports.turns import Pool

PUBLISHED = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_GRID = np.array([n for n in np.linspace(0.02, 4.0, 100) if all(abs(n - nines(p)) > 0.012 for p in PUBLISHED)])
CURVE = np.unique(np.r_[1 - 10**-_GRID, PUBLISHED])
"""Even steps on the axis of nines, and the percentiles that tables name, without near neighbours of those."""


@dataclass(frozen=True)
class Curve:
    """One target's quantile function with its interval."""

    target: str
    colour: int
    n: int
    failed: int
    points: tuple[QuantileEstimate, ...]

    @property
    def solid_to(self) -> float:
        """The last percentile from the median on that may be published, by the rule of the tables; 0 of none."""
        return max((e.p for e in self.points if e.p >= 0.5 and not e.lacks), default=0.0)


def curves(one: Sampled, pools: Sequence[Pool]) -> list[Curve]:
    """The percentile curve of each pool that has the metric."""
    samples = [(pool.target, one.of(pool.target, pool.steps)) for pool in pools]
    return [curve_of(one.turns.targets[target], target, sample) for target, sample in samples if sample.n]


def curve_of(target: str, colour: int, sample: Sample) -> Curve:
    """The percentiles of a sample, as far as half a turn lies beyond."""
    ps = [float(p) for p in CURVE if p <= 1 - 0.5 / sample.n]
    return Curve(target, colour, sample.n, sample.failed, tuple(quantiles(sample, ps)))
