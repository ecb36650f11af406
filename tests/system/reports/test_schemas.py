"""Every JSON document that the tool writes has a schema, and is valid for this schema."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import forked
from tests.reports.schema_problems import ROOT, problems, problems_of_lines
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario


@dataclass(frozen=True)
class Recorded:
    """A short run against the simulator: the run's folder, and the output of the simulator."""

    folder: Path
    truth: Path
    doctor: str
    ready: str


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    with quick_simulator(folder, "--ground-truth", str(folder / "truth.jsonl")) as ready:
        load = (
            "-u",
            "2",
            "-r",
            "2",
            "--sessions",
            "2",
            "--url",
            ready.urls["ga"],
            "--record-events",
            "100%",
        )
        ended = run_locust(write_scenario(folder), folder / "runs", *load, "--record-transcripts")
        command = [
            sys.executable,
            "-m",
            "rtbench.cli.app",
            "doctor",
            "--url",
            ready.urls["ga"],
            "--no-turn",
            "--json",
        ]
        doctor = forked.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert ended.returncode in (0, 4), ended.stderr
    return Recorded(only_run(folder / "runs"), folder / "truth.jsonl", doctor, ready.output)


def test_files_of_a_real_run_match_their_schemas(recorded: Recorded) -> None:
    logs = sorted((recorded.folder / "events").iterdir())

    assert problems("run", json.loads((recorded.folder / "run.json").read_text())) == []
    assert problems("summary", json.loads((recorded.folder / "summary.json").read_text())) == []
    assert len(logs) == 2
    assert [problem for log in logs for problem in problems_of_lines("event-log", log)] == []
    assert problems_of_lines("transcript", recorded.folder / "transcripts.jsonl") == []
