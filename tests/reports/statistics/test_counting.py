"""Sort orders and integer codes, which are checked by comparisons; calls in progress; series that change the load."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics.counting import (
    ConcurrencySeries,
    concurrency_series,
    dense_codes,
    distinct,
    load_changed,
    order_of_codes,
    order_of_values,
)

VALUES = st.lists(st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.5, np.inf]), max_size=50)
CODES = st.lists(st.integers(0, 200_000) | st.integers(0, 3), max_size=50)


@given(VALUES)
def test_values_are_ordered_like_a_stable_sort(values: list[float]) -> None:
    expected = np.argsort(np.array(values, dtype=np.float64), kind="stable")

    assert order_of_values(np.array(values, dtype=np.float64)).tolist() == expected.tolist()


@given(CODES)
def test_codes_are_ordered_like_a_stable_sort(codes: list[int]) -> None:
    expected = np.argsort(np.array(codes, dtype=np.int32), kind="stable")

    assert order_of_codes(np.array(codes, dtype=np.int32)).tolist() == expected.tolist()


@pytest.mark.parametrize("spread", [0.001, 1.0, 3.0])
def test_many_latencies_are_ordered_like_a_stable_sort(spread: float) -> None:
    waits_ms = np.random.default_rng(1).lognormal(6, spread, 20_000).round(1)

    np.testing.assert_array_equal(order_of_values(waits_ms), np.argsort(waits_ms, kind="stable"))


def test_values_that_differ_only_in_their_last_bits_are_ordered() -> None:
    near = 1 + np.random.default_rng(1).integers(0, 50, 2_000) * np.finfo(np.float64).eps
    values = np.append(near, [np.inf, -np.inf])

    np.testing.assert_array_equal(order_of_values(values), np.argsort(values, kind="stable"))


@given(CODES)
def test_distinct_codes_are_listed_once_and_numbered_without_gaps(codes: list[int]) -> None:
    expected, places = np.unique(np.array(codes, dtype=np.int64), return_inverse=True)

    assert distinct(np.array(codes, dtype=np.int64)).tolist() == expected.tolist()
    without_gaps, number = dense_codes(np.array(codes, dtype=np.int64))
    assert (without_gaps.tolist(), number) == (places.tolist(), expected.size)


S = 1_000_000_000


def course_of_steps(*steps: tuple[float, int]) -> ConcurrencySeries:
    """Return a series of calls in progress. A step is given by its duration in seconds and its number of calls."""
    at_ns = np.cumsum([0, *(int(seconds * S) for seconds, _ in steps)])
    return ConcurrencySeries(at_ns, np.array([*(calls for _, calls in steps), 0], dtype=np.int32))


def ramp(begin: int, end: int, seconds: float) -> list[tuple[float, int]]:
    counts = np.linspace(begin, end, 40).round().astype(int)
    return [(seconds / 40, int(calls)) for calls in counts]


def at_random(rng: np.random.Generator, calls: float, length_s: float, seconds: float) -> ConcurrencySeries:
    """Return the calls in progress over time.

    The arrival rate is constant, and the series begins in the steady state.
    """
    starts = rng.uniform(-5 * length_s, seconds, rng.poisson(calls / length_s * (seconds + 5 * length_s)))
    ends = starts + length_s * rng.lognormal(-0.08, 0.4, starts.size)
    course = concurrency_series((starts * S).astype(np.int64), (ends * S).astype(np.int64))
    return course.between(0, int(seconds * S))


def test_calls_in_progress_are_those_that_began_and_have_not_ended() -> None:
    rng = np.random.default_rng(20261121)
    starts = rng.integers(0, 1000, 200)
    ends = starts + rng.integers(0, 200, 200)
    instants = np.arange(-5, 1300)
    course = concurrency_series(starts, ends)

    one_by_one = [int(((starts <= at) & (ends > at)).sum()) for at in instants]
    assert course.at(instants).tolist() == one_by_one


def test_a_part_of_a_series_has_the_same_calls_in_progress() -> None:
    rng = np.random.default_rng(20261122)
    starts = rng.integers(0, 1000, 50)
    course = concurrency_series(starts, starts + 150)
    part = course.between(303, 777)

    assert (part.at_ns[0], part.at_ns[-1]) == (303, 777)
    assert part.at(np.arange(303, 778)).tolist() == course.at(np.arange(303, 778)).tolist()


def test_without_calls_nothing_is_in_progress() -> None:
    nothing = concurrency_series(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))

    assert nothing.at(np.array([5])).tolist() == [0]
    assert not load_changed(nothing.between(0, 10 * S))


@pytest.mark.parametrize(
    "steps",
    [
        [(60, 10)],
        [*ramp(1, 20, 30), (90, 20), *ramp(20, 1, 10)],
        [(30, 100), (30, 110)],
        [(30, 4), (30, 8)],
        [(80, 50), (20, 60)],
    ],
)
def test_an_ordinary_ramp_up_and_end_is_no_change_of_load(steps: list[tuple[float, int]]) -> None:
    assert not load_changed(course_of_steps(*steps))


@pytest.mark.parametrize(
    "steps",
    [
        ramp(1, 20, 60),
        ramp(20, 1, 60),
        [(40, 20), (40, 100)],
        [(80, 10), (20, 20)],
        [(60, 10), (6, 50), (60, 10)],
        [(100, 30), (10, 90), (90, 30)],
    ],
)
def test_ramps_steps_and_spikes_change_the_load(steps: list[tuple[float, int]]) -> None:
    assert load_changed(course_of_steps(*steps))


@pytest.mark.parametrize("calls", [5, 10, 30, 100])
def test_random_arrivals_rarely_change_the_load(calls: int) -> None:
    rng = np.random.default_rng(20261123)

    assert sum(load_changed(at_random(rng, calls, 20, 900)) for _ in range(100)) <= 10


def test_a_series_of_zero_duration_has_no_change_of_load() -> None:
    assert not load_changed(course_of_steps((0, 7)))
