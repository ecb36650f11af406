"""How far off the instant may be at which a delta is played, by the stamps of all that came before it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.clock import Arrival
from bench.observe.reply_detector import GAP_NS, SILENCE_NS, Playout, ReplyDetector
from bench.protocol.audio import PCM16_16K
from bench.protocol.base import Binary
from bench.protocol.events import CutPayload, Event, LinePlace
from bench.protocol.pcm import PCM
from tests.helpers import MS

FRAME_NS = 20 * MS
LARGEST_NS = MS
"""The largest error of a stamp."""
MINUTES = 10
Frames = list[tuple[int, int, int]]
"""When each frame came by its stamp, how much earlier that may really have been, and how much it was."""


def evenly(step_ns: int, count: int, size: int = 1) -> Iterator[int]:
    """Frames of which so many at a time come after each step."""
    return (GAP_NS * 10 + number // size * step_ns for number in range(count))


def jittering(rng: np.random.Generator, count: int) -> Iterator[int]:
    """Frames of which each tenth is up to 250 ms late, and the others up to 2 ms."""
    at_ns = 0
    for number in range(count):
        late_ns = int(rng.integers(250 * MS if rng.random() < 0.1 else 2 * MS))
        at_ns = max(at_ns, GAP_NS * 10 + number * FRAME_NS + late_ns)
        yield at_ns


def stamped(came_ns: Iterator[int], rng: np.random.Generator) -> Frames:
    """Draw the errors of the stamps of frames; none overtakes another."""
    frames, true_ns = Frames(), 0
    for at_ns in came_ns:
        error_ns = int(rng.integers(LARGEST_NS + 1))
        true_ns = max(true_ns, at_ns - int(rng.integers(error_ns + 1)))
        frames.append((at_ns, error_ns, at_ns - true_ns))
    return frames


@pytest.mark.parametrize(
    "agent", ["sleeps 20.2 ms", "sleeps 23 ms", "bursts, 3 % slow", "bursts, 3 % fast", "jitters", "in time"]
)
def test_the_bound_of_an_instant_does_not_grow_with_the_length_of_a_reply(agent: str) -> None:
    rng, count = np.random.default_rng(1), MINUTES * 60 * 50
    came_ns = {
        "sleeps 20.2 ms": evenly(20_200_000, count),
        "sleeps 23 ms": evenly(23 * MS, count),
        "bursts, 3 % slow": evenly(206 * MS, count, 10),
        "bursts, 3 % fast": evenly(194 * MS, count, 10),
        "jitters": jittering(rng, count),
        "in time": evenly(FRAME_NS, count),
    }[agent]
    told, true = Playout(), Playout()
    for at_ns, error_ns, earlier_ns in stamped(came_ns, rng):
        heard_ns, bound_ns = told.play(at_ns, FRAME_NS, error_ns)
        really_ns, _ = true.play(at_ns - earlier_ns, FRAME_NS)

        assert heard_ns - bound_ns <= really_ns <= heard_ns
        assert bound_ns <= (LARGEST_NS if agent.startswith("sleeps") or agent == "in time" else 3 * LARGEST_NS)


STEPS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 30), st.integers(0, 5), st.floats(0, 1), st.booleans()),
    min_size=1,
    max_size=60,
)
"""(ms after the one before, its length in ms, how many ms its stamp may be off, which share it is, a `clear`)."""


@given(steps=STEPS)
def test_a_delta_is_played_within_its_bound_whatever_stamps_are_off(
    steps: list[tuple[int, int, int, float, bool]],
) -> None:
    """Also between the gap that delays nothing and the one with which the stream begins anew."""
    told, true, at_ns, true_ns, largest_ns = Playout(), Playout(), GAP_NS * 10, 0, 0
    for wait_ms, length_ms, error_ms, share, clears in steps:
        at_ns, error_ns = at_ns + wait_ms * MS, error_ms * MS
        true_ns, largest_ns = max(true_ns, at_ns - round(share * error_ns)), max(largest_ns, error_ns)
        if clears:
            told.clear(at_ns, error_ns)
            true.clear(true_ns)
            continue
        heard_ns, bound_ns = told.play(at_ns, length_ms * MS, error_ns)
        really_ns, _ = true.play(true_ns, length_ms * MS)

        assert heard_ns - bound_ns <= really_ns <= heard_ns
        assert bound_ns <= 3 * largest_ns


def test_a_frame_that_comes_late_makes_none_behind_it_late_and_after_a_gap_the_stream_begins_anew() -> None:
    def second(gap_ms: int) -> int:
        """How much later than before the gap it is heard, what comes with the frame that ends the gap, in ms."""
        playout = Playout()
        playout.play(GAP_NS * 10, FRAME_NS)
        at_ns = GAP_NS * 10 + FRAME_NS + gap_ms * MS
        for _ in range(10):
            playout.play(at_ns, FRAME_NS)
        return (playout.play(at_ns, FRAME_NS).at_ns - GAP_NS * 10 - 11 * FRAME_NS) // MS

    assert [second(gap_ms) for gap_ms in (0, 50, 100, 120, 150, 200, 300)] == [0, 0, 0, 40, 100, 200, 300]


def test_an_agent_that_sleeps_a_little_too_long_between_frames_is_timed_as_well_after_ten_minutes() -> None:
    """Each frame comes 20.2 ms after the one before, with a stamp that may be 0.1 ms off; then a reply begins."""
    detector, error_ns, count = ReplyDetector(PCM16_16K, SILENCE_NS, pauses=True), MS // 10, MINUTES * 60 * 50
    silent, loud = bytes(640), PCM16_16K.encode(np.tile(np.repeat(np.array([3_000, -3_000], np.int16), 8), 20))
    found = list[tuple[Event, Arrival]]()
    for number, at_ns in enumerate(evenly(20_200_000, count + 10)):
        arrival = Arrival(at_ns, error_ns)
        events = detector.listened(PCM.decode(Binary(loud if number >= count else silent)), arrival)
        found += [(event, came) for event, came in detector.events_in(events, arrival) if event.response_id]

    (first, came), *_ = found
    assert came.at_ns == GAP_NS * 10 + count * 20_200_000
    assert isinstance(first.payload, CutPayload)
    assert first.payload.place == LinePlace(waits_ns=0, error_ns=error_ns, uneven_ns=0)
