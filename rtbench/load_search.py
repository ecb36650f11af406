"""The search for a load, shared by the calibration and the capacity search, and the plot of its
loads. Pure.

The load is multiplied until a level fails. Levels may be inconclusive, so there are then two gaps:
one above the highest level that passes, and one below the lowest level that fails. Each gap is
narrowed by halving it on a logarithmic scale. The time left is used for the inconclusive levels
between the two gaps: the middle level is repeated for longer, then a level above or below it, and
so on. At the end, the highest level that passes is run again for longer. This is the confirmation
run.

If the first level seems to fail, lower loads are tried, by dividing the load. If the first level is
inconclusive but seems to pass, no lower loads are tried: it had too few calls, and lower levels
have even fewer calls.

If time is left and the answer is less precise than requested, inconclusive levels are repeated once
more. They get all the time left except the time for the confirmation run. If only one load is
tested, its first level already has all the time.

A level gives no verdict if the load generator was its limit or its run crashed. Such a level is
repeated once, because other programs make values worse, never better. After that, the search tries
only lower loads.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from reports.render.markers import colour_class, marker_shape
from reports.render.svg import Plot
from reports.results.value import Result

MAX_TRIES = 2
"""The number of tries of a load whose first try is not evaluated or inconclusive."""
VERDICTS: tuple[Result, ...] = ("pass", "fail", "inconclusive")
"""The results that show something about the service."""


class LoadGrid(NamedTuple):
    """The loads that may be tried: `first`, then multiplied by `factor`, up to `max`.

    No load is tried between two loads whose relative distance is at most `precision` (0.1 is 10 %).
    """

    first: int
    max: int
    precision: float = 0.1
    factor: int = 2

    @property
    def is_single(self) -> bool:
        """True if only one load is tested. No lower load is tried then."""
        return self.first >= self.max


class LevelResult(NamedTuple):
    """The result of one level. `verdict` is "not_evaluated" if it shows nothing.

    `seems_to_pass` is True if the level's shares pass when their bounds are ignored.
    """

    load: int
    verdict: Result
    confirmation_run: bool = False
    seems_to_pass: bool = False

    @property
    def is_evaluated(self) -> bool:
        return self.verdict != "not_evaluated"


class Bracket(NamedTuple):
    """The combined results of all levels. The fields are loads. 0 and None mean that there is no
    such load.

    - `highest_pass` is the highest load that passes and is below all loads that fail.
    - `ceiling` is the lowest load that was not evaluated.
    - `inconclusive` is the inconclusive loads above `highest_pass` and below `upper`, in ascending
      order.
    - `seem_to_pass` is those of them that seem to pass.
    - `highest` is the highest load that was tried.
    """

    highest_pass: int = 0
    inconclusive: tuple[int, ...] = ()
    lowest_fail: int | None = None
    ceiling: int | None = None
    highest: int = 0
    seem_to_pass: tuple[int, ...] = ()

    @property
    def upper(self) -> int | None:
        """The load at or above which no other load is tried; None if there is no such load."""
        return min(
            (load for load in (self.lowest_fail, self.ceiling) if load is not None), default=None
        )


class NextLevel(NamedTuple):
    """The next level. If it is the `last` one, it gets all the time left."""

    load: int
    confirmation_run: bool
    last: bool = False


def bracket_of(results: Iterable[LevelResult]) -> Bracket:
    """Return the combined results of all levels. A load that passed once and failed later fails."""
    known = list(results)
    judged = [result for result in known if result.is_evaluated]
    # if a load was tried twice, the later try was longer and counts
    seems = {result.load: result.seems_to_pass for result in judged}
    tries = Counter(result.load for result in known)
    ceiling = min(
        (load for load, times in tries.items() if times >= MAX_TRIES and load not in seems),
        default=None,
    )
    lowest_fail = min((result.load for result in judged if result.verdict == "fail"), default=None)
    bracket = Bracket(lowest_fail=lowest_fail, ceiling=ceiling, highest=max(tries, default=0))
    upper = math.inf if bracket.upper is None else bracket.upper
    passes = max(
        (result.load for result in judged if result.verdict == "pass" and result.load < upper),
        default=0,
    )
    between = tuple(sorted(load for load in seems if passes < load < upper))
    return bracket._replace(
        highest_pass=passes,
        inconclusive=between,
        seem_to_pass=tuple(load for load in between if seems[load]),
    )


def next_level(grid: LoadGrid, results: Iterable[LevelResult]) -> NextLevel | None:
    """Return the next level; None if no level can add information."""
    known = list(results)
    if known and not known[-1].is_evaluated and known[-MAX_TRIES:] != [known[-1]] * MAX_TRIES:
        return next_level(grid, known[:-1])
    if any(result.confirmation_run for result in known):
        return None
    bracket = bracket_of(known)
    load = None if _doubled(known) else next_new_load(grid, bracket)
    if load is None and not grid.is_single and (again := _worth_repeating(bracket, known)):
        load = again[len(again) // 2]
    if load is not None:
        return NextLevel(load, confirmation_run=False, last=grid.is_single)
    if undecided := _levels_to_continue(grid, bracket, known):
        return NextLevel(undecided[len(undecided) // 2], confirmation_run=False, last=True)
    return confirmation_of(bracket)


def confirmation_of(bracket: Bracket) -> NextLevel | None:
    """Return the confirmation run; None if no level passes."""
    return NextLevel(bracket.highest_pass, confirmation_run=True) if bracket.highest_pass else None


def next_new_load(grid: LoadGrid, bracket: Bracket) -> int | None:
    """Return the next load that has not been tried yet; None if both gaps are narrow."""
    passes = bracket.highest_pass
    upper = bracket.upper
    inconclusive = bracket.inconclusive
    if not bracket.highest:
        return min(grid.first, grid.max)
    if grid.is_single:
        return None
    if upper is None and bracket.highest < grid.max:
        return min(bracket.highest * grid.factor, grid.max)
    above = inconclusive[0] if inconclusive else upper
    too_few_calls = bool(inconclusive and not passes) and (
        above in bracket.seem_to_pass or inconclusive[0] < grid.first
    )
    if (
        above is not None
        and not too_few_calls
        and (load := _between(grid, passes, above)) is not None
    ):
        return load
    return _between(grid, inconclusive[-1], upper) if inconclusive and upper is not None else None


def levels_left(grid: LoadGrid, results: Iterable[LevelResult]) -> int:
    """Return the maximum number of levels before the confirmation run, without one that uses all
    the time left.
    """
    known = list(results)
    bracket = bracket_of(known)
    if _doubled(known):
        return len(_worth_repeating(bracket, known)).bit_length()
    return _levels_left(grid, bracket)


@cache
def _levels_left(grid: LoadGrid, bracket: Bracket) -> int:
    load = next_new_load(grid, bracket)
    if load is None:
        # each level halves the number of inconclusive loads
        return 0 if grid.is_single else len(bracket.inconclusive).bit_length()
    return 1 + max(_levels_left(grid, _after(bracket, load, verdict)) for verdict in VERDICTS)


def _after(bracket: Bracket, load: int, verdict: Result) -> Bracket:
    """Return the bracket after another level with this load and verdict. The load must be in a
    gap of the bracket.
    """
    passes = load if verdict == "pass" else bracket.highest_pass
    fails = load if verdict == "fail" else bracket.lowest_fail
    inconclusive = (
        [*bracket.inconclusive, load] if verdict == "inconclusive" else bracket.inconclusive
    )
    inside = sorted(
        value for value in inconclusive if passes < value and (verdict != "fail" or value < load)
    )
    # whether the new level seems to pass is unknown
    seem = tuple(value for value in bracket.seem_to_pass if value in inside)
    return Bracket(passes, tuple(inside), fails, bracket.ceiling, max(bracket.highest, load), seem)


def _levels_to_continue(
    grid: LoadGrid, bracket: Bracket, known: Iterable[LevelResult]
) -> tuple[int, ...]:
    """Return the inconclusive levels that all the time left may decide; () if the answer is
    already precise.
    """
    passes = bracket.highest_pass
    upper = bracket.upper
    if passes and upper is not None and _between(grid, passes, upper) is None:
        return ()
    tries = Counter(result.load for result in known if result.is_evaluated)
    max_tries = 1 if grid.is_single else MAX_TRIES + 1
    return tuple(load for load in bracket.inconclusive if tries[load] < max_tries)


def _doubled(known: Iterable[LevelResult]) -> frozenset[int]:
    """Return the loads that have two verdicts. If there are such loads, no new loads are tried."""
    verdicts = Counter(result.load for result in known if result.is_evaluated)
    return frozenset(load for load, times in verdicts.items() if times >= MAX_TRIES)


def _worth_repeating(bracket: Bracket, known: Iterable[LevelResult]) -> tuple[int, ...]:
    """Return the inconclusive levels that more time may decide: those below one that was
    repeated in vain.
    """
    again = _doubled(known)
    lowest_undecided = min((load for load in bracket.inconclusive if load in again), default=None)
    return tuple(
        load for load in bracket.inconclusive if lowest_undecided is None or load < lowest_undecided
    )


def _between(grid: LoadGrid, low: int, high: int) -> int | None:
    """Return the load halfway between two loads on a log scale; None if they are close, or no
    integer is between.
    """
    if not low:
        return high // grid.factor or None
    middle = round(math.sqrt(low * high))
    return middle if high > low * (1 + grid.precision) and low < middle < high else None


SYMBOLS = {
    "pass": ("✓", "green"),
    "fail": ("✕", "red"),
    "not_evaluated": ("!", "yellow"),
    **dict.fromkeys(("inconclusive", "simulator_late", "machine_busy"), ("?", "yellow")),
}
"""A mapping from the result of a load, in either search, to its symbol and colour."""


class LoadPoint(NamedTuple):
    """A load in a plot, with the ends of its interval. The line through the loads passes it if
    it is connected.
    """

    x: float
    y: float
    passes: bool
    tip: str
    ends: tuple[float, float] | None = None
    is_connected: bool = True


def draw_curve(plot: Plot, colour: int, points: Sequence[LoadPoint]) -> None:
    """Draw a line through loads, with their intervals and markers. The marker of a load that did
    not pass is hollow.
    """
    style = f"curve {colour_class(colour)}"
    plot.path([(point.x, point.y) for point in points if point.is_connected], style)
    for x, y, passes, tip, ends, _ in points:
        if ends is not None:
            plot.line(x, ends[0], x, ends[1], style)
        look = f"mark{'' if passes else ' open'} {colour_class(colour)}"
        plot.dot(x, y, marker_shape(colour), look, tip=tip)


Columns = Sequence[tuple[str, int]]
"""The columns of a table: (head, width)."""


def row(cells: Iterable[str], columns: Columns) -> str:
    """Return a line of a table."""
    return "".join(cell.rjust(width) for cell, (_, width) in zip(cells, columns, strict=True))


def head_row(columns: Columns) -> str:
    """Return the line above a table."""
    return row((head for head, _ in columns), columns)
