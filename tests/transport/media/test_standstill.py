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
from bench.transport.media.jitter import Frame, JitterBuffer
from bench.transport.media.rtp import RtpPacket, RtpReceiver, build_packet
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

    Its first packets, of `ahead_ms`, are sent at once. If it `begins_again`, its numbers are those of the first one.
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
        heard = [(frame, number) for frame in self.frames if (number := number_of(frame)) is not None]
        return [(frame.at_ns - self.sent_ns[number], frame.uncertainty_ns) for frame, number in heard]

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
            arrives_ms = changed(number, sent_ms + (delay(chance) if number else 0))  # a stream starts in order
            if arrives_ms is not None and chance.random() >= loss:
                arrivals.append((arrives_ms, number, build_packet(*packet)))
            sequence, timestamp, number, at_ms = sequence + 1, timestamp + 8 * ptime, number + 1, at_ms + ptime * rate
    receiver, buffer = RtpReceiver(8_000, {0}), new_buffer()
    frames: list[Frame] = []
    for arrives_ms, _, data in sorted(arrivals):
        received = receiver.receive(data, Arrival(START_NS + int(arrives_ms * NS_PER_MS)))
        frames += [] if received is None else buffer.add(received)
    return Played(frames + buffer.expire(NEVER_NS), sent, len(arrivals), buffer, receiver)


def assert_heard_when_sent(played: Played) -> None:
    """Check that each packet that arrived is played when it was sent, within the bound."""
    counts = played.buffer.counts
    assert counts.late == 0
    assert counts.played == played.arrived
    assert counts.lost == counts.concealed_frames
    assert [error for error, bound in played.errors if not -EARLY_NS <= error <= bound + EARLY_NS] == []


@pytest.mark.parametrize("marker", [True, False])
@pytest.mark.parametrize("ptime", [10, 20, 30, 40, 60])
@pytest.mark.parametrize("delay", [clean, busy, uniform])
def test_a_pause_that_the_timestamps_do_not_count_costs_the_pause_and_nothing_more(
    delay: Delay, ptime: int, marker: bool
) -> None:
    pauses_ms = 100, 300, 5_000, 120
    played = play([Talk(), *(Talk(ms, marker=marker) for ms in pauses_ms)], delay, ptime=ptime)

    assert_heard_when_sent(played)
    assert (played.buffer.counts.uncounted_pauses, played.receiver.counts.lost) == (len(pauses_ms), 0)


@pytest.mark.parametrize("pause_ms", [20, 40, 60, 61, 80])
@pytest.mark.parametrize("delay", [clean, busy])
def test_a_short_underrun_moves_all_later_instants(delay: Delay, pause_ms: int) -> None:
    assert_heard_when_sent(play([Talk(), *[Talk(pause_ms, marker=False)] * 4], delay))


@pytest.mark.parametrize("pause_ms", [20, 40, 60])
def test_an_underrun_that_is_not_longer_than_the_jitter_is_found_within_a_second(pause_ms: int) -> None:
    played = play([Talk(), Talk(pause_ms, ms=4_000)], uniform)
    late = [error < -EARLY_NS for error, _ in played.errors[150:]]

    assert played.buffer.counts.uncounted_pauses == 1
    assert not any(late[50:])


@pytest.mark.parametrize("ms", [20, 60, 400, 980])
def test_a_short_answer_after_a_pause_is_heard(ms: int) -> None:
    assert_heard_when_sent(play([Talk(), Talk(5_000, ms=ms)]))


@pytest.mark.parametrize("counted", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("drift_ppm", [0, 200, -200])
def test_timestamps_may_count_a_part_of_the_pause(counted: float, drift_ppm: int) -> None:
    pauses = [Talk(ms, counted * ms) for ms in (300, 1_000, 5_000)]

    assert_heard_when_sent(play([Talk(), *pauses], drift_ppm=drift_ppm))


@pytest.mark.parametrize("pause_ms", [40, 5_000])
def test_a_pause_keeps_the_bound_of_the_first_frames_of_the_call(pause_ms: int) -> None:
    late = play([Talk(), Talk(pause_ms)], changed=lambda number, at_ms: at_ms + max(0, 40 - 20 * number))
    prompt = play([Talk(), Talk(pause_ms)])

    assert late.buffer.start_uncertainty_ns >= 40 * NS_PER_MS
    assert 0 < prompt.buffer.start_uncertainty_ns <= (3 if pause_ms > 60 else 20) * NS_PER_MS


def test_a_pause_that_the_timestamps_count_is_none_of_the_media_clock() -> None:
    played = play([Talk(), Talk(60_000, 60_000), Talk(300, 300)], uniform)

    assert_heard_when_sent(played)
    assert (played.buffer.counts.uncounted_pauses, played.buffer.counts.resyncs) == (0, 0)


@pytest.mark.parametrize("is_lost", [True, False])
@pytest.mark.parametrize("pause_ms", [100, 300, 5_000])
def test_the_first_packet_after_a_pause_may_be_lost_or_reordered(pause_ms: int, is_lost: bool) -> None:
    played = play(
        [Talk(), Talk(pause_ms)],
        changed=lambda number, at_ms: at_ms if number != 150 else None if is_lost else at_ms + 25,
    )

    assert_heard_when_sent(played)
    assert played.buffer.counts.lost == is_lost


@pytest.mark.parametrize("spacing_ms", [0, 2, 5, 10])
@pytest.mark.parametrize("stall_ms", [150, 300, 1_000])
def test_the_delayed_packets_of_a_path_that_stood_still_keep_their_instants(stall_ms: int, spacing_ms: int) -> None:
    """They arrive faster than real time, and then the path is as fast as before."""

    def stalled(number: int, at_ms: float) -> float:
        return max(at_ms, 3_000 + stall_ms + (number - 150) * spacing_ms) if number >= 150 else at_ms

    played = play([Talk(ms=10_000)], changed=stalled)
    counts = played.buffer.counts

    assert (counts.uncounted_pauses, counts.resyncs) == (0, 0)
    assert counts.late > 0
    assert all(-EARLY_NS <= error <= bound + EARLY_NS for error, bound in played.errors)


@pytest.mark.parametrize("spacing_ms", [0, 5, 12, 16])
def test_the_bound_contains_a_sender_that_is_slow_for_some_time(spacing_ms: int) -> None:
    """Its packets are late by up to 40 ms, and catch up so slowly that it may also be another offset."""
    late_ms = [0.0] * 1_500
    for start, first_ms in ((300, 40.0), (420, 25.0), (650, 12.0), (655, 30.0), (1_100, 38.0)):
        for index in range(200):
            left_ms = first_ms - index * (20 - spacing_ms)
            late_ms[start + index] = max(late_ms[start + index], left_ms)

    played = play([Talk(ms=30_000)], busy, changed=lambda number, at_ms: at_ms + late_ms[number])

    assert [error for error, bound in played.errors if not -EARLY_NS <= error <= bound + EARLY_NS] == []
    assert played.buffer.counts.late == 0


@pytest.mark.parametrize("counted_ms", [0, 3_000])
@pytest.mark.parametrize("ahead_ms", [40, 240, 1_500])
def test_packets_that_are_sent_ahead_of_their_clock_are_played_when_they_arrive(ahead_ms: int, counted_ms: int) -> None:
    talks = [
        Talk(ahead_ms=0 if ahead_ms < HOLD_NS // NS_PER_MS else ahead_ms),
        *[Talk(3_000, counted_ms, ahead_ms=ahead_ms)] * 3,
    ]
    played = play(talks, lambda chance: 0.0)
    errors_ns = [error for error, _ in played.errors]

    assert (played.buffer.counts.late, played.buffer.counts.played) == (0, played.arrived)
    assert errors_ns[:: TALK_MS // 20] == pytest.approx([0] * 4, abs=EARLY_NS)
    assert all(-EARLY_NS <= error <= ahead_ms * NS_PER_MS for error in errors_ns)


@pytest.mark.parametrize("pause_ms", [220, 5_000])
@pytest.mark.parametrize("count", [2, 70, 99, 101, 150])
def test_a_recording_that_is_played_again_is_heard_again(count: int, pause_ms: int) -> None:
    again = Talk(pause_ms, ms=count * 20, begins_again=True)
    played = play([again._replace(pause_ms=0), again, again])

    assert played.numbers == list(range(3 * count))
    assert (played.receiver.counts.duplicates, played.receiver.counts.lost) == (0, 0)
    assert (played.receiver.source, played.buffer.counts.late) == (2, 0)


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
@given(TALKS, st.sampled_from([clean, busy, uniform]), st.sampled_from([0.0, 0.05]), st.integers(0, 1_000))
def test_each_frame_is_played_at_most_once_in_order_and_each_packet_is_counted_once(
    talks: list[Talk], delay: Delay, loss: float, seed: int
) -> None:
    played = play(talks, delay, loss=loss, seed=seed)

    heard = [number for number in played.numbers if number is not None]
    counts, seen = played.buffer.counts, played.receiver.counts
    assert len(heard) == len(set(heard)) == counts.played
    assert [frame.at_ns for frame in played.frames] == sorted(frame.at_ns for frame in played.frames)
    assert seen.received + seen.strays + seen.bad == played.arrived
    assert counts.played + counts.late + seen.duplicates == seen.received
    assert seen.expected - seen.received == counts.lost - seen.duplicates
