"""One real step of a calibration: its result contains all data that it should contain about the
machine.

The size of the errors depends on the load of the machine, and the verdict depends on these errors.
Therefore neither is checked.
"""

from __future__ import annotations

import site

import pytest

from bench.base.cpu import allowed_cores, assign_cores
from bench.record.calibration import LoadStep, SessionKind
from bench.services.names import DialectName
from rtbench.calibrate.ground_truth import METRICS, OF_CALLS
from rtbench.calibrate.load_search import LoadGrid
from rtbench.calibrate.load_steps import CalibrationPlan, LoadStepTiming, run_load_step
from tests import forked
from tests.examples import some

SESSIONS = 2
STEPS: list[tuple[DialectName, SessionKind]] = [
    ("ga", "voice"),
    ("gemini", "voice"),
    ("gemini", "text"),
    ("ga", "text"),
    ("sip", "sip"),
    ("twilio", "twilio"),
]
PACES: dict[SessionKind, LoadStepTiming] = {
    "text": LoadStepTiming(1, 4),
    "voice": LoadStepTiming(1, 13),
    "twilio": LoadStepTiming(1, 22),
    "sip": LoadStepTiming(1, 22),
}
"""The timing of each kind of step, with enough time for a turn to begin.

A caller waits for the end of the previous reply, and of an agent's greeting.
"""
SPOKEN = {"end_of_turn_delay", "start_of_speech_delay", "voice_to_voice"}
COMPARED = {
    "text": {*METRICS} - SPOKEN,
    "voice": {*METRICS},
    "twilio": {*OF_CALLS},
    "sip": {"voice_to_voice"},
}
"""The metrics that the truth log contains."""
NOT_REPORTED = {"end_of_turn_delay", "start_of_speech_delay", "transcript_total"}
"""The metrics that Gemini Live does not have."""
ENDS = {
    "text": {"request_sent", "first_audio", "first_transcript", "response_done"},
    "voice": {"speech_end", "first_audio", "first_transcript", "response_done"},
    "twilio": {"speech_end", "first_audible", "barge_in", "barge_in_detected", "barge_in_silent"},
    "sip": {"speech_end", "first_audible", "barge_in"},
}


@pytest.mark.parametrize(("dialect", "kind"), some(STEPS, 3))
def test_a_real_calibration_step_has_all_its_metrics(
    dialect: DialectName, kind: SessionKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtbench.locust_run.subprocess.Popen", forked.Popen)
    # the processes that the step starts have the same value in their environment
    monkeypatch.setenv("PYTHONUSERBASE", site.getuserbase())
    step = played_step(dialect, kind)

    # The step compares the metrics that the truth log contains.
    assert set(step.errors) == COMPARED[kind] - (NOT_REPORTED if dialect == "gemini" else set())
    assert all(0 < spread.n <= max(step.turns, SESSIONS) for spread in step.errors.values())

    # The two instants of a metric are compared separately.
    assert ENDS[kind] <= set(step.instants)

    # The load generator's own metrics and costs are present.
    sending = set() if kind == "text" else {"send_delay"}
    assert (
        set(step.load_generator)
        == {"receive_delay", "timestamp_uncertainty", "event_loop_delay"} | sending
    )
    assert step.events_per_s > 0
    assert (step.us_per_event or 0) > 0
    assert step.simulator_late_p99_ms is not None

    # A result that is not a pass has a reason.
    assert (step.result == "pass") == (step.why == "")
    assert step.failed == 0

    # The truth log contains every turn, except those during a pause of the simulator.
    assert step.kind == kind
    assert step.turns > 0
    assert step.unmatched <= step.left_out

    # A step without its full load does not pass.
    assert 0 <= step.open <= SESSIONS
    assert step.open == SESSIONS or step.result != "pass"


def played_step(dialect: DialectName, kind: SessionKind) -> LoadStep:
    """Run a step; repeat it with more time if the machine was so busy that no turn began."""
    for steady_s in (PACES[kind].steady_s * times for times in (1, 2, 4)):
        pace = LoadStepTiming(PACES[kind].ramp_s, steady_s)
        plan = CalibrationPlan(LoadGrid(SESSIONS, SESSIONS), pace, steady_s, dialect)
        step = run_load_step(
            kind, SESSIONS, plan, assign_cores(allowed_cores()), tls=kind in ("voice", "sip")
        )
        if step.turns:
            break
    return step
