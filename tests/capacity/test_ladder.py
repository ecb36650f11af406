"""Which level is tried next, by how those before it ended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.capacity.search import (
    ABOUT_THE_SERVICE,
    Answer,
    Bracket,
    LevelEnd,
    LevelLadder,
    NextLevel,
    bracket_of,
    levels_left,
    next_step,
)
from bench.load_search import TRIES

LADDER = LevelLadder(1, 256)
ladders = st.builds(
    lambda first, more, precision: LevelLadder(first, first + more, precision),
    st.integers(1, 40),
    st.integers(0, 300),
    st.sampled_from([0.05, 0.1, 0.5]),
)


def ends(*played: tuple[int, Answer]) -> list[LevelEnd]:
    return [LevelEnd(*one) for one in played]


def climbed(ladder: LevelLadder, edge: int) -> list[LevelEnd]:
    """The levels at a service of which every answer is clear."""
    known: list[LevelEnd] = []
    while (step := next_step(ladder, known)) is not None:
        known.append(LevelEnd(step.load, "pass" if step.load <= edge else "fail", step.confirmation_run))
    return known


def test_the_load_is_doubled_until_it_breaks_then_halved_in_between_and_at_last_held() -> None:
    known = climbed(LADDER, 20)

    assert [end.load for end in known] == [1, 2, 4, 8, 16, 32, 23, 19, 21, 20, 20]
    assert [end.confirmation_run for end in known] == [False] * 10 + [True]
    assert bracket_of(known)[:3] == Bracket(highest_pass=20, inconclusive=(), lowest_fail=21)[:3]


def test_a_first_level_that_breaks_is_halved() -> None:
    assert [end.load for end in climbed(LevelLadder(40, 256), 3)] == [40, 20, 10, 5, 2, 3, 4, 3]


@pytest.mark.parametrize(
    ("edge", "played"),
    [(300, [*ends((300, "pass")), LevelEnd(300, "pass", confirmation_run=True)]), (299, ends((300, "fail")))],
)
def test_where_one_load_is_asked_for_no_other_is_tried(edge: int, played: list[LevelEnd]) -> None:
    only = LevelLadder(300, 300)

    assert climbed(only, edge) == played
    assert levels_left(only, []) == 1
    assert next_step(only, []) == NextLevel(300, confirmation_run=False, last=True)
    assert next_step(only, ends((300, "inconclusive"))) is None, "it had all the time"


def test_below_the_first_level_nothing_is_tried_once_a_level_had_too_few_calls() -> None:
    known = ends((40, "inconclusive"), (80, "fail"), (20, "inconclusive"))

    assert next_step(LevelLadder(40, 80, precision=1.0), known[:2]) == NextLevel(20, confirmation_run=False)
    assert next_step(LevelLadder(40, 80, precision=1.0), known) == NextLevel(40, confirmation_run=False)
    assert next_step(LevelLadder(40, 80, precision=1.0), [known[0], known[1], LevelEnd(20, "fail")]) == NextLevel(
        10, confirmation_run=False
    )


def test_below_a_level_that_seems_to_hold_nothing_is_tried_as_fewer_calls_decide_less() -> None:
    ladder = LevelLadder(8, 16)
    known = [LevelEnd(8, "inconclusive", fair=True), LevelEnd(16, "inconclusive", fair=True)]

    assert next_step(ladder, ends((8, "inconclusive"), (16, "inconclusive"))) == NextLevel(4, confirmation_run=False)
    assert next_step(ladder, known) == NextLevel(16, confirmation_run=False)
    assert next_step(ladder, [known[0], LevelEnd(16, "fail")]) == NextLevel(11, confirmation_run=False)


def test_what_is_still_undecided_is_played_on_before_the_hold_each_level_once() -> None:
    ladder = LevelLadder(8, 64, precision=1.0)
    known = ends((8, "pass"), (16, "inconclusive"), (32, "inconclusive"), (64, "fail"), (32, "inconclusive"),
                 (16, "inconclusive"))  # fmt: skip

    assert next_step(ladder, known) == NextLevel(32, confirmation_run=False, last=True)
    known.append(LevelEnd(32, "inconclusive"))
    assert next_step(ladder, known) == NextLevel(16, confirmation_run=False, last=True)
    assert next_step(ladder, [*known, LevelEnd(16, "inconclusive")]) == NextLevel(8, confirmation_run=True)
    assert next_step(ladder, [*known, LevelEnd(16, "crashed")]) == NextLevel(16, confirmation_run=False, last=True)
    assert next_step(ladder, [*known, LevelEnd(16, "pass")]) == NextLevel(16, confirmation_run=True)


def test_nothing_is_played_on_where_the_answer_is_precise_without_it() -> None:
    known = ends((20, "pass"), (40, "fail"), (28, "fail"), (23, "fail"), (21, "inconclusive"), (22, "fail"),
                 (21, "inconclusive"))  # fmt: skip

    assert next_step(LevelLadder(20, 40, precision=0.1), known) == NextLevel(20, confirmation_run=True)
    assert next_step(LevelLadder(20, 40, precision=0.05), known) == NextLevel(21, confirmation_run=False, last=True)


def test_a_service_that_carries_nobody_has_no_hold() -> None:
    assert climbed(LADDER, 0) == ends((1, "fail"))


def test_a_service_that_carries_the_largest_level_is_held_there() -> None:
    known = climbed(LevelLadder(1, 100), 1000)

    assert [end.load for end in known] == [1, 2, 4, 8, 16, 32, 64, 100, 100]
    assert bracket_of(known).lowest_fail is None


@given(ladders, st.integers(0, 400))
def test_both_ends_of_a_clear_answer_are_as_close_as_was_asked_for(ladder: LevelLadder, edge: int) -> None:
    bracket = bracket_of(climbed(ladder, edge))

    assert bracket.highest_pass <= edge
    assert bracket.lowest_fail is None or bracket.lowest_fail > edge
    if bracket.lowest_fail is None:
        assert bracket.highest_pass == ladder.max
    elif ladder.first == ladder.max:
        assert bracket.lowest_fail == ladder.max
    elif bracket.highest_pass:
        assert bracket.lowest_fail <= max(bracket.highest_pass + 1, bracket.highest_pass * (1 + ladder.precision))
    else:
        assert bracket.lowest_fail == 1


@given(ladders, st.lists(st.sampled_from(ABOUT_THE_SERVICE), min_size=100, max_size=100))
def test_no_search_has_more_levels_than_were_counted_before(ladder: LevelLadder, answers: list[Answer]) -> None:
    known: list[LevelEnd] = []
    most = levels_left(ladder, known)
    while (step := next_step(ladder, known)) is not None and not step.confirmation_run and not step.last:
        left = levels_left(ladder, known)
        assert left >= 1
        known.append(LevelEnd(step.load, answers[len(known)]))
        assert levels_left(ladder, known) < left

    assert len(known) <= most


@given(ladders, st.lists(st.sampled_from(("pass", "fail", "inconclusive", "load_generator", "crashed")), min_size=200))
def test_whatever_is_found_the_search_ends(ladder: LevelLadder, answers: list[Answer]) -> None:
    known: list[LevelEnd] = []
    while (step := next_step(ladder, known)) is not None:
        known.append(LevelEnd(step.load, answers[len(known)], step.confirmation_run))

    assert all(1 <= end.load <= ladder.max for end in known)


def test_undecided_levels_leave_two_gaps_and_each_is_narrowed() -> None:
    known = ends((8, "pass"), (16, "inconclusive"), (32, "inconclusive"), (64, "fail"))

    assert next_step(LADDER, known) == NextLevel(11, confirmation_run=False)
    below = [*known, *ends((11, "pass"), (13, "inconclusive"), (12, "pass"))]
    assert next_step(LADDER, below) == NextLevel(45, confirmation_run=False)


def test_what_stayed_undecided_is_played_again_from_the_middle() -> None:
    ladder = LevelLadder(8, 64, precision=1.0)
    known = ends((8, "pass"), (16, "inconclusive"), (32, "inconclusive"), (64, "fail"))

    assert next_step(ladder, known) == NextLevel(32, confirmation_run=False)
    assert next_step(ladder, [*known, LevelEnd(32, "inconclusive")]) == NextLevel(16, confirmation_run=False)
    assert next_step(ladder, [*known, LevelEnd(32, "pass")]) == NextLevel(32, confirmation_run=True)


@pytest.mark.parametrize("answer", ["load_generator", "crashed"])
def test_a_level_that_says_nothing_of_the_service_is_tried_once_more_and_is_no_bound(answer: Answer) -> None:
    once = ends((8, "pass"), (16, answer))

    assert TRIES == 2
    assert next_step(LADDER, once) == NextLevel(16, confirmation_run=False)
    assert bracket_of(once).upper is None
    assert next_step(LADDER, [*once, LevelEnd(16, "pass")]) == NextLevel(32, confirmation_run=False)
    twice = [*once, LevelEnd(16, answer)]
    assert next_step(LADDER, twice) == NextLevel(11, confirmation_run=False)
    assert (bracket_of(twice).lowest_fail, bracket_of(twice).ceiling) == (None, 16)


def test_a_level_that_breaks_in_the_hold_breaks() -> None:
    known = [*ends((8, "pass"), (10, "pass"), (11, "fail")), LevelEnd(10, "fail", confirmation_run=True)]

    assert next_step(LADDER, known) is None
    assert (bracket_of(known).highest_pass, bracket_of(known).lowest_fail) == (8, 10)


def test_a_hold_that_our_generator_could_not_play_is_tried_once_more() -> None:
    known = [*ends((1, "pass"), (2, "fail")), LevelEnd(1, "load_generator", confirmation_run=True)]

    assert next_step(LADDER, known) == NextLevel(1, confirmation_run=True)
    assert next_step(LADDER, [*known, LevelEnd(1, "load_generator", confirmation_run=True)]) is None
