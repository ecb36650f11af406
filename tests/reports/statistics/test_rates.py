"""Means and rates of two targets, checked by hand, and upper bounds of rates that have few
events or none.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics.differences import Difference, Inference, Margin, StandardError, student
from reports.statistics.quantiles import fail_together, quantiles, sample
from reports.statistics.rates import (
    ClusterTotals,
    PerCluster,
    RatioEstimate,
    any_event,
    mean_difference,
    newcombe,
    points_difference,
    rate_difference,
    ratio_of,
)
from reports.statistics.unseen import sessions_without
from tests.examples import trials
from tools.benchmarks.on_the_margin import failing

POINT = Margin(points=0.01)


def by_session(*pairs: tuple[float, float]) -> PerCluster:
    return np.array([x for x, _ in pairs], dtype=np.float64), np.array(
        [n for _, n in pairs], dtype=np.float64
    )


def build_amounts(sessions: int = 50, times: float = 1.0, seed: int = 1) -> PerCluster:
    rng = np.random.default_rng(seed)
    turns = rng.integers(5, 15, sessions).astype(np.float64)
    return times * turns * rng.lognormal(0, 0.3, sessions), turns


def build_failures(sessions: int, failing: int, events: int = 1, turns: int = 10) -> PerCluster:
    """Return sessions of `turns` turns. Each of the first `failing` sessions has `events` failed
    turns.
    """
    return np.where(np.arange(sessions) < failing, events, 0).astype(np.float64), np.full(
        sessions, float(turns)
    )


def test_the_variance_of_a_ratio_is_that_of_its_sessions_residuals() -> None:
    found = ratio_of(by_session((1, 10), (0, 10), (5, 20)))
    residuals = np.array([1 - 1.5, 0 - 1.5, 5 - 3.0])

    assert found.value == pytest.approx(0.15)
    assert found.variance == pytest.approx(
        2 / 3 * ((residuals / np.array([30, 30, 20])) ** 2).sum()
    )
    assert (found.effective_sessions, found.sessions_if_all_longest) == (
        pytest.approx(40**2 / 600),
        2,
    )
    assert (found.turns, found.clusters) == (40, 3)
    assert found.deff == pytest.approx(found.variance * 40 / (0.15 * 0.85))


def test_the_difference_of_means_is_the_log_of_their_ratio_with_a_linearised_error() -> None:
    base, cand = build_amounts(), build_amounts(40, 1.1, 2)
    found = mean_difference(
        ClusterTotals(base, cand, paired=False), Margin(ratio=0.05), "lower", Inference()
    )
    one, other = ratio_of(base), ratio_of(cand)
    vb, vc = one.variance / one.value**2, other.variance / other.value**2
    df = (vb + vc) ** 2 / (
        vb**2 / (one.effective_sessions - 1) + vc**2 / (other.effective_sessions - 1)
    )
    reach = scipy.stats.t.ppf(0.95, df) * math.sqrt(vb + vc)

    assert found.d == pytest.approx(math.log(other.value / one.value))
    assert (found.low, found.high) == pytest.approx((found.d - reach, found.d + reach))
    assert found.worse.low == pytest.approx(found.low - math.log(1.05))
    assert found.better.high == pytest.approx(-found.low - math.log(1.05))
    assert found.worse.p == pytest.approx(
        scipy.stats.t.sf((found.d - math.log(1.05)) / found.se, df)
    )


def test_the_standard_error_of_paired_means_is_computed_over_pairs() -> None:
    base, cand = by_session((10, 5), (20, 5), (15, 10)), by_session((12, 5), (18, 5), (25, 10))
    found = mean_difference(ClusterTotals(base, cand, paired=True), Margin(), "lower", Inference())
    of_cand, of_base = (
        (np.array([12, 18, 25]) - 2.75 * base[1]) / 55,
        (np.array([10, 20, 15]) - 2.25 * base[1]) / 45,
    )
    parts = (of_cand - of_base) / (1 - base[1] / 20)

    assert found.se == pytest.approx(math.sqrt(2 / 3 * (parts**2).sum()))
    assert found.df == pytest.approx(400 / 150 - 1)


def test_a_rate_is_worse_by_the_standard_error_of_its_sessions_and_student_t() -> None:
    base, cand = build_failures(50, 2), build_failures(40, 10, events=3)
    found = rate_difference(ClusterTotals(base, cand, paired=False), POINT)
    one, other = ratio_of(base), ratio_of(cand)
    df = (one.variance + other.variance) ** 2 / (one.variance**2 / 49 + other.variance**2 / 39)
    se = math.sqrt(one.variance + other.variance)

    assert found.d == pytest.approx(0.075 - 0.004)
    assert found.se == pytest.approx(se)
    assert found.low == pytest.approx(found.d - scipy.stats.t.ppf(0.95, df) * se)
    assert found.worse.low == pytest.approx(found.low - 0.01)
    assert found.worse.p == pytest.approx(scipy.stats.t.sf((found.d - 0.01) / se, df))


def test_the_upper_bound_of_a_rate_difference_is_the_widest_of_three() -> None:
    base, cand = build_failures(100, 4), build_failures(100, 1)
    few = rate_difference(ClusterTotals(base, cand, paired=False), POINT)

    assert few.high == pytest.approx(-0.003 + ratio_of(cand).unseen(0.05))

    base, cand = build_failures(100, 4, events=10), build_failures(100, 1, events=10)
    found = rate_difference(ClusterTotals(base, cand, paired=False), POINT)
    upper, lower = ratio_of(cand).upper(0.05) - 0.01, 0.04 - ratio_of(base).lower(0.05)

    assert found.high == pytest.approx(-0.03 + math.hypot(upper, lower))
    assert found.high > found.d + scipy.stats.t.ppf(0.95, found.df) * found.se

    many, more = build_failures(500, 100, events=3), build_failures(500, 50, events=3)
    opposed = rate_difference(ClusterTotals(many, (more[0][::-1], more[1]), paired=True), POINT)
    assert opposed.high == pytest.approx(opposed.d + scipy.stats.t.ppf(0.95, 499) * opposed.se)


def test_shares_of_sessions_with_any_failure_are_compared_by_newcombe_s_interval() -> None:
    base, cand = any_event(build_failures(80, 4, events=5)), any_event(build_failures(60, 15))
    few, many = (
        scipy.stats.binomtest(*counts).proportion_ci(0.9) for counts in ((4, 80), (15, 60))
    )
    low = math.hypot(0.25 - many.low, few.high - 0.05)
    high = math.hypot(many.high - 0.25, 0.05 - few.low)

    assert (base.value, cand.value) == (0.05, 0.25)
    assert newcombe(base, cand) == pytest.approx((0.2 - low, 0.2 + high), abs=2e-3)
    assert math.isnan(any_event(by_session((0, 0))).value)


def more_sessions(base: PerCluster, cand: PerCluster) -> int | None:
    return rate_difference(ClusterTotals(base, cand, paired=False), POINT).more_sessions


@given(st.integers(20, 200), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_the_suggested_sessions_bring_the_bound_of_a_passing_rate_below_the_margin(
    sessions: int, failing: int, others: int, paired: bool
) -> None:
    base, cand = build_failures(sessions, failing), build_failures(sessions, others)
    found = rate_difference(ClusterTotals(base, cand, paired=paired), POINT)
    if found.more_sessions is None or found.d > POINT.points:
        return
    one, other = (
        ratio_of(totals).with_sessions(found.more_sessions, sessions) for totals in (base, cand)
    )
    times = 1 + found.more_sessions / sessions

    assert found.worse.high > 0
    error = StandardError(found.se / math.sqrt(times), found.df * times, sessions)
    assert points_difference(one, other, error, POINT).worse.high < 0


@pytest.mark.parametrize(
    ("before", "after", "together", "sessions"),
    [
        (0.0, 0.01, 1.0, 100),
        (0.0, 0.01, 0.3, 100),
        (0.003, 0.013, 1.0, 100),
        (0.99, 1.0, 1.0, 50),
        (0.0, 0.01, 1.0, 300),
    ],
)
def test_a_candidate_on_its_margin_rarely_passes_however_failures_cluster(
    before: float, after: float, together: float, sessions: int
) -> None:
    """The maximum share of passes is the nominal 5 % plus three standard errors.

    `make benchmark PARTS=statistics` runs many more of these cases.
    """
    rng, times = np.random.default_rng([sessions, int(1000 * after)]), trials(200, 400)
    totals = (
        (failing(rng, rate, sessions, 10, together) for rate in (before, after))
        for _ in range(times)
    )
    passed = sum(
        rate_difference(ClusterTotals(base, cand, paired=False), POINT).worse.high < 0
        for base, cand in totals
    )

    assert passed <= 0.05 * times + 3 * math.sqrt(0.05 * 0.95 * times)


def test_a_ratio_estimate_can_be_stored_and_used_again() -> None:
    assert RatioEstimate(0.0, 0.0, 100, 10).deff == 1
    assert math.isnan(RatioEstimate(0.0, 0.0, 100, 10).log_variance)
    assert RatioEstimate(2.0, 0.04, 100, 10).log_variance == pytest.approx(0.01)


TURNS = 10.0


def bounds(events: object, level: float = 0.05, turns: float = TURNS) -> tuple[float, float]:
    """Return both bounds of the failure rate. `events` contains the number of failed turns of
    each session.
    """
    failed = np.asarray(events, dtype=np.float64)
    found = ratio_of((failed, np.full(failed.size, turns)))
    return found.lower(level), found.upper(level)


@pytest.mark.parametrize("sessions", [1, 2, 20, 100, 299, 5000])
@pytest.mark.parametrize("level", [0.05, 0.01, 0.0005])
def test_without_a_failure_the_bound_allows_for_whole_failed_sessions(
    sessions: int, level: float
) -> None:
    assert bounds(np.zeros(sessions), level) == (
        pytest.approx(0),
        pytest.approx(1 - level ** (1 / sessions)),
    )
    assert bounds(np.full(sessions, TURNS), level) == (pytest.approx(level ** (1 / sessions)), 1)


@pytest.mark.parametrize("failed", [1, 3, 50, 99])
def test_if_whole_sessions_fail_the_bound_is_clopper_and_pearson_s_of_sessions(failed: int) -> None:
    found = bounds(np.where(np.arange(100) < failed, TURNS, 0))
    exact = scipy.stats.binomtest(failed, 100).proportion_ci(0.9, method="exact")

    assert found == pytest.approx((exact.low, exact.high), rel=1e-6)


def test_failed_whole_sessions_widen_the_interval_and_single_failed_turns_do_not() -> None:
    rng = np.random.default_rng(2)
    values = rng.lognormal(6, 0.5, (100, 10))
    whole, single = values.copy(), values.copy()
    whole[:2] = np.inf
    single[:20, 0] = np.inf
    sessions = np.repeat(np.arange(100), 10)
    of_whole, of_single = (sample(one.ravel(), sessions, failed=20) for one in (whole, single))

    for one, together in ((of_whole, True), (of_single, False)):
        (usual,), (found,) = quantiles(one, [0.95], unseen=False), quantiles(one, [0.95])
        assert fail_together(one, np.full(100, 10)) == together
        assert found.low == usual.low
        assert (found.high > usual.high) == together


def test_the_bound_is_close_to_that_of_simulation_and_not_above_it() -> None:
    """The bound is Gaffke's bound, which the product computes without random draws.

    It is never above the bound from random draws. If there are few events, it is only a little
    below that bound.
    """
    rng = np.random.default_rng(7)
    shares = np.where(np.arange(200) < 4, 0.5, 0.0)
    drawn = rng.dirichlet(np.ones(201), 20_000) @ np.append(shares, 1.0)
    found = bounds(shares * TURNS)[1]

    assert 0.75 * np.quantile(drawn, 0.95) < found <= np.quantile(drawn, 0.95)


def test_the_unobserved_session_is_as_long_as_the_longest() -> None:
    """No turn fails in 100 sessions. One session has as many turns as 50 others.

    Together, the sessions have (99 + 50) / 50, or about 3, times as many turns as the longest
    session.
    """
    turns = np.array([TURNS] * 99 + [50 * TURNS])

    assert ratio_of((0 * turns, turns)).upper(0.05) == pytest.approx(1 - 0.05 ** (50 / 149))
    assert sessions_without(0.01, 0.05, longest=50 / 1.49) == 10_003


@given(st.floats(0.0005, 0.999), st.floats(0.0005, 0.2))
def test_sessions_without_is_the_fewest_sessions_whose_bound_is_low_enough(
    points: float, level: float
) -> None:
    needed = sessions_without(points, level)
    assert needed is not None

    assert 1 - level ** (1 / needed) < points
    assert needed == 2 or 1 - level ** (1 / (needed - 1)) >= points - 1e-12


def test_one_percentage_point_takes_about_three_hundred_sessions() -> None:
    assert [sessions_without(points, 0.05) for points in (0.01, 0.02, 0.03, 0.05)] == [
        299,
        149,
        99,
        59,
    ]
    assert sessions_without(0.0, 0.05) is None


@pytest.mark.parametrize(("sessions", "together"), [(100, 1.0), (300, 1.0), (200, 0.3), (400, 0.2)])
def test_the_upper_bound_is_rarely_below_the_true_share(sessions: int, together: float) -> None:
    """1 % of the turns fail. The failures are either single turns or whole sessions.

    Nominally, 5 % of the 1,000 upper bounds are below the true share.
    """
    rng, turns = np.random.default_rng([sessions, int(10 * together)]), np.full(sessions, TURNS)
    missed = 0
    for _ in range(1000):
        spread = 1 / together - 1
        own = (
            rng.beta(0.01 * spread, 0.99 * spread, sessions)
            if spread
            else (rng.random(sessions) < 0.01).astype(float)
        )
        missed += ratio_of((rng.binomial(int(TURNS), own).astype(float), turns)).upper(0.05) < 0.01

    assert missed <= 71  # 50 plus three standard errors


@pytest.mark.parametrize("whole", [True, False])
def test_a_baseline_with_few_sessions_seldom_makes_an_equal_candidate_worse(whole: bool) -> None:
    """Most baselines of 40 calls have no failure, because 2 % of the calls fail."""
    rng, worse, by_t = np.random.default_rng(5), 0, 0

    def failures_of(sessions: int) -> PerCluster:
        own = rng.random(sessions) < 0.02 if whole else rng.beta(0.08, 3.92, sessions)
        return rng.binomial(10, own.astype(np.float64)).astype(np.float64), np.full(sessions, 10.0)

    for _ in range(100):
        base, cand = failures_of(40), failures_of(400)
        found = rate_difference(ClusterTotals(base, cand, paired=False), Margin())
        worse += found.worse.low > 0
        by_t += student(found.d, found.se, found.df).low > 0
        assert (found.worse.low > 0) == (found.worse.p < 0.05)

    assert worse <= 8 < 12 < by_t


@pytest.mark.parametrize(("base_sessions", "needs"), [(40, True), (200, False)])
def test_the_needed_number_of_baseline_sessions_makes_the_candidate_worse(
    base_sessions: int, needs: bool
) -> None:
    def compared(sessions: int) -> Difference:
        return points_difference(
            RatioEstimate(0.0, 0.0, 10 * sessions, sessions),
            cand,
            StandardError(0.008, 398, 400),
            POINT,
        )

    cand = RatioEstimate(0.05, 0.008**2, 4000, 400)
    found = compared(base_sessions)

    assert (found.baseline_sessions is not None, found.worse.low <= 0) == (needs, needs)
    if found.baseline_sessions:
        assert 60 < found.baseline_sessions < 150
        assert compared(found.baseline_sessions).worse.low > 0
        assert compared(found.baseline_sessions - 15).worse.low <= 0
