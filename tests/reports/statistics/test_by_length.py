"""Comparisons in which the change depends on the length of sessions."""

from __future__ import annotations

import numpy as np
import pytest

from reports.statistics.arms import TwoSamples
from reports.statistics.by_length import changes_by_length
from reports.statistics.differences import Difference, Inference, Margin, quantile_differences
from reports.statistics.quantiles import Sample, sample

LENGTHS = np.array([4] * 190 + [40] * 8 + [400] * 2)


def made(seed: int, slower: float = 0.0, lengths: np.ndarray = LENGTHS) -> Sample:
    """Return log-normal latencies. `slower` is the change of the log latency of sessions of 40 turns or more."""
    rng = np.random.default_rng(seed)
    logs = np.repeat(rng.normal(0, 0.1, lengths.size) + slower * (lengths >= 40), lengths)
    return sample(600 * np.exp(logs + rng.normal(0, 0.1, lengths.sum())), np.repeat(np.arange(lengths.size), lengths))


def compared(base: Sample, cand: Sample, *, paired: bool) -> Difference:
    samples = TwoSamples(base, cand, (LENGTHS.size, LENGTHS.size), paired)
    return quantile_differences(samples, [(0.5, Margin(ratio=0.1))], "lower", Inference(resamples=300))[0]


@pytest.mark.parametrize("paired", [True, False])
def test_bounds_allow_for_an_unseen_session_if_only_long_sessions_change(paired: bool) -> None:
    base, cand = made(1), made(2, 0.5)
    found = compared(base, cand, paired=paired)

    assert changes_by_length(TwoSamples(base, cand, (200, 200), paired))
    assert found.by_length
    assert found.low <= found.d - 0.4
    assert found.worse.low < 0


@pytest.mark.parametrize("paired", [True, False])
def test_a_change_that_is_equal_for_all_lengths_is_not_widened(paired: bool) -> None:
    base, cand = made(1, 0.5), made(2, 0.5)

    assert not compared(base, cand, paired=paired).by_length


def test_sessions_of_similar_length_are_not_tested() -> None:
    lengths = np.array([5, 15] * 50)
    base, cand = made(1, 0.0, lengths), made(2, 0.5, lengths)

    assert not changes_by_length(TwoSamples(base, cand, (100, 100), paired=True))
