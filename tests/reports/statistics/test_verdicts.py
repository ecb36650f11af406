"""Verdicts from intervals, with Holm's correction and minimum sample sizes; a candidate compared
with stored runs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from reports.results.value import IN_FAILURES, Reason
from reports.statistics.baselines import (
    RATE_RUN_SD,
    RUN_SD,
    StoredValue,
    against_stored,
    no_ratio,
    rate_against_stored,
    stored_quantile,
)
from reports.statistics.differences import Better, Difference, Inference, Margin, OneSidedBounds
from reports.statistics.rates import RatioEstimate
from reports.statistics.verdicts import (
    NOT_AFTER_HOLM,
    Verdict,
    floor_reason,
    holm,
    verdicts,
)
from reports.text.reasons import reason_text
from tests.reports.statistics.samples import Floats, sample_of, waits


def build_difference(
    low: float = -0.02,
    high: float = 0.02,
    margin: float = 0.1,
    *,
    p_worse: float = 0.0,
    p_better: float = 0.0,
    **changes: Any,
) -> Difference:
    values: dict[str, Any] = {
        "scale": "ratio",
        "baseline": 600.0,
        "candidate": 610.0,
        "d": (low + high) / 2,
        "low": low,
        "high": high,
        "se": 0.01,
        "df": 100.0,
        "worse": OneSidedBounds(
            low - margin, high - margin, p_worse or (0.001 if low > margin else 0.9)
        ),
        "better": OneSidedBounds(
            -high - margin, -low - margin, p_better or (0.001 if high < -margin else 0.9)
        ),
    }
    return Difference(**{**values, **changes})


def judge(
    *found: Difference | None, primary: bool = True, floor: Reason | None = None
) -> list[Verdict]:
    return verdicts(found, [primary] * len(found), [floor] * len(found))


@pytest.mark.parametrize(
    ("low", "high", "word", "passes"),
    [
        (0.11, 0.3, "regressed", False),
        (0.05, 0.15, "inconclusive", False),
        (-0.05, 0.05, "equivalent", True),
        (-0.1, 0.1, "inconclusive", False),
        (-0.15, 0.05, "not_regressed", True),
        (-0.3, -0.11, "improved", True),
        (math.inf, math.inf, "regressed", False),
        (0.0, math.inf, "inconclusive", False),
    ],
)
def test_the_verdict_follows_from_the_interval_and_the_margin(
    low: float, high: float, word: str, passes: bool
) -> None:
    (verdict,) = judge(build_difference(low, high))

    assert (verdict.name, verdict.passes, verdict.reason) == (word, passes, None)


def test_an_interval_that_ends_on_the_margin_is_not_below_it() -> None:
    assert [
        verdict.name for verdict in judge(build_difference(-0.3, 0.1), build_difference(-0.1, 0.05))
    ] == [
        "inconclusive",
        "not_regressed",
    ]


@pytest.mark.parametrize(
    ("values", "rejected"),
    [
        ([0.01, 0.04, 0.03], [True, False, False]),  # 0.03 > 0.05/2
        ([0.016, 0.04, 0.024], [True, True, True]),
        ([0.02, 0.001, 0.03], [True, True, True]),
        ([0.017, 0.017, 0.017], [False, False, False]),  # 0.017 > 0.05/3
        ([0.05], [True]),
        ([], []),
    ],
)
def test_holm_steps_down_from_the_smallest_p_value(
    values: list[float], rejected: list[bool]
) -> None:
    assert holm(values) == rejected


def test_a_primary_metric_over_its_margin_regresses_only_after_holm() -> None:
    over = build_difference(0.11, 0.3, p_worse=0.04)
    rest = [build_difference(), build_difference()]
    found = judge(over, *rest)

    assert (found[0].name, found[0].reason) == ("inconclusive", NOT_AFTER_HOLM)
    assert [verdict.name for verdict in found[1:]] == ["equivalent", "equivalent"]
    assert judge(over)[0].name == "regressed"


def test_a_metric_that_a_target_lacks_is_inconclusive() -> None:
    assert judge(None) == [Verdict("inconclusive", Reason("no_value"))]
    assert judge(None, floor=IN_FAILURES) == [Verdict("inconclusive", IN_FAILURES)]


def text_of_reason(*counts: Any, **labels: Any) -> str:
    return reason_text(floor_reason(*counts, **labels))


def test_the_minimum_sample_size_is_in_sessions_and_then_in_turns() -> None:
    assert text_of_reason(0.95, (400, 500), (20, 40)) == ""
    assert (
        text_of_reason(0.95, (399, 500), (20, 40))
        == "too few turns to decide: p95 needs 400 per target, 399 measured"
    )
    assert (
        text_of_reason(0.95, (400, 500), (20, 19))
        == "too few sessions to decide: 20 needed per target, 19 measured"
    )
    assert (
        text_of_reason(0.95, (400, 500), (12, 12), "pair")
        == "too few pairs to decide: 20 needed, 12 measured"
    )
    assert (
        text_of_reason(0.99, (2000, 1999), (200, 200))
        == "too few turns to decide: p99 needs 2,000 per target, 1,999 measured"
    )
    assert text_of_reason(0.9, (200, 200), (20, 20)) == ""
    assert (
        text_of_reason(0.05, (399, 500), (20, 40))
        == "too few turns to decide: p5 needs 400 per target, 399 measured"
    )
    assert text_of_reason(None, (20, 20), (20, 20)) == ""
    assert text_of_reason(0.95, (400, 96), (20, 40), "pair", ("old", "new")).endswith(
        "per target, 96 on new"
    )
    assert text_of_reason(0.95, (96, 97), (20, 40), targets=("old", "new")).endswith(
        "96 on old and 97 on new"
    )
    assert text_of_reason(None, (), (20, 8), targets=("old", "new")).endswith(
        "per target, 8 on new"
    )
    assert (
        text_of_reason(None, (20, 20), (19, 20))
        == "too few sessions to decide: 20 needed per target, 19 measured"
    )


TEN, POINT = Margin(ratio=0.1), Margin(points=0.01)
ASSUMED = Inference(run_sd=RUN_SD, rate_run_sd=RATE_RUN_SD)
LOG = math.log(600)


def against(
    stored: list[StoredValue],
    d: float = 0.3,
    variance: float = 0.001,
    *,
    better: Better = "lower",
    run_sd: float = RUN_SD,
    **shares: float,
) -> Difference:
    candidate = StoredValue(LOG + d, variance, **shares)
    return against_stored(
        candidate, stored, (100, 100 * len(stored)), TEN, better, Inference(run_sd=run_sd)
    )


def runs(*offsets: float, variance: float = 0.001) -> list[StoredValue]:
    return [StoredValue(LOG + offset, variance) for offset in offsets]


def test_with_five_stored_runs_that_differ_their_own_variation_is_used() -> None:
    offsets = (-0.1, -0.05, 0.0, 0.05, 0.1)
    found = against(runs(*offsets))
    se = float(np.std(offsets, ddof=1)) * math.sqrt(1 + 1 / 5)

    assert found.d == pytest.approx(0.3)
    assert found.se == pytest.approx(se)
    assert found.df == 4
    assert found.low == pytest.approx(0.3 - scipy.stats.t.ppf(0.95, 4) * se)
    assert found.worse.low == pytest.approx(found.low - math.log(1.1))
    assert found.worse.p == pytest.approx(scipy.stats.t.sf((0.3 - math.log(1.1)) / se, 4))


def test_with_five_equal_stored_runs_the_variance_of_sessions_is_used() -> None:
    found = against(runs(*[0.0] * 5))

    assert found.se == pytest.approx(math.sqrt(0.001 + 0.001 / 5))
    assert found.df == pytest.approx(0.0012**2 / (0.001**2 / 99 + 0.0002**2 / 499))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_with_fewer_stored_runs_the_variation_is_assumed(count: int) -> None:
    found = against(runs(*[0.02 * index for index in range(count)]), run_sd=0.05)

    assert found.d == pytest.approx(0.3 - 0.02 * (count - 1) / 2)
    assert found.se == pytest.approx(math.sqrt(0.001 + 0.001 / count + 0.05**2 * (1 + 1 / count)))


def test_more_sessions_are_not_suggested_if_run_to_run_variation_dominates() -> None:
    assert against(runs(*[0.0] * 10), d=0.12, variance=0.001).more_sessions is None
    assert (
        against(runs(*[0.0] * 10, variance=1e-6), d=0.14, variance=0.001).more_sessions == 210
    )  # 0.0447 = 2.486 · √(0.1 / 310)
    assert against(runs(-0.1, -0.05, 0.0, 0.05, 0.1), d=0.14).more_sessions is None
    assert against(runs(0.0), d=0.14, run_sd=0.05).more_sessions is None


def test_for_a_higher_is_better_metric_less_is_worse_than_stored() -> None:
    higher, lower = against(runs(0.0), d=-0.4, better="higher"), against(runs(0.0), d=0.4)

    assert (higher.worse.low, higher.worse.p) == pytest.approx((lower.worse.low, lower.worse.p))


def test_two_quantiles_among_failed_turns_need_no_more_turns() -> None:
    found = build_difference(baseline=math.inf, candidate=math.inf)
    floor = floor_reason(0.95, (196, 197), (50, 50))

    (verdict,) = judge(found, floor=floor)
    assert floor is not None
    assert (verdict.name, verdict.reason) == ("inconclusive", IN_FAILURES)


def test_a_candidate_among_failed_turns_is_worse_only_if_all_its_resamples_are() -> None:
    surely = against(runs(0.0), d=math.inf, variance=0.0, infinite_share=1.0)
    uncertain = against(runs(0.0), d=math.inf, infinite_share=0.6)

    assert (surely.low, surely.worse.low, surely.worse.p, surely.better.p) == (
        math.inf,
        math.inf,
        0,
        1,
    )
    assert (uncertain.worse.low, uncertain.worse.high, uncertain.worse.p) == (
        -math.inf,
        math.inf,
        1,
    )


def test_a_candidate_next_to_its_failed_turns_does_not_pass() -> None:
    near, edge = against(runs(0.0), d=-0.2), against(runs(0.0), d=-0.2, infinite_share=0.1)

    assert near.worse.high < 0
    assert (edge.worse.low, edge.worse.high) == (near.worse.low, math.inf)
    assert edge.better.low == -math.inf


@pytest.mark.parametrize("broken", [StoredValue(math.inf, 0.0, 1.0), StoredValue(LOG, 0.001, 0.2)])
def test_stored_quantiles_among_failed_turns_never_make_a_candidate_worse(
    broken: StoredValue,
) -> None:
    found = against([broken, *runs(0.0, 0.0, 0.0, 0.0)])

    assert (found.worse.low, found.worse.p) == (-math.inf, 1)
    both = against([broken, *runs(0.0)], d=math.inf, variance=0.0, infinite_share=1.0)
    assert (both.worse.low, both.worse.high) == (-math.inf, math.inf)


def test_a_stored_quantile_has_its_log_its_variance_and_its_infinite_share() -> None:
    values = waits(np.random.default_rng(1), 100)
    found = stored_quantile(sample_of(values), 0.5, 100, np.random.default_rng(2), draws=2000)
    values[:5] = np.inf
    edge = stored_quantile(sample_of(values), 0.95, 100, np.random.default_rng(2), draws=2000)

    assert found is not None
    assert edge is not None
    assert found.log_q == pytest.approx(LOG, abs=0.1)
    assert math.sqrt(found.variance) == pytest.approx(0.03, abs=0.01)
    assert found.infinite_share == 0
    assert math.isfinite(edge.variance)
    assert 0.2 < edge.infinite_share < 0.7


@pytest.mark.parametrize("values", [np.full((4, 3), -1.0), np.zeros((0, 3))])
def test_a_quantile_of_no_values_or_of_negative_ones_is_not_stored(values: Floats) -> None:
    assert stored_quantile(sample_of(values), 0.5, 4, np.random.default_rng(1), draws=10) is None


def test_a_zero_quantile_is_stored_with_the_share_of_larger_resamples() -> None:
    values = np.zeros((40, 10))
    values[:, :4] = 300.0
    found = stored_quantile(sample_of(values), 0.5, 40, np.random.default_rng(1), draws=500)
    values[:18] = 300.0
    values[18:] = 0.0
    edge = stored_quantile(sample_of(values), 0.5, 40, np.random.default_rng(1), draws=500)

    assert repr(found) == repr(StoredValue(-math.inf, 0.0, 0.0, 0.0))  # `by_parts` is NaN
    assert edge is not None
    assert 0.1 < edge.above < 0.5


NOTHING = StoredValue(-math.inf, 0.0)


@pytest.mark.parametrize(
    ("stored", "better", "above", "word"),
    [
        ([NOTHING] * 5, "lower", 0.0, "equivalent"),
        (runs(*[0.0] * 5), "lower", 0.0, "improved"),
        (runs(*[0.0] * 5), "higher", 0.0, "regressed"),
        (runs(*[0.0] * 5), "lower", 0.2, "inconclusive"),
        ([NOTHING, *runs(0.0)], "lower", 0.0, "not_regressed"),
        ([NOTHING, *runs(0.0)], "higher", 0.0, "inconclusive"),
    ],
)
def test_a_candidate_of_zero_is_compared_with_stored_runs(
    stored: list[StoredValue], better: Better, above: float, word: str
) -> None:
    found = against(stored, d=-math.inf, variance=0.0, better=better, above=above)

    assert verdicts([found], [True], [None])[0].name == word
    assert not no_ratio(found)


def test_rates_of_five_stored_runs_use_their_variation_and_fewer_an_assumed_one() -> None:
    candidate = RatioEstimate(0.05, 0.0001, 1000, 100)
    shares = (0.0, 0.01, 0.02, 0.03, 0.04)
    known = rate_against_stored(
        candidate, [RatioEstimate(s, 0.00001, 1000, 100) for s in shares], POINT, inference=ASSUMED
    )
    few = rate_against_stored(
        candidate,
        [RatioEstimate(s, 0.00001, 1000, 100) for s in shares[:3]],
        POINT,
        inference=ASSUMED,
    )

    assert known.d == pytest.approx(0.03)
    assert known.se == pytest.approx(float(np.std(shares, ddof=1)) * math.sqrt(1.2))
    assert known.df == 4
    assert few.d == pytest.approx(0.04)
    assumed = (0.3 * 0.05 * 0.95) ** 2 + sum((0.3 * s * (1 - s)) ** 2 for s in shares[:3]) / 9
    assert few.se == pytest.approx(math.sqrt(0.0001 + 0.00001 / 3 + assumed))
    assert few.worse.low == pytest.approx(few.d - 0.01 - scipy.stats.t.ppf(0.95, few.df) * few.se)


def test_without_any_failure_a_small_candidate_still_has_a_wide_bound() -> None:
    stored = [RatioEstimate(0.0, 0.0, 1000, 100)] * 6
    small = rate_against_stored(RatioEstimate(0.0, 0.0, 300, 30), stored, POINT, inference=ASSUMED)

    assert (small.d, small.se) == (0, 0)
    assert small.high == pytest.approx(1 - 0.05 ** (1 / 30))
