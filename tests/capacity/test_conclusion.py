"""The conclusion from the levels of a search, and its text."""

from __future__ import annotations

from typing import Any

import pytest

from reports.formatting import NBSP
from reports.results.value import Reason
from rtbench.capacity.conclusion import breaking_point, conclude
from rtbench.capacity.page import closing_lines, level_heads, level_lines, opening
from rtbench.capacity.search import CapacityDocument, LevelEntry, SearchPlan
from rtbench.capacity.text import headline_parts, reason_text
from tests.capacity.models import build_latency, build_level, build_plan, build_share

FAILED = build_level(40, "fail", violations=[build_share()])
SHOWN = [
    build_level(32, "pass"),
    FAILED,
    build_level(36, "inconclusive"),
    build_level(32, "pass", hold=True),
]


def text_of(reason: Reason) -> str:
    return reason_text(reason).replace(NBSP, " ")


def concluded(
    levels: list[LevelEntry], plan: SearchPlan | None = None, *, interrupted: bool = False
) -> CapacityDocument:
    return conclude(
        plan or build_plan(),
        levels,
        date_utc="2026-11-21",
        target="west",
        scenario="calls",
        interrupted=interrupted,
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
    share: object, throttled: int, kind: str
) -> None:
    assert (
        breaking_point(build_level(40, "fail", violations=[share], throttled=throttled)).code
        == kind
    )


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


def test_the_conclusion_is_a_sentence() -> None:
    found = concluded(SHOWN)

    assert (found.highest_pass, found.lowest_fail, found.confirmed, found.ended) == (
        32,
        40,
        True,
        "precision_reached",
    )
    assert (
        "; ".join(headline_parts(found)).replace(NBSP, " ")
        == "passes at 32 and fails at 40 concurrent calls (ttfa: p(95)<800); the breaking point is"
        " one of latency (ttfa: p(95)<800, 50 of 100 turns were too slow, 0 failed); a longer"
        " run confirmed 32"
    )
    assert closing_lines(found)[0].startswith("Passes at 32 and fails at 40 concurrent calls")
    assert any("inconclusive levels: 36" in text_of(note) for note in found.notes)


@pytest.mark.parametrize(
    ("levels", "at_least", "status"),
    [
        (SHOWN, None, 0),
        (SHOWN, 30, 0),
        (SHOWN, 36, 3),
        (SHOWN, 40, 1),
        (SHOWN, 300, 1),
        ([build_level(1, "fail", violations=[build_share()])], None, 1),
        ([build_level(1, "inconclusive")], None, 3),
        ([], None, 3),
        ([build_level(8, "pass"), *[build_level(16, "not_evaluated")] * 2], 16, 4),
        ([build_level(8, "pass"), *[build_level(16, "not_evaluated")] * 2], 8, 0),
        ([build_level(1, "not_evaluated", why=Reason("crashed", {"message": ""}))] * 2, None, 4),
    ],
)
def test_the_exit_status_says_whether_the_required_load_passed(
    levels: list[LevelEntry], at_least: int | None, status: int
) -> None:
    assert concluded(levels, build_plan(required=at_least)).exit_status == status


WHY = Reason("above_calibration", {"message": "spread it over more --processes"})
FAST, SLOW = build_latency(100.0, 95.0, 105.0), build_latency(200.0, 190.0, 210.0)
CONCLUDED: dict[str, tuple[list[LevelEntry], tuple[Any, ...], list[str]]] = {
    # (levels; the highest load that passes, the breaking point, how the search ended, whether the
    # result is confirmed; text of the conclusion's notes)
    "a limit of the load generator is not a breaking point": (
        [build_level(8, "pass"), *[build_level(16, "not_evaluated", why=WHY)] * 2],
        (8, None, "load_generator"),
        [
            "spread it over more --processes",
            "from 16 concurrent calls on, the load generator was the limit",
        ],
    ),
    "a level that breaks in the hold does not hold": (
        [
            build_level(16, "pass"),
            build_level(32, "pass"),
            FAILED,
            build_level(32, "fail", hold=True, violations=[build_share()]),
        ],
        (16, 32, "precision_reached", None),
        ["failed in the longer run"],
    ),
    "a service that is slower in the confirmation run drifts": (
        [
            build_level(32, "pass", latency_p50=FAST),
            FAILED,
            build_level(32, "pass", hold=True, latency_p50=SLOW),
        ],
        (32, 40, "precision_reached", True),
        ["was 100 ms, and 200 ms in the longer run"],
    ),
    "no level broke up to the largest": (
        [build_level(256, "pass")],
        (256, None, "max_reached"),
        ["a higher --to finds the breaking point"],
    ),
    "whether the largest breaks is not said where it stayed undecided": (
        [build_level(128, "pass"), *[build_level(256, "inconclusive")] * 2],
        (128, None, "max_reached"),
        ["inconclusive levels: 256"],
    ),
}


@pytest.mark.parametrize(("levels", "answer", "notes"), CONCLUDED.values(), ids=CONCLUDED)
def test_the_results_of_the_levels_give_the_conclusion(
    levels: list[LevelEntry], answer: tuple[Any, ...], notes: list[str]
) -> None:
    found = concluded(levels)

    assert (found.highest_pass, found.lowest_fail, found.ended, found.confirmed)[
        : len(answer)
    ] == answer
    written = [text_of(note) for note in found.notes]
    assert all(any(words in note for note in written) for words in notes)
    assert found.breaking_point is None or found.lowest_fail is not None
    assert ("no level failed" in " ".join(written)) == (levels == [build_level(256, "pass")])


def test_contradictory_levels_are_inconclusive() -> None:
    more, fewer = ([build_share(missed, turns=400)] for missed in (0.4, 0.01))
    found = concluded(
        [build_level(16, "fail", violations=more), build_level(32, "pass", violations=fewer)]
    )

    assert (found.stable, found.exit_status, found.breaking_point) == (False, 3, None)
    assert text_of(found.notes[-1]).startswith(
        "40 % of 400 turns at 16 and 1 % of 400 turns at 32 violated ttfa: p(95)<800: the service"
        " changed between levels; search again with a longer --max-time"
    )
    assert "; ".join(headline_parts(found)).startswith(
        "inconclusive, because levels of concurrent calls contradict each other (ttfa: p(95)<800)"
    )


def test_an_interrupted_search_has_a_conclusion() -> None:
    found = concluded(SHOWN[:1], interrupted=True)

    assert (found.highest_pass, found.ended) == (32, "interrupted")
    assert "ended early, because it was interrupted" in headline_parts(found)[-1]


def test_a_search_without_decided_levels_says_what_decides_them() -> None:
    seen = [
        build_level(load, "inconclusive", violations=[build_share(0.01)])
        for load in (128, 256, 256, 128)
    ]
    found = conclude(
        build_plan(time_s=300.0),
        seen,
        date_utc="2026-11-21T10:00:00Z",
        target="here",
        scenario="calls.py",
    )

    assert (found.highest_pass, found.ended) == (None, "max_reached")
    assert (
        "a longer --max-time (10 min or more) decides more levels, and `--quick` gives a rough"
        " answer" in " ".join(map(text_of, found.notes))
    )


def test_a_search_of_one_level_asks_whether_the_level_passes() -> None:
    asked = " ".join(opening(build_plan(300, 300), "runs/capacity"))

    assert (
        "whether ttfa: p(95)<800 passes at 300 concurrent calls up to 1 level and a longer run, in"
        " 30 min" in asked
    )
    assert "wrong in at most 5% of searches" in asked


def test_a_quick_search_states_no_error_probability() -> None:
    assert "wrong in at most" not in " ".join(opening(build_plan(time_s=120.0), "runs/capacity"))


def test_the_line_of_a_level_has_the_violation_share_with_its_interval() -> None:
    (line,) = level_lines(build_level(40, "fail", violations=[build_share(0.25)]))
    (several,) = level_lines(
        build_level(40, "fail", violations=[build_share(0.25), build_share(0.01)])
    )
    (unknown,) = level_lines(build_level(40, "not_evaluated", violations=[build_share(turns=0)]))

    assert "25 % (20 to 30 %)" in line
    assert "25 % (20 to 30 %) of 5 %" in several
    assert "%" not in unknown


def test_the_heading_of_the_violation_shares_has_the_allowed_share() -> None:
    heads, several = (
        level_heads(build_plan(thresholds=thresholds))
        for thresholds in (["ttfa: p(95)<800"], ["ttfa: p(95)<800", "failure_rate: rate<1%"])
    )

    assert "violations (max 5 %)" in heads
    assert "worst violations, max" in several
    assert (
        len(heads)
        == len(several)
        == len(level_lines(build_level(40, "fail", violations=[build_share(0.25)]))[0])
    )


def test_lines_fit_a_terminal() -> None:
    level = build_level(
        40_000,
        "not_evaluated",
        why=Reason("crashed", {"message": "word " * 60}),
        violations=[build_share(), build_share()],
    )
    lines = [
        *level_lines(level),
        *closing_lines(concluded([level, level])),
        *opening(build_plan(), "runs/capacity"),
    ]

    assert max(map(len, lines)) <= 100
