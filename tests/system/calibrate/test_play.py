"""What is played in a step, and what does not reach it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.calibrate import play
from bench.errors import UsageError


def ending(folder: Path, code: str, **document: object) -> str:
    """How a run is said to have ended that does this, and whose document has this in the end."""
    (folder / "run.json").write_text(json.dumps({"schema": 1} | document))
    (folder / "harness.log").write_text("no\n")
    return play._died(subprocess.Popen([sys.executable, "-c", code]), folder, folder)


def test_a_run_that_comes_to_its_end_has_a_verdict(tmp_path: Path) -> None:
    assert ending(tmp_path, "exit(4)", verdict={"valid": False}) == ""
    assert ending(tmp_path, "exit(1)") == "the run ended with status 1"


def test_a_run_that_is_killed_says_by_what(tmp_path: Path) -> None:
    killed = f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})"

    assert ending(tmp_path, killed, verdict={}) == "the run ended with status -9"


def test_a_run_that_is_refused_ends_the_calibration(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the run did not end: no"):
        ending(tmp_path, "exit(2)")


def test_a_run_that_does_not_end_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "END_S", 0.01)
    (tmp_path / "run.json").write_text("{}")
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    with play._ended(process):
        said = play._died(process, tmp_path, tmp_path)

    assert said == "the run did not end within 0 s of its planned end"
    assert process.returncode == -signal.SIGKILL
