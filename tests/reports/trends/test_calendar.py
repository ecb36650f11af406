"""Ticks of an axis of weeks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.trends.figure import ticks

MONDAY = datetime(2026, 11, 16, tzinfo=UTC).timestamp()
DAY = 86_400.0


def words(low: float, high: float, most: int = 10) -> list[str]:
    return [text for _, text in ticks(low, high, most)]


@pytest.mark.parametrize(
    ("length", "first", "second"),
    [
        (0.04, "16 Nov", "00:15"),
        (1, "16 Nov", "03:00"),
        (5, "16 Nov", "17 Nov"),
        (40, "16 Nov", "23 Nov"),
        (300, "Dec 2026", "Jan 2027"),
        (2000, "2027", "2028"),
    ],
)
def test_ticks_are_round_instants_of_the_calendar(length: float, first: str, second: str) -> None:
    assert words(MONDAY, MONDAY + length * DAY)[:2] == [first, second]


@given(st.floats(1e9, 3e9), st.floats(60.0, 30 * 365 * DAY), st.integers(3, 12))
def test_ticks_ascend_inside_the_axis_and_are_no_more_than_asked(low: float, length: float, most: int) -> None:
    found = [at for at, _ in ticks(low, low + length, most)]

    assert found == sorted(set(found))
    assert len(found) <= most
    assert all(low <= at <= low + length for at in found)
