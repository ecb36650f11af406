"""The starts of connections: at even intervals, but later if the service requests a delay."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.units import NS_PER_S
from bench.catalogue.timeouts import MAX_HOLD_NS
from bench.load.execution.pairs import WorkerSlot
from bench.load.execution.target_state import (
    MAX_WAIT_NS,
    Limited,
    StartPacer,
    earliest_ns,
    pacer_of,
)
from rtbench_simulator.quota import MinuteQuota

MINUTE_NS = 60 * NS_PER_S


def starts(pacer: StartPacer, *arrivals: int) -> list[int]:
    """Return the starts of pairs that arrive at these instants. Each start is acquired before
    the next pair arrives.
    """
    taken = []
    for now_ns in arrivals:
        taken.append(earliest_ns([pacer], now_ns))
        pacer.acquire(taken[-1])
    return taken


def after_a_wait(pacer: StartPacer, what: Limited = "connection") -> int:
    """Report a refusal to the pacer. Return the instant at which the wait after the refusal
    ends.
    """
    pacer.on_throttled(what, 0, 0, None)
    return pacer.earliest_ns(0)


PACED: dict[str, tuple[float | None, list[tuple[int, int, int | None]], list[int], list[int]]] = {
    # (rate per minute, refusals of connections, arrivals of pairs, starts of pairs)
    "without a rate each start is immediate": (None, [], [5, 5, 9], [5, 5, 9]),
    "a rate of zero is no limit": (0, [], [7], [7]),
    "simultaneous starts are evenly spaced": (30, [], [0, 0, 0], [0, 2 * NS_PER_S, 4 * NS_PER_S]),
    "idle time allows no burst": (
        60,
        [],
        [0, MINUTE_NS, MINUTE_NS],
        [0, MINUTE_NS, MINUTE_NS + NS_PER_S],
    ),
    "no start before the retry-after": (None, [(0, 10, 5 * NS_PER_S)], [20], [10 + 5 * NS_PER_S]),
    "starts after a wait keep their gap": (
        12,
        [(0, 0, 5 * NS_PER_S)],
        [1, 1],
        [5 * NS_PER_S, 10 * NS_PER_S],
    ),
    "a retry-after of days is limited to ten minutes": (
        None,
        [(0, 0, 10**6 * NS_PER_S)],
        [1],
        [MAX_HOLD_NS],
    ),
    "simultaneous refusals wait like one": (
        None,
        [(5, 10, None), (5, 20, None), (5, 30, None)],
        [40],
        [10 + NS_PER_S],
    ),
    "a retry-after of zero waits for a second": (None, [(0, 10, 0)], [10], [10 + NS_PER_S]),
}


@pytest.mark.parametrize(("rate", "refusals", "arrivals", "started"), PACED.values(), ids=PACED)
def test_pairs_start_at_their_rate_and_after_retry_after(
    rate: float | None,
    refusals: list[tuple[int, int, int | None]],
    arrivals: list[int],
    started: list[int],
) -> None:
    pacer = StartPacer(rate)
    for refusal in refusals:
        pacer.on_throttled("connection", *refusal)

    assert starts(pacer, *arrivals) == started


@pytest.mark.parametrize(("requested_ns", "own"), [(5 * NS_PER_S, 0), (0, 1), (None, 1)])
def test_only_delays_that_the_service_requested_count_as_requested(
    requested_ns: int | None, own: int
) -> None:
    pacer = StartPacer(None)
    pacer.on_throttled("connection", 0, 0, requested_ns)
    assert pacer.own_delays == own


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=20))
def test_held_time_is_the_time_without_possible_starts(holds: list[tuple[int, int]]) -> None:
    pacer, held = StartPacer(None), set()
    for now_ns, length_ns in sorted(holds):
        pacer.hold(now_ns + length_ns, now_ns)
        held |= set(range(now_ns, now_ns + length_ns))

    assert pacer.held_ns(1_000) == len(held)


@given(
    st.floats(1, 600),
    st.lists(st.tuples(st.booleans(), st.integers(0, 10 * NS_PER_S)), min_size=2, max_size=30),
)
def test_renewals_keep_the_rate_and_start_before_waiting_calls(
    per_minute: float, asking: list[tuple[bool, int]]
) -> None:
    pacer, now_ns, begun_ns = StartPacer(per_minute), 0, []
    for goes_on, after_ns in asking:
        now_ns, waited_for_ns = now_ns + after_ns, pacer.earliest_ns(now_ns + after_ns)
        booked_ns = pacer.reserve(now_ns)
        assert booked_ns == waited_for_ns
        begun_ns.append(booked_ns)
        if not goes_on:
            pacer.acquire(pacer.earliest_ns(now_ns))
            begun_ns.append(pacer.earliest_ns(now_ns) - pacer.interval_ns)

    assert all(later - earlier >= pacer.interval_ns for earlier, later in pairwise(begun_ns))


def test_a_reserved_start_waits_for_the_retry_after() -> None:
    pacer = StartPacer(None)
    booked_ns = pacer.reserve(5)
    assert booked_ns == 5
    pacer.on_throttled("connection", 6, 7, 9 * NS_PER_S)

    assert not pacer.is_due(booked_ns, 8)
    assert pacer.is_due(booked_ns, 7 + 9 * NS_PER_S)


def test_no_start_is_reserved_during_a_probe() -> None:
    pacer = StartPacer(None)
    again_ns = after_a_wait(pacer)
    pacer.acquire(again_ns)
    assert pacer.reserve(again_ns + 1) is None

    pacer.on_success("connection", again_ns)
    assert pacer.reserve(again_ns + 1) is not None


# After a wait.


def test_after_a_wait_one_session_probes_until_it_passes() -> None:
    pacer = StartPacer(None)
    again_ns = after_a_wait(pacer)
    assert not pacer.is_probing
    pacer.acquire(again_ns)

    assert pacer.is_probing
    pacer.on_success("connection", again_ns)
    assert not pacer.is_probing


def test_a_probe_without_a_result_is_followed_by_another() -> None:
    pacer = StartPacer(None)
    again_ns = after_a_wait(pacer)
    pacer.acquire(again_ns)
    pacer.ended(again_ns - 1)  # a session that connected before the wait
    assert pacer.is_probing

    pacer.ended(again_ns)
    assert not pacer.is_probing
    pacer.acquire(again_ns + NS_PER_S)
    assert pacer.is_probing


def test_each_further_refusal_doubles_the_gap_between_starts_up_to_a_minute() -> None:
    pacer, now_ns, distances = StartPacer(None), 0, []
    for _ in range(8):
        pacer.on_throttled("connection", now_ns, now_ns, NS_PER_S)
        now_ns = pacer.earliest_ns(now_ns)
        pacer.acquire(now_ns)
        distances.append((pacer.earliest_ns(now_ns) - now_ns) // NS_PER_S)

    assert distances == [1, 2, 4, 8, 16, 32, 60, 60]
    assert MAX_WAIT_NS == 60 * NS_PER_S


def refusals(allowance: MinuteQuota, arrivals: int) -> int:
    """Let this number of sessions wait for their start from the beginning.

    Return the number of refusals by the service.
    """
    pacer, refused, now_ns = StartPacer(None), 0, 0
    for _ in range(arrivals):
        now_ns = pacer.earliest_ns(now_ns)
        pacer.acquire(now_ns)
        wait_ns = allowance.wait_ns(1, now_ns)
        refused += wait_ns > 0
        if wait_ns:
            pacer.on_throttled("connection", now_ns, now_ns, wait_ns)
        else:
            allowance.spend(1, now_ns)
            pacer.on_success("connection", now_ns)
    return refused


@given(st.integers(10, 120))
def test_starts_approach_the_unknown_rate_limit_of_a_service(per_minute: int) -> None:
    assert refusals(MinuteQuota(per_minute), per_minute + 300) < 75


# Several processes that alternate.


@given(st.integers(1, 6), st.integers(1, 600), st.integers(0, MINUTE_NS), st.data())
def test_starts_are_even_over_all_processes(
    workers: int, per_minute: int, began_ns: int, data: st.DataObject
) -> None:
    taken = []
    for worker in range(workers):
        arrivals = sorted(
            data.draw(st.lists(st.integers(0, 5 * MINUTE_NS), min_size=1, max_size=10))
        )
        taken += starts(
            pacer_of(per_minute, WorkerSlot(0, began_ns, worker=worker, workers=workers)), *arrivals
        )

    gap_ns = 60 * NS_PER_S // per_minute
    # each start is rounded to 1 ns
    assert all(later - earlier >= gap_ns - 2 for earlier, later in pairwise(sorted(taken)))


def test_two_processes_start_half_an_interval_apart() -> None:
    first, second = (
        starts(pacer_of(30, WorkerSlot(0, 100, worker=worker, workers=2)), 101, 101)
        for worker in range(2)
    )

    assert second == [100 + 2 * NS_PER_S, 100 + 6 * NS_PER_S]
    assert first == [100 + 4 * NS_PER_S, 100 + 8 * NS_PER_S]
