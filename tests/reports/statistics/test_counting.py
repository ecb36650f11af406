"""Counting gives the orders and codes that comparing gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics.counting import distinct, order_of_codes, order_of_values, packed

VALUES = st.lists(st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.5, np.inf]), max_size=50)
CODES = st.lists(st.integers(0, 200_000) | st.integers(0, 3), max_size=50)


@given(VALUES)
def test_values_are_ordered_as_a_stable_sort_orders_them(values: list[float]) -> None:
    expected = np.argsort(np.array(values, dtype=np.float64), kind="stable")

    assert order_of_values(np.array(values, dtype=np.float64)).tolist() == expected.tolist()


@given(CODES)
def test_codes_are_ordered_as_a_stable_sort_orders_them(codes: list[int]) -> None:
    expected = np.argsort(np.array(codes, dtype=np.int32), kind="stable")

    assert order_of_codes(np.array(codes, dtype=np.int32)).tolist() == expected.tolist()


@pytest.mark.parametrize("spread", [0.001, 1.0, 3.0])
def test_many_waits_are_ordered_as_a_stable_sort_orders_them(spread: float) -> None:
    waits_ms = np.random.default_rng(1).lognormal(6, spread, 20_000).round(1)

    np.testing.assert_array_equal(order_of_values(waits_ms), np.argsort(waits_ms, kind="stable"))


@given(CODES)
def test_codes_that_occur_are_told_once_and_packed_without_gaps(codes: list[int]) -> None:
    expected, places = np.unique(np.array(codes, dtype=np.int64), return_inverse=True)

    assert distinct(np.array(codes, dtype=np.int64)).tolist() == expected.tolist()
    without_gaps, number = packed(np.array(codes, dtype=np.int64))
    assert (without_gaps.tolist(), number) == (places.tolist(), expected.size)
