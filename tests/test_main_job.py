"""Real runs for the main job: one with text turns, one with voice turns, and one with two targets.

The run with two targets is also compared and checked. Except for these tests, all tests that start
processes are in tests/system.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from bench.record import folder as files
from rtbench.cli.app import main
from rtbench_simulator.ground_truth_log import read_truth
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario
from tests.system.end_to_end.two_targets import (
    ahead,
    sessions_of,
    slower_and_faster,
    write_services,
)
from tests.system.end_to_end.voice_claims import every_claim_holds, played

DRIFT = "drift: {sd: 0.3, time_constant_s: 3, seed: 7}\n"


def test_a_run_has_a_row_for_every_turn_that_the_service_was_asked_for(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--ground-truth", str(truth)) as ready:
        ended = run_locust(
            write_scenario(tmp_path, turns=3),
            tmp_path / "runs",
            "-u",
            "4",
            "-r",
            "4",
            "--sessions",
            "8",
            "--connect-rate",
            "300",
            "--url",
            ready.urls["ga"],
        )

    folder = only_run(tmp_path / "runs")
    turns = files.read_table(folder, "turns").to_pandas()
    totals = files.read_document(folder)["totals"]
    asked = sum(
        event.get("type") == "response.create" and event["direction"] == "in"
        for event in read_truth(truth)
    )
    assert ended.returncode in (0, 4), ended.stderr
    assert len(turns) == totals["turns_started"] == asked == 24
    assert totals["turns"] == {"ok": 24}
    assert totals["sessions"] == {"ok": 8}  # including the sessions that waited to connect
    assert not (folder / "spool").exists()


def test_every_claim_about_a_run_with_spoken_turns_holds(tmp_path: Path) -> None:
    every_claim_holds(played(tmp_path, {"ga": ()}))


def status(*words: object) -> int:
    """Run a command in this process and return its exit status."""
    with (
        patch.object(sys, "argv", ["rtbench", *map(str, words)]),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return int(ended.value.code or 0)


def test_two_targets_under_the_same_drift_are_compared_in_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with slower_and_faster(tmp_path, DRIFT) as ready:
        names = write_services(tmp_path, ready)
        load = (
            "-u",
            "4",
            "-r",
            "4",
            "--sessions",
            "10",
            "--targets",
            "fast,slow",
            "--target-file",
            names,
        )
        ended = run_locust(write_scenario(tmp_path, turns=4), tmp_path / "runs", *load)

    folder = only_run(tmp_path / "runs")
    sessions, turns = sessions_of(folder), files.read_table(folder, "turns").to_pandas()
    assert ended.returncode in (0, 4), ended.stderr
    assert sessions["outcome"].tolist() == ["ok"] * 20
    assert ahead(sessions, "fast") <= {-1, 0, 1}
    assert (
        sessions.groupby("pair")["target"].apply(set).map(sorted).tolist()
        == [["fast", "slow"]] * 10
    )
    assert sessions["block"].tolist() == [0] * 20
    waits = (
        turns.assign(wait=turns["first_audio_at_ns"] - turns["request_sent_at_ns"])
        .groupby("target")["wait"]
        .median()
    )
    assert 1.15 < waits["slow"] / waits["fast"] < 1.45
    assert files.read_document(folder)["interleaved"] is True
    summary = json.loads((folder / "summary.json").read_text())
    assert {"fast", "slow"} <= set(_words(summary))
    assert "fast" in ended.stdout
    assert "slow" in ended.stdout

    compared = status("compare", folder)
    printed = capsys.readouterr()
    assert (compared in (0, 4), printed.err) == (True, "")
    assert "slow" in printed.out
    # The value exceeds the limit. But all turns have the same drift and are alike, so the sample
    # can be too small to decide.
    (tmp_path / "ci.yaml").write_text("ttfa:\n  - p(50)<1ms\n  - p(50)<+10%\n")
    checked = status("check", folder, "--thresholds", tmp_path / "ci.yaml")
    assert checked in ((1, 3) if compared == 0 else (4,))
    assert capsys.readouterr().err == ""
    assert json.loads((folder / "check.json").read_text())["exit_status"] == checked


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _words(item)
    elif isinstance(value, str):
        yield value
