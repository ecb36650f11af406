"""Calls that were dropped: those that came back, those that gave up, and those that are unknown."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from reports.analysis.returns import AGAIN, ATTEMPTS, GAP, RETURNED, UNKNOWN
from reports.analysis.summary.summary import Summary
from reports.formatting import NBSP
from reports.pages.run_report.sections.returns import returns
from reports.results.value import ValuesOfSubject
from reports.text.returns import of_targets, return_lines
from tests.reports.edited import Row, edited
from tests.reports.synthetic import MS, Plan, write

OPEN, REFUSED = 100 * MS, None
CLOSED = {"outcome": "closed:1001", "renewed": True}
Session = dict[str, Any]


def attempt(number: int, opened: int | None, **changes: Any) -> Session:
    """Return the changes of the row of an attempt. The caller last heard something 1 s before."""
    outcome = "ok" if opened else "connect_failed:tcp"
    return {
        "attempt": number,
        "session_updated_at_ns": opened,
        "heard_again_at_ns": opened and opened + 400 * MS,
        "outcome": outcome,
        "last_heard_at_ns": -1_000 * MS,
        "dropped_at_ns": -900 * MS,
        "turns_succeeded": 1 if opened else 0,
        **changes,
    }


CALLS: dict[str, list[Session]] = {
    "came back": [CLOSED, attempt(1, OPEN, turns_repeated=1)],
    "came back at the second attempt": [
        CLOSED,
        attempt(1, REFUSED, renewed=True),
        attempt(2, OPEN, heard_again_at_ns=900 * MS),
    ],
    "gave up": [CLOSED, attempt(1, REFUSED, gave_up="attempts")],
    "was open, and was dropped before a turn succeeded": [
        CLOSED,
        attempt(1, OPEN, turns_succeeded=0, gave_up="within", heard_again_at_ns=None),
    ],
    "the run ended before the first attempt": [{"outcome": "closed:1006", "gave_up": "unfinished"}],
    "came back, and was dropped again as the run ended": [
        CLOSED,
        attempt(1, OPEN, gave_up="unfinished"),
    ],
    "was not dropped": [{}],
}


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Return the summary of a run with these calls."""
    folder = tmp_path_factory.mktemp("returns")
    rows = [
        {"session_id": f"w0-{call:06d}" + (f".{number}" if number > 1 else ""), **changes}
        for call, sessions in enumerate(CALLS.values())
        for number, changes in enumerate(sessions, 1)
    ]
    write(folder, Plan(len(rows), 1))

    def change(index: int, row: Row) -> Row:
        return row | {"turns_repeated": 0, "turns_succeeded": 1} | rows[index]

    return edited(folder, change, "sessions")


@pytest.fixture(scope="module")
def values(summary: Summary) -> ValuesOfSubject:
    ((row, _),) = of_targets(summary.returns).values()
    return row


def test_the_share_of_calls_that_came_back_leaves_out_unknown_ones(
    values: ValuesOfSubject, summary: Summary
) -> None:
    share = values[RETURNED]
    assert (share.events, share.n, values[UNKNOWN].n) == (3, 5, 2)
    assert 0 < share.low < 0.6 < share.high < 1
    ((_, reasons),) = of_targets(summary.returns).values()
    assert {name: value.n for name, value in reasons.items()} == {"attempts": 1, "within": 1}


def test_the_gap_of_a_call_that_gave_up_is_infinite(values: ValuesOfSubject) -> None:
    median = values[f"{GAP} p50"]
    assert (median.n, median.failed) == (5, 2)
    assert values[f"{GAP} max"].value == 1_900
    assert values[ATTEMPTS].value == pytest.approx(4 / 3)
    assert values[AGAIN].n == 1


def test_the_report_and_the_terminal_show_how_many_came_back(summary: Summary) -> None:
    (line,) = (text.replace(NBSP, " ") for text in return_lines(summary.returns, named=False))
    assert line.startswith("3 of 5 dropped calls came back (")
    assert line.endswith(
        "; 2 more had not when the run ended; the longest gap was 1.9 s; 1 turn began again"
    )
    section = returns(summary)
    assert section is not None
    assert section.brief


def test_a_run_without_dropped_calls_has_no_section(tmp_path: Path) -> None:
    write(tmp_path, Plan(4, 1))
    summary = edited(tmp_path, lambda _, row: row, "sessions")
    assert summary.returns == ()
    assert returns(summary) is None
    assert not math.isnan(summary.measured_s)
