"""A steady rise or fall of a metric over many runs. Pure.

A line is fitted to the values of consecutive runs by least squares, over the start times of the
runs. The windows of runs are the last 10, 14, 20, 28 … runs before each run, and all runs before
it. As with the steps of `reports.statistics.change_points`, each window is tested once, in the
night of its last run. Let n be the number of runs, x their times, s² the variance of the values
around the line with n − 2 degrees of freedom, V the mean variance of a value from the sessions of
its run, and c the cost of autocorrelation:

    SE = √( max(s²·c, V) / Σ(x − x̄)² )     df = n/c − 2

A rise is significant if |slope| > t · SE, and if the rise from the first to the last run is larger
than `min_change`. The runs at which the most significant rise begins and ends are then those with
the smallest sum of squares of the whole series around a level, a line, and a level.

A step also makes a line rise, and a slow rise is also a staircase of steps. So the line must
describe the series better than the steps that were found in it (or than the best single step). Both
are compared by Schwarz's criterion, n·log(RSS/n) + k·log n. A rise has k = 4 parameters, and m
steps have k = 2m + 1. After: Schwarz, "Estimating the dimension of a model" (1978).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from reports.statistics.counting import Floats, Integers, without_warnings
from reports.statistics.distributions import stdtrit

MIN_RUNS = 10
"""The minimum number of runs of a line."""
DF_MIN = 2.0
REFINEMENTS = 2
"""The number of times that the first and the last run of a rise are searched in turn."""


class SlowChange(NamedTuple):
    """A steady rise or fall from the run `first` to the run `end` − 1.

    - `d` is the size of the change: the value of the line at the last of these runs minus the value
      at the first.
    - `low` and `high` are the bounds of `d` at the type I error of the test after Bonferroni's
      correction. Both are above 0, or both below.
    """

    first: int
    end: int
    d: float
    low: float
    high: float

    def course(self, days: Floats) -> Floats:
        """Return the value of the rise at each run: 0 before it, and `d` after it."""
        course: Floats = np.interp(days, days[[self.first, self.end - 1]], [0.0, self.d])
        return course


@lru_cache(64)
def windows(runs: int) -> Integers:
    """Return the windows of a series of `runs` runs, one per row: the first run, and the last
    run + 1.
    """
    widths = [round(MIN_RUNS * 2 ** (k / 2)) for k in range(64) if MIN_RUNS * 2 ** (k / 2) <= runs]
    ends = np.arange(MIN_RUNS, runs + 1)
    rows = [
        (first, end)
        for end in ends
        for first in {0, *(end - width for width in widths if width <= end)}
    ]
    return np.array(sorted(rows), np.int64).reshape(-1, 2)


def clearest(
    values: Floats, variances: Floats, days: Floats, cost: float, errors: Floats, min_change: float
) -> SlowChange | None:
    """Return the most significant rise or fall of a series; None if none is significant.

    - `days` is the time of each run, in days.
    - `cost` is the number of autocorrelated runs that give as much information as one independent
      run.
    - `errors` is the two-sided type I error of each test that ends with a run, by the number of
      runs up to it.
    """
    first, end = windows(values.size).T
    lines = _Lines(values, days, first, end)
    n = end - first
    within = window_sums(variances, first, end) / n
    with without_warnings():
        se = np.sqrt(np.maximum(lines.rss / (n - 2) * cost, within) / lines.sxx)
        reach = stdtrit(np.maximum(DF_MIN, n / cost - 2), 1 - errors[end] / 2) * se
        clear = np.abs(lines.slope) / reach
    rise = lines.slope * (days[end - 1] - days[first])
    clear = np.where(np.isfinite(lines.slope) & (np.abs(rise) > min_change), clear, 0.0)
    best = int(clear.argmax()) if clear.size else 0
    if not clear.size or not clear[best] > 1:
        return None
    ends = _refined(values, days, int(first[best]), int(end[best]))
    line = _Lines(values, days, *(np.array([end]) for end in ends))
    runs = ends[1] - ends[0]
    slope = float(line.slope[0])
    own = float(variances[slice(*ends)].mean())
    noise = max(float(line.rss[0]) / (runs - 2) * cost, own)
    half = float(stdtrit(max(DF_MIN, runs / cost - 2), 1 - errors[ends[1]] / 2)) * math.sqrt(
        noise / float(line.sxx[0])
    )
    if abs(slope) <= half:
        return None
    span = float(days[ends[1] - 1] - days[ends[0]])
    return SlowChange(*ends, slope * span, (slope - half) * span, (slope + half) * span)


def _refined(values: Floats, days: Floats, first: int, end: int) -> tuple[int, int]:
    """Return the first run and the last run + 1 of a rise, with which the whole series fits best.

    The search starts at the given runs, and moves one of the two at a time.
    """
    for _ in range(REFINEMENTS):
        starts = np.arange(end - MIN_RUNS + 1)
        first = int(_rss_around(values, days, starts, np.full(starts.size, end)).argmin())
        stops = np.arange(first + MIN_RUNS, values.size + 1)
        end = int(stops[_rss_around(values, days, np.full(stops.size, first), stops).argmin()])
    return first, end


def _rss_around(values: Floats, days: Floats, first: Integers, end: Integers) -> Floats:
    """Return the sum of squares of a series around a level, a line from `first` to `end` − 1,
    and a level.
    """
    course = np.clip(days, days[first][:, None], days[end - 1][:, None])
    course -= course.mean(axis=1, keepdims=True)
    y = values - values.mean()
    squares = (course**2).sum(axis=1)
    explained = np.divide(
        (course @ y) ** 2, squares, out=np.zeros(first.size), where=squares > 1e-12
    )
    rss: Floats = (y @ y) - explained
    return rss


def is_better_than_steps(
    change: SlowChange, values: Floats, days: Floats, steps: Sequence[int], min_side: int
) -> bool:
    """Return whether a slow change describes a series better than steps do.

    `steps` are the positions of the steps that were found. If there are none, the best single step
    counts. Each side of it has at least `min_side` runs.
    """
    n = values.size
    choices = [list(steps)] if steps else [[at] for at in range(min_side, n - min_side + 1)]
    rss = min(
        sum(float(((side - side.mean()) ** 2).sum()) for side in np.split(values, at))
        for at in choices
    )
    around = float(_rss_around(values, days, np.array([change.first]), np.array([change.end]))[0])
    return _criterion(around, n, 4) < _criterion(rss, n, 2 * len(choices[0]) + 1)


def _criterion(rss: float, n: int, parameters: int) -> float:
    return n * math.log(max(rss, 1e-300) / n) + parameters * math.log(n)


class _Lines:
    """The lines of least squares over windows: the slope, Σ(x − x̄)², and the sum of squares
    around the line.
    """

    def __init__(self, values: Floats, days: Floats, first: Integers, end: Integers) -> None:
        x = days - days.mean()
        y = values - values.mean()
        n = end - first
        sums_x = window_sums(x, first, end)
        sums_y = window_sums(y, first, end)
        self.sxx = window_sums(x * x, first, end) - sums_x**2 / n
        sxy = window_sums(x * y, first, end) - sums_x * sums_y / n
        syy = window_sums(y * y, first, end) - sums_y**2 / n
        with without_warnings():
            self.slope: Floats = np.where(self.sxx > 1e-12, sxy / self.sxx, np.nan)
        self.rss: Floats = np.maximum(syy - np.nan_to_num(self.slope) * sxy, 0.0)


def window_sums(values: Floats, first: Integers, end: Integers) -> Floats:
    """Return the sum of the values of each window, from the run `first` to the run `end` − 1."""
    reached = np.concatenate([[0.0], np.cumsum(values)])
    total: Floats = reached[end] - reached[first]
    return total
