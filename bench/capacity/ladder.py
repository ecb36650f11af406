"""Chooses the level to try next from how levels ended, and counts how many may still come; pure.

The load is doubled until a level breaks. Levels may stay undecided, so two gaps are narrowed then, each by halving it
on a logarithmic scale: the one above the highest level that holds, and the one below the lowest that breaks. What time
is left goes to levels that stayed undecided between the two: the one in their middle is played again, for longer, and
so on above or below it. At last the highest level that holds is played once more, for longer: the hold.

Below the first level the load is halved. Where that leaves a level undecided it has too few calls to be decided, and
lower ones have fewer.

A level that our own generator could not play, or whose run crashed, says nothing of the service. It is played once
more, for what else runs on a machine makes figures worse and never better; then the ladder stays below it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from bench.load_search import TRIES, between, bounds

Answer = Literal["holds", "breaks", "undecided", "generator", "crashed"]
ABOUT_THE_SERVICE: tuple[Answer, ...] = ("holds", "breaks", "undecided")


@dataclass(frozen=True)
class LevelLadder:
    """The levels that may be tried, `first` and up to `most`, in calls at a time or calls a minute.

    `precision`: two levels are close enough where one is at most so much larger, 0.1 for 10 %.
    """

    first: int
    most: int
    precision: float = 0.1
    factor: int = 2


class LevelEnd(NamedTuple):
    """The end of one level. `hold`: whether it was the long one that confirms the answer."""

    load: int
    answer: Answer
    hold: bool = False


class Bracket(NamedTuple):
    """What levels have shown. Loads: 0 and None stand for none.

    `holds`: the highest that holds, below all that break; `breaks`: the lowest that breaks; `ceiling`: the lowest that
    was not played as it should be. `undecided`: those between, ascending. `top`: the highest tried.
    """

    holds: int = 0
    undecided: tuple[int, ...] = ()
    breaks: int | None = None
    ceiling: int | None = None
    top: int = 0

    @property
    def upper(self) -> int | None:
        """The load from which on nothing is to be tried."""
        return min((load for load in (self.breaks, self.ceiling) if load is not None), default=None)


class NextLevel(NamedTuple):
    """What is to be played next."""

    load: int
    hold: bool


def bracket_of(ends: Iterable[LevelEnd]) -> Bracket:
    """What all levels together have shown. A level that held once and broke later breaks."""
    known = list(ends)
    broke = [end.load for end in known if end.answer == "breaks"]
    ceilings = [end.load for end in known if _silent(known, end.load) >= TRIES]
    holds, upper = bounds((end.load for end in known if end.answer == "holds"), [*broke, *ceilings])
    telling = {end.load for end in known if end.answer in ABOUT_THE_SERVICE}
    undecided = tuple(sorted(load for load in telling if load > holds and (upper is None or load < upper)))
    top = max((end.load for end in known), default=0)
    return Bracket(holds, undecided, min(broke, default=None), min(ceilings, default=None), top)


def _silent(known: Iterable[LevelEnd], load: int) -> int:
    """How often a level has said nothing of the service; 0 where it has said something as well."""
    answers = [end.answer for end in known if end.load == load]
    return 0 if set(answers) & set(ABOUT_THE_SERVICE) else len(answers)


def next_step(ladder: LevelLadder, ends: Iterable[LevelEnd]) -> NextLevel | None:
    """What to play next; None where nothing more is to be learned."""
    known = list(ends)
    if known and known[-1].answer not in ABOUT_THE_SERVICE and known[-TRIES:] != [known[-1]] * TRIES:
        return NextLevel(known[-1].load, known[-1].hold)
    if any(end.hold for end in known):
        return None
    bracket = bracket_of(known)
    load = None if _twice(known) else next_load(ladder, bracket)
    if load is None and (worth := _worth_repeating(bracket, known)):
        load = worth[len(worth) // 2]
    if load is not None:
        return NextLevel(load, hold=False)
    return NextLevel(bracket.holds, hold=True) if bracket.holds else None


def next_load(ladder: LevelLadder, bracket: Bracket) -> int | None:
    """The next level that was not played yet; None where both gaps are narrow."""
    upper, undecided = bracket.upper, bracket.undecided
    if not bracket.top:
        return min(ladder.first, ladder.most)
    if upper is None and bracket.top < ladder.most:
        return min(bracket.top * ladder.factor, ladder.most)
    not_shown = undecided[0] if undecided else upper
    too_few = bool(undecided) and undecided[0] < min(ladder.first, ladder.most) and not bracket.holds
    if not_shown is not None and not too_few and (load := _between(ladder, bracket.holds, not_shown)) is not None:
        return load
    return _between(ladder, undecided[-1], upper) if undecided and upper is not None else None


def levels_left(ladder: LevelLadder, ends: Iterable[LevelEnd]) -> int:
    """How many levels may come at most before the hold."""
    known = list(ends)
    bracket = bracket_of(known)
    if _twice(known):
        return len(_worth_repeating(bracket, known)).bit_length()
    return _levels_left(ladder, bracket)


@cache
def _levels_left(ladder: LevelLadder, bracket: Bracket) -> int:
    load = next_load(ladder, bracket)
    if load is None:
        return len(bracket.undecided).bit_length()  # halved each time
    return 1 + max(_levels_left(ladder, _after(bracket, load, answer)) for answer in ABOUT_THE_SERVICE)


def _after(bracket: Bracket, load: int, answer: Answer) -> Bracket:
    """The bracket once another level has ended."""
    of_answer: dict[Answer, tuple[int | None, ...]] = {
        "holds": (bracket.holds,),
        "undecided": bracket.undecided,
        "breaks": (bracket.breaks,),
        "generator": (bracket.ceiling,) * TRIES,
    }
    known = [LevelEnd(level, kind) for kind, levels in of_answer.items() for level in levels if level]
    return bracket_of([*known, LevelEnd(load, answer)])._replace(top=max(bracket.top, load))


def _twice(known: Iterable[LevelEnd]) -> frozenset[int]:
    """The levels that have said something of the service twice: the search for new ones is over then."""
    loads = [end.load for end in known if end.answer in ABOUT_THE_SERVICE]
    return frozenset(load for load in loads if loads.count(load) >= TRIES)


def _worth_repeating(bracket: Bracket, known: Iterable[LevelEnd]) -> tuple[int, ...]:
    """The undecided levels that may be decided in more time: those below one that was not have a better chance."""
    again = _twice(known)
    given_up = min((load for load in bracket.undecided if load in again), default=None)
    return tuple(load for load in bracket.undecided if given_up is None or load < given_up)


def _between(ladder: LevelLadder, low: int, high: int) -> int | None:
    """The load half-way on a logarithmic scale; None where the two are close, or no number lies between."""
    if not low:
        return high // ladder.factor or None
    return between((low, high), 1 + ladder.precision, round(math.sqrt(low * high)))
