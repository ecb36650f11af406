"""The display in a notebook of a run, and of results that are computed from runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import rtbench
from reports.render.notebook import MAX_ROWS, frame_html
from tests.reports import synthetic
from tests.reports.shared import write_summary
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=60, turns=4, targets=("<i>a</i>", "b"), paired=True, failed=0.05)
SHOWN: dict[str, Callable[[rtbench.Run], Any]] = {
    "Run(": lambda run: run,
    "Checked(": lambda run: rtbench.check(run, {"ttfa": ["p(95)<800", "med<+10%"]}),
    "Comparison(": rtbench.compare,
    "Trend(": rtbench.trend,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> rtbench.Run:
    folder = synthetic.write(tmp_path_factory.mktemp("shown") / "run", PLAN, interleaved=True)
    write_summary(folder)
    return rtbench.load(folder)


@pytest.mark.parametrize("kind", SHOWN)
def test_a_notebook_shows_a_headline_and_an_escaped_table(run: rtbench.Run, kind: str) -> None:
    shown = SHOWN[kind](run)._repr_html_()

    assert shown.startswith(f"<p><b>{kind}")
    assert shown.count("<table") == 1
    assert "&lt;i&gt;a&lt;/i&gt;" in shown
    assert set(re.findall(r"<(\w+)", shown)) <= {
        "p",
        "b",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }


def test_a_run_shows_its_main_metrics_and_whether_they_may_be_used(run: rtbench.Run) -> None:
    shown = run._repr_html_()

    medians = run.quantiles("ttfa", p=0.5)["value"]
    assert all(f"<td>{value:.0f}</td>" in shown for value in medians)
    assert "· ✓ VALID · ◇ SIMULATED</b>" in shown
    assert shown.count("<tr>") == 2 * 4


def test_a_run_without_turns_shows_only_its_headline(tmp_path: Path) -> None:
    shown = rtbench.load(synthetic.write(tmp_path, Plan(sessions=0)))._repr_html_()

    assert re.fullmatch(r"<p><b>Run\(.*: 0 turns, 0 sessions\).*</b></p>", shown)


def test_a_long_frame_is_shortened_and_an_empty_column_is_omitted() -> None:
    frame = pd.DataFrame({"name": "one", "value": range(MAX_ROWS + 1000), "reason": None})

    shown = frame_html("all", frame, ["name", "value", "reason"], ["read <this> first"])
    assert shown.count("<tr>") == MAX_ROWS + 1
    assert "<td>1023</td>" in shown
    assert "reason" not in shown
    assert "<p>read &lt;this&gt; first</p>" in shown
