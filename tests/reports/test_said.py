"""Which of many details is quoted of an outcome."""

from __future__ import annotations

import pandas as pd

from reports.summary.outcomes import said_of

SILENCE = "nothing came within the limit next_delta of 10 s"


def rows(*details: str | None, outcome: str = "timeout:next_delta", kind: str = "failed") -> pd.DataFrame:
    return pd.DataFrame({"outcome": outcome, "outcome_class": kind, "detail": pd.Series(details, dtype=object)})


def test_the_commonest_detail_of_an_outcome_is_quoted() -> None:
    assert said_of(rows("a", "b", "b", None)) == {"timeout:next_delta": "b"}


def test_what_the_service_said_goes_before_what_is_commoner_and_says_nothing_of_the_cause() -> None:
    told = [f"{SILENCE}; the service said: overloaded: request {number}" for number in (1, 2)]

    assert said_of(rows(SILENCE, SILENCE, SILENCE, *told)) == {"timeout:next_delta": told[0]}


def test_of_turns_that_did_not_fail_nothing_is_quoted() -> None:
    assert said_of(rows("the run ended", outcome="abandoned", kind="censored")) == {}
