"""The errors of the instants of the jitter buffer, relative to the media clock of a simulated
sender.

These are the numbers of the docstring of `bench.protocols.rtp.jitter`. On a path without jitter
that a player must smooth, the true instant is the arrival of the packet: its delay is a part of the
error here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import chain, repeat

import pytest

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.protocols.rtp.jitter import Frame
from bench.protocols.rtp.offset import BLOCK_PACKETS
from bench.wire.connection import ASSUMED_START_NS
from tests.transport.media.jitter_errors import EARLY_NS, SETTLED, errors, uniform
from tests.transport.media.path import FRAME_NS, START_NS, Path, new_buffer, received

CLEAN_NS = NS_PER_MS // 10


def clean(chance: random.Random) -> float:
    return chance.random() * CLEAN_NS


def delay_on_arrival_ns(delay_ns: Callable[[random.Random], float]) -> int:
    """Return the longest delay of a packet that is played when it arrives."""
    return CLEAN_NS if delay_ns is clean else 0


def exponential(chance: random.Random) -> float:
    return min(chance.expovariate(1 / 5), 60) * NS_PER_MS


@pytest.mark.parametrize("drift_ppm", [0, 200, -200])
@pytest.mark.parametrize(
    ("delay_ns", "settled_ms"), [(clean, 0.2), (uniform, 2.5), (exponential, 2.5)]
)
def test_instants_follow_the_media_clock(
    delay_ns: Callable[[random.Random], float], settled_ms: float, drift_ppm: int
) -> None:
    path = Path(delay_ns, loss=0.01, drift_ppm=drift_ppm, seed=drift_ppm)
    frames, buffer, _ = path.play(4_000)
    measured, delay_limit_ns = errors(path, frames), delay_on_arrival_ns(delay_ns)

    assert len(measured) == buffer.counts.played
    assert 10 < buffer.counts.lost < 90
    assert all(
        -EARLY_NS <= error <= uncertainty_ns + delay_limit_ns for error, uncertainty_ns in measured
    )
    assert max(error for error, _ in measured[SETTLED:]) <= settled_ms * NS_PER_MS


@pytest.mark.parametrize("drift_ppm", [0, 200, -200])
@pytest.mark.parametrize("delay_ns", [uniform, exponential])
def test_the_uncertainty_contains_the_error_with_the_stated_confidence(
    delay_ns: Callable[[random.Random], float], drift_ppm: int
) -> None:
    covered = total = 0
    for seed in range(20):
        path = Path(
            delay_ns,
            loss=0.01,
            drift_ppm=drift_ppm,
            seed=seed,
            is_silent=lambda number: number % 500 < 150,
        )
        measured = errors(path, path.play(700)[0])
        covered += sum(-EARLY_NS <= error <= uncertainty_ns for error, uncertainty_ns in measured)
        total += len(measured)

    assert covered >= 0.999 * total


def test_the_uncertainty_is_small_on_a_clean_path_and_after_four_seconds_with_jitter() -> None:
    for delay_ns, limit_ms in ((clean, 0.6), (uniform, 2.5)):
        path = Path(delay_ns, loss=0.01)
        frames = path.play(1_000)[0]

        assert frames[0].uncertainty_ns == 20 * NS_PER_MS
        assert max(frame.uncertainty_ns for frame in frames[SETTLED:]) < limit_ms * NS_PER_MS


def wide(chance: random.Random) -> float:
    return chance.random() * 60 * NS_PER_MS


@pytest.mark.parametrize("drift_ppm", [0, 200, -200])
@pytest.mark.parametrize("delay_ns", [clean, uniform, exponential, wide])
def test_later_packets_bound_the_error_of_the_first_frames(
    delay_ns: Callable[[random.Random], float], drift_ppm: int
) -> None:
    """With delays of up to 60 ms, the assumed uncertainty of 20 ms is wrong."""
    covered = total = 0
    delay_limit_ns = delay_on_arrival_ns(delay_ns)
    for seed in range(20):
        path = Path(delay_ns, loss=0.01, drift_ppm=drift_ppm, seed=seed)
        frames, buffer, _ = path.play(SETTLED + 50)
        first = [each for each in errors(path, frames) if each[1] >= ASSUMED_START_NS]
        better_ns = ASSUMED_START_NS - buffer.start_uncertainty_ns
        covered += sum(
            -EARLY_NS <= error <= bound_ns - better_ns + delay_limit_ns for error, bound_ns in first
        )
        total += len(first)

    assert total > 20 * 10
    assert covered >= 0.999 * total


def test_first_frames_have_the_assumed_bound_until_the_path_is_known_to_have_no_jitter() -> None:
    few, some, many = (
        Path(clean).play(count)[1] for count in (BLOCK_PACKETS, BLOCK_PACKETS + 2, 1_000)
    )

    assert few.start_uncertainty_ns >= ASSUMED_START_NS
    assert not few.starts_on_arrival
    assert (some.start_uncertainty_ns, some.starts_on_arrival) == (0, True)
    assert (many.start_uncertainty_ns, many.starts_on_arrival) == (0, True)


@pytest.mark.parametrize("count", [4, 13, BLOCK_PACKETS])
def test_late_first_packets_widen_the_bound_of_the_first_frames_of_a_short_call_too(
    count: int,
) -> None:
    delays_ns = chain((late_ms * NS_PER_MS for late_ms in (42, 23, 4)), repeat(0.0))
    frames, buffer, _ = (path := Path(lambda _: next(delays_ns))).play(count)
    first_error_ns, _ = errors(path, frames)[0]

    assert first_error_ns <= buffer.start_uncertainty_ns <= first_error_ns + 21 * NS_PER_MS


@pytest.mark.parametrize("count", [BLOCK_PACKETS + 2, 100])
def test_late_first_packets_of_a_path_without_jitter_are_played_when_they_arrive(
    count: int,
) -> None:
    delays_ns = chain((late_ms * NS_PER_MS for late_ms in (42, 23, 4)), repeat(0.0))
    frames, buffer, _ = (path := Path(lambda _: next(delays_ns))).play(count)

    assert [error for error, _ in errors(path, frames)[:4]] == [
        42 * NS_PER_MS,
        23 * NS_PER_MS,
        4 * NS_PER_MS,
        0,
    ]
    assert (buffer.start_uncertainty_ns, buffer.starts_on_arrival) == (0, True)


@pytest.mark.parametrize("slow_first", [True, False])
def test_the_bound_of_the_first_frames_is_the_largest_one_of_several_streams(
    slow_first: bool,
) -> None:
    buffer = new_buffer()
    for source, is_slow in enumerate((slow_first, not slow_first)):
        for number in range(60):
            # jitter that a player must smooth
            late_ms = 40 if is_slow and not number else 10 * (number % 2)
            at_ns = START_NS + source * NS_PER_S + number * FRAME_NS + late_ms * NS_PER_MS
            buffer.add(received(number, at_ns, source=source))

    assert buffer.counts.resyncs == 1
    assert not buffer.starts_on_arrival
    assert buffer.start_uncertainty_ns >= 40 * NS_PER_MS


def test_an_arrival_without_a_kernel_timestamp_bounds_the_first_frames_without_jitter() -> None:
    buffer, frames = new_buffer(), list[Frame]()
    for number in range(40):
        at_ns = START_NS + number * FRAME_NS
        frames += buffer.add(
            received(number, at_ns, uncertainty_ns=NS_PER_MS if number < 20 else 1_000)
        )

    assert buffer.start_uncertainty_ns == NS_PER_MS
    assert [frame.uncertainty_ns for frame in frames[18:]] == [NS_PER_MS] * 2 + [1_000] * 20


def test_a_long_silence_does_not_widen_the_bound_of_the_first_frames() -> None:
    spoken = Path(clean, is_silent=lambda number: 100 <= number < 1_000)
    uncertainty_ns = spoken.play(1_200)[1].start_uncertainty_ns

    assert uncertainty_ns < 3 * NS_PER_MS
