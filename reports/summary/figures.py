"""The quantiles of one sample, as every report shows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.measures import CATALOGUE
from reports.statistics.quantiles import Estimate, Sample, estimates, quantile
from reports.summary.events import ALL, PS
from reports.turns import Pool


@dataclass(frozen=True)
class Figures:
    """A measure of a target and step. Quantiles are of `n` values, `failed` ones among them as +inf if it is a wait."""

    measure: str
    unit: str
    target: str
    origin: str
    """what the turns count from; empty where the measure does not tell origins apart"""
    label: str
    """the target, with the origin where the run has several"""
    step: str
    n: int
    failed: int
    censored: int
    quantiles: tuple[Estimate, ...]
    successes: tuple[float, ...]
    """the same quantiles of good turns alone"""
    low: float
    high: float
    """smallest and largest good value"""
    inexact: str = ""
    """why it is not to be used; empty where it may"""

    def at(self, p: float) -> Estimate:
        return self.quantiles[PS.index(p)]


def figures(sample: Sample, measure: str, target: str, step: str = ALL, pool: Pool | None = None) -> Figures:
    """The quantiles of one sample; `pool` says which of the target's turns it is of."""
    good = sample.good
    low, high = (float(good[0]), float(good[-1])) if good.size else (np.nan, np.nan)
    origin, label = (pool.origin, pool.label) if pool else ("", target)
    return Figures(
        measure=measure,
        unit=CATALOGUE[measure].unit,
        target=target,
        origin=origin,
        label=label,
        step=step,
        n=sample.n,
        failed=sample.failed,
        censored=sample.censored,
        quantiles=tuple(estimates(sample, PS)),
        successes=tuple(quantile(good, p) for p in PS),
        low=low,
        high=high,
    )
