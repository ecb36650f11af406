"""Rows and histograms for other tools: what is read back is what the run holds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import reports
from bench.run import folder as run_folder
from bench.run import lock
from tests.command_line import call
from tests.reports import synthetic
from tests.reports.synthetic import Plan


@pytest.mark.parametrize(("under_way", "state"), [(True, "running"), (False, "killed")])
def test_the_command_closes_a_run_that_was_killed_and_leaves_one_that_is_under_way(
    tmp_path: Path, under_way: bool, state: str
) -> None:
    folder = synthetic.write_killed(tmp_path / "run", Plan(sessions=20, turns=4))
    begun, pid = run_folder.read_document(folder), os.getpid() if under_way else ended_process()
    run_folder.write_document(folder, begun | {"writer": {"host": socket.gethostname(), "pid": pid}})
    if under_way:
        lock.hold(folder)
    expected = len(reports.load(folder).turns)
    ended = call("export", folder, "--format", "csv")

    assert ended.exit_code == 0, ended.exception
    assert ended.output.startswith(f"{folder}/export/turns.csv  {expected} rows\n")
    assert run_folder.read_document(folder)["state"] == state
    assert (folder / "spool").is_dir() is under_way


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid
