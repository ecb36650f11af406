"""Pairs: when they start, in which order, in which block, and which of them have event logs."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.load.playing.arm import Pacer, earliest_ns
from bench.load.playing.pairs import block_of, is_sampled, order, phase_of
from bench.units import NS_PER_S


def started(pacers: list[Pacer], now_ns: int) -> int:
    """When the next pair starts."""
    start_ns = earliest_ns(pacers, now_ns)
    for pacer in pacers:
        pacer.take(start_ns)
    return start_ns


SHARES = st.fractions(min_value=0, max_value=1, max_denominator=1_000)


@given(st.integers(1, 6), st.integers(0, 99), st.integers(0, 10_000))
def test_every_arm_of_a_pair_starts_once_and_always_in_the_same_order(arms: int, seed: int, pair: int) -> None:
    assert sorted(order(arms, seed, pair)) == list(range(arms))
    assert order(arms, seed, pair) == order(arms, seed, pair)


def test_no_order_is_preferred() -> None:
    counts = Counter(order(3, 1, pair) for pair in range(6_000))

    assert len(counts) == 6
    assert all(abs(count - 1_000) < 150 for count in counts.values())  # five standard deviations


def test_another_seed_is_another_order() -> None:
    assert [order(2, 1, pair) for pair in range(50)] != [order(2, 2, pair) for pair in range(50)]


def test_a_block_lasts_two_minutes_from_the_begin_of_the_run() -> None:
    began_ns = 10**18
    seconds = (-1, 0, 119, 120, 241)

    assert [block_of(began_ns + second * NS_PER_S, began_ns) for second in seconds] == [0, 0, 0, 1, 2]


@given(st.integers(-10, 10**6), st.integers(0, 7_200))
def test_a_pair_is_measured_once_it_starts_after_the_warm_up(second: int, warmup_s: int) -> None:
    began_ns = 10**18
    phase = phase_of(began_ns + second * NS_PER_S, began_ns, warmup_s)

    assert phase == ("warmup" if second < warmup_s else "measurement")


def test_a_wait_in_one_arm_holds_its_partner() -> None:
    one, other = Pacer(None), Pacer(None)
    other.hold(7, 0)

    assert earliest_ns([one, other], 1) == 7


def test_the_slower_rate_paces_both() -> None:
    one, other = Pacer(60), Pacer(30)

    assert [started([one, other], 0) for _ in range(3)] == [0, 2 * NS_PER_S, 4 * NS_PER_S]


def test_pairs_keep_in_step_with_other_processes_by_the_slowest_rate() -> None:
    one, other = Pacer(60, 3), Pacer(30, 5)
    one.hold(NS_PER_S, 0)

    assert [started([one, other], 0) for _ in range(2)] == [5 + 2 * NS_PER_S, 5 + 4 * NS_PER_S]


RATES = st.lists(st.sampled_from([None, 600.0, 900.0, 6_000.0]), min_size=1, max_size=4)
EVENTS = st.lists(st.tuples(st.integers(0, NS_PER_S), st.none() | st.integers(0, NS_PER_S)), max_size=40)


@given(RATES, EVENTS)
def test_no_arm_starts_faster_than_it_may_whatever_the_others_wait_for(
    rates: list[float | None], events: list[tuple[int, int | None]]
) -> None:
    pacers = [Pacer(rate) for rate in rates]
    starts = []
    now_ns = 0
    for place, (later_ns, hold_ns) in enumerate(events):
        now_ns += later_ns
        if hold_ns is not None:
            pacers[place % len(pacers)].hold(now_ns + hold_ns, now_ns)
        starts.append(started(pacers, now_ns))

    slowest = min((rate for rate in rates if rate), default=None)
    gap_ns = int(60e9 / slowest) if slowest else 0
    assert all(later - earlier >= gap_ns for earlier, later in pairwise(starts))


@given(SHARES, st.integers(0, 2_000))
def test_of_the_first_pairs_the_share_is_logged_rounded_up(share: Fraction, count: int) -> None:
    assert sum(is_sampled(number, share) for number in range(count)) == math.ceil(count * share)


@given(SHARES.filter(bool))
def test_logged_pairs_are_evenly_spread(share: Fraction) -> None:
    logged = [number for number in range(300) if is_sampled(number, share)]
    gaps = {later - earlier for earlier, later in pairwise(logged)}

    assert logged[0] == 0
    assert gaps <= {math.floor(1 / share), math.ceil(1 / share)}


def test_none_and_all_are_what_they_say() -> None:
    assert not any(is_sampled(number, Fraction(0)) for number in range(50))
    assert all(is_sampled(number, Fraction(1)) for number in range(50))
