"""Every place that has the quantiles of a run reads the list of their levels. A new level is one
entry of this list, and a field of both types that have a field for each level.
"""

from __future__ import annotations

import rtbench
from reports.analysis.summary.summary import RunResults
from reports.pages.run_report.document import summary_data
from reports.pages.run_report.metric_tables import METRICS
from reports.pages.run_report.report import run_page
from reports.render.markdown import render_markdown
from reports.results.value import LEVEL_KEYS, LEVEL_NAMES, LEVELS
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan
from tools.schemas import schema_of


def test_summary_json_and_its_schema_have_a_key_for_each_level() -> None:
    summary = summary_of(Plan(sessions=40, targets=("a", "b")))
    data, types = summary_data(summary), schema_of(RunResults, "summary", "")["$defs"]
    keys = list(LEVEL_KEYS.values())

    for rows, kind in (
        ("results", "MainResult"),
        ("turn_metrics", "MetricSummary"),
        ("load_generator", "HistogramSummary"),
    ):
        assert [key for key in data[rows][0] if key in keys] == keys
        assert [key for key in types[kind]["properties"] if key in keys] == keys
    assert [data["results"][0][key]["p"] for key in keys] == list(LEVELS)


def test_tables_and_frames_have_a_column_or_a_row_for_each_level() -> None:
    summary = summary_of(Plan(sessions=40, targets=("a", "b")))
    names = list(LEVEL_NAMES.values())

    assert [head for head in METRICS if head in names] == names
    assert f"| step | target | {' | '.join(names)} | max |" in render_markdown(run_page(summary))
    assert rtbench.load(summary.run.folder).quantiles("ttfa")["p"].unique().tolist() == list(LEVELS)
