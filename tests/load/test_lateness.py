"""A run that is to be decided, while its harness is late."""

from __future__ import annotations

import pytest

from bench.load.leading.looks import LatenessWatch

LATE = "send_delay 14.2 ms > 10 ms"


class Told:
    """A plan of so many pairs, and what was said and done while its harness was late."""

    def __init__(self, pairs: int) -> None:
        self.said: list[str] = []
        self.stopped: list[str] = []
        self.lateness = LatenessWatch(pairs, say=self.said.append, give_up=self.stopped.append)

    def consider(self, *seconds: tuple[int, str], turns: int = 200) -> list[bool]:
        """Second after second: (pairs complete, what is late); whether looks wait."""
        return [self.lateness.consider(late, pairs, turns) for pairs, late in seconds]


def test_a_harness_that_is_late_is_told_at_once_and_holds_the_looks_until_it_keeps_up_again() -> None:
    told = Told(500)

    assert told.consider((0, ""), (1, LATE), (2, LATE), (3, ""), (4, "")) == [False, True, True, False, False]
    assert len(told.said) == 2
    assert LATE in told.said[0]
    assert "the run ends if this lasts for 50 pairs" in told.said[0]
    assert "keeps up again; interim analyses continue" in told.said[1]
    assert told.stopped == []


@pytest.mark.parametrize(("pairs", "most"), [(500, 50), (200, 20), (105, 11), (60, 10), (20, 10)])
def test_a_run_is_given_up_once_a_tenth_of_its_pairs_have_ended_while_the_harness_was_late(
    pairs: int, most: int
) -> None:
    told = Told(pairs)
    told.consider((7, LATE), (6 + most, LATE))
    assert told.stopped == []
    told.consider((7 + most, LATE), (8 + most, LATE))

    assert told.stopped == [f"the load generator was overloaded for {most} pairs in a row ({LATE})"]


def test_pairs_that_ended_before_the_harness_kept_up_again_do_not_count() -> None:
    told = Told(500)
    told.consider((0, LATE), (49, LATE), (49, ""), (50, LATE), (99, LATE))
    assert told.stopped == []
    told.consider((100, LATE))

    assert len(told.stopped) == 1


def test_nothing_is_given_up_for_the_worst_of_a_few_turns() -> None:
    told = Told(100)
    told.consider((1, LATE), (24, LATE), turns=199)
    assert told.stopped == []
    told.consider((25, LATE), turns=200)

    assert told.stopped == [f"the load generator was overloaded for 24 pairs in a row ({LATE})"]
