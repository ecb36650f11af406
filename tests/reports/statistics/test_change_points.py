"""Change points in a series of runs.

They are rarely found if there is no change, and they are found at the right run if there is a
change.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reports.statistics.change_points import (
    ENOUGH,
    MIN_SIDE_RUNS,
    WEEK,
    ChangePoints,
    cycle_effects,
    find_changes,
    windows,
    without_cycle,
)
from reports.statistics.counting import Floats, Integers
from tests.examples import trials

LEAST = math.log(1.05)
figures = arrays(np.float64, st.integers(0, 40), elements=st.floats(-2, 2, width=32))


def marks(values: Floats, variance: float = 0.0, among: int = 1) -> list[int]:
    return [one.at for one in searched(values, variance, among).changes]


def searched(values: Floats, variance: float = 0.0, among: int = 1, first: int = 0) -> ChangePoints:
    """Return the change points in a series of runs, with one run per night.

    `first` is the number of the first night.
    """
    spread, days = np.full(values.size, variance), first + np.arange(values.size)
    return find_changes(values, spread, days, 24 * days, among=among, min_change=LEAST)


def nights(rng: np.random.Generator, runs: int, spread: float = 0.05, alike: float = 0.0) -> Floats:
    own = rng.normal(0, spread, runs)
    for at in range(1, runs):
        own[at] = alike * own[at - 1] + math.sqrt(1 - alike**2) * own[at]
    return own


def stepped(rng: np.random.Generator, runs: int, at: int, times: float) -> Floats:
    values = nights(rng, runs)
    values[at:] += math.log(times)
    return values


def test_a_step_is_found_near_its_position() -> None:
    rng = np.random.default_rng(1)
    found = [marks(stepped(rng, 40, 25, 1.25)) for _ in range(50)]

    assert sum(any(abs(at - 25) <= 1 for at in one) for one in found) >= 45


def test_a_larger_step_is_found_at_least_as_often() -> None:
    rng = np.random.default_rng(2)
    shares = [
        sum(bool(marks(stepped(rng, 30, 15, times))) for _ in range(60))
        for times in (1.1, 1.3, 3.0)
    ]

    assert shares[0] < shares[1] <= shares[2] + 2


def test_a_change_below_the_minimum_has_no_change_point() -> None:
    values = np.where(np.arange(40) < 20, 0.0, math.log(1.04)) + 1e-4 * np.arange(40) % 3

    assert marks(values) == []


@given(figures)
def test_change_points_keep_a_distance_from_each_other_and_from_the_ends(values: Floats) -> None:
    found = marks(values)
    edges = [0, *found, values.size]

    assert all(later - earlier >= MIN_SIDE_RUNS for earlier, later in pairwise(edges) if found)
    assert not found or values.size >= ENOUGH


@given(st.integers(0, 130))
def test_every_position_with_five_runs_on_either_side_is_compared(runs: int) -> None:
    found = {tuple(row) for row in windows(runs).tolist()}

    assert all(
        0 <= first <= at - MIN_SIDE_RUNS and at + MIN_SIDE_RUNS <= end <= runs
        for first, at, end in found
    )
    assert found >= {
        (0, at, at + MIN_SIDE_RUNS) for at in range(MIN_SIDE_RUNS, runs - MIN_SIDE_RUNS + 1)
    }


@given(st.integers(1, 130))
def test_each_comparison_is_made_once_when_its_last_run_is_added(runs: int) -> None:
    before, after = ([tuple(row) for row in windows(many).tolist()] for many in (runs - 1, runs))

    assert len(set(after)) == len(after)
    assert [row for row in after if row[2] < runs] == before


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_a_history_analysed_repeatedly_rarely_ever_has_a_change_point(alike: float) -> None:
    rng, ever, histories = np.random.default_rng(20261122), 0, trials(20, 60)
    for values in (nights(rng, 60, 0.05, alike) for _ in range(histories)):
        ever += any(marks(values[:night], variance=0.01**2) for night in range(ENOUGH, 61, 5))

    assert ever / histories <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / histories)


WEEKEND = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.15, 0.15])


def weekly(days: Integers, rng: np.random.Generator, spread: float = 0.02) -> Floats:
    return rng.normal(0, spread, days.size) + WEEKEND[(days + 3) % 7]


def test_weekday_effects_do_not_hide_a_change() -> None:
    rng, days = np.random.default_rng(10), np.arange(60)
    found = [
        searched(weekly(days, rng) + np.where(days >= 40, math.log(1.1), 0.0)) for _ in range(30)
    ]

    assert all([mark.at for mark in one.changes] == [pytest.approx(40, abs=1)] for one in found)


@pytest.mark.parametrize("missing", ["none", "one in ten", "all weekends but Saturdays"])
def test_weekday_effects_are_estimated_despite_missing_days(missing: str) -> None:
    rng, days = np.random.default_rng(11), 20_000 + np.arange(84)
    gone = {
        "none": days < 0,
        "one in ten": rng.random(84) < 0.1,
        "all weekends but Saturdays": (days + 3) % 7 == 6,
    }
    days = days[~gone[missing]]
    found = np.array(cycle_effects(weekly(days, rng, 0.01) + 0.001 * days, days, WEEK))
    seen = np.unique((days + 3) % 7)

    assert found[seen] == pytest.approx(WEEKEND[seen] - WEEKEND[seen].mean(), abs=0.015)
    assert np.ptp(without_cycle(weekly(days, rng, 0.0), days, WEEK, tuple(found))) < 0.05


def test_change_points_suppressed_by_autocorrelation_are_reported() -> None:
    rng = np.random.default_rng(9)
    found = [searched(nights(rng, 40, 0.1, 0.6)) for _ in range(200)]
    suppressed = [one for one in found if one.unmarked]

    assert len(suppressed) >= 6
    assert all(one.autocorrelation > 0 and one.effective_runs(40) < 40 for one in suppressed)
    assert all(
        not {mark.at for mark in one.unmarked} & {mark.at for mark in one.changes} for one in found
    )


def test_the_hours_of_the_day_do_not_hide_a_change() -> None:
    """Four runs a day, with a cycle of 10 % within the day, and a step of 10 % after 15 days."""
    rng, hours = np.random.default_rng(14), 480_000 + 6 * np.arange(120)
    cycle = 0.1 * np.cos(2 * np.pi * hours / 24)
    step = np.where(np.arange(120) >= 60, math.log(1.1), 0.0)
    found = [
        find_changes(
            cycle + step + rng.normal(0, 0.02, 120),
            np.zeros(120),
            hours // 24,
            hours,
            among=3,
            min_change=LEAST,
        )
        for _ in range(20)
    ]

    assert all([mark.at for mark in one.changes] == [pytest.approx(60, abs=1)] for one in found)
    assert all(one.hours[0] == pytest.approx(0.1, abs=0.03) for one in found)
