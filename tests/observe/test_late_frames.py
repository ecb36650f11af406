"""Tracks of packets, some of which are late: a reply begins and ends when its own frames are
played.

A player delays each frame, and starts with the first packet. So how late other packets are moves no
sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.observe.inputs import Received
from bench.observe.reply import Reply
from bench.protocols.rtp.jitter import Frame
from bench.protocols.rtp.rtp import OPUS, codec_of_call
from bench.services.openai.track import GA_NARROW_TRACK, GA_TRACK
from bench.wire.audio import Samples
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage, decoder_of
from rtbench_simulator.recorded_replies import first_audible
from tests.examples import thorough
from tests.helpers import Talk, at, created, message
from tests.observe.agent_calls import JITTER_MS, Call
from tests.transport.media.path import FRAME_NS, new_buffer, received

PCMU = "PCMU"
JITTER_BUFFER_NS = JITTER_MS * NS_PER_MS
BEFORE, SILENT, SPOKEN, AFTER = 120, 5, 25, 10
COUNT = BEFORE + SILENT + SPOKEN + AFTER
"""The numbers of packets before the response, and of those of its silence, its voice, and the
silence after it."""
FIRST, LAST = BEFORE + SILENT, BEFORE + SILENT + SPOKEN - 1
"""The numbers of the first and the last packet of the voice."""
ERROR_NS = NS_PER_MS // 4
"""The maximum error of the position of a sound in its packet: that of the codec, and of samples
that are rounded."""
PERIOD = 5
"""The least number of packets from one late packet to the next. More of them are jitter that a
player smooths."""


def voice(rate_hz: int, begins_ms: float) -> Samples:
    """Return the audio of the packets. The voice begins after a part of its first packet, and
    ends with its last.
    """
    samples = np.zeros(COUNT * rate_hz // 50, np.int16)
    start, end = (
        FIRST * rate_hz // 50 + round(begins_ms * rate_hz / 1_000),
        (LAST + 1) * rate_hz // 50,
    )
    buzz = np.where(np.arange(end - start) // (rate_hz // 400) % 2, -6_000, 6_000)
    samples[start:end] = buzz
    return samples


def hear(
    codec_name: str, late_ms: Mapping[int, float], begins_ms: float = 0.0
) -> tuple[Reply, list[Frame]]:
    """Return the reply to a turn, and the frames of its track.

    `late_ms` states how late packets are. All others are late by at most 0.4 ms. The response is
    created before its silence.
    """
    codec, dialect = codec_of_call(codec_name), GA_TRACK if codec_name == OPUS else GA_NARROW_TRACK
    encode = (lambda audio: audio) if codec.encode is None else codec.encode
    samples, size = voice(codec.audio.rate_hz, begins_ms), codec.audio.rate_hz // 50
    buffer, frames = new_buffer(codec, codec.audio), list[Frame]()
    talk, decode = Talk(dialect), decoder_of(dialect)
    name = codec.audio.name
    talk.ask(0, jitter_buffer_ns=JITTER_BUFFER_NS, reply_format=name, speech_format=name)
    for number in range(COUNT):
        if number == BEFORE:
            for data in (created("r1"), message("output_audio_buffer.started", response_id="r1")):
                arrived = ReceivedMessage(data, Arrival(at(number * 20 - 5)), len(data))
                talk.timeline.apply(Received(decode(data), arrived))
        payload = encode(codec.audio.encode(samples[number * size : (number + 1) * size]))
        arrives_ns = at(number * 20 + late_ms.get(number, number % 5 / 10))
        found = buffer.add(
            received(number, arrives_ns, ticks=number * codec.clock_hz // 50, payload=payload)
        )
        for frame in found:
            audio = BinaryMessage(frame.audio)
            arrived = ReceivedMessage(audio, Arrival(frame.at_ns, frame.uncertainty_ns), len(audio))
            talk.timeline.apply(Received(decode(audio), arrived))
        frames += found
    turn = talk.timeline.turns.last
    assert turn is not None
    return turn.reply, frames


LATE = st.lists(st.tuples(st.integers(PERIOD, 2 * PERIOD), st.floats(0, 18)), max_size=8)
"""The number of packets since the late packet before it, or since the start of the response, and
how late it is."""


def lateness(late: list[tuple[int, float]]) -> dict[int, float]:
    numbers = accumulate((after for after, _ in late), initial=BEFORE)
    next(numbers)
    return {number: late_ms for number, (_, late_ms) in zip(numbers, late, strict=True)}


@thorough
@example(codec=PCMU, late=[(0, 18)], begins_ms=0.0)
@example(codec=OPUS, late=[(0, 18)], begins_ms=0.0)
@example(codec=OPUS, late=[], begins_ms=11.96875)  # its first audible samples are deep
@example(codec=PCMU, late=[(5, 12)], begins_ms=5.0)
@given(codec=st.sampled_from([PCMU, OPUS]), late=LATE, begins_ms=st.floats(0, 15))
def test_a_reply_begins_when_the_frame_of_its_sound_is_played(
    codec: str, late: list[tuple[int, float]], begins_ms: float
) -> None:
    reply, frames = hear(codec, lateness(late), begins_ms)
    (heard,) = [item.player for item in reply.items.values()]
    audio = codec_of_call(codec).audio
    begins = first_audible(audio.decode(b"".join(frame.audio for frame in frames)))
    assert begins is not None
    number, begins = divmod(begins, audio.rate_hz // 50)
    true_ns = frames[number].at_ns + begins * NS_PER_S // audio.rate_hz + JITTER_BUFFER_NS

    assert heard.first_audible_ns is not None
    assert abs(heard.first_audible_ns - true_ns) <= ERROR_NS
    assert heard.audible_uncertainty_ns == frames[number].uncertainty_ns
    assert heard.stall_count == 0


@thorough
@example(late=[(0, 18)])
@given(late=LATE)
def test_a_reply_is_silent_when_the_frame_of_its_last_sound_was_played(
    late: list[tuple[int, float]],
) -> None:
    reply, frames = hear(PCMU, lateness(late))
    last = frames[LAST]

    assert reply.silent_from.at_ns == last.at_ns + FRAME_NS + JITTER_BUFFER_NS
    assert reply.silent_from.uncertainty_ns == last.uncertainty_ns
    assert reply.playback_ends_ns == frames[-1].at_ns + FRAME_NS + JITTER_BUFFER_NS


@pytest.mark.parametrize("codec", [PCMU, OPUS])
@pytest.mark.parametrize("late_ms", [2.5, 18])
@pytest.mark.parametrize("number", [BEFORE, FIRST - 1, LAST + 5])
def test_how_late_another_packet_is_moves_no_reply(codec: str, late_ms: float, number: int) -> None:
    regular, _ = hear(codec, {})
    moved, frames = hear(codec, {number: late_ms})
    starts_ns = [
        item.player.first_audible_ns for reply in (regular, moved) for item in reply.items.values()
    ]

    assert starts_ns[0] == starts_ns[1]
    assert regular.silent_from == moved.silent_from
    assert frames[FIRST].at_ns == at(FIRST * 20 + FIRST % 5 / 10)  # its arrival
    assert frames[FIRST].uncertainty_ns <= NS_PER_MS


@pytest.mark.parametrize("late", [0, 7, 39])
def test_an_agent_by_telephone_ends_when_the_frame_of_its_last_sound_was_played(late: int) -> None:
    """The voice has 40 frames, and begins with the first one."""
    buzz = np.where(np.arange(40 * 160) // 20 % 2, -6_000, 6_000).astype(np.int16)
    samples = np.concatenate([buzz, np.zeros(24_000, np.int16)])
    regular = Call("sip").hear(samples, 1_000)
    moved = Call("sip").hear(samples, 1_000, late_ms={late: 15.0})

    for instant, number in (("first_audible", 0), ("last_audible", 39)):
        moved_ns = moved.instants[instant] - regular.instants[instant]
        assert moved_ns == (15 * NS_PER_MS if number == late else 0)
    assert moved.dead_air_ns == regular.dead_air_ns or late == 0
