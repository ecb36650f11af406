"""What the event loop's polls prove about an empty socket."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from bench.transport import loop
from bench.transport.loop import FEWEST_DELAYS, HELD_UP_NS, LoopWatch
from bench.units import NS_PER_S

BEGIN, END, PREVIOUS = 900, 1_000, 700
"""When the last poll began and returned, and when the one before it returned."""
STAMP = 990


def watch_after(polls: int, *, blocked: bool, delays_ns: tuple[int, ...] = ()) -> LoopWatch:
    watch = LoopWatch()
    watch.polls, watch.blocked, watch.wake_delays_ns = polls, blocked, delays_ns
    watch.poll_begin_ns, watch.poll_end_ns, watch.previous_poll_end_ns = BEGIN, END, PREVIOUS
    return watch


@pytest.mark.parametrize(
    ("polls", "blocked", "delays_ns", "stamp", "empty"),
    [
        (5, False, (), STAMP, 0),  # the first poll since the reader waits, and it did not block
        (6, False, (), STAMP, 0),
        (7, False, (), STAMP, PREVIOUS),
        (6, True, (), STAMP, BEGIN),
        (7, True, (), STAMP, BEGIN),
        (6, True, (40,), STAMP, END - 40),
        (6, True, (40, 70), STAMP, END - 40),
        (6, True, (40, 70), 950, END - 70),  # the usual delay is refuted, the longest of late is not
        (6, True, (300,), STAMP, BEGIN),
        (6, False, (40, 70), STAMP, 0),  # a delay says something of polls that blocked only
        (6, True, (5, 7), STAMP, BEGIN),
        (7, True, (5, 7), 800, PREVIOUS),
        (7, True, (5, 7), 600, 0),
    ],
)
def test_the_latest_instant_at_which_the_socket_was_surely_empty(
    polls: int, blocked: bool, delays_ns: tuple[int, ...], stamp: int, empty: int
) -> None:
    watch = watch_after(polls, blocked=blocked, delays_ns=delays_ns)

    assert watch.empty_ns(5, stamp) == empty


def test_a_poll_that_slept_through_a_timer_was_held_up_and_no_usual_delay_holds_for_it() -> None:
    watch = watch_after(7, blocked=True, delays_ns=(40, 70))
    watch.held_up = True

    assert watch.empty_ns(5, STAMP) == BEGIN
    assert watch.empty_ns(5, 800) == PREVIOUS


def test_a_poll_that_was_held_up_proves_sockets_empty_at_its_beginning_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was stopped returns without what came meanwhile."""
    watch = LoopWatch()
    times = iter([100, 200, 300, 300 + 2 * HELD_UP_NS, 400 + 2 * HELD_UP_NS, 500 + 2 * HELD_UP_NS])
    monkeypatch.setattr(loop, "monotonic_ns", lambda: next(times))
    watch.wakes_by(1_000)
    proved = []
    for _ in range(3):
        watch._before_poll()
        watch._after_poll()
        proved.append((watch.previous_poll_end_ns, watch.held_up))

    assert proved[1:] == [(200, True), (300, True)]


def test_a_delay_of_a_poll_that_was_held_up_is_not_learned() -> None:
    watch = LoopWatch()
    watch.held_up = True

    assert learn(watch, 10, 30, 20) == ()


@pytest.mark.parametrize(("late_ns", "held_up"), [(0, False), (HELD_UP_NS, False), (HELD_UP_NS + 1, True)])
def test_a_poll_is_held_up_that_returns_long_after_it_was_to(late_ns: int, held_up: bool) -> None:
    watch = LoopWatch()
    watch.wakes_by(1_000)

    assert watch.is_held_up(1_000 + late_ns) is held_up


def test_where_nothing_wakes_the_loop_it_may_sleep_for_ever() -> None:
    assert not LoopWatch().is_held_up(1 << 61)


def learn(watch: LoopWatch, *delays_ns: int) -> tuple[int, ...]:
    for delay_ns in delays_ns:
        watch.learn_delay(watch.poll_end_ns - delay_ns)
    return watch.wake_delays_ns


def test_the_first_delays_stand_by_their_largest() -> None:
    watch = LoopWatch()

    assert learn(watch, 10, 30) == ()
    assert learn(watch, 20) == (30,)
    assert learn(watch, 90) == (90,)
    assert learn(watch, 5) == (90,)


def test_after_a_second_the_delays_are_the_p99_and_the_largest_of_that_second() -> None:
    watch = LoopWatch()
    learn(watch, *range(1, 200))
    watch.poll_end_ns += NS_PER_S

    assert learn(watch, 200) == (198, 200)
    assert learn(watch, *range(10_000, 10_100)) == (198, 200)
    watch.poll_end_ns += NS_PER_S
    assert learn(watch, 1) == (10_098, 10_099)


def test_a_second_with_few_delays_is_prolonged() -> None:
    watch = LoopWatch()
    watch.poll_end_ns += NS_PER_S

    assert learn(watch, *[7] * (FEWEST_DELAYS - 2)) == (7,)
    assert learn(watch, 900) == (900,)
    assert learn(watch, 8) == (900, 900)  # p99 of 20 is the largest
    watch.poll_end_ns += NS_PER_S
    assert learn(watch, *[8] * FEWEST_DELAYS) == (8, 8)


def test_polls_are_counted_and_a_loop_that_sleeps_is_seen_to_block() -> None:
    watch = LoopWatch()
    before = watch.polls
    seen: list[bool] = []
    for _ in range(50):  # one blocking poll is enough; a poll may return at once
        gevent.sleep(0.001)
        seen.append(watch.blocked)

    assert watch.polls >= before + 50
    assert watch.previous_poll_end_ns <= watch.poll_begin_ns <= watch.poll_end_ns
    assert any(seen)


def test_a_loop_that_has_something_to_do_does_not_block() -> None:
    watch = LoopWatch()
    seen: list[bool] = []
    for _ in range(50):
        gevent.sleep(0)
        seen.append(watch.blocked)

    assert not all(seen)


def test_there_is_one_watch_for_a_hub() -> None:
    hub: Any = gevent.get_hub()

    assert LoopWatch.of_hub() is LoopWatch.of_hub() is hub.rtbench_loop_watch
