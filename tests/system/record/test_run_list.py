"""Runs whose processes have ended are listed, finalized and exported correctly."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bench.record import folder as files
from bench.record import presence
from bench.record.spool import FACTS, path_of
from bench.record.writers import writer_is_gone
from reports.api.run import load_run
from tests.record.builders import build_run, rtbench, run, under_way
from tests.reports import synthetic
from tests.reports.synthetic import Plan
from tools.schemas import schemas


@pytest.fixture
def ended_pid() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_json_output_matches_its_schema(tmp_path: Path, ended_pid: int) -> None:
    run(tmp_path / "run")
    under_way(tmp_path / "live", pid=os.getpid())
    under_way(tmp_path / "left", pid=ended_pid)
    under_way(tmp_path / "elsewhere", pid=1, host="elsewhere")
    output = json.loads(rtbench("runs", tmp_path, "--json").stdout)

    Draft202012Validator(schemas()["runs"]).validate(output)
    assert {each["name"]: each["under_way"] for each in output["runs"]} == {
        "run": False,
        "live": True,
        "left": False,
        "elsewhere": None,
    }
    assert {each["sessions"] for each in output["runs"] if each["name"] != "run"} == {None}


def test_a_writer_whose_process_has_ended_is_gone(tmp_path: Path, ended_pid: int) -> None:
    writer = {"host": socket.gethostname(), "pid": ended_pid}

    assert writer_is_gone(tmp_path, {"state": "running", "writer": writer})


def test_a_run_with_running_workers_must_not_be_closed(tmp_path: Path, ended_pid: int) -> None:
    folder, _ = build_run(tmp_path)  # the worker of this run is this process
    writer = {"host": socket.gethostname(), "pid": ended_pid}

    assert not writer_is_gone(folder, {"state": "running", "writer": writer})
    path_of(folder, 0, FACTS).write_text(json.dumps({"pid": ended_pid}))
    assert writer_is_gone(folder, {"state": "running", "writer": writer})


@pytest.mark.parametrize(("live", "state"), [(True, "running"), (False, "killed")])
def test_a_command_closes_a_killed_run_but_not_one_under_way(
    tmp_path: Path, ended_pid: int, live: bool, state: str
) -> None:
    folder = synthetic.write_killed(tmp_path / "run", Plan(sessions=20, turns=4))
    begun, pid = files.read_document(folder), os.getpid() if live else ended_pid
    files.write_document(folder, begun | {"writer": {"host": socket.gethostname(), "pid": pid}})
    if live:
        presence.hold(folder)
    expected = len(load_run(folder).turns)
    ended = rtbench("runs", "export", folder, "--format", "csv")

    assert ended.exit_code == 0, ended.exception
    assert ended.output.startswith(f"{folder}/export/turns.csv  {expected} rows\n")
    assert files.read_document(folder)["state"] == state
    assert (folder / "spool").is_dir() is live
