"""The levels that verify the range of a search."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.results.value import Result
from reports.statistics.group_sequential import spending
from reports.statistics.verdicts import SESSIONS
from rtbench.capacity.document import LevelEntry
from rtbench.capacity.verification import (
    ANALYSES,
    ERROR,
    MAX_LEVELS,
    Level,
    level_within,
    min_level_s,
    min_ramp_s,
    next_load,
)
from tests.capacity.built import build_level, build_plan

PASS: Result = "pass"
FAIL: Result = "fail"
UNDECIDED: Result = "inconclusive"
SILENT: Result = "not_evaluated"
NEXT: dict[str, tuple[list[tuple[int, Result]], int | None]] = {
    "the lower end": ([], 36),
    "the upper end after it": ([(36, PASS)], 41),
    "none if both are decided": ([(36, PASS), (41, FAIL)], None),
    "a lower one if the lower end fails": ([(36, FAIL)], 24),
    "none after it": ([(36, FAIL), (24, PASS)], None),
    "a lower one if the lower end is inconclusive": ([(36, UNDECIDED)], 24),
    "then the upper end": ([(36, UNDECIDED), (24, PASS)], 41),
    "a higher one if the upper end passes": ([(36, PASS), (41, PASS)], 61),
    "a higher one if the upper end is inconclusive": ([(36, PASS), (41, UNDECIDED)], 61),
    "three at most": ([(36, PASS), (41, UNDECIDED), (61, UNDECIDED)], None),
    "one that shows nothing again": ([(36, SILENT)], 36),
    "once": ([(36, SILENT), (36, SILENT)], None),
}


def levels_of(results: list[tuple[int, Result]]) -> list[LevelEntry]:
    return [build_level(load, result) for load, result in results]


@pytest.mark.parametrize(("results", "load"), NEXT.values(), ids=NEXT)
def test_the_next_level_follows_from_the_range_and_the_levels_so_far(
    results: list[tuple[int, Result]], load: int | None
) -> None:
    assert next_load(build_plan(), 36, 41, levels_of(results)) == load


@pytest.mark.parametrize(
    ("low", "high", "results", "load"),
    [
        (0, 5, [], 5),
        (0, 5, [(5, FAIL)], 3),
        (0, 1, [(1, FAIL)], None),
        (200, 256, [(200, PASS), (256, PASS)], None),
        (256, 256, [(256, PASS)], None),
        (100, 200, [(100, PASS), (200, PASS)], 256),
    ],
)
def test_no_level_is_below_one_call_or_above_the_highest_load(
    low: int, high: int, results: list[tuple[int, Result]], load: int | None
) -> None:
    assert next_load(build_plan(most=256), low, high, levels_of(results)) == load


@pytest.mark.parametrize(
    ("results", "load"), [([], 300), ([(300, UNDECIDED)], None), ([(300, SILENT)], 300)]
)
def test_a_required_load_is_the_only_level(
    results: list[tuple[int, Result]], load: int | None
) -> None:
    assert next_load(build_plan(required=300), 36, 41, levels_of(results)) == load


@given(
    st.lists(st.sampled_from([PASS, FAIL, UNDECIDED, SILENT]), min_size=9, max_size=9), st.data()
)
def test_levels_never_exceed_the_time_and_the_error_of_the_search(
    answers: list[Result], data: st.DataObject
) -> None:
    plan, levels = build_plan(), list[LevelEntry]()
    spent_s, error = 180.0, 0.0
    while (load := next_load(plan, 36, 41, levels)) is not None:
        level = level_within(plan, load, levels, plan.time_s - spent_s, 10.0, None)
        if level is None:
            break
        answer = answers[len(levels)]
        levels.append(build_level(load, answer))
        spent_s += data.draw(st.floats(1.0, level.time_s))
        error += level.error * (answer != SILENT)

    assert spent_s <= plan.time_s + 1e-6
    assert error <= ERROR + 1e-12
    assert len(levels) <= MAX_LEVELS


def test_a_level_gets_its_part_of_the_time_left_and_the_last_one_all_of_it() -> None:
    plan, levels = build_plan(), [build_level(36, "pass"), build_level(41, "inconclusive")]

    first, last = (level_within(plan, 36, done, 900.0, 1.0, 2.0) for done in ([], levels))
    assert first == Level(36, 300.0, ERROR / 3, 2.0)
    assert last == Level(36, 900.0, ERROR / 3, 2.0, is_last=True)
    only = level_within(build_plan(required=36), 36, [], 900.0, 1.0, 2.0)
    assert only == Level(36, 900.0, ERROR, 2.0, is_last=True)


@pytest.mark.parametrize("load", [1, 2, 5, 20, 300])
def test_a_level_of_few_callers_has_time_for_the_sessions_that_decide_it(load: int) -> None:
    call_s = 10.0
    level = level_within(build_plan(), load, [], min_level_s(load, call_s), call_s, None)

    assert level is not None
    measured_s = level.load_s - min_ramp_s(level.load_s)
    assert load * measured_s / call_s >= SESSIONS
    assert measured_s >= 2 * call_s
    assert level_within(build_plan(), load, [], level.time_s - 1, call_s, None) is None


def test_interim_analyses_spend_most_of_the_error_of_a_level_at_its_end() -> None:
    errors = spending(ANALYSES, 0.01)

    assert sum(errors) == pytest.approx(0.01)
    assert list(errors) == sorted(errors)
    assert errors[-1] == pytest.approx(0.0075)
