"""The statistics of an interim analysis: quantiles, rates and means.

The targets may drift or have bursts of failures.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from reports.metrics.statistic_types.mean import mean_seen
from reports.metrics.statistic_types.quantile import quantiles_seen
from reports.metrics.statistic_types.rate import rate_seen
from reports.results.value import Reason
from reports.statistics.arms import TwoSamples
from reports.statistics.counting import Floats
from reports.statistics.differences import Margin
from reports.statistics.verdicts import SESSIONS
from tests.reports.statistics.samples import sample_of, waits

PAIRS, TURNS = 120, 10
EVEN = np.full(PAIRS, float(TURNS))


def pairs_of(baseline: Floats, candidate: Floats) -> TwoSamples:
    return TwoSamples(
        sample_of(baseline), sample_of(candidate), (len(baseline), len(candidate)), paired=True
    )


@pytest.mark.parametrize(("drift", "order"), [(1.0, None), (2.0, "drift")])
def test_a_target_that_drifts_has_the_standard_error_of_parts_of_the_run(
    drift: float, order: str | None
) -> None:
    rng = np.random.default_rng(4)
    slower = waits(rng, PAIRS) * np.linspace(1, drift, PAIRS)[:, None]
    samples, asked = pairs_of(waits(rng, PAIRS), slower), [(0.5, Margin(ratio=0.1))]

    (seen,) = quantiles_seen(samples, asked, "lower", np.random.default_rng(1))
    (plain,) = quantiles_seen(samples, asked, "lower", np.random.default_rng(1), error=0.0)

    assert seen.order == order
    assert (seen.d, seen.excess) == (plain.d, plain.excess)
    assert seen.se > plain.se if order else seen.se == plain.se


@pytest.mark.parametrize(("failed", "needed"), [(0.0, 299), (1.0, None)])
def test_a_rate_without_an_event_has_the_number_of_pairs_that_would_decide_it(
    failed: float, needed: int | None
) -> None:
    """If the baseline has an event, no number of pairs is enough."""
    base = np.zeros(PAIRS)
    base[0] = failed

    seen = rate_seen((base, EVEN), (np.zeros(PAIRS), EVEN), Margin(points=0.01))
    why = seen.unsettled(1.645)

    assert why is not None
    assert (why.code, why.needed, why.there) == ("none_seen", needed or 0, PAIRS)


def test_a_mean_needs_enough_pairs_and_positive_values() -> None:
    one = np.ones(PAIRS)
    sums = (one * TURNS, EVEN)

    assert mean_seen(sums, (0 * one, EVEN), Margin(ratio=0.1), "lower").untested == Reason(
        "not_positive"
    )
    few = (one[: SESSIONS - 1], EVEN[: SESSIONS - 1])
    assert (
        mean_seen(few, few, Margin(ratio=0.1), "lower").untested or Reason("drift")
    ).code == "too_few"
    assert rate_seen(few, few, Margin(points=0.1)).untested is not None


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_mean_is_tested_by_the_log_of_its_ratio(better: str) -> None:
    noise = np.random.default_rng(3).normal(0, 0.01, (2, PAIRS))
    base, cand = (
        (TURNS * factor * (1 + one), EVEN) for factor, one in zip((1.0, 1.2), noise, strict=True)
    )

    seen = mean_seen(base, cand, Margin(ratio=0.1), better)  # type: ignore[arg-type]

    assert seen.d == pytest.approx(math.log(1.2), abs=0.01)
    assert (seen.z > 3) == (better == "lower")
