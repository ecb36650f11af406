"""A load with a peak against the simulator above its capacity, with one process and with two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.record.folder import read_table
from rtbench_simulator.ground_truth_log import read_truth
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import rtbench

OVERLOAD = """
max_concurrent_responses: 2
overload: {above: refuse, retry_after_s: 0.5}
"""
TIMES = ("--before", "4s", "--peak-time", "4s", "--after", "4s", "--probe-spacing", "0.5s")


@pytest.mark.parametrize("processes", [1, 2])
def test_the_counts_of_calls_are_those_of_the_simulator(tmp_path: Path, processes: int) -> None:
    script = tmp_path / "mine.yaml"
    script.write_text("steps:\n  - text: Hello\n  - pause: 0.3\n  - text: Bye\n")
    log = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--ground-truth", str(log), more=OVERLOAD) as simulator:
        load = ("--load", 2, "--peak", 8, "--probes", 2, "--processes", processes)
        url = ("--url", simulator.urls["ga"])
        ended = rtbench("overload", script, *load, *TIMES, *url, cwd=tmp_path)

    assert ended.returncode in (0, 1, 4), ended.stdout + ended.stderr
    (summary,) = tmp_path.glob("runs/*/summary.json")
    counts: dict[str, float] = {}
    for value in json.loads(summary.read_text())["overload"]:
        if value["metric"].startswith("calls_") and value["group"]["by"] == "part":
            counts[value["metric"]] = counts.get(value["metric"], 0) + value["value"]
    truth = list(read_truth(log))
    refused = sum(line.get("direction") == "refused" for line in truth)
    opened = sum(line["sessions"] for line in truth if line.get("direction") == "end")
    sessions = read_table(summary.parent, "sessions").to_pandas()
    is_open = sessions["session_updated_at_ns"].notna()
    # The end of a part stops callers also while their calls open.
    stopped = int((~is_open & (sessions["outcome"] == "unfinished")).sum())
    assert counts["calls_offered"] == counts["calls_opened"] + refused + stopped
    assert counts["calls_opened"] <= opened <= counts["calls_opened"] + stopped
    assert counts["calls_refused"] == refused
    assert "Overload and recovery" in summary.with_name("report.html").read_text()
