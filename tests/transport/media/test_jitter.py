"""The jitter buffer: which frames it releases, when, and how it counts packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.rtp.jitter import MAX_STANDSTILL_PACKETS, MAX_WAITING, Frame, JitterBuffer
from bench.protocols.rtp.rtp import Codec, ReceivedPacket, RtpPacket, RtpReceiver, build_packet
from bench.wire.audio import PCM16_16K
from tests.examples import thorough
from tests.transport.media.path import (
    FRAME_NS,
    HOLD_NS,
    SILENCE,
    START_NS,
    audio,
    new_buffer,
    number_of,
    received,
)

TICK_NS = NS_PER_S // 8_000


def due(number: int) -> int:
    return START_NS + number * FRAME_NS


def on_time(number: int, **facts: object) -> ReceivedPacket:
    return received(number, due(number), **facts)  # type: ignore[arg-type]


def play(subject: JitterBuffer, *packets: ReceivedPacket) -> list[Frame]:
    return [frame for packet in packets for frame in subject.add(packet)]


def numbers(frames: list[Frame]) -> list[int | None]:
    return [number_of(frame) for frame in frames]


def instants(frames: list[Frame]) -> list[float]:
    """Return the instants, in frames after the start."""
    return [(frame.at_ns - START_NS) / FRAME_NS for frame in frames]


def test_a_lost_frame_is_concealed_when_it_is_due() -> None:
    subject = new_buffer()
    assert numbers(play(subject, on_time(0), on_time(2))) == [0]
    assert subject.next_ns == pytest.approx(due(1) + HOLD_NS, abs=20_000)
    assert subject.expire(subject.next_ns - 1) == []
    frames = subject.expire(subject.next_ns)

    assert numbers(frames) == [None, 2]
    assert [not frame.payload_bytes for frame in frames] == [True, False]
    assert frames[0].audio == SILENCE
    assert instants(frames) == pytest.approx([1, 2], abs=0.001)
    assert (subject.counts.lost, subject.counts.concealed_ns) == (1, FRAME_NS)


def test_a_packet_that_arrives_after_its_frame_was_concealed_is_late_and_not_lost() -> None:
    subject = new_buffer()
    frames = play(
        subject,
        on_time(0),
        on_time(2),
        on_time(3),
        on_time(4),
        on_time(5),
        received(1, due(6)),
        on_time(7),
    )

    assert numbers(frames) == [0, None, 2, 3, 4, 5]
    assert (subject.counts.late, subject.counts.lost, subject.counts.concealed_frames) == (1, 0, 1)


def test_a_packet_with_half_a_sample_is_counted_and_not_played() -> None:
    samples = Codec(0, 16_000, lambda payload: 0 if len(payload) % 2 else len(payload) // 2)
    subject = new_buffer(samples, PCM16_16K)
    frames = play(
        subject,
        received(0, due(0), ticks=0, payload=b"\1" * 640),
        received(1, due(1), ticks=320, payload=b"\1" * 639),
        received(2, due(2), ticks=640, payload=b""),
        received(3, due(3), ticks=960, payload=b"\1" * 640),
    )

    assert [len(frame.audio) for frame in frames] == [640, 1280, 640]
    assert (subject.counts.bad_audio, subject.counts.played) == (2, 2)


@pytest.mark.parametrize("packets", [1, 2, 5, 20])
def test_a_gradual_increase_of_the_delay_is_followed(packets: int) -> None:
    """The delay of the path increases by 2 ms each few packets, up to 120 ms."""
    subject = new_buffer()
    more_ns = [
        min(max(0, n - 10) // packets * 2 * NS_PER_MS, 2 * HOLD_NS)
        for n in range(200 + 60 * packets)
    ]
    frames = play(subject, *(received(n, due(n) + more_ns[n]) for n in range(len(more_ns))))

    assert (subject.counts.late, subject.counts.lost) == (0, 0)
    assert numbers(frames) == list(range(len(more_ns)))
    errors_ns = [frame.at_ns - due(n) - more_ns[n] for n, frame in enumerate(frames)]
    assert all(0 <= error_ns <= TICK_NS for error_ns in errors_ns)


@pytest.mark.parametrize("share", [0.002, 0.05, 0.3])
def test_the_clock_of_a_sender_that_is_slow_is_followed(share: float) -> None:
    subject = new_buffer()
    arrivals = [due(n) + int(n * FRAME_NS * share) for n in range(1_000)]
    frames = play(subject, *(received(n, at_ns) for n, at_ns in enumerate(arrivals)))

    assert (subject.counts.late, subject.counts.lost) == (0, 0)
    errors_ns = [frame.at_ns - at_ns for frame, at_ns in zip(frames, arrivals, strict=True)]
    assert all(0 <= error_ns <= TICK_NS for error_ns in errors_ns)


def test_a_flood_of_packets_that_never_continue_the_stream_is_bounded() -> None:
    subject = new_buffer()
    subject.add(on_time(0))
    for number in range(2, 2_000, 2):
        subject.add(received(number, due(0)))
        assert len(subject._waiting) <= MAX_WAITING + 1


@pytest.mark.parametrize("kind", ["audio", "comfort_noise"])
def test_a_flood_of_packets_after_a_standstill_is_bounded(kind: str) -> None:
    subject = new_buffer()
    play(subject, *(on_time(number) for number in range(100)))
    late_ns = due(150)
    subject.add(received(100, late_ns))
    waiting = 0
    for number in range(101, 2_000):
        subject.add(received(number, late_ns, ticks=100 * 160 + number, kind=kind))
        waiting = max(waiting, len(subject._waiting))

    assert MAX_WAITING < waiting <= MAX_STANDSTILL_PACKETS + 1


STEPS = st.lists(
    st.tuples(
        st.integers(-3, 4),  # of the sequence number
        st.integers(0, 60),  # of the arrival, in ms
        st.sampled_from(["audio"] * 6 + ["event", "comfort_noise", "unknown"]),
        st.sampled_from([0] * 8 + [160, 1_600, 16_000, -160, -40_000]),  # of the timestamp
        st.sampled_from([160] * 6 + [80, 0, 1]),
        st.sampled_from([0] * 20 + [1]),  # of the source
    ),
    max_size=80,
)


def stream(steps: list[tuple[int, int, str, int, int, int]]) -> list[ReceivedPacket]:
    """Return packets as a receiver passes them on: each sequence number once for each source."""
    packets, seen = [], set()
    number, at_ns, shift, source = 100, START_NS, 0, 0
    for step, passed_ms, kind, jump, size, change in steps:
        source += change
        number = max(100, number + step + 1000 * change)
        at_ns, shift = at_ns + passed_ms * NS_PER_MS, shift + jump
        if (source, number) not in seen:
            seen.add((source, number))
            payload = audio(number)[:size]
            packets.append(
                received(
                    number,
                    at_ns,
                    ticks=number * 160 + shift,
                    source=source,
                    kind=kind,
                    payload=payload,
                )
            )
    return packets


@thorough
@given(STEPS)
def test_packets_and_sequence_numbers_add_up(
    steps: list[tuple[int, int, str, int, int, int]],
) -> None:
    subject = new_buffer()
    packets = stream(steps)
    frames = play(subject, *packets) + subject.expire(NEVER_NS)

    counts = subject.counts
    assert counts.played + counts.late + counts.without_audio + counts.bad_audio == len(packets)
    by_source: dict[int, list[int]] = {}
    for packet in packets:
        by_source.setdefault(packet.source, []).append(packet.sequence)
    spans = sum(max(sequences) - min(sequences) + 1 for sequences in by_source.values())
    assert len(packets) + counts.lost == spans
    assert counts.concealed_frames == sum(not frame.payload_bytes for frame in frames)


@thorough
@given(STEPS)
def test_no_frame_is_played_twice_and_none_out_of_order(
    steps: list[tuple[int, int, str, int, int, int]],
) -> None:
    subject = new_buffer()
    packets = stream(steps)
    frames = play(subject, *packets) + subject.expire(NEVER_NS)

    whole = [
        number
        for frame in frames
        if len(frame.audio) == 160 and (number := number_of(frame)) is not None
    ]
    assert whole == sorted(set(whole))
    assert [frame.at_ns for frame in frames] == sorted(frame.at_ns for frame in frames)
    assert all(frame.uncertainty_ns >= 0 for frame in frames)


@thorough
@given(STEPS, st.sets(st.integers(0, 5_000)))
def test_the_frames_do_not_depend_on_when_the_buffer_is_asked(
    steps: list[tuple[int, int, str, int, int, int]], polls_ms: set[int]
) -> None:
    seldom, often = new_buffer(), new_buffer()
    packets = stream(steps)
    polls = sorted(START_NS + poll_ms * NS_PER_MS for poll_ms in polls_ms)
    frames: list[Frame] = []
    for packet in packets:
        while polls and polls[0] < packet.arrival.at_ns:
            frames += often.expire(polls.pop(0))
        frames += often.add(packet)

    assert frames + often.expire(NEVER_NS) == play(seldom, *packets) + seldom.expire(NEVER_NS)
    assert often.counts == seldom.counts


WIRE = st.builds(
    RtpPacket,
    st.sampled_from([0, 0, 0, 13, 101, 50]),
    st.integers(0, 200) | st.integers(65_400, 65_535) | st.integers(0, 65_535),
    st.integers(0, 40_000) | st.integers(0, 0xFFFFFFFF),
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from([bytes(160), bytes(80), b"", bytes(1600)]),
).map(lambda packet: build_packet(*packet)) | st.binary(max_size=40).map(
    lambda data: b"\x80\0" + data
)


@thorough
@given(st.lists(st.tuples(WIRE, st.integers(0, 200)), max_size=150))
def test_hostile_packets_raise_no_error_and_are_all_counted(
    packets: list[tuple[bytes, int]],
) -> None:
    receiver, subject = RtpReceiver(8_000, {0}, 101), new_buffer()
    at_ns = START_NS
    for data, passed_ms in packets:
        at_ns += passed_ms * NS_PER_MS
        packet = receiver.receive(data, Arrival(at_ns))
        frames = [] if packet is None else subject.add(packet)
        frames += subject.expire(at_ns)
        assert all(frame.at_ns <= at_ns for frame in frames)
        assert len(frames) < 10_000
    subject.expire(NEVER_NS)

    seen, counts = receiver.counts, subject.counts
    played = counts.played + counts.late + counts.without_audio + counts.bad_audio
    assert len(packets) == seen.bad + seen.strays + seen.duplicates + played


@pytest.mark.parametrize("jump", [-160 * 50, -160, 160 * 500])
def test_a_timestamp_that_jumps_synchronizes_the_stream_again(jump: int) -> None:
    subject = new_buffer()
    frames = play(subject, *(on_time(n, ticks=n * 160 + (jump if n >= 3 else 0)) for n in range(6)))

    assert numbers([frame for frame in frames if number_of(frame) is not None]) == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]
    assert instants(frames)[-3:] == pytest.approx([3, 4, 5], abs=0.001)
    assert subject.counts.resyncs == 1
