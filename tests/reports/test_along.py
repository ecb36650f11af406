"""The wait by turn number and by session age: every turn once, medians that agree with the rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import reports
from reports.page import trends
from reports.page.calls import along as section
from reports.page.svg import HALF, WIDE
from reports.statistics.quantiles import quantile
from reports.summary.along import AGES, Along, one_thing
from reports.summary.summary import Summary
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

LONG = Plan(sessions=60, turns=14, targets=("direct", "gateway"), failed=0.02, seconds=200)


def by_turn(summary: Summary, origin: str) -> Along:
    return next(along for along in summary.alongs if (along.by, along.stratum.origin) == ("turn", origin))


def by_age(summary: Summary, origin: str) -> Along:
    return next(along for along in summary.alongs if (along.by, along.stratum.origin) == ("age", origin))


@pytest.mark.parametrize("frame_of", [by_turn, by_age])
def test_each_turn_stands_in_one_place(frame_of: object) -> None:
    summary = summary_of(LONG)
    frame = frame_of(summary, "speech_end")  # type: ignore[operator]

    for course, answer in zip(frame.courses, summary.answers, strict=True):
        assert sum(stop.n for stop in course.stops) == answer.figures.n
        assert sum(stop.failed for stop in course.stops) == answer.figures.failed
        assert [stop.place for stop in course.stops] == sorted({stop.place for stop in course.stops})


def test_turns_after_the_tenth_stand_together() -> None:
    frame = by_turn(summary_of(LONG), "speech_end")

    assert frame.names == (*map(str, range(1, 11)), "11+")
    assert [stop.n for stop in frame.courses[0].stops] == [30] * 10 + [4 * 30]


def test_a_median_is_that_of_its_turns() -> None:
    summary = summary_of(LONG)
    rows = reports.load(summary.run.folder).turns
    third = rows[(rows["turn"] == 3) & (rows["target"] == "gateway")]
    waits = np.where(third["outcome_class"] == "failed", np.inf, third["ttfa_ms"])

    assert by_turn(summary, "speech_end").courses[1].stops[2].p50.value == quantile(np.sort(waits), 0.5)


def test_ages_are_in_equal_bins_up_to_the_oldest() -> None:
    frame = by_age(summary_of(LONG), "speech_end")

    assert len(frame.at) == AGES
    assert np.ptp(np.diff(frame.at)) == pytest.approx(0, abs=1e-9)
    assert frame.at[-1] < frame.end == pytest.approx(0.3 + 13 * 2.5)


def test_a_fixed_script_makes_one_thing_of_both() -> None:
    fixed, alone = summary_of(LONG), summary_of(Plan(sessions=20, turns=1))

    assert one_thing(fixed.turns, fixed.run.sessions)
    assert not one_thing(alone.turns, alone.run.sessions)
    assert "tell which of the two matters" not in str(section(alone))
    assert "tell which of the two matters" in str(section(fixed))


def test_places_that_hold_half_as_many_turns_are_counted_below_the_axis() -> None:
    frame = by_turn(summary_of(replace(LONG, turns=10)), "speech_end")
    (first, *others) = frame.courses
    fewer = tuple(replace(stop, n=12) if stop.place == 9 else stop for stop in first.stops)
    thinned = replace(frame, courses=(replace(first, stops=fewer), *others))

    assert not frame.thinned
    assert ">turns<" not in trends.along(frame, 524).svg()
    assert thinned.thinned
    drawn = trends.along(thinned, 524).svg()
    assert drawn.count(">turns<") == 2
    assert ">12<" in drawn


def test_a_p95_needs_turns_beyond_it() -> None:
    frame = by_turn(summary_of(LONG), "speech_end")

    for stop in frame.courses[0].stops:
        assert math.isnan(stop.tail) == (stop.n < 80)


def test_a_session_of_one_turn_has_no_course() -> None:
    summary = summary_of(Plan(sessions=40, turns=1))

    assert not by_turn(summary, "speech_end").drawable
    assert section(summary) is None


def test_origins_are_never_on_one_line() -> None:
    summary = summary_of(Plan(sessions=30, turns=4, kinds=("vad", "typed")))
    frames = [by_turn(summary, stratum.origin) for stratum in summary.turns.strata]

    assert [sum(stop.n for course in frame.courses for stop in course.stops) for frame in frames] == [60, 60]


@pytest.mark.parametrize("w", [HALF, WIDE])
def test_every_place_can_be_read_out(w: int) -> None:
    frame: Along = by_turn(summary_of(LONG), "speech_end")
    stops = trends.along(frame, w).stops

    assert stops is not None
    texts = stops["t"]
    assert isinstance(texts, list)
    assert [text.split(" · ")[0] for text in texts] == [f"turn {name}" for name in frame.names]
    assert all("direct p50" in text and "gateway p50" in text for text in texts)
