"""The reception of a stream, and its statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS
from bench.protocols.rtp.rtp import ReceivedPacket, RtpPacket, RtpReceiver, build_packet
from tests.examples import thorough
from tests.transport.media.path import PEER, PLAIN, START_NS, new_media

FRAME_NS = 20 * NS_PER_MS


def wire(number: int, *, ssrc: int = 1, kind: int = 0, timestamp: int | None = None) -> bytes:
    timestamp = number * 160 if timestamp is None else timestamp
    return build_packet(*RtpPacket(kind, number % 65536, timestamp % (1 << 32), ssrc, bytes(160)))


def receive(receiver: RtpReceiver, *packets: bytes) -> list[ReceivedPacket | None]:
    return [
        receiver.receive(data, Arrival(number * FRAME_NS)) for number, data in enumerate(packets)
    ]


def receiver(event_type: int | None = 101) -> RtpReceiver:
    return RtpReceiver(8_000, {0, 8}, event_type)


def sequences(packets: list[ReceivedPacket | None]) -> list[int | None]:
    return [packet and packet.sequence for packet in packets]


def test_sequence_numbers_are_extended_when_they_wrap_around() -> None:
    subject = receiver()
    packets = receive(
        subject, *(wire(number) for number in (65534, 65535, 65536, 65539, 65538, 96000))
    )

    assert sequences(packets[:5]) == [65534, 65535, 65536, 65539, 65538]
    assert subject.lost == 1  # 65537; the last packet is too far ahead
    assert subject.counts.strays == 1


def test_a_duplicate_is_passed_on_once_and_reduces_the_loss_as_rfc_3550_requires() -> None:
    subject = receiver()
    packets = receive(subject, wire(5), wire(5), wire(6), wire(5), wire(6))

    assert sequences(packets) == [5, None, 6, None, None]
    assert (subject.counts.duplicates, subject.expected, subject.lost) == (3, 2, -3)


def test_packets_that_the_first_one_has_overtaken_were_expected_too() -> None:
    subject = receiver()
    receive(subject, *(wire(number) for number in (65_536 + 3, 65_536, 65_536 + 2, 65_536 + 5)))

    assert (subject.expected, subject.counts.received, subject.lost) == (6, 4, 2)
    assert (subject.source_expected, subject.source_received) == (6, 4)


def restarted(
    *,
    numbers_by: int = 0,
    time_by: int = 0,
    count: int = 80,
    pause_ms: int = 5_000,
    ssrc: int = 1,
    duplicated: int = 0,
) -> RtpReceiver:
    """Receive some packets, and after a pause as many whose numbers and timestamps are others
    than expected.
    """
    subject = receiver()
    for number in range(2 * count):
        is_second = number >= count
        data = wire(
            1_000 + number + is_second * numbers_by,
            timestamp=1 << 20 | number * 160 + is_second * time_by * 160,
            ssrc=ssrc if is_second else 1,
        )
        for _ in range(1 + (number < duplicated)):
            packet = subject.receive(
                data, Arrival(number * FRAME_NS + is_second * pause_ms * NS_PER_MS)
            )
        assert packet is not None or number < duplicated
    return subject


@pytest.mark.parametrize("pause_ms", [250, 5_000])
@pytest.mark.parametrize(
    ("numbers_by", "time_by"),
    [
        (-80, -80),
        (-50, -50),
        (-80, 0),
        (-80, 250),
        (500, 0),
        (2_000, 0),
        (500, -80),
        (2_000, 5_000),
        (20_000, -80),
    ],
)
def test_numbers_that_begin_again_after_a_pause_are_a_new_stream(
    numbers_by: int, time_by: int, pause_ms: int
) -> None:
    subject = restarted(numbers_by=numbers_by, time_by=time_by, pause_ms=pause_ms)

    counts = subject.counts
    assert (subject.source, counts.received, subject.expected) == (1, 160, 160)
    assert (counts.duplicates, counts.strays, subject.lost) == (0, 0, 0)


@pytest.mark.parametrize(("sends_in_parallel", "takes_over"), [(True, False), (False, True)])
def test_a_source_that_sends_while_the_named_one_does_is_no_replacement_when_it_is_silent(
    sends_in_parallel: bool, takes_over: bool
) -> None:
    subject = receiver()
    for number in range(200):
        arrival = Arrival(number * FRAME_NS)
        is_speaking = number < 50 or number >= 150
        if is_speaking:
            subject.receive(wire(number), arrival)
        if sends_in_parallel or not is_speaking:
            subject.receive(wire(number, ssrc=2), arrival, is_named=False)

    assert (subject.source > 0) is takes_over
    assert subject.ssrc == 1


@pytest.mark.parametrize("new_ssrc", [1, 2])
@pytest.mark.parametrize("ahead", [2, 30_000])
def test_a_peer_that_another_one_has_replaced_is_not_heard_any_more(
    new_ssrc: int, ahead: int
) -> None:
    media = new_media()
    moved = "192.0.2.5", 6_000

    def accepted(number: int, source: tuple[str, int], ssrc: int) -> int:
        before = media.receiver.counts.received
        arrival = Arrival(START_NS + number * FRAME_NS)
        for data, address, at in media.admitted([(wire(number, ssrc=ssrc), source, arrival)]):
            media.received(data, arrival, address[:2])
            assert at is arrival
        return media.receiver.counts.received - before

    assert sum(accepted(number, PEER, 1) for number in range(10)) == 10
    media.change(replace(PLAIN, address=moved[0], port=moved[1]))
    assert sum(accepted(number, PEER, 1) for number in range(10, 20)) == 10
    assert accepted(20 + ahead, moved, new_ssrc) == 1
    assert sum(accepted(number, PEER, 1) for number in range(21, 300)) == 0
    assert accepted(301 + ahead, moved, new_ssrc) == 1


def test_alternating_delays_give_the_jitter_of_rfc_3550() -> None:
    """Each transit time differs from the one before by 8 ms, so the jitter converges to 8 ms: 64
    units of 1/8000 s.
    """
    subject = receiver()
    for number in range(400):
        subject.receive(wire(number), Arrival(number * FRAME_NS + number % 2 * 8 * NS_PER_MS))

    assert abs(subject.jitter_ns - 8 * NS_PER_MS) < 1_000
    assert subject.jitter in (63, 64)


def test_the_timestamp_may_wrap_around() -> None:
    subject = receiver()
    for number in range(50):
        subject.receive(
            wire(number, timestamp=(1 << 32) - 1_000 + number * 160), Arrival(number * FRAME_NS)
        )

    assert subject.jitter_ns == 0


NUMBERS = st.integers(0, 70) | st.integers(65_400, 65_600) | st.integers(0, 65_535)


@thorough
@given(
    st.lists(
        st.tuples(NUMBERS, st.sampled_from([1, 1, 1, 2]), st.sampled_from([0, 13, 101, 90]))
        | st.just(None)
    )
)
def test_every_packet_is_counted_once(packets: list[tuple[int, int, int] | None]) -> None:
    subject = receiver()
    data = [
        b"bad" if packet is None else wire(packet[0], ssrc=packet[1], kind=packet[2])
        for packet in packets
    ]
    passed = [packet for packet in receive(subject, *data) if packet is not None]

    counts = subject.counts
    assert counts.bad + counts.strays + counts.received == len(packets)
    assert len(passed) + counts.duplicates == counts.received
    assert counts.bad == packets.count(None)
    assert len({packet.sequence for packet in passed}) == len(passed)
    assert sum(packet.kind == "unknown" for packet in passed) == counts.unknown_types


@given(st.permutations(range(1, 40)), st.sets(st.integers(1, 39)), st.sets(st.integers(1, 39)))
def test_the_counts_say_what_the_path_did(
    order: list[int], lost: set[int], twice: set[int]
) -> None:
    subject = receiver()
    numbers = [0, *(n for n in order if n not in lost), *(n for n in order if n in twice - lost)]
    receive(subject, *map(wire, numbers))

    highest = max(numbers)
    assert subject.counts.duplicates == len(twice - lost)
    assert subject.lost + subject.counts.duplicates == sum(number < highest for number in lost)
