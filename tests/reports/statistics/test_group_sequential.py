"""Critical values of planned interim analyses, stops for futility, and estimates after an early
stop.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from reports.statistics.group_sequential import (
    above,
    analysis_sizes,
    conditional_power,
    critical_values,
    critical_values_so_far,
    distance,
    pairs_needed,
)


def even(number: int) -> list[float]:
    return [k / number for k in range(1, number + 1)]


PLANNED = [0.125, 0.25, 0.5, 1.0]
UNPLANNED = [20, 30, 200, 210]


@pytest.mark.parametrize(
    ("sizes", "bounds", "error"),
    [
        pytest.param(PLANNED, critical_values(PLANNED, 0.05), 0.05, id="planned"),
        pytest.param(
            UNPLANNED,
            critical_values_so_far([0.1, 0.3, 0.6, 0.8], UNPLANNED, 0.1),
            0.1 * 0.8**2,
            id="unplanned: the error that may be used so far",
        ),
    ],
)
def test_paths_without_drift_cross_the_bounds_with_the_planned_probability(
    sizes: list[float], bounds: list[float], error: float
) -> None:
    rng, steps = np.random.default_rng(3), np.sqrt(np.diff([0, *sizes]))
    paths = np.cumsum(rng.normal(size=(100_000, 4)) * steps, axis=1) / np.sqrt(sizes)

    assert (paths >= bounds).any(axis=1).mean() == pytest.approx(error, abs=0.003)


def test_analyses_at_planned_sizes_have_the_same_critical_values_before_and_after_the_last() -> (
    None
):
    assert critical_values_so_far(even(10)[:4], [40, 80, 120, 160], 0.05) == pytest.approx(
        critical_values(even(10), 0.05)[:4]
    )


def test_the_last_analysis_of_a_run_that_ends_early_uses_the_remaining_error() -> None:
    planned, ended = critical_values(even(10), 0.05), critical_values(even(10)[:4], 0.05)

    assert ended[:3] == pytest.approx(planned[:3])
    assert ended[3] < planned[3]
    # 0.05 − 0.05 · 0.3² of the error rate remains, so the value is nearly that of the plain test
    assert ended[3] == pytest.approx(1.68, abs=0.03)


@pytest.mark.parametrize(
    ("most", "every", "first", "sizes"),
    [
        (200, 50, 0, (50, 100, 150, 200)),
        (220, 50, 0, (50, 100, 150, 200, 220)),
        (200, 50, 100, (100, 150, 200)),
        (40, 50, 50, (40,)),
    ],
)
def test_analyses_are_equally_spaced_up_to_the_maximum(
    most: int, every: int, first: int, sizes: tuple[int, ...]
) -> None:
    assert analysis_sizes(most, every, first) == sizes


@pytest.mark.parametrize(
    ("p", "values", "pairs"),
    [
        (0.5, 10, 20),
        (0.95, 10, 40),
        (0.95, 4, 100),
        (0.05, 4, 100),
        (0.99, 1, 2000),
        (0.95, 2.5, 160),
        (None, 1, 20),
    ],
)
def test_the_pairs_that_a_quantile_needs_depend_on_the_values_per_session(
    p: float | None, values: float, pairs: int
) -> None:
    assert pairs_needed(p, values) == pairs


def test_conditional_power_equals_that_of_simulated_paths() -> None:
    z, t, c_pass, c_red = 0.4, 0.5, 1.83, 2.33
    rng, at = np.random.default_rng(5), z * math.sqrt(t)
    ends = {
        side: (
            at
            + (at / t + side / math.sqrt(t)) * (1 - t)
            + math.sqrt(1 - t) * rng.normal(size=200_000)
        )
        for side in (-1, 1)
    }
    found = conditional_power(z, t, c_pass, c_red)

    assert found.passing == pytest.approx((ends[-1] <= -c_pass).mean(), abs=0.004)
    assert found.red == pytest.approx((ends[1] >= c_red).mean(), abs=0.004)


SHARES = [k / 8 for k in range(1, 9)]
CRITICAL = critical_values(SHARES, 0.05)


@pytest.mark.parametrize("k", [2, 4, 8])
def test_after_an_early_stop_the_estimate_is_drawn_towards_the_margin(k: int) -> None:
    z = CRITICAL[k - 1] + 0.05
    worse = distance(z, 0.1, SHARES[:k], CRITICAL[:k])

    assert 0.5 * 0.1 * z < worse < 0.1 * z
    assert distance(-z, 0.1, SHARES[:k], CRITICAL[:k]) == pytest.approx(-worse)


def test_the_probability_of_ending_above_a_value_equals_that_of_simulated_paths() -> None:
    rng, drift, s = np.random.default_rng(1), 1.5, 0.9
    paths = np.cumsum(rng.normal(drift / 8, math.sqrt(1 / 8), (200_000, 8)), axis=1)
    crossings = np.abs(paths) >= np.array(CRITICAL) * np.sqrt(SHARES)
    first = np.where(crossings[:, :3].any(axis=1), crossings[:, :3].argmax(axis=1), 3)
    ended = np.where(first < 3, paths[np.arange(len(paths)), first] > 0, paths[:, 3] >= s)

    assert above(drift, s, SHARES[:4], CRITICAL[:4]) == pytest.approx(ended.mean(), abs=0.004)


@pytest.mark.parametrize("drift", [0.0, 2.5, 4.5])
def test_half_of_the_corrected_estimates_exceed_the_truth(drift: float) -> None:
    rng, above_plain, above_corrected = np.random.default_rng(7), 0, 0
    for steps in rng.normal(drift / 8, math.sqrt(1 / 8), (400, 8)):
        z = np.cumsum(steps) / np.sqrt(SHARES)
        crossed = np.abs(z) >= CRITICAL
        k = int(crossed.argmax()) if crossed.any() else 7
        corrected = distance(float(z[k]), 1.0, SHARES[: k + 1], CRITICAL[: k + 1]) / math.sqrt(
            SHARES[k]
        )
        above_corrected += corrected > drift
        above_plain += z[k] / math.sqrt(SHARES[k]) > drift

    # three standard errors of the number of heads in 400 tosses of a coin
    assert abs(above_corrected - 200) <= 30
    assert abs(above_corrected - 200) <= abs(above_plain - 200) + 10
