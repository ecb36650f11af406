"""A candidate against stored runs: what is known of the spread between runs decides, else what is assumed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from reports.statistics.baselines import (
    RATE_RUN_SD,
    RUN_SD,
    Stored,
    against_stored,
    no_ratio,
    rate_against_stored,
    stored_quantile,
)
from reports.statistics.differences import Better, Difference, Inference, Margin, at_twice_the_spread
from reports.statistics.rates import Ratio
from reports.statistics.verdicts import verdicts
from tests.reports.statistics.arms import Floats, arm, waits

TEN, POINT = Margin(ratio=0.1), Margin(points=0.01)
ASSUMED = Inference(run_sd=RUN_SD, rate_run_sd=RATE_RUN_SD)
LOG = math.log(600)


def against(
    stored: list[Stored],
    d: float = 0.3,
    variance: float = 0.001,
    *,
    better: Better = "lower",
    run_sd: float = RUN_SD,
    **shares: float,
) -> Difference:
    candidate = Stored(LOG + d, variance, **shares)
    return against_stored(candidate, stored, (100, 100 * len(stored)), TEN, better, Inference(run_sd=run_sd))


def runs(*offsets: float, variance: float = 0.001) -> list[Stored]:
    return [Stored(LOG + offset, variance) for offset in offsets]


def test_of_five_runs_that_differ_their_own_spread_decides() -> None:
    offsets = (-0.1, -0.05, 0.0, 0.05, 0.1)
    found = against(runs(*offsets))
    se = float(np.std(offsets, ddof=1)) * math.sqrt(1 + 1 / 5)

    assert found.d == pytest.approx(0.3)
    assert found.se == pytest.approx(se)
    assert found.df == 4
    assert found.low == pytest.approx(0.3 - scipy.stats.t.ppf(0.95, 4) * se)
    assert found.worse_low == pytest.approx(found.low - math.log(1.1))
    assert found.p_worse == pytest.approx(scipy.stats.t.sf((0.3 - math.log(1.1)) / se, 4))


def test_of_five_runs_that_agree_the_sessions_decide_and_no_spread_is_assumed() -> None:
    found = against(runs(*[0.0] * 5))

    assert found.se == pytest.approx(math.sqrt(0.001 + 0.001 / 5))
    assert found.df == pytest.approx(0.0012**2 / (0.001**2 / 99 + 0.0002**2 / 499))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_of_fewer_runs_the_spread_is_assumed(count: int) -> None:
    found = against(runs(*[0.02 * index for index in range(count)]), run_sd=0.05)

    assert found.d == pytest.approx(0.3 - 0.02 * (count - 1) / 2)
    assert found.se == pytest.approx(math.sqrt(0.001 + 0.001 / count + 0.05**2 * (1 + 1 / count)))


def test_more_sessions_of_the_candidate_do_not_narrow_the_spread_of_runs() -> None:
    assert against(runs(*[0.0] * 10), d=0.12, variance=0.001).more_sessions is None
    assert (
        against(runs(*[0.0] * 10, variance=1e-6), d=0.14, variance=0.001).more_sessions == 210
    )  # 0.0447 = 2.486 · √(0.1 / 310)
    assert against(runs(-0.1, -0.05, 0.0, 0.05, 0.1), d=0.14).more_sessions is None
    assert against(runs(0.0), d=0.14, run_sd=0.05).more_sessions is None


def test_where_more_is_better_less_is_worse() -> None:
    higher, lower = against(runs(0.0), d=-0.4, better="higher"), against(runs(0.0), d=0.4)

    assert (higher.worse_low, higher.p_worse) == pytest.approx((lower.worse_low, lower.p_worse))


def test_a_candidate_among_its_failed_turns_is_worse_only_if_its_resamples_are() -> None:
    surely = against(runs(0.0), d=math.inf, variance=0.0, endless=1.0)
    unsure = against(runs(0.0), d=math.inf, endless=0.6)

    assert (surely.low, surely.worse_low, surely.p_worse, surely.p_better) == (math.inf, math.inf, 0, 1)
    assert (unsure.worse_low, unsure.worse_high, unsure.p_worse) == (-math.inf, math.inf, 1)


def test_a_candidate_at_the_edge_of_its_failed_turns_does_not_pass() -> None:
    near, edge = against(runs(0.0), d=-0.2), against(runs(0.0), d=-0.2, endless=0.1)

    assert near.worse_high < 0
    assert (edge.worse_low, edge.worse_high) == (near.worse_low, math.inf)
    assert edge.better_low == -math.inf


@pytest.mark.parametrize("broken", [Stored(math.inf, 0.0, 1.0), Stored(LOG, 0.001, 0.2)])
def test_stored_runs_among_their_failed_turns_make_nothing_worse(broken: Stored) -> None:
    found = against([broken, *runs(0.0, 0.0, 0.0, 0.0)])

    assert (found.worse_low, found.p_worse) == (-math.inf, 1)
    both = against([broken, *runs(0.0)], d=math.inf, variance=0.0, endless=1.0)
    assert (both.worse_low, both.worse_high) == (-math.inf, math.inf)


def test_a_stored_quantile_holds_its_log_its_variance_and_what_is_endless() -> None:
    values = waits(np.random.default_rng(1), 100)
    found = stored_quantile(arm(values), 0.5, 100, np.random.default_rng(2), draws=2000)
    values[:5] = np.inf
    edge = stored_quantile(arm(values), 0.95, 100, np.random.default_rng(2), draws=2000)

    assert found is not None
    assert edge is not None
    assert found.log_q == pytest.approx(LOG, abs=0.1)
    assert math.sqrt(found.variance) == pytest.approx(0.03, abs=0.01)
    assert found.endless == 0
    assert math.isfinite(edge.variance)
    assert 0.2 < edge.endless < 0.7


@pytest.mark.parametrize("values", [np.full((4, 3), -1.0), np.zeros((0, 3))])
def test_a_quantile_of_nothing_or_below_0_cannot_be_stored(values: Floats) -> None:
    assert stored_quantile(arm(values), 0.5, 4, np.random.default_rng(1), draws=10) is None


def test_a_quantile_of_0_is_stored_with_how_often_it_is_more() -> None:
    values = np.zeros((40, 10))
    values[:, :4] = 300.0
    found = stored_quantile(arm(values), 0.5, 40, np.random.default_rng(1), draws=500)
    values[:18] = 300.0
    values[18:] = 0.0
    edge = stored_quantile(arm(values), 0.5, 40, np.random.default_rng(1), draws=500)

    assert found == Stored(-math.inf, 0.0, 0.0, 0.0)
    assert edge is not None
    assert 0.1 < edge.above < 0.5


NOTHING = Stored(-math.inf, 0.0)


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
def test_a_candidate_at_0(stored: list[Stored], better: Better, above: float, word: str) -> None:
    found = against(stored, d=-math.inf, variance=0.0, better=better, above=above)

    assert verdicts([found], [True], [None])[0].word == word
    assert not no_ratio(found)


@pytest.mark.parametrize("stored", [[NOTHING] * 5, [NOTHING, *runs(0.0, 0.0, 0.0, 0.0)]])
def test_a_candidate_above_0_has_no_ratio_to_a_stored_0(stored: list[Stored]) -> None:
    found = against(stored, d=0.0)

    assert no_ratio(found)
    assert verdicts([found], [True], [None])[0].word == "inconclusive"


def test_rates_of_five_runs_are_judged_by_their_spread_and_of_fewer_by_an_assumed_one() -> None:
    candidate = Ratio(0.05, 0.0001, 1000, 100)
    shares = (0.0, 0.01, 0.02, 0.03, 0.04)
    known = rate_against_stored(candidate, [Ratio(s, 0.00001, 1000, 100) for s in shares], POINT, how=ASSUMED)
    few = rate_against_stored(candidate, [Ratio(s, 0.00001, 1000, 100) for s in shares[:3]], POINT, how=ASSUMED)

    assert known.d == pytest.approx(0.03)
    assert known.se == pytest.approx(float(np.std(shares, ddof=1)) * math.sqrt(1.2))
    assert known.df == 4
    assert few.d == pytest.approx(0.04)
    assumed = (0.3 * 0.05 * 0.95) ** 2 + sum((0.3 * s * (1 - s)) ** 2 for s in shares[:3]) / 9
    assert few.se == pytest.approx(math.sqrt(0.0001 + 0.00001 / 3 + assumed))
    assert few.worse_low == pytest.approx(few.d - 0.01 - scipy.stats.t.ppf(0.95, few.df) * few.se)


def test_no_failure_in_any_run_is_no_proof_for_a_small_candidate() -> None:
    stored = [Ratio(0.0, 0.0, 1000, 100)] * 6
    small = rate_against_stored(Ratio(0.0, 0.0, 300, 30), stored, POINT, how=ASSUMED)

    assert (small.d, small.se) == (0, 0)
    assert small.high == pytest.approx(1 - 0.05 ** (1 / 30))


def test_at_twice_the_spread_between_runs_bounds_and_p_values_are_wider_by_what_it_adds() -> None:
    rates = [Ratio(s, 0.00001, 1000, 100) for s in (0.01, 0.02)]
    found = rate_against_stored(Ratio(0.05, 0.0001, 1000, 100), rates, POINT, how=ASSUMED)
    doubled = rate_against_stored(
        Ratio(0.05, 0.0001, 1000, 100), rates, POINT, how=Inference(run_sd=2 * RUN_SD, rate_run_sd=2 * RATE_RUN_SD)
    )
    twice = at_twice_the_spread(found)

    assert (twice.se, twice.df, twice.assumed) == pytest.approx((doubled.se, doubled.df, doubled.assumed))
    assert (twice.worse_low, twice.p_worse) == pytest.approx((doubled.worse_low, doubled.p_worse), rel=0.05)
    assert at_twice_the_spread(against(runs(0.0), run_sd=0.0)).se == against(runs(0.0), run_sd=0.0).se
