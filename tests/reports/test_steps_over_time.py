"""Each step over the run: medians of bins."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reports
from reports.page.panels import step_panels as drawn
from reports.runs import load_for_report
from reports.summary.over_time import steps_over_time
from reports.summary.summary import summarise
from tests.reports import synthetic
from tests.reports.shared import page_of, summary_of
from tests.reports.synthetic import STEPS, Plan

TWO = Plan(sessions=120, turns=10, targets=("a", "b"), seconds=600, warmup_s=40)


def test_each_step_has_the_median_of_each_bin_on_each_target() -> None:
    summary = summary_of(TWO)
    frame = steps_over_time(summary, summary.turns.strata[0])
    assert frame is not None
    turns = reports.load(summary.run.folder).turns
    at_s = (turns["start_utc_ns"] - summary.window.started_utc_ns) / 1e9

    assert set(frame.steps) == set(STEPS)
    assert {(course.step, course.target) for course in frame.courses} == {(step, t) for step in STEPS for t in (0, 1)}
    for course in frame.courses:
        mine = (turns["step"] == course.step) & (turns["target"] == summary.targets[course.target])
        for bin_ in course.bins:
            inside = mine & (at_s >= bin_.begin_s) & (at_s < bin_.begin_s + frame.bin_s)
            waits = np.sort(turns.loc[inside, "ttfa_ms"])
            assert bin_.turns == inside.sum()
            assert bin_.p50 == waits[math.ceil(inside.sum() / 2) - 1]


def test_a_bin_of_few_turns_has_no_median_and_a_run_of_few_bins_no_figure() -> None:
    summary = summary_of(Plan(sessions=3))

    assert steps_over_time(summary, summary.turns.strata[0]) is None
    assert "Each step over time" not in page_of(Plan(sessions=3))
    assert "Each step over time" not in page_of(Plan(sessions=0))


def test_a_step_that_a_target_never_began_has_no_line(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path, TWO)
    table = pq.read_table(folder / "turns.parquet")
    lacking = (table["target"].to_numpy(zero_copy_only=False) == "b") & (
        table["step"].to_numpy(zero_copy_only=False) == STEPS[0]
    )
    pq.write_table(table.filter(pa.array(~lacking)), folder / "turns.parquet")
    summary = summarise(load_for_report(folder))
    frame = steps_over_time(summary, summary.turns.strata[0])
    assert frame is not None

    assert (STEPS[0], 1) not in {(course.step, course.target) for course in frame.courses}
    assert (STEPS[0], 0) in {(course.step, course.target) for course in frame.courses}
    assert drawn(frame).svg()


@pytest.mark.parametrize("failed", [0.6, 1.0])
def test_steps_most_of_whose_turns_fail_can_be_drawn(failed: float) -> None:
    assert page_of(Plan(sessions=120, turns=10, failed=failed, seconds=600))
