"""Pairs of sessions: the start, order and block of each pair, and the choice of the pairs that
have event logs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, cast

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S
from bench.catalogue.causes import in_words
from bench.load.execution.pairs import is_sampled, phase_of
from bench.load.execution.start_scheduler import PairStart, StartScheduler
from bench.load.execution.target_state import (
    MAX_INITIAL_FAILURES,
    StartPacer,
    TargetState,
    earliest_ns,
)
from bench.load.planning.run_plan import per_minute_of
from bench.session.dial import Dialer
from bench.target.tokens import Keyring
from bench.transport.loop_monitor import LoopMonitor
from tests.helpers import MS, at, build_observation, build_session, resolve_target
from tests.simulator_process import GUARD_S


def started(pacers: list[StartPacer], now_ns: int) -> int:
    """Acquire the start of the next pair from all pacers, and return its instant."""
    start_ns = earliest_ns(pacers, now_ns)
    for pacer in pacers:
        pacer.acquire(start_ns)
    return start_ns


SHARES = st.fractions(min_value=0, max_value=1, max_denominator=1_000)


@given(st.integers(-10, 10**6), st.integers(0, 7_200))
def test_a_pair_is_measured_if_it_starts_after_the_warmup(second: int, warmup_s: int) -> None:
    began_ns = 10**18
    phase = phase_of(began_ns + second * NS_PER_S, began_ns, warmup_s)

    assert phase == ("warmup" if second < warmup_s else "measurement")


RATES = st.lists(st.sampled_from([None, 600.0, 900.0, 6_000.0]), min_size=1, max_size=4)
EVENTS = st.lists(
    st.tuples(st.integers(0, NS_PER_S), st.none() | st.integers(0, NS_PER_S)), max_size=40
)


@given(RATES, EVENTS)
def test_no_target_exceeds_its_start_rate_if_others_are_delayed(
    rates: list[float | None], events: list[tuple[int, int | None]]
) -> None:
    pacers = [StartPacer(rate) for rate in rates]
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
def test_the_number_of_logged_pairs_is_the_share_rounded_up(share: Fraction, count: int) -> None:
    assert sum(is_sampled(number, share) for number in range(count)) == math.ceil(count * share)


@given(SHARES.filter(bool))
def test_logged_pairs_are_evenly_spaced(share: Fraction) -> None:
    logged = [number for number in range(300) if is_sampled(number, share)]
    gaps = {later - earlier for earlier, later in pairwise(logged)}

    assert logged[0] == 0
    assert gaps <= {math.floor(1 / share), math.ceil(1 / share)}


# If several pairs request a start at the same time, they start one after another. Between two
# starts, the loop polls its sockets.


def test_the_event_loop_polls_between_two_simultaneous_starts() -> None:
    starts = StartScheduler(
        [TargetState("", cast(Any, None), cast(Any, None), StartPacer(None))], lambda: False
    )
    watch = LoopMonitor.of_hub()
    begun: list[tuple[int, PairStart]] = []

    def start() -> None:
        taken = starts.acquire(monotonic_ns())
        assert taken is not None
        begun.append((watch.polls, taken))

    with gevent.Timeout(GUARD_S):
        gevent.joinall([gevent.spawn(start) for _ in range(20)], raise_error=True)
    polls = [polled for polled, _ in begun]

    assert len(set(polls)) == 20
    asked_ns = [taken.intended_ns for _, taken in begun]
    assert asked_ns == sorted(asked_ns)


def test_a_caller_who_leaves_while_waiting_for_a_start_starts_no_call() -> None:
    pacer = StartPacer(None)
    now_ns = monotonic_ns()
    pacer.hold(now_ns + 3_600 * NS_PER_S, now_ns)
    starts = StartScheduler(
        [TargetState("", cast(Any, None), cast(Any, None), pacer)], lambda: False
    )
    answers = iter([False, False, True])

    # joinall would count its own timeout from the last poll of the loop
    with gevent.Timeout(GUARD_S):
        assert starts.acquire(now_ns, lambda: next(answers)) is None


# The state of one target.


HERE = resolve_target({}, url="ws://localhost:1/openai/v1/realtime?model=x")


def target_state() -> TargetState:
    return TargetState(HERE.label, {}, Dialer(HERE, cast(Keyring, None)), StartPacer(None))


def session_with(outcome: str, **changes: Any) -> Any:
    return build_session(outcome=outcome, instants={"ended": at(30)}, **changes)


def test_a_target_is_hopeless_after_ten_sessions_that_did_not_open() -> None:
    here = target_state()
    may_continue = [
        here.count_session(session_with("connect_failed:tcp"), at(30))
        for _ in range(MAX_INITIAL_FAILURES - 1)
    ]

    assert all(may_continue)
    assert not here.is_hopeless
    here.count_session(session_with("timeout:tls"), at(30))
    assert here.is_hopeless


@pytest.mark.parametrize(
    ("outcome", "failed"), [("throttled:handshake", True), ("unfinished", False)]
)
def test_a_target_with_throttled_or_unfinished_sessions_is_not_hopeless(
    outcome: str, failed: bool
) -> None:
    here = target_state()

    assert [
        here.count_session(session_with(outcome), at(30)) for _ in range(MAX_INITIAL_FAILURES)
    ] == [failed] * MAX_INITIAL_FAILURES
    assert not here.is_hopeless


def turn(outcome: str = "ok", detail: str = "", start_ns: int = at(0)) -> Any:
    return build_observation(
        outcome=outcome,
        causes=(in_words(detail),),
        start_ns=start_ns,
        instants={"ended": start_ns + 20 * MS},
    )


def test_a_throttled_turn_delays_starts_for_the_retry_after_from_its_end() -> None:
    here = target_state()
    here.turn_ended(turn("throttled:response", "Please try again in 6.2s."))

    assert here.pacer.earliest_ns(at(30)) == at(20) + 6_200_000_000


def test_targets_of_one_deployment_share_its_rate() -> None:
    west = replace(HERE, label="west", connect_rate_per_min=30.0)
    quick = replace(west, label="west.quick", variant_of="west")
    mini = replace(west, label="west.mini", variant_of="west", model="mini")
    east = replace(HERE, label="east", host="127.0.0.2")

    assert per_minute_of([west, quick, mini, east], None) == [15.0, 15.0, 30.0, None]
    assert per_minute_of([west, quick, mini, east], 60.0) == [30.0, 30.0, 60.0, 60.0]
    assert per_minute_of([west, east], 0.0) == [None, None]
