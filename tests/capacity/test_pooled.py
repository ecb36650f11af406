"""Levels together: where an edge seems to lie, and whether levels contradict one another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.capacity.conclude import rough_edge, shown
from bench.capacity.search import Answer, LevelOutcome, bracket_of, ends_of
from tests.capacity.models import ModelService, PhasedService, build_level, build_plan, build_share, searched
from tests.examples import trials

SEEDS = trials(20, 40)


def level(load: int, missed: float, answer: Answer = "inconclusive", turns: int = 1000) -> LevelOutcome:
    return build_level(load, answer, slo_violations=[build_share(missed, turns=turns)])


def square(load: int) -> float:
    return min(0.9, 0.05 * (load / 40.5) ** 2)


@pytest.mark.parametrize(
    ("missed", "holds", "breaks"),
    [
        ({4: 0.01, 8: 0.02, 16: 0.2}, 8, 16),
        ({4: 0.06, 8: 0.02, 16: 0.2}, 8, 16),
        ({4: 0.2}, None, 4),
        ({4: 0.01}, 4, None),
        ({4: 0.01, 8: 0.09, 9: 0.02, 16: 0.3}, 4, 8),
    ],
)
def test_the_rough_edge_lies_where_pooled_shares_cross_what_is_allowed(
    missed: dict[int, float], holds: int | None, breaks: int | None
) -> None:
    found = rough_edge([level(load, share) for load, share in missed.items()])

    assert found is not None
    assert (found.highest_pass, found.lowest_fail) == (holds, breaks)


def test_levels_that_tell_nothing_have_no_edge() -> None:
    assert rough_edge([]) is None
    assert rough_edge([build_level(4, "crashed"), build_level(8, "inconclusive")]) is None


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 1)), min_size=1, max_size=12))
def test_both_ends_of_a_rough_edge_are_in_order(levels: list[tuple[int, float]]) -> None:
    found = rough_edge([level(load, missed) for load, missed in levels])

    assert found is not None
    assert found.highest_pass is None or found.lowest_fail is None or found.highest_pass < found.lowest_fail


def test_levels_that_rise_are_taken_at_their_word() -> None:
    levels = [level(8, 0.01, "pass"), level(16, 0.02, "pass"), level(32, 0.3, "fail")]

    assert shown(levels) == (bracket_of(ends_of(levels)), True)


def test_levels_that_contradict_one_another_are_pooled() -> None:
    levels = [level(8, 0.2, "fail"), level(4, 0.005, "pass"), level(6, 0.2, "fail"), level(5, 0.001, "pass")]
    levels += [level(7, 0.001, "pass"), level(9, 0.001, "pass"), level(128, 0.9, "fail"), level(100, 0.9, "fail")]
    bracket, steady = shown(levels)

    assert not steady
    assert bracket.highest_pass == 0
    assert bracket.lowest_fail is None or bracket.lowest_fail > 9


def test_slow_minutes_are_found_and_widen_the_ends() -> None:
    """Each level at its word covers the edge in half of such searches."""
    plan, edge = build_plan(), PhasedService(square, 1.0, 300.0).edge(256)
    found = [shown(searched(plan, PhasedService(square, 1.0, 300.0), seed)) for seed in range(SEEDS)]
    covered = [one.highest_pass <= edge and (one.lowest_fail is None or edge < one.lowest_fail) for one, _ in found]

    assert np.mean([not steady for _, steady in found]) > 0.7
    assert np.mean(covered) > 0.75


def test_levels_of_a_service_that_does_not_change_agree() -> None:
    plan = build_plan()
    found = [shown(searched(plan, ModelService(square, alike=0.5), seed)) for seed in range(SEEDS)]

    assert np.mean([steady for _, steady in found]) > 0.85
