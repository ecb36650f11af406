"""The recovery time after a peak of load. tools/benchmarks/recovery.py measures its errors."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

from reports.statistics.recovery import (
    ProbeTurns,
    Recovery,
    changes_of,
    recovery_of,
    tolerable_sd,
)
from tests.examples import some
from tools.benchmarks.recovery import (
    DEFAULT,
    PEAK_S,
    SPACING_S,
    Peak,
    covered,
    recoveries,
    share,
    simulated,
)


def turns_of(peak: Peak) -> ProbeTurns:
    return simulated(np.random.default_rng(5), peak, "independent")


def chosen(turns: ProbeTurns, kept: Any) -> ProbeTurns:
    return ProbeTurns(turns.at_s[kept], turns.latency[kept], turns.callers[kept])


def recovery(turns: ProbeTurns) -> Recovery:
    return recovery_of(turns, PEAK_S, SPACING_S, DEFAULT.margin)


@pytest.mark.parametrize(
    ("shape", "recovery_s"), some(list(product(("step", "exponential"), (0, 30, 120))), 3)
)
def test_the_interval_covers_the_known_recovery_time(shape: str, recovery_s: int) -> None:
    found = recoveries(Peak(2, recovery_s, shape), "correlated", runs=20)

    assert covered(found, recovery_s) >= 0.95
    assert not share(found, "never_left")


def test_a_change_that_outlasts_the_run_is_no_recovery() -> None:
    found = recoveries(Peak(1.3, math.inf), "correlated", runs=20)

    assert {(outcome, high) for outcome, _, _, high in found} == {("not_recovered", math.inf)}


def test_a_slow_drift_at_the_margin_is_rarely_called_a_recovery() -> None:
    found = recoveries(Peak(1 + DEFAULT.margin, math.inf), "drift", runs=100)

    assert share(found, "recovered", "never_left") <= 0.08  # 0.045 of 400 runs


def test_the_variation_with_which_a_recovery_is_shown_is_known_before_the_run() -> None:
    callers, before, after, margin = 20, 40, 40, 0.25
    rng = np.random.default_rng(4)
    slots = np.arange(-(before + 20), after)
    at_s = np.tile(slots, callers) + rng.uniform(0, 1, slots.size * callers)
    slow = np.where((at_s < 0) & (at_s >= -20), 3.0, 1.0)
    shown = 0
    for _ in range(40):
        noise = tolerable_sd(callers, before, after, margin) * rng.standard_normal(at_s.size)
        turns = ProbeTurns(at_s, slow * np.exp(noise), np.repeat(np.arange(callers), slots.size))
        shown += recovery_of(turns, 20, 1, margin)[0] == "recovered"

    assert 0.75 <= shown / 40 <= 1
    assert tolerable_sd(callers, before, 5, margin) == 0


def test_a_service_that_was_never_slower_never_left() -> None:
    found = recoveries(Peak(1, 0), "independent", runs=20)

    assert found.count(("never_left", 0.0, 0.0, 0.0)) >= 10


def test_failed_turns_count_as_slow_turns() -> None:
    turns = turns_of(Peak(1, 0))
    turns.latency[(turns.at_s >= 0) & (turns.at_s < 60)] = math.inf
    outcome, _, low, high = recovery(turns)

    assert outcome == "recovered"
    assert 50 <= low <= 60 <= high < DEFAULT.after_s


def test_a_relapse_at_the_end_is_no_recovery() -> None:
    turns = turns_of(Peak(2, 30))
    turns.latency[turns.at_s >= 200] *= 2
    outcome, _, low, _ = recovery(turns)

    assert outcome == "not_recovered"
    assert low > 200


def test_latencies_are_paired_by_caller() -> None:
    """The others have few turns before the peak, so the mean of all turns falls by much."""
    turns = turns_of(Peak(1, 0))
    slow = turns.callers == 0
    turns.latency[slow] *= 3
    kept = slow | (turns.at_s >= 0) | (turns.at_s < -PEAK_S - 120)
    turns = chosen(turns, kept)
    changes = changes_of(turns, PEAK_S, SPACING_S)

    assert changes is not None
    assert all(low < 1 < high for _, low, high in changes)


@pytest.mark.parametrize("kept", [slice(0, 0), slice(0, 5)])
def test_too_few_turns_show_nothing(kept: slice) -> None:
    turns = chosen(turns_of(Peak(1, 0)), kept)

    assert recovery(turns)[0] == "too_few"
    assert changes_of(turns, PEAK_S, SPACING_S) is None


def test_without_a_success_before_the_peak_nothing_is_known() -> None:
    turns = turns_of(Peak(1, 0))
    turns.latency[turns.at_s < -PEAK_S] = math.inf

    assert recovery(turns)[0] == "too_few"
