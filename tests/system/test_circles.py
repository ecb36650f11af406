"""The tests that may start a process (`tests/conftest.py`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.simulator_process import ROOT

TWO = """
import subprocess

def test_a_process():
    subprocess.run(["true"], check=True)

def test_none():
    pass
"""


def test_a_test_outside_of_tests_system_that_starts_a_process_fails(tmp_path: Path) -> None:
    for folder in ("tests/reports", "tests/system"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"test_of_{folder[6:]}.py").write_text(TWO)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "--rootdir", str(tmp_path), str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    name = "tests/reports/test_of_reports.py::test_a_process"
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f"{name} started 1 processes: it belongs to tests/system" in ended.stdout
    assert "1 failed, 3 passed" in ended.stdout
