"""Comparisons of targets whose sessions differ in length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.metric_comparison import MetricComparison
from reports.analysis.targets.compared_target import TurnWeights
from reports.analysis.targets.mix import (
    EXCLUDED,
    ComparedTargets,
    cells_of,
    classes_of,
    differ_in_length,
    table_weights,
)
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.mean import Mean
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.statistic_types.rate import Rate
from reports.metrics.statistic_types.within import Within
from reports.statistics.differences import Inference, Margin
from tests.reports.comparisons.build import quick, two
from tests.reports.forms import comparison_notices, written
from tests.reports.synthetic import Plan

GROWS = Plan(sessions=100, turns=5, grows=0.08)
LONGER = replace(GROWS, turns=10, seed=8)
P50 = MetricSpec("ttfa", Quantile(0.5), Margin(ratio=0.1))


def median(comparison: Comparison) -> MetricComparison:
    return next(one for one in comparison.comparisons if (one.spec.metric, one.spec.p) == ("ttfa", 0.5))


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
    notice = next(notice for notice in comparison_notices(comparison) if notice.startswith("Sessions differ in length"))

    assert "same workload" not in names
    assert names["turns in a session"] == ["5", "10"]
    assert "sim (one) has 5 turns in a session, and sim (other) has 10" in notice
    assert "0 turns of sim (one) and 500 turns of sim (other) are excluded" in notice.replace("\u00a0", " ")


def test_sessions_of_equal_length_are_not_weighted() -> None:
    base, cand = two(GROWS, replace(GROWS, seed=8))

    assert ComparedTargets(base, cand).targets(P50, (base.sample(P50), cand.sample(P50))).steps is None
    assert "same_workload" in [check.code for check in quick((base, cand)).checks]


def test_a_slower_candidate_with_longer_sessions_is_still_found() -> None:
    found = median(quick(two(GROWS, replace(LONGER, median_ms=900.0))))

    assert found.verdict.name == "regressed"


def test_turn_numbers_have_own_classes_up_to_the_eleventh_and_then_wider_ones() -> None:
    classes = classes_of(np.array([0, 1, 11, 12, 13, 40, 1000]))

    assert classes[:4].tolist() == [1, 1, 11, 11]
    assert (np.diff(classes) >= 0).all()
    assert classes[-1] < 70


def test_rare_turn_numbers_share_a_cell_and_those_of_one_target_are_excluded() -> None:
    base, cand = [30, 30, 12, 10, 2, 0], [30, 25, 15, 9, 40, 30]

    assert cells_of(np.array([[base], [cand]])).tolist() == [[1, 2, 3, 3, EXCLUDED, EXCLUDED]]


def test_a_step_of_only_one_target_is_excluded() -> None:
    turns = np.array([[[30, 0], [0, 30], [4, 0]], [[30, 0], [0, 0], [2, 3]]])

    assert cells_of(turns).tolist() == [[1, 1], [EXCLUDED, EXCLUDED], [0, 0]]


def test_constant_lengths_that_differ_are_found_and_equal_ones_are_not() -> None:
    short, long = (np.full(40, 15.0), np.full(40, 5.0)), (np.full(40, 55.0), np.full(40, 10.0))

    assert differ_in_length(short, long, paired=False)
    assert differ_in_length(short, long, paired=True)
    assert not differ_in_length(short, short, paired=False)


WITHIN = MetricSpec("ttfa", Within(800.0), Margin(points=0.01))
FAILURES = MetricSpec("failure_rate", Rate(), Margin(points=0.01))
SPEED = MetricSpec("audio_speed", Mean(), Margin(ratio=0.1))


@pytest.mark.parametrize("plans", [(GROWS, LONGER), (LONGER, GROWS)])
def test_an_equal_share_by_a_deadline_at_each_turn_number_is_no_difference(plans: tuple[Plan, Plan]) -> None:
    base, cand = two(*plans)
    shares = [float(np.divide(*(amounts.sum() for amounts in side.in_time(WITHIN, 800.0)))) for side in (base, cand)]
    (found,) = WITHIN.statistic.compare(ComparedTargets(base, cand), [WITHIN], Inference()).differences

    assert abs(shares[1] - shares[0]) > 0.1
    assert found is not None
    assert found.low < 0 < found.high
    assert abs(found.d) < 0.06


def test_a_mean_leaves_out_turn_numbers_that_only_one_target_has() -> None:
    base, cand = two(GROWS, LONGER)
    (found,) = SPEED.statistic.compare(ComparedTargets(base, cand), [SPEED], Inference()).differences
    speeds = cand.turns.value("audio_speed")

    assert found is not None
    assert found.candidate == pytest.approx(np.nanmean(speeds[cand.turns.number <= 5]))


def test_means_and_rates_of_an_interim_analysis_use_the_weights_of_turn_numbers() -> None:
    sources = ComparedTargets(*two(GROWS, LONGER))
    (found,) = WITHIN.statistic.compare(sources, [WITHIN], Inference()).differences
    (seen,) = WITHIN.statistic.interim(sources, [WITHIN], 100, np.random.default_rng(1), 0.025)

    assert found is not None
    assert seen.d == pytest.approx(found.d)


def test_weights_of_one_leave_rates_and_means_unchanged_and_weights_of_zero_leave_turns_out() -> None:
    target, _ = two(Plan(sessions=40, turns=4, failed=0.1, refused=5))
    turns, others = target.turns.number, target.turns.not_started.number
    ones = replace(target, weights=TurnWeights(np.ones(turns.size), np.ones(others.size)))
    first = replace(target, weights=TurnWeights((turns == 1) * 2.0, (others == 1) * 2.0))

    for sums in (
        lambda side: side.counts(FAILURES),
        lambda side: side.in_time(WITHIN, 800.0),
        lambda side: side.in_time(replace(WITHIN, metric="audio_speed"), 3.0),
        lambda side: side.totals(SPEED),
    ):
        assert [amounts.tolist() for amounts in sums(ones)] == [amounts.tolist() for amounts in sums(target)]
        assert set(sums(first)[1]) <= {0.0, 2.0}
        assert sums(first)[1].sum() > 0


def test_the_weights_of_a_table_have_the_shares_of_the_baseline() -> None:
    turns = np.array([[[40, 40, 20, 0]], [[100, 50, 50, 30]]])
    base, cand = table_weights(turns)

    assert base.tolist() == [[1, 1, 1, 0]]
    assert (cand * turns[1] / 200).tolist() == [[0.4, 0.4, 0.2, 0]]
