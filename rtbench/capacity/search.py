"""What a capacity search is and came to, as in capacity.json, and what each of its levels may spend; pure.

`rtbench.load_search` chooses the levels. A level may take an equal share of what is left, by the number of levels that
may still come; the confirmation run counts as two. What a level leaves over goes to those that follow. What a level may
spend depends on earlier ones alone, so the errors of all together stay below ERROR, whatever the way of the search
(Bonferroni's inequality, level by level given those before it).

Within a level there are interim analyses at fixed parts t of its time. By an analysis a·t² of the level's error a is
spent, so it has the error a·(t² − t_before²): the spending function of `reports.statistics.group_sequential` (Lan,
DeMets, "Discrete sequential boundaries for clinical trials", 1983), and again Bonferroni's inequality over analyses
instead of its integration, which assumes normal figures; a few failures are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import msgspec

from rtbench.load_search import (
    VERDICTS,
    LevelResult,
    LoadGrid,
    NextLevel,
    Verdict,
    bracket_of,
    confirmation_of,
    levels_left,
    next_level,
)

SCHEMA_VERSION = 2
Answer = Literal[Verdict, "load_generator", "crashed"]
"""The result of a level. The last two show nothing of the service: the load generator or the run was the limit."""
LoadUnit = Literal["concurrency", "arrival_rate"]
"""What levels are counted in: calls at a time, or calls that arrive in a minute."""
BreakingPointKind = Literal["latency", "failures", "quota"]
Ended = Literal["precision_reached", "max_reached", "time", "budget", "load_generator", "crashed", "interrupted"]
"""What ended a search: both gaps are narrow; the largest level holds; there was no time or money left; our own
generator could do no more, or its runs crashed; somebody ended it."""


class Interval(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval; null for what is not known, and for an open end."""

    value: float | None
    low: float | None
    high: float | None


class SloEntry(msgspec.Struct, frozen=True):
    """The share of turns that missed an objective. `low`, `high`: bounds, each at the error of the level's last look.

    `slow`, `failed`, `throttled`: the turns that missed it, by their cause; those that were throttled also failed.
    `deff`: the design effect of its sessions, and of batches of them.
    """

    slo: str
    allowed: float
    value: float | None
    low: float
    high: float
    turns: int
    sessions: int
    slow: int
    failed: int
    throttled: int
    deff: float = 1.0


class LevelEntry(msgspec.Struct, frozen=True):
    """A level and its result. `load`: concurrent calls, or calls a minute. `run`: its run folder, "" without one.

    `duration_s`: from the start of its run to the end of its closing. `in_progress`: concurrent calls on average.
    `latency_p50`, `latency_p95`: of the metric of the search, in ms. `rate_limits_remaining`: the least share that was
    left of each limit, by the service's name of it. `usd`: what its tokens cost; null if no price is known.
    """

    load: int
    confirmation_run: bool
    result: Answer
    why: str
    run: str
    duration_s: float
    error: float
    sessions: int = 0
    turns: int = 0
    in_progress: float | None = None
    slo_violations: list[SloEntry] = []
    latency_p50: Interval = Interval(None, None, None)
    latency_p95: Interval = Interval(None, None, None)
    failure_rate: Interval = Interval(None, None, None)
    rate_limits_remaining: dict[str, float] = {}
    blocked: int = 0
    simulated: bool = False
    workers: int = 1
    usd: float | None = None


class BreakingPoint(msgspec.Struct, frozen=True):
    """Why the lowest level that fails failed. `slo`: the objective that was missed most."""

    kind: BreakingPointKind
    slo: str
    words: str


class RoughEstimate(msgspec.Struct, frozen=True):
    """An estimate of the breaking point by the shares of the levels alone; null for an end not reached."""

    highest_pass: int | None
    lowest_fail: int | None


class SearchPlan(msgspec.Struct, frozen=True):
    """What was asked for. `metric`: whose p50 and p95 are reported, "" for each run's main metric.

    `max_levels`: how many levels at most, without the confirmation run and those that are played on; `time_s`: how long
    all take together at most.
    """

    by: LoadUnit
    slos: list[str]
    metric: str
    first: int
    max: int
    precision: float
    error: float
    time_s: float
    budget_usd: float | None
    max_levels: int
    required: int | None


class CapacityDocument(msgspec.Struct, frozen=True):
    """A search that is over. `highest_pass`, `lowest_fail`: null for none.

    `rough_estimate`: null if both ends were shown, or no level has a share. `confirmed`: whether the confirmation run
    passed, null if there was none. `stable`: whether no level contradicts another by more than chance; if one does, no
    end is shown. `exit_status`: 0 shown, 1 the breaking point is lower, 3 inconclusive, 4 the load generator was the
    limit.
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
    breaking_point: BreakingPoint | None
    rough_estimate: RoughEstimate | None
    confirmed: bool | None
    stable: bool
    ended: Ended
    sentence: str
    notes: list[str]
    exit_status: int


def json_of(capacity: CapacityDocument) -> str:
    """capacity.json."""
    return msgspec.json.format(msgspec.json.encode(capacity), indent=2).decode() + "\n"


AROUND_S = 15.0
"""What a level takes beside its load: starting, ending the last turns, closing and reading its run."""
RAMP_SHARE, RAMP_LEAST_S = 0.1, 5.0
"""Users start in this part of a level's time; sessions that begin in it, each user's first one, are left out."""
AFTER_RAMP_S = 1.0
"""How much later the warm-up ends: Locust starts users once a second."""
LEAST_LOAD_S = 2 * (RAMP_LEAST_S + AFTER_RAMP_S)
"""The least time under load that a level is worth playing for: half of it is measured."""
LEAST_S = LEAST_LOAD_S + AROUND_S
"""What a level takes at least."""
ERROR = 0.05
"""The chance that any result of a search is wrong."""
LOOKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""The interim analyses of a level, in parts of its time."""
FUTILE_FROM = 1 / 4
"""Part of a level's measured time from which on it is ended if no verdict is to be expected of it."""
CONFIRMATION_SHARES = 2
"""How many levels the confirmation run counts as."""


class LevelBudget(NamedTuple):
    """The most that a level may spend: seconds until its run is closed, the chance of an error, and money."""

    time_s: float
    error: float
    budget_usd: float | None

    @property
    def load_s(self) -> float:
        return self.time_s - AROUND_S


def grid_of(plan: SearchPlan) -> LoadGrid:
    """Return the loads that a search may try."""
    return LoadGrid(plan.first, plan.max, plan.precision)


def least_time_s(grid: LoadGrid) -> float:
    """Return how long a search must be allowed to take to come to its end.

    One that has less is a quick look: it plays levels of LEAST_S until its time is over.
    """
    return (levels_left(grid, []) + CONFIRMATION_SHARES) * LEAST_S


def least_ramp_s(load_s: float) -> float:
    """Return how long users take to start."""
    return max(RAMP_LEAST_S, RAMP_SHARE * load_s)


def results_of(levels: Sequence[LevelEntry]) -> list[LevelResult]:
    """Return the result of each level."""
    return [
        LevelResult(level.load, verdict_of(level), level.confirmation_run, _seems_to_pass(level.slo_violations))
        for level in levels
    ]


def verdict_of(level: LevelEntry) -> Verdict | None:
    """Return what a level says of the service; None for nothing."""
    return next((verdict for verdict in VERDICTS if verdict == level.result), None)


def _seems_to_pass(shares: Sequence[SloEntry]) -> bool:
    return bool(shares) and all(share.value is not None and share.value < share.allowed for share in shares)


def level_budget(plan: SearchPlan, levels: Sequence[LevelEntry], step: NextLevel) -> LevelBudget:
    """Return the budget of the next level, by what those before it have spent."""
    left_s = plan.time_s - sum(level.duration_s for level in levels)
    error = plan.error - sum(level.error for level in levels)
    usd = None if plan.budget_usd is None else plan.budget_usd - sum(level.usd or 0.0 for level in levels)
    if step.confirmation_run:
        return LevelBudget(min(left_s, _confirmation_s(levels, step.load)), error, usd)
    if step.last:
        return LevelBudget(
            left_s - _confirmation_s(levels, bracket_of(results_of(levels)).highest_pass), share(error, 1), usd
        )
    many = levels_left(grid_of(plan), results_of(levels))
    return LevelBudget(min(left_s, max(share(left_s, many), LEAST_S)), share(error, many), usd)


def _confirmation_s(levels: Sequence[LevelEntry], load: int) -> float:
    """Return what the confirmation run of a load takes; 0 if it did not pass."""
    passed = [level.duration_s for level in levels if level.load == load and level.result == "pass"]
    return max(CONFIRMATION_SHARES * max(passed), LEAST_S) if passed else 0.0


def level_within(plan: SearchPlan, levels: Sequence[LevelEntry]) -> tuple[NextLevel, LevelBudget] | None:
    """Return what to play next and what it may spend, be there enough or not; None if nothing is to be learned.

    If the time left is only enough for the confirmation run, nothing is played on before it. A quick look has no time
    to play several levels again for longer: the first of them has all that is left.
    """
    known, grid = results_of(levels), grid_of(plan)
    step = next_level(grid, known)
    if step is not None and not step.confirmation_run and plan.time_s < least_time_s(grid):
        again = any(result.load == step.load and result.verdict is not None for result in known)
        step = step._replace(last=step.last or again)
    if step is not None and step.last and budget_exhausted(level_budget(plan, levels, step)):
        step = confirmation_of(bracket_of(known)) or step
    return None if step is None else (step, level_budget(plan, levels, step))


def stop_reason(plan: SearchPlan, levels: Sequence[LevelEntry]) -> Ended | None:
    """Return why a search ends before its last level; None if it does not."""
    found = level_within(plan, levels)
    return None if found is None else budget_exhausted(found[1])


def budget_exhausted(given: LevelBudget) -> Ended | None:
    """Return why a level is not played: there is no time or no money left; None if it is."""
    if given.budget_usd is not None and given.budget_usd <= 0:
        return "budget"
    return "time" if given.load_s < LEAST_LOAD_S else None


def run_levels(
    plan: SearchPlan, levels: list[LevelEntry], played: Callable[[int, NextLevel, LevelBudget], LevelEntry]
) -> Iterator[LevelEntry]:
    """Play levels, each by `played` with its number, into `levels`."""
    while (found := level_within(plan, levels)) is not None:
        step, given = found
        if budget_exhausted(given):
            return
        level = played(len(levels) + 1, step, given)
        levels.append(level)
        yield level


def share(left: float, levels_left: int) -> float:
    """Return what a level may spend of what is left. `levels_left`: with this one, without the confirmation run."""
    return left / (levels_left + CONFIRMATION_SHARES)


def alpha_per_analysis(error: float) -> tuple[float, ...]:
    """Return the error of each interim analysis of a level, which together may be wrong with a chance of `error`."""
    return tuple(error * (t**2 - before**2) for before, t in pairwise((0.0, *LOOKS)))
