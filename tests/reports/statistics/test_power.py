"""The number of sessions that a metric needs, the variance components of a run, and the best
length of sessions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from reports.statistics.power import (
    Pilot,
    Variability,
    icc,
    pilot_of_quantile,
    pilot_of_rate,
    variability_of,
)
from reports.statistics.quantiles import Sample, sample

SIGMA, ICC = 0.5, 0.3


def sessions_of_ten(
    sessions: int, rng: np.random.Generator, shift: float = 0.0, drift: Any = None
) -> Sample:
    """Return sessions of ten turns. `drift` contains the drift of each session on the log scale."""
    code = np.repeat(np.arange(sessions), 10)
    level = rng.normal(0, SIGMA * math.sqrt(ICC), sessions) + (0.0 if drift is None else drift)
    return sample(
        600 * np.exp(shift + level[code] + rng.normal(0, SIGMA * math.sqrt(1 - ICC), code.size)),
        code,
    )


@pytest.mark.parametrize(
    ("error", "z"),
    [
        pytest.param((), 1.6449, id="one primary metric"),
        pytest.param((0.05 / 3,), 2.1280, id="three: the quantile of 1 - 0.05 / 3"),
    ],
)
def test_the_sample_size_for_a_known_variance_follows_the_formula(
    error: tuple[float, ...], z: float
) -> None:
    pilot = Pilot(variance=2.0, sessions=200, drifts=False)
    needed = pilot.needed(0.2, 0.8, *error)

    assert needed == math.ceil(2.0 * (z + 0.8416) ** 2 / 0.04)
    assert pilot.power(needed, 0.2, *error) == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize(("p", "density"), [(0.5, 0.3989), (0.95, 0.1031)])
def test_the_variance_of_a_pilot_is_that_of_the_normal_formula(p: float, density: float) -> None:
    deff = {0.5: 1 + 9 * 0.194, 0.95: 1 + 9 * 0.11}[p]
    expected = 2 * SIGMA**2 * p * (1 - p) * deff / 10 / density**2
    rng = np.random.default_rng(4)
    found = [pilot_of_quantile((sessions_of_ten(200, rng),), p, 200, rng) for _ in range(20)]

    assert np.median([pilot.variance for pilot in found]) == pytest.approx(expected, rel=0.2)


def test_a_pilot_in_whose_tail_are_few_sessions_needs_a_larger_reserve() -> None:
    """Here the turns of a session are equal, so that 5 of 100 sessions decide the p95."""
    waits = np.linspace(500, 900, 1000)
    alike = sample(waits, np.repeat(np.arange(100), 10))
    unlike = sample(waits, np.tile(np.arange(100), 10))
    rng = np.random.default_rng(5)

    assert pilot_of_quantile((alike,), 0.95, 100, rng).above == 5
    assert pilot_of_quantile((unlike,), 0.95, 100, rng).above == 50
    few, many = (Pilot(variance=2.0, sessions=100, above=above) for above in (5, 50))
    assert few.needed(0.2, 0.8) > 1.4 * many.needed(0.2, 0.8)


def test_pairs_with_a_common_drift_need_fewer_sessions() -> None:
    rng = np.random.default_rng(2)
    drift = rng.normal(0, 0.4, 300)
    base, cand = sessions_of_ten(300, rng, drift=drift), sessions_of_ten(300, rng, drift=drift)
    paired, alone = (
        pilot_of_quantile((base, cand), 0.5, 300, rng),
        pilot_of_quantile((base,), 0.5, 300, rng),
    )

    assert paired.variance < 0.7 * alone.variance


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
    return sample(
        600 * np.exp(level + rng.normal(0, sigma * math.sqrt(1 - share), code.size)), code
    )


def test_the_icc_of_a_hand_made_table_is_correct() -> None:
    """The variance is 7 between sessions and 2 within them."""
    assert icc(np.array([1.0, 3.0, 5.0, 7.0]), np.array([0, 0, 4, 4])) == pytest.approx(7 / 9)


def spread(of: Sample) -> Variability:
    return variability_of(of)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_estimated_variability_is_that_of_the_run(share: float) -> None:
    found = spread(waits(2_000, 10, share))

    assert found.sigma == pytest.approx(0.5, abs=0.02)
    assert found.icc == pytest.approx(share, abs=0.03)
