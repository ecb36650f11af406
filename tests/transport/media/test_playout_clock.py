"""Streams of agents as people build them: the instants of frames against a known playout clock.

The clock of a packet is the instant at which it would arrive without jitter. Its sender's
timestamps may be rounded, not count pauses, or be slower than time, and single packets may be
faster than the clock.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS
from bench.protocols.rtp.jitter import Frame, JitterBuffer
from bench.protocols.rtp.offset import BLOCK_PACKETS, SMOOTHED_NS
from bench.protocols.rtp.rtp import RtpReceiver, build_packet
from tests.examples import thorough
from tests.transport.media.path import HOLD_NS, START_NS, audio, new_buffer, number_of

JITTER_MS = 0.1
"""The jitter of a clean path."""


class Sent(NamedTuple):
    """A packet: its clock and its arrival in ms, its timestamp in ticks, and whether it has the
    marker.
    """

    clock_ms: float
    arrives_ms: float
    ticks: int
    marker: bool = False
    ssrc: int = 5


def play(
    packets: list[Sent], lost: frozenset[int] = frozenset()
) -> tuple[list[Frame], JitterBuffer]:
    """Play packets in the order of their arrival. Those of another source have numbers and
    timestamps of their own.
    """
    receiver, buffer, frames = RtpReceiver(8_000, {0}), new_buffer(), list[Frame]()
    order = sorted(
        (sent.arrives_ms, number) for number, sent in enumerate(packets) if number not in lost
    )
    for arrives_ms, number in order:
        _, _, ticks, marker, ssrc = packets[number]
        at_ns = START_NS + int(arrives_ms * NS_PER_MS)
        frames += buffer.expire(at_ns) if buffer.next_ns <= at_ns else []
        data = build_packet(
            0, (number + 1_000 * ssrc) % 65_536, ticks + 7_000 * ssrc, ssrc, audio(number), marker
        )
        packet = receiver.receive(data, Arrival(at_ns))
        frames += [] if packet is None else buffer.add(packet)
    return frames + buffer.expire(START_NS + 10**15), buffer


def heard(frames: list[Frame]) -> Iterator[tuple[int, float, float]]:
    """Yield the number, the instant and the uncertainty in ms of each frame that was received."""
    for frame in frames:
        if frame.payload_bytes and (number := number_of(frame)) is not None:
            yield number, (frame.at_ns - START_NS) / NS_PER_MS, frame.uncertainty_ns / NS_PER_MS


class Part(NamedTuple):
    """A part of a stream of `frames` packets, `period_ms` apart, after a pause that the
    timestamps do not count.
    """

    frames: int
    pause_ms: float = 0.0
    counted_ms: int = 0
    period_ms: float = 20.0
    early_ms: float = 0.0
    """How much faster than the clock the first packet is."""
    rounding: int = 0
    """The largest error of a timestamp in ticks."""
    is_new: bool = False
    """Whether the part is a new source."""
    at_once: int = 1
    """The number of packets that are sent at once, if the sender is not slow."""


def stream(parts: list[Part], seed: int = 1, jitter_ms: float = JITTER_MS) -> list[Sent]:
    chance, packets = random.Random(seed), list[Sent]()
    at_ms, ticks, ssrc = 100.0, 8_000, 5
    for part in parts:
        at_ms, ticks, ssrc = (
            at_ms + part.pause_ms + part.counted_ms,
            ticks + 8 * part.counted_ms,
            ssrc + part.is_new,
        )
        for index in range(part.frames):
            # an early packet after a pause that is not counted would show that the path was slow
            at_once = part.at_once if part.period_ms == 20 else 1
            early_ms = (
                part.early_ms
                if not index and at_once == 1 and (part.is_new or not packets)
                else 0.0
            )
            sent_ms = at_ms - part.period_ms * (index % at_once) - early_ms
            arrives_ms = max(
                sent_ms + chance.random() * jitter_ms, packets[-1].arrives_ms if packets else 0
            )
            rounded = ticks + chance.randint(-part.rounding, part.rounding) * bool(packets)
            packets.append(Sent(min(at_ms, arrives_ms), arrives_ms, rounded, not index, ssrc))
            at_ms, ticks = at_ms + part.period_ms, ticks + 160
    return packets


PARTS = st.lists(
    st.builds(
        Part,
        st.sampled_from([1, 5, 30, 100, 300]),
        st.sampled_from([0.0, 0.0, 1.0, 2.5, 5.0, 15.0, 40.0, 300.0, 2_000.0]),
        st.sampled_from([0, 0, 300, 3_000]),
        st.sampled_from([20.0, 20.0, 20.0, 20.2, 21.0, 26.0]),
        st.sampled_from([0.0, 0.0, 1.0, 15.0]),
        st.sampled_from([0, 0, 2, 20]),
        st.sampled_from([False, False, True]),
        st.sampled_from([1, 1, 1, 12]),
    ),
    min_size=1,
    max_size=6,
)


@thorough
@example([Part(1_500, early_ms=15.0)], 0.1, 1)
@example([Part(200), Part(400, pause_ms=2.5)], 0.1, 1)
@example([Part(400, period_ms=21.0)], 0.1, 1)
@example([Part(600, rounding=2)], 1.0, 1)
@given(PARTS, st.sampled_from([0.0, 0.1, 1.0, 3.0]), st.integers(0, 1_000))
def test_the_bound_contains_the_playout_clock_and_the_arrival_of_the_packet(
    parts: list[Part], jitter_ms: float, seed: int
) -> None:
    """If jitter is so large that a player must smooth it, the player's buffer holds a packet until
    its clock.

    Otherwise each packet is played when it arrives.
    """
    if any(part.period_ms != 20 for part in parts):  # a trend hides the jitter from the next stream
        jitter_ms = min(jitter_ms, JITTER_MS)
    packets = stream(parts, seed, jitter_ms)
    rounding_ms = max(part.rounding for part in parts) * 2 / 8
    smoothed_ms = SMOOTHED_NS / NS_PER_MS + 5 * rounding_ms if rounding_ms + jitter_ms > 4 else 0
    # a block of packets that catch up looks like jitter
    if any(part.at_once > 1 for part in parts):
        smoothed_ms = max(smoothed_ms, HOLD_NS / NS_PER_MS)
    for number, at_ms, uncertainty_ms in heard(play(packets)[0]):
        clock_ms, arrives_ms = packets[number].clock_ms, packets[number].arrives_ms
        is_on_arrival = at_ms == pytest.approx(arrives_ms, abs=1e-4)
        assert is_on_arrival or at_ms - uncertainty_ms - 0.2 - rounding_ms <= clock_ms
        assert at_ms - uncertainty_ms - 1e-4 <= arrives_ms <= at_ms + smoothed_ms + 1e-4


@pytest.mark.parametrize(("jitter_ms", "rounding"), [(0.1, 0), (1.0, 0), (1.0, 2), (5.0, 0)])
def test_without_jitter_that_a_player_must_smooth_a_packet_is_played_when_it_arrives(
    jitter_ms: float, rounding: int
) -> None:
    packets = stream([Part(900, rounding=rounding)], jitter_ms=jitter_ms)

    for number, at_ms, uncertainty_ms in heard(play(packets)[0]):
        assert at_ms == pytest.approx(packets[number].arrives_ms, abs=1e-4)
        assert uncertainty_ms == 0 or number <= BLOCK_PACKETS


def test_jitter_that_a_player_must_smooth_changes_no_instant() -> None:
    packets = stream([Part(900)], jitter_ms=20.0)

    errors_ms = [at_ms - packets[number].clock_ms for number, at_ms, _ in heard(play(packets)[0])]
    assert max(errors_ms[250:]) < 2.5


@pytest.mark.parametrize("rounding", [1, 2, 8])
def test_timestamps_of_a_clock_are_one_stream_without_silence_in_it(rounding: int) -> None:
    packets = stream([Part(900, rounding=rounding)])
    frames, buffer = play(packets)

    assert (buffer.counts.resyncs, buffer.counts.unsent_ns, buffer.counts.late) == (0, 0, 0)
    assert [number for number, _, _ in heard(frames)] == list(range(900))
    assert len(frames) == 900
    assert (
        max(uncertainty_ms for number, _, uncertainty_ms in heard(frames) if number > BLOCK_PACKETS)
        == 0
    )


@pytest.mark.parametrize("early_ms", [0.5, 2.0, 15.0, 50.0])
def test_one_early_packet_makes_no_later_instant_too_early(early_ms: float) -> None:
    packets = stream([Part(500, early_ms=early_ms)], jitter_ms=0.0)
    frames, buffer = play(packets)

    assert all(
        at_ms == pytest.approx(packets[n].arrives_ms, abs=1e-4) for n, at_ms, _ in heard(frames)
    )
    assert all(uncertainty_ms == 0 for n, _, uncertainty_ms in heard(frames) if n > BLOCK_PACKETS)
    assert (buffer.start_uncertainty_ns, buffer.starts_on_arrival) == (0, True)


def test_speech_after_silence_with_slow_timestamps_begins_when_its_packet_arrives() -> None:
    """A packet of silence each 80 ms counts 20 ms. Speech begins with two packets at once
    (opensip 0.2.1).
    """
    packets, at_ms, begins = list[Sent](), 100.0, list[int]()
    for _ in range(4):
        for position, gap_ms in enumerate([80.0] * 60 + [58.0, 0.5] + [20.0] * 80):
            at_ms += gap_ms
            begins += [len(packets)] if position == 60 else []
            packets.append(Sent(at_ms, at_ms, 160 * len(packets)))
    found = {
        number: (at_ms, uncertainty_ms) for number, at_ms, uncertainty_ms in heard(play(packets)[0])
    }

    for number in begins:
        at_ms, uncertainty_ms = found[number]
        assert (at_ms, uncertainty_ms) == (pytest.approx(packets[number].arrives_ms, abs=1e-4), 0)


def test_a_few_large_packets_of_several_streams_show_that_a_path_has_no_jitter() -> None:
    """`ffmpeg -re -f rtp` with its default packet size: 4 packets each 512 ms, and a new stream
    for each reply.
    """
    packets, durations_ms = list[Sent](), (182.5, 182.5, 147.0)
    for reply in range(4):
        ticks = 8_000
        for block in range(4):
            at_ms = 100.0 + 4_000 * reply + 512.0 * block
            for place, duration_ms in enumerate(durations_ms):
                packets.append(
                    Sent(at_ms, at_ms + 0.02 * place, ticks, not block and not place, 5 + reply)
                )
                ticks += int(8 * duration_ms)
    found, buffer = play_large(packets, durations_ms)

    assert all(
        at_ms == pytest.approx(packets[number].arrives_ms, abs=1e-4) for number, at_ms, _ in found
    )
    assert all(uncertainty_ms == 0 for number, _, uncertainty_ms in found if number >= 12)
    assert (buffer.start_uncertainty_ns, buffer.starts_on_arrival) == (0, True)


def play_large(
    packets: list[Sent], durations_ms: tuple[float, ...]
) -> tuple[list[tuple[int, float, float]], JitterBuffer]:
    """Play packets of these durations in turn. Return what `heard` yields, and the buffer."""
    receiver, buffer, frames = RtpReceiver(8_000, {0}), new_buffer(), list[Frame]()
    for number, (_, arrives_ms, ticks, marker, ssrc) in enumerate(packets):
        payload = number.to_bytes(4) * (int(8 * durations_ms[number % len(durations_ms)]) // 4)
        data = build_packet(0, number + 1_000 * ssrc, ticks + 7_000 * ssrc, ssrc, payload, marker)
        packet = receiver.receive(data, Arrival(START_NS + int(arrives_ms * NS_PER_MS)))
        assert packet is not None
        frames += buffer.add(packet)
    return list(heard(frames)), buffer


def bursts(replies: int, *, is_new: bool) -> list[Sent]:
    """Return replies of 2.9 s whose packets are sent 12 at once, up to 10 ms late (`ffmpeg -re
    -f rtp` of a WAV).
    """
    chance, packets, at_ms = random.Random(1), list[Sent](), 100.0
    for reply in range(replies):
        for index in range(144):
            if index % 12 == 0:
                begins_ms = arrives_ms = at_ms + 20 * index + chance.random() * min(10, index)
            arrives_ms += 0.01 + chance.random() * JITTER_MS
            ticks = 8_000 + 160 * index + (0 if is_new else 40_000 * reply)
            packets.append(Sent(begins_ms, arrives_ms, ticks, not index, 5 + is_new * reply))
        at_ms += 5_000
    return packets


@pytest.mark.parametrize("is_new", [True, False])
def test_packets_of_a_burst_are_ahead_of_their_clock_and_its_first_one_is_in_time(
    is_new: bool,
) -> None:
    packets = bursts(5, is_new=is_new)
    frames, buffer = play(packets)
    found = list(heard(frames))

    assert (buffer.counts.late, buffer.counts.lost, buffer.counts.concealed_frames) == (0, 0, 0)
    assert (buffer.start_uncertainty_ns, buffer.starts_on_arrival) == (0, True)
    assert all(
        at_ms == pytest.approx(packets[number].arrives_ms, abs=1e-4) for number, at_ms, _ in found
    )
    assert all(uncertainty_ms == 0 for number, _, uncertainty_ms in found if number > BLOCK_PACKETS)


@pytest.mark.parametrize("frames", [16, 40, 60, 200])
def test_a_new_stream_of_a_path_without_jitter_is_certain_from_its_first_packet_on(
    frames: int,
) -> None:
    packets = stream([Part(frames), *[Part(frames, pause_ms=1_000, is_new=True)] * 3])
    played = list(heard(play(packets)[0]))

    assert played[0][2] >= 20
    assert max(uncertainty_ms for number, _, uncertainty_ms in played if number >= frames) == 0
    assert all(0 <= at_ms - packets[number].clock_ms <= JITTER_MS for number, at_ms, _ in played)


def test_a_new_stream_of_a_path_with_jitter_is_as_uncertain_as_its_jitter() -> None:
    packets = stream([Part(200), *[Part(200, pause_ms=1_000, is_new=True)] * 3], jitter_ms=20.0)

    for number, at_ms, uncertainty_ms in heard(play(packets)[0]):
        assert at_ms - uncertainty_ms - 0.2 <= packets[number].clock_ms
        assert uncertainty_ms >= 20 or number % 200


def relayed(marked: str, jitter_ms: float, seed: int) -> tuple[list[Sent], frozenset[int]]:
    """Return packets behind a relay with jitter, loss, and a standstill of 150 ms each 2.1 s."""
    chance, packets = random.Random(seed), list[Sent]()
    for number in range(1_500):
        at_ms = 100.0 + 20 * number + chance.random() * jitter_ms
        since_ms = at_ms % 2_100
        arrives_ms = at_ms + (150 - since_ms if at_ms > 2_000 and since_ms < 150 else 0)
        marker = {"first": number == 0, "each": True, "none": False}[marked]
        packets.append(Sent(100.0 + 20 * number, arrives_ms, 160 * number, marker))
    return packets, frozenset(number for number in range(1_500) if chance.random() < 0.01)


@pytest.mark.parametrize("jitter_ms", [0.2, 20.0, 60.0])
def test_late_and_lost_packets_do_not_depend_on_which_packets_have_the_marker(
    jitter_ms: float,
) -> None:
    counts = []
    for marked in ("first", "each", "none"):
        packets, lost = relayed(marked, jitter_ms, seed=3)
        frames, buffer = play(packets, lost)
        assert buffer.counts.lost == len(lost)
        assert buffer.counts.uncounted_pauses == 0
        for number, at_ms, uncertainty_ms in heard(frames):
            is_on_arrival = at_ms == pytest.approx(packets[number].arrives_ms, abs=1e-4)
            assert is_on_arrival or at_ms - uncertainty_ms - 0.2 <= packets[number].clock_ms
        counts.append((buffer.counts.late, buffer.counts.lost, buffer.counts.concealed_frames))

    assert len(set(counts)) == 1
    assert counts[0][0] > 30


def test_packets_that_are_all_late_by_the_jitter_of_their_path_are_no_pause() -> None:
    """In a stream with 60 ms of jitter, a packet may have successors that are all late by more
    than 30 ms.
    """
    packets, _ = relayed("none", 60.0, seed=3)
    late_ms = dict(enumerate((61.5, 54.0, 44.0, 57.0, 50.0, 45.0, 52.0), 1_000))
    packets = [
        each._replace(
            arrives_ms=each.clock_ms
            + late_ms.get(number, min(each.arrives_ms - each.clock_ms, 60.0))
        )
        for number, each in enumerate(packets)
    ]
    _, buffer = play(packets)

    assert buffer.counts.uncounted_pauses == 0
