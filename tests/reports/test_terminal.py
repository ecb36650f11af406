"""The summary on a terminal: its width, its colours, and the calibration that a run cites."""

from __future__ import annotations

import os
import pty
import re
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import pandas as pd
import pytest

import reports
from bench.cli.report import wants_colour
from reports.runs import RunFrames
from reports.summary.trust import busiest
from reports.text.terminal import report_text
from reports.wording.validity import trust
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan, write

PLANS = {
    "small": Plan(),
    "two": Plan(sessions=120, turns=10, targets=("direct", "gateway"), failed=0.02, seconds=300),
    "large": Plan(sessions=1000, turns=4, targets=("direct", "gateway"), refused=60, failed=0.01, median_ms=21_000),
    "mixed": Plan(sessions=60, turns=10, kinds=("vad", "typed", "manual"), targets=("sweden.quick_vad_and_more", "b")),
    "failing": Plan(sessions=60, turns=10, failed=0.08),
}


NUMBER = re.compile(r"[\d,.]+")


WIDTHS = range(40, 101)


@cache
def texts(name: str) -> dict[int, str]:
    """The summary of a run at each width."""
    summary = summary_of(PLANS[name])
    return {width: report_text(summary, width) for width in WIDTHS}


@pytest.mark.parametrize("name", PLANS)
def test_no_line_is_wider_than_the_terminal(name: str) -> None:
    for width, text in texts(name).items():
        assert max(map(len, text.splitlines())) <= width


def test_a_narrow_table_has_fewer_figures_and_the_same() -> None:
    rows = {width: _row(text) for width, text in texts("large").items()}

    for width, row in rows.items():
        assert set(NUMBER.findall(row)) <= set(NUMBER.findall(rows[100])), width
    sizes = [len(NUMBER.findall(rows[width])) for width in rows]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_what_failed_is_told_at_every_width() -> None:
    for text in texts("failing").values():
        assert _row(text).endswith("%")


def _row(text: str) -> str:
    """The first row of the table, with the line of its name."""
    lines = text.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith(("  ●", "  ttfa")))
    return lines[at] if re.search("%", lines[at]) else lines[at] + lines[at + 1]


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "TERM": "xterm"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False),
        ({"FORCE_COLOR": "1", "TERM": "unknown"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
    ],
)
def test_colour_is_for_terminals_that_have_it_and_people_who_want_it(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], coloured: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert wants_colour() is coloured


@pytest.mark.parametrize(("term", "coloured"), [("xterm-256color", True), ("dumb", False)])
def test_a_terminal_says_by_its_name_whether_it_has_colours(
    monkeypatch: pytest.MonkeyPatch, term: str, coloured: bool
) -> None:
    master, slave = pty.openpty()
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", term)
    with os.fdopen(slave, "w") as terminal, os.fdopen(master, "rb", buffering=0):
        monkeypatch.setattr(sys, "stdout", terminal)
        wanted = wants_colour()
        monkeypatch.undo()

    assert wanted is coloured


CITED = {
    "date": "2026-11-20", "kind": "voice", "sessions": 400, "events_per_s": 9000.0, "exact_sessions": 100,
    "ended": "", "tls": True, "file": "calibration-here-tls.json", "stale": [],
}  # fmt: skip


LINE = "calibrated on 2026-11-20: error p99 ≤ 1 ms up to 400 voice sessions per process, 9,000 events/s"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFrames:
    folder = tmp_path_factory.mktemp("run")
    write(folder, Plan(sessions=10))
    loaded = reports.load(folder)
    return replace(loaded, seconds=loaded.seconds.assign(events=120))


def citing(run: RunFrames, cited: Any) -> RunFrames:
    return replace(run, metadata=run.metadata | {"calibration": cited})


def test_a_run_says_how_far_its_machine_is_trusted(run: RunFrames) -> None:
    assert trust(citing(run, CITED)) == [LINE]


def test_what_differs_from_the_calibration_is_said(run: RunFrames) -> None:
    (line,) = trust(citing(run, CITED | {"stale": ["with another kernel", "without TLS"]}))

    assert line == LINE.replace("2026-11-20", "2026-11-20, with another kernel and without TLS")


def test_a_run_that_went_beyond_its_calibration_says_by_what(run: RunFrames) -> None:
    sessions, events_per_s = busiest(run.seconds)
    both = citing(run, CITED | {"sessions": sessions - 1, "events_per_s": events_per_s / 2})
    within = citing(run, CITED | {"sessions": sessions, "events_per_s": events_per_s})

    assert sessions > 1
    assert trust(both)[1].startswith(f"this run went beyond its calibration: {sessions:.0f} sessions and ")
    assert len(trust(within)) == 1


@pytest.mark.parametrize(("above", "lines"), [(1.09, 1), (1.11, 2)])
def test_busy_seconds_may_be_a_tenth_above_the_mean_that_was_calibrated(
    run: RunFrames, above: float, lines: int
) -> None:
    _, events_per_s = busiest(run.seconds)

    assert len(trust(citing(run, CITED | {"events_per_s": events_per_s / above}))) == lines


def test_what_ended_the_calibration_is_said_where_it_was_not_the_harness(run: RunFrames) -> None:
    ended, beyond = trust(citing(run, CITED | {"ended": "the simulator", "sessions": 1}))

    assert ended == LINE.replace("400", "at least 1")
    assert beyond.startswith("this run went beyond its calibration (the simulator, not the load generator, ended it): ")


def test_each_process_is_held_against_it_by_itself(run: RunFrames) -> None:
    sessions, events_per_s = busiest(run.seconds)
    seconds = run.seconds.assign(worker=1)
    twice = replace(run, seconds=pd.concat([seconds, run.seconds.assign(worker=0)], ignore_index=True))

    assert busiest(twice.seconds) == (sessions, events_per_s)
    assert events_per_s > 0
    assert busiest(run.seconds.iloc[:0]) == (0.0, 0.0)
