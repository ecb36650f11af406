"""Sort orders and integer codes, which are checked by comparisons; calls in progress; series
that change the load.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics.counting import (
    ConcurrencySeries,
    concurrency_series,
    load_changed,
    order_of_codes,
    order_of_values,
)

CODES = st.lists(st.integers(0, 200_000) | st.integers(0, 3), max_size=50)


@given(CODES)
def test_codes_are_ordered_like_a_stable_sort(codes: list[int]) -> None:
    expected = np.argsort(np.array(codes, dtype=np.int32), kind="stable")

    assert order_of_codes(np.array(codes, dtype=np.int32)).tolist() == expected.tolist()


def test_values_that_differ_only_in_their_last_bits_are_ordered() -> None:
    near = 1 + np.random.default_rng(1).integers(0, 50, 2_000) * np.finfo(np.float64).eps
    values = np.append(near, [np.inf, -np.inf])

    np.testing.assert_array_equal(order_of_values(values), np.argsort(values, kind="stable"))


S = 1_000_000_000


def course_of_steps(*steps: tuple[float, int]) -> ConcurrencySeries:
    """Return a series of calls in progress. A step is given by its duration in seconds and its
    number of calls.
    """
    at_ns = np.cumsum([0, *(int(seconds * S) for seconds, _ in steps)])
    return ConcurrencySeries(at_ns, np.array([*(calls for _, calls in steps), 0], dtype=np.int32))


def ramp(begin: int, end: int, seconds: float) -> list[tuple[float, int]]:
    counts = np.linspace(begin, end, 40).round().astype(int)
    return [(seconds / 40, int(calls)) for calls in counts]


def test_calls_in_progress_are_those_that_began_and_have_not_ended() -> None:
    rng = np.random.default_rng(20261121)
    starts = rng.integers(0, 1000, 200)
    ends = starts + rng.integers(0, 200, 200)
    instants = np.arange(-5, 1300)
    course = concurrency_series(starts, ends)

    one_by_one = [int(((starts <= at) & (ends > at)).sum()) for at in instants]
    assert course.at(instants).tolist() == one_by_one


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


def test_a_series_of_zero_duration_has_no_change_of_load() -> None:
    assert not load_changed(course_of_steps((0, 7)))
