"""A steady rise or fall over many runs, and its distinction from steps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reports.statistics.change_points import ENOUGH, ChangePoints, find_changes
from reports.statistics.counting import Floats
from reports.statistics.slow_changes import clearest
from tests.examples import trials

LEAST = math.log(1.05)


def searched(values: Floats, days: Floats | None = None) -> ChangePoints:
    """Return the changes of a series with one run per night, or with runs at other times."""
    times = 20_000 + (np.arange(values.size) if days is None else days)
    hours = np.round(24 * times).astype(np.int64)
    variances = np.full(values.size, 0.01**2)
    return find_changes(values, variances, hours // 24, hours, among=3, min_change=LEAST)


def nights(rng: np.random.Generator, runs: int, alike: float = 0.0, spread: float = 0.03) -> Floats:
    own = rng.normal(0, spread, runs)
    for at in range(1, runs):
        own[at] = alike * own[at - 1] + math.sqrt(1 - alike**2) * own[at]
    return own


@pytest.mark.parametrize("sign", [1, -1])
def test_a_steady_change_of_one_percent_a_night_is_found_with_its_slope(sign: int) -> None:
    rng = np.random.default_rng(1)
    found = [searched(nights(rng, 40) + sign * 0.01 * np.arange(40)) for _ in range(30)]

    for slow in (one.slow for one in found):
        assert slow
        assert slow.low < sign * 0.01 * (slow.end - 1 - slow.first) < slow.high
    assert all(one.slow and abs(one.slow.d) > 0.25 and not one.changes for one in found)


def test_a_rise_that_begins_late_is_found_where_it_begins() -> None:
    rng = np.random.default_rng(2)
    rise = 0.01 * np.maximum(0, np.arange(100) - 60)
    found = [searched(nights(rng, 100) + rise).slow for _ in range(20)]

    assert all(one and 52 <= one.first <= 68 and one.end >= 92 for one in found)


def test_a_step_within_a_slow_change_is_found_too() -> None:
    rng = np.random.default_rng(4)
    rise = 0.01 * np.arange(60) + np.where(np.arange(60) >= 30, 0.4, 0.0)
    found = [searched(nights(rng, 60) + rise) for _ in range(20)]

    assert sum(any(abs(mark.at - 30) <= 1 for mark in one.changes) for one in found) >= 18


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_a_history_analysed_repeatedly_rarely_ever_has_a_slow_change(alike: float) -> None:
    rng, ever, histories = np.random.default_rng(5), 0, trials(20, 60)
    for values in (nights(rng, 60, alike, 0.1) for _ in range(histories)):
        ever += any(searched(values[:night]).slow is not None for night in range(ENOUGH, 61, 5))

    assert ever / histories <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / histories)


def test_a_slow_change_depends_on_times_and_not_on_the_number_of_runs() -> None:
    rng = np.random.default_rng(6)
    days = np.sort(rng.uniform(0, 30, 80))
    slow = searched(nights(rng, 80, spread=0.02) + 0.01 * days, days).slow

    assert slow
    assert slow.low < 0.01 * (days[slow.end - 1] - days[slow.first]) < slow.high


def test_the_bounds_of_a_rise_depend_on_the_uncertainty_of_its_own_runs() -> None:
    days, rng = np.arange(60.0), np.random.default_rng(8)
    values = 0.02 * np.minimum(days, 39) + rng.normal(0, 0.005, 60)
    of_rise, of_all = np.where(days < 40, 0.1**2, 0.0), np.full(60, 0.1**2)
    first, second = (
        clearest(values, own, days, 1.0, np.full(61, 1e-3), LEAST) for own in (of_rise, of_all)
    )

    assert first
    assert first == second
