"""What is said where a candidate showed none of a rate: how much that leaves open, and what it takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reports.finding import Arm, Measured, judge, none_seen
from reports.question import Question
from reports.statistics.differences import Margin
from reports.statistics.rates import ArmSums, rate_difference
from reports.statistics.verdicts import Verdict
from reports.wording.verdicts import said

POINT = Margin(points=0.01)
FAILURES = Question("failure_rate", "rate", POINT)


def told(sessions: int, failed: int = 0, question: Question = FAILURES) -> Verdict:
    """Of a candidate with so many failed turns, against a baseline without any."""
    clean, turns = np.zeros(sessions), np.full(sessions, 10.0)
    found = rate_difference(
        ArmSums((clean, turns), (np.where(np.arange(sessions) < failed, 1.0, 0.0), turns), paired=False), POINT
    )
    arm = Arm(10 * sessions, sessions, failed)
    (judged,) = judge([Measured(replace(question, primary=True), "new", found, (arm, arm))], "old")
    return judged.verdict


def test_no_failure_in_too_few_sessions_says_what_that_leaves_and_what_it_needs() -> None:
    verdict = told(100)

    assert verdict.word == "inconclusive"
    assert verdict.more_sessions == 199
    assert (
        said(verdict.reason).replace("\u00a0", " ")
        == "with no failure in 100 sessions the rate may still be up to 2.95 %: about 299 sessions are needed"
    )


@pytest.mark.parametrize(("sessions", "failed"), [(299, 0), (100, 2)])
def test_what_passes_and_what_showed_some_says_nothing_of_it(sessions: int, failed: int) -> None:
    assert told(sessions, failed).reason is None


def test_every_rate_has_its_own_word_and_a_margin_of_nothing_no_number() -> None:
    assert said(told(100, question=Question("stall_rate", "rate", POINT)).reason).startswith("with no stalled reply in")
    assert said(none_seen("throttled", 600, 0.05, None, 600)).replace("\u00a0", " ") == (
        "with no throttled turn in 600 sessions the rate may still be up to 0.50 %"
    )
