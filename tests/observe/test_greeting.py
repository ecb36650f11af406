"""A service that speaks first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.timeline import Timeline
from bench.plan.turn_plan import TurnPlan
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.services.gpt_live.events import STARTED
from bench.wire.audio import G711_ULAW
from bench.wire.connection import ASSUMED_START_NS, ReceivedMessage
from tests.helpers import AT_NS, at, live_audio
from tools.benchmarks.onsets import FRAME_MS, stream

JITTER_MS = 50
READY_MS = 20
PLAN = TurnPlan(
    1,
    "greeting",
    "turn-1-",
    "turn-1-request",
    speech_format="g711_ulaw",
    reply_format="g711_ulaw",
    jitter_buffer_ns=JITTER_MS * NS_PER_MS,
    greeting=True,
)


def accepted_call(plan: TurnPlan = PLAN) -> Timeline:
    """Return the timeline of a call that has just been accepted. The caller waits for a
    greeting.
    """
    timeline = Timeline(
        SessionStart(AT_NS, 1, Timeouts(), service_responds=True),
        GPT_LIVE,
        reply_format="g711_ulaw",
    )
    timeline.apply(inputs.Connected({"opened": at(10)}, {}))
    receive(timeline, READY_MS, f'{{"type":"{STARTED}","session":{{"id":"s"}}}}'.encode())
    timeline.apply(inputs.TurnStarted(at(READY_MS), plan))
    return timeline


def receive(timeline: Timeline, at_ms: float, data: bytes) -> None:
    message = ReceivedMessage(data, Arrival(at(at_ms)), len(data))
    timeline.apply(inputs.Received(GPT_LIVE.decode(data), message))


def hear(timeline: Timeline, samples: np.ndarray, after_ms: float = 0) -> None:
    """Receive these samples as frames. The first frame begins `after_ms` after the session is
    ready.
    """
    size = 8 * FRAME_MS
    for number in range(len(samples) // size):
        delta = live_audio(G711_ULAW.encode(samples[number * size :][:size]))
        receive(timeline, READY_MS + after_ms + (number + 1) * FRAME_MS, delta)


@pytest.mark.parametrize(("behind", "level_db"), [("silence", 0), ("a room", 20)])
def test_a_greeting_begins_at_its_first_audible_sample(behind: str, level_db: float) -> None:
    sent = stream(behind, level_db, G711_ULAW, 1)
    begin, end = sent.sounds[0]
    timeline = accepted_call()
    hear(timeline, sent.samples[: end + 8_000 * 2])
    (turn,) = timeline.pop_turns(at(60_000))

    frame, place = divmod(begin, 8 * FRAME_MS)
    heard_ms = READY_MS + (frame + 1) * FRAME_MS + place / 8 + JITTER_MS
    off_ns = abs(timeline.session().metrics_ns()["greeting"] - heard_ms * NS_PER_MS)
    bound_ns = timeline.session().uncertainties_ns["greeting_audible"]
    assert (turn.outcome, turn.measured_from) == ("ok", None)
    assert off_ns <= bound_ns + 1
    assert off_ns <= 1 or behind != "silence"
    assert 30 * NS_PER_MS <= bound_ns <= 160 * NS_PER_MS, "the voice begins with a breathy h"


@pytest.mark.parametrize("later_ms", [0, 35])
def test_later_packets_bound_the_start_of_a_reply_in_the_first_packets_of_a_call(
    later_ms: int,
) -> None:
    """With 60 ms of jitter, the first packet may be later than the uncertainty of its frame
    says.
    """
    sent = stream("silence", 0, G711_ULAW, 1)
    timeline, size = accepted_call(replace(PLAN, answer_min_ns=NS_PER_MS)), 8 * FRAME_MS
    samples = sent.samples[: sent.sounds[0][1] + 8_000 * 2]
    for number in range(len(samples) // size):
        delta = live_audio(G711_ULAW.encode(samples[number * size :][:size]))
        arrival = Arrival(at(READY_MS + (number + 1) * FRAME_MS), ASSUMED_START_NS)
        timeline.apply(
            inputs.Received(GPT_LIVE.decode(delta), ReceivedMessage(delta, arrival, len(delta)))
        )
    start_ns = later_ms * NS_PER_MS
    timeline.apply(
        inputs.RtpMeasured(
            100, 0, 0, 0, 90, start_uncertainty_ns=start_ns, starts_on_arrival=not later_ms
        )
    )
    (turn,) = timeline.pop_turns(at(60_000))

    bound_ns = (turn.onset_uncertainty_ns or 0) + start_ns
    assert turn.instants["answer_audible"] == turn.instants["first_audible"]
    assert (
        turn.uncertainties_ns["first_audible"]
        == turn.uncertainties_ns["answer_audible"]
        == bound_ns
    )
    assert timeline.session().uncertainties_ns["greeting_audible"] == bound_ns


@pytest.mark.parametrize(("behind", "level_db"), [("silence", 0), ("a room", 20)])
def test_an_interrupted_reply_is_silent_after_its_last_sound(behind: str, level_db: float) -> None:
    """The reply ends although the audio stream continues.

    If there is background noise, the reply ends when the voice cannot be distinguished from the
    noise.
    """
    sent = stream(behind, level_db, G711_ULAW, 1)
    (begin, end), *_ = sent.sounds
    interrupted_ms = READY_MS + (begin + end) / 2 / 8
    timeline = Timeline(
        SessionStart(AT_NS, 2, Timeouts(), service_responds=True),
        GPT_LIVE,
        reply_format="g711_ulaw",
    )
    receive(timeline, READY_MS, f'{{"type":"{STARTED}","session":{{"id":"s"}}}}'.encode())
    timeline.apply(inputs.TurnStarted(at(READY_MS), PLAN))
    samples = sent.samples[: end + 8_000 * 2]
    half = (begin + end) // 2 // (8 * FRAME_MS) * 8 * FRAME_MS
    hear(timeline, samples[:half])
    timeline.apply(inputs.InterruptionAwaited("speech"))
    spoken = replace(PLAN, number=2, event_prefix="turn-2-", vad=True, greeting=False)
    timeline.apply(inputs.TurnStarted(at(interrupted_ms), spoken))
    timeline.apply(
        inputs.Sent(
            "session.input_audio.append", at(interrupted_ms), 9, instants={"speech_start": 0}
        )
    )
    hear(timeline, samples[half:], after_ms=half / 8)
    (turn,) = timeline.pop_turns(at(60_000))

    frame, place = divmod(end, 8 * FRAME_MS)
    silent_ms = READY_MS + (frame + 1) * FRAME_MS + place / 8 + JITTER_MS
    assert turn.outcome == "interrupted"
    assert (
        abs(turn.instants["barge_in_silent"] - at(silent_ms))
        <= (0 if behind == "silence" else 130) * NS_PER_MS + 1
    )
    assert turn.instants["barge_in_last_audio"] <= turn.instants["barge_in_silent"]
    assert turn.overlap_ns == turn.instants["barge_in_silent"] - at(interrupted_ms)
    assert turn.metrics_ns()["barge_in_yield"] == turn.instants["barge_in_silent"] - at(
        interrupted_ms
    )
