"""A service that speaks first: how long its caller waits for that, from connecting on."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest

from bench.clock import Arrival
from bench.limits import Limits
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.onsets import ERRORS_NS
from bench.observe.timeline import Timeline
from bench.plan.turn_plan import TurnPlan
from bench.protocol.audio import G711_ULAW
from bench.protocol.gpt_live import GPT_LIVE, STARTED
from bench.transport.received import Received
from bench.units import NS_PER_MS
from benchmarks.onsets import FRAME_MS, stream
from tests.helpers import AT_NS, at

JITTER_MS = 50
READY_MS = 20
PLAN = TurnPlan(
    1, "greeting", "turn-1-", "turn-1-request", speech_format="g711_ulaw", reply_format="g711_ulaw",
    jitter_buffer_ns=JITTER_MS * NS_PER_MS, duplex=True, greeting=True,
)  # fmt: skip


def called() -> Timeline:
    """A call that was just answered, whose caller waits for a greeting."""
    timeline = Timeline(SessionStart(AT_NS, 1, Limits(), service_responds=True), GPT_LIVE, reply_format="g711_ulaw")
    timeline.tell(inputs.Connected({"upgrade_done": at(10)}, {}))
    receive(timeline, READY_MS, f'{{"type":"{STARTED}","session":{{"id":"s"}}}}'.encode())
    timeline.tell(inputs.Begun(at(READY_MS), PLAN))
    return timeline


def receive(timeline: Timeline, at_ms: float, data: bytes) -> None:
    message = Received(data, Arrival(at(at_ms)), len(data))
    timeline.received(GPT_LIVE.decode(data), message)


def hear(timeline: Timeline, samples: np.ndarray, after_ms: float = 0) -> None:
    """Hear these samples in frames, from so long after the session is ready on."""
    size = 8 * FRAME_MS
    for number in range(len(samples) // size):
        audio = base64.b64encode(G711_ULAW.encode(samples[number * size :][:size])).decode()
        delta = f'{{"type":"session.output_audio.delta","delta":"{audio}"}}'.encode()
        receive(timeline, READY_MS + after_ms + (number + 1) * FRAME_MS, delta)


@pytest.mark.parametrize(("behind", "level_db"), [("silence", 0), ("a room", 20)])
def test_a_greeting_is_heard_from_its_first_audible_sample_on(behind: str, level_db: float) -> None:
    said = stream(behind, level_db, G711_ULAW, 1)
    begin, end = said.sounds[0]
    timeline = called()
    hear(timeline, said.samples[: end + 8_000 * 2])
    (turn,) = timeline.take(at(60_000))

    frame, place = divmod(begin, 8 * FRAME_MS)
    heard_ms = READY_MS + (frame + 1) * FRAME_MS + place / 8 + JITTER_MS
    off_ns = abs(timeline.session().metrics_ns()["greeting"] - heard_ms * NS_PER_MS)
    bound_ns = timeline.session().errors_ns["greeting_audible"]
    assert (turn.outcome, turn.measured_from) == ("ok", None)
    assert off_ns <= bound_ns + 1
    assert (bound_ns == 0) is (behind == "silence")
    assert bound_ns in {0, *(error_ns for _, error_ns in ERRORS_NS)}


def test_a_service_that_does_not_greet_is_waited_for_as_long_as_for_a_first_delta() -> None:
    timeline = called()
    hear(timeline, np.zeros(8_000, np.int16))
    timeline.expire(at(READY_MS) + int(Limits().first_delta * 1_000) * NS_PER_MS)
    (turn,) = timeline.take(at(60_000))

    assert turn.outcome == "timeout:first_delta"
    assert "greeting" not in timeline.session().metrics_ns()


@pytest.mark.parametrize(("behind", "level_db"), [("silence", 0), ("a room", 20)])
def test_a_reply_that_is_interrupted_falls_silent_with_its_last_sound(behind: str, level_db: float) -> None:
    """And not with the stream, which goes on; in noise as soon as the voice cannot be told from it."""
    said = stream(behind, level_db, G711_ULAW, 1)
    (begin, end), *_ = said.sounds
    interrupted_ms = READY_MS + (begin + end) / 2 / 8
    timeline = Timeline(SessionStart(AT_NS, 2, Limits(), service_responds=True), GPT_LIVE, reply_format="g711_ulaw")
    receive(timeline, READY_MS, f'{{"type":"{STARTED}","session":{{"id":"s"}}}}'.encode())
    timeline.tell(inputs.Begun(at(READY_MS), PLAN))
    samples = said.samples[: end + 8_000 * 2]
    half = (begin + end) // 2 // (8 * FRAME_MS) * 8 * FRAME_MS
    hear(timeline, samples[:half])
    timeline.tell(inputs.InterruptionAwaited("speech"))
    spoken = replace(PLAN, number=2, event_prefix="turn-2-", vad=True, greeting=False)
    timeline.tell(inputs.Begun(at(interrupted_ms), spoken))
    timeline.tell(inputs.Sent("session.input_audio.append", at(interrupted_ms), 9, instants={"speech_start": 0}))
    hear(timeline, samples[half:], after_ms=half / 8)
    (turn,) = timeline.take(at(60_000))

    frame, place = divmod(end, 8 * FRAME_MS)
    silent_ms = READY_MS + (frame + 1) * FRAME_MS + place / 8 + JITTER_MS
    assert turn.outcome == "interrupted"
    assert abs(turn.instants["barge_in_silent"] - at(silent_ms)) <= (0 if behind == "silence" else 130) * NS_PER_MS + 1
    assert turn.instants["barge_in_last_audio"] <= turn.instants["barge_in_silent"]
    assert turn.overlap_ns == turn.instants["barge_in_silent"] - at(interrupted_ms)
    assert turn.metrics_ns()["barge_in_yield"] == turn.instants["barge_in_silent"] - at(interrupted_ms)
