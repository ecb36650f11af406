"""How large a share may be of which few sessions, or none, show any: exact where it must be, and kept in between."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from reports.gate.by_limit import estimate_rate
from reports.statistics.differences import Margin
from reports.statistics.quantiles import fails_together, quantiles, sample, upper_with_unseen
from reports.statistics.rates import ArmSums, rate_difference, ratio_of
from reports.statistics.unseen import lower_share, sessions_without, upper_share

TURNS = 10.0


def bounds(events: object, level: float = 0.05, turns: float = TURNS) -> tuple[float, float]:
    """Of sessions with so many failed turns."""
    failed = np.asarray(events, dtype=np.float64)
    found = ratio_of((failed, np.full(failed.size, turns)))
    return found.lower(level), found.upper(level)


@pytest.mark.parametrize("sessions", [2, 20, 100, 299, 5000])
@pytest.mark.parametrize("level", [0.05, 0.01, 0.0005])
def test_without_a_failure_whole_sessions_may_still_fail(sessions: int, level: float) -> None:
    assert bounds(np.zeros(sessions), level) == (pytest.approx(0), pytest.approx(1 - level ** (1 / sessions)))
    assert bounds(np.full(sessions, TURNS), level) == (pytest.approx(level ** (1 / sessions)), 1)


@pytest.mark.parametrize("failed", [1, 3, 50, 99])
def test_where_whole_sessions_fail_the_bound_is_clopper_and_pearsons_of_sessions(failed: int) -> None:
    found = bounds(np.where(np.arange(100) < failed, TURNS, 0))
    exact = scipy.stats.binomtest(failed, 100).proportion_ci(0.9, method="exact")

    assert found == pytest.approx((exact.low, exact.high), rel=1e-6)


@pytest.mark.parametrize(("failed", "p"), [(2, 0.9), (3, 0.5), (0, 0.95), (30, 0.5)])
def test_the_upper_end_of_a_quantile_of_sessions_alike_inside_is_clopper_and_pearsons(failed: int, p: float) -> None:
    each = np.sort(np.random.default_rng(1).normal(size=200)) if failed < 200 else np.zeros(0)
    each[200 - failed :] = np.inf
    alike = sample(np.repeat(each, 10), np.repeat(np.arange(200), 10), failed=10 * failed)
    above = [
        one for one in range(200) if scipy.stats.binomtest(one, 200).proportion_ci(0.9, method="exact").high <= 1 - p
    ]

    found = upper_with_unseen(alike, np.full(200, 10), p, 0.05)

    assert found == each[199 - max(above)]


def test_whole_sessions_that_fail_widen_the_interval_and_single_turns_do_not() -> None:
    rng = np.random.default_rng(2)
    values = rng.lognormal(6, 0.5, (100, 10))
    whole, single = values.copy(), values.copy()
    whole[:2] = np.inf
    single[:20, 0] = np.inf
    sessions = np.repeat(np.arange(100), 10)
    of_whole, of_single = (sample(one.ravel(), sessions, failed=20) for one in (whole, single))

    for one, together in ((of_whole, True), (of_single, False)):
        (usual,), (found,) = quantiles(one, [0.95], unseen=False), quantiles(one, [0.95])
        assert fails_together(one, np.full(100, 10)) == together
        assert found.low == usual.low
        assert (found.high > usual.high) == together


@given(st.lists(st.integers(0, 10), min_size=30, max_size=60), st.integers(0, 29), st.sampled_from([0.5, 0.9, 0.95]))
def test_a_failure_more_never_lowers_the_upper_end_of_a_quantile(failed: list[int], where: int, p: float) -> None:
    values = np.random.default_rng(3).lognormal(6, 0.5, (len(failed), 11))
    sessions, of_session = np.repeat(np.arange(len(failed)), 11), np.full(len(failed), 11)

    def upper(of: list[int]) -> float:
        lost = np.where(np.arange(11) < np.array(of)[:, None], np.inf, values)
        return upper_with_unseen(sample(lost.ravel(), sessions, failed=sum(of)), of_session, p, 0.05)

    assert upper([many + (at == where) for at, many in enumerate(failed)]) >= upper(failed)


def test_failures_that_were_seen_alone_leave_less_for_what_was_not_seen() -> None:
    """Ten failures in a hundred sessions of ten turns, alone and as one whole session."""
    alone, together = bounds(np.where(np.arange(100) < 10, 1, 0))[1], bounds(np.where(np.arange(100) < 1, TURNS, 0))[1]

    assert 0.01 + 1.645 * math.sqrt(0.01 * 0.99 / 1000) < alone < 0.032 < 0.04 < together


def test_the_bound_is_near_that_of_draws_with_a_session_of_which_all_fail() -> None:
    """Gaffke's: never above it, and hardly below where little was seen."""
    rng = np.random.default_rng(7)
    shares = np.where(np.arange(200) < 4, 0.5, 0.0)
    drawn = rng.dirichlet(np.ones(201), 20_000) @ np.append(shares, 1.0)
    found = bounds(shares * TURNS)[1]

    assert 0.75 * np.quantile(drawn, 0.95) < found <= np.quantile(drawn, 0.95)


@given(st.lists(st.integers(0, 10), min_size=2, max_size=60), st.floats(0.0005, 0.4))
def test_a_share_lies_within_its_bounds_and_those_within_0_and_1(events: list[int], level: float) -> None:
    low, high = bounds(events, level)
    share = sum(events) / len(events) / TURNS

    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1


@given(st.lists(st.integers(0, 10), min_size=2, max_size=60), st.floats(0.001, 0.2))
def test_surer_bounds_are_wider(events: list[int], level: float) -> None:
    low, high = bounds(events, level)
    lowest, highest = bounds(events, level / 2)

    assert lowest <= low + 1e-12
    assert high <= highest + 1e-12


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=2, max_size=30))
def test_sessions_of_any_length_have_a_bound(sessions: list[tuple[int, int]]) -> None:
    n = np.array([float(max(pair)) for pair in sessions])
    found = ratio_of((np.array([float(min(pair)) for pair in sessions]), n))

    assert found.value - 1e-12 <= found.upper(0.05) <= 1


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=20, max_size=80), st.data())
def test_a_failure_more_never_loosens_a_bound(sessions: list[tuple[int, int]], data: st.DataObject) -> None:
    turns = np.array([float(max(one)) for one in sessions])
    events = np.array([float(min(one)) for one in sessions])
    if not (events < turns).any():
        return
    where = data.draw(st.sampled_from(np.flatnonzero(events < turns).tolist()))
    more = events + (np.arange(events.size) == where)

    before, after = ratio_of((events, turns)), ratio_of((more, turns))

    assert after.upper(0.05) >= before.upper(0.05) - 1e-5
    assert after.lower(0.05) >= before.lower(0.05) - 1e-5
    first, second = estimate_rate((events, turns)), estimate_rate((more, turns))
    assert first.order or second.high >= first.high - 1e-5  # bursts that are found may not be with a failure more


@pytest.mark.parametrize("alone", [1, 2, 8, 30, 100])
def test_failures_that_both_arms_have_are_no_proof_that_one_is_not_worse(alone: int) -> None:
    """290 pairs without a failure leave 1.03 points open, and so do 290 pairs in which turns fail one by one."""
    turns = np.full(290, TURNS)
    failed = np.where(np.arange(290) < alone, 1.0, 0.0)
    none, some = (
        rate_difference(ArmSums((events, turns), (events, turns), paired=True), Margin(points=0.01))
        for events in (0 * failed, failed)
    )

    assert none.worse_high == pytest.approx(0.000277, abs=1e-6)
    assert some.worse_high >= none.worse_high


def test_the_session_that_was_not_seen_is_as_long_as_the_longest() -> None:
    """Without a failure in 100 sessions, one of which has as many turns as 50 others: 3 in (99 + 50) / 50."""
    turns = np.array([TURNS] * 99 + [50 * TURNS])

    assert ratio_of((0 * turns, turns)).upper(0.05) == pytest.approx(1 - 0.05 ** (50 / 149))
    assert sessions_without(0.01, 0.05, longest=50 / 1.49) == 10_003


def test_what_tells_nothing_of_other_sessions_bounds_nothing() -> None:
    assert upper_share(0.0, math.nan, 1, 0.05) == upper_share(0.1, math.nan, 40, 0.05) == 1
    assert lower_share(1.0, math.nan, 1, 0.05) == 0
    assert upper_share(0.0, 0.0, 1, 0.05) == 1


@given(st.floats(0.0005, 0.999), st.floats(0.0005, 0.2))
def test_the_sessions_that_must_show_nothing_are_the_fewest_whose_bound_is_low_enough(
    points: float, level: float
) -> None:
    needed = sessions_without(points, level)
    assert needed is not None

    assert 1 - level ** (1 / needed) < points
    assert needed == 2 or 1 - level ** (1 / (needed - 1)) >= points - 1e-12


def test_a_point_takes_about_three_hundred_sessions() -> None:
    assert [sessions_without(points, 0.05) for points in (0.01, 0.02, 0.03, 0.05)] == [299, 149, 99, 59]
    assert sessions_without(0.0, 0.05) is None


@pytest.mark.parametrize(("sessions", "together"), [(100, 1.0), (300, 1.0), (200, 0.3), (400, 0.2)])
def test_a_share_that_is_the_truth_is_seldom_bounded_below_it(sessions: int, together: float) -> None:
    """1 % of turns fail, alone or as sessions; nominal 5 %, here of 1,000."""
    rng, turns = np.random.default_rng([sessions, int(10 * together)]), np.full(sessions, TURNS)
    missed = 0
    for _ in range(1000):
        spread = 1 / together - 1
        own = (
            rng.beta(0.01 * spread, 0.99 * spread, sessions) if spread else (rng.random(sessions) < 0.01).astype(float)
        )
        missed += ratio_of((rng.binomial(int(TURNS), own).astype(float), turns)).upper(0.05) < 0.01

    assert missed <= 71  # three standard errors above 50
