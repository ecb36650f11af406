"""Where the level of a figure changed in the course of many runs, and by how much; pure.

The run is what is counted: an unchanged service differs from run to run by more than its sessions tell. At each place
between two runs the mean of the runs before is held against the mean of those after, with 5, 10, 20 … and with all of
them on either side, five at least. For a of R runs and b of S runs, s² the variance around both means, V_r the
variance of run r from its sessions, and c of how much neighbouring runs say the same:

    SE = max( s·√((1/R + 1/S) · c),  √(mean(V_a)/R + mean(V_b)/S) )     c = (1 + f)/(1 − f)     df = (R + S)/c − 2

A place is marked where |b − a| > t · SE at the level divided by all comparisons that are made, and where a and b lie
farther apart than `least`. The clearest place is marked first, and no window reaches across one that is marked.

f is how alike neighbours are: the mean of two estimates, and half a standard error, 1/(2√n). Of differences between
runs one and two apart E(y₂ − y₀)² / E(y₁ − y₀)² = 1 + f, whatever the level. The correlation r of neighbours around
the means between changes is f as well, but for (1 + 3r)·k/n that k means of n runs take from it (Kendall). What is
marked with f = 0 are the changes here, so that a change is not taken for likeness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

import numpy as np
from scipy.special import ndtri, stdtrit  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.baselines import KNOWN
from reports.statistics.quantiles import Floats, Integers

LEVEL = 0.05
"""Of any mark at all where nothing changed, in all series that are looked at together; two-sided."""
SIDE = KNOWN
"""Runs that there must be on either side of a place: from so many on their spread is known."""
ENOUGH = 2 * SIDE
ALIKE_MOST = 0.9
DF_LEAST = 2.0


@dataclass(frozen=True)
class Change:
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
class Searched:
    """The changes of a series, in its order. `doubtful`: what would be one, were neighbours not `alike`."""

    changes: tuple[Change, ...] = ()
    doubtful: tuple[Change, ...] = ()
    alike: float = 0.0

    def worth(self, runs: int) -> int:
        """As how many independent runs so many count."""
        return round(runs / _costs(self.alike))


@lru_cache(64)
def windows(runs: int) -> Integers:
    """Every comparison of so many runs: rows of (first run before, first run after, one behind the last run after)."""
    widths = [*takewhile(lambda width: width < runs, (SIDE * 2**k for k in range(64))), runs]
    places = range(SIDE, runs - SIDE + 1)
    found = {(max(0, at - width), at, min(runs, at + width)) for at in places for width in widths}
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 3)


def comparisons(runs: int) -> int:
    """How many comparisons a series of so many runs takes part with."""
    return len(windows(runs))


def changes(figures: Floats, variances: Floats, *, among: int, least: float, level: float = LEVEL) -> Searched:
    """Search a series. `figures` and `variances`: of each run, the latter from its sessions.

    `among`: the comparisons of all series that are looked at together, this one's included.
    """
    if figures.size < ENOUGH:
        return Searched()
    centred = figures - figures.mean()
    candidates = _marked(centred, variances, 0.0, among, least, level)
    if not candidates:
        return Searched()
    alike = likeness(centred, [change.at for change in candidates])
    found = _marked(centred, variances, alike, among, least, level)
    near = {change.at + by for change in found for by in range(1 - SIDE, SIDE)}
    return Searched(tuple(found), tuple(one for one in candidates if one.at not in near), alike)


def likeness(figures: Floats, places: Sequence[int]) -> float:
    """How alike neighbours are, from 0 to ALIKE_MOST, where the level may have changed at these places."""
    estimates = _by_differences(figures, places), _by_correlation(figures, places)
    return float(np.clip(sum(estimates) / 2 + 0.5 / math.sqrt(figures.size), 0.0, ALIKE_MOST))


def _by_differences(figures: Floats, places: Sequence[int]) -> float:
    """Of those that do not reach across a place."""
    one, two = ((figures[apart:] - figures[:-apart]) ** 2 for apart in (1, 2))
    at = np.array(places, dtype=np.int64)
    near, next_but_one = np.delete(one, at - 1), np.delete(two, np.concatenate([at - 2, at - 1]))
    return float(next_but_one.mean() / near.mean()) - 1 if near.any() else 0.0


def _by_correlation(figures: Floats, places: Sequence[int]) -> float:
    """Of neighbours between two places, around their mean."""
    parts = [part - part.mean() for part in np.split(figures, places)]
    squares = sum(float((part**2).sum()) for part in parts)
    if not squares:
        return 0.0
    found = sum(float((part[1:] * part[:-1]).sum()) for part in parts) / squares
    return found + (1 + 3 * max(found, 0.0)) * len(parts) / figures.size


def levels(figures: Floats, found: Sequence[Change]) -> list[float]:
    """The mean before the first change, between two of them, and after the last."""
    return [float(part.mean()) for part in np.split(figures, [change.at for change in found])]


def _marked(figures: Floats, variances: Floats, alike: float, among: int, least: float, level: float) -> list[Change]:
    first, at, end = windows(figures.size).T
    before, after = at - first, end - at
    apart = _mean(figures, at, end) - _mean(figures, first, at)
    reach = _reach(figures, variances, (first, at, end), alike, level / among)
    with np.errstate(divide="ignore", invalid="ignore"):
        clear = np.where(np.abs(apart) > max(least, 0.0), np.abs(apart) / reach, 0.0)
    found = []
    while clear.size and clear.max() > 1:
        here = int(clear.argmax())
        d, ends = float(apart[here]), float(reach[here])
        found.append(Change(int(at[here]), d, d - ends, d + ends, int(before[here]), int(after[here])))
        clear[(first < at[here]) & (at[here] < end)] = 0.0
    return sorted(found, key=lambda change: change.at)


def _reach(
    figures: Floats, variances: Floats, window: tuple[Integers, Integers, Integers], alike: float, level: float
) -> Floats:
    """t · SE of every comparison."""
    first, at, end = window
    before, after = at - first, end - at
    runs = before + after
    explained = _sum(figures, first, at) ** 2 / before + _sum(figures, at, end) ** 2 / after
    squares = _sum(figures**2, first, end) - explained
    costs = _costs(alike)
    between = np.maximum(squares, 0.0) / (runs - 2) * costs * (1 / before + 1 / after)
    within = _sum(variances, first, at) / before**2 + _sum(variances, at, end) / after**2
    df = np.maximum(DF_LEAST, runs / costs - 2)
    reach: Floats = stdtrit(df, 1 - level / 2) * np.sqrt(np.maximum(between, within))
    return reach


def _costs(alike: float) -> float:
    """How many runs say as much as an independent one."""
    return (1 + alike) / (1 - alike)


def _sum(values: Floats, first: Integers, end: Integers) -> Floats:
    reached = np.concatenate([[0.0], np.cumsum(values)])
    total: Floats = reached[end] - reached[first]
    return total


def _mean(values: Floats, first: Integers, end: Integers) -> Floats:
    return _sum(values, first, end) / (end - first)


def variance_of(low: float, value: float, high: float) -> float:
    """Of the log of a quantile, from its interval of 95 %, whose lower end may be open; 0 of a figure of 0."""
    if not (value > 0 and high < math.inf):
        return 0.0
    ends = (low, high) if low > 0 else (value, high)
    width = math.log(ends[1] / ends[0]) * (1.0 if low > 0 else 2.0)
    return (width / (2 * float(ndtri(0.975)))) ** 2
