"""Two samples that lie closer than independent ones can."""

from __future__ import annotations

import numpy as np
import pytest

from reports.statistics.serial import are_alike, kolmogorov_distance


@pytest.mark.parametrize("n", [40, 160, 1000])
def test_independent_samples_of_one_service_are_not_alike(n: int) -> None:
    rng = np.random.default_rng(n)

    assert not any(are_alike(rng.lognormal(5, 0.3, n), rng.lognormal(5, 0.3, n)) for _ in range(300))


@pytest.mark.parametrize("n", [40, 160, 1000])
def test_the_same_delays_with_the_noise_of_a_machine_are_alike(n: int) -> None:
    rng = np.random.default_rng(n)
    delays = rng.lognormal(5, 0.3, n)

    assert all(are_alike(delays, rng.permutation(delays + rng.gamma(1, 0.3, n))) for _ in range(50))


def test_the_distance_is_kolmogorovs() -> None:
    """Of 1…4 against 3…6 two of four lie below the other's first: 1/2, and a step of 1/4, times the root of 4·4/8."""
    assert kolmogorov_distance(np.arange(1.0, 5), np.arange(3.0, 7)) == pytest.approx(0.75 * 2**0.5)


def test_few_values_are_not_told_apart() -> None:
    values = np.arange(19.0)

    assert not are_alike(values, values)
    assert not are_alike(np.array([]), np.array([]))
