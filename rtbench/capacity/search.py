"""A capacity search: its plan and result, as in capacity.json, and the budget of each level. Pure.

`rtbench.load_search` chooses the levels. A level may use an equal share of the remaining time and
error. To compute this share, the remainder is divided by the number of levels that may still come;
the confirmation run counts as two levels. If a level uses less than its share, the later levels get
the rest. The budget of a level depends only on earlier levels. So the errors of all levels together
stay below `ERROR` on any path of the search (Bonferroni's inequality, applied to each level given
the earlier levels).

A level has interim analyses at fixed parts t of its time. They share the error a of the level by
the spending function a·t² of `reports.statistics.group_sequential`: an analysis has a·(t² −
t_before²). The errors of the analyses are added, too (Bonferroni). The usual integration assumes
normal values, and counts of few failures are not normal.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from msgspec import field

from reports.results.json_entries import Count, JsonEntry
from reports.results.value import RATE, Conclusion, Finding, Reason, Result, Value
from reports.statistics.verdicts import SESSIONS
from rtbench.load_search import (
    LevelResult,
    LoadGrid,
    NextLevel,
    bracket_of,
    confirmation_of,
    levels_left,
    next_level,
)

SCHEMA_VERSION = 6
CRASHED = "crashed"
"""The code of the reason for a level whose run crashed. If a level is not evaluated for another
reason, the load generator was its limit.
"""
LoadUnit = Literal["concurrency", "arrival_rate"]
"""The unit of levels: concurrent calls, or arriving calls per minute."""
Ended = Literal[
    "precision_reached", "max_reached", "time", "budget", "load_generator", "crashed", "interrupted"
]
"""The reason why a search ended: its gaps are narrow, its largest level was tried, its time or its
money was used up, the load generator reached its limit, the runs of a level crashed, or the user
ended it.
"""


VIOLATIONS = "violations"
"""The metric of a level whose rate is the share of turns that violated a threshold."""


def unknown(metric: str, statistic: str) -> Value:
    """Return a value of no turns."""
    return Value(target="", metric=metric, statistic=statistic, value=math.nan, n=0, sessions=0)


class LevelEntry(JsonEntry, frozen=True):
    """A level and its result.

    - `load`: the number of concurrent calls, or of calls per minute
    - `result`: not_evaluated if it shows nothing about the service, because the load generator was
      its limit, or because its run crashed
    - `run`: the folder of its run; "" if there is none; of a quick search, those of its ramps
    - `duration_s`: the time from the start of its run until the run was finalized
    - `call_s`: the median duration of its calls, in seconds; null if no call ended
    - `in_progress`: the median of concurrent calls over seconds
    - `throttled`: the planned turns that the service throttled
    - `violations`: for each threshold, the share of turns that violated it against the allowed
      share (`limit`). Each bound is one-sided, at the error of the level's last analysis. `result`
      is that of this threshold alone.
    - `latency_p50`, `latency_p95`: percentiles of the search's metric, in ms, with 95 % intervals
    - `failure_rate`: with a 95 % interval
    - `rate_limits_remaining`: the lowest remaining share of each limit, by the service's name for
      the limit
    - `usd`: the cost of its tokens; null if a price is unknown
    """

    load: int
    confirmation_run: bool
    result: Result
    why: Reason | None
    run: str
    duration_s: float
    error: float
    sessions: int = 0
    turns: int = 0
    call_s: float | None = None
    in_progress: float | None = None
    throttled: Count = 0
    violations: list[Finding] = field(default_factory=list)
    latency_p50: Value = unknown("", "p50")
    latency_p95: Value = unknown("", "p95")
    failure_rate: Value = unknown("failure_rate", RATE)
    rate_limits_remaining: dict[str, float] = field(default_factory=dict)
    blocked: int = 0
    simulated: bool = False
    workers: int = 1
    usd: float | None = None

    @property
    def is_evaluated(self) -> bool:
        return self.result != "not_evaluated"

    @property
    def crashed(self) -> bool:
        return self.why is not None and self.why.code == CRASHED

    def causes(self, share: Finding) -> dict[str, int]:
        """Return the turns that violated a threshold, by cause. Throttled turns are also failed
        ones.
        """
        failed = share.value.failed
        return {
            "slow": share.value.events - failed,
            "failed": failed,
            "throttled": min(self.throttled, failed),
        }


class SearchPlan(JsonEntry, frozen=True):
    """The request of a search.

    - `metric`: the metric for which p50 and p95 are reported; "" for each run's main metric
    - `max_levels`: the maximum number of levels, without the confirmation run and repeated levels
    - `time_s`: the maximum time of all levels together
    - `call_s`: the duration of a call, in seconds, as expected before the search
    """

    by: LoadUnit
    thresholds: list[str]
    metric: str
    first: int
    max: int
    precision: float
    error: float
    time_s: float
    budget_usd: float | None
    max_levels: int
    required: int | None
    call_s: float = 0.0


class CapacityDocument(Conclusion, frozen=True, kw_only=True):
    """The result of a search.

    - `highest_pass`, `lowest_fail`: the loads that the search showed to pass and to fail; null if
      it showed none
    - `breaking_point`: why the lowest failing level failed: latency, failures or quota, and the
      threshold that was violated by the largest factor
    - `estimate`: the answer of a quick search, with its range (`low`, `high`); null for other
      searches
    - `confirmed`: true if the confirmation run passed; null if there was none
    - `stable`: false if levels contradict each other by more than chance; then neither load is
      shown
    - `exit_status`: 0 a load passes, 1 the breaking point is lower, 3 inconclusive, 4 the load
      generator was the limit
    """

    schema: int
    date_utc: str
    target: str
    scenario: str
    simulated: bool
    plan: SearchPlan
    levels: list[LevelEntry]
    highest_pass: int | None
    lowest_fail: int | None
    breaking_point: Reason | None
    estimate: Reason | None = None
    confirmed: bool | None
    stable: bool
    ended: Ended
    notes: list[Reason]


AROUND_S = 15.0
"""The time, in seconds, that a level takes in addition to its load, for start, last turns,
finalizing, and reading."""
RAMP_SHARE = 0.1
RAMP_LEAST_S = 5.0
"""The minimum time of the ramp, in which the users start: a share of the level's time, and seconds.

The sessions that start in it, the first one of each user, do not count.
"""
AFTER_RAMP_S = 1.0
"""The time between the end of the ramp and the end of the warm-up, because Locust starts users
once per second."""
BASE_LEVEL_S = 2 * (RAMP_LEAST_S + AFTER_RAMP_S) + AROUND_S
"""The minimum time of a level with very short calls. Half of its time under load is measured."""
CALLS_IN_SEQUENCE: dict[LoadUnit, float] = {"concurrency": 2.5, "arrival_rate": 1.5}
"""The number of consecutive calls for which a level has time in addition to `BASE_LEVEL_S`.

In a closed loop, the first call of each user does not count. Half a call is a reserve for a longer
ramp. Fewer users than `SESSIONS` make more calls each, because a level is not decided with fewer
sessions.
"""
ERROR = 0.05
"""The maximum probability that any result of a search is wrong."""
ANALYSES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""The times of a level's analyses, as parts of its time under load. The last is the final
analysis."""
FUTILE_FROM = 1 / 4
"""The part of a level's measured time after which the level may end early, if no verdict can be
expected."""
CONFIRMATION_SHARES = 2
"""The time and error of the confirmation run, as a multiple of those of an ordinary level."""


class LevelBudget(NamedTuple):
    """The maximum that a level may use. `time_s` is the time until its run is finalized, `error` a
    probability.

    `min_time_s` is the minimum time of a level. A confirmation run may be short, because its level
    has already passed.
    """

    time_s: float
    error: float
    budget_usd: float | None
    min_time_s: float

    @property
    def load_s(self) -> float:
        return self.time_s - AROUND_S


def allowed_by(share: Finding) -> float:
    """Return the share of turns that may violate a threshold. A search has no relative
    thresholds.
    """
    assert share.limit is not None, f"{share.threshold} is relative"
    return share.limit


def grid_of(plan: SearchPlan) -> LoadGrid:
    return LoadGrid(plan.first, plan.max, plan.precision)


def min_level_s(plan: SearchPlan, levels: Sequence[LevelEntry] = (), load: int = SESSIONS) -> float:
    """Return the minimum time of a level of this load after earlier levels, in seconds.

    It depends on the duration of a call, which is that of the level with the shortest calls. As
    long as this is unknown, it is estimated: that of the plan, and at least twice the time under
    load of the levels. With an estimate, a level never needs more than the time of the search.
    """
    known = [level.call_s for level in levels if level.call_s is not None]
    unfinished = [
        2 * (level.duration_s - AROUND_S) for level in levels if level.result == "inconclusive"
    ]
    call_s = min(known) if known else max([plan.call_s, *unfinished])
    more = max(0.0, SESSIONS / load - 1) if plan.by == "concurrency" else 0.0
    least_s = BASE_LEVEL_S + (CALLS_IN_SEQUENCE[plan.by] + more) * call_s
    return least_s if known else min(least_s, max(plan.time_s, BASE_LEVEL_S))


def min_time_s(plan: SearchPlan, levels: Sequence[LevelEntry] = ()) -> float:
    """Return the time that a search needs for its precision. With less time, a search runs the
    shortest levels.
    """
    return (levels_left(grid_of(plan), []) + CONFIRMATION_SHARES) * min_level_s(plan, levels)


def smallest_first(plan: SearchPlan) -> int:
    """Return the smallest load whose level has its sessions in an equal share of the time; at
    most `SESSIONS`.
    """
    for load in range(1, min(SESSIONS, plan.max)):
        level_count = levels_left(LoadGrid(load, plan.max, plan.precision), [])
        if min_level_s(plan, (), load) <= share(plan.time_s, level_count):
            return load
    return min(SESSIONS, plan.max)


def min_ramp_s(load_s: float) -> float:
    return max(RAMP_LEAST_S, RAMP_SHARE * load_s)


def results_of(levels: Sequence[LevelEntry]) -> list[LevelResult]:
    return [
        LevelResult(
            level.load,
            level.result,
            level.confirmation_run,
            bool(level.violations)
            and all(share.value.value < allowed_by(share) for share in level.violations),
        )
        for level in levels
    ]


def level_budget(plan: SearchPlan, levels: Sequence[LevelEntry], step: NextLevel) -> LevelBudget:
    """Return the budget of the next level: a part of the time and error, and all of the money,
    that are left.
    """
    left_s = plan.time_s - sum(level.duration_s for level in levels)
    error = plan.error - sum(level.error for level in levels)
    usd = (
        None
        if plan.budget_usd is None
        else plan.budget_usd - sum(level.usd or 0.0 for level in levels)
    )
    least_s = min_level_s(plan, levels, step.load)
    if step.confirmation_run:
        return LevelBudget(
            min(left_s, _confirmation_s(levels, step.load, least_s)), error, usd, BASE_LEVEL_S
        )
    if step.last:
        passed = bracket_of(results_of(levels)).highest_pass
        return LevelBudget(
            left_s - _confirmation_s(levels, passed, least_s), share(error, 1), usd, least_s
        )
    level_count = levels_left(grid_of(plan), results_of(levels))
    return LevelBudget(
        min(left_s, max(share(left_s, level_count), least_s)),
        share(error, level_count),
        usd,
        least_s,
    )


def _confirmation_s(levels: Sequence[LevelEntry], load: int, least_s: float) -> float:
    passed = [level.duration_s for level in levels if level.load == load and level.result == "pass"]
    return max(CONFIRMATION_SHARES * max(passed), least_s) if passed else 0.0


def level_within(
    plan: SearchPlan, levels: Sequence[LevelEntry]
) -> tuple[NextLevel, LevelBudget] | None:
    """Return the next level and its budget, even if the budget is too small; None if no level can
    add information.

    If the time left is only enough for the confirmation run, no level is repeated before it. In a
    short search, the first level that is repeated gets all the time left.
    """
    known = results_of(levels)
    step = next_level(grid_of(plan), known)
    if step is not None and not step.confirmation_run and plan.time_s < min_time_s(plan, levels):
        again = any(result.load == step.load and result.is_evaluated for result in known)
        step = step._replace(last=step.last or again)
    if step is not None and step.last and budget_exhausted(level_budget(plan, levels, step)):
        step = confirmation_of(bracket_of(known)) or step
    return None if step is None else (step, level_budget(plan, levels, step))


def stop_reason(plan: SearchPlan, levels: Sequence[LevelEntry]) -> Ended | None:
    following = level_within(plan, levels)
    return None if following is None else budget_exhausted(following[1])


def budget_exhausted(budget: LevelBudget) -> Ended | None:
    """Return why a level cannot run, because no time or no money is left; None if the level can
    run.
    """
    if budget.budget_usd is not None and budget.budget_usd <= 0:
        return "budget"
    return "time" if budget.time_s < budget.min_time_s else None


def run_levels(
    plan: SearchPlan,
    levels: list[LevelEntry],
    run_level: Callable[[int, NextLevel, LevelBudget], LevelEntry],
) -> Iterator[LevelEntry]:
    """Run the levels of a search, append each to `levels`, and yield it. `run_level` gets the
    level's number from 1.
    """
    while (following := level_within(plan, levels)) is not None:
        step, budget = following
        if budget_exhausted(budget):
            return
        level = run_level(len(levels) + 1, step, budget)
        levels.append(level)
        yield level


def share(left: float, levels_left: int) -> float:
    """Return how much of the remaining budget a level may use. `levels_left` does not include
    the confirmation run.
    """
    return left / (levels_left + CONFIRMATION_SHARES)
