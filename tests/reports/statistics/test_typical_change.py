"""The typical change over all steps, the step that changed most, and slopes of latencies over
sessions.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics import typical_change as centre_of_slopes
from reports.statistics.arms import TwoSamples
from reports.statistics.differences import Difference, Inference, Margin
from reports.statistics.quantiles import Sample
from reports.statistics.typical_change import (
    StepLatencies,
    slope_differences,
    theil_sen,
    trimmed_mean,
    typical_change,
    worst_step,
)
from reports.statistics.verdicts import holm

STEPS = 10


def waits(
    pairs: int, seed: int, change: float = 0.0, worse: int | None = None, failed: float = 0.0
) -> StepLatencies:
    """Return the latencies of sessions of ten steps. `change` is added to the log latency of step
    `worse`.

    If `worse` is None, `change` is added to the log latency of all steps.
    """
    rng = np.random.default_rng(seed)
    steps, codes = np.tile(np.arange(STEPS), pairs), np.repeat(np.arange(pairs), STEPS)
    log = (
        rng.normal(0, 0.24, pairs)[codes]
        + np.linspace(-0.4, 0.4, STEPS)[steps]
        + rng.normal(0, 0.36, codes.size)
    )
    log += np.where((steps == worse) | (worse is None), change, 0.0)
    values = np.where(rng.random(codes.size) < failed, np.inf, 600 * np.exp(log))
    return StepLatencies(values, steps, codes)


def test_an_equal_change_in_every_step_is_the_typical_change() -> None:
    base = waits(60, 1)
    slower = StepLatencies(base.values * 1.3, base.steps, base.pairs)
    found = typical_change(base, slower, 60)

    assert found.d == pytest.approx(math.log(1.3), abs=0.01)
    assert found.se < 0.01  # apart from the change, the pairs are identical


def test_the_standard_error_equals_the_observed_standard_deviation() -> None:
    found = [
        typical_change(waits(60, 2 * seed), waits(60, 2 * seed + 1), 60) for seed in range(150)
    ]
    scatter = float(np.std([one.d for one in found]))

    assert np.mean([one.se for one in found]) == pytest.approx(scatter, rel=0.2)


def test_negative_latencies_are_trimmed_like_the_smallest_values() -> None:
    base, cand = waits(100, 1), waits(100, 2)
    early = np.random.default_rng(3).random(cand.values.size) < 0.05
    outran, least = (
        StepLatencies(np.where(early, value, cand.values), cand.steps, cand.pairs)
        for value in (-40.0, 1e-9)
    )

    assert typical_change(base, outran, 100).d == pytest.approx(typical_change(base, least, 100).d)
    assert math.isnan(
        typical_change(base, StepLatencies(-cand.values, cand.steps, cand.pairs), 100).d
    )


def test_a_trimmed_mean_counts_values_at_its_edges_in_part() -> None:
    assert trimmed_mean(np.array([0.0, 1.0, 2.0, 3.0, 100.0])) == pytest.approx(
        (0.5 * 0 + 1 + 2 + 3 + 0.5 * 100) / 4
    )
    assert math.isnan(trimmed_mean(np.zeros(0)))


def test_the_worst_step_is_found_and_only_it_is_significant() -> None:
    found = worst_step(
        waits(200, 1), waits(200, 2, math.log(2), 4), 200, np.random.default_rng(1), draws=300
    )

    assert found[0].step == 4
    assert holm([one.p_worse for one in found]) == [True] + [False] * (len(found) - 1)
    assert math.exp(found[0].change.d) == pytest.approx(2, rel=0.1)


POINT = st.tuples(st.integers(0, 40), st.floats(100, 5_000))


@given(
    st.lists(st.lists(POINT, min_size=1, max_size=9), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_a_session_s_slope_is_the_theil_sen_slope(
    sessions: list[list[tuple[int, float]]], order: object
) -> None:
    points = [(code, x, y) for code, mine in enumerate(sessions) for x, y in mine]
    order.shuffle(points)  # type: ignore[attr-defined]
    codes, x, y = (np.array(column) for column in zip(*points, strict=True))
    found = theil_sen(x.astype(float), y, codes, span=1.0)

    there = {
        code: scipy.stats.theilslopes([y for _, y in mine], [x for x, _ in mine]).slope
        for code, mine in enumerate(sessions)
        if len(mine) >= centre_of_slopes.POINTS and len({x for x, _ in mine}) > 1
    }
    assert dict(zip(found.sessions.tolist(), found.values, strict=True)) == pytest.approx(there)
    assert (np.diff(found.values) >= 0).all()


def slopes_around(middle: float, seed: int, sessions: int = 60) -> Sample:
    rng = np.random.default_rng(seed)
    return Sample(np.sort(rng.normal(middle, 15, sessions)), rng.permutation(sessions))


def differ(base: Sample, cand: Sample, plus: float = 10.0) -> Difference:
    (found,) = slope_differences(
        TwoSamples(base, cand, (60, 60), paired=False),
        [(0.5, Margin(plus=plus))],
        "lower",
        Inference(resamples=500, seed=2),
    )
    return found


@pytest.mark.parametrize(
    ("base", "cand", "worse"), [(-20, 30, True), (5, 2, False), (30, -20, False)]
)
def test_slopes_are_compared_by_the_difference_of_medians_also_below_zero(
    base: float, cand: float, worse: bool
) -> None:
    found = differ(slopes_around(base, 1), slopes_around(cand, 2))

    assert found.scale == "slope"
    assert found.d == pytest.approx(found.candidate - found.baseline)
    assert found.low < found.d < found.high
    assert (found.worse.low > 0) == worse
    assert (found.worse.high < 0) == (not worse)


def test_a_margin_is_in_the_unit_of_the_slope() -> None:
    base = slopes_around(10, 1)
    cand = Sample(base.values + 12, base.sessions)

    assert differ(base, cand, plus=40).worse.high < 0
    assert differ(base, cand, plus=0).worse.low > 0
