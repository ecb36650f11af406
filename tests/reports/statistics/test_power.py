"""The number of sessions that a metric needs, the variance components of a run, and the best length of sessions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics.power import (
    Pilot,
    Variability,
    distance_of,
    icc,
    pilot_of_quantile,
    pilot_of_rate,
    variability_of,
)
from reports.statistics.quantiles import Sample, quantiles, sample

SIGMA, ICC = 0.5, 0.3


def sessions_of_ten(sessions: int, rng: np.random.Generator, shift: float = 0.0, drift: Any = None) -> Sample:
    """Return sessions of ten turns. `drift` contains the drift of each session on the log scale."""
    code = np.repeat(np.arange(sessions), 10)
    level = rng.normal(0, SIGMA * math.sqrt(ICC), sessions) + (0.0 if drift is None else drift)
    return sample(600 * np.exp(shift + level[code] + rng.normal(0, SIGMA * math.sqrt(1 - ICC), code.size)), code)


def test_the_sample_size_for_a_known_variance_follows_the_formula() -> None:
    pilot = Pilot(variance=2.0, sessions=200, drifts=False)

    assert pilot.needed(0.2, 0.8) == math.ceil(2.0 * (1.6449 + 0.8416) ** 2 / 0.04)
    assert pilot.power(pilot.needed(0.2, 0.8), 0.2) == pytest.approx(0.8, abs=0.005)


def test_three_primary_metrics_need_more_sessions_as_by_the_formula() -> None:
    """In the formula, z_{1 - 0.05/3} = 2.128 replaces z_{1 - 0.05} = 1.645."""
    pilot = Pilot(variance=2.0, sessions=200, drifts=False)

    assert pilot.needed(0.2, 0.8, 0.05 / 3) == math.ceil(2.0 * (2.1280 + 0.8416) ** 2 / 0.04)
    assert pilot.power(442, 0.2, 0.05 / 3) == pytest.approx(0.8, abs=0.005)


def test_latencies_need_more_sessions_because_some_runs_are_taken_to_drift() -> None:
    waits, rate = (Pilot(2.0, 200, drifts=drifts).needed(0.2, 0.8) for drifts in (True, False))

    assert 1.02 * rate < waits / 1.1 < 1.05 * rate


def test_tail_quantiles_need_more_sessions() -> None:
    middle, tail = (Pilot(2.0, 200, tail).needed(0.1, 0.9) for tail in (False, True))

    assert 1.25 / 1.1 * middle < tail < 1.05 * 1.25 / 1.1 * middle  # includes the allowance for runs with bursts


@given(st.floats(0.01, 2), st.floats(0.55, 0.99), st.floats(0.001, 10))
def test_more_power_and_smaller_effects_need_more_sessions(distance: float, power: float, variance: float) -> None:
    pilot = Pilot(variance, 200)

    assert pilot.needed(distance, power) <= pilot.needed(distance / 2, power)
    assert pilot.needed(distance, power) <= pilot.needed(distance, (power + 1) / 2)
    assert pilot.power(100, distance) <= pilot.power(200, distance)


def test_the_margin_is_divided_out_of_the_effect() -> None:
    assert distance_of(0.3, 0.1) == pytest.approx(math.log(1.3 / 1.1))


@pytest.mark.parametrize(("p", "density"), [(0.5, 0.3989), (0.95, 0.1031)])
def test_the_variance_of_a_pilot_is_that_of_the_normal_formula(p: float, density: float) -> None:
    deff = {0.5: 1 + 9 * 0.194, 0.95: 1 + 9 * 0.11}[p]
    expected = 2 * SIGMA**2 * p * (1 - p) * deff / 10 / density**2
    rng = np.random.default_rng(4)
    found = [pilot_of_quantile((sessions_of_ten(200, rng),), p, 200, rng) for _ in range(20)]

    assert np.median([pilot.variance for pilot in found]) == pytest.approx(expected, rel=0.2)


def test_pairs_with_a_common_drift_need_fewer_sessions() -> None:
    rng = np.random.default_rng(2)
    drift = rng.normal(0, 0.4, 300)
    base, cand = sessions_of_ten(300, rng, drift=drift), sessions_of_ten(300, rng, drift=drift)
    paired, alone = pilot_of_quantile((base, cand), 0.5, 300, rng), pilot_of_quantile((base,), 0.5, 300, rng)

    assert paired.variance < 0.7 * alone.variance


def test_a_quantile_among_failed_turns_cannot_be_planned() -> None:
    failed = sample(np.where(np.arange(400) % 10 == 0, np.inf, 600.0 + np.arange(400)), np.repeat(np.arange(40), 10))

    assert math.isnan(pilot_of_quantile((failed,), 0.95, 40, np.random.default_rng(1)).variance)


def test_clustered_failures_need_more_sessions_and_no_failure_assumes_some_clustering() -> None:
    turns = np.full(200, 10.0)
    spread = pilot_of_rate(np.where(np.arange(200) < 60, 1.0, 0.0), turns, 0.03)
    clustered = pilot_of_rate(np.where(np.arange(200) < 6, 10.0, 0.0), turns, 0.03)
    none = pilot_of_rate(np.zeros(200), turns, 0.03)

    assert clustered.variance > 5 * spread.variance
    assert none.variance == pytest.approx(0.03 * 0.97 * (1 + 0.2 * 9) / 10)


def waits(sessions: int, turns: int, share: float, seed: int = 1, sigma: float = 0.5) -> Sample:
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(sessions), turns)
    level = rng.normal(0, sigma * math.sqrt(share), sessions)[code]
    return sample(600 * np.exp(level + rng.normal(0, sigma * math.sqrt(1 - share), code.size)), code)


def test_the_icc_of_a_hand_made_table_is_correct() -> None:
    """The variance is 7 between sessions and 2 within them."""
    assert icc(np.array([1.0, 3.0, 5.0, 7.0]), np.array([0, 0, 4, 4])) == pytest.approx(7 / 9)


def test_sessions_that_differ_less_than_by_chance_have_no_icc() -> None:
    assert icc(np.array([1.0, 5.0, 5.0, 1.0]), np.array([0, 0, 1, 1])) == 0


def spread(of: Sample) -> Variability:
    return variability_of(of, *quantiles(of, (0.5, 0.95)))


@pytest.mark.parametrize("codes", [[], [0], [0, 0, 0], [0, 1, 2]])
def test_one_session_or_single_turns_give_no_icc(codes: list[int]) -> None:
    assert math.isnan(icc(np.arange(float(len(codes))), np.array(codes, dtype=np.int64)))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_estimated_variability_is_that_of_the_run(share: float) -> None:
    found = spread(waits(2_000, 10, share))

    assert found.sigma == pytest.approx(0.5, abs=0.02)
    assert found.icc == pytest.approx(share, abs=0.03)
    assert found.deff50 > found.deff95 > 1


def test_failures_and_zeros_are_excluded_from_logs() -> None:
    found = spread(sample(np.array([0.0, 1.0, math.e, math.inf]), np.array([0, 0, 1, 1])))

    assert found.sigma == pytest.approx(math.sqrt(0.5))


def test_the_variability_of_an_empty_run_is_unknown() -> None:
    found = spread(sample(np.zeros(0), np.zeros(0, dtype=np.int64)))

    assert all(math.isnan(value) for value in (found.sigma, found.icc, found.deff50, found.deff95))
