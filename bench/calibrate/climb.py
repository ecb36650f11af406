"""The loads of a calibration, one after another: what was found decides what is tried next."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.calibrate.conclude import KINDS
from bench.calibrate.ladder import Found, Ladder, next_load, steps_at_most
from bench.calibrate.machine import Cores
from bench.calibrate.play import Pace, play
from bench.calibrate.step import step_of
from bench.run.calibration import Kind, Step

FIRST = 100
"""Sessions of the first step."""
AROUND_S = 9
"""What a step takes beside its own time: starting, ending the last turns, closing and reading the run."""


@dataclass(frozen=True)
class Plan:
    """What is tried, and for how long each."""

    ladder: Ladder
    pace: Pace

    @property
    def minutes_at_most(self) -> float:
        each_s = self.pace.ramp_s + self.pace.steady_s + AROUND_S
        return len(KINDS) * steps_at_most(self.ladder) * each_s / 60


def plan_of(most: int, *, quick: bool) -> Plan:
    """`quick`: loads are four times as large from one to the next, nothing is tried between them, and less long."""
    if quick:
        return Plan(Ladder(FIRST, most, factor=4, close=4), Pace(3, 8))
    return Plan(Ladder(FIRST, most), Pace(5, 10))


def climb(kind: Kind, ladder: Ladder, step: Callable[[Kind, int], Step]) -> Iterator[Step]:
    """The steps of one kind; `step` plays one."""
    found: list[Found] = []
    while (sessions := next_load(ladder, found)) is not None:
        played = step(kind, sessions)
        found.append(Found(sessions, played.outcome))
        yield played


def played(kind: Kind, sessions: int, pace: Pace, cores: Cores, *, tls: bool) -> Step:
    """One step, from its files in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rtbench-calibrate-") as scratch:
        return step_of(kind, sessions, play(kind, sessions, pace, cores, Path(scratch), tls=tls), cores.workers)
