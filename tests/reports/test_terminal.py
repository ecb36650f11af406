"""The summary on a terminal: it keeps to its width, whole numbers and all, and to what the terminal can show."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
from functools import cache

import pytest

from bench.cli.report import wants_colour
from reports.text.document import write_report
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


def test_the_first_screenful_tells_first_audio_transcript_and_throughput() -> None:
    lines = report_text(summary_of(Plan(sessions=60, turns=5))).splitlines()[:20]

    assert any(line.startswith("  ttfa ") for line in lines)
    assert any(line.startswith("  transcript_first ") for line in lines)
    assert any(
        re.match(r"throughput +audio [\d.,]+ [kM]?B/s sent \(.*\), [\d.,]+ [kM]?B/s received", line) for line in lines
    )


def test_how_waits_scatter_is_no_business_of_the_terminal() -> None:
    assert "ICC" not in report_text(summary_of(Plan(sessions=60, turns=5)))


def test_the_labels_of_a_run_stand_behind_its_name_in_every_form() -> None:
    summary = summary_of(Plan(sessions=60, turns=5))
    summary.run.metadata["labels"] = {"commit": "1a2b3c", "build": "77"}
    told, paths = "voice_turns (commit 1a2b3c, build 77)", write_report(summary)

    assert told in report_text(summary)
    assert told in paths.html.read_text()
    assert "commit 1a2b3c" in paths.markdown.read_text()
    assert json.loads(paths.json.read_text())["labels"] == {"commit": "1a2b3c", "build": "77"}


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


def test_a_median_of_too_few_sessions_says_how_many_it_needs() -> None:
    assert "n/a (needs 6 sessions)" in report_text(summary_of(Plan(sessions=2, turns=10)))


def test_the_health_of_the_load_generator_is_said_in_words() -> None:
    text = " ".join(report_text(summary_of(Plan())).split())

    assert "load generator timestamps may be off by 0.11 ms (p99; limit 6.2 ms)" in text
    assert re.search(r"audio sent up to [\d.]+ ms late \(p99; limit 10 ms\)", text)


def test_an_incident_is_wrapped_into_two_lines() -> None:
    words = "no answer of the identity endpoint at 169.254.169.254 within 10 s; the token lives for 3 min more"
    told = {"at_utc_ns": BEGAN_NS, "worker": 1, "kind": "auth_refresh", "text": words}
    text = report_text(summary_of(Plan(), incidents=[told]), 80)
    lines = text.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("incident"))

    assert lines[at + 1].startswith(" " * 16)
    assert lines[at + 1].endswith("3 min more")


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
