"""Differences of quantiles: formulas that were checked by hand, invariances, and the rate of
false positives.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from reports.statistics.arms import TwoSamples, target_resamples
from reports.statistics.bootstrap import resampled_quantiles
from reports.statistics.differences import (
    Better,
    Difference,
    Inference,
    Margin,
    StandardError,
    excess_over_margin,
    log_ratio,
    more_sessions,
    quantile_differences,
)
from reports.statistics.quantiles import Sample, sample
from tests.examples import trials
from tests.reports.statistics.samples import Floats, sample_of, waits

TEN = Margin(ratio=0.1)


def build_arms(sessions: int = 60, slower: float = 1.0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(11)
    return waits(rng, sessions), waits(rng, sessions) * slower


def difference(
    base: Floats | Sample,
    cand: Floats | Sample,
    p: float = 0.5,
    margin: Margin = TEN,
    *,
    paired: bool = False,
    better: Better = "lower",
    seed: int = 1,
    **options: Any,
) -> Difference:
    samples = [side if isinstance(side, Sample) else sample_of(side) for side in (base, cand)]
    counts = [int(side.sessions.max(initial=-1)) + 1 for side in samples]
    pair = TwoSamples(samples[0], samples[1], (counts[0], counts[1]), paired)
    how = Inference(**{"resamples": 2000, "seed": seed, **options})
    (found,) = quantile_differences(pair, [(p, margin)], better, how)
    return found


def test_the_interval_is_the_expanded_percentile_interval() -> None:
    base, cand = build_arms()
    found = difference(base, cand[:40])
    rng = np.random.default_rng(1)
    logs = [
        np.log(
            resampled_quantiles(sample_of(side), [0.5], clusters=len(side), draws=2000, rng=rng)[
                :, 0
            ]
        )
        for side in (base, cand[:40])
    ]
    vb, vc = (log.var(ddof=1) for log in logs)
    df = (vc + vb) ** 2 / (vc**2 / 39 + vb**2 / 59)
    tail = scipy.stats.norm.cdf(-scipy.stats.t.ppf(0.95, df) * math.sqrt(40 / 39))
    log_ratios = logs[1] - logs[0]
    z = scipy.stats.norm.ppf(((log_ratios <= math.log(1.1)).sum() + 1) / 2001)

    assert found.df == pytest.approx(df)
    assert found.low == pytest.approx(np.quantile(log_ratios, tail, method="inverted_cdf"))
    assert found.high == pytest.approx(np.quantile(log_ratios, 1 - tail, method="inverted_cdf"))
    assert found.worse.p == pytest.approx(scipy.stats.t.cdf(z * math.sqrt(39 / 40), df))
    assert found.worse.low == pytest.approx(found.low - math.log(1.1))
    assert found.worse.high == pytest.approx(found.high - math.log(1.1))
    assert found.better.low == pytest.approx(-found.high - math.log(1.1), abs=1e-3)
    assert found.better.high == pytest.approx(-found.low - math.log(1.1), abs=1e-3)
    assert found.se == pytest.approx(log_ratios.std(ddof=1))


def test_the_interval_of_pairs_resamples_pairs_and_has_pairs_minus_one_degrees_of_freedom() -> None:
    base, cand = build_arms(30)
    found = difference(base, cand, paired=True)
    one, other = target_resamples(
        TwoSamples(sample_of(base), sample_of(cand), (30, 30), paired=True),
        [0.5],
        draws=2000,
        rng=np.random.default_rng(1),
    )
    tail = scipy.stats.norm.cdf(-scipy.stats.t.ppf(0.95, 29) * math.sqrt(30 / 29))

    assert found.df == 29
    assert found.low == pytest.approx(np.quantile(np.log(other / one), tail, method="inverted_cdf"))


def test_pairs_that_drift_together_have_a_small_standard_error() -> None:
    base, _ = build_arms(50)
    found = difference(base, base * 1.2, paired=True)

    assert found.se == pytest.approx(0, abs=1e-12)
    assert found.low == pytest.approx(math.log(1.2))
    assert found.worse.low > 0
    assert found.worse.p < 0.01
    assert difference(base, base * 1.2).se > 0.03


@pytest.mark.parametrize("margin", [Margin(), TEN, Margin(ratio=0.1, plus=90.0)])
def test_swapped_targets_mirror_the_difference(margin: Margin) -> None:
    base, cand = build_arms(slower=1.15)
    there, back = (
        difference(*order, margin=margin, paired=True) for order in ((base, cand), (cand, base))
    )

    assert back.d == pytest.approx(-there.d)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert (back.better.low, back.better.high) == pytest.approx((there.worse.low, there.worse.high))
    assert back.better.p == pytest.approx(there.worse.p)


@pytest.mark.parametrize("margin", [TEN, Margin(ratio=0.1, plus=90.0)])
def test_for_a_higher_is_better_metric_worse_means_lower(margin: Margin) -> None:
    base, cand = build_arms(slower=0.6)
    lower = difference(cand, base, margin=margin, paired=True)
    higher = difference(base, cand, margin=margin, paired=True, better="higher")

    assert higher.d == pytest.approx(-lower.d)
    assert (higher.worse.low, higher.worse.high) == pytest.approx(
        (lower.worse.low, lower.worse.high)
    )
    assert (higher.worse.p, higher.better.p) == (lower.worse.p, lower.better.p)
    assert higher.worse.low > 0


def test_a_margin_is_exceeded_only_if_both_its_ratio_and_its_offset_are() -> None:
    base = np.array([100.0, 1000.0, 1000.0, 1000.0])
    cand = np.array([125.0, 1090.0, 1101.0, 1131.0])

    assert list(log_ratio(cand, base, Margin(ratio=0.1, plus=30.0)) > 0) == [
        False,
        False,
        True,
        True,
    ]
    assert list(log_ratio(cand, base, TEN) > 0) == [True, False, True, True]
    assert list(log_ratio(cand, base, Margin(plus=120.0)) > 0) == [False, False, False, True]
    assert log_ratio(np.array([130.0]), np.array([100.0]), Margin(ratio=0.1, plus=30.0))[0] == 0


def test_zero_in_both_is_no_difference_and_zero_against_a_value_exceeds_any_ratio() -> None:
    none, some = np.array([0.0]), np.array([50.0])

    assert log_ratio(none, none)[0] == 0
    assert log_ratio(none, none, TEN)[0] == pytest.approx(-math.log(1.1))
    assert log_ratio(some, none)[0] == math.inf
    assert log_ratio(none, some)[0] == -math.inf
    assert log_ratio(some, none, Margin(plus=60.0))[0] < 0
    assert math.isnan(log_ratio(np.array([-1.0]), some)[0])
    assert excess_over_margin((none, some), TEN, "lower")[0] == math.inf


def with_failed(values: Floats, share: float) -> Floats:
    """Return the values after all turns of some sessions have failed. `share` is the share of
    these sessions.
    """
    failed = values.copy()
    failed[: round(len(values) * share)] = np.inf
    return failed


def test_a_quantile_among_failed_turns_exceeds_any_margin() -> None:
    base, cand = build_arms()
    found = difference(base, with_failed(cand, 0.5), p=0.9)

    assert (found.candidate, found.d, found.low, found.high) == (math.inf,) * 4
    assert found.worse.low == math.inf
    assert found.worse.p < 0.001
    assert found.better.p == 1


def test_a_quantile_next_to_the_failed_turns_has_no_upper_bound() -> None:
    base, cand = build_arms()
    found = difference(base, with_failed(cand, 0.1), p=0.95)

    assert found.candidate == math.inf
    assert math.isfinite(found.low)
    assert found.high == math.inf
    assert math.isfinite(found.se)
    assert found.df > 50


def test_infinite_quantiles_of_both_targets_decide_nothing() -> None:
    base, cand = build_arms()
    found = difference(with_failed(base, 0.5), with_failed(cand, 0.5), p=0.9)

    assert math.isnan(found.d)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert (found.worse.low, found.worse.high) == (-math.inf, math.inf)
    assert (found.worse.p, found.better.p) == (1, 1)
    assert found.more_sessions is None


def test_resamples_infinite_in_both_targets_make_both_bounds_infinite() -> None:
    base, cand = build_arms()
    found = difference(with_failed(base, 0.1), with_failed(cand, 0.1), p=0.9)

    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.worse.p > 0.5
    assert found.better.p > 0.5


def test_two_pairs_give_an_unbounded_interval() -> None:
    base, cand = build_arms()
    found = difference(base[:2], 3 * cand[:2], paired=True)

    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.worse.p > 0.05


def test_sessions_without_a_value_are_drawn_and_do_not_count() -> None:
    base, cand = build_arms(40)
    shifted = sample(sample_of(cand).values, sample_of(cand).sessions * 2)
    (found,) = quantile_differences(
        TwoSamples(sample_of(base), shifted, (40, 80), paired=False),
        [(0.5, TEN)],
        "lower",
        Inference(resamples=1000, seed=1),
    )

    assert 39 <= found.df <= 78
    assert math.isfinite(found.low)


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_run_to_run_variation_is_the_same_in_the_interval_and_at_the_margin(better: Better) -> None:
    base, cand = build_arms()
    found = difference(base, cand, run_sd=0.05, better=better)
    bad, good = (found.low, found.high), (-found.high, -found.low)
    if better == "higher":
        bad, good = good, bad

    assert (found.worse.low, found.worse.high) == pytest.approx(
        [end - math.log(1.1) for end in bad], abs=2e-3
    )
    assert (found.better.low, found.better.high) == pytest.approx(
        [end - math.log(1.1) for end in good], abs=2e-3
    )


def test_a_pair_counts_if_either_session_has_a_value() -> None:
    base, cand = (sample_of(values) for values in build_arms(30))
    remaining = base.sessions != 3, (cand.sessions != 3) & (cand.sessions != 4)
    some = [
        Sample(of.values[flags], of.sessions[flags])
        for of, flags in zip((base, cand), remaining, strict=True)
    ]

    turns = np.bincount(np.concatenate([one.sessions for one in some]))

    assert np.count_nonzero(turns) == 29
    assert difference(some[0], some[1], paired=True).df == pytest.approx(
        turns.sum() ** 2 / (turns**2).sum() - 1
    )


def test_more_sessions_are_suggested_only_if_they_would_decide() -> None:
    error = StandardError(0.04, 99.0, 100)
    near = more_sessions(0.05, error)

    assert near == 300  # (2.486 · 0.04 / 0.05)² = 3.96 times as many
    assert more_sessions(-0.05, error) == near
    assert more_sessions(0.05, replace(error, fixed=0.01**2)) == 400
    assert more_sessions(0.05, replace(error, fixed=0.021**2)) is None
    assert more_sessions(0.001, error) is None
    assert more_sessions(math.inf, error) is None
    assert more_sessions(0.05, replace(error, se=math.nan)) is None


PAIRS = trials(150, 300)


@pytest.mark.parametrize("paired", [False, True])
def test_equal_targets_rarely_differ(paired: bool) -> None:
    rng = np.random.default_rng(20261120)
    worse = np.zeros(2)
    for _ in range(PAIRS):
        found = quantile_differences(
            TwoSamples(
                sample_of(waits(rng, 60)), sample_of(waits(rng, 60)), (60, 60), paired=paired
            ),
            [(0.5, Margin()), (0.95, Margin())],
            "lower",
            Inference(resamples=150, seed=rng),
        )
        worse += [difference.worse.low > 0 for difference in found]

    assert (worse / PAIRS >= 0.015).all()
    assert (worse / PAIRS <= 0.085).all()
