"""The share that a part takes of a whole run, and whether the parts sum up to its plan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.record.whole_run import (
    Load,
    absent_parts,
    absent_turns,
    problem_of,
    share_text,
    shares,
    sum_text,
    summed,
    users_of_part,
)

WHOLE = {"parts": 10, "users": 400, "sessions": 2000, "arrival_rate": 5.0, "budget": 200.0}
SHARE = {"sessions": 200, "arrival_rate": 0.5, "budget": 20.0}


def test_each_part_takes_an_equal_share_of_all_limits() -> None:
    assert shares(WHOLE) == SHARE
    text = share_text("nightly-7", SHARE | {"users": 40}, WHOLE)
    taken = "40 of 400 users, 200 of 2,000 sessions, 0.5 of 5 calls/s, 20 of 200 USD"
    assert text == f"part of nightly-7: {taken} (1 of 10 equal parts)"


@given(parts=st.integers(1, 50), share=st.integers(1, 1000), per_s=st.floats(0.01, 100))
def test_shares_sum_up_to_the_plan(parts: int, share: int, per_s: float) -> None:
    whole = {
        "parts": parts,
        "sessions": parts * share,
        "max_concurrent": parts,
        "arrival_rate": per_s,
    }
    loads = [shares(whole)] * parts
    assert sum_text(loads, 0, whole).startswith("The parts sum up to the plan of the whole run: ")
    assert summed(loads)["sessions"] == parts * share


def test_sessions_that_cannot_be_divided_are_refused_with_the_nearest_numbers() -> None:
    with pytest.raises(
        UsageError, match="2,005 sessions cannot be divided into 10 equal parts: use 2,000 or 2,010"
    ):
        shares(WHOLE | {"sessions": 2005})


@pytest.mark.parametrize(
    ("users", "given", "taken"), [(400, 40, 40), (400, None, 40), (405, 41, 41), (405, 40, 40)]
)
def test_users_that_the_platform_divided_are_accepted(
    users: int, given: int | None, taken: int
) -> None:
    assert users_of_part(WHOLE | {"users": users}, given) == taken


@pytest.mark.parametrize(
    ("users", "given"), [(400, 400), (400, 4), (400, 1), (405, 42), (405, None)]
)
def test_users_that_were_not_divided_or_divided_twice_are_refused(
    users: int, given: int | None
) -> None:
    with pytest.raises(UsageError, match=r"one of 10 parts of 40. users has 40"):
        users_of_part(WHOLE | {"users": users}, given)


def test_a_missing_part_is_reported_with_its_bound_and_not_as_zero() -> None:
    nine = [SHARE | {"users": 40}] * 9
    text = sum_text(nine, 0, WHOLE)
    assert (
        "9 parts, 360 users, 1,800 sessions, 4.5 calls/s, 180 USD were merged (1 of 10 parts is"
        " missing)" in text
    )
    assert (absent_parts(9, WHOLE), absent_parts(10, WHOLE), absent_parts(3, None)) == (1, 0, 0)
    document = {"scripts": [{"turns": 4}, {"turns": 2}], "targets": [{}, {}], "interleaved": True}
    assert absent_turns(document, SHARE) == 200 * 2 * 4
    assert absent_turns(document, {"users": 40}) is None
    assert absent_turns(document | {"scripts": [{"turns": None}]}, SHARE) is None


def test_parts_without_a_plan_or_beyond_it_are_stated() -> None:
    assert "unknown whether parts are missing" in sum_text([SHARE], 0, None)
    assert "40 users, 200 sessions" in share_text("n", {"users": 40, "sessions": 200}, None)
    assert "1 more parts than planned" in sum_text([SHARE | {"users": 40}] * 11, 0, WHOLE)
    assert sum_text([{"users": 39}], 0, {"parts": 1, "users": 40}).startswith(
        "The parts do not sum up"
    )


@pytest.mark.parametrize(
    ("load", "whole", "problem"),
    [
        (SHARE, WHOLE, ""),
        (SHARE, None, ""),
        (SHARE, {"parts": 10_000}, ""),
        *(
            (SHARE, whole, "whole_run.parts must be a whole number from 1 to 10,000")
            for whole in ({}, {"sessions": 3}, {"parts": 0}, {"parts": 2.5}, {"parts": 10_001})
        ),
        (SHARE, {"parts": 1e308}, "whole_run.parts must be a number from 0 to 1,000,000,000"),
        (SHARE, {"parts": -3}, "whole_run.parts must be a number from 0 to 1,000,000,000"),
        (
            SHARE,
            WHOLE | {"budget": float("nan")},
            "whole_run.budget must be a number from 0 to 1,000,000,000",
        ),
        ({"sessions": -1}, WHOLE, "planned_load.sessions must be a number from 0 to 1,000,000,000"),
        (
            {"sessions": 1e30},
            None,
            "planned_load.sessions must be a number from 0 to 1,000,000,000",
        ),
    ],
)
def test_a_recorded_plan_has_the_limits_of_the_option(
    load: Load, whole: Load | None, problem: str
) -> None:
    assert problem_of(load, whole) == problem
