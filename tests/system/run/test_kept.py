"""Runs are found again and listed as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.run.builders import rtbench, run, under_way

SCHEMA = Path(__file__).parents[3] / "reports" / "schemas" / "runs.schema.json"


@pytest.fixture
def ended_pid() -> int:
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_json_is_as_its_schema_says(tmp_path: Path, ended_pid: int) -> None:
    run(tmp_path / "run")
    under_way(tmp_path / "live", pid=os.getpid())
    under_way(tmp_path / "left", pid=ended_pid)
    under_way(tmp_path / "elsewhere", pid=1, host="elsewhere")
    said = json.loads(rtbench("runs", tmp_path, "--json").stdout)

    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(said)
    assert {each["name"]: each["under_way"] for each in said["runs"]} == {
        "run": False,
        "live": True,
        "left": False,
        "elsewhere": None,
    }
    assert {each["sessions"] for each in said["runs"] if each["name"] != "run"} == {None}
