"""The reception of a stream, and its statistics."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS
from bench.transport.media.rtp import MAX_DROPOUT, ReceivedPacket, RtpPacket, RtpReceiver, build_packet
from tests.examples import thorough

FRAME_NS = 20 * NS_PER_MS


def wire(number: int, *, ssrc: int = 1, kind: int = 0, timestamp: int | None = None) -> bytes:
    timestamp = number * 160 if timestamp is None else timestamp
    return build_packet(*RtpPacket(kind, number % 65536, timestamp % (1 << 32), ssrc, bytes(160)))


def receive(receiver: RtpReceiver, *packets: bytes) -> list[ReceivedPacket | None]:
    return [receiver.receive(data, Arrival(number * FRAME_NS)) for number, data in enumerate(packets)]


def receiver(event_type: int | None = 101) -> RtpReceiver:
    return RtpReceiver(8_000, {0, 8}, event_type)


def sequences(packets: list[ReceivedPacket | None]) -> list[int | None]:
    return [packet and packet.sequence for packet in packets]


def test_sequence_numbers_are_extended_when_they_wrap_around() -> None:
    subject = receiver()
    packets = receive(subject, *(wire(number) for number in (65534, 65535, 65536, 65539, 65538, 96000)))

    assert sequences(packets[:5]) == [65534, 65535, 65536, 65539, 65538]
    assert subject.counts.lost == 1  # 65537; the last packet is too far ahead
    assert subject.counts.strays == 1


def test_a_duplicate_is_passed_on_once_and_reduces_the_loss_as_rfc_3550_requires() -> None:
    subject = receiver()
    packets = receive(subject, wire(5), wire(5), wire(6), wire(5), wire(6))

    assert sequences(packets) == [5, None, 6, None, None]
    assert (subject.counts.duplicates, subject.counts.expected, subject.counts.lost) == (3, 2, -3)


def test_a_source_that_jumps_restarts_with_the_second_packet() -> None:
    subject = receiver()
    packets = receive(subject, wire(5), wire(6), wire(40_000), wire(40_001), wire(40_002))

    assert [packet and packet.source for packet in packets] == [0, 0, None, 1, 1]
    assert (subject.counts.strays, subject.source, subject.counts.lost) == (1, 1, 0)


def test_a_reordered_packet_before_the_first_one_of_a_new_source_has_a_number_of_its_own() -> None:
    packets = receive(receiver(), wire(0), wire(0, ssrc=2), wire(1, ssrc=2), wire(0, ssrc=2))

    assert sequences(packets) == [0, None, 65_537, 65_536]


def restarted(
    *, numbers_by: int = 0, time_by: int = 0, count: int = 80, pause_ms: int = 5_000, ssrc: int = 1, duplicated: int = 0
) -> RtpReceiver:
    """Receive some packets, and after a pause as many whose numbers and timestamps are others than expected."""
    subject = receiver()
    for number in range(2 * count):
        is_second = number >= count
        data = wire(
            1_000 + number + is_second * numbers_by,
            timestamp=1 << 20 | number * 160 + is_second * time_by * 160,
            ssrc=ssrc if is_second else 1,
        )
        for _ in range(1 + (number < duplicated)):
            packet = subject.receive(data, Arrival(number * FRAME_NS + is_second * pause_ms * NS_PER_MS))
        assert packet is not None or number < duplicated
    return subject


@pytest.mark.parametrize("pause_ms", [250, 5_000])
@pytest.mark.parametrize(
    ("numbers_by", "time_by"),
    [(-80, -80), (-50, -50), (-80, 0), (-80, 250), (500, 0), (2_000, 0), (500, -80), (2_000, 5_000), (20_000, -80)],
)
def test_numbers_that_begin_again_after_a_pause_are_a_new_stream(numbers_by: int, time_by: int, pause_ms: int) -> None:
    subject = restarted(numbers_by=numbers_by, time_by=time_by, pause_ms=pause_ms)

    counts = subject.counts
    assert (subject.source, counts.received, counts.expected) == (1, 160, 160)
    assert (counts.duplicates, counts.strays, counts.lost) == (0, 0, 0)


def test_numbers_that_begin_again_without_a_pause_are_a_new_stream_if_no_duplicate_is_so_late() -> None:
    assert restarted(numbers_by=-80, time_by=-80, pause_ms=0).source == 1
    assert restarted(numbers_by=-80, pause_ms=0, count=30).source == 1  # the timestamps go on


def test_a_new_source_after_a_pause_is_heard_from_its_first_packet() -> None:
    subject = restarted(ssrc=2)

    assert (subject.source, subject.counts.strays, subject.counts.received) == (1, 0, 160)


@pytest.mark.parametrize("gap_ms", [20, 150])
def test_packets_that_a_network_sends_twice_are_duplicates_and_no_restart(gap_ms: int) -> None:
    subject = receiver()
    receive(subject, *(wire(number) for number in range(40)))
    for number in range(30, 40):
        arrival = Arrival((39 + number - 30) * FRAME_NS + gap_ms * NS_PER_MS)
        assert subject.receive(wire(number), arrival) is None

    assert (subject.counts.duplicates, subject.source) == (10, 0)


def test_packets_that_an_outage_loses_are_lost() -> None:
    subject = receiver()
    receive(subject, wire(0), wire(1))
    subject.receive(wire(251), Arrival(251 * FRAME_NS))

    assert (subject.counts.lost, subject.source) == (249, 0)


def test_another_source_takes_over_only_when_the_first_one_is_silent() -> None:
    subject = receiver()
    mixed = receive(subject, *(data for number in range(4) for data in (wire(number), wire(900 + number, ssrc=2))))
    alone = receive(subject, wire(904, ssrc=2), wire(905, ssrc=2))

    assert sequences(mixed) == [0, None, 1, None, 2, None, 3, None]
    assert [packet and packet.source for packet in alone] == [1, 1]
    assert (subject.source, subject.counts.strays, subject.ssrc) == (1, 4, 2)


def from_addresses(subject: RtpReceiver, *packets: tuple[bytes, bool]) -> list[ReceivedPacket | None]:
    """Receive packets, which come from the named address or from another one."""
    return [
        subject.receive(data, Arrival(number * FRAME_NS), is_named=is_named)
        for number, (data, is_named) in enumerate(packets)
    ]


def test_the_named_address_takes_over_from_a_stream_of_an_earlier_call() -> None:
    stale = [(wire(number, ssrc=2), False) for number in range(4)]
    own = [(wire(900 + number), True) for number in range(4)]
    subject = receiver()
    packets = from_addresses(subject, *(each for pair in zip(stale, own, strict=True) for each in pair))

    assert [packet and packet.source for packet in packets] == [0, 1, None, 1, None, 1, None, 1]
    assert (subject.source, subject.counts.strays) == (1, 3)


@pytest.mark.parametrize("kind", [0, 13, 101])
def test_another_address_cannot_replace_the_named_one_until_it_is_silent(kind: int) -> None:
    """Comfort noise and keys show that the named address is not silent, too."""
    subject = receiver()
    from_addresses(subject, (wire(0, kind=kind), True), (wire(1, kind=kind), True))
    others = [(wire(number, ssrc=2), Arrival((number + 2) * FRAME_NS)) for number in range(10)]
    for data, arrival in others[:-1]:
        assert subject.receive(data, arrival, is_named=False) is None

    assert subject.receive(*others[-1], is_named=False) is not None


def test_a_single_packet_from_the_named_address_does_not_block_the_stream() -> None:
    subject = receiver()
    own = [(wire(number), False) for number in range(6)]
    packets = from_addresses(subject, *own[:3], (wire(900, ssrc=2), True), *own[3:])

    assert [packet and packet.source for packet in packets] == [0, 0, 0, 1, None, 2, 2]


def test_a_stream_without_the_named_address_is_received() -> None:
    packets = from_addresses(receiver(), *((wire(number), False) for number in range(3)))

    assert sequences(packets) == [0, 1, 2]


def test_a_source_whose_address_changes_is_still_the_same_source() -> None:
    subject = receiver()
    packets = from_addresses(subject, (wire(0), True), (wire(1), False), (wire(2), False))

    assert sequences(packets) == [0, 1, 2]
    assert subject.source == 0


def test_after_a_new_agreement_the_stream_from_the_new_address_takes_over() -> None:
    subject = receiver()
    from_addresses(subject, (wire(0), True), (wire(1), True))
    subject.rename()
    packets = from_addresses(subject, (wire(2), False), (wire(900, ssrc=2), True), (wire(3), False))

    assert [packet and packet.source for packet in packets] == [0, 1, None]


def test_the_extended_number_increases_with_a_new_source() -> None:
    subject = receiver()
    packets = receive(subject, wire(60_000), wire(100, ssrc=2), wire(101, ssrc=2))

    assert sequences(packets) == [60_000, None, 65_536 + 101]


def test_the_largest_accepted_gap_is_lost_and_not_a_restart() -> None:
    subject = receiver()
    receive(subject, wire(0), wire(MAX_DROPOUT - 1))

    assert (subject.counts.lost, subject.counts.strays) == (MAX_DROPOUT - 2, 0)


def test_payload_types_are_counted() -> None:
    subject = receiver()
    kinds = (0, 8, 13, 101, 77, 8, 0)
    packets = receive(subject, *(wire(number, kind=kind) for number, kind in enumerate(kinds)))

    assert [packet and packet.kind for packet in packets] == [
        "audio", "audio", "comfort_noise", "event", "unknown", "audio", "audio",
    ]  # fmt: skip
    assert subject.counts.unknown_types == 1


def test_a_regular_stream_has_no_jitter_and_a_pause_adds_none() -> None:
    subject = receiver()
    for number in [*range(50), *range(500, 550)]:
        subject.receive(wire(number % 50 + number // 500 * 50, timestamp=number * 160), Arrival(number * FRAME_NS))

    assert subject.jitter_ns == 0


def test_alternating_delays_give_the_jitter_of_rfc_3550() -> None:
    """Each transit time differs from the one before by 8 ms, so the jitter converges to 8 ms: 64 units of 1/8000 s."""
    subject = receiver()
    for number in range(400):
        subject.receive(wire(number), Arrival(number * FRAME_NS + number % 2 * 8 * NS_PER_MS))

    assert abs(subject.jitter_ns - 8 * NS_PER_MS) < 1_000
    assert subject.jitter in (63, 64)


def test_the_timestamp_may_wrap_around() -> None:
    subject = receiver()
    for number in range(50):
        subject.receive(wire(number, timestamp=(1 << 32) - 1_000 + number * 160), Arrival(number * FRAME_NS))

    assert subject.jitter_ns == 0


NUMBERS = st.integers(0, 70) | st.integers(65_400, 65_600) | st.integers(0, 65_535)


@thorough
@given(st.lists(st.tuples(NUMBERS, st.sampled_from([1, 1, 1, 2]), st.sampled_from([0, 13, 101, 90])) | st.just(None)))
def test_every_packet_is_counted_once(packets: list[tuple[int, int, int] | None]) -> None:
    subject = receiver()
    data = [b"bad" if packet is None else wire(packet[0], ssrc=packet[1], kind=packet[2]) for packet in packets]
    passed = [packet for packet in receive(subject, *data) if packet is not None]

    counts = subject.counts
    assert counts.bad + counts.strays + counts.received == len(packets)
    assert len(passed) + counts.duplicates == counts.received
    assert counts.bad == packets.count(None)
    assert len({packet.sequence for packet in passed}) == len(passed)
    assert sum(packet.kind == "unknown" for packet in passed) == counts.unknown_types


@given(st.permutations(range(1, 40)), st.sets(st.integers(1, 39)), st.sets(st.integers(1, 39)))
def test_the_counts_say_what_the_path_did(order: list[int], lost: set[int], twice: set[int]) -> None:
    subject = receiver()
    numbers = [0, *(n for n in order if n not in lost), *(n for n in order if n in twice - lost)]
    receive(subject, *map(wire, numbers))

    highest = max(numbers)
    assert subject.counts.duplicates == len(twice - lost)
    assert subject.counts.lost + subject.counts.duplicates == sum(number < highest for number in lost)
