"""Chooses the load to try next, and the one up to which a machine can be trusted, from how steps ended; pure.

The load is multiplied until it is too much, or divided until it is not, and then halved in between. A step that was not
good is played once more before it counts, for noise makes figures worse and never better. One that could not be judged
is taken for too much then: beyond it nothing is known. Where other programs are too busy for the first load, they are
for any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.load_search import TRIES, Bounds, between, bounds
from bench.run.calibration import Outcome

UNJUDGED: frozenset[Outcome] = frozenset({"late", "busy"})


@dataclass(frozen=True)
class Ladder:
    """The loads that may be tried. `first`, `least`, `most`: sessions of a step; `factor`: from one to the next.

    `close`: the ratio between the least load that was too much and the largest good one from which on nothing is tried
    between them.
    """

    first: int
    most: int
    factor: int = 2
    close: float = 1.25
    least: int = 5


class StepEnd(NamedTuple):
    """The end of one step."""

    sessions: int
    outcome: Outcome


def next_load(ladder: Ladder, ends: Sequence[StepEnd]) -> int | None:
    """Sessions of the next step; None where nothing more is to be learned."""
    if not ends:
        return min(ladder.first, ladder.most)
    if _worth_repeating(ends):
        return ends[-1].sessions
    good, too_many = bounds_of(ends)
    if too_many is None:
        return None if good >= ladder.most else min(good * ladder.factor, ladder.most)
    if good:
        return between((good, too_many), ladder.close, int(float(f"{(good + too_many) / 2:.2g}")))  # in two digits
    return None if ends[-1].outcome == "busy" else _less(ladder, too_many)


def _worth_repeating(ends: Sequence[StepEnd]) -> bool:
    last = ends[-1]
    return last.outcome != "good" and sum(step.sessions == last.sessions for step in ends) < TRIES


def bounds_of(ends: Iterable[StepEnd]) -> Bounds:
    """The load up to which every one that was tried was good, and the least that was not; the last try counts."""
    last = {step.sessions: step.outcome for step in ends}
    good = [load for load, outcome in last.items() if outcome == "good"]
    return bounds(good, last.keys() - set(good))


def _less(ladder: Ladder, too_many: int) -> int | None:
    """The next smaller load; None where even the least load was too much."""
    least = min(ladder.least, ladder.first, ladder.most)
    return None if too_many <= least else max(too_many // ladder.factor, least)


def too_much(ends: Iterable[StepEnd]) -> StepEnd | None:
    """The least load that was not good, as it was found last; None where all were."""
    steps = list(ends)
    return next((step for step in reversed(steps) if step.sessions == bounds_of(steps).too_much), None)


def loads(ladder: Ladder, capacity: int) -> list[int]:
    """The loads of the steps on a machine that carries exactly so many sessions."""
    ends: list[StepEnd] = []
    while (load := next_load(ladder, ends)) is not None:
        ends.append(StepEnd(load, "good" if load <= capacity else "bad"))
    return [step.sessions for step in ends]


def longest(ladder: Ladder, seconds: Callable[[int], float]) -> float:
    """Seconds that the ladder takes at most on a machine that carries its first load, where a step takes `seconds`."""
    first = min(ladder.first, ladder.most)
    capacities = range(first, ladder.most + 1, max(1, first // 4))
    return max(sum(map(seconds, loads(ladder, capacity))) for capacity in capacities)
