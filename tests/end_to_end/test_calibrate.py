"""One step of a calibration, really played: is what it says of the machine all there?

How large the errors are depends on what else the machine does, and so does the outcome; nothing is asserted of them.
"""

from __future__ import annotations

import pytest

from bench.calibrate.climb import CalibrationPlan, played
from bench.calibrate.join import MEASURES
from bench.calibrate.ladder import Ladder
from bench.calibrate.machine import allowed_cores, cores_of
from bench.calibrate.play import Pace
from bench.run.calibration import LoadStep, SessionKind

SESSIONS = 2
PACES: dict[SessionKind, Pace] = {"listening": Pace(1, 4), "talking": Pace(1, 13)}
"""Long enough for a turn to begin in them: who talks listens to the reply to its end."""


@pytest.fixture(scope="module", params=["listening", "talking"])
def step(request: pytest.FixtureRequest) -> LoadStep:
    """Played for longer where the machine is so busy that no turn began."""
    kind: SessionKind = request.param
    for steady_s in (PACES[kind].steady_s * times for times in (1, 2, 4)):
        plan = CalibrationPlan(Ladder(SESSIONS, SESSIONS), Pace(PACES[kind].ramp_s, steady_s), steady_s)
        step = played(kind, SESSIONS, plan, cores_of(allowed_cores()), tls=kind == "talking")
        if step.turns:
            break
    return step


def test_the_measures_that_the_truth_can_tell_are_compared(step: LoadStep) -> None:
    spoken = {"turn_detection", "speech_detected"}

    assert set(step.errors) == (set(MEASURES) if step.kind == "talking" else set(MEASURES) - spoken)
    assert all(0 < spread.n <= step.turns for spread in step.errors.values())


def test_the_two_ends_of_a_figure_are_told_apart(step: LoadStep) -> None:
    begin = "speech_end" if step.kind == "talking" else "requested"

    assert {begin, "first_audio", "first_transcript", "response_done"} <= set(step.instants)


def test_the_harness_and_what_it_took_is_there(step: LoadStep) -> None:
    sending = {"send_lag"} if step.kind == "talking" else set()

    assert set(step.harness) == {"receive_lag", "stamp_error", "hub_delay"} | sending
    assert step.events_per_s > 0
    assert (step.us_per_event or 0) > 0
    assert step.simulator_late_p99_ms is not None


def test_what_is_not_good_has_a_reason(step: LoadStep) -> None:
    assert (step.outcome == "good") == (step.why == "")
    assert step.failed == 0


def test_the_truth_tells_of_every_turn(step: LoadStep) -> None:
    assert step.turns > 0
    assert step.unjoined == 0


def test_a_load_that_was_not_there_is_not_called_good(step: LoadStep) -> None:
    assert 0 <= step.open <= SESSIONS
    assert step.open == SESSIONS or step.outcome != "good"
