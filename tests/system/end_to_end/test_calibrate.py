"""One step of a calibration, really played: is what it says of the machine all there?

How large the errors are depends on what else the machine does, and so does the outcome; nothing is asserted of them.
"""

from __future__ import annotations

import site

import pytest

from bench.cpu import allowed_cores, cores_of
from bench.run.calibration import LoadStep, SessionKind
from rtbench.calibrate.ground_truth import METRICS, OF_CALLS
from rtbench.calibrate.load_steps import CalibrationPlan, LoadStepTiming, run_load_step
from rtbench.load_search import LoadGrid
from tests import forked

SESSIONS = 2
PACES: dict[SessionKind, LoadStepTiming] = {
    "text": LoadStepTiming(1, 4),
    "voice": LoadStepTiming(1, 13),
    "twilio": LoadStepTiming(1, 22),
}
"""Long enough for a turn to begin in them: who talks listens to the reply to its end, and to an agent's greeting."""
SPOKEN = {"end_of_turn_delay", "start_of_speech_delay"}
COMPARED = {"text": {*METRICS} - SPOKEN, "voice": {*METRICS}, "twilio": {*OF_CALLS}}
"""The metrics that the truth can tell."""
ENDS = {
    "text": {"request_sent", "first_audio", "first_transcript", "response_done"},
    "voice": {"speech_end", "first_audio", "first_transcript", "response_done"},
    "twilio": {"speech_end", "first_audible", "barge_in", "barge_in_detected", "barge_in_silent"},
}


@pytest.mark.parametrize("kind", ["text", "voice", "twilio"])
def test_what_a_step_says_of_the_machine_is_all_there(kind: SessionKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtbench.locust_run.subprocess.Popen", forked.Popen)
    monkeypatch.setenv("PYTHONUSERBASE", site.getuserbase())  # as in the environment of what is started
    step = played_step(kind)

    # The metrics that the truth can tell are compared.
    assert set(step.errors) == COMPARED[kind]
    assert all(0 < spread.n <= max(step.turns, SESSIONS) for spread in step.errors.values())

    # The two ends of a figure are told apart.
    assert ENDS[kind] <= set(step.instants)

    # The harness and what it took is there.
    sending = set() if kind == "text" else {"send_delay"}
    assert set(step.load_generator) == {"receive_delay", "timestamp_uncertainty", "event_loop_delay"} | sending
    assert step.events_per_s > 0
    assert (step.us_per_event or 0) > 0
    assert step.simulator_late_p99_ms is not None

    # What is not good has a reason.
    assert (step.result == "pass") == (step.why == "")
    assert step.failed == 0

    # The truth tells of every turn, but where it is not known itself: then the simulator was held up.
    assert step.kind == kind
    assert step.turns > 0
    assert step.unmatched <= step.left_out

    # A load that was not there is not called good.
    assert 0 <= step.open <= SESSIONS
    assert step.open == SESSIONS or step.result != "pass"


def played_step(kind: SessionKind) -> LoadStep:
    """Played for longer where the machine is so busy that no turn began."""
    for steady_s in (PACES[kind].steady_s * times for times in (1, 2, 4)):
        plan = CalibrationPlan(LoadGrid(SESSIONS, SESSIONS), LoadStepTiming(PACES[kind].ramp_s, steady_s), steady_s)
        step = run_load_step(kind, SESSIONS, plan, cores_of(allowed_cores()), tls=kind == "voice")
        if step.turns:
            break
    return step
