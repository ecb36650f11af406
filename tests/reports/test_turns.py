"""Which turns stand by themselves, and which are pooled."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from bench.run.folder import SCHEMAS
from bench.run.histograms import MAX_STEPS, OTHER_STEP, Histograms
from reports.runs import RunFrames, session_frame, turn_frame
from reports.turns import turns_of


def run_of(rows: list[dict[str, Any]]) -> RunFrames:
    known = {"session_id": "s1", "target": "sim", "outcome": "ok", "measured_from": "request_sent", "turn": 1}
    turns = turn_frame(pa.Table.from_pylist([known | row for row in rows], schema=SCHEMAS["turns"]))
    nobody = session_frame(SCHEMAS["sessions"].empty_table())
    return RunFrames(Path("run"), {}, turns, nobody, pd.DataFrame(), Histograms(), finalized=True)


def test_the_labels_with_the_most_turns_stand_by_themselves_and_the_others_share_one() -> None:
    numbers = [number for number in range(40) for _ in range(1 + number)]
    found = turns_of(run_of([{"script": "long", "step": f"step_{number}"} for number in numbers]))

    told = Counter(found.steps[int(step)] for step in found.step)
    assert told[OTHER_STEP] == sum(1 + number for number in range(40 - MAX_STEPS))
    assert {f"step_{number}": 1 + number for number in range(40 - MAX_STEPS, 40)} == {
        step: n for step, n in told.items() if step != OTHER_STEP
    }
    assert found.frame["step"].nunique() == 40


def test_each_script_has_labels_of_its_own() -> None:
    rows = [{"script": script, "step": f"{script}_{number}"} for script in "ab" for number in range(MAX_STEPS)]

    assert len(turns_of(run_of(rows)).steps) == 2 * MAX_STEPS


def test_labels_of_the_warm_up_take_no_place() -> None:
    rows = [{"script": "a", "step": f"cold_{number}", "phase": "warmup"} for number in range(MAX_STEPS)]
    rows += [{"script": "a", "step": f"step_{number}", "phase": "measurement"} for number in range(MAX_STEPS)]

    assert OTHER_STEP not in turns_of(run_of(rows)).steps
