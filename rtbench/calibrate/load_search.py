"""The search for the load up to which a calibration's values can be trusted. Pure.

The load is multiplied until it fails, then the gap between the highest load that passes and the
lowest one that fails is narrowed by halving it on a logarithmic scale. If already the first load
fails, lower loads are tried, by dividing it.

A try that fails gives no verdict, because other programs make values worse, never better. So the
load is tried once more. If the second try fails, too, only lower loads are tried.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

MAX_TRIES = 2
"""The number of tries of a load whose first try fails."""


class LoadGrid(NamedTuple):
    """The loads that may be tried: `first`, then multiplied by `factor`, up to `max`.

    No load is tried between two loads whose relative distance is at most `precision` (0.1 is 10 %).
    """

    first: int
    max: int
    precision: float = 0.1
    factor: int = 2


class LoadResult(NamedTuple):
    """Whether a try of a load passed."""

    load: int
    passes: bool


def lowest_fail(results: Iterable[LoadResult]) -> int | None:
    """Return the lowest load that fails, from one result of each load; None if none does."""
    return min((result.load for result in results if not result.passes), default=None)


def highest_pass(results: Iterable[LoadResult]) -> int:
    """Return the highest load that passes and is below all loads that fail; 0 if none does."""
    known = list(results)
    upper = lowest_fail(known)
    passes = (result.load for result in known if result.passes)
    return max((load for load in passes if upper is None or load < upper), default=0)


def next_load(grid: LoadGrid, results: Iterable[LoadResult]) -> int | None:
    """Return the load of the next try; None if no try can add information."""
    known = list(results)
    if not known:
        return min(grid.first, grid.max)
    tries = Counter(result.load for result in known)
    passed = {result.load for result in known if result.passes}
    last = known[-1]
    if not last.passes and tries[last.load] < MAX_TRIES:
        return last.load
    each = [LoadResult(load, load in passed) for load in tries]
    low = highest_pass(each)
    high = lowest_fail(each)
    if high is None:
        return min(low * grid.factor, grid.max) if low < grid.max else None
    return None if grid.first >= grid.max else _between(grid, low, high)


def _between(grid: LoadGrid, low: int, high: int) -> int | None:
    """Return the load halfway between two loads on a log scale; None if they are close, or no
    integer is between.
    """
    if not low:
        return high // grid.factor or None
    middle = round(math.sqrt(low * high))
    return middle if high > low * (1 + grid.precision) and low < middle < high else None
