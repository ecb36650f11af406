"""Comparisons of targets whose sessions differ in length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.targets.mix import (
    EXCLUDED,
    ComparedTargets,
    cells_of,
    table_weights,
)
from reports.engine.judge import Judged
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.mean import Mean
from reports.metrics.statistic_types.rate import Within
from reports.statistics.differences import Inference, Margin
from tests.reports.comparisons.build import quick, two
from tests.reports.forms import comparison_notices, written
from tests.reports.synthetic import Plan

GROWS = Plan(sessions=100, turns=5, grows=0.08)
LONGER = replace(GROWS, turns=10, seed=8)


def median(comparison: Comparison) -> Judged:
    return next(
        one for one in comparison.comparisons if (one.spec.metric, one.spec.p) == ("ttfa", 0.5)
    )


@pytest.mark.parametrize("plans", [(GROWS, LONGER), (LONGER, GROWS)])
def test_an_equal_latency_at_each_turn_number_is_no_difference(plans: tuple[Plan, Plan]) -> None:
    found = median(quick(two(*plans)))

    assert found.verdict.name in ("equivalent", "not_regressed", "inconclusive")
    assert found.difference is not None
    assert abs(found.difference.d) < 0.1
    assert [target.turns for target in found.targets] == [500, 500]


def test_a_comparison_states_the_weights_of_turn_numbers_and_the_excluded_turns() -> None:
    comparison = quick(two(GROWS, LONGER))
    names = {check.name: check.texts for check in written(comparison.checks)}
    notice = next(
        notice
        for notice in comparison_notices(comparison)
        if notice.startswith("Sessions differ in length")
    )

    assert "same workload" not in names
    assert names["turns in a session"] == ["5", "10"]
    assert "sim (one) has 5 turns in a session, and sim (other) has 10" in notice
    assert "0 turns of sim (one) and 500 turns of sim (other) are excluded" in notice.replace(
        "\u00a0", " "
    )


def test_a_slower_candidate_with_longer_sessions_is_still_found() -> None:
    found = median(quick(two(GROWS, replace(LONGER, median_ms=900.0))))

    assert found.verdict.name == "regressed"


def test_a_step_of_only_one_target_is_excluded() -> None:
    turns = np.array([[[30, 0], [0, 30], [4, 0]], [[30, 0], [0, 0], [2, 3]]])

    assert cells_of(turns).tolist() == [[1, 1], [EXCLUDED, EXCLUDED], [0, 0]]


WITHIN = MetricSpec("ttfa", Within(800.0), Margin(points=0.01))
SPEED = MetricSpec("audio_speed", Mean(), Margin(ratio=0.1))


@pytest.mark.parametrize("plans", [(GROWS, LONGER), (LONGER, GROWS)])
def test_an_equal_share_by_a_deadline_at_each_turn_number_is_no_difference(
    plans: tuple[Plan, Plan],
) -> None:
    base, cand = two(*plans)
    shares = [
        float(np.divide(*(amounts.sum() for amounts in side.in_time(WITHIN, 800.0))))
        for side in (base, cand)
    ]
    (found,) = WITHIN.statistic.compare(
        ComparedTargets(base, cand), [WITHIN], Inference()
    ).differences

    assert abs(shares[1] - shares[0]) > 0.1
    assert found is not None
    assert found.low < 0 < found.high
    assert abs(found.d) < 0.06


def test_a_mean_leaves_out_turn_numbers_that_only_one_target_has() -> None:
    base, cand = two(GROWS, LONGER)
    (found,) = SPEED.statistic.compare(
        ComparedTargets(base, cand), [SPEED], Inference()
    ).differences
    speeds = cand.turns.value("audio_speed")

    assert found is not None
    assert found.candidate == pytest.approx(np.nanmean(speeds[cand.turns.number <= 5]))


def test_means_and_rates_of_an_interim_analysis_use_the_weights_of_turn_numbers() -> None:
    sources = ComparedTargets(*two(GROWS, LONGER))
    (found,) = WITHIN.statistic.compare(sources, [WITHIN], Inference()).differences
    (seen,) = WITHIN.statistic.interim(sources, [WITHIN], Inference(resamples=100, seed=1), 0.025)

    assert found is not None
    assert seen.d == pytest.approx(found.d)


def test_the_weights_of_a_table_have_the_shares_of_the_baseline() -> None:
    turns = np.array([[[40, 40, 20, 0]], [[100, 50, 50, 30]]])
    base, cand = table_weights(turns)

    assert base.tolist() == [[1, 1, 1, 0]]
    assert (cand * turns[1] / 200).tolist() == [[0.4, 0.4, 0.2, 0]]
