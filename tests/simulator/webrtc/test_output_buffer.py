"""The simulator's output buffer: each sample leaves at its instant, rounded up to the end of a
frame.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.protocols.rtp.opus_packets import DELAY_NS
from bench.wire.audio import G711_ULAW, PCM16
from rtbench_simulator.services.webrtc.output_buffer import FRAME_NS, OutputBuffer
from tests.examples import thorough

RATE_HZ, FRAME_SAMPLES, SILENCE = G711_ULAW.rate_hz, 160, G711_ULAW.encode(np.zeros(1, np.int16))
START_NS = 7 * NS_PER_S
PIECES = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 700)), min_size=1, max_size=8)
"""(the instant at which audio is due, in ms after the start; its number of samples)."""


@thorough
@given(PIECES)
def test_every_sample_leaves_once_and_in_order(pieces: list[tuple[int, int]]) -> None:
    buffer, sent, ends, expected = OutputBuffer(START_NS), bytearray(), 0, bytearray()
    for number, (due_ms, samples) in enumerate(sorted(pieces)):
        audio = bytes([number + 1]) * samples
        start = max(ends, due_ms * RATE_HZ // 1000)
        expected += SILENCE * (start - ends) + audio
        ends = start + samples
        buffer.add("r", audio, START_NS + due_ms * NS_PER_MS)
    while len(sent) < ends:
        due_ns = buffer.next_ns
        frame = buffer.pop_frame()
        assert frame.due_ns == due_ns == START_NS + (len(sent) // FRAME_SAMPLES + 1) * FRAME_NS
        sent += frame.audio

    assert bytes(sent).rstrip(SILENCE) == bytes(expected)
    assert buffer.pop_frame().audio == SILENCE * FRAME_SAMPLES


def test_the_start_and_the_end_of_a_response_are_reported_in_their_frames() -> None:
    buffer = OutputBuffer(START_NS)
    buffer.add("r", SILENCE * 100 + bytes(100), START_NS + 25 * NS_PER_MS)
    frames = [buffer.pop_frame() for _ in range(2)]
    buffer.finish("r")
    frames += [buffer.pop_frame() for _ in range(2)]

    assert [frame.started for frame in frames] == [(), ("r",), (), ()]
    assert [frame.stopped for frame in frames] == [(), (), ("r",), ()]
    assert [frame.audible_byte for frame in frames] == [None, 140, 0, None]


def test_a_response_begins_with_a_frame_and_is_audible_after_the_delay_of_the_codec() -> None:
    buffer, loud = (
        OutputBuffer(START_NS, PCM16, DELAY_NS),
        PCM16.encode(np.full(480, 9_000, np.int16)),
    )
    buffer.add("r", loud, START_NS + 25 * NS_PER_MS)
    buffer.add("r", loud, START_NS + 25 * NS_PER_MS)
    frames = [buffer.pop_frame() for _ in range(4)]

    assert [frame.audio == loud for frame in frames] == [False, False, True, True]
    assert [frame.audible_byte for frame in frames] == [None, None, 2 * 156, 0]


def test_a_late_piece_follows_the_frames_that_have_left() -> None:
    buffer = OutputBuffer(START_NS)
    buffer.pop_frame()
    buffer.add("r", b"\1" * 10, START_NS)

    assert buffer.pop_frame().audio.startswith(b"\1" * 10)


def test_dropped_audio_ends_the_responses_that_have_begun() -> None:
    buffer = OutputBuffer(START_NS)
    buffer.add("r", bytes(1_000), START_NS)
    buffer.pop_frame()

    assert buffer.clear() == ("r",)
    assert buffer.pop_frame().audio == SILENCE * FRAME_SAMPLES
    assert buffer.clear() == ()
