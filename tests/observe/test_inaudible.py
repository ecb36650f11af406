"""An agent that takes a call and is not heard: what came instead is said, with what to do."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest

from bench.clock import Arrival
from bench.limits import Limits
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.protocol.audio import PCM16_16K, AudioFormatName
from bench.protocol.base import Binary
from bench.protocol.dialects import DIALECTS
from bench.remedies import remedy_of
from bench.transport.received import Received
from tests.helpers import AT_NS, S, at, build_turn

FORMAT: AudioFormatName = "pcm16@16000"
FRAME_MS, RATE_HZ = 20, 16_000
SAMPLES = RATE_HZ * FRAME_MS // 1_000
RNG = np.random.default_rng(1)
SILENCE = Binary(bytes(2 * SAMPLES))
TEXT = msgspec.json.encode({"kind": "hello"})


def noise() -> Binary:
    """A frame of noise that is always of the same level."""
    return Binary(PCM16_16K.encode(RNG.normal(0, 3_000, SAMPLES).astype(np.int16)))


def voice(number: int) -> Binary:
    """A frame of a voice that never pauses."""
    level = 3_000 + 2_500 * np.sin(number / 3)
    tone = level * np.sin(2 * np.pi * 220 * (np.arange(SAMPLES) + number * SAMPLES) / RATE_HZ)
    return Binary(PCM16_16K.encode(tone.astype(np.int16)))


def ended(frames: Iterable[bytes], *, spoken: bool = True, before: Iterable[bytes] = ()) -> TurnObservation:
    """How a turn ends: frames come every 20 ms, `before` its speech has ended or after; then time passes."""
    limits = Limits(first_delta=12, response=20, turn=60)
    timeline = Timeline(SessionStart(AT_NS, 1, limits, service_responds=True), DIALECTS["pcm"], reply_format=FORMAT)
    timeline.tell(inputs.Connected({"upgrade_done": AT_NS}, {}))
    facts = {"vad": spoken, "greeting": not spoken, "duplex": True, "service_responds": True}
    timeline.tell(inputs.Begun(AT_NS, build_turn(reply_format=FORMAT, speech_format=FORMAT, **facts)))
    place = itertools.count(1)
    for frame in before:
        receive(timeline, next(place), frame)
    if spoken:
        at_ns = at(next(place) * FRAME_MS)
        timeline.tell(inputs.Sent("audio", at_ns, 99, audio_bytes=640, instants={"speech_end": 0}))
    for frame in frames:
        receive(timeline, next(place), frame)
    timeline.expire(AT_NS + 100 * S)
    (turn,) = timeline.take(AT_NS + 200 * S)
    return turn


def receive(timeline: Timeline, number: int, frame: bytes) -> None:
    message = Received(frame, Arrival(at(number * FRAME_MS)), len(frame))
    timeline.received(DIALECTS["pcm"].decode(frame), message)


LIMIT = "nothing audible came within the limit first_delta of 12 s: "
CAUSES = "(silence, even noise, or another format than pcm16@16000)"
WITH_AUDIO = f"{LIMIT}310 messages came with 6.2 s of audio, none of it audible {CAUSES}"


@pytest.mark.parametrize("spoken", [True, False], ids=["answer", "greeting"])
@pytest.mark.parametrize(
    ("frames", "detail", "remedy"),
    [
        ([], f"{LIMIT}no message came", "it takes the call and sends nothing"),
        ([TEXT] * 3, f"{LIMIT}3 messages came, none of them with audio", "it sends messages without audio"),
        ([SILENCE] * 310, WITH_AUDIO, "its audio is never louder than its background"),
        ([noise() for _ in range(310)], WITH_AUDIO, "its audio is never louder than its background"),
    ],
    ids=["nothing", "no audio", "silence", "noise"],
)
def test_what_came_instead_of_a_reply_is_said_with_what_to_do(
    frames: list[bytes], detail: str, remedy: str, spoken: bool
) -> None:
    turn = ended(frames, spoken=spoken)

    assert (turn.outcome, turn.detail) == ("timeout:first_delta", detail)
    assert remedy_of(turn.outcome, turn.detail).startswith(remedy)


def test_what_was_previous_reply_end_the_caller_had_spoken_is_not_what_came_instead() -> None:
    turn = ended([TEXT], before=[SILENCE] * 50)

    assert turn.detail == f"{LIMIT}1 message came, none of them with audio"


def test_a_reply_without_a_pause_is_not_said_to_lack_an_event() -> None:
    turn = ended(voice(number) for number in range(1_200))

    assert (turn.outcome, turn.detail) == (
        "timeout:response",
        "the reply had no silence that ends it (reply_silence_ms) within the limit response of 20 s",
    )
    assert remedy_of(turn.outcome, turn.detail).startswith("it speaks without a silence")
    assert "max_output_tokens" not in remedy_of(turn.outcome, turn.detail)
