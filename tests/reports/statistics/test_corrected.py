"""Estimates after an early stop: as often too high as too low, and intervals that agree with the verdict."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics.looks import above, critical_values, distance, look_bounds, z_of

SHARES = [k / 8 for k in range(1, 9)]
CRITICAL = critical_values(SHARES, 0.05)


def test_a_first_look_has_nothing_to_correct() -> None:
    assert distance(3.4, 0.1, SHARES[:1], CRITICAL[:1]) == pytest.approx(0.34)


@pytest.mark.parametrize("k", [2, 4, 8])
def test_an_early_stop_is_drawn_towards_the_margin_on_either_side(k: int) -> None:
    z = CRITICAL[k - 1] + 0.05
    worse = distance(z, 0.1, SHARES[:k], CRITICAL[:k])

    assert 0.5 * 0.1 * z < worse < 0.1 * z
    assert distance(-z, 0.1, SHARES[:k], CRITICAL[:k]) == pytest.approx(-worse)


def test_nothing_is_said_of_a_distance_that_is_endless() -> None:
    assert distance(math.inf, 0.1, SHARES[:3], CRITICAL[:3]) == math.inf


def test_the_probability_of_ending_so_high_is_that_of_paths() -> None:
    rng, drift, s = np.random.default_rng(1), 1.5, 0.9
    paths = np.cumsum(rng.normal(drift / 8, math.sqrt(1 / 8), (200_000, 8)), axis=1)
    crossings = np.abs(paths) >= np.array(CRITICAL) * np.sqrt(SHARES)
    first = np.where(crossings[:, :3].any(axis=1), crossings[:, :3].argmax(axis=1), 3)
    ended = np.where(first < 3, paths[np.arange(len(paths)), first] > 0, paths[:, 3] >= s)

    assert above(drift, s, SHARES[:4], CRITICAL[:4]) == pytest.approx(ended.mean(), abs=0.004)


@pytest.mark.parametrize("drift", [0.0, 2.5, 4.5])
def test_half_of_the_corrected_estimates_lie_above_the_truth(drift: float) -> None:
    rng, above_plain, above_corrected = np.random.default_rng(7), 0, 0
    for steps in rng.normal(drift / 8, math.sqrt(1 / 8), (400, 8)):
        z = np.cumsum(steps) / np.sqrt(SHARES)
        crossed = np.abs(z) >= CRITICAL
        k = int(crossed.argmax()) if crossed.any() else 7
        corrected = distance(float(z[k]), 1.0, SHARES[: k + 1], CRITICAL[: k + 1]) / math.sqrt(SHARES[k])
        above_corrected += corrected > drift
        above_plain += z[k] / math.sqrt(SHARES[k]) > drift

    assert abs(above_corrected - 200) <= 30  # three standard errors of 400 tosses
    assert abs(above_corrected - 200) <= abs(above_plain - 200) + 10


@given(st.floats(-1, 1), st.floats(0.01, 0.5), st.integers(20, 500), st.floats(1.7, 3.5))
def test_an_interval_ends_where_its_critical_value_lies(d: float, se: float, df: int, c: float) -> None:
    low, high = look_bounds(d, se, df, c)

    assert (low > 0) == (z_of(d, se, df) > c) or abs(z_of(d, se, df) - c) < 1e-6
    assert high - d == pytest.approx(d - low)
