"""Stages of a load, and the level at any instant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.load.planning.stages import LoadCourse, LoadStage, load_course, rate_per_s

LEVELS = st.floats(0, 1_000)
COURSES = st.builds(
    LoadCourse,
    st.just("arrivals"),
    LEVELS,
    st.lists(st.builds(LoadStage, st.floats(0, 100), LEVELS), min_size=1, max_size=6).map(tuple),
)


def course(folder: Path, text: str) -> LoadCourse:
    path = folder / "stages.yaml"
    path.write_text(text)
    return load_course(path)


@pytest.mark.parametrize(
    ("text", "per_s"),
    [
        ("30/min", 0.5),
        ("2/s", 2.0),
        ("1.5 / s", 1.5),
        ("90/h", 0.025),
        ("0/s", 0.0),
        ("30", None),
        ("-1/s", None),
        ("1/day", None),
        ("1e3/s", None),
        ("99999/s", None),
        ("", None),
        ("٣/s", None),
    ],
)
def test_a_rate_is_calls_in_a_time(text: str, per_s: float | None) -> None:
    assert rate_per_s(text) == per_s


def test_stages_of_rates_are_read(tmp_path: Path) -> None:
    read = course(tmp_path, "start: 6/min\nstages:\n- {duration: 1m, target: 60/min}\n- {duration: 0, target: 0}\n")

    assert read == LoadCourse("arrivals", 0.1, (LoadStage(60.0, 1.0), LoadStage(0.0, 0.0)))
    assert (read.length_s, read.peak) == (60.0, 1.0)


def test_stages_of_sessions_are_read(tmp_path: Path) -> None:
    read = course(tmp_path, "stages: {duration: 90s, target: 40}")

    assert read == LoadCourse("sessions", 0.0, (LoadStage(90.0, 40),))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("stages: []", "must not be an empty list"),
        ("start: 1/s", "needs `stages`"),
        ("stages: [{target: 3}]", "needs `duration`"),
        ("stages: [{duration: 1m, target: fast}]", "calls in a time, such as 30/min, 2/s or 100/h, or a whole number"),
        ("stages: [{duration: soon, target: 3}]", "a time such as 90, 90s, 2m or 1m30s"),
        ("stages: [{duration: -3, target: 3}]", "a time such as"),
        ("stages: [{duration: 1m, target: 2.5}]", "a whole number of sessions"),
        ("stages: [{duration: 1m, target: 2}, {duration: 1m, target: 2/s}]", "not both"),
        ("stages: [{duration: 0, target: 2}]", "take no time"),
        ("stages: [{duration: 1m, target: 0/s}]", "all of its stages are at 0"),
        ("stages: [{duration: 1m, targets: 3}]", "did you mean target"),
    ],
)
def test_what_cannot_be_a_load_is_refused_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as refused:
        course(tmp_path, text)

    assert str(refused.value).startswith(f"{tmp_path / 'stages.yaml'}:")
    assert "\n" not in str(refused.value)


@given(COURSES, st.floats(0, 700))
def test_a_level_is_between_the_ends_of_its_stage(course: LoadCourse, at_s: float) -> None:
    level = course.level(at_s)

    assert 0 <= level <= course.peak * (1 + 1e-9)
    for begin_s, duration_s, first, last in course.parts():
        if begin_s < at_s < begin_s + duration_s:
            assert min(first, last) * (1 - 1e-9) <= level <= max(first, last) * (1 + 1e-9)


@given(COURSES)
def test_after_the_last_stage_the_level_stays(course: LoadCourse) -> None:
    assert course.level(course.length_s + 1) == course.stages[-1].target
