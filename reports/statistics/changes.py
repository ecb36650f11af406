"""Where the level of a figure changed in the course of many runs, and by how much; pure.

The run is what is counted: an unchanged service differs from run to run by more than its sessions tell. At each place
between two runs the mean of 5, 10, 20 … and of all runs before is held against the mean of the 5, 7, 10, 14 … runs
after. For a of R runs and b of S runs, s² the variance around both means, V_r the variance of run r from its sessions,
and c of how much neighbouring runs say the same:

    SE = max( s·√((1/R + 1/S) · c),  √(mean(V_a)/R + mean(V_b)/S) )     c = (1 + f)/(1 − f)     df = (R + S)/c − 2

A place is marked where |b − a| > t · SE at the level of this comparison, and where a and b lie farther apart than
`least`. The clearest place is marked first, and no window reaches across one that is marked.

A history is looked at night after night, so every comparison is made once, in the night that brings its last run: no
window is cut short by the end of the series. Each night of a year has the same share of the error, which its
comparisons in all series share (Bonferroni). So it holds for whoever looks every night.

f is how alike neighbours are: the mean of two estimates, and half a standard error, 1/(2√n). Of differences between
runs one and two apart E(y₂ − y₀)² / E(y₁ − y₀)² = 1 + f, whatever the level. The correlation r of neighbours around
the means between changes is f as well, but for (1 + 3r)·k/n that k means of n runs take from it (Kendall). What is
marked with f = 0 are the changes here, so that a change is not taken for autocorrelation.

Weekdays are taken off first, where they differ: of each day the distance from the mean of the seven days around it,
and of each weekday the median of these, which neither a bad night nor a step moves far (Kruskal and Wallis's test).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri, stdtrit  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.baselines import KNOWN
from reports.statistics.counting import Floats, Integers

LEVEL = 0.05
"""Error of any mark where nothing changed, over all series that are looked at together, in YEAR nights."""
YEAR = 365
"""Number of runs that share the level, or as many as there are."""
SIDE = KNOWN
"""Runs that there must be on either side of a place: from so many on their spread is known."""
ENOUGH = 2 * SIDE
ALIKE_MOST = 0.9
DF_LEAST = 2.0
WEEK, WEEKS = 7, 3
"""Days, and how many weeks of each weekday there must be before it is known."""
THURSDAY = 3
"""What day 0 was, 1 January 1970."""


@dataclass(frozen=True)
class ChangePoint:
    """Between run `at` − 1 and run `at`. `d` is after − before, `before` and `after` the numbers of runs compared.

    `low` and `high` hold at the level that all comparisons share, so they leave out 0.
    """

    at: int
    d: float
    low: float
    high: float
    before: int
    after: int


@dataclass(frozen=True)
class ChangePoints:
    """The changes of a series, in its order. `doubtful`: what would be one, were neighbours not `alike`."""

    changes: tuple[ChangePoint, ...] = ()
    doubtful: tuple[ChangePoint, ...] = ()
    alike: float = 0.0
    weekdays: tuple[float, ...] = ()
    """what was taken off Monday to Sunday; nothing where they do not differ"""

    def effective_sessions(self, runs: int) -> int:
        """As how many independent runs so many count."""
        return round(runs / _costs(self.alike))


@lru_cache(64)
def windows(runs: int) -> Integers:
    """Every comparison of so many runs: rows of (first run before, first run after, one behind the last run after)."""
    widths = [round(SIDE * 2 ** (k / 2)) for k in range(64) if SIDE * 2 ** (k / 2) <= runs]
    before, at, after = np.array(np.meshgrid([*widths[::2], runs], np.arange(SIDE, runs), widths), int).reshape(3, -1)
    there = ((before <= at) | (before == runs)) & (at + after <= runs)
    rows: Integers = np.unique(np.stack([np.maximum(at - before, 0), at, at + after])[:, there].T, axis=0)
    return rows


def comparisons(runs: int) -> int:
    """How many comparisons a series of so many runs has had."""
    return len(windows(runs))


def changes(figures: Floats, variances: Floats, days: Integers, *, among: int, least: float) -> ChangePoints:
    """Search a series. `figures` and `variances`: of each run, the latter from its sessions. `days`: since 1970.

    `among`: so many series are looked at together.
    """
    if figures.size < ENOUGH:
        return ChangePoints()
    own = weekdays(figures, days)
    centred = without(figures, days, own)
    centred = centred - centred.mean()
    candidates = _marked(centred, variances, 0.0, among, least)
    if not candidates:
        return ChangePoints(weekdays=own)
    alike = autocorrelation(centred, [change.at for change in candidates])
    found = _marked(centred, variances, alike, among, least)
    near = {change.at + by for change in found for by in range(1 - SIDE, SIDE)}
    return ChangePoints(tuple(found), tuple(one for one in candidates if one.at not in near), alike, own)


def weekdays(figures: Floats, days: Integers) -> tuple[float, ...]:
    """By how much Monday to Sunday lie above their mean; empty where they do not differ, or less than WEEKS are seen.

    Weekdays that are never measured count as none, and days with others missing around them tell nothing.
    """
    seen, runs = np.unique(days, return_inverse=True)
    of_day = np.full(int(seen[-1] - seen[0]) + 1, np.nan)
    of_day[seen - seen[0]] = np.bincount(runs, figures) / np.bincount(runs)
    weekday = (np.arange(of_day.size) + seen[0] + THURSDAY) % WEEK
    usual = np.array([np.isfinite(of_day[weekday == day]).sum() >= WEEKS for day in range(WEEK)])
    if usual.sum() < 2 or of_day.size < WEEK * WEEKS:
        return ()
    usual_days = np.where(usual[weekday], of_day, np.nan)
    weeks = np.lib.stride_tricks.sliding_window_view(usual_days, WEEK)
    means = np.where(np.isfinite(weeks).sum(axis=1) == usual.sum(), np.nansum(weeks, axis=1) / usual.sum(), np.nan)
    distances = usual_days - means[np.clip(np.arange(usual_days.size) - WEEK // 2, 0, means.size - 1)]
    groups = [one[np.isfinite(one)] for one in (distances[weekday == day] for day in np.flatnonzero(usual))]
    if min(map(len, groups)) < WEEKS or not _differ(groups):
        return ()
    own = np.zeros(WEEK)
    own[usual] = [np.median(one) for one in groups]
    own[usual] -= own[usual].mean()
    return tuple(own.tolist())


def without(figures: Floats, days: Integers, own: Sequence[float]) -> Floats:
    """The same with what is the weekdays' own taken off."""
    return figures - np.array(own)[(days + THURSDAY) % WEEK] if own else figures


def _differ(groups: Sequence[Floats]) -> bool:
    """Return whether groups differ, by Kruskal and Wallis's test with its correction for ties."""
    from scipy.stats import kruskal  # type: ignore[import-untyped, unused-ignore]  # takes a third of a second

    # equal values may differ in their last digits: they are distances from means
    rounded = [one.round(12) for one in groups]
    return bool(np.ptp(np.concatenate(rounded))) and float(kruskal(*rounded).pvalue) < LEVEL


def autocorrelation(figures: Floats, places: Sequence[int]) -> float:
    """How alike neighbours are, from 0 to ALIKE_MOST, where the level may have changed at these places."""
    # by differences, of those that do not reach across a place
    one, two = ((figures[by:] - figures[:-by]) ** 2 for by in (1, 2))
    at = np.array(places, dtype=np.int64)
    near, next_but_one = np.delete(one, at - 1), np.delete(two, np.concatenate([at - 2, at - 1]))
    by_differences = float(next_but_one.mean() / near.mean()) - 1 if near.any() else 0.0
    # by correlation, of neighbours between two places, around their mean
    parts = [part - part.mean() for part in np.split(figures, places)]
    by_correlation = 0.0
    if squares := sum(float((part**2).sum()) for part in parts):
        found = sum(float((part[1:] * part[:-1]).sum()) for part in parts) / squares
        by_correlation = found + (1 + 3 * max(found, 0.0)) * len(parts) / figures.size
    mean = (by_differences + by_correlation) / 2
    return float(np.clip(mean + 0.5 / math.sqrt(figures.size), 0.0, ALIKE_MOST))


def levels(figures: Floats, found: Sequence[ChangePoint]) -> list[float]:
    """The mean before the first change, between two of them, and after the last."""
    return [float(part.mean()) for part in np.split(figures, [change.at for change in found])]


def _marked(figures: Floats, variances: Floats, alike: float, among: int, least: float) -> list[ChangePoint]:
    every = windows(figures.size)
    shares = LEVEL / max(YEAR, figures.size) / among / np.bincount(every[:, 2])[every[:, 2]]
    distances, errors, df = _compared(figures, variances, every, alike)
    size = np.abs(distances)
    far = (size > max(least, 0.0)) & (size >= -ndtri(shares / 2) * errors)  # t takes long to compute, and is beyond z
    (first, at, end), distances = every[far].T, distances[far]
    reach = stdtrit(df[far], 1 - shares[far] / 2) * errors[far]
    with np.errstate(divide="ignore"):
        clear = np.abs(distances) / reach
    found = []
    while clear.size and clear.max() > 1:
        here = int(clear.argmax())
        place, d, ends = int(at[here]), float(distances[here]), float(reach[here])
        found.append(ChangePoint(place, d, d - ends, d + ends, place - int(first[here]), int(end[here]) - place))
        clear[(first < place) & (place < end)] = 0.0
    return sorted(found, key=lambda change: change.at)


def _compared(figures: Floats, variances: Floats, every: Integers, alike: float) -> tuple[Floats, Floats, Floats]:
    """Of every comparison after − before, its standard error and the degrees of freedom of that."""
    first, at, end = every.T
    before, after = at - first, end - at
    runs = before + after
    sums = _sum(figures, first, at), _sum(figures, at, end)
    squares = _sum(figures**2, first, end) - sums[0] ** 2 / before - sums[1] ** 2 / after
    costs = _costs(alike)
    between = np.maximum(squares, 0.0) / (runs - 2) * costs * (1 / before + 1 / after)
    within = _sum(variances, first, at) / before**2 + _sum(variances, at, end) / after**2
    return (
        sums[1] / after - sums[0] / before,
        np.sqrt(np.maximum(between, within)),
        np.maximum(DF_LEAST, runs / costs - 2),
    )


def _costs(alike: float) -> float:
    """How many runs say as much as an independent one."""
    return (1 + alike) / (1 - alike)


def _sum(values: Floats, first: Integers, end: Integers) -> Floats:
    reached = np.concatenate([[0.0], np.cumsum(values)])
    total: Floats = reached[end] - reached[first]
    return total


def variance_of(low: float, value: float, high: float) -> float:
    """Variance of the log of a quantile, from its interval of 95 %, whose lower end may be open; 0 of a figure of 0."""
    if not (value > 0 and high < math.inf):
        return 0.0
    ends = (low, high) if low > 0 else (value, high)
    width = math.log(ends[1] / ends[0]) * (1.0 if low > 0 else 2.0)
    return (width / (2 * float(ndtri(0.975)))) ** 2
