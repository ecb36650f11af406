"""The slowest stretch of a run over time, where it is slower than chance alone would make it.

Of sixty stretches of a run in which nothing changes one is the slowest, some 1.3 times as slow as the run; that says
nothing. So one is told only where the interval of its median lies above the run's median, at a level that holds for all
stretches together: 1 − 5 % / stretches (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bench.units import NS_PER_S
from reports.statistics.counting import packed, split
from reports.statistics.quantiles import Floats, Integers, Sample, estimates
from reports.summary.summary import Summary

ERROR = 0.05
"""How often a run without any change has a stretch told, at most."""
TURNS, STRETCHES = 10, 3
"""A stretch of fewer turns is not looked at, nor a run of fewer stretches."""
APART = 1.05
"""Nearer to the run's median it is of no interest, however sure."""


@dataclass(frozen=True)
class Stretch:
    """Turns of one pool that began within one bin; `p50` in ms, `ratio` to the median of the pool's whole run."""

    label: str
    begin_s: float
    p50: float
    ratio: float


@dataclass(frozen=True)
class PoolCourse:
    """Measured turns of one pool: waits ascending in ms, failed ones as +inf; beside each its session and its start."""

    label: str
    median: float
    values: Floats
    sessions: Integers
    at_s: Floats


def courses(summary: Summary) -> list[PoolCourse]:
    """Of each pool by its main measure; those whose median is finite."""
    turns, found = summary.turns, []
    at_s = (turns.column("start_utc_ns") - summary.window.began_utc_ns) / NS_PER_S
    for pool, answer in zip(turns.pools, summary.answers, strict=True):
        one, median = summary.samples[summary.mains[pool.stratum]], answer.figures.at(0.5).value
        if math.isfinite(median):
            values, places = one.part(pool.target, pool.steps)
            found.append(PoolCourse(answer.label, median, values, turns.session[places], at_s[places]))
    return found


def slowest(found: Iterable[PoolCourse], bin_s: float) -> Stretch | None:
    """The stretch of the largest ratio among those that are slower than chance would make them; None without any."""
    parts = [(course, *part) for course in found for part in _parts(course, bin_s)]
    if len(parts) < STRETCHES:
        return None
    level = 1 - ERROR / len(parts)
    slow = []
    for course, begin_s, sample in parts:
        (p50,) = estimates(sample, (0.5,), level)
        ratio = p50.value / course.median
        if p50.low > course.median and APART <= ratio < math.inf:
            slow.append(Stretch(course.label, begin_s, p50.value, ratio))
    return max(slow, key=lambda stretch: stretch.ratio, default=None)


def _parts(course: PoolCourse, bin_s: float) -> Iterable[tuple[float, Sample]]:
    """The begin and the turns of each stretch with enough of them."""
    # values stay ascending within each stretch
    for place, mine in split(np.maximum(course.at_s // bin_s, 0).astype(np.int64)):
        if mine.size >= TURNS:
            yield place * bin_s, Sample(course.values[mine], packed(course.sessions[mine])[0])
