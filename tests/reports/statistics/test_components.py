"""Where the spread of a run comes from, and how many turns a session should have."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reports.statistics.power import Components, Price, Spread, cheapest_turns, components, components_at, spread_of
from reports.statistics.quantiles import Sample, quantiles, sample


def waits(sessions: int, turns: int, icc: float, seed: int = 1, sigma: float = 0.5) -> Sample:
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(sessions), turns)
    level = rng.normal(0, sigma * math.sqrt(icc), sessions)[code]
    return sample(600 * np.exp(level + rng.normal(0, sigma * math.sqrt(1 - icc), code.size)), code)


def test_components_of_a_hand_made_table() -> None:
    found = components(np.array([1.0, 3.0, 5.0, 7.0]), np.array([0, 0, 4, 4]))

    assert (found.of_turns, found.of_sessions) == pytest.approx((2.0, 7.0))
    assert found.icc == pytest.approx(7 / 9)


def test_sessions_that_differ_less_than_chance_have_no_component() -> None:
    assert components(np.array([1.0, 5.0, 5.0, 1.0]), np.array([0, 0, 1, 1])).of_sessions == 0


def spread(of: Sample) -> Spread:
    return spread_of(of, *quantiles(of, (0.5, 0.95)))


@pytest.mark.parametrize("codes", [[], [0], [0, 0, 0], [0, 1, 2]])
def test_one_session_or_single_turns_tell_nothing(codes: list[int]) -> None:
    found = components(np.arange(float(len(codes))), np.array(codes, dtype=np.int64))

    assert math.isnan(found.of_sessions)
    assert math.isnan(found.icc)


@pytest.mark.parametrize("icc", [0.1, 0.3, 0.5])
def test_a_run_prints_the_spread_that_it_was_made_with(icc: float) -> None:
    found = spread(waits(2_000, 10, icc))

    assert found.sigma == pytest.approx(0.5, abs=0.02)
    assert found.icc == pytest.approx(icc, abs=0.03)
    assert found.deff50 > found.deff95 > 1


def test_failures_and_zeros_have_no_log() -> None:
    found = spread(sample(np.array([0.0, 1.0, math.e, math.inf]), np.array([0, 0, 1, 1])))

    assert found.sigma == pytest.approx(math.sqrt(0.5))


def test_an_empty_run_has_no_spread() -> None:
    found = spread(sample(np.zeros(0), np.zeros(0, dtype=np.int64)))

    assert all(math.isnan(value) for value in (found.sigma, found.icc, found.deff50, found.deff95))


def test_sessions_weigh_less_on_a_tail_than_on_the_middle() -> None:
    run = waits(4_000, 10, 0.3)

    assert components_at(run, 0.5).icc == pytest.approx(0.19, abs=0.03)
    assert components_at(run, 0.95).icc < components_at(run, 0.5).icc


@pytest.mark.parametrize(("opening", "turns"), [(0.5, 4), (1, 6), (3, 11), (10, 20)])
def test_what_a_session_costs_to_open_decides_how_long_it_should_be(opening: float, turns: int) -> None:
    parts = Components(0.025, 0.975)  # a p95 with ICC 0.3

    assert cheapest_turns(parts, Price(opening, 1.0), most=40) == pytest.approx(turns, abs=1)


def test_history_that_is_billed_again_makes_short_sessions_cheaper() -> None:
    parts = Components(0.025, 0.975)
    found = [cheapest_turns(parts, Price(1.0, 1.0, history), most=40) for history in (0.0, 0.05, 0.2)]

    assert found == [6, 4, 3]


def test_no_more_turns_are_advised_than_asked_for_and_none_without_a_price() -> None:
    assert cheapest_turns(Components(0.01, 0.99), Price(20.0, 1.0)) == 10
    assert cheapest_turns(Components(0.01, 0.99), Price(math.nan, 1.0)) is None
    assert cheapest_turns(Components(math.nan, math.nan), Price(1.0, 1.0)) is None
