"""How long the steps are."""

from __future__ import annotations

import pytest

from bench.calibrate.climb import pace_of, plan_of
from bench.calibrate.play import Pace
from bench.run.calibration import SessionKind


@pytest.mark.parametrize(
    ("kind", "sessions", "steady_s"),
    [("talking", 400, 12), ("talking", 200, 23), ("talking", 5, 40), ("listening", 30, 20), ("listening", 100, 10)],
)
def test_a_step_is_as_long_as_p99_needs_within_a_limit(kind: SessionKind, sessions: int, steady_s: int) -> None:
    assert pace_of(plan_of(1600, quick=False), kind, sessions) == Pace(5, steady_s)


def test_a_quick_one_does_not_wait_for_more_turns() -> None:
    assert pace_of(plan_of(1600, quick=True), "talking", 5) == Pace(3, 8)


def test_the_whole_takes_about_ten_minutes_at_most() -> None:
    assert 5 < plan_of(1600, quick=False).minutes_at_most < 10
    assert plan_of(1600, quick=True).minutes_at_most < 3
