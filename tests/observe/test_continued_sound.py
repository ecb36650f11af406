"""A batch of sound and chunks has the result of its inputs one by one.

The other result is that of a detector that decides for each frame whether a reply begins or ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs, reply_detector
from bench.observe.inputs import Received, SessionStart, received_sound
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.reply_detector import ReplyDetector
from bench.observe.timeline import Timeline
from bench.services.registry import DIALECTS
from bench.sound import _blocks_interpreted as interpreted
from bench.sound import blocks
from bench.wire.audio import PCM16_16K, AudioFormatName
from bench.wire.connection import ReceivedMessage, SentChunk
from bench.wire.dialect import BinaryMessage
from tests.examples import thorough
from tests.helpers import AT_NS, build_turn

FORMAT: AudioFormatName = "pcm16@16000"
FRAME_MS = 20
LEVELS = st.sampled_from([0, 0, 40, 3_000, 3_000, 3_000])
"""The levels of the noise that is the agent's audio."""
GAPS_MS = st.sampled_from([*[FRAME_MS] * 12, 0, 60, 99, 150, 400, 1_200])
"""The time between two frames."""
ANY = st.lists(st.tuples(LEVELS, st.integers(1, 40), GAPS_MS), min_size=1, max_size=7)
PAUSED = st.sampled_from([19, 20, 20, 21, 26]).map(
    lambda count: [
        (level, frames, FRAME_MS)
        for level, frames in ((0, 30), (3_000, 20), (0, count), (3_000, 20))
    ]
)
"""A sound, and another one after about `SILENCE_NS`, which ends a reply."""
FRAMES = st.builds(lambda first, rest: first + rest, PAUSED | st.just([]), ANY)
"""The audio: each entry is a level, a number of frames, and the time before the first of them."""
SILENCE_NS = 400 * NS_PER_MS
SPEECH = {"speech_start": 0}, {"speech_end": 0}
INSTANTS = st.lists(st.integers(0, 150), min_size=2, max_size=2).map(sorted)


def frames_of(parts: Sequence[tuple[int, int, int]], odd: int) -> list[tuple[int, bytes]]:
    """Return the frames, each with the time since the one before it. One in `odd` frames has a
    byte more.
    """
    noise, frames = np.random.default_rng(7), list[tuple[int, bytes]]()
    for level, count, gap_ms in parts:
        for number in range(count):
            samples = noise.normal(0, level, PCM16_16K.rate_hz * FRAME_MS // 1_000).astype(np.int16)
            extra = b"\0" if odd and len(frames) % odd == odd - 1 else b""
            frames.append((FRAME_MS if number else gap_ms, PCM16_16K.encode(samples) + extra))
    return frames


class Call:
    """A call in which the caller waits for a greeting, and then speaks."""

    def __init__(self, *, answer_min_ns: int = 0) -> None:
        limits = Timeouts(first_delta=2, next_delta=3, response=20, turn=60)
        start = SessionStart(AT_NS, 2, limits, service_responds=True, reply_silence_ns=SILENCE_NS)
        self.timeline = Timeline(start, DIALECTS["pcm"], reply_format=FORMAT)
        self.timeline.apply(inputs.Connected({"opened": AT_NS}, {}))
        self._facts = {
            "service_responds": True,
            "answer_min_ns": answer_min_ns,
        }
        self._start(AT_NS, greeting=True)

    def _start(self, at_ns: int, **facts: Any) -> None:
        plan = build_turn(reply_format=FORMAT, speech_format=FORMAT, **self._facts, **facts)
        self.timeline.apply(inputs.TurnStarted(at_ns, plan))

    def speak(self, at_ns: int, instants: dict[str, int]) -> None:
        if "speech_start" in instants:
            self._start(at_ns, vad=True)
        self.timeline.apply(inputs.Sent("audio", at_ns, 99, audio_bytes=640, instants=instants))

    def end(self, at_ns: int) -> tuple[list[TurnObservation], SessionObservation]:
        self.timeline.expire(at_ns)
        return self.timeline.pop_turns(at_ns + 60_000 * NS_PER_MS), self.timeline.session()


def always(*_: object) -> bool:
    return True


@thorough
@given(
    kernel=st.sampled_from([blocks.continue_sounds, interpreted.continue_sounds]),
    parts=FRAMES,
    odd=st.sampled_from([0, 0, 7]),
    spoken=INSTANTS,
    cleared=st.sampled_from([0, 0, 25, 90]),
    uncertain=st.sampled_from([0, 0, 11]),
    size=st.integers(1, 6),
    answer_min_ns=st.sampled_from([0, 0, 500 * NS_PER_MS]),
)
def test_a_batch_of_sound_and_chunks_has_the_same_result_as_single_messages(
    kernel: Any,
    parts: list[tuple[int, int, int]],
    odd: int,
    spoken: list[int],
    cleared: int,
    uncertain: int,
    size: int,
    answer_min_ns: int,
) -> None:
    single, several = (Call(answer_min_ns=answer_min_ns) for _ in range(2))
    batch = list[inputs.AnyInput]()

    def settle() -> None:
        with patch.object(reply_detector, "continue_sounds", kernel):
            several.timeline.apply(*batch)
        batch.clear()
        assert single.timeline.playout.until_ns == several.timeline.playout.until_ns
        assert single.timeline.turns.is_answering == several.timeline.turns.is_answering

    def receive(data: bytes, arrival: Arrival) -> None:
        message = ReceivedMessage(data, arrival, len(data))
        events = DIALECTS["pcm"].decode(data)
        # a mock would cost more than the rest
        with patch.object(ReplyDetector, "_is_change", always):
            single.timeline.apply(Received(events, message))
        sound = received_sound(events, message, arrival.at_ns)
        batch.append(sound or Received(events, message))

    at_ns = AT_NS + 100 * NS_PER_MS
    for number, (gap_ms, data) in enumerate(frames_of(parts, odd)):
        at_ns += gap_ms * NS_PER_MS
        chunk = SentChunk(at_ns - 1, 99, 640, 0, 20 * NS_PER_MS)
        single.timeline.apply(chunk)
        batch.append(chunk)
        is_kernel = not uncertain or number % uncertain != 0
        receive(BinaryMessage(data), Arrival(at_ns, 0 if is_kernel else 900, is_kernel))
        if cleared and number % cleared == cleared - 1:
            receive(b'{"event":"clear"}', Arrival(at_ns))
        if number % size == 0:
            settle()
        for instants in (
            instants for place, instants in zip(spoken, SPEECH, strict=True) if place == number
        ):
            settle()
            for call in (single, several):
                call.speak(at_ns, instants)
    settle()

    assert several.end(at_ns + 100_000 * NS_PER_MS) == single.end(at_ns + 100_000 * NS_PER_MS)
