"""Pauses of a sender that its timestamps do not count, and standstills of the path."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NEVER_NS, NS_PER_MS
from bench.protocols.rtp.jitter import Frame, JitterBuffer
from bench.protocols.rtp.rtp import RtpPacket, RtpReceiver, build_packet
from tests.examples import thorough
from tests.transport.media.path import HOLD_NS, START_NS, new_buffer, number_of

TALK_MS = 3_000
EARLY_NS = NS_PER_MS // 10
Delay = Callable[[random.Random], float]


def clean(chance: random.Random) -> float:
    return chance.random() / 10


def busy(chance: random.Random) -> float:
    return chance.expovariate(1)


def uniform(chance: random.Random) -> float:
    return chance.random() * 20


class Talk(NamedTuple):
    """An utterance after a pause of `pause_ms`, of which the timestamps count `counted_ms`.

    Its first packets, of `ahead_ms`, are sent at once. If it `begins_again`, its numbers are those
    of the first one.
    """

    pause_ms: float = 0
    counted_ms: float = 0
    ms: int = TALK_MS
    marker: bool = True
    ahead_ms: int = 0
    begins_again: bool = False


class Played(NamedTuple):
    frames: list[Frame]
    sent_ns: list[int]
    arrived: int
    buffer: JitterBuffer
    receiver: RtpReceiver

    @property
    def errors(self) -> list[tuple[int, int]]:
        """(error, uncertainty) of each frame that was received."""
        heard = [
            (frame, number) for frame in self.frames if (number := number_of(frame)) is not None
        ]
        return [
            (frame.at_ns - self.sent_ns[number], frame.uncertainty_ns) for frame, number in heard
        ]

    @property
    def numbers(self) -> list[int | None]:
        return [number_of(frame) for frame in self.frames]


def play(
    talks: Sequence[Talk],
    delay: Delay = clean,
    *,
    ptime: int = 20,
    loss: float = 0.0,
    drift_ppm: int = 0,
    seed: int = 1,
    changed: Callable[[int, float], float | None] = lambda number, at_ms: at_ms,
) -> Played:
    """Play some utterances. `changed` returns when a packet arrives instead; None if it is lost."""
    chance = random.Random(seed)
    first = (chance.getrandbits(16), chance.getrandbits(32))
    (sequence, timestamp), at_ms, number = first, 0.0, 0
    rate = 1 + drift_ppm / 1e6
    sent: list[int] = []
    arrivals: list[tuple[float, int, bytes]] = []
    for talk in talks:
        at_ms += talk.pause_ms * rate
        timestamp += int(talk.counted_ms * 8)
        if talk.begins_again:
            sequence, timestamp = first
        for index in range(talk.ms // ptime):
            sent_ms = at_ms if index * ptime >= talk.ahead_ms else at_ms - index * ptime
            sent.append(START_NS + int(sent_ms * NS_PER_MS))
            packet = RtpPacket(
                0,
                sequence % 65_536,
                timestamp % (1 << 32),
                5,
                number.to_bytes(4) * 2 * ptime,
                talk.marker and not index,
            )
            # a stream starts in order
            arrives_ms = changed(number, sent_ms + (delay(chance) if number else 0))
            if arrives_ms is not None and chance.random() >= loss:
                arrivals.append((arrives_ms, number, build_packet(*packet)))
            sequence, timestamp, number, at_ms = (
                sequence + 1,
                timestamp + 8 * ptime,
                number + 1,
                at_ms + ptime * rate,
            )
    receiver, buffer = RtpReceiver(8_000, {0}), new_buffer()
    frames: list[Frame] = []
    for arrives_ms, _, data in sorted(arrivals):
        received = receiver.receive(data, Arrival(START_NS + int(arrives_ms * NS_PER_MS)))
        frames += [] if received is None else buffer.add(received)
    return Played(frames + buffer.expire(NEVER_NS), sent, len(arrivals), buffer, receiver)


@pytest.mark.parametrize("pause_ms", [20, 40, 60])
def test_an_underrun_that_is_not_longer_than_the_jitter_is_found_within_a_second(
    pause_ms: int,
) -> None:
    played = play([Talk(), Talk(pause_ms, ms=4_000)], uniform)
    late = [error < -EARLY_NS for error, _ in played.errors[150:]]

    assert played.buffer.counts.uncounted_pauses == 1
    assert not any(late[50:])


@pytest.mark.parametrize("counted_ms", [0, 3_000])
@pytest.mark.parametrize("ahead_ms", [40, 240, 1_500])
def test_packets_that_are_sent_ahead_of_their_clock_are_played_when_they_arrive(
    ahead_ms: int, counted_ms: int
) -> None:
    talks = [
        Talk(ahead_ms=0 if ahead_ms < HOLD_NS // NS_PER_MS else ahead_ms),
        *[Talk(3_000, counted_ms, ahead_ms=ahead_ms)] * 3,
    ]
    played = play(talks, lambda chance: 0.0)
    errors_ns = [error for error, _ in played.errors]

    assert (played.buffer.counts.late, played.buffer.counts.played) == (0, played.arrived)
    assert errors_ns[:: TALK_MS // 20] == pytest.approx([0] * 4, abs=EARLY_NS)
    assert all(-EARLY_NS <= error <= ahead_ms * NS_PER_MS for error in errors_ns)


def in_silence(
    gap_ms: int, late_ms: dict[int, float], *, counted_ms: int | None = None, ms: int = 20
) -> Played:
    """Play an utterance, eight pauses with some packets between them, which may be late, and then
    another utterance.
    """
    counted_ms = gap_ms if counted_ms is None else counted_ms
    packets = ms // 20
    talks = [Talk(), *[Talk(gap_ms, counted_ms, ms)] * 8, Talk(gap_ms, counted_ms)]
    first = TALK_MS // 20
    return play(
        talks,
        changed=lambda number, at_ms: at_ms + late_ms.get((number - first) // packets, 0),
    )


@pytest.mark.parametrize("gap_ms", [500, 2_000, 5_000, 30_000])
@pytest.mark.parametrize(
    "late_ms",
    [{2: 15}, {2: 100}, {2: 1_500}, {2: 15, 3: 6.3, 7: 30}],
    ids=str,
)
def test_a_late_packet_between_counted_pauses_is_no_pause(
    gap_ms: int, late_ms: dict[int, float]
) -> None:
    played = in_silence(gap_ms, {n: min(late, gap_ms - 100) for n, late in late_ms.items()})

    assert played.buffer.counts.uncounted_pauses == played.buffer.counts.resyncs == 0
    late = [error for error, _ in played.errors if error > EARLY_NS]
    assert len(late) == len(late_ms)


@pytest.mark.parametrize(("late_ms", "ms"), [({2: 15, 3: 15}, 20), ({2: 15}, 40), ({2: 80}, 60)])
def test_several_late_packets_in_silence_are_no_pause_if_talk_is_in_time(
    late_ms: dict[int, float], ms: int
) -> None:
    counts = in_silence(5_000, late_ms, ms=ms).buffer.counts

    assert counts.uncounted_pauses == counts.resyncs == 0


@pytest.mark.parametrize("counted_ms", [0, 4_900, 4_985])
def test_pauses_between_single_packets_that_timestamps_do_not_count_are_all_counted(
    counted_ms: int,
) -> None:
    counts = in_silence(5_000, {}, counted_ms=counted_ms).buffer.counts

    assert counts.uncounted_pauses == counts.resyncs == 9


TALKS = st.lists(
    st.builds(
        Talk,
        st.sampled_from([0, 60, 100, 300, 1_000, 5_000]),
        st.sampled_from([0, 0, 500, 1_000]),
        st.sampled_from([20, 200, 1_000, 2_000]),
        st.booleans(),
        st.sampled_from([0, 0, 240]),
        st.sampled_from([False, False, True]),
    ),
    min_size=1,
    max_size=5,
)


@thorough
@given(
    TALKS,
    st.sampled_from([clean, busy, uniform]),
    st.sampled_from([0.0, 0.05]),
    st.integers(0, 1_000),
)
def test_each_frame_is_played_at_most_once_in_order_and_each_packet_is_counted_once(
    talks: list[Talk], delay: Delay, loss: float, seed: int
) -> None:
    played = play(talks, delay, loss=loss, seed=seed)

    heard = [number for number in played.numbers if number is not None]
    counts, seen = played.buffer.counts, played.receiver.counts
    assert len(heard) == len(set(heard)) == counts.played
    assert [frame.at_ns for frame in played.frames] == sorted(
        frame.at_ns for frame in played.frames
    )
    assert seen.received + seen.strays + seen.bad == played.arrived
    assert counts.played + counts.late + seen.duplicates == seen.received
    assert played.receiver.lost == counts.lost - seen.duplicates


@pytest.mark.parametrize("jitter_ms", [0.1, 10, 20, 40])
@pytest.mark.parametrize("step", [0, -160, 1_000_000])
@pytest.mark.parametrize("ptime", [20, 40])
def test_timestamps_without_a_clock_leave_a_bound_of_the_jitter(
    ptime: int, step: int, jitter_ms: float
) -> None:
    """The timestamps stand still, go back, or jump with each packet."""
    chance = random.Random(3)
    receiver, buffer = RtpReceiver(8_000, {0}), new_buffer()
    frames: list[Frame] = []
    arrivals = [ptime * number + chance.random() * jitter_ms for number in range(300)]
    for sent, at_ms in sorted(enumerate(arrivals), key=lambda each: each[1]):
        timestamp = (1_000 + sent * step) % (1 << 32)
        payload = (sent + 1).to_bytes(4) * 2 * ptime
        data = build_packet(*RtpPacket(0, sent, timestamp, 5, payload, False))
        packet = receiver.receive(data, Arrival(START_NS + int(at_ms * NS_PER_MS)))
        frames += [] if packet is None else buffer.add(packet)
    bounds = [
        (
            frame.at_ns - START_NS - (number - 1) * ptime * NS_PER_MS,
            max(frame.uncertainty_ns, buffer.start_uncertainty_ns),
        )
        for frame in frames
        if (number := number_of(frame))
    ]

    assert len(bounds) > 200
    assert all(-EARLY_NS <= error <= bound + EARLY_NS for error, bound in bounds)
    assert (bounds[-1][1] == 0) == (jitter_ms < 1)
    assert buffer.counts.resyncs > 200
