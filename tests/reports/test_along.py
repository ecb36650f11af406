"""The wait by turn number and by session age: every turn once, medians that agree with the rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reports.page.calls import along as section
from reports.page.charts import wait_lines
from reports.statistics.quantiles import lack
from reports.summary.groups import AGES, Waits, one_thing
from reports.summary.summary import Summary
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

LONG = Plan(sessions=60, turns=14, targets=("direct", "gateway"), failed=0.02, seconds=200)


def waits(summary: Summary, by: str, measured_from: str = "speech_end") -> list[Waits]:
    return next(of for of in summary.waits_by(by) if of[0].stratum.measured_from == measured_from)


@pytest.mark.parametrize("by", ["turn", "age"])
def test_each_turn_stands_in_one_place(by: str) -> None:
    summary = summary_of(LONG)

    for one, answer in zip(waits(summary, by), summary.answers, strict=True):
        assert sum(group.n for group in one.groups) == answer.figures.n
        assert sum(group.turns for group in one.groups) == answer.turns
        assert sum(group.failed.count for group in one.groups) == answer.figures.failed
        assert [group.place for group in one.groups] == list(one.places)


def test_turns_after_the_tenth_stand_together() -> None:
    first = waits(summary_of(LONG), "turn")[0]

    assert [place.name for place in first.places] == [*map(str, range(1, 11)), "11+"]
    assert [group.n for group in first.groups] == [30] * 10 + [4 * 30]


def test_ages_are_in_equal_bins_up_to_the_oldest() -> None:
    first = waits(summary_of(LONG), "age")[0]
    at = [place.at for place in first.places]

    assert len(at) == AGES
    assert np.ptp(np.diff(at)) == pytest.approx(0, abs=1e-9)
    assert at[-1] < first.end == pytest.approx(0.3 + 13 * 2.5)


def test_a_fixed_script_makes_one_thing_of_both() -> None:
    fixed, alone = summary_of(LONG), summary_of(Plan(sessions=20, turns=1))

    assert one_thing(fixed.turns, fixed.run.sessions)
    assert not one_thing(alone.turns, alone.run.sessions)
    assert "show which of the two matters" not in str(section(alone))
    assert "show which of the two matters" in str(section(fixed))


def test_places_that_hold_half_as_many_turns_are_counted_below_the_axis() -> None:
    (first, *others) = waits(summary_of(replace(LONG, turns=10)), "turn")
    fewer = tuple(replace(group, n=12, turns=12) if group.place.name == "10" else group for group in first.groups)
    thinned = replace(first, groups=fewer)

    assert not first.thinned
    assert ">turns<" not in wait_lines([first, *others], 524).svg()
    assert thinned.thinned
    drawn = wait_lines([thinned, *others], 524).svg()
    assert drawn.count(">turns<") == 2
    assert ">12<" in drawn


def test_a_figure_of_a_group_needs_what_one_of_all_turns_needs() -> None:
    for group in waits(summary_of(LONG), "turn")[0].groups:
        for p in (0.5, 0.95):
            assert group.told(p) == (lack(p, group.n, group.sessions) is None)


def test_a_session_of_one_turn_has_no_course() -> None:
    summary = summary_of(Plan(sessions=40, turns=1))

    assert [len(one.groups) for one in waits(summary, "turn")] == [1]
    assert section(summary) is None
