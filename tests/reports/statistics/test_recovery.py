"""The recovery time after a peak of load. tools/benchmarks/recovery.py measures its errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from reports.statistics.recovery import ProbeTurns, Recovery, changes_of, recovery_of
from tools.benchmarks.recovery import (
    AFTER_S,
    MARGIN,
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
    return recovery_of(turns, PEAK_S, SPACING_S, MARGIN)


@pytest.mark.parametrize("recovery_s", [0, 30, 120])
@pytest.mark.parametrize("shape", ["step", "exponential"])
def test_the_interval_covers_the_known_recovery_time(recovery_s: int, shape: str) -> None:
    found = recoveries(Peak(2, recovery_s, shape), "correlated", runs=20)

    assert covered(found, recovery_s) >= 0.95
    assert not share(found, "never_left")


def test_a_change_that_outlasts_the_run_is_no_recovery() -> None:
    found = recoveries(Peak(1.3, math.inf), "correlated", runs=20)

    assert {(outcome, high) for outcome, _, _, high in found} == {("not_recovered", math.inf)}


def test_a_service_that_was_never_slower_never_left() -> None:
    found = recoveries(Peak(1, 0), "independent", runs=20)

    assert found.count(("never_left", 0.0, 0.0, 0.0)) >= 10


def test_failed_turns_count_as_slow_turns() -> None:
    turns = turns_of(Peak(1, 0))
    turns.latency[(turns.at_s >= 0) & (turns.at_s < 60)] = math.inf
    outcome, _, low, high = recovery(turns)

    assert outcome == "recovered"
    assert 50 <= low <= 60 <= high < AFTER_S


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
