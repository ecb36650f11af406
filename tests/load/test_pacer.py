"""Connection starts: evenly spaced, and held back where the service asks for it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.load.pacer import LONGEST_HOLD_NS, SECOND_NS, Pacer
from bench.load.pairs import reserve

MINUTE_NS = 60 * SECOND_NS


def starts(pacer: Pacer, *arrivals: int) -> list[int]:
    return [reserve([pacer], now_ns) for now_ns in arrivals]


def test_without_a_rate_every_start_is_now() -> None:
    assert starts(Pacer(None), 5, 5, 9) == [5, 5, 9]
    assert starts(Pacer(0), 7) == [7]


def test_starts_that_come_together_are_spread_evenly() -> None:
    assert starts(Pacer(30), 0, 0, 0) == [0, 2 * SECOND_NS, 4 * SECOND_NS]


def test_idle_time_earns_no_burst() -> None:
    assert starts(Pacer(60), 0, MINUTE_NS, MINUTE_NS) == [0, MINUTE_NS, MINUTE_NS + SECOND_NS]


@given(st.floats(1, 6000), st.lists(st.integers(0, MINUTE_NS), min_size=2, max_size=50))
def test_no_two_starts_are_closer_than_the_interval(per_minute: float, arrivals: list[int]) -> None:
    taken = starts(Pacer(per_minute), *sorted(arrivals))

    assert all(later - earlier >= int(60e9 / per_minute) for earlier, later in pairwise(taken))
    assert all(start >= now for start, now in zip(taken, sorted(arrivals), strict=True))


def test_nothing_starts_before_the_wait_that_the_service_asked_for() -> None:
    pacer = Pacer(None)
    pacer.throttled(0, 10, 5 * SECOND_NS)

    assert pacer.holds(5 * SECOND_NS)
    assert starts(pacer, 20) == [10 + 5 * SECOND_NS]
    assert not pacer.holds(10 + 5 * SECOND_NS)


def test_starts_after_a_wait_are_spread_as_ever() -> None:
    pacer = Pacer(60)
    pacer.throttled(0, 0, 5 * SECOND_NS)

    assert starts(pacer, 1, 1) == [5 * SECOND_NS, 6 * SECOND_NS]


def test_a_service_that_asks_for_days_is_asked_again_after_ten_minutes() -> None:
    pacer = Pacer(None)
    pacer.throttled(0, 0, 10**6 * SECOND_NS)

    assert starts(pacer, 1) == [LONGEST_HOLD_NS]


def test_waits_that_nobody_asked_for_double_up_to_a_minute() -> None:
    pacer, now_ns, waits = Pacer(None), 0, []
    for _ in range(8):
        pacer.throttled(now_ns, now_ns, None)
        waits.append((pacer.earliest_ns(now_ns) - now_ns) // SECOND_NS)
        now_ns = pacer.earliest_ns(now_ns)

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_many_that_are_refused_at_once_wait_as_long_as_one() -> None:
    pacer = Pacer(None)
    for refused_ns in (10, 20, 30):
        pacer.throttled(5, refused_ns, None)

    assert starts(pacer, 40) == [10 + SECOND_NS]


def test_after_a_connection_since_the_last_wait_the_next_one_is_the_first_again() -> None:
    pacer = Pacer(None)
    pacer.throttled(0, 0, None)
    pacer.throttled(SECOND_NS, SECOND_NS, None)
    pacer.opened(3 * SECOND_NS)
    pacer.throttled(10 * SECOND_NS, 10 * SECOND_NS, None)

    assert starts(pacer, 10 * SECOND_NS) == [11 * SECOND_NS]


def test_connections_from_before_a_wait_do_not_shorten_the_next() -> None:
    """They are told of when their sessions end, which may be at any time."""
    pacer, now_ns, waits = Pacer(None), 10 * SECOND_NS, []
    for _ in range(4):
        pacer.throttled(now_ns, now_ns, None)
        waits.append((pacer.earliest_ns(now_ns) - now_ns) // SECOND_NS)
        now_ns = pacer.earliest_ns(now_ns)
        pacer.opened(5 * SECOND_NS)
        pacer.opened(now_ns - 1)

    assert waits == [1, 2, 4, 8]


def test_a_service_that_asks_for_no_wait_at_all_is_left_alone_for_a_second() -> None:
    pacer = Pacer(None)
    pacer.throttled(0, 10, 0)

    assert starts(pacer, 10) == [10 + SECOND_NS]


def test_what_is_held_twice_counts_once_and_only_as_far_as_it_has_passed() -> None:
    pacer = Pacer(None)
    pacer.hold(10, 0)
    pacer.hold(15, 5)
    pacer.hold(12, 6)

    assert [pacer.held_ns(now) for now in (6, 15, 99)] == [6, 15, 15]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=20))
def test_time_held_is_the_time_in_which_nothing_could_start(holds: list[tuple[int, int]]) -> None:
    pacer, held = Pacer(None), set()
    for now_ns, length_ns in sorted(holds):
        pacer.hold(now_ns + length_ns, now_ns)
        held |= set(range(now_ns, now_ns + length_ns))

    assert pacer.held_ns(1_000) == len(held)
