"""Connection starts: one token a fixed interval apart."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.load.pacer import Pacer

MINUTE_NS = 60_000_000_000


def test_without_a_rate_every_start_is_now() -> None:
    assert [Pacer(None).reserve(now) for now in (5, 5, 9)] == [5, 5, 9]
    assert Pacer(0).reserve(7) == 7


def test_starts_that_come_together_are_spread_evenly() -> None:
    pacer = Pacer(30)

    assert [pacer.reserve(0) for _ in range(3)] == [0, 2_000_000_000, 4_000_000_000]


def test_idle_time_earns_no_burst() -> None:
    pacer = Pacer(60)
    pacer.reserve(0)

    assert [pacer.reserve(MINUTE_NS) for _ in range(2)] == [MINUTE_NS, MINUTE_NS + 1_000_000_000]


@given(st.floats(1, 6000), st.lists(st.integers(0, MINUTE_NS), min_size=2, max_size=50))
def test_no_two_starts_are_closer_than_the_interval(per_minute: float, arrivals: list[int]) -> None:
    pacer = Pacer(per_minute)
    starts = [pacer.reserve(now) for now in sorted(arrivals)]

    assert all(later - earlier >= int(60e9 / per_minute) for earlier, later in pairwise(starts))
    assert all(start >= now for start, now in zip(starts, sorted(arrivals), strict=True))
