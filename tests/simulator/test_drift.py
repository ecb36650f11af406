"""The drift is a stationary Gaussian process with exponential autocorrelation, and a function of instant and seed."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from bench.simulator.delay import DelayDrift

SD, TIME_CONSTANT_S = 0.3, 20.0
SEEDS = 2000
FAR_NS = 90 * 86_400 * 10**9  # a host that has been up for three months


@cache
def logarithms(at_s: float, seeds: int = SEEDS) -> npt.NDArray[np.float64]:
    """The process at one instant, for many seeds."""
    at_ns = FAR_NS + int(at_s * 1e9)
    return np.log([DelayDrift(SD, TIME_CONSTANT_S, seed).factor(at_ns) for seed in range(seeds)])


@pytest.mark.parametrize("at_s", [0, 777.7])
def test_over_the_seeds_it_is_normal_with_the_sd_it_was_given(at_s: float) -> None:
    seen = logarithms(at_s)

    assert seen.mean() == pytest.approx(0, abs=4 * SD / np.sqrt(SEEDS))
    assert seen.std() == pytest.approx(SD, rel=0.07)
    assert np.mean(np.abs(seen) < SD) == pytest.approx(0.683, abs=0.045)
    assert np.mean(np.abs(seen) < 2 * SD) == pytest.approx(0.954, abs=0.02)


@pytest.mark.parametrize("lag_s", [2, 10, 20, 40])
def test_its_autocorrelation_falls_exponentially(lag_s: float) -> None:
    now, later = logarithms(0), logarithms(lag_s)

    assert np.corrcoef(now, later)[0, 1] == pytest.approx(np.exp(-lag_s / TIME_CONSTANT_S), abs=0.07)


def test_one_seed_alone_has_that_autocorrelation_over_a_long_time() -> None:
    drift, step_s = DelayDrift(SD, TIME_CONSTANT_S, 5), 5.0
    seen = np.log([drift.factor(FAR_NS + int(place * step_s * 1e9)) for place in range(8000)])

    for lag in (1, 2, 4, 8):
        found = np.mean(seen[:-lag] * seen[lag:]) / np.mean(seen**2)
        assert found == pytest.approx(np.exp(-lag * step_s / TIME_CONSTANT_S), abs=0.08)


def test_another_seed_drifts_otherwise() -> None:
    assert DelayDrift(0.3, 20.0, 1).factor(FAR_NS) != DelayDrift(0.3, 20.0, 2).factor(FAR_NS)


def test_without_spread_there_is_no_drift() -> None:
    assert DelayDrift(0.0, 20.0, 1).factor(FAR_NS) == 1.0
