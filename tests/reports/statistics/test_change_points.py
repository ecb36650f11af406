"""Change points in a series of runs.

They are rarely found if there is no change, and they are found at the right run if there is a change.
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
    DAY,
    ENOUGH,
    LEVEL,
    MIN_SIDE_RUNS,
    WEEK,
    ChangePoints,
    _mark_change,
    autocorrelation,
    cycle_effects,
    find_changes,
    variance_of,
    windows,
    without_cycle,
)
from reports.statistics.counting import Floats, Integers
from reports.statistics.quantiles import quantiles, sample

LEAST = math.log(1.05)
HISTORIES = 300
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


@pytest.mark.parametrize(("runs", "alike"), [(12, 0.0), (40, 0.0), (12, 0.5), (40, 0.5)])
def test_a_history_without_a_change_rarely_has_a_change_point(runs: int, alike: float) -> None:
    rng = np.random.default_rng(20261122)
    marked = sum(bool(marks(nights(rng, runs, 0.1, alike))) for _ in range(HISTORIES))

    assert marked / HISTORIES <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / HISTORIES)


def test_without_autocorrelation_a_fifth_of_similar_nights_would_have_a_change_point() -> None:
    rng = np.random.default_rng(20261122)
    made = [nights(rng, 80, 0.1, 0.6) for _ in range(100)]
    plain = [_mark_change(one - one.mean(), np.zeros(80), 0.0, np.full(81, LEVEL / 365 / 80), LEAST) for one in made]

    assert sum(map(bool, plain)) >= 20 > sum(bool(marks(one)) for one in made)


def test_a_step_is_found_near_its_position() -> None:
    rng = np.random.default_rng(1)
    found = [marks(stepped(rng, 40, 25, 1.25)) for _ in range(50)]

    assert sum(any(abs(at - 25) <= 1 for at in one) for one in found) >= 45


def test_a_larger_step_is_found_at_least_as_often() -> None:
    rng = np.random.default_rng(2)
    shares = [sum(bool(marks(stepped(rng, 30, 15, times))) for _ in range(60)) for times in (1.1, 1.3, 3.0)]

    assert shares[0] < shares[1] <= shares[2] + 2


def test_a_temporary_change_is_two_change_points() -> None:
    values = nights(np.random.default_rng(3), 60)
    values[25:37] += math.log(1.4)

    assert marks(values) == pytest.approx([25, 37], abs=1)


def test_the_interval_of_a_change_excludes_zero_and_the_numbers_of_compared_runs_are_given() -> None:
    (found,) = searched(stepped(np.random.default_rng(4), 40, 20, 1.5)).changes

    assert 0 < found.low < found.d < found.high
    assert found.at == 20
    assert (found.before, found.after) == (20, 20)


def test_a_change_below_the_minimum_has_no_change_point() -> None:
    values = np.where(np.arange(40) < 20, 0.0, math.log(1.04)) + 1e-4 * np.arange(40) % 3

    assert marks(values) == []


def test_the_variance_within_runs_prevents_change_points_by_chance() -> None:
    values = np.where(np.arange(20) < 10, 0.0, 0.1)

    assert marks(values, variance=0.0) == [10]
    assert marks(values, variance=0.05) == []


def test_more_series_on_a_page_require_clearer_changes() -> None:
    values = stepped(np.random.default_rng(5), 40, 20, 1.15)

    assert marks(values)
    assert not marks(values, among=10**12)


@given(figures)
def test_change_points_keep_a_distance_from_each_other_and_from_the_ends(values: Floats) -> None:
    found = marks(values)
    edges = [0, *found, values.size]

    assert all(later - earlier >= MIN_SIDE_RUNS for earlier, later in pairwise(edges) if found)
    assert not found or values.size >= ENOUGH


@given(figures, st.floats(-3, 3))
def test_change_points_do_not_depend_on_the_level(values: Floats, by: float) -> None:
    assert marks(np.round(values, 3)) == marks(np.round(values, 3) + round(by, 3))


@given(st.integers(0, 130))
def test_every_position_with_five_runs_on_either_side_is_compared(runs: int) -> None:
    found = {tuple(row) for row in windows(runs).tolist()}

    assert all(0 <= first <= at - MIN_SIDE_RUNS and at + MIN_SIDE_RUNS <= end <= runs for first, at, end in found)
    assert found >= {(0, at, at + MIN_SIDE_RUNS) for at in range(MIN_SIDE_RUNS, runs - MIN_SIDE_RUNS + 1)}


@given(st.integers(1, 130))
def test_each_comparison_is_made_once_when_its_last_run_is_added(runs: int) -> None:
    before, after = ([tuple(row) for row in windows(many).tolist()] for many in (runs - 1, runs))

    assert len(set(after)) == len(after)
    assert [row for row in after if row[2] < runs] == before


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_a_history_analysed_repeatedly_rarely_ever_has_a_change_point(alike: float) -> None:
    rng, ever = np.random.default_rng(20261122), 0
    for values in (nights(rng, 60, 0.05, alike) for _ in range(60)):
        ever += any(marks(values[:night], variance=0.01**2) for night in range(ENOUGH, 61, 5))

    assert ever / 60 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)


WEEKEND = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.15, 0.15])


def weekly(days: Integers, rng: np.random.Generator, spread: float = 0.02) -> Floats:
    return rng.normal(0, spread, days.size) + WEEKEND[(days + 3) % 7]


def test_weekday_effects_do_not_hide_a_change() -> None:
    rng, days = np.random.default_rng(10), np.arange(60)
    found = [searched(weekly(days, rng) + np.where(days >= 40, math.log(1.1), 0.0)) for _ in range(30)]

    assert all([mark.at for mark in one.changes] == [pytest.approx(40, abs=1)] for one in found)


@pytest.mark.parametrize("missing", ["none", "one in ten", "all weekends but Saturdays"])
def test_weekday_effects_are_estimated_despite_missing_days(missing: str) -> None:
    rng, days = np.random.default_rng(11), 20_000 + np.arange(84)
    gone = {"none": days < 0, "one in ten": rng.random(84) < 0.1, "all weekends but Saturdays": (days + 3) % 7 == 6}
    days = days[~gone[missing]]
    found = np.array(cycle_effects(weekly(days, rng, 0.01) + 0.001 * days, days, WEEK))
    seen = np.unique((days + 3) % 7)

    assert found[seen] == pytest.approx(WEEKEND[seen] - WEEKEND[seen].mean(), abs=0.015)
    assert np.ptp(without_cycle(weekly(days, rng, 0.0), days, WEEK, tuple(found))) < 0.05


def test_weekdays_that_do_not_differ_are_not_adjusted() -> None:
    rng = np.random.default_rng(12)
    found = [cycle_effects(nights(rng, 42), np.arange(42), WEEK) for _ in range(HISTORIES)]

    assert sum(map(bool, found)) / HISTORIES <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / HISTORIES)


def test_constant_values_have_no_weekday_effects() -> None:
    assert cycle_effects(np.zeros(42), np.arange(42), WEEK) == ()


@pytest.mark.parametrize("days", [np.arange(20), np.zeros(60, dtype=np.int64), 7 * np.arange(40)])
def test_weekday_effects_need_three_weeks_and_several_weekdays(days: Integers) -> None:
    assert cycle_effects(weekly(days, np.random.default_rng(13)), days, WEEK) == ()


def test_change_points_suppressed_by_autocorrelation_are_reported() -> None:
    rng = np.random.default_rng(9)
    found = [searched(nights(rng, 40, 0.1, 0.6)) for _ in range(200)]
    suppressed = [one for one in found if one.unmarked]

    assert len(suppressed) >= 6
    assert all(one.autocorrelation > 0 and one.effective_runs(40) < 40 for one in suppressed)
    assert all(not {mark.at for mark in one.unmarked} & {mark.at for mark in one.changes} for one in found)


def test_the_estimated_autocorrelation_is_that_of_the_series() -> None:
    rng = np.random.default_rng(6)
    found = [autocorrelation(nights(rng, 4000, 0.1, alike), []) for alike in (0.0, 0.5, 0.8)]

    assert found == pytest.approx([0.0, 0.5, 0.8], abs=0.06)


def test_a_known_step_is_not_taken_for_autocorrelation() -> None:
    values = stepped(np.random.default_rng(7), 60, 30, 3.0)

    assert autocorrelation(values, []) > 0.5
    assert autocorrelation(values, [30]) < 0.3


def test_the_variance_derived_from_an_interval_is_within_a_fifth() -> None:
    rng = np.random.default_rng(8)
    logs = [np.log(rng.lognormal(0, 0.5, 900)) for _ in range(300)]
    intervals = [quantiles(sample(np.exp(one), np.arange(900)), [0.5])[0] for one in logs]
    true = np.var([math.log(one.value) for one in intervals])

    assert np.mean([variance_of(one.low, one.value, one.high) for one in intervals]) == pytest.approx(true, rel=0.2)
    assert variance_of(-math.inf, 600.0, 660.0) == pytest.approx(variance_of(600**2 / 660, 600.0, 660.0))
    assert variance_of(0.0, 0.0, 5.0) == 0


def test_a_constant_series_of_eight_weeks_has_no_weekday_effects() -> None:
    assert cycle_effects(np.zeros(8 * 7), np.arange(8 * 7), WEEK) == ()


def test_weekday_effects_of_a_mostly_zero_rate_are_found() -> None:
    """On Sundays, one run in two has failures. On all other days, the runs have no failures."""
    days = np.arange(8 * 7)
    rates = np.where((days % 7 == 3) & (days % 2 == 0), 0.05, 0.0)

    assert cycle_effects(rates, days, WEEK)


def test_the_hours_of_the_day_do_not_hide_a_change() -> None:
    """Four runs a day, with a cycle of 10 % within the day, and a step of 10 % after 15 days."""
    rng, hours = np.random.default_rng(14), 480_000 + 6 * np.arange(120)
    cycle = 0.1 * np.cos(2 * np.pi * hours / 24)
    step = np.where(np.arange(120) >= 60, math.log(1.1), 0.0)
    found = [
        find_changes(
            cycle + step + rng.normal(0, 0.02, 120), np.zeros(120), hours // 24, hours, among=3, min_change=LEAST
        )
        for _ in range(20)
    ]

    assert all([mark.at for mark in one.changes] == [pytest.approx(60, abs=1)] for one in found)
    assert all(one.hours[0] == pytest.approx(0.1, abs=0.03) for one in found)


def test_an_hourly_series_without_a_cycle_has_no_effects_of_hours() -> None:
    rng, hours = np.random.default_rng(15), 480_000 + np.arange(24 * 6)
    found = [cycle_effects(rng.normal(0, 0.05, hours.size), hours, DAY) for _ in range(HISTORIES)]

    assert sum(map(bool, found)) / HISTORIES <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / HISTORIES)
