"""Sessions of very unequal length: when they matter, and quantiles with equal weight for each session."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from reports.gate.by_limit import estimate_quantile, judge_limit
from reports.statistics.by_session import with_equal_weights
from reports.statistics.counting import Integers, ranks
from reports.statistics.lengths import differ_by_length
from reports.statistics.quantiles import quantile, quantiles, sample
from tests.reports.statistics.unequal import codes, heavy, sampled


@pytest.mark.parametrize("slope", [0.6, -0.6])
def test_long_sessions_that_are_slower_or_faster_are_found(slope: float) -> None:
    assert differ_by_length(sampled(heavy(), slope).sessions)


@pytest.mark.parametrize("lengths", [np.full(100, 10), np.repeat([4, 20], 50), np.arange(5, 16).repeat(9)])
def test_lengths_of_scripts_do_not_matter_however_much_slower_long_ones_are(lengths: Integers) -> None:
    assert not differ_by_length(sampled(lengths, 2.0).sessions)


def test_few_sessions_are_not_tested() -> None:
    assert not differ_by_length(sampled(np.array([4, 4, 4, 4, 4, 4, 4, 4, 200]), 2.0).sessions)


def test_a_tenth_of_runs_without_a_correlation_is_taken_for_one() -> None:
    found = sum(differ_by_length(sampled(heavy(seed=one), 0.0, one).sessions) for one in range(600))

    assert abs(found / 600 - 0.1) < 4 * math.sqrt(0.1 * 0.9 / 600)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_ranks_are_those_of_scipy(values: list[int]) -> None:
    assert ranks(np.array(values)).tolist() == scipy.stats.rankdata(values).tolist()


@given(st.integers(12, 60), st.integers(1, 12), st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 100))
def test_of_sessions_of_one_length_weights_change_nothing(sessions: int, each: int, p: float, seed: int) -> None:
    one = sampled(np.full(sessions, each), 0.0, seed)
    (usual,), found = quantiles(one, [p]), with_equal_weights(one.values, one.sessions, p, 0.95)

    assert found.value == quantile(one.values, p)
    assert (found.low, found.high) == (usual.low, usual.high)


def test_each_session_weighs_the_same() -> None:
    """Nineteen sessions of one turn at 100 ms, and one of 1,000 turns at 900 ms."""
    lengths = np.array([1] * 19 + [1000])
    one = sample(np.repeat([100.0] * 19 + [900.0], lengths), codes(lengths))

    assert quantile(one.values, 0.5) == 900
    assert with_equal_weights(one.values, one.sessions, 0.5, 0.95).value == 100


def test_a_quantile_that_depends_on_few_long_sessions_has_a_wide_interval() -> None:
    one = sampled(heavy(), 0.6)
    (usual,), (found,) = quantiles(one, [0.5], unseen=False), quantiles(one, [0.5])

    assert found.by_length
    assert found.low < usual.low < usual.high < found.high


def test_a_threshold_on_it_states_the_quantile_with_equal_weights() -> None:
    one = sampled(heavy(400), 0.6)
    figure = estimate_quantile(one, 0.95, 400)

    assert judge_limit(figure, "<", figure.value * 1.5)[0] == "inconclusive"
    assert figure.by_session == with_equal_weights(one.values, one.sessions, 0.95, 0.9)
    assert estimate_quantile(sampled(np.full(400, 10), 0.6), 0.95, 400).by_session is None
