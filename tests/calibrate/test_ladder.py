"""Which load is tried next, on machines that carry so many sessions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.calibrate.ladder import Ladder, StepEnd, bounds_of_tries, loads, longest, next_load, too_much
from bench.load_search import TRIES
from bench.run.calibration import Outcome

DEFAULT = Ladder(100, 1600)
QUICK = Ladder(100, 1600, factor=4, close=4)
ladders = st.builds(
    Ladder,
    first=st.integers(1, 200),
    most=st.integers(1, 3000),
    factor=st.integers(2, 4),
    close=st.floats(1.1, 4),
    least=st.integers(1, 20),
)
OUTCOMES: tuple[Outcome, ...] = ("pass", "fail", "simulator_late", "machine_busy")


def climbed(ladder: Ladder, capacity: int) -> list[StepEnd]:
    return [StepEnd(load, "pass" if load <= capacity else "fail") for load in loads(ladder, capacity)]


def tried(ladder: Ladder, capacity: int) -> list[int]:
    """The loads, however often each is tried."""
    return list(dict.fromkeys(loads(ladder, capacity)))


def test_the_load_is_doubled_until_it_is_too_much_and_then_halved_in_between() -> None:
    assert tried(DEFAULT, 650) == [100, 200, 400, 800, 600, 700]
    assert loads(DEFAULT, 10_000) == [100, 200, 400, 800, 1600]


def test_a_quick_one_takes_larger_steps_and_tries_nothing_in_between() -> None:
    assert tried(QUICK, 650) == [100, 400, 1600]


def test_a_weak_machine_is_tried_with_less() -> None:
    assert tried(DEFAULT, 30) == [100, 50, 25, 38, 32, 28]
    assert tried(DEFAULT, 0) == [100, 50, 25, 12, 6, 5]


@given(ladders, st.integers(0, 4000))
def test_of_a_machine_that_carries_so_many_the_ladder_finds_nearly_as_many(ladder: Ladder, capacity: int) -> None:
    found = climbed(ladder, capacity)
    trusted, end, loads = bounds_of_tries(found).good, too_much(found), [step.sessions for step in found]

    assert trusted <= capacity
    assert max(step.sessions for step in found) <= ladder.most
    assert all(loads.count(load) == (1 if load <= capacity else TRIES) for load in loads)
    if end is None:
        assert trusted == ladder.most
    elif trusted:
        halved = float(f"{(trusted + end.sessions) / 2:.2g}")
        assert end.sessions <= ladder.close * trusted or not trusted < int(halved) < end.sessions
    else:
        assert end.sessions <= min(ladder.least, ladder.first, ladder.most)


@given(ladders, st.lists(st.sampled_from(OUTCOMES), min_size=1))
def test_whatever_is_found_the_ladder_ends(ladder: Ladder, outcomes: list[Outcome]) -> None:
    found: list[StepEnd] = []
    while (load := next_load(ladder, found)) is not None:
        found.append(StepEnd(load, outcomes[len(found) % len(outcomes)]))
        assert len(found) < 100

    assert 1 <= load_of_least(found) <= ladder.most


def load_of_least(found: list[StepEnd]) -> int:
    return min(step.sessions for step in found)


@pytest.mark.parametrize("outcome", ["fail", "simulator_late", "machine_busy"])
def test_a_load_that_was_not_good_is_tried_once_more(outcome: Outcome) -> None:
    once = [StepEnd(100, "pass"), StepEnd(200, outcome)]

    assert TRIES == 2
    assert next_load(DEFAULT, once) == 200
    assert next_load(DEFAULT, [*once, StepEnd(200, "pass")]) == 400
    assert next_load(DEFAULT, [*once, StepEnd(200, outcome)]) == 150


def test_a_machine_that_is_busy_with_something_else_is_not_tried_on() -> None:
    assert next_load(DEFAULT, [StepEnd(100, "machine_busy")]) == 100
    assert next_load(DEFAULT, [StepEnd(100, "machine_busy")] * TRIES) is None
    assert next_load(DEFAULT, [StepEnd(100, "simulator_late")] * TRIES) == 50


def test_what_lies_above_a_load_that_was_not_good_is_not_trusted() -> None:
    found = [StepEnd(100, "pass"), StepEnd(200, "fail"), StepEnd(150, "pass"), StepEnd(400, "pass")]

    assert bounds_of_tries(found).good == 150
    assert too_much(found) == StepEnd(200, "fail")


def test_nothing_is_trusted_where_the_least_load_was_too_much() -> None:
    assert bounds_of_tries([StepEnd(5, "fail"), StepEnd(100, "pass")]).good == 0


def test_the_time_that_the_steps_take_at_most_is_known_before() -> None:
    assert longest(DEFAULT, lambda _: 10) >= 10 * len(loads(DEFAULT, 650)) == 80
    assert longest(QUICK, float) == 100 + 400 + 2 * 1600
    assert longest(Ladder(100, 40), lambda sessions: sessions / 2) == 20
