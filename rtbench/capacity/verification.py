"""The levels that verify the range of a search: their loads, times and errors. Pure.

The load at the lower end of the range should pass, and the load at its upper end should fail. If a
level does not show this, a level further out follows, `MAX_LEVELS` in all. If the user requires a
load, only this load is a level.

Each level has an equal part of the search's error, so the errors of all levels together stay below
it (Bonferroni's inequality, applied to each level given the earlier runs, whose turns do not count
again). If a level uses less than its part of the time, the later levels get the rest.

A level has interim analyses at fixed parts t of its time. They share the error a of the level by
the spending function a·t² of `reports.statistics.group_sequential`: an analysis has a·(t² −
t_before²). The errors of the analyses are added, too (Bonferroni). The usual integration assumes
normal values, and counts of few failures are not normal.
"""

from collections.abc import Sequence
from typing import NamedTuple

from reports.statistics.verdicts import SESSIONS
from rtbench.capacity.document import LevelEntry, SearchPlan

ERROR = 0.05
"""The maximum probability that the result of any level is wrong."""
MAX_LEVELS = 3
FURTHER = 1.5
"""The factor between a level that did not show what it should and the next one."""
MAX_TRIES = 2
"""The number of tries of a load whose first try is not evaluated: other programs make values
worse, never better."""
AROUND_S = 15.0
"""The time, in seconds, that a level takes in addition to its load, for start, last turns,
finalizing, and reading."""
RAMP_SHARE = 0.1
RAMP_LEAST_S = 5.0
"""The minimum time in which the users of a level start: a share of the level's time, and seconds.

The sessions that start in it, the first one of each user, do not count.
"""
AFTER_RAMP_S = 1.0
"""The time between the start of the last user and the end of the warm-up, because Locust starts
users once per second."""
BASE_LEVEL_S = 2 * (RAMP_LEAST_S + AFTER_RAMP_S) + AROUND_S
"""The minimum time of a level with very short calls. Half of its time under load is measured."""
CALLS_IN_SEQUENCE = 2.5
"""The number of consecutive calls for which a level has time in addition to `BASE_LEVEL_S`.

The first call of each user does not count. Half a call is a reserve. Fewer users than `SESSIONS`
make more calls each, because a level is not decided with fewer sessions.
"""
ANALYSES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""The times of a level's analyses, as parts of its time under load. The last is the final
analysis."""
FUTILE_FROM = 1 / 4
"""The part of a level's measured time after which the level may end early, if no verdict can be
expected."""


class Level(NamedTuple):
    """A level to play. `time_s` is the time until its run is finalized, and `error` a probability.
    If it `is_last`, no other level needs its time.
    """

    load: int
    time_s: float
    error: float
    budget_usd: float | None = None
    is_last: bool = False

    @property
    def load_s(self) -> float:
        return self.time_s - AROUND_S


def next_load(plan: SearchPlan, low: int, high: int, levels: Sequence[LevelEntry]) -> int | None:
    """Return the load of the next level; None if no level can add information. `low` and `high`
    are the ends of the range of the ramps; `low` is 0 if no load may pass.
    """
    if len(levels) >= MAX_LEVELS:
        return None
    loads = [level.load for level in levels]
    if levels and levels[-1].result == "not_evaluated":
        return loads[-1] if loads.count(loads[-1]) < MAX_TRIES else None
    if plan.required:
        return None if levels else plan.required
    results = {level.result for level in levels}
    if "pass" not in results:
        below = int(min(loads) / FURTHER) if loads else low
        if below:
            return below
    if "fail" not in results:
        is_beyond = max(loads, default=0) >= high
        above = min(int(max(loads) * FURTHER) if is_beyond else high, plan.max)
        if above not in loads:
            return above
    return None


def min_level_s(load: int, call_s: float) -> float:
    """Return the minimum time of a level, in seconds, if calls last `call_s`."""
    more = max(0.0, SESSIONS / load - 1)
    return BASE_LEVEL_S + (CALLS_IN_SEQUENCE + more) * call_s


def level_within(
    plan: SearchPlan,
    load: int,
    levels: Sequence[LevelEntry],
    left_s: float,
    call_s: float,
    budget_usd: float | None,
) -> Level | None:
    """Return the next level: its part of the time and error that are left, and all of the money;
    None if the time is too short for it.
    """
    most = 1 if plan.required else MAX_LEVELS
    left = max(1, most - len(levels))
    least_s = min_level_s(load, call_s)
    if left_s < least_s:
        return None
    time_s = max(left_s / left, least_s)
    return Level(load, time_s, plan.error / most, budget_usd, is_last=left == 1)


def min_ramp_s(load_s: float) -> float:
    return max(RAMP_LEAST_S, RAMP_SHARE * load_s)
