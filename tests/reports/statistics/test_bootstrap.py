"""Bootstrap quantiles, with and without weights of steps, compared with plain resampling that
has the same weights.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics.arms import TwoSamples, target_resamples
from reports.statistics.bootstrap import resampled_quantiles, weights
from reports.statistics.counting import Floats, Integers
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import Sample, quantile, sample

PS = (0.05, 0.07, 0.5, 0.95, 0.99)
turns = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 9).map(float), st.floats(0.1, 1e5), st.just(math.inf)),
        st.integers(0, 7),
    ),
    max_size=200,
)


def build_sample(drawn: list[tuple[float, int]]) -> Sample:
    return sample(
        np.array([value for value, _ in drawn]),
        np.array([code for _, code in drawn], dtype=np.int64),
    )


def plain(of: Sample, clusters: int, draws: int, seed: int) -> Floats:
    """Return the quantiles from plain resampling. If a session is drawn several times, its turns
    are repeated.
    """
    (drawn,) = weights(clusters, draws, np.random.default_rng(seed), portion=draws)
    return np.array(
        [[quantile(np.repeat(of.values, row[of.sessions]), p) for p in PS] for row in drawn]
    )


@given(turns, st.integers(8, 12), st.integers(0, 1000))
def test_bootstrap_draws_equal_plain_resampling(
    drawn: list[tuple[float, int]], clusters: int, seed: int
) -> None:
    of = build_sample(drawn)
    found = resampled_quantiles(
        of, PS, clusters=clusters, draws=40, rng=np.random.default_rng(seed)
    )

    np.testing.assert_array_equal(found, plain(of, clusters, 40, seed))


MIX_PS = (0.1, 0.5, 0.95)


def made(
    rng: np.random.Generator, sessions: int, turns: int, slow: float, factor: float = 1.0
) -> tuple[Sample, Integers]:
    """Return turns of two steps, and the step of each turn.

    A turn belongs to the slower step with the probability `slow`, and then takes twice as long. 1 %
    of the turns fail.
    """
    steps = (rng.random((sessions, turns)) < slow).astype(np.int64)
    values = factor * np.where(steps, 1200, 600) * np.exp(0.3 * rng.normal(size=(sessions, turns)))
    values[rng.random((sessions, turns)) < 0.01] = np.inf
    order = np.argsort(values.ravel(), kind="stable")
    code = np.repeat(np.arange(sessions), turns)[order]
    return Sample(values.ravel()[order], code), steps.ravel()[order]


def arms_of(
    seed: int, base: tuple[int, int, float], cand: tuple[int, int, float], *, paired: bool
) -> TwoSamples:
    rng = np.random.default_rng(seed)
    (first, of_first), (second, of_second) = made(rng, *base), made(rng, *cand)
    return TwoSamples(first, second, (base[0], cand[0]), paired, (of_first, of_second))


def in_full(samples: TwoSamples, p: float, drawn: tuple[Integers, Integers]) -> float:
    """Return the quantile `p` of the candidate in the resample `drawn`."""
    assert samples.steps is not None
    many = 1 + max(int(steps.max()) for steps in samples.steps)
    wanted, there = (
        np.bincount(steps, each[sample.sessions], many)
        for sample, steps, each in zip(
            (samples.base, samples.cand), samples.steps, drawn, strict=True
        )
    )
    wanted = np.where(there > 0, wanted, 0)
    wanted = wanted if wanted.any() else there
    weight = (wanted / wanted.sum() / np.maximum(there, 1))[samples.steps[1]] * drawn[1][
        samples.cand.sessions
    ]
    reached = np.cumsum(weight)
    return float(
        samples.cand.values[min(int(np.searchsorted(reached, p - 1e-9)), reached.size - 1)]
    )


@pytest.mark.parametrize("paired", [True, False])
@given(st.integers(0, 10_000), st.integers(5, 40), st.integers(1, 12), st.floats(0.2, 0.8))
def test_weighted_resamples_equal_plain_weighted_quantiles(
    paired: bool, seed: int, sessions: int, turns: int, slow: float
) -> None:
    samples = arms_of(
        seed,
        (sessions, turns, 0.5),
        (sessions if paired else sessions + 3, turns, slow),
        paired=paired,
    )

    found = target_resamples(samples, MIX_PS, draws=40, rng=np.random.default_rng(seed))[1]

    rng = np.random.default_rng(seed)
    first = np.concatenate(list(weights(samples.clusters[0], 40, rng, portion=40)))
    second = (
        first if paired else np.concatenate(list(weights(samples.clusters[1], 40, rng, portion=40)))
    )
    for at, pair in enumerate(zip(first, second, strict=True)):
        assert found[at].tolist() == [in_full(samples, p, pair) for p in MIX_PS]


@pytest.mark.parametrize("paired", [True, False])
def test_equal_shares_of_steps_change_nothing(paired: bool) -> None:
    rng = np.random.default_rng(3)
    steps = np.tile([0, 1, 1, 0, 1], 60)
    code = np.repeat(np.arange(60), 5)
    of_both = 600 * np.exp(0.3 * rng.normal(size=(2, 300)))
    orders = [np.argsort(values) for values in of_both]
    first, second = (
        Sample(values[order], code[order]) for values, order in zip(of_both, orders, strict=True)
    )
    plain = TwoSamples(first, second, (60, 60), paired)
    mixed = TwoSamples(first, second, (60, 60), paired, (steps[orders[0]], steps[orders[1]]))

    usual, found = (
        target_resamples(samples, MIX_PS, draws=200, rng=np.random.default_rng(1))
        for samples in (plain, mixed)
    )

    assert [found[0].tolist(), found[1].tolist()] == [usual[0].tolist(), usual[1].tolist()]
    assert [mixed.values(p) for p in MIX_PS] == [plain.values(p) for p in MIX_PS]


def test_a_candidate_with_more_turns_of_a_slow_step_is_not_slower() -> None:
    samples = arms_of(5, (150, 10, 0.4), (150, 10, 0.6), paired=False)
    asked = [(0.5, Margin(ratio=0.1))]

    (plain,) = quantile_differences(
        TwoSamples(samples.base, samples.cand, samples.clusters, paired=False),
        asked,
        "lower",
        Inference(),
    )
    (found,) = quantile_differences(samples, asked, "lower", Inference())

    assert plain.worse.low > 0
    assert found.worse.high < 0
    assert abs(found.d) < 0.05


def test_a_step_of_only_one_target_does_not_change_the_weights_of_the_others() -> None:
    values: Floats = np.array([100.0, 200, 300, 400])
    code = np.arange(4)
    samples = TwoSamples(
        Sample(values, code),
        Sample(values, code),
        (4, 4),
        True,
        (np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2])),
    )

    assert samples.values(0.5) == (200, 100)
