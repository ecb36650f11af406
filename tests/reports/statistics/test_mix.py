"""A candidate whose steps are weighted to the baseline's shares, against counting every resample in full."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics.arms import Arms, arm_draws
from reports.statistics.counting import Floats, Integers
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import Sample
from reports.statistics.resample import weights

PS = (0.1, 0.5, 0.95)


def made(
    rng: np.random.Generator, sessions: int, turns: int, slow: float, factor: float = 1.0
) -> tuple[Sample, Integers]:
    """Turns of two steps, of which the share `slow` takes twice as long; some fail."""
    steps = (rng.random((sessions, turns)) < slow).astype(np.int64)
    values = factor * np.where(steps, 1200, 600) * np.exp(0.3 * rng.normal(size=(sessions, turns)))
    values[rng.random((sessions, turns)) < 0.01] = np.inf
    order = np.argsort(values.ravel(), kind="stable")
    code = np.repeat(np.arange(sessions), turns)[order]
    return Sample(values.ravel()[order], code), steps.ravel()[order]


def arms_of(seed: int, base: tuple[int, int, float], cand: tuple[int, int, float], *, paired: bool) -> Arms:
    rng = np.random.default_rng(seed)
    (first, of_first), (second, of_second) = made(rng, *base), made(rng, *cand)
    return Arms(first, second, (base[0], cand[0]), paired, (of_first, of_second))


def in_full(arms: Arms, p: float, drawn: tuple[Integers, Integers]) -> float:
    """The candidate's quantile in one resample."""
    assert arms.steps is not None
    many = 1 + max(int(steps.max()) for steps in arms.steps)
    wanted, there = (
        np.bincount(steps, each[sample.sessions], many)
        for sample, steps, each in zip((arms.base, arms.cand), arms.steps, drawn, strict=True)
    )
    wanted = np.where(there > 0, wanted, 0)
    wanted = wanted if wanted.any() else there
    weight = (wanted / wanted.sum() / np.maximum(there, 1))[arms.steps[1]] * drawn[1][arms.cand.sessions]
    reached = np.cumsum(weight)
    return float(arms.cand.values[min(int(np.searchsorted(reached, p - 1e-9)), reached.size - 1)])


@pytest.mark.parametrize("paired", [True, False])
@given(st.integers(0, 10_000), st.integers(5, 40), st.integers(1, 12), st.floats(0.2, 0.8))
def test_resamples_are_those_of_counting_in_full(
    paired: bool, seed: int, sessions: int, turns: int, slow: float
) -> None:
    arms = arms_of(seed, (sessions, turns, 0.5), (sessions if paired else sessions + 3, turns, slow), paired=paired)

    found = arm_draws(arms, PS, draws=40, rng=np.random.default_rng(seed))[1]

    rng = np.random.default_rng(seed)
    first = np.concatenate(list(weights(arms.clusters[0], 40, rng, portion=40)))
    second = first if paired else np.concatenate(list(weights(arms.clusters[1], 40, rng, portion=40)))
    for at, pair in enumerate(zip(first, second, strict=True)):
        assert found[at].tolist() == [in_full(arms, p, pair) for p in PS]


@pytest.mark.parametrize("paired", [True, False])
def test_the_same_shares_change_nothing(paired: bool) -> None:
    rng = np.random.default_rng(3)
    steps = np.tile([0, 1, 1, 0, 1], 60)
    code = np.repeat(np.arange(60), 5)
    of_both = 600 * np.exp(0.3 * rng.normal(size=(2, 300)))
    orders = [np.argsort(values) for values in of_both]
    first, second = (Sample(values[order], code[order]) for values, order in zip(of_both, orders, strict=True))
    plain = Arms(first, second, (60, 60), paired)
    mixed = Arms(first, second, (60, 60), paired, (steps[orders[0]], steps[orders[1]]))

    usual, found = (arm_draws(arms, PS, draws=200, rng=np.random.default_rng(1)) for arms in (plain, mixed))

    assert [found[0].tolist(), found[1].tolist()] == [usual[0].tolist(), usual[1].tolist()]
    assert [mixed.values(p) for p in PS] == [plain.values(p) for p in PS]


def test_a_candidate_that_plays_more_of_a_slow_step_is_no_slower() -> None:
    arms = arms_of(5, (150, 10, 0.4), (150, 10, 0.6), paired=False)
    asked = [(0.5, Margin(ratio=0.1))]

    (plain,) = quantile_differences(
        Arms(arms.base, arms.cand, arms.clusters, paired=False), asked, "lower", Inference()
    )
    (found,) = quantile_differences(arms, asked, "lower", Inference())

    assert plain.worse_low > 0
    assert found.worse_high < 0
    assert abs(found.d) < 0.05


def test_a_step_that_only_one_target_has_leaves_the_others_their_shares() -> None:
    values: Floats = np.array([100.0, 200, 300, 400])
    code = np.arange(4)
    arms = Arms(
        Sample(values, code), Sample(values, code), (4, 4), True, (np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]))
    )

    assert arms.values(0.5) == (200, 100)
