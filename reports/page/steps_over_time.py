"""Each step over the run: what their figure draws, a small aggregate whatever the number of turns.

Times are seconds since the run began, latencies ms. Warm-up is drawn too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.bins import time_step
from reports.page.over_time import Bin, began_s, bins_of, drawn
from reports.page.svg import log_range
from reports.strata import Stratum
from reports.summary.summary import Summary

IN_BIN = 12
"""So many turns of a step are to fall into a bin: its median then has six on either side."""
STEPS_MOST = 24


@dataclass(frozen=True)
class StepCourse:
    """A step on one target; only bins whose median is known."""

    step: str
    target: int
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class StepsOverTime:
    """The steps of a stratum, at most STEPS_MOST of them, on the targets that play them."""

    measure: str
    length_s: float
    bin_s: float
    low: float
    high: float
    steps: tuple[str, ...]
    targets: tuple[str, ...]
    courses: tuple[StepCourse, ...]


def steps_over_time(summary: Summary, stratum: Stratum) -> StepsOverTime | None:
    """The main measure of each step over the run; None where no step has a median in two bins."""
    turns, at_s = summary.turns, began_s(summary)
    steps = np.flatnonzero(turns.steps_in(stratum))[:STEPS_MOST]
    sizes = turns.by_group(np.ones(turns.rows.size, dtype=bool))[:, steps]
    if not sizes.any():
        return None
    length_s = max(summary.window.length_s, float(at_s.max(initial=0.0)), 1.0)
    bin_s = time_step(length_s, max(4, min(60, int(np.median(sizes[sizes > 0])) // IN_BIN)))
    courses: list[StepCourse] = []
    for pool in (pool for pool in turns.pools if pool.stratum == stratum):
        values = drawn(summary, pool)
        for step in steps.tolist():
            rows = np.flatnonzero(~np.isnan(values) & (turns.step_of_row == step))
            known = tuple(bin_ for bin_ in bins_of(at_s[rows], values[rows], bin_s) if not np.isnan(bin_.p50))
            courses += [StepCourse(turns.steps[step], pool.target, known)] if known else []
    if not any(len(course.bins) > 1 for course in courses):
        return None
    names = tuple(turns.steps[step] for step in steps.tolist())
    low, high = log_range(bin_.p50 for course in courses for bin_ in course.bins)
    return StepsOverTime(summary.mains[stratum], length_s, bin_s, low, high, names, summary.targets, tuple(courses))
