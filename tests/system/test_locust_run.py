"""A run that a command has started: how its start is detected, and how its end is described."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.record.document import SCHEMA_VERSION
from rtbench import locust_run as started
from rtbench.locust_run import LocustRun, locust_run

ENDLESS = "import signal; signal.pause()"


def ending(folder: Path, code: str, **document: object) -> str:
    """Return the description of the end of a run whose process executes this code and leaves
    this run.json.
    """
    (folder / "run.json").write_text(json.dumps({"schema": SCHEMA_VERSION} | document))
    (folder / "locust.log").write_text("something\nrtbench: no\n")
    return LocustRun(
        subprocess.Popen([sys.executable, "-c", code]), folder / "locust.log"
    ).wait_for_end(folder, 60.0)


def test_a_killed_run_reports_its_signal(tmp_path: Path) -> None:
    killed = f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})"

    assert ending(tmp_path, killed, validity={}) == "the run ended with status -9"


def test_a_run_has_the_folder_that_its_process_writes(tmp_path: Path) -> None:
    """Another run may have the same name."""
    with subprocess.Popen([sys.executable, "-c", ENDLESS]) as process:
        for name, pid in (("1-ramp", process.pid + 1), ("2-ramp", process.pid), ("3-ramp", 1)):
            document = {"schema": SCHEMA_VERSION, "writer": {"host": "here", "pid": pid}}
            (tmp_path / name).mkdir()
            (tmp_path / name / "run.json").write_text(json.dumps(document))
        folder = LocustRun(process).wait_for_folder(tmp_path, "ramp")
        process.kill()

    assert folder == tmp_path / "2-ramp"


def test_a_refused_run_reports_its_last_line(tmp_path: Path) -> None:
    assert ending(tmp_path, "exit(2)") == "the run ended with status 2: no"


def test_a_run_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.json").write_text("{}")
    monkeypatch.setattr(started, "python_command", lambda *_: [sys.executable, "-c", ENDLESS])
    with locust_run([], {}, log=tmp_path / "log") as run:
        output = run.wait_for_end(tmp_path, 0.01)

    assert output == "the run did not end within 0 s after its planned end"
    assert run.process.returncode == -signal.SIGKILL
