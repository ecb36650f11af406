"""Plays the levels of a search, and shares out what it may spend, time and the chance of an error, over them; pure.

A level may take an equal share of what is left, by the number of levels that may still come; the hold counts as two.
What a level leaves over goes to those that follow. What a level may spend depends on earlier ones alone, so the errors
of all together stay below ERROR, whatever the way of the search (Bonferroni's inequality, level by level given those
before it).

Within a level there are looks at fixed parts t of its time. By a look a·t² of the level's error a is spent, so the
look has the error a·(t² − t_before²): the spending function of `reports.statistics.looks` (Lan, DeMets, "Discrete
sequential boundaries for clinical trials", 1983), and again Bonferroni's inequality over looks instead of its
integration, which assumes normal figures; a few failures are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from bench.capacity.document import Ended, LevelOutcome, SearchPlan
from bench.capacity.ladder import LevelEnd, LevelLadder, NextLevel, levels_left, next_step

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
"""The chance that any answer of a search is wrong."""
LOOKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""When a level is looked at, in parts of its time."""
FUTILE_FROM = 1 / 4
"""From this part of a level's measured time on it is ended where no answer is to be expected of it."""
HOLD_SHARES = 2
"""How many levels the hold counts as."""


class LevelBudget(NamedTuple):
    """The most that a level may spend: seconds until its run is closed, the chance of an error, and money."""

    time_s: float
    error: float
    budget_usd: float | None

    @property
    def load_s(self) -> float:
        return self.time_s - AROUND_S


def ladder_of(plan: SearchPlan) -> LevelLadder:
    """The levels that a search may try."""
    return LevelLadder(plan.first, plan.most, plan.precision)


def least_time_s(ladder: LevelLadder) -> float:
    """How long a search must be allowed to take to come to its end. One that has less is a quick look: it plays levels
    of LEAST_S until its time is over.
    """
    return (levels_left(ladder, []) + HOLD_SHARES) * LEAST_S


def least_ramp_s(load_s: float) -> float:
    """How long users take to start."""
    return max(RAMP_LEAST_S, RAMP_SHARE * load_s)


def ends_of(levels: Sequence[LevelOutcome]) -> list[LevelEnd]:
    """How levels ended."""
    return [LevelEnd(level.load, level.answer, level.hold) for level in levels]


def level_budget(plan: SearchPlan, levels: Sequence[LevelOutcome], step: NextLevel) -> LevelBudget:
    """The budget of the next level, by what those before it have spent."""
    left_s = plan.time_s - sum(level.length_s for level in levels)
    error = plan.error - sum(level.error for level in levels)
    usd = None if plan.budget_usd is None else plan.budget_usd - sum(level.usd or 0.0 for level in levels)
    if step.hold:
        held_s = max(level.length_s for level in levels if level.load == step.load and level.answer == "holds")
        return LevelBudget(min(left_s, max(HOLD_SHARES * held_s, LEAST_S)), error, usd)
    many = levels_left(ladder_of(plan), ends_of(levels))
    return LevelBudget(min(left_s, max(share(left_s, many), LEAST_S)), share(error, many), usd)


def early_end(plan: SearchPlan, levels: Sequence[LevelOutcome]) -> Ended | None:
    """Why a search ends before its last step; None where it does not."""
    step = next_step(ladder_of(plan), ends_of(levels))
    return None if step is None else exhausted(level_budget(plan, levels, step))


def exhausted(given: LevelBudget) -> Ended | None:
    """Why a level is not played: there is no time or no money left; None where it is."""
    if given.budget_usd is not None and given.budget_usd <= 0:
        return "budget"
    return "time" if given.load_s < LEAST_LOAD_S else None


def levels_of(
    plan: SearchPlan,
    levels: list[LevelOutcome],
    played: Callable[[int, NextLevel, LevelBudget], LevelOutcome],
) -> Iterator[LevelOutcome]:
    """Play levels, each by `played` with its number, into `levels`."""
    while (step := next_step(ladder_of(plan), ends_of(levels))) is not None:
        given = level_budget(plan, levels, step)
        if exhausted(given):
            return
        level = played(len(levels) + 1, step, given)
        levels.append(level)
        yield level


def share(left: float, levels_left: int) -> float:
    """What a level may spend of what is left. `levels_left`: this one among them, without the hold."""
    return left / (levels_left + HOLD_SHARES)


def look_errors(error: float) -> tuple[float, ...]:
    """The error of each look at a level, which together may be wrong with a chance of `error`."""
    return tuple(error * (t**2 - before**2) for before, t in pairwise((0.0, *LOOKS)))
