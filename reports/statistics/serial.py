"""Whether sessions that follow one another are alike, and what may be counted then: quarters of the run; pure.

Sessions, or pairs of them, are resampled as if any order of them were as likely. What all pairs share cancels inside
them; a drift that one arm has for itself does not, and then a hundred pairs of ten minutes tell of ten minutes. So a
series with a number for each pair in the order of their start (how far its arms lie apart), or for each session of an
arm, is put to two tests of "no order", each at 2.5 %:

    slow    one-way analysis of variance over the quarters of the series, F(3, n − 4)
    quick   von Neumann: (r_1 + 1/n)·√n is normal, r_1 being the correlation of neighbours

Where either finds it, the quarters are the clusters: four, with 3 degrees of freedom. A drift that is slower than a
quarter is still underrated by them, which is why such a verdict is provisional as well.

After: von Neumann, "Distribution of the ratio of the mean square successive difference to the variance" (1941).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import fdtrc, ndtr  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.quantiles import Floats, Integers, Sample

QUARTERS = 4
FOUND, EARLY = 0.025, 0.1
"""The error of each of the two tests: of runs without any order 4 to 5 % are taken for ordered. At a look that would
end a run before its time more of them may be: there is a later one."""
LEAST = 20
"""Numbers that a series needs before anything is said of it."""


def quarters(clusters: int) -> Integers:
    """The quarter, from 0, of each of so many clusters in their order."""
    return np.arange(clusters) * QUARTERS // max(1, clusters)


def drifts(series: Floats, error: float = FOUND) -> bool:
    """Whether a series has an order. Those of its numbers that are not finite are left out."""
    x = series[np.isfinite(series)]
    n = x.size
    if n < LEAST or not np.ptp(x) > 0:
        return False
    return min(_slow(x, n), _quick(x, n)) < error


def _slow(x: Floats, n: int) -> float:
    quarter = quarters(n)
    many, sums = np.bincount(quarter), np.bincount(quarter, x - x.mean())
    between = float((sums**2 / many).sum())
    within = float(((x - x.mean()) ** 2).sum()) - between
    if within <= 0:
        return 0.0
    return float(fdtrc(QUARTERS - 1, n - QUARTERS, between / (QUARTERS - 1) / (within / (n - QUARTERS))))


def _quick(x: Floats, n: int) -> float:
    off = x - x.mean()
    neighbours = float((off[1:] * off[:-1]).sum() / (off**2).sum())
    return float(ndtr(-(neighbours + 1 / n) * math.sqrt(n)))


def levels(sample: Sample, clusters: int) -> Floats:
    """The median of the logs of each cluster's values; NaN of one without any, and not finite of one that failed."""
    order = np.lexsort((sample.values, sample.sessions))
    values, many = sample.values[order], np.bincount(sample.sessions, minlength=clusters)
    first = np.concatenate(([0], np.cumsum(many)[:-1]))
    there = many > 0
    found = np.full(clusters, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (values[(first + place)[there]] for place in ((many - 1) // 2, many // 2))
        found[there] = (np.log(low) + np.log(high)) / 2
    return found


def in_quarters(sample: Sample, clusters: int) -> Sample:
    """The same values, whose clusters are quarters of the run."""
    return Sample(sample.values, quarters(clusters)[sample.sessions], sample.failed, sample.censored)
