"""When calls arrive."""

from __future__ import annotations

import math
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.load.planning.load_model import (
    CONSTANT,
    GAMMA,
    Arrivals,
    Pattern,
    head_start,
    load_recorded,
    pattern_of,
    stretched,
)
from bench.load.planning.stages import LoadCourse, LoadStage
from bench.units import NS_PER_S
from tests.load.test_stages import COURSES

PATTERNS = st.sampled_from([Pattern("poisson"), Pattern(CONSTANT), Pattern(GAMMA, 0.3), Pattern(GAMMA, 7.0)])
SHORT = COURSES.filter(lambda course: course.peak * course.length_s < 5_000)


def called(pattern: Pattern, course: LoadCourse, seed: int = 1) -> list[float]:
    return list(Arrivals(seed, 1, pattern, course=course).instants_s())


def brought(course: LoadCourse, until_s: float) -> float:
    """The calls that a course brings up to an instant, on average."""
    total = 0.0
    for begin_s, duration_s, first, last in course.parts():
        passed_s = min(max(0.0, until_s - begin_s), duration_s)
        if passed_s:
            total += passed_s * (first + (last - first) * passed_s / duration_s / 2)
    return total


def test_calls_of_a_constant_rate_come_like_a_clock() -> None:
    arrivals = Arrivals(1, 1, Pattern(CONSTANT), per_s=0.5)

    assert list(islice(arrivals.instants_s(), 4)) == [0.0, 2.0, 4.0, 6.0]


@pytest.mark.parametrize(
    ("pattern", "variation"), [(Pattern("poisson"), 1.0), (Pattern(GAMMA, 4.0), 0.5), (Pattern(GAMMA, 0.25), 2.0)]
)
def test_gaps_have_the_rate_and_the_scatter_of_their_pattern(pattern: Pattern, variation: float) -> None:
    calls = 40_000
    gaps = np.diff(list(islice(Arrivals(3, 1, pattern, per_s=5.0).instants_s(), calls)))

    assert gaps.mean() == pytest.approx(0.2, rel=4 * variation / math.sqrt(calls))
    assert gaps.std() / gaps.mean() == pytest.approx(variation, rel=0.05)


def test_the_same_seed_gives_the_same_calls_and_another_one_others() -> None:
    first, same, other = (list(islice(Arrivals(seed, 9, per_s=1.0).instants_s(), 50)) for seed in (7, 7, 8))

    assert first == same
    assert first != other


@given(PATTERNS, SHORT, st.integers(0, 5))
def test_calls_of_a_course_come_in_order_and_within_it(pattern: Pattern, course: LoadCourse, seed: int) -> None:
    instants = called(pattern, course, seed)

    assert all(earlier <= later for earlier, later in pairwise(instants))
    assert all(0 <= at_s <= course.length_s for at_s in instants)


@given(SHORT)
def test_a_constant_pattern_follows_its_course_to_the_call(course: LoadCourse) -> None:
    """The n-th call comes once the rate has brought n calls: in a stretch without any, at its begin or its end."""
    for number, at_s in enumerate(called(Pattern(CONSTANT), course)):
        assert brought(course, at_s) == pytest.approx(number, abs=1e-3 + 1e-6 * number)


@given(PATTERNS, SHORT, st.integers(1, 7))
def test_processes_share_the_calls_among_them(pattern: Pattern, course: LoadCourse, workers: int) -> None:
    arrivals = Arrivals(1, 1, pattern, course=course)
    shares = [list(arrivals.share_ns(worker, workers)) for worker in range(workers)]
    whole = [round((head_start(workers) + at_s) * NS_PER_S) for at_s in arrivals.instants_s()]

    assert sorted(at_ns for share in shares for at_ns in share) == whole
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_ramp_brings_as_many_calls_in_its_later_half_as_its_rate_says() -> None:
    ramp = LoadCourse("arrivals", 0.0, (LoadStage(1_000.0, 20.0),))
    instants = np.array(called(Pattern("poisson"), ramp))

    assert instants.size == pytest.approx(10_000, abs=4 * 100)
    assert (instants > 500).mean() == pytest.approx(0.75, abs=4 * 0.0044)


def test_no_call_comes_where_the_rate_is_nothing() -> None:
    stages = LoadStage(10.0, 2.0), LoadStage(0.0, 0.0), LoadStage(60.0, 0.0), LoadStage(0.0, 2.0), LoadStage(10.0, 2.0)
    instants = list(stretched(iter(range(1_000)), LoadCourse("arrivals", 2.0, stages)))

    assert len(instants) == 41
    assert not [at_s for at_s in instants if 10 < at_s < 70]


@pytest.mark.parametrize("text", ["poisson", "constant", "gamma:0.5"])
def test_a_pattern_is_called_what_it_was_given_as(text: str) -> None:
    assert str(pattern_of(text)) == text


@pytest.mark.parametrize("text", ["gamma", "gamma:", "gamma:0", "gamma:-1", "gamma:nan", "gamma:1e9", "gamma:much"])
def test_a_shape_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must have a shape from"):
        pattern_of(text)


@pytest.mark.parametrize("text", ["calls.txt", "poisson:3", "Poisson", ""])
def test_any_other_text_is_no_pattern(text: str) -> None:
    assert pattern_of(text) is None


def test_seconds_of_a_file_are_taken_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "calls.txt"
    path.write_text("# calls of a Monday\n\n0.5\n 2\n2\n1e1\n")
    recorded = load_recorded(path)

    assert recorded.instants_s == (0.5, 2.0, 2.0, 10.0)
    assert Arrivals(1, 1, recorded=recorded).length_s == 10.0
    assert list(Arrivals(1, 1, recorded=recorded).instants_s()) == [0.5, 2.0, 2.0, 10.0]


def test_times_of_a_file_count_from_the_first(tmp_path: Path) -> None:
    path = tmp_path / "calls.txt"
    path.write_text("2026-11-01T09:00:00.250Z\n2026-11-01T10:00:01+01:00\n2026-11-01 09:01:00\n")

    assert load_recorded(path).instants_s == pytest.approx((0.0, 0.75, 59.75))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1\n0.5\n", "calls.txt:2: is earlier than the line before it: sort the file by time"),
        ("1\nsoon\n", "calls.txt:2: must be seconds, such as 12.5, or a time"),
        ("-1\n", "calls.txt:1: must be seconds from 0 on"),
        ("inf\n", "calls.txt:1: must be seconds from 0 on"),
        ("nan\n", "calls.txt:1: must be seconds from 0 on"),
        ("1\n2026-11-01T09:00:00Z\n", "calls.txt:2: must be seconds as the lines before it"),
        ("# nothing\n", "has no instants: one a line"),
        ("\x00\xff", "calls.txt:1: must be seconds"),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "calls.txt"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=problem) as refused:
        load_recorded(path)

    assert "\n" not in str(refused.value)


@given(st.text(max_size=60))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("calls") / "calls.txt"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        instants = load_recorded(path).instants_s
    except UsageError:
        return
    assert all(earlier <= later for earlier, later in pairwise(instants))
    assert instants[0] >= 0


def test_a_file_of_arrivals_that_cannot_be_read_or_is_too_large_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"calls\.txt cannot be read: No such file"):
        load_recorded(tmp_path / "calls.txt")
    monkeypatch.setattr("bench.load.planning.load_model.MOST_BYTES", 3)
    (tmp_path / "calls.txt").write_text("0\n1\n2\n")
    with pytest.raises(UsageError, match="is larger than"):
        load_recorded(tmp_path / "calls.txt")
