"""What a report says of interruptions and function calls: in the terminal, and on the page in sections of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.units import NS_PER_MS
from reports.page.page import run_page, sections_of
from reports.summary.summary import Summary
from reports.text.terminal import report_text
from tests.reports import synthetic
from tests.reports.edited import Row, edited
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=40, turns=2, targets=("west", "east"))


def interrupted(index: int, row: Row) -> Row:
    """Every reply is interrupted after a second, and silent 100 to 139 ms later."""
    began_ns = 1_000 * NS_PER_MS
    silent_ns = began_ns + (100 + index % 40) * NS_PER_MS
    return row | {
        "barge_in_at_ns": began_ns,
        "barge_in_silent_at_ns": silent_ns,
        "unplayed_audio_ns": 2_000 * NS_PER_MS,
    }


def calling(_: int, row: Row) -> Row:
    """Every turn calls a function, 300 ms after what its latency counts from."""
    named_ns = (row["request_sent_at_ns"] or row["speech_end_at_ns"]) + 300 * NS_PER_MS
    return row | {
        "function_call_added_at_ns": named_ns,
        "function_call_done_at_ns": named_ns,
        "function_execution_ns": 50 * NS_PER_MS,
    }


def summary_of(folder: Path, change: Any) -> Summary:
    synthetic.write(folder, PLAN)
    return edited(folder, change)


def line_of(summary: Summary, name: str) -> str:
    """What the terminal says beside a name, in one line."""
    lines = report_text(summary, 1_000).splitlines()
    return next((line for line in lines if line.startswith(name)), "").replace("\N{NO-BREAK SPACE}", " ")


def told(summary: Summary) -> set[str]:
    """Which of both the page has a section of."""
    return {section.anchor for section in sections_of(summary)} & {"interruptions", "functions"}


def test_how_soon_it_is_quiet_is_told_at_once_of_each_target(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, interrupted)

    said = line_of(summary, "interrupted")
    assert all(f"barge_in_yield p50 on {target} 1" in said for target in PLAN.targets)
    assert "unplayed_audio p50 on west 2,000" in said
    assert line_of(summary, "functions") == ""
    assert told(summary) == {"interruptions"}
    assert not next(one for one in run_page(summary).sections if one.anchor == "interruptions").folded


def test_what_function_calls_take_is_told_at_once(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, calling)

    said = line_of(summary, "functions")
    assert "function_call_done p50 on west 300 (300 – 300), max 300 ms" in said
    assert "function_execution p50 on east 50 (50 – 50), max 50 ms" in said
    assert line_of(summary, "interrupted") == ""
    assert told(summary) == {"functions"}


def test_a_run_without_either_says_nothing_of_them(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, lambda _, row: row)

    assert not line_of(summary, "interrupted") + line_of(summary, "functions")
    assert not told(summary)
