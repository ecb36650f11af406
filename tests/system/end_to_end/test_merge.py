"""Separate runs are merged into one. All commands work on it; it contains everything that the
service received.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.record import folder as files
from rtbench_simulator.ground_truth_log import read_truth
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import only_run, rtbench, run_locust, write_scenario


def test_two_independent_runs_are_merged_into_one_that_each_command_reads(tmp_path: Path) -> None:
    scenario, truth = write_scenario(tmp_path), tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--ground-truth", str(truth)) as ready:
        load = (
            "-u",
            "2",
            "-r",
            "2",
            "--sessions",
            "4",
            "--part-of",
            "nightly",
            "--url",
            ready.urls["ga"],
        )
        for parts in ("east", "west"):
            ended = run_locust(
                scenario, tmp_path / parts, *load, "--record-events", "100%", "--record-transcripts"
            )
            assert ended.returncode in (0, 4), ended.stderr
    merged = tmp_path / "merged"
    ended = rtbench("runs", "merge", tmp_path / "east", tmp_path / "west", "-o", merged)

    assert (ended.returncode in (0, 4), ended.stderr, ended.stdout.splitlines()[-1]) == (
        True,
        "",
        str(merged),
    )
    sessions = files.read_table(merged, "sessions").to_pandas()
    served = {
        event["session"] for event in read_truth(truth) if event.get("type") == "session.created"
    }
    assert len(sessions) == sessions["session_id"].nunique() == 8
    assert set(sessions["service_session_id"]) == served
    document = files.read_document(merged)
    assert (document["part_of"], document["simulated"], document["workers"]) == ("nightly", True, 2)
    assert {path.stem for path in (merged / "events").iterdir()} == set(sessions["session_id"])
    assert len((merged / "transcripts.jsonl").read_text().splitlines()) == 16

    report = rtbench("report", merged)
    assert (report.returncode, report.stderr) == (0, "")
    summary = json.loads((merged / "summary.json").read_text())
    assert [(answer["turns"], answer["sessions"]) for answer in summary["results"]] == [(16, 8)]
    (tmp_path / "ci.yaml").write_text("failure_rate: rate<1%\n")
    checked = rtbench("check", merged, "--thresholds", tmp_path / "ci.yaml")
    # the status depends on the number of sessions
    assert (checked.returncode in (0, 3, 4), checked.stderr) == (True, "")
    compared = rtbench("compare", only_run(tmp_path / "east"), merged)
    assert (compared.returncode in (0, 4), compared.stderr) == (True, "")
    exported = rtbench("runs", "export", merged, "--format", "csv")
    assert (exported.returncode, "8 rows" in exported.stdout) == (0, True)
    replayed = rtbench("runs", "replay", merged / "events" / "w1-000000.jsonl")
    assert (replayed.returncode, "w1-000000" in replayed.stdout) == (0, True)
