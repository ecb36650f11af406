"""Calls that were dropped: those that came back, those that gave up, and those that are unknown."""

from __future__ import annotations

import shutil
from itertools import starmap
from pathlib import Path
from typing import Any

import pytest

from bench.record.folder import read_document, write_document
from reports.analysis.check.check import check_of
from reports.analysis.summary.metrics import GAVE_UP, RETURNED
from reports.analysis.summary.summary import Summary, summarise
from reports.analysis.targets.metric_specs import default_specs
from reports.analysis.targets.named import targets_of
from reports.data.runs import load_for_report
from reports.formatting import NBSP
from reports.metrics.thresholds import parse
from reports.pages.run_report.report import SECTION_MISSING
from reports.pages.run_report.sections.returns import returns
from tests.reports.edited import edit
from tests.reports.forms import run_text
from tests.reports.synthetic import MS, Plan, write

OPEN, REFUSED = 100 * MS, None
CLOSED = {"outcome": "closed:1001", "renewed": True}
Session = dict[str, Any]
TIMES = 12
METRICS = ("returned_share", "return_gap", "reconnect_time", "turns_repeated")


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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of twelve times these calls."""
    rows = [
        {"session_id": f"w0-{call:06d}" + (f".{number}" if number > 1 else ""), **changes}
        for call, sessions in enumerate([*CALLS.values()] * TIMES)
        for number, changes in enumerate(sessions, 1)
    ]
    folder = tmp_path_factory.mktemp("returns")
    write(folder, Plan(len(rows), 1))
    return edit(
        folder,
        "sessions",
        lambda index, row: row | {"turns_repeated": 0, "turns_succeeded": 1} | rows[index],
    )


@pytest.fixture(scope="module")
def summary(folder: Path) -> Summary:
    return summarise(load_for_report(folder))


def test_the_share_of_calls_that_came_back_has_bounds_for_unknown_ones(summary: Summary) -> None:
    (share,) = (rate for rate in summary.rates if rate.metric == RETURNED)

    assert (share.events, share.n, share.unscored) == (3 * TIMES, 5 * TIMES, 2 * TIMES)
    assert share.low < 3 / 7 < 5 / 7 < share.high
    counts = {value.metric: value.n for value in summary.counts}
    assert (counts[f"{GAVE_UP}_attempts"], counts[f"{GAVE_UP}_unfinished"]) == (TIMES, 2 * TIMES)


def test_the_gap_of_a_call_that_gave_up_is_infinite(summary: Summary) -> None:
    rows = {row.metric: row for row in summary.session_metrics}

    gap = rows["return_gap"]
    assert (gap.n, gap.failed, gap.unscored) == (5 * TIMES, 2 * TIMES, 2 * TIMES)
    assert (gap.largest, rows["reconnect_time"].largest) == (1_900, 1_000)
    repeated = rows["turns_repeated"]
    assert (repeated.n, repeated.failed, repeated.largest) == (3 * TIMES, 2 * TIMES, 1)


def test_thresholds_count_what_did_not_come_back_and_unknown_calls_against_them(
    folder: Path,
) -> None:
    results = {
        ("returned_share", "rate>90%"): "fail",
        ("returned_share", "rate>60%"): "inconclusive",  # 60 % of those that are known
        ("returned_share", "rate>30%"): "pass",
        ("return_gap", "med<2s"): "inconclusive",
        ("return_gap", "within(20s)>90%"): "fail",
    }
    judged = check_of(folder, list(starmap(parse, results))).thresholds
    assert [each.result for each in judged] == [*results.values()]


def test_the_calls_that_came_back_are_compared_with_a_baseline(
    folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "before")
    write_document(other, read_document(other) | {"run_id": "before"})
    before = load_for_report(other)
    (judged,) = check_of(folder, [parse("returned_share", "rate>-90pt")], before).thresholds
    assert judged.result == "pass"
    targets = targets_of(before)
    assert {*METRICS[:3]} <= {spec.metric for spec in default_specs((*targets, *targets))}


def test_the_report_and_the_terminal_show_how_many_came_back(summary: Summary) -> None:
    section = returns(summary)
    assert section is not None
    assert SECTION_MISSING not in run_text(summary)
    (fact,) = section.brief
    assert fact.texts == [f"36 of 60 came back; 24 not scored; longest gap 1.9{NBSP}s"]


def test_a_run_without_dropped_calls_has_no_section(tmp_path: Path) -> None:
    write(tmp_path, Plan(4, 1))
    summary = summarise(load_for_report(tmp_path))
    assert returns(summary) is None
    assert not {*METRICS} & {
        *(row.metric for row in summary.session_metrics),
        *(v.metric for v in summary.rates),
    }
