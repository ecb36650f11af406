"""Plays the loads of a calibration, one after another: what was found decides what is tried next."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.calibrate.conclude import KINDS
from bench.calibrate.ladder import Ladder, StepEnd, longest, next_load
from bench.calibrate.machine import Cores
from bench.calibrate.play import Pace, play
from bench.calibrate.step import step_of
from bench.run.calibration import FIRST_SESSIONS, LoadStep, SessionKind
from reports.statistics.quantiles import floor

AROUND_S = 9
"""What a step takes beside its own time: starting, ending the last turns, closing and reading the run."""


TURN_S: dict[SessionKind, float] = {"listening": 1.2, "talking": 9.0}
"""How long a turn takes, and a little more."""


@dataclass(frozen=True)
class CalibrationPlan:
    """The steps to try, each as long as `pace` has it, or for up to `steady_most_s` if p99 needs more turns."""

    ladder: Ladder
    pace: Pace
    steady_most_s: int

    @property
    def minutes_at_most(self) -> float:
        """How long it takes at most on a machine that carries the first load; minutes."""
        return sum(longest(self.ladder, partial(self._seconds, kind)) for kind in KINDS) / 60

    def _seconds(self, kind: SessionKind, sessions: int) -> float:
        pace = pace_of(self, kind, sessions)
        return pace.ramp_s + pace.steady_s + AROUND_S


def plan_of(most: int, *, quick: bool) -> CalibrationPlan:
    """Plan a calibration.

    `quick`: loads are four times as large from one to the next, nothing is tried between them, and less long.
    """
    if quick:
        return CalibrationPlan(Ladder(FIRST_SESSIONS, most, factor=4, close=4), Pace(3, 8), steady_most_s=8)
    return CalibrationPlan(Ladder(FIRST_SESSIONS, most), Pace(5, 10), steady_most_s=40)


def pace_of(plan: CalibrationPlan, kind: SessionKind, sessions: int) -> Pace:
    """The pace of a step: so long that p99 has the turns that it needs, where that is not too long."""
    needed_s = math.ceil(floor(0.99) * TURN_S[kind] / sessions)
    return replace(plan.pace, steady_s=min(max(needed_s, plan.pace.steady_s), plan.steady_most_s))


def climb(kind: SessionKind, ladder: Ladder, step: Callable[[SessionKind, int], LoadStep]) -> Iterator[LoadStep]:
    """Play the steps of one kind of session, each by `step`."""
    ends: list[StepEnd] = []
    while (sessions := next_load(ladder, ends)) is not None:
        played = step(kind, sessions)
        ends.append(StepEnd(sessions, played.outcome))
        yield played


def played(kind: SessionKind, sessions: int, plan: CalibrationPlan, cores: Cores, *, tls: bool) -> LoadStep:
    """Play one step, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rtbench-calibrate-") as scratch:
        pace = pace_of(plan, kind, sessions)
        return step_of(kind, sessions, play(kind, sessions, pace, cores, Path(scratch), tls=tls), cores.workers)
