"""Comparisons in which the change depends on the length of sessions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reports.statistics.arms import TwoSamples
from reports.statistics.by_length import changes_by_length, reaches
from reports.statistics.differences import (
    Better,
    Difference,
    Inference,
    Margin,
    quantile_differences,
)
from reports.statistics.quantiles import Sample, sample

LENGTHS = np.array([4] * 190 + [40] * 8 + [400] * 2)


def made(seed: int, slower: float = 0.0, lengths: np.ndarray = LENGTHS) -> Sample:
    """Return log-normal latencies. `slower` is the change of the log latency of sessions of 40
    turns or more.
    """
    rng = np.random.default_rng(seed)
    logs = np.repeat(rng.normal(0, 0.1, lengths.size) + slower * (lengths >= 40), lengths)
    return sample(
        600 * np.exp(logs + rng.normal(0, 0.1, lengths.sum())),
        np.repeat(np.arange(lengths.size), lengths),
    )


def compared(base: Sample, cand: Sample, *, paired: bool) -> Difference:
    samples = TwoSamples(base, cand, (LENGTHS.size, LENGTHS.size), paired)
    return quantile_differences(
        samples, [(0.5, Margin(ratio=0.1))], "lower", Inference(resamples=300)
    )[0]


@pytest.mark.parametrize("paired", [True, False])
def test_bounds_allow_for_an_unseen_session_if_only_long_sessions_change(paired: bool) -> None:
    base, cand = made(1), made(2, 0.5)
    found = compared(base, cand, paired=paired)

    assert changes_by_length(TwoSamples(base, cand, (200, 200), paired))
    assert found.by_length
    assert found.high >= found.d + 0.4


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("better", ["lower", "higher"])
def test_only_the_bound_on_the_side_of_the_long_sessions_is_wider(
    better: Better, paired: bool
) -> None:
    """An unseen long session can only move the quantile further in the direction of the other
    long sessions.
    """
    base, cand = made(1), made(2, 0.5)
    both = [
        TwoSamples(base, replace(cand, has_whole_sessions=whole), (200, 200), paired)
        for whole in (True, False)
    ]
    found, usual = (
        quantile_differences(one, [(0.5, Margin(ratio=0.1))], better, Inference(resamples=300))[0]
        for one in both
    )

    assert found.high > usual.high
    assert found.low == usual.low
    same, wider = ("worse", "better") if better == "higher" else ("better", "worse")
    assert getattr(found, same).high == getattr(usual, same).high
    assert getattr(found, same).low < getattr(usual, same).low
    assert getattr(found, wider).low == getattr(usual, wider).low
    assert getattr(found, wider).p == getattr(usual, wider).p


@pytest.mark.parametrize("paired", [True, False])
def test_a_change_that_is_equal_for_all_lengths_is_not_widened(paired: bool) -> None:
    base, cand = made(1, 0.5), made(2, 0.5)

    assert not compared(base, cand, paired=paired).by_length


@pytest.mark.parametrize("paired", [True, False])
def test_lengths_are_not_tested_if_a_sample_has_only_some_turns_of_its_sessions(
    paired: bool,
) -> None:
    base, cand = made(1), replace(made(2, 0.5), has_whole_sessions=False)

    assert not changes_by_length(TwoSamples(base, cand, (200, 200), paired))


def with_repeated_turns(cand: Sample, times: int) -> tuple[Sample, np.ndarray]:
    """Return the sample with `times` copies of the turns of each third session, and the step of
    each turn, 0 or 1.
    """
    step = (cand.sessions % 3 == 0).astype(np.int64)
    copies = np.where(step == 1, times, 1)
    return Sample(np.repeat(cand.values, copies), np.repeat(cand.sessions, copies)), np.repeat(
        step, copies
    )


@pytest.mark.parametrize("paired", [True, False])
def test_turns_of_a_step_that_the_candidate_has_more_often_have_less_weight(paired: bool) -> None:
    base, cand = made(1), made(2, 0.5)
    sessions = replace(base, sessions=np.random.default_rng(3).permutation(200)[base.sessions])
    more, step = with_repeated_turns(cand, 5)
    plain = TwoSamples(sessions, cand, (200, 200), paired)
    weighted = TwoSamples(
        sessions, more, (200, 200), paired, ((cand.sessions % 3 == 0).astype(np.int64), step)
    )

    assert weighted.values(0.5) == plain.values(0.5)
    assert changes_by_length(weighted) == changes_by_length(plain)
    assert reaches(weighted, 0.5, 0.05) == pytest.approx(reaches(plain, 0.5, 0.05), rel=0.02)


@pytest.mark.parametrize("paired", [True, False])
def test_a_long_session_of_a_step_with_little_weight_is_not_long(paired: bool) -> None:
    lengths = np.full(200, 10)
    base, cand = made(1, 0.0, lengths), made(2, 0.0, lengths)
    rare = np.array([0] * 1980 + [1] * 20)
    own = np.random.default_rng(4).permutation(2000)
    many = sample(
        np.append(cand.values, np.full(10_000, 5000.0)),
        np.append(cand.sessions, np.repeat(range(20), 500)),
    )
    steps = np.where(many.values == 5000.0, 1, 0)

    assert changes_by_length(TwoSamples(base, many, (200, 200), paired))
    assert not changes_by_length(TwoSamples(base, many, (200, 200), paired, (rare[own], steps)))
