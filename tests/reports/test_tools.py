"""The table of turns with tools: what callers hear, and when, if the service calls functions or delegates tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reports.analysis.summary.summary import Summary, summarise
from reports.analysis.summary.tools import ToolTurns
from reports.data.runs import load_for_report
from reports.formatting import NBSP
from reports.pages.run_report.document import summary_json
from reports.pages.run_report.sections import outcomes, tools
from tests.reports.forms import run_text, section_html, section_markdown
from tests.reports.synthetic import STEPS, Plan
from tests.reports.tool_turns import Tools, summary_of_tools, with_tools


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return summary_of_tools(tmp_path_factory.mktemp("tools"))


def row_of(summary: Summary, target: str, step: str = "all") -> ToolTurns:
    (row,) = (row for row in summary.tools if (row.target, row.step) == (target, step))
    return row


def test_a_row_has_the_values_that_the_turns_have(summary: Summary) -> None:
    row = row_of(summary, "live")
    medians = [of.p50.value for of in (row.first_sound, row.answer, row.task_to_answer, row.longest_silence)]

    assert (row.turns, row.sessions, row.failed_or_not_started, row.turns_planned) == (300, 60, 0, 300)
    assert medians == pytest.approx([700, 1_800, 900, 1_000])
    assert row.answer.p95.value == pytest.approx(2_100)
    assert row.own_functions.p50.value == pytest.approx(300)
    assert row.tasks_per_turn == pytest.approx(1.2)
    assert (row.fillers.count, row.fillers.total) == (300, 300)
    assert (row.in_time.count, row.in_time.total, row.in_time.value) == (240, 300, 0.8)
    assert row_of(summary, "realtime").in_time.count == 300


def test_each_target_has_a_row_and_then_a_row_for_each_of_its_steps(summary: Summary) -> None:
    assert [(row.target, row.step) for row in summary.tools] == [
        (target, step) for target in ("realtime", "live") for step in ("all", *STEPS)
    ]
    assert [row_of(summary, "live", step).turns for step in STEPS] == [60] * 5
    assert [row_of(summary, "live", step).in_time.count for step in STEPS] == [0, 60, 60, 60, 60]
    assert row_of(summary, "live", STEPS[1]).tasks_per_turn == 2


@pytest.mark.parametrize(("thresholds", "deadline", "in_time"), [
    ({}, 2_000, 240),
    ({"function_voice_to_voice": ["p(95)<3000", "within(2.1s)>0.9", "within(900)>0.1"]}, 2_100, 300),
    ({"voice_to_voice": ["within(700)>0.9"]}, 2_000, 240),
    ({"function_voice_to_voice": ["soon(900)>0.1"]}, 2_000, 240),
])  # fmt: skip
def test_the_deadline_is_that_of_the_thresholds_or_two_seconds(
    tmp_path: Path, thresholds: dict[str, list[str]], deadline: float, in_time: int
) -> None:
    row = row_of(summary_of_tools(tmp_path, thresholds=thresholds), "live")

    assert (row.in_time.deadline_ms, row.in_time.count) == (deadline, in_time)


def test_the_terminal_has_one_table_in_the_place_of_a_line_of_functions(summary: Summary) -> None:
    text = run_text(summary)
    lines = [line.split() for line in text.splitlines()]

    assert "\nfunctions " not in text
    assert "may be a filler: words that the service says before it has" in text.replace("\n", " ")
    assert ["◆", "live", "700", "700", "1,800", "2,100", "1,000", "1,000", "100", "%", "80", "%"] in lines
    assert ["·", "greeting", "700", "n/a", "2,100", "n/a", "1,000", "n/a", "100", "%", "0", "%"] in lines
    assert max(map(len, text.splitlines())) <= 100


def test_an_uncertain_metric_is_marked_in_the_table(tmp_path: Path) -> None:
    summary = summarise(
        load_for_report(with_tools(tmp_path, Plan(sessions=20, inexact=("voice_to_voice",)), lambda *_: Tools()))
    )

    assert row_of(summary, "sim").first_sound.uncertain
    assert "uncertain in this run" in section_html(tools.tools(summary))


def test_summary_json_has_the_table_and_the_shares_of_the_thresholds(tmp_path: Path) -> None:
    thresholds = {
        "function_voice_to_voice": ["within(2s)>0.5"],
        "voice_to_voice{step:goodbye}": ["within(700)>0.9", "within(600)>0.9"],
        "connect_total": ["within(1s)>0.9"],
    }
    summary = summary_of_tools(tmp_path, thresholds=thresholds)
    document = json.loads(summary_json(summary))
    keys = ("metric", "step", "target", "count", "total", "unit")
    shares = [tuple(of[key] for key in keys) for of in document["within"]]

    assert document["tools"][6]["in_time"]["value"] == 0.8
    assert shares == [
        ("function_voice_to_voice", "all", "realtime", 300, 300, "turns"),
        ("function_voice_to_voice", "all", "live", 240, 300, "turns"),
        *(("voice_to_voice", "goodbye", target, 60, 60, "turns") for target in ("realtime", "live")),
        *(("voice_to_voice", "goodbye", target, 0, 60, "turns") for target in ("realtime", "live")),
        *(("connect_total", "all", target, 60, 60, "sessions") for target in ("realtime", "live")),
    ]
    rates = section_markdown(outcomes.rates(summary)).replace("\\", "").replace(NBSP, " ")
    assert "| voice_to_voice goodbye within 700 ms | live | 100 % (94 to 100 %) | 60 of 60 | 60 |" in rates
