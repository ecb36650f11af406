"""A short run of the reference workload against the simulator, and its table."""

from __future__ import annotations

import json
from pathlib import Path

from bench.catalogue.reference_workload import TYPED
from bench.record import folder as files
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import ENDS_WELL, only_run, rtbench

TURNS = 5 + 3 + 6 + 4 + 15
MACHINE = {"timestamp_uncertainty", "event_loop_delay", "send_delay", "start_delay", "uncertain"}
"""The codes of reasons that a busy machine may add."""


def test_a_short_run_plays_each_pinned_script_once_and_is_only_too_small_to_be_listed(tmp_path: Path) -> None:
    """The typed form takes seconds. The spoken form takes two minutes; its start is in `test_shipped.py`."""
    with quick_simulator(tmp_path) as ready:
        ended = rtbench(
            *("run", TYPED.word, "-u", 5, "--sessions", 5, "--session-pause", 0),
            *("--runs-dir", tmp_path / "runs", "--url", ready.urls["ga"]),
            cwd=tmp_path,
        )

    folder = only_run(tmp_path / "runs")
    document = files.read_document(folder)
    table = rtbench("reference", folder, "--out", tmp_path / "table")
    (row,) = json.loads((tmp_path / "table/reference.json").read_text(encoding="utf-8"))["not_listed"]
    assert ended.returncode in ENDS_WELL, ended.stderr
    assert {script["name"]: script["digest"] for script in document["scripts"]} == TYPED.digests
    assert document["totals"]["turns"] == {"ok": TURNS - 3, "interrupted": 3}
    assert TYPED.word in document["command"]
    assert "--sessions" in document["command"]
    assert table.returncode == 4, table.stderr
    assert {reason["code"] for reason in row["reasons"]} - MACHINE == {"too_small"}
