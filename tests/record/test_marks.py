"""`rtbench runs mark`: an event of a run in progress that another process records."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError
from bench.record import folder as files
from bench.record.finalize import finalize
from bench.record.marks import FILE, Mark, add_mark
from bench.record.run_list import run_in_progress
from tests.record.builders import under_way
from tests.reports.synthetic import BEGAN_NS

S = 10**9


def running(folder: Path, **changes: Any) -> Path:
    under_way(folder, pid=os.getpid())
    files.write_document(folder, files.read_document(folder) | changes)
    return folder


def mark(folder: Path, name: str = "deploy", at_s: int = 9) -> float:
    return add_mark(folder, Mark(name, BEGAN_NS + at_s * S))


def test_marks_become_events_when_a_run_is_finalized_also_after_a_kill(tmp_path: Path) -> None:
    planned = {"name": "deploy", "planned_s": 5.0, "at_utc_ns": BEGAN_NS + 5 * S}
    run = running(tmp_path / "run", events=[planned])

    assert mark(run) == 9
    mark(run, at_s=12)
    with (run / FILE).open("ab") as file:
        file.write(b'{"name": "cut')

    events = finalize(run)["events"]
    assert [(event["name"], event["planned_s"]) for event in events] == [
        ("deploy", 5.0),
        ("deploy-2", 9.0),
        ("deploy-3", 12.0),
    ]
    assert finalize(run)["events"] == events == json.loads((run / "run.json").read_text())["events"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"warmup_s": 30.0}, "is in its warm-up of 30 s"),
        ({"state": "closing"}, "is not in progress"),
        ({"writer": {"host": "elsewhere", "pid": 1}}, "is not in progress"),
    ],
)
def test_a_run_that_is_not_measuring_has_no_mark(
    changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    run = running(tmp_path / "run", **changes)

    with pytest.raises(UsageError, match=problem):
        mark(run)
    assert not (run / FILE).exists()


def test_the_run_in_progress_is_found(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run in .* is in progress"):
        run_in_progress(tmp_path)
    running(tmp_path / "stopping", state="closing")
    one = running(tmp_path / "one")

    assert run_in_progress(tmp_path) == one
    running(tmp_path / "two")
    with pytest.raises(UsageError, match=r"2 runs are in progress in .*: name one, one, two"):
        run_in_progress(tmp_path)
