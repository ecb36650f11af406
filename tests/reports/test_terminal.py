"""The summary on a terminal: it keeps to its width, whole numbers and all, and to what the terminal can show."""

from __future__ import annotations

import os
import pty
import re
import sys
from functools import cache

import pytest

from bench.cli.report import wants_colour
from reports.text.terminal import report_text
from tests.reports.shared import summary_of
from tests.reports.synthetic import BEGAN_NS, Plan

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


def test_the_longest_waits_go_before_the_interval_of_the_median() -> None:
    text = texts("two")[60]

    assert "p50 (95 %)" in text
    assert "max" not in text


def _row(text: str) -> str:
    """The first row of the table, with the line of its name."""
    lines = text.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith(("  ●", "  ttfa")))
    return lines[at] if re.search("%", lines[at]) else lines[at] + lines[at + 1]


def test_an_endless_incident_takes_two_lines_and_says_that_it_was_cut() -> None:
    told = {"at_utc_ns": BEGAN_NS, "worker": 1, "kind": "auth_refresh", "text": "word " * 200 + "x" * 300}
    lines = report_text(summary_of(Plan(), incidents=[told]), 80).splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("incident"))

    assert lines[at + 1].endswith("…")
    assert not lines[at + 2].startswith(" ")
    assert max(map(len, lines)) <= 80


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
