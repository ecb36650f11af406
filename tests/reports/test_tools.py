"""The table of turns with tools: what callers hear, and when, if the service calls functions or
delegates tasks.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reports.analysis.summary.summary import Summary, summarise
from reports.analysis.summary.tools import tool_turns
from reports.data.runs import load_for_report
from reports.formatting import NBSP
from reports.pages.run_report.document import summary_json
from reports.pages.run_report.sections import outcomes, tools
from reports.results.value import Value, ValuesOfSubject, by_subject
from tests.reports.forms import run_text, section_html, section_markdown
from tests.reports.synthetic import STEPS, Plan
from tests.reports.tool_turns import Tools, summary_of_tools, with_tools


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return summary_of_tools(tmp_path_factory.mktemp("tools"))


def row_of(summary: Summary, target: str, step: str = "") -> ValuesOfSubject:
    (row,) = (
        row
        for of, row in by_subject(summary.tools).items()
        if (of.target, of.step) == (target, step)
    )
    return row


def in_time(row: ValuesOfSubject) -> Value:
    (value,) = (value for value in row.values() if value.statistic.startswith("within"))
    return value


def test_a_row_has_the_values_that_the_turns_have(summary: Summary) -> None:
    row = row_of(summary, "live")
    latencies = ("voice_to_voice", "function_voice_to_voice", "function_call_to_answer", "dead_air")
    turns, failures, fillers = row["turns"], row["failure_rate"], row["preamble_rate"]

    assert (turns.n, turns.sessions, failures.count, failures.n) == (300, 60, 0, 300)
    assert [row[f"{name} p50"].value for name in latencies] == pytest.approx(
        [700, 1_800, 900, 1_000]
    )
    assert row["function_voice_to_voice p95"].value == pytest.approx(2_100)
    assert row["function_execution p50"].value == pytest.approx(300)
    assert row["delegations"].value == pytest.approx(1.2)
    assert (fillers.count, fillers.n) == (300, 300)
    assert (in_time(row).count, in_time(row).n, in_time(row).value) == (240, 300, 0.8)
    assert in_time(row_of(summary, "realtime")).count == 300


def test_each_target_has_a_row_and_then_a_row_for_each_of_its_steps(summary: Summary) -> None:
    assert [(of.target, of.step) for of in by_subject(summary.tools)] == [
        (target, step) for target in ("realtime", "live") for step in ("", *STEPS)
    ]
    assert [row_of(summary, "live", step)["turns"].n for step in STEPS] == [60] * 5
    assert [in_time(row_of(summary, "live", step)).count for step in STEPS] == [0, 60, 60, 60, 60]
    assert row_of(summary, "live", STEPS[1])["delegations"].value == 2


@pytest.mark.parametrize(
    ("thresholds", "deadline", "count"),
    [
        ({}, 2_000, 240),
        (
            {"function_voice_to_voice": ["p(95)<3000", "within(2.1s)>0.9", "within(900)>0.1"]},
            2_100,
            300,
        ),
        ({"voice_to_voice": ["within(700)>0.9"]}, 2_000, 240),
        ({"function_voice_to_voice": ["soon(900)>0.1"]}, 2_000, 240),
    ],
)
def test_the_deadline_is_that_of_the_thresholds_or_two_seconds(
    summary: Summary, thresholds: dict[str, list[str]], deadline: int, count: int
) -> None:
    run = replace(summary.run, metadata=summary.run.metadata | {"thresholds": thresholds})
    found = next(
        value
        for value in tool_turns(run, summary.samples)
        if value.target == "live" and value.statistic.startswith("within")
    )

    assert (found.statistic, found.count) == (f"within({deadline})", count)


def test_the_terminal_has_one_table_in_the_place_of_a_line_of_functions(summary: Summary) -> None:
    text = run_text(summary)
    lines = [line.split() for line in text.splitlines()]

    assert "\nfunctions " not in text
    assert "may be a filler: words that the service says before it has" in text.replace("\n", " ")
    assert [
        "◆",
        "live",
        "700",
        "700",
        "1,800",
        "2,100",
        "1,000",
        "1,000",
        "100",
        "%",
        "80",
        "%",
    ] in lines
    assert [
        "·",
        "greeting",
        "700",
        "n/a",
        "2,100",
        "n/a",
        "1,000",
        "n/a",
        "100",
        "%",
        "0",
        "%",
    ] in lines
    assert max(map(len, text.splitlines())) <= 100


def test_an_uncertain_metric_is_marked_in_the_table(tmp_path: Path) -> None:
    summary = summarise(
        load_for_report(
            with_tools(tmp_path, Plan(sessions=20, inexact=("voice_to_voice",)), lambda *_: Tools())
        )
    )

    assert "uncertain in this run" in section_html(tools.tools(summary))


def test_summary_json_has_the_table_and_the_shares_of_the_thresholds(tmp_path: Path) -> None:
    thresholds = {
        "function_voice_to_voice": ["within(2s)>0.5"],
        "voice_to_voice{step:goodbye}": ["within(700)>0.9", "within(600)>0.9"],
        "connect_total": ["within(1s)>0.9"],
    }
    summary = summary_of_tools(tmp_path, thresholds=thresholds)
    document = json.loads(summary_json(summary))
    keys = ("metric", "step", "target", "count", "n", "unit")
    shares = [tuple(of[key] for key in keys) for of in document["within"]]

    late = [
        of
        for of in document["tools"]
        if (of["target"], of["statistic"]) == ("live", "within(2000)")
    ]

    assert (late[0]["step"], late[0]["value"]) == (None, 0.8)
    assert shares == [
        ("function_voice_to_voice", None, "realtime", 300, 300, "turns"),
        ("function_voice_to_voice", None, "live", 240, 300, "turns"),
        *(
            ("voice_to_voice", "goodbye", target, 60, 60, "turns")
            for target in ("realtime", "live")
        ),
        *(("voice_to_voice", "goodbye", target, 0, 60, "turns") for target in ("realtime", "live")),
        *(("connect_total", None, target, 60, 60, "sessions") for target in ("realtime", "live")),
    ]
    rates = section_markdown(outcomes.rates(summary)).replace("\\", "").replace(NBSP, " ")
    assert (
        "| voice_to_voice goodbye within 700 ms | live | 100 % (94 to 100 %) | 60 of 60 | 60 |"
        in rates
    )
