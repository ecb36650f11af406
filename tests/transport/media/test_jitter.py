"""The jitter buffer: which frames it releases, when, and how it counts packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.transport.media.jitter import MAX_WAITING, Frame, JitterBuffer
from bench.transport.media.rtp import Codec, ReceivedPacket, RtpPacket, RtpReceiver, build_packet
from bench.wire.audio import PCM16_16K
from tests.examples import thorough
from tests.transport.media.path import FRAME_NS, HOLD_NS, SILENCE, START_NS, audio, new_buffer, number_of, received


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


def test_frames_in_order_are_released_at_once() -> None:
    subject = new_buffer()

    assert [numbers(subject.add(on_time(number))) for number in range(3)] == [[0], [1], [2]]
    assert subject.next_ns == NEVER_NS


def test_a_delayed_frame_keeps_its_instant() -> None:
    subject = new_buffer()
    frames = play(subject, on_time(0), received(1, due(1) + 30 * NS_PER_MS), on_time(2))

    assert instants(frames) == pytest.approx([0, 1, 2], abs=0.001)
    assert subject.counts.played == 3


def test_a_faster_packet_moves_the_offset_and_no_frame_goes_back_in_time() -> None:
    subject = new_buffer()
    frames = play(subject, *(received(n, due(n) + (15 * NS_PER_MS if n < 2 else 0)) for n in range(4)))

    assert instants(frames) == pytest.approx([0.75, 1.75, 2, 3], abs=0.001)


def test_a_frame_is_not_played_before_the_frame_in_front_of_it() -> None:
    subject = new_buffer()
    subject.add(on_time(0))
    play(subject, received(2, due(0)))
    (second, _) = subject.add(received(1, due(1)))

    assert second.at_ns == due(0)  # the third frame shows that this frame might have been played 20 ms before
    assert second.uncertainty_ns >= FRAME_NS


def test_reordered_frames_are_put_in_order() -> None:
    subject = new_buffer()
    frames = play(subject, on_time(0), on_time(2), on_time(3), received(1, due(3) + 1), on_time(4))

    assert numbers(frames) == [0, 1, 2, 3, 4]
    assert subject.counts.lost == 0


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
    frames = play(subject, on_time(0), on_time(2), on_time(3), on_time(4), on_time(5), received(1, due(6)), on_time(7))

    assert numbers(frames) == [0, None, 2, 3, 4, 5]
    assert (subject.counts.late, subject.counts.lost, subject.counts.concealed_frames) == (1, 0, 1)


def test_a_single_late_packet_that_is_next_in_order_is_concealed_when_the_next_one_is_in_time() -> None:
    subject = new_buffer()
    frames = play(subject, on_time(0), received(1, due(4) + NS_PER_MS), *map(on_time, (4, 5)))
    frames += subject.expire(NEVER_NS)

    assert numbers(frames) == [0, None, None, None, 4, 5]
    assert (subject.counts.late, subject.counts.lost) == (1, 2)


def test_a_packet_that_arrives_exactly_when_it_is_due_is_played() -> None:
    for with_successor in (False, True):
        subject = new_buffer()
        packets = [on_time(0), received(1, due(1) + HOLD_NS)]
        if with_successor:
            packets.insert(1, received(2, due(2)))
        frames = play(subject, *packets)
        assert 1 in numbers(frames)


@pytest.mark.parametrize("silent", [1, 10])
def test_a_short_silence_that_was_not_sent_is_filled(silent: int) -> None:
    subject = new_buffer()
    frames = play(subject, on_time(0), received(1, due(1 + silent), ticks=160 * (1 + silent)))

    assert [len(frame.audio) for frame in frames] == [160, 160 * silent, 160]
    assert [not frame.payload_bytes for frame in frames] == [False, False, False]
    assert instants(frames) == pytest.approx([0, 1, 1 + silent], abs=0.01)
    assert subject.counts.unsent_ns == silent * FRAME_NS


def test_a_long_silence_is_a_jump_of_the_instant() -> None:
    subject = new_buffer()
    hour = 180_000
    frames = play(subject, on_time(0), received(1, due(hour) + 3 * NS_PER_MS, ticks=160 * hour))

    assert numbers(frames) == [0, 1]
    assert frames[1].at_ns == due(hour) + 3 * NS_PER_MS  # after an hour of drift, the packet is the fastest one
    assert frames[1].uncertainty_ns > 3 * NS_PER_MS
    assert subject.counts.unsent_ns == (hour - 1) * FRAME_NS


def test_a_loss_at_the_end_of_a_silence_conceals_the_frame_before_the_next_one() -> None:
    subject = new_buffer()
    frames = play(subject, on_time(0), received(2, due(6), ticks=6 * 160)) + subject.expire(due(20))

    assert [(len(frame.audio) // 160, not frame.payload_bytes) for frame in frames] == [
        (1, False), (4, False), (1, True), (1, False),
    ]  # fmt: skip
    assert instants(frames) == pytest.approx([0, 1, 5, 6], abs=0.01)


def test_packets_without_audio_take_a_place_in_the_order_and_no_time() -> None:
    subject = new_buffer()
    event = received(1, due(1), ticks=160, kind="event", payload=b"\1\x0a\0\xa0")
    noise = received(2, due(1), ticks=160, kind="comfort_noise", payload=b"\x40")
    odd = received(3, due(1), ticks=1 << 30, kind="unknown")
    frames = play(subject, on_time(0), event, noise, odd, received(4, due(1), ticks=160))

    assert numbers(frames) == [0, 4]
    assert subject.counts.without_audio == 3
    assert (subject.counts.lost, subject.counts.unsent_ns, subject.counts.resyncs) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["event", "comfort_noise", "unknown"])
def test_a_packet_without_audio_waits_for_the_audio_before_it(kind: str) -> None:
    subject = new_buffer()
    frames = play(subject, on_time(0), on_time(2, kind=kind, ticks=320), received(1, due(3)), on_time(3))

    assert numbers([frame for frame in frames if number_of(frame) is not None]) == [0, 1, 3]
    assert (subject.counts.lost, subject.counts.late) == (0, 0)


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


def test_a_new_source_releases_the_waiting_frames_and_starts_at_its_first_packet() -> None:
    subject = new_buffer()
    frames = play(subject, on_time(0), on_time(2), received(70_000, due(9), source=1, ticks=5))

    assert numbers(frames) == [0, None, 2, 70_000]
    assert instants(frames)[-1] == pytest.approx(9)
    assert subject.counts.resyncs == 1


@pytest.mark.parametrize("jump", [-160 * 50, -80, 160 * 500])
def test_a_timestamp_that_jumps_synchronizes_the_stream_again(jump: int) -> None:
    subject = new_buffer()
    frames = play(subject, *(on_time(n, ticks=n * 160 + (jump if n >= 3 else 0)) for n in range(6)))

    assert numbers([frame for frame in frames if number_of(frame) is not None]) == [0, 1, 2, 3, 4, 5]
    assert instants(frames)[-3:] == pytest.approx([3, 4, 5], abs=0.001)
    assert subject.counts.resyncs == 1


def test_a_timestamp_that_jumps_behind_a_missing_packet_leads_to_no_instant_in_the_future() -> None:
    subject = new_buffer()
    frames = play(subject, on_time(0), on_time(2, ticks=160 * 502), on_time(3, ticks=160 * 503))

    assert numbers(frames) == [0, 2, 3]
    assert instants(frames) == pytest.approx([0, 2, 3], abs=0.001)
    assert (subject.counts.lost, subject.counts.resyncs, subject.counts.unsent_ns) == (1, 1, 0)


def test_a_lasting_increase_of_the_delay_in_one_step_costs_the_step() -> None:
    """It looks like a pause that the timestamps do not count. A telephone plays the packets when they arrive."""
    subject = new_buffer()
    more_ns = 2 * HOLD_NS
    frames = play(subject, *(received(n, due(n) + (more_ns if n >= 10 else 0)) for n in range(100)))

    assert numbers(frames) == list(range(100))
    assert (subject.counts.late, subject.counts.resyncs, subject.counts.uncounted_pauses) == (0, 1, 1)
    assert instants(frames)[10:] == pytest.approx([n + 6 for n in range(10, 100)], abs=0.01)


def test_a_gradual_increase_of_the_delay_conceals_one_second_and_then_plays_again() -> None:
    subject = new_buffer()
    more_ns = [min(max(0, n - 10) * 2 * NS_PER_MS, 2 * HOLD_NS) for n in range(200)]
    frames = play(subject, *(received(n, due(n) + more_ns[n]) for n in range(200)))

    assert subject.counts.late == pytest.approx(NS_PER_S // FRAME_NS, abs=2)
    assert subject.counts.resyncs == 1
    assert numbers(frames)[-100:] == list(range(100, 200))


def test_a_clock_that_drifts_too_much_makes_packets_late_after_some_time() -> None:
    subject = new_buffer()
    play(subject, *(received(n, due(n) + n * FRAME_NS // 500) for n in range(3_000)))

    assert subject.counts.late > 0
    assert subject.counts.resyncs == subject.counts.late // 51


def test_a_short_delay_of_all_packets_does_not_synchronize_the_stream_again() -> None:
    subject = new_buffer()
    frames = play(subject, *(received(n, max(due(n), due(30) if n > 10 else 0)) for n in range(60)))

    assert subject.counts.resyncs == 0
    assert instants(frames) == pytest.approx(list(range(60)), abs=0.05)
    assert 10 < subject.counts.late < 20


def test_many_missing_packets_of_one_sample_are_a_gap_without_frames() -> None:
    """A peer could otherwise make 3,000 frames of each packet."""
    subject = new_buffer()
    frames = play(subject, *(received(1_000 * n, due(5 * n), ticks=1_000 * n, payload=b"\x11") for n in range(5)))

    assert len(frames) == 5
    assert (subject.counts.lost, subject.counts.concealed_frames) == (4 * 999, 0)


def test_an_interrupted_connection_is_a_gap_without_frames() -> None:
    subject = new_buffer()
    frames = play(subject, on_time(0), on_time(500))

    assert numbers(frames) == [0, 500]
    assert (subject.counts.lost, subject.counts.unsent_ns) == (499, 0)
    assert instants(frames)[-1] == pytest.approx(500, abs=0.2)


def test_the_uncertainty_contains_that_of_the_arrivals() -> None:
    exact = play(new_buffer(), *(on_time(n) for n in range(100)))
    vague = play(new_buffer(), *(on_time(n, uncertainty_ns=NS_PER_MS) for n in range(100)))

    assert vague[-1].uncertainty_ns - exact[-1].uncertainty_ns == pytest.approx(NS_PER_MS, abs=1_000)


def test_a_flood_of_packets_that_never_continue_the_stream_is_bounded() -> None:
    subject = new_buffer()
    subject.add(on_time(0))
    for number in range(2, 2_000, 2):
        subject.add(received(number, due(0)))
        assert len(subject._waiting) <= MAX_WAITING + 1


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
                received(number, at_ns, ticks=number * 160 + shift, source=source, kind=kind, payload=payload)
            )
    return packets


@thorough
@given(STEPS)
def test_packets_and_sequence_numbers_add_up(steps: list[tuple[int, int, str, int, int, int]]) -> None:
    subject = new_buffer()
    packets = stream(steps)
    frames = play(subject, *packets) + subject.expire(NEVER_NS)

    counts = subject.counts
    assert counts.played + counts.late + counts.without_audio + counts.bad_audio == len(packets)
    by_source: dict[int, list[int]] = {}
    for packet in packets:
        by_source.setdefault(packet.source, []).append(packet.sequence)
    spans = sum(max(sequences) - sequences[0] + 1 for sequences in by_source.values())
    assert len(packets) + counts.lost == spans
    assert counts.concealed_frames == sum(not frame.payload_bytes for frame in frames)


@thorough
@given(STEPS)
def test_no_frame_is_played_twice_and_none_out_of_order(steps: list[tuple[int, int, str, int, int, int]]) -> None:
    subject = new_buffer()
    packets = stream(steps)
    frames = play(subject, *packets) + subject.expire(NEVER_NS)

    whole = [number for frame in frames if len(frame.audio) == 160 and (number := number_of(frame)) is not None]
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
).map(lambda packet: build_packet(*packet)) | st.binary(max_size=40).map(lambda data: b"\x80\0" + data)


@thorough
@given(st.lists(st.tuples(WIRE, st.integers(0, 200)), max_size=150))
def test_hostile_packets_raise_no_error_and_are_all_counted(packets: list[tuple[bytes, int]]) -> None:
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
