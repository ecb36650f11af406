"""Change points in a metric over many runs, and their sizes. Pure.

The run is the sampling unit: an unchanged service differs from run to run by more than its sessions
explain. At each position between two runs, means before and after it are compared. The means before
it are those of the last 5, 10, 20 … runs, and of all runs. The means after it are those of the next
5, 7, 10, 14 … runs. Let a be the mean of R runs before the position, and b the mean of S runs after
it. s² is the variance of these runs around a and b, V_r is the variance of run r from its sessions,
and c is the cost of autocorrelation:

    SE = max( s·√((1/R + 1/S) · c),  √(mean(V_a)/R + mean(V_b)/S) )
    c = (1 + f)/(1 − f)     df = (R + S)/c − 2

A position is marked as a change point if |b − a| > t · SE at the level of this comparison, and |b −
a| > `min_change`. The position with the largest |b − a| / (t · SE) is marked first. Comparisons
that span a marked position are not used any more.

A trend is read night after night. So each comparison is made only once, in the night of its last
run. It is not made before with fewer runs. Each night of a year has the same share of the type I
error, which is divided among its comparisons in all series (Bonferroni). So the type I error holds
for readers who read the trend every night.

f is the autocorrelation of neighbouring runs: the mean of two estimates, plus half a standard
error, 1/(2√n). The first estimate uses differences at lags 1 and 2: E(y₂ − y₀)² / E(y₁ − y₀)² = 1 +
f, whatever the mean. The second one is the correlation r of neighbours around the means between
changes. Subtracting k means from n runs reduces r by (1 + 3r)·k/n (Kendall), so this is added to r.
The changes between these means are those that would be marked with f = 0. So a change is not
mistaken for autocorrelation.

A steady rise or fall is not a step (`reports.statistics.slow_changes`). If a line describes the
runs better than steps do, its rise is first subtracted, and then steps and f are searched in what
remains.

If hours of the day or weekdays differ (Kruskal-Wallis test), their effects are first subtracted
from each value. The distance of a day is its value minus the mean of the seven days around it. The
effect of a weekday is the median of the distances of its days. So neither an outlier nor a change
moves the effect far. Hours are treated in the same way, with 24 hours instead of seven days.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from reports.statistics import slow_changes
from reports.statistics.baselines import MIN_STORED_RUNS
from reports.statistics.counting import Floats, Integers, without_warnings
from reports.statistics.distributions import ndtri, stdtrit
from reports.statistics.slow_changes import DF_MIN, SlowChange, window_sums

LEVEL = 0.05
"""The probability that at least one false change point is marked in YEAR nights, in all series that
are read together.
"""
YEAR = 365
"""The number of nights among which the error probability LEVEL is divided. If a series has more
runs, it is divided among these."""
MIN_SIDE_RUNS = MIN_STORED_RUNS
"""The minimum number of runs before and after a position. With fewer runs, the variance between
runs is unknown."""
ENOUGH = 2 * MIN_SIDE_RUNS
AUTOCORRELATION_MAX = 0.9


class Cycle(NamedTuple):
    """A period in which values may repeat: `size` units of time. Unit 0 of 1970 is at the place
    `start`.
    """

    size: int
    start: int = 0


WEEK = Cycle(7, 3)
DAY = Cycle(24)
"""The days of a week, Monday first, and the hours of a day. 1 January 1970 was a Thursday."""
MIN_CYCLES = 3
"""The minimum number of values of a weekday or hour."""


class ChangePoint(NamedTuple):
    """A change between run `at` − 1 and run `at`.

    - `d` is the size of the change: the mean after it minus the mean before it.
    - `before` and `after` are the numbers of runs in these two means.
    - `low` and `high` are the bounds of `d` at the type I error of the comparison after
      Bonferroni's correction. Both are above 0, or both below.
    """

    at: int
    d: float
    low: float
    high: float
    before: int
    after: int


class ChangePoints(NamedTuple):
    """The change points of a series, in order of time.

    `unmarked` are further changes: they would be marked if neighbouring runs were independent.
    """

    changes: tuple[ChangePoint, ...] = ()
    unmarked: tuple[ChangePoint, ...] = ()
    autocorrelation: float = 0.0
    slow: SlowChange | None = None
    """The steady rise or fall that was subtracted before the steps were searched; None if there
    is none."""
    weekdays: tuple[float, ...] = ()
    hours: tuple[float, ...] = ()
    """The effect of each weekday, Monday first, and of each hour of the day, which were subtracted
    from the values. Empty if they do not differ."""

    def effective_runs(self, runs: int) -> int:
        """Return the effective number of independent runs among `runs` autocorrelated runs."""
        return round(runs / _cost(self.autocorrelation))


@lru_cache(64)
def windows(runs: int) -> Integers:
    """Return all comparisons of a series of `runs` runs, one per row.

    The columns are the first run before the position, the first run after it, and the last run
    after it + 1.
    """
    widths = [
        round(MIN_SIDE_RUNS * 2 ** (k / 2))
        for k in range(64)
        if MIN_SIDE_RUNS * 2 ** (k / 2) <= runs
    ]
    before, position, after = np.array(
        np.meshgrid([*widths[::2], runs], np.arange(MIN_SIDE_RUNS, runs), widths), int
    ).reshape(3, -1)
    is_complete = ((before <= position) | (before == runs)) & (position + after <= runs)
    return np.unique(
        np.stack([np.maximum(position - before, 0), position, position + after])[:, is_complete].T,
        axis=0,
    )


def number_of_comparisons(runs: int) -> int:
    """Return the number of comparisons in a series of `runs` runs."""
    return len(windows(runs)) + len(slow_changes.windows(runs))


def find_changes(
    values: Floats,
    variances: Floats,
    days: Integers,
    hours: Integers,
    *,
    among: int,
    min_change: float,
) -> ChangePoints:
    """Find the change points of a series that has one value per run.

    - `variances` is the variance of each value from the sessions inside its run.
    - `days` and `hours` are the day and the hour of each run, counted from 1 January 1970.
    - `among` is the number of series that share the error probability LEVEL.
    - `min_change` is the size that a change must exceed.
    """
    if values.size < ENOUGH:
        return ChangePoints()
    of_hours = cycle_effects(values, hours, DAY)
    values = without_cycle(values, hours, DAY, of_hours)
    of_days = cycle_effects(values, days, WEEK)
    centred = without_cycle(values, days, WEEK, of_days)
    centred = centred - centred.mean()
    errors = _errors(values.size, among)
    times = hours / DAY.size
    candidates = _mark_change(centred, variances, 0.0, errors, min_change)
    slow = _slow_change(centred, variances, times, candidates, errors, min_change)
    if slow:
        centred = centred - slow.course(times)
        candidates = _mark_change(centred, variances, 0.0, errors, min_change)
    elif not candidates:
        return ChangePoints(weekdays=of_days, hours=of_hours)
    correlation = autocorrelation(centred, [change.at for change in candidates])
    changes = _mark_change(centred, variances, correlation, errors, min_change)
    near = {change.at + by for change in changes for by in range(1 - MIN_SIDE_RUNS, MIN_SIDE_RUNS)}
    unmarked = tuple(change for change in candidates if change.at not in near)
    return ChangePoints(tuple(changes), unmarked, correlation, slow, of_days, of_hours)


def _slow_change(
    values: Floats,
    variances: Floats,
    times: Floats,
    candidates: Sequence[ChangePoint],
    errors: Floats,
    min_change: float,
) -> SlowChange | None:
    """Return the slow change of a series; None if there is none, or if steps describe the series
    better.

    `candidates` are the steps that would be marked if there were no slow change, and no
    autocorrelation.
    """
    line = slow_changes.clearest(values, variances, times, 1.0, errors, min_change)
    steps = [change.at for change in candidates]
    if line is None or not slow_changes.is_better_than_steps(
        line, values, times, steps, MIN_SIDE_RUNS
    ):
        return None
    rest = values - line.course(times)
    steps = [change.at for change in _mark_change(rest, variances, 0.0, errors, min_change)]
    cost = _cost(autocorrelation(rest, steps))
    return slow_changes.clearest(values, variances, times, cost, errors, min_change)


def _errors(runs: int, among: int) -> Floats:
    """Return the two-sided type I error of each test that ends with a run, by the number of runs
    up to it.
    """
    tests = np.bincount(windows(runs)[:, 2], minlength=runs + 1)
    tests += np.bincount(slow_changes.windows(runs)[:, 1], minlength=runs + 1)
    errors: Floats = LEVEL / max(YEAR, runs) / among / np.maximum(1, tests)
    return errors


def cycle_effects(values: Floats, units: Integers, cycle: Cycle) -> tuple[float, ...]:
    """Return the effect of each place in a cycle relative to the mean effect; () if they do not
    differ.

    `units` is the day, or the hour, of each value. A place is used only if it has at least
    MIN_CYCLES values. A unit is used only if each unit of the cycle around it that is at a used
    place has a value.
    """
    seen, runs = np.unique(units, return_inverse=True)
    by_unit = np.full(int(seen[-1] - seen[0]) + 1, np.nan)
    by_unit[seen - seen[0]] = np.bincount(runs, values) / np.bincount(runs)
    place = (np.arange(by_unit.size) + seen[0] + cycle.start) % cycle.size
    usual = np.array(
        [np.isfinite(by_unit[place == at]).sum() >= MIN_CYCLES for at in range(cycle.size)]
    )
    if usual.sum() < 2 or by_unit.size < cycle.size * MIN_CYCLES:
        return ()
    counted = np.where(usual[place], by_unit, np.nan)
    cycles = np.lib.stride_tricks.sliding_window_view(counted, cycle.size)
    means = np.where(
        np.isfinite(cycles).sum(axis=1) == usual.sum(),
        np.nansum(cycles, axis=1) / usual.sum(),
        np.nan,
    )
    distances = (
        counted - means[np.clip(np.arange(counted.size) - cycle.size // 2, 0, means.size - 1)]
    )
    groups = [
        group[np.isfinite(group)]
        for group in (distances[place == at] for at in np.flatnonzero(usual))
    ]
    if min(map(len, groups)) < MIN_CYCLES or not _differ(groups):
        return ()
    effects = np.zeros(cycle.size)
    effects[usual] = [np.median(group) for group in groups]
    effects[usual] -= effects[usual].mean()
    return tuple(effects.tolist())


def without_cycle(
    values: Floats, units: Integers, cycle: Cycle, effects: Sequence[float]
) -> Floats:
    """Return the values without the effects of the places in a cycle."""
    return values - np.array(effects)[(units + cycle.start) % cycle.size] if effects else values


def _differ(groups: Sequence[Floats]) -> bool:
    """Return whether groups differ, by the Kruskal-Wallis test with its correction for ties."""
    # This import takes a third of a second.
    from scipy.stats import kruskal  # type: ignore[import-untyped, unused-ignore]

    rounded = [group.round(12) for group in groups]
    return bool(np.ptp(np.concatenate(rounded))) and float(kruskal(*rounded).pvalue) < LEVEL


def autocorrelation(values: Floats, positions: Sequence[int]) -> float:
    """Return the lag-1 autocorrelation of a series whose mean may have changed at these
    positions.
    """
    # the estimate from differences that do not span a position
    lag1, lag2 = ((values[distance:] - values[:-distance]) ** 2 for distance in (1, 2))
    at = np.array(positions, int)
    near = np.delete(lag1, at - 1)
    next_but_one = np.delete(lag2, np.concatenate([at - 2, at - 1]))
    by_differences = float(next_but_one.mean() / near.mean()) - 1 if near.any() else 0.0
    # the estimate from neighbours between two positions, around their mean
    segments = [segment - segment.mean() for segment in np.split(values, positions)]
    squares = sum(float((segment**2).sum()) for segment in segments)
    r = (
        sum(float((segment[1:] * segment[:-1]).sum()) for segment in segments) / squares
        if squares
        else 0.0
    )
    by_correlation = r + (1 + 3 * max(r, 0.0)) * len(segments) / values.size if squares else 0.0
    estimate = (by_differences + by_correlation) / 2 + 0.5 / math.sqrt(values.size)
    return float(np.clip(estimate, 0.0, AUTOCORRELATION_MAX))


def _mark_change(
    values: Floats, variances: Floats, correlation: float, errors: Floats, min_change: float
) -> list[ChangePoint]:
    """Return the positions that are marked as change points, in order of time."""
    comparisons = windows(values.size)
    shares = errors[comparisons[:, 2]]
    difference, se, df = _compared(values, variances, comparisons, correlation)
    size = np.abs(difference)
    # quantiles of t are slow to compute, and always larger than those of z
    far = (size > max(min_change, 0.0)) & (size >= -ndtri(shares / 2) * se)
    first, at, end = comparisons[far].T
    difference = difference[far]
    size = size[far]
    reach = stdtrit(df[far], 1 - shares[far] / 2) * se[far]
    with without_warnings():
        clear = size / reach
    changes = []
    while clear.size and clear.max() > 1:
        largest = int(clear.argmax())
        position = int(at[largest])
        d = float(difference[largest])
        half_width = float(reach[largest])
        before = position - int(first[largest])
        after = int(end[largest]) - position
        changes.append(ChangePoint(position, d, d - half_width, d + half_width, before, after))
        clear[(first < position) & (position < end)] = 0.0
    return sorted(changes, key=lambda change: change.at)


def _compared(
    values: Floats, variances: Floats, comparisons: Integers, correlation: float
) -> tuple[Floats, Floats, Floats]:
    """Return, for each comparison, mean after − mean before, its standard error, and the degrees
    of freedom.
    """
    first, position, end = comparisons.T
    before = position - first
    after = end - position
    runs = before + after
    sums = window_sums(values, first, position), window_sums(values, position, end)
    squares = window_sums(values**2, first, end) - sums[0] ** 2 / before - sums[1] ** 2 / after
    cost = _cost(correlation)
    between = np.maximum(squares, 0.0) / (runs - 2) * cost * (1 / before + 1 / after)
    within = (
        window_sums(variances, first, position) / before**2
        + window_sums(variances, position, end) / after**2
    )
    se = np.sqrt(np.maximum(between, within))
    return sums[1] / after - sums[0] / before, se, np.maximum(DF_MIN, runs / cost - 2)


def _cost(correlation: float) -> float:
    """Return how many autocorrelated runs give as much information as one independent run."""
    return (1 + correlation) / (1 - correlation)


def variance_of(low: float, value: float, high: float) -> float:
    """Return the variance of the log of a quantile, computed from its 95 % interval.

    If `low` is not above 0, use only the part of the interval above `value`. Return 0 if `value` is
    0 or `high` is infinite.
    """
    if not (value > 0 and high < math.inf):
        return 0.0
    ends = (low, high) if low > 0 else (value, high)
    width = math.log(ends[1] / ends[0]) * (1.0 if low > 0 else 2.0)
    return (width / (2 * float(ndtri(0.975)))) ** 2
