"""Delays have the distribution that a profile describes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.base.units import NS_PER_MS
from rtbench_simulator.delay import Delay, DelayDrift, Empirical, Gamma, LogNormal, Mixture
from rtbench_simulator.profile import load_profile

DRAWS = 20_000


def drawn_ms(delay: Delay, seed: int = 1) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rng = np.random.default_rng(seed)
    return np.array([delay.draw_ns(rng) / NS_PER_MS for _ in range(DRAWS)])


def quantiles(delay: Delay, *ps: float) -> list[float]:
    return [float(value) for value in np.quantile(drawn_ms(delay), ps)]


@pytest.mark.parametrize(
    ("written", "delay"),
    [
        ("450", LogNormal(450, 450)),
        ("{p50: 450, p95: 900}", LogNormal(450, 900)),
        ("{p50: 450, p95: 900, p99: 2000}", LogNormal(450, 900, 2000)),
        ("{mean: 500, shape: 4}", Gamma(500, 4)),
        ("{quantiles: [300, 450, 2600]}", Empirical((300, 450, 2600))),
        (
            "{mixture: [{share: 0.98, p50: 450, p95: 900}, {share: 0.02, mean: 4000, shape: 9}]}",
            Mixture(((0.98, LogNormal(450, 900)), (0.02, Gamma(4000, 9)))),
        ),
    ],
)
def test_a_profile_gives_a_delay_as_a_number_or_a_distribution(
    tmp_path: Path, written: str, delay: Delay
) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(f"delays_ms: {{first_audio: {written}}}\n")

    assert load_profile(path).delays.first_audio == delay


def test_a_log_normal_delay_has_its_median_and_its_95th_percentile() -> None:
    assert quantiles(LogNormal(450, 900), 0.5, 0.95) == pytest.approx([450, 900], rel=0.03)


@given(ratio=st.just(1) | st.floats(1.001, 3), tail=st.floats(1, 3))
@settings(max_examples=5)
def test_a_log_normal_delay_may_have_another_tail(ratio: float, tail: float) -> None:
    """The tail may be lighter or heavier than that of a log-normal distribution; the body stays
    the same.
    """
    wanted = [450, 450 * ratio, 450 * ratio * tail]
    light, with_tail = drawn_ms(LogNormal(450, 450 * ratio)), drawn_ms(LogNormal(*wanted))

    assert np.quantile(with_tail, [0.5, 0.95, 0.99]) == pytest.approx(wanted, rel=0.06)
    assert np.array_equal(light[light < wanted[1]], with_tail[light < wanted[1]])
    tenth = LogNormal(*wanted).scaled(0.1)
    assert [tenth.p50_ms, tenth.p95_ms, tenth.p99_ms] == pytest.approx(
        [value / 10 for value in wanted]
    )


def test_a_gamma_delay_has_its_mean_and_standard_deviation() -> None:
    drawn = drawn_ms(Gamma(500, 4))

    assert drawn.mean() == pytest.approx(500, rel=0.02)
    assert drawn.std() == pytest.approx(250, rel=0.03)


def test_an_empirical_delay_has_the_measured_quantiles() -> None:
    measured = (300.0, 400.0, 450.0, 800.0, 2600.0)

    assert quantiles(Empirical(measured), 0, 0.25, 0.5, 0.75, 1) == pytest.approx(
        measured, rel=0.03
    )


def test_a_mixture_has_the_shares_of_its_components() -> None:
    drawn = drawn_ms(Mixture(((3, LogNormal(10, 10)), (1, LogNormal(1000, 1000)))))

    assert set(drawn) == {10.0, 1000.0}
    assert (drawn == 1000).mean() == pytest.approx(0.25, abs=0.02)


@given(
    delay=st.sampled_from(
        [
            Gamma(5, 0.01),
            LogNormal(1, 9),
            Empirical((1, 2)),
            Mixture(((0, LogNormal(1, 1)), (1, Gamma(9, 1)))),
        ]
    ),
    seed=st.integers(0, 1 << 32),
)
def test_a_delay_is_not_negative_and_reproducible_by_its_seed(delay: Delay, seed: int) -> None:
    one, other = (delay.draw_ns(np.random.default_rng(seed)) for _ in range(2))

    assert one == other >= 0


@pytest.mark.parametrize(
    "delay",
    [
        LogNormal(5, 9, 20),
        Gamma(5, 2),
        Empirical((1, 2, 9)),
        Mixture(((3, LogNormal(1, 2)), (1, Gamma(9, 1)))),
    ],
)
def test_a_scaled_delay_has_the_quantiles_of_the_delay_multiplied_by_the_factor(
    delay: Delay,
) -> None:
    one, scaled = (each.draw_ms(np.random.default_rng(3)) for each in (delay, delay.scaled(4)))

    assert scaled == pytest.approx(4 * one)


# The drift is a stationary Gaussian process with exponential autocorrelation. It is a function of
# the instant and the seed.


FAR_NS = 90 * 86_400 * 10**9  # the clock of a host with an uptime of three months


def test_a_drift_of_zero_sd_is_constant() -> None:
    assert DelayDrift(0.0, 20.0, 1).factor(FAR_NS) == 1.0
