"""A run against a simulator that restarts: its dropped calls come back, as its log says."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import rtbench
from tests.system.end_to_end.returned_calls import SCRIPT, returned_calls

AT_S, AWAY_S = 25.0, 1.5
"""When the simulator restarts, after its start, and for how long it does not listen. On a busy
machine, a run needs many seconds before its first call."""


def test_calls_that_a_restart_dropped_come_back(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCRIPT, encoding="utf-8")
    log = tmp_path / "truth.jsonl"
    fault = f"restart,during_s={AT_S}-{AT_S + AWAY_S},code=1006"
    # at the speed of speech, so that calls are in a turn
    options = ("--ground-truth", str(log), "--fault", fault, "--speed", "1")
    with quick_simulator(tmp_path, *options) as simulator:
        ended = rtbench(
            *("run", "mine.yaml", "-u", 6, "-t", "32s", "--url", simulator.urls["ga"], "--yes"),
            cwd=tmp_path,
        )

    assert ended.returncode in (0, 1, 4), ended.stdout + ended.stderr
    (run,) = tmp_path.glob("runs/*")
    found = returned_calls(run, log, AWAY_S)
    assert found.dropped <= found.struck
    assert found.struck == found.dropped | found.over
    assert not found.unlogged
    assert not found.misplaced
    assert found.again <= found.cut_turns
    rates = json.loads((run / "summary.json").read_text())["rates"]
    (share,) = (rate for rate in rates if rate["metric"] == "returned_share")
    assert share["count"] == found.returned > 0
    # a busy machine may delay single values
    assert abs(median(found.gap_errors_ms)) < 5
    assert "Calls that came back" in (run / "report.md").read_text()
