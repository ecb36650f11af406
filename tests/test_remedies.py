"""Whatever can fail, somebody who reads of it knows what to try."""

from __future__ import annotations

import pytest

from bench.outcomes import outcome_class
from bench.remedies import remedy_of
from tests.faults.cells import cells

OUTCOMES = sorted({outcome for cell in cells() for outcome in cell.outcomes})
OTHERS = ("timeout:dns", "timeout:tcp", "refused:dns", "refused:token", "refused:proxy", "failed:harness", "failed:x")


@pytest.mark.parametrize("outcome", [*OUTCOMES, *OTHERS])
def test_an_outcome_has_a_remedy_where_something_failed(outcome: str) -> None:
    assert bool(remedy_of(outcome)) is (outcome_class(outcome) == "failed")


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("refused:401", "rtbench doctor"),
        ("refused:503", "out of order"),
        ("refused:429", "rtbench doctor"),
        ("throttled:handshake", "quota"),
        ("throttled:server_error", "quota"),
        ("timeout:next_delta", "fewer sessions"),
        ("timeout:upgrade", "may not know WebSockets"),
        ("protocol:dialect", "--dialect"),
        ("protocol:json", "a proxy"),
    ],
)
def test_a_remedy_is_that_of_the_cause_before_that_of_the_class(outcome: str, words: str) -> None:
    assert words in remedy_of(outcome)


@pytest.mark.parametrize("outcome", ["ok", "interrupted", "abandoned", "cancelled:turn_detected", "wrong_call"])
def test_nothing_is_said_where_nothing_is_known_to_help(outcome: str) -> None:
    assert remedy_of(outcome) == ""
