"""Dose and response: the slope, its interval, and the value at which a share is reached."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics.dose import (
    Interval,
    Resampled,
    resampled,
    slope,
    turns_back,
    value_at_share,
)
from reports.statistics.quantiles import Sample
from tests.examples import trials

DOSES = np.array([200.0, 400.0, 700.0])
SAME = np.zeros(3, int)
PAUSE_MS = 150.0
REPLY_MS = 900.0
NOISE = np.random.default_rng(0).gamma(4, 60, 100_000)


def run(
    rng: np.random.Generator, doses: np.ndarray, groups: int = 60
) -> tuple[Resampled, Resampled]:
    """Simulate groups with three turns of each setting. A reply waits for the dose, and is earlier
    if the caller's pause, of `PAUSE_MS` on average, is longer.
    """
    caller = rng.normal(0, 100, (groups, 1))
    samples, totals = [], []
    for dose in doses:
        waits = REPLY_MS + dose + caller + rng.gamma(4, 60, (groups, 3))
        cut = rng.exponential(PAUSE_MS, waits.shape) > dose
        order = np.argsort(waits[~cut], kind="stable")
        samples.append(Sample(waits[~cut][order], np.nonzero(~cut)[0][order]))
        totals.append((cut.sum(axis=1).astype(float), np.full(groups, 3.0)))
    return resampled(samples, totals, 0.5, int(rng.integers(1 << 30)))


def covers(interval: Interval, truth: float) -> bool:
    return not (interval.low > truth or interval.high < truth)


def test_intervals_cover_the_truth_and_an_effect_is_told_from_none() -> None:
    rng = np.random.default_rng(1)
    median = REPLY_MS + float(np.median(NOISE + rng.normal(0, 100, NOISE.size)))
    runs = trials(30, 100)
    covered = np.zeros(3, int)
    ignored = works = 0
    for _ in range(runs):
        waits, cuts = run(rng, DOSES)
        truths = {share: median - PAUSE_MS * math.log(share) for share in (0.05, 0.1)}
        found = slope(waits, DOSES, SAME)
        covered += [
            covers(found, 1.0),
            *(covers(value_at_share(waits, cuts, share), at) for share, at in truths.items()),
        ]
        works += found.low > 0.5
        none, _ = run(rng, np.full(3, 400.0))
        effect = slope(none, DOSES, SAME).times(500 / (0.1 * none.values[0]))
        ignored += effect.low >= -1 and effect.high <= 1

    assert (covered >= 0.95 * runs - 1.5 * math.sqrt(0.05 * 0.95 * runs)).all()
    assert works == runs
    assert ignored >= 0.95 * runs


@given(
    b=st.floats(-5, 5),
    doses=st.lists(st.integers(0, 1_000), min_size=2, max_size=6, unique=True),
    offsets=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=3),
)
def test_the_slope_of_a_line_is_that_of_the_line_whatever_else_differs(
    b: float, doses: list[int], offsets: list[float]
) -> None:
    others = np.repeat(np.arange(len(offsets)), len(doses))
    x = np.tile(np.array(doses, float), len(offsets))
    values = b * x + np.array(offsets)[others]
    found = slope(Resampled(values, np.tile(values, (50, 1)), 20), x, others)

    assert found.value == pytest.approx(b, abs=1e-6)
    assert found.low == pytest.approx(b, abs=1e-5)


@pytest.mark.parametrize(
    ("values", "clusters"), [([1.0, math.inf, 3.0], 20), ([1.0, math.nan, 3.0], 20), ([1, 2, 3], 4)]
)
def test_an_unknown_value_or_too_few_sessions_give_no_slope(
    values: list[float], clusters: int
) -> None:
    of = Resampled(np.array(values, float), np.tile(np.array(values, float), (50, 1)), clusters)

    assert math.isnan(slope(of, DOSES, SAME).value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3], False),
        ([1, 3, 2], True),
        ([3, 1, 2], True),
        ([2, 1, 2], False),
        ([3, 2, 1], False),
    ],
)
def test_values_that_go_up_and_down_have_no_slope(values: list[float], expected: bool) -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.05, (2_000, 3))

    assert turns_back(Resampled(np.array(values, float), noise + values, 20), DOSES) is expected


@pytest.mark.parametrize(
    ("share", "low_known", "high_known"), [(0.9, False, True), (1e-6, True, False)]
)
def test_a_share_that_no_setting_reaches_leaves_an_end_open(
    share: float, low_known: bool, high_known: bool
) -> None:
    waits, cuts = run(np.random.default_rng(3), DOSES)
    found = value_at_share(waits, cuts, share)

    assert math.isnan(found.value)
    assert (math.isfinite(found.low), math.isfinite(found.high)) in {
        (low_known, high_known),
        (False, False),
    }
