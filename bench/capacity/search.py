"""Chooses the levels of a search, and shares out over them what it may spend, time and the chance of an error; pure.

The load is doubled until a level breaks. Levels may stay undecided, so two gaps are narrowed then, each by halving it
on a logarithmic scale: the one above the highest level that holds, and the one below the lowest that breaks. What time
is left goes to levels that stayed undecided between the two: the one in their middle is played again, for longer, and
so on above or below it. At last the highest level that holds is played once more, for longer: the hold.

Below the first level the load is halved where that seems to break. Where it stays undecided though it seems to hold, it
had too few calls to be decided, and lower ones have fewer.

With time left and an answer that is not as precise as was asked for, levels that stayed undecided are played on: each
once more, by itself, in all the time that is left but for the hold. Of one load that is the question itself this is the
first time already. Such a level is given up only where its own time can hardly decide it.

A level that our own generator could not play, or whose run crashed, says nothing of the service. It is played once
more, for what else runs on a machine makes figures worse and never better; then the ladder stays below it.

A level may take an equal share of what is left, by the number of levels that may still come; the hold counts as two.
What a level leaves over goes to those that follow. What a level may spend depends on earlier ones alone, so the errors
of all together stay below ERROR, whatever the way of the search (Bonferroni's inequality, level by level given those
before it).

Within a level there are looks at fixed parts t of its time. By a look a·t² of the level's error a is spent, so the
look has the error a·(t² − t_before²): the spending function of `reports.statistics.looks` (Lan, DeMets, "Discrete
sequential boundaries for clinical trials", 1983), and again Bonferroni's inequality over looks instead of its
integration, which assumes normal figures; a few failures are not.

What a search is and what it came to is described here as capacity.json has it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal, NamedTuple

import msgspec

from bench.load_search import TRIES, between, bounds

SCHEMA_VERSION = 2
Answer = Literal["pass", "fail", "inconclusive", "load_generator", "crashed"]
"""What a level came to: two that say nothing of the service, for our own generator or its run was the limit."""
LoadUnit = Literal["concurrency", "arrival_rate"]
"""What levels are counted in: calls at a time, or calls that arrive in a minute."""
EdgeKind = Literal["latency", "failures", "quota"]
Ended = Literal["precision_reached", "max_reached", "time", "budget", "load_generator", "crashed", "interrupted"]
"""What ended a search: both gaps are narrow; the largest level holds; there was no time or money left; our own
generator could do no more, or its runs crashed; somebody ended it."""


class Interval(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval; null for what is not known, and for an open end."""

    value: float | None
    low: float | None
    high: float | None


class SloShare(msgspec.Struct, frozen=True):
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


class LevelOutcome(msgspec.Struct, frozen=True):
    """A level and what it came to. `load`: calls at a time, or calls a minute. `run`: its run folder, "" without one.

    `length_s`: from the start of its run to the end of its closing. `in_progress`: calls at a time on average.
    `latency_p50`, `wait_p95`: of the metric of the search, in ms. `rate_limits_remaining`: the least share that was
    left of each limit that the service told, in its own words. `usd`: what its tokens cost; null where no price is
    known.
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
    slo_violations: list[SloShare] = []
    latency_p50: Interval = Interval(None, None, None)
    latency_p95: Interval = Interval(None, None, None)
    failure_rate: Interval = Interval(None, None, None)
    rate_limits_remaining: dict[str, float] = {}
    blocked: int = 0
    simulated: bool = False
    workers: int = 1
    usd: float | None = None


class Edge(msgspec.Struct, frozen=True):
    """What the edge of the service is made of, by the lowest level that breaks. `slo`: the one that broke most."""

    kind: EdgeKind
    slo: str
    words: str


class RoughEdge(msgspec.Struct, frozen=True):
    """Where an edge that was not shown seems to lie, by the shares of the levels alone; null for an end not reached."""

    highest_pass: int | None
    lowest_fail: int | None


class SearchPlan(msgspec.Struct, frozen=True):
    """What was asked for. `metric`: whose p50 and p95 are told, "" for each run's main metric.

    `levels_most`: how many levels at most, without the hold and those that are played on; `time_s`: how long they take
    together at most, the hold among them.
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


class Capacity(msgspec.Struct, frozen=True):
    """A search that is over. `holds`: the highest level that holds, `breaks`: the lowest that breaks; null for none.

    `rough`: where the edge seems to lie, where both ends were not shown; null where they were, or no level tells.
    `confirmed`: whether the hold held, null where there was none. `steady`: whether no level contradicts others by more
    than chance; where some do, the ends are those of all levels together. `status`: the exit status; 0 shown, 1 the
    breaking point is lower, 3 undecided, 4 our own generator was the limit.
    """

    schema: int
    date_utc: str
    target: str
    scenario: str
    simulated: bool
    plan: SearchPlan
    levels: list[LevelOutcome]
    highest_pass: int | None
    lowest_fail: int | None
    breaking_point: Edge | None
    rough_estimate: RoughEdge | None
    confirmed: bool | None
    stable: bool
    ended: Ended
    sentence: str
    notes: list[str]
    exit_status: int


def json_of(capacity: Capacity) -> str:
    """capacity.json."""
    return msgspec.json.format(msgspec.json.encode(capacity), indent=2).decode() + "\n"


ABOUT_THE_SERVICE: tuple[Answer, ...] = ("pass", "fail", "inconclusive")


@dataclass(frozen=True)
class LevelLadder:
    """The levels that may be tried, `first` and up to `most`, in calls at a time or calls a minute.

    Where both are one, that level is the question, and nothing below it is tried.

    `precision`: two levels are close enough where one is at most so much larger, 0.1 for 10 %.
    """

    first: int
    max: int
    precision: float = 0.1
    factor: int = 2


class LevelEnd(NamedTuple):
    """The end of one level. `hold`: whether it was the long one that confirms the answer.

    `fair`: whether it seems to hold, by its shares alone, whatever their bounds.
    """

    load: int
    result: Answer
    confirmation_run: bool = False
    fair: bool = False


class Bracket(NamedTuple):
    """What levels have shown. Loads: 0 and None stand for none.

    `holds`: the highest that holds, below all that break; `breaks`: the lowest that breaks; `ceiling`: the lowest that
    was not played as it should be. `undecided`: those between, ascending; `fair`: those of them that seem to hold.
    `top`: the highest tried.
    """

    highest_pass: int = 0
    inconclusive: tuple[int, ...] = ()
    lowest_fail: int | None = None
    ceiling: int | None = None
    top: int = 0
    fair: tuple[int, ...] = ()

    @property
    def upper(self) -> int | None:
        """The load from which on nothing is to be tried."""
        return min((load for load in (self.lowest_fail, self.ceiling) if load is not None), default=None)


class NextLevel(NamedTuple):
    """What is to be played next. `last`: in all the time that is left, for there is nothing else to try."""

    load: int
    confirmation_run: bool
    last: bool = False


def bracket_of(ends: Iterable[LevelEnd]) -> Bracket:
    """What all levels together have shown. A level that held once and broke later breaks."""
    known = list(ends)
    broke = [end.load for end in known if end.result == "fail"]
    telling = {end.load for end in known if end.result in ABOUT_THE_SERVICE}
    played = Counter(end.load for end in known)
    ceilings = [load for load, times in played.items() if times >= TRIES and load not in telling]
    holds, upper = bounds((end.load for end in known if end.result == "pass"), [*broke, *ceilings])
    undecided = tuple(sorted(load for load in telling if load > holds and (upper is None or load < upper)))
    top = max((end.load for end in known), default=0)
    fair = {end.load: end.fair for end in known if end.result in ABOUT_THE_SERVICE}  # the later of two was longer
    fair_ones = tuple(load for load in undecided if fair[load])
    return Bracket(holds, undecided, min(broke, default=None), min(ceilings, default=None), top, fair_ones)


def next_step(ladder: LevelLadder, ends: Iterable[LevelEnd]) -> NextLevel | None:
    """What to play next; None where nothing more is to be learned."""
    known = list(ends)
    if known and known[-1].result not in ABOUT_THE_SERVICE and known[-TRIES:] != [known[-1]] * TRIES:
        return next_step(ladder, known[:-1])
    if any(end.confirmation_run for end in known):
        return None
    bracket = bracket_of(known)
    load = None if _twice(known) else next_level_load(ladder, bracket)
    if load is None and not _is_single(ladder) and (effective_sessions := _worth_repeating(bracket, known)):
        load = effective_sessions[len(effective_sessions) // 2]
    if load is not None:
        return NextLevel(load, confirmation_run=False, last=_is_single(ladder))
    if rest := _to_play_on(ladder, bracket, known):
        return NextLevel(rest[len(rest) // 2], confirmation_run=False, last=True)
    return hold_of(bracket)


def hold_of(bracket: Bracket) -> NextLevel | None:
    """Return the hold; None where nothing holds."""
    return NextLevel(bracket.highest_pass, confirmation_run=True) if bracket.highest_pass else None


def _is_single(ladder: LevelLadder) -> bool:
    """Whether one load is the question."""
    return ladder.first >= ladder.max


def _to_play_on(ladder: LevelLadder, bracket: Bracket, known: Iterable[LevelEnd]) -> tuple[int, ...]:
    """Return the undecided levels that all the time left may decide; none where the answer is precise without them."""
    if (
        bracket.highest_pass
        and bracket.upper is not None
        and _between(ladder, bracket.highest_pass, bracket.upper) is None
    ):
        return ()
    played = Counter(end.load for end in known if end.result in ABOUT_THE_SERVICE)
    most = 1 if _is_single(ladder) else TRIES + 1
    return tuple(load for load in bracket.inconclusive if played[load] < most)


def next_level_load(ladder: LevelLadder, bracket: Bracket) -> int | None:
    """The next level that was not played yet; None where both gaps are narrow."""
    upper, undecided = bracket.upper, bracket.inconclusive
    if not bracket.top:
        return min(ladder.first, ladder.max)
    if _is_single(ladder):
        return None
    if upper is None and bracket.top < ladder.max:
        return min(bracket.top * ladder.factor, ladder.max)
    not_shown = undecided[0] if undecided else upper
    too_few = (
        bool(undecided) and not bracket.highest_pass and (undecided[0] in bracket.fair or undecided[0] < ladder.first)
    )
    if (
        not_shown is not None
        and not too_few
        and (load := _between(ladder, bracket.highest_pass, not_shown)) is not None
    ):
        return load
    return _between(ladder, undecided[-1], upper) if undecided and upper is not None else None


def levels_left(ladder: LevelLadder, ends: Iterable[LevelEnd]) -> int:
    """Return how many levels may come at most before the hold, without those that are played on."""
    known = list(ends)
    bracket = bracket_of(known)
    if _twice(known):
        return len(_worth_repeating(bracket, known)).bit_length()
    return _levels_left(ladder, bracket)


@cache
def _levels_left(ladder: LevelLadder, bracket: Bracket) -> int:
    load = next_level_load(ladder, bracket)
    if load is None and _is_single(ladder):
        return 0
    if load is None:
        return len(bracket.inconclusive).bit_length()  # halved each time
    return 1 + max(_levels_left(ladder, _after(bracket, load, answer)) for answer in ABOUT_THE_SERVICE)


def _after(bracket: Bracket, load: int, answer: Answer) -> Bracket:
    """The bracket once a level between its ends has ended."""
    holds = load if answer == "pass" else bracket.highest_pass
    breaks = load if answer == "fail" else bracket.lowest_fail
    undecided = [*bracket.inconclusive, load] if answer == "inconclusive" else bracket.inconclusive
    inside = sorted(one for one in undecided if holds < one and (answer != "fail" or one < load))
    fair = tuple(one for one in bracket.fair if one in inside)  # that of the level itself is not known
    return Bracket(holds, tuple(inside), breaks, bracket.ceiling, max(bracket.top, load), fair)


def _twice(known: Iterable[LevelEnd]) -> frozenset[int]:
    """The levels that have said something of the service twice: the search for new ones is over then."""
    loads = [end.load for end in known if end.result in ABOUT_THE_SERVICE]
    return frozenset(load for load in loads if loads.count(load) >= TRIES)


def _worth_repeating(bracket: Bracket, known: Iterable[LevelEnd]) -> tuple[int, ...]:
    """The undecided levels that may be decided in more time: those below one that was not have a better chance."""
    again = _twice(known)
    given_up = min((load for load in bracket.inconclusive if load in again), default=None)
    return tuple(load for load in bracket.inconclusive if given_up is None or load < given_up)


def _between(ladder: LevelLadder, low: int, high: int) -> int | None:
    """The load half-way on a logarithmic scale; None where the two are close, or no number lies between."""
    if not low:
        return high // ladder.factor or None
    return between((low, high), 1 + ladder.precision, round(math.sqrt(low * high)))


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
"""Part of a level's measured time from which on it is ended where no answer is to be expected of it."""
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
    return LevelLadder(plan.first, plan.max, plan.precision)


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
    return [
        LevelEnd(level.load, level.result, level.confirmation_run, _is_fair(level.slo_violations)) for level in levels
    ]


def _is_fair(shares: Sequence[SloShare]) -> bool:
    """Whether a level of these shares seems to hold."""
    return bool(shares) and all(share.value is not None and share.value < share.allowed for share in shares)


def level_budget(plan: SearchPlan, levels: Sequence[LevelOutcome], step: NextLevel) -> LevelBudget:
    """The budget of the next level, by what those before it have spent."""
    left_s = plan.time_s - sum(level.duration_s for level in levels)
    error = plan.error - sum(level.error for level in levels)
    usd = None if plan.budget_usd is None else plan.budget_usd - sum(level.usd or 0.0 for level in levels)
    if step.confirmation_run:
        held_s = max(level.duration_s for level in levels if level.load == step.load and level.result == "pass")
        return LevelBudget(min(left_s, max(HOLD_SHARES * held_s, LEAST_S)), error, usd)
    if step.last:
        return LevelBudget(left_s - _hold_s(levels), share(error, 1), usd)
    many = levels_left(ladder_of(plan), ends_of(levels))
    return LevelBudget(min(left_s, max(share(left_s, many), LEAST_S)), share(error, many), usd)


def _hold_s(levels: Sequence[LevelOutcome]) -> float:
    """Return what the hold will take, of the level that holds now; nothing where none does."""
    holds = bracket_of(ends_of(levels)).highest_pass
    of_it = [level.duration_s for level in levels if level.load == holds and level.result == "pass"]
    return max(HOLD_SHARES * max(of_it), LEAST_S) if of_it else 0.0


def step_within(plan: SearchPlan, levels: Sequence[LevelOutcome]) -> tuple[NextLevel, LevelBudget] | None:
    """Return what to play next and what it may spend, be there enough or not; None where nothing is to be learned.

    Where the time left is only enough for the hold, nothing is played on before it. A quick look has no time to play
    several levels again for longer: the first of them has all that is left.
    """
    known, ladder = ends_of(levels), ladder_of(plan)
    step = next_step(ladder, known)
    if step is not None and not step.confirmation_run and plan.time_s < least_time_s(ladder):
        again = any(end.load == step.load and end.result in ABOUT_THE_SERVICE for end in known)
        step = step._replace(last=step.last or again)
    if step is not None and step.last and exhausted(level_budget(plan, levels, step)):
        step = hold_of(bracket_of(known)) or step
    return None if step is None else (step, level_budget(plan, levels, step))


def early_end(plan: SearchPlan, levels: Sequence[LevelOutcome]) -> Ended | None:
    """Why a search ends before its last step; None where it does not."""
    found = step_within(plan, levels)
    return None if found is None else exhausted(found[1])


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
    while (found := step_within(plan, levels)) is not None:
        step, given = found
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
