"""Autocorrelated sessions, samples too similar to be independent, and sessions with unequal
numbers of turns.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.analysis.check.absolute import evaluate_limit
from reports.metrics.statistic_types.quantile import estimate_quantile, quantiles_seen
from reports.statistics.arms import TwoSamples
from reports.statistics.autocorrelation import (
    BATCHES,
    by_parts,
    kolmogorov_distance,
    latencies_by_order,
    mean_by_order,
    rate_by_order,
)
from reports.statistics.counting import Floats
from reports.statistics.differences import Inference, Margin
from reports.statistics.quantiles import Sample, quantile, quantiles, sample
from reports.statistics.rates import ClusterTotals, PerCluster, rate_difference
from reports.statistics.share_test import share_difference
from reports.statistics.threshold_estimate import with_equal_weights
from tests.reports.statistics.samples import TURNS, sample_of, waits
from tests.reports.statistics.unequal import codes, heavy, sampled

PAIRS = 100


def slow(rng: np.random.Generator, pairs: int, keep: float = 0.95, sd: float = 0.25) -> Floats:
    """Return the drift of each pair on the log scale. The drift is an autoregressive process of
    first order.
    """
    found = rng.normal(0, sd, pairs)
    for at in range(1, pairs):
        found[at] = keep * found[at - 1] + found[at] * math.sqrt(1 - keep**2)
    return found


def drifting(rng: np.random.Generator, drift: Floats) -> Floats:
    values: Floats = waits(rng, drift.size) * np.exp(drift)[:, None]
    return values


@pytest.mark.parametrize("paired", [False, True])
def test_with_autocorrelation_the_difference_is_computed_over_quarters(paired: bool) -> None:
    rng = np.random.default_rng(7)
    base, cand = (
        sample_of(waits(rng, PAIRS)),
        sample_of(drifting(rng, np.linspace(-0.4, 0.4, PAIRS))),
    )
    (found,) = latencies_by_order(
        TwoSamples(base, cand, (PAIRS, PAIRS), paired=paired),
        [(0.5, Margin())],
        "lower",
        Inference(resamples=400, seed=rng),
    )

    assert found.order
    assert found.df == 3 if paired else found.df < 6.5
    assert found.more_sessions is None
    assert found.high - found.low > 0.5


def test_the_mean_of_a_drifting_metric_is_computed_over_quarters() -> None:
    rng, turns = np.random.default_rng(8), np.full(PAIRS, float(TURNS))
    steady, rising = (
        (TURNS * (3 + drift + rng.normal(0, 0.1, PAIRS)), turns)
        for drift in (np.zeros(PAIRS), np.linspace(0, 1, PAIRS))
    )

    assert mean_by_order(
        ClusterTotals(steady, rising, paired=True), Margin(), "lower", Inference()
    ).order
    assert not mean_by_order(
        ClusterTotals(steady, steady, paired=True), Margin(), "lower", Inference()
    ).order


def bursting(rng: np.random.Generator, clusters: int) -> PerCluster:
    """Return sessions with bursts of failures. In each hundred sessions, only the first 20 have
    failures.
    """
    events = (np.arange(clusters) % 100 < 20) * rng.integers(0, 4, clusters)
    return events.astype(np.float64), np.full(clusters, 10.0)


def independent(rng: np.random.Generator, clusters: int) -> PerCluster:
    return rng.binomial(10, 0.02, clusters).astype(np.float64), np.full(clusters, 10.0)


@pytest.mark.parametrize("paired", [True, False])
def test_failures_in_bursts_are_computed_over_parts_of_the_run(paired: bool) -> None:
    rng = np.random.default_rng(3)
    totals = ClusterTotals(independent(rng, 300), bursting(rng, 300), paired)
    plain, found = (
        rate_difference(totals, Margin()),
        rate_by_order(totals, Margin(), "lower", Inference()),
    )

    assert (found.order, found.d) == ("bursts", plain.d)
    assert found.high - found.low > 1.5 * (plain.high - plain.low)
    assert (found.worse.low < plain.worse.low, found.worse.p > plain.worse.p) == (True, True)


@pytest.mark.parametrize("p", [0.05, 0.95])
def test_only_the_quantile_with_bursts_is_computed_over_parts_of_the_run(p: float) -> None:
    rng = np.random.default_rng(5)
    code = np.repeat(np.arange(300), 10)
    base, cand = (np.exp(rng.normal(size=3000) * 0.2) for _ in range(2))
    slow = (code % 100 < 15) & (np.arange(3000) % 5 == 0)
    tail = sample(np.where(slow, cand * (5 if p > 0.5 else 0.2), cand), code)
    asked = [(0.5, Margin()), (p, Margin())]
    samples = TwoSamples(sample(base, code), tail, (300, 300), paired=True)

    assert [
        one.order for one in latencies_by_order(samples, asked, "lower", Inference(resamples=500))
    ] == [
        None,
        "bursts",
    ]


def test_the_distance_is_kolmogorov_s() -> None:
    """Half of the values 1 to 4 are less than all of the values 3 to 6, so the largest distance is
    1/2.

    The length of one step, 1/4, is added to the distance. The sum is multiplied by √(4·4/8).
    """
    assert kolmogorov_distance(np.arange(1.0, 5), np.arange(3.0, 7)) == pytest.approx(0.75 * 2**0.5)


@given(
    st.integers(12, 60), st.integers(1, 12), st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 100)
)
def test_with_sessions_of_one_length_equal_weights_change_nothing(
    sessions: int, each: int, p: float, seed: int
) -> None:
    one = sampled(np.full(sessions, each), 0.0, seed)
    (usual,), found = quantiles(one, [p]), with_equal_weights(one.values, one.sessions, p, 0.95)

    assert found.value == quantile(one.values, p)
    assert (found.low, found.high) == (usual.low, usual.high)


def test_each_session_has_the_same_weight() -> None:
    """Nineteen sessions have one turn of 100 ms each. The last session has 1,000 turns of 900 ms
    each.
    """
    lengths = np.array([1] * 19 + [1000])
    one = sample(np.repeat([100.0] * 19 + [900.0], lengths), codes(lengths))

    assert quantile(one.values, 0.5) == 900
    assert with_equal_weights(one.values, one.sessions, 0.5, 0.95).value == 100


def test_a_quantile_that_depends_on_few_long_sessions_has_a_wide_interval() -> None:
    one = sampled(heavy(), 0.6)
    (usual,), (found,) = quantiles(one, [0.5], unseen=False), quantiles(one, [0.5])

    assert found.by_length
    assert found.low < usual.low < usual.high < found.high


def test_a_threshold_on_such_a_quantile_also_states_it_with_equal_weights() -> None:
    one = sampled(heavy(400), 0.6)
    figure = estimate_quantile(one, 0.95, 400)

    assert evaluate_limit(figure, "<", figure.value * 1.5).name == "inconclusive"
    assert figure.by_session == with_equal_weights(one.values, one.sessions, 0.95, 0.95)
    assert estimate_quantile(sampled(np.full(400, 10), 0.6), 0.95, 400).by_session is None


def stalling(rng: np.random.Generator, bursts: int, pairs: int = 300) -> TwoSamples:
    """Return paired sessions of ten turns. Sessions of the candidate stall in bursts of ten
    sessions.
    """
    code = np.repeat(np.arange(pairs), 10)
    base, cand = (rng.uniform(90, 110, code.size) for _ in range(2))
    starts = np.linspace(5, pairs - 15, bursts).astype(int)
    is_slow = (code[:, None] >= starts) & (code[:, None] < starts + 10)
    return TwoSamples(
        sample(base, code),
        sample(cand + 200 * is_slow.any(axis=1), code),
        (pairs, pairs),
        paired=True,
    )


@pytest.mark.parametrize("bursts", [1, 2])
def test_the_interval_of_a_quantile_contains_each_mode_that_the_share_of_stalls_allows(
    bursts: int,
) -> None:
    """One burst is 3.3 % of the turns, two are 6.7 %. Neither decides on which side of 5 % the
    share is.
    """
    found = latencies_by_order(
        stalling(np.random.default_rng(8), bursts), [(0.95, Margin())], "lower", Inference()
    )[0]

    assert found.order
    assert (found.d > 0.5) == (bursts == 2)
    assert found.low < 0.05
    assert found.high > math.log(2.5)


@pytest.mark.parametrize("bursts", [2, 12])
def test_turns_of_a_step_with_less_weight_count_less_in_the_share_test(bursts: int) -> None:
    both = stalling(np.random.default_rng(8), bursts)
    step = (np.arange(both.cand.n) % 3 == 0).astype(np.int64)
    copies = np.where(step == 1, 4, 1)
    more = Sample(np.repeat(both.cand.values, copies), np.repeat(both.cand.sessions, copies))
    weighted = replace(both, cand=more, steps=(step, np.repeat(step, copies)))
    plain, found = (
        share_difference(by_parts(one, BATCHES), 0.95, Margin(ratio=0.5), "lower", Inference())
        for one in (both, weighted)
    )

    assert plain
    assert found
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))
    assert found.worse.p == pytest.approx(plain.worse.p)


def test_an_interim_analysis_passes_only_if_the_share_of_stalls_allows_it() -> None:
    """One burst is 3.3 % of the turns, so p90 has no stall, also in most resamples of the parts
    of the run.
    """
    both = stalling(np.random.default_rng(8), 1)
    (seen,) = quantiles_seen(both, [(0.9, Margin(ratio=0.5))], "lower", np.random.default_rng(1))

    assert seen.order
    assert seen.z < -2
    assert seen.z_within > -1
