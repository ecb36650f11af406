"""The conclusion of a search, and its text."""

from __future__ import annotations

import pytest

from reports.formatting import NBSP
from reports.results.value import LimitFinding, Reason
from rtbench.capacity.conclusion import breaking_point, conclude
from rtbench.capacity.document import CapacityDocument, Ended, LevelEntry
from rtbench.capacity.terminal import closing_lines, level_heads, level_lines
from rtbench.capacity.text import headline_parts, reason_text
from tests.capacity.built import build_level, build_plan, build_share
from tests.capacity.searched import CROSSED

PASSED = build_level(11, "pass")
FAILED = build_level(16, "fail", violations=[build_share()])
UNDECIDED = build_level(11, "inconclusive")
WHY = Reason("above_calibration", {"message": "spread it over more --processes"})
OURS = build_level(16, "not_evaluated", why=WHY)
CRASHED = build_level(16, "not_evaluated", why=Reason("crashed", {"message": "killed"}))


def text_of(reason: Reason) -> str:
    return reason_text(reason).replace(NBSP, " ")


def concluded(
    levels: list[LevelEntry],
    estimate: Reason = CROSSED,
    *,
    required: int | None = None,
    verify: bool = True,
    ended: Ended = "complete",
) -> CapacityDocument:
    return conclude(
        build_plan(required=required, verify=verify),
        estimate,
        [],
        levels,
        ended=ended,
        notes=[],
        date_utc="2026-11-21",
        target="west",
        scenario="calls",
    )


@pytest.mark.parametrize(
    ("share", "throttled", "kind"),
    [
        (build_share(slow=50, failed=2), 0, "latency"),
        (build_share(slow=3, failed=47), 0, "failures"),
        (build_share(slow=3, failed=47), 40, "quota"),
        (build_share(slow=3, failed=47), 5, "failures"),
    ],
)
def test_a_breaking_point_has_the_cause_of_most_violations(
    share: LimitFinding, throttled: int, kind: str
) -> None:
    level = build_level(40, "fail", violations=[share], throttled=throttled)

    assert breaking_point(level).code == kind


def test_a_breaking_point_names_the_threshold_with_the_most_violations() -> None:
    low, high = (
        build_share(0.01, slow=1),
        build_share(0.4, threshold="failure_rate: rate<1%", slow=0, failed=40),
    )

    assert (
        breaking_point(build_level(40, "fail", violations=[low, high])).numbers["threshold"]
        == "failure_rate: rate<1%"
    )


def test_a_breaking_point_by_quota_has_the_remaining_quota() -> None:
    level = build_level(
        40,
        "fail",
        violations=[build_share(slow=0, failed=9)],
        throttled=9,
        rate_limits_remaining={"tokens": 0.002},
    )

    assert "the service throttled 9; lowest remaining limits per minute: tokens 0.2 %" in text_of(
        breaking_point(level)
    )


def test_the_conclusion_is_a_sentence_with_what_levels_showed_before_the_estimate() -> None:
    found = concluded([PASSED, FAILED])

    assert (found.highest_pass, found.lowest_fail) == (11, 16)
    assert (
        "; ".join(headline_parts(found)).replace(NBSP, " ")
        == "passes at 11 and fails at 16 concurrent calls (ttfa: p(95)<800); the breaking point is"
        " one of latency (ttfa: p(95)<800, 50 of 100 turns were too slow, 0 failed); p95 of ttfa"
        " crosses 800 ms at about 13 concurrent calls (95 % interval 11 to 16)"
    )
    assert closing_lines(found)[0].startswith("Passes at 11 and fails at 16 concurrent calls")


def test_an_inconclusive_level_is_named_and_passes_nothing() -> None:
    found = concluded([UNDECIDED])

    assert (found.highest_pass, found.exit_status) == (None, 3)
    assert headline_parts(found)[0].startswith("no level passed or failed")
    assert [text_of(note) for note in found.notes] == [
        "inconclusive levels: 11; a longer --max-time decides more levels"
    ]


@pytest.mark.parametrize(
    ("levels", "required", "status"),
    [
        ([PASSED, FAILED], None, 0),
        ([PASSED], 11, 0),
        ([FAILED], 16, 1),
        ([FAILED], 300, 1),
        ([FAILED], None, 3),
        ([build_level(1, "fail", violations=[build_share()])], None, 1),
        ([UNDECIDED], 11, 3),
        ([], None, 3),
        ([PASSED, OURS, OURS], None, 0),
        ([PASSED, OURS, OURS], 16, 4),
        ([CRASHED, CRASHED], None, 4),
    ],
)
def test_with_levels_they_alone_decide_the_exit_status(
    levels: list[LevelEntry], required: int | None, status: int
) -> None:
    assert concluded(levels, required=required).exit_status == status


@pytest.mark.parametrize(
    ("required", "status"), [(None, 0), (11, 0), (12, 3), (15, 3), (16, 1), (300, 1)]
)
def test_without_levels_the_range_decides_the_exit_status(
    required: int | None, status: int
) -> None:
    assert concluded([], required=required, verify=False).exit_status == status


def test_a_first_load_that_fails_needs_no_level() -> None:
    numbers = CROSSED.numbers | {"low": 0, "high": 2}

    assert concluded([], Reason("fails_at_first", numbers), required=2).exit_status == 1
    assert concluded([], Reason("fails_at_first", numbers)).exit_status == 1
    assert concluded([], Reason("crossed", numbers), required=2).exit_status == 3
    assert concluded([], Reason("unknown", {"reason": WHY}), required=2).exit_status == 4


def test_a_level_that_shows_nothing_about_the_service_has_its_reason() -> None:
    ours, crashed = (concluded([PASSED, *[silent] * 2]) for silent in (OURS, CRASHED))

    assert (ours.highest_pass, ours.lowest_fail, ours.breaking_point) == (11, None, None)
    assert [text_of(note) for note in (*ours.notes, *crashed.notes)] == [
        "the level of 16 shows nothing about the service: spread it over more --processes",
        "the level of 16 shows nothing about the service: killed",
    ]
    assert [level_lines(level)[0].split()[-1] for level in (OURS, CRASHED)] == [
        "overloaded",
        "crashed",
    ]


def test_an_interrupted_search_has_a_conclusion() -> None:
    found = concluded([PASSED], ended="interrupted")

    assert found.highest_pass == 11
    assert headline_parts(found)[-1] == "the search ended early, because it was interrupted"


def test_the_line_of_a_level_has_the_bounds_of_its_worst_threshold() -> None:
    (line,) = level_lines(build_level(40, "fail", violations=[build_share(0.25)]))
    (several,) = level_lines(
        build_level(40, "fail", violations=[build_share(0.01), build_share(0.25)])
    )
    (unknown,) = level_lines(build_level(40, "not_evaluated", violations=[build_share(turns=0)]))

    assert line == several
    assert line.endswith("50 of 100   ✕ fail: 20 to 30 %, limit 5 %")
    assert "%" not in unknown


def test_lines_fit_a_terminal() -> None:
    level = build_level(
        40_000,
        "not_evaluated",
        why=Reason("crashed", {"message": "word " * 60}),
        violations=[build_share(), build_share()],
    )
    lines = [*level_heads().splitlines(), *level_lines(level), *closing_lines(concluded([level]))]

    assert max(map(len, lines)) <= 100
