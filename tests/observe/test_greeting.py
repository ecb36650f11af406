"""A service that speaks first, and an agent that accepts a call but never becomes audible."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS
from bench.catalogue.outcomes import remedy_of
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.turn_plan import TurnPlan
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.services.gpt_live.events import STARTED
from bench.services.registry import DIALECTS
from bench.wire.audio import G711_ULAW, PCM16_16K, AudioFormatName
from bench.wire.connection import ASSUMED_START_NS, ReceivedMessage
from bench.wire.dialect import BinaryMessage
from tests.helpers import AT_NS, S, at, build_turn, live_audio
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


FORMAT: AudioFormatName = "pcm16@16000"
RATE_HZ = 16_000
SAMPLES = RATE_HZ * FRAME_MS // 1_000
RNG = np.random.default_rng(1)
SILENCE = BinaryMessage(bytes(2 * SAMPLES))
TEXT = msgspec.json.encode({"kind": "hello"})


def noise() -> BinaryMessage:
    """Return a frame of noise. All frames of noise have the same level."""
    return BinaryMessage(PCM16_16K.encode(RNG.normal(0, 3_000, SAMPLES).astype(np.int16)))


def voice(number: int) -> BinaryMessage:
    """Return a frame of a voice that has no pauses. `number` is the position of the frame."""
    level = 3_000 + 2_500 * np.sin(number / 3)
    tone = level * np.sin(2 * np.pi * 220 * (np.arange(SAMPLES) + number * SAMPLES) / RATE_HZ)
    return BinaryMessage(PCM16_16K.encode(tone.astype(np.int16)))


def ended(
    frames: Iterable[bytes], *, spoken: bool = True, before: Iterable[bytes] = ()
) -> TurnObservation:
    """Return a turn that has ended because its deadlines have passed.

    One frame arrives every 20 ms. The frames `before` arrive before the end of the caller's speech,
    and `frames` after it.
    """
    limits = Timeouts(first_delta=12, response=20, turn=60)
    timeline = Timeline(
        SessionStart(AT_NS, 1, limits, service_responds=True), DIALECTS["pcm"], reply_format=FORMAT
    )
    timeline.apply(inputs.Connected({"opened": AT_NS}, {}))
    facts = {
        "vad": spoken,
        "greeting": not spoken,
        "service_responds": True,
    }
    timeline.apply(
        inputs.TurnStarted(AT_NS, build_turn(reply_format=FORMAT, speech_format=FORMAT, **facts))
    )
    place = itertools.count(1)
    for frame in before:
        take_frame(timeline, next(place), frame)
    if spoken:
        at_ns = at(next(place) * FRAME_MS)
        timeline.apply(inputs.Sent("audio", at_ns, 99, audio_bytes=640, instants={"speech_end": 0}))
    for frame in frames:
        take_frame(timeline, next(place), frame)
    timeline.expire(AT_NS + 100 * S)
    (turn,) = timeline.pop_turns(AT_NS + 200 * S)
    return turn


def take_frame(timeline: Timeline, number: int, frame: bytes) -> None:
    message = ReceivedMessage(frame, Arrival(at(number * FRAME_MS)), len(frame))
    timeline.apply(inputs.Received(DIALECTS["pcm"].decode(frame), message))


LIMIT = "no audible audio was received within 12 s (timeout `first_delta`): "
CAUSES = "(silence, even noise, or another format than pcm16@16000)"
WITH_AUDIO = f"{LIMIT}310 messages came with 6.2 s of audio, but none of it is audible {CAUSES}"


@pytest.mark.parametrize("spoken", [True, False], ids=["answer", "greeting"])
@pytest.mark.parametrize(
    ("frames", "detail", "remedy"),
    [
        ([], f"{LIMIT}no message was received", "the agent accepts the call and sends nothing"),
        (
            [TEXT] * 3,
            f"{LIMIT}3 messages came, but none of them has audio",
            "the agent sends messages, but no audio in the form of this dialect",
        ),
        ([SILENCE] * 310, WITH_AUDIO, "the agent's audio is never louder than its background"),
        (
            [noise() for _ in range(310)],
            WITH_AUDIO,
            "the agent's audio is never louder than its background",
        ),
    ],
    ids=["nothing", "no audio", "silence", "noise"],
)
def test_a_timeout_reports_what_arrived_instead_of_a_reply_and_its_remedy(
    frames: list[bytes], detail: str, remedy: str, spoken: bool
) -> None:
    turn = ended(frames, spoken=spoken)

    assert (turn.outcome, turn.detail) == ("timeout:first_delta", detail)
    assert remedy_of(turn.outcome, turn.causes).startswith(remedy)


def test_messages_before_the_end_of_speech_are_not_counted_as_arrived_instead_of_a_reply() -> None:
    turn = ended([TEXT], before=[SILENCE] * 50)

    assert turn.detail == f"{LIMIT}1 message came, but none of them has audio"


TELEPHONE_FORMAT: AudioFormatName = "g711_ulaw"
QUIET_PACKET = BinaryMessage(G711_ULAW.encode(np.zeros(8 * FRAME_MS, np.int16)))


def ended_telephone_call(*turns: Sequence[BinaryMessage]) -> Timeline:
    """Return the timeline of a telephone call whose last turn reached its limit. Each turn
    receives these packets.
    """
    telephone = DIALECTS["sip"]
    timeline = Timeline(
        SessionStart(AT_NS, len(turns), Timeouts(first_delta=12), service_responds=True),
        telephone,
        reply_format=TELEPHONE_FORMAT,
    )
    timeline.apply(inputs.Connected({"opened": AT_NS}, {}))
    place = itertools.count(1)
    for number, packets in enumerate(turns, 1):
        plan = replace(PLAN, number=number, event_prefix=f"turn-{number}-")
        timeline.apply(inputs.TurnStarted(at(next(place) * FRAME_MS), plan))
        for packet in packets:
            message = ReceivedMessage(packet, Arrival(at(next(place) * FRAME_MS)), len(packet))
            timeline.apply(inputs.Received(telephone.decode(packet), message))
    timeline.expire(AT_NS + 100 * S)
    return timeline


@pytest.mark.parametrize(
    ("packets", "outcome", "detail", "remedy"),
    [
        (
            [],
            "timeout:media",
            "no RTP packet with the agreed audio was received",
            "a firewall or NAT drops",
        ),
        (
            [QUIET_PACKET] * 50,
            "timeout:sound",
            "50 packets came with 1.0 s of audio, but none",
            "the agent sends silence",
        ),
    ],
    ids=["no packet", "silence"],
)
def test_a_telephone_call_without_a_sound_has_an_outcome_of_its_own(
    packets: list[BinaryMessage], outcome: str, detail: str, remedy: str
) -> None:
    timeline = ended_telephone_call(packets)
    (turn,) = timeline.pop_turns(AT_NS + 200 * S)

    assert (turn.outcome, timeline.session().outcome) == (outcome, outcome)
    assert turn.detail.startswith(LIMIT + detail)
    assert remedy_of(turn.outcome, turn.causes).startswith(remedy)


def test_a_telephone_call_without_audio_states_which_packets_came_instead() -> None:
    timeline = ended_telephone_call([])
    timeline.apply(inputs.RtpMeasured(70, 0, 0, 0, 90, without_audio="70 duplicates"))
    (turn,) = timeline.pop_turns(AT_NS + 200 * S)
    detail = f"{LIMIT}no RTP packet with the agreed audio was received; in the call: 70 duplicates"

    assert turn.detail == timeline.session().detail == detail


def test_a_telephone_call_that_falls_silent_after_a_sound_was_not_without_a_sound() -> None:
    sent = stream("silence", 0, G711_ULAW, 1)
    size = 8 * FRAME_MS
    samples = sent.samples[: sent.sounds[0][1] + 8_000 * 3]
    heard = [
        BinaryMessage(G711_ULAW.encode(samples[start:][:size]))
        for start in range(0, len(samples) - size, size)
    ]
    timeline = ended_telephone_call(heard, [])
    first, second = timeline.pop_turns(AT_NS + 200 * S)

    assert (first.outcome, second.outcome) == ("ok", "timeout:first_delta")
    assert second.detail == f"{LIMIT}no RTP packet with the agreed audio was received"
    assert remedy_of(second.outcome, second.causes).startswith("the agent stopped sending audio")


def test_a_reply_without_a_pause_times_out_with_its_own_detail() -> None:
    turn = ended(voice(number) for number in range(1_200))

    assert (turn.outcome, turn.detail) == (
        "timeout:response",
        "the reply had no silence that ends it (reply_silence_ms) within 20 s (timeout `response`)",
    )
    assert remedy_of(turn.outcome, turn.causes).startswith("the audio has no silence")
    assert "max_output_tokens" not in remedy_of(turn.outcome, turn.causes)
