"""Processes with little memory, or with few threads, end with lines that state the cause, and
never hang.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulator_process import ROOT
from tests.system.end_to_end.locust_process import GUARD_S, only_run
from tools.peers.agents.ports import free_port

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux limits the address space"
)

STORED = ROOT / "tests/reports/stored"
MIB = 1 << 20
LIMITED = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
os.execv(sys.executable, [sys.executable, "-P", "-m", "rtbench.cli.app", *sys.argv[2:]])
"""


def limited(limit_bytes: int, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the tool with this limit of its address space."""
    command = [sys.executable, "-P", "-c", LIMITED, str(limit_bytes), *words]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=GUARD_S, check=False
    )


@pytest.mark.parametrize("limit_mib", [80, 240, 480])
def test_a_report_without_memory_ends_with_one_line(limit_mib: int, tmp_path: Path) -> None:
    """Without it, OpenBLAS asks for memory without end, or ends the process with the status of a
    failed threshold.
    """
    shutil.copytree(STORED, tmp_path / "run")
    ended = limited(limit_mib * MIB, "report", "run", cwd=tmp_path)

    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert ended.stderr.startswith("rtbench: the command could not run: Cannot allocate memory; ")
    assert ended.stderr.count("\n") == 1


def test_a_report_needs_no_memory_for_each_core_and_reserves_none(tmp_path: Path) -> None:
    shutil.copytree(STORED, tmp_path / "run")
    ended = limited(1_100 * MIB, "report", "run", cwd=tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("limit_mib", [240, 460])
def test_a_run_without_memory_for_its_start_ends_with_one_line(
    limit_mib: int, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("steps: [{text: Hello}]")
    url = f"ws://127.0.0.1:{free_port()}/v1/realtime?model=m"
    ended = limited(
        limit_mib * MIB, "run", "mine.yaml", "--sessions", "1", "--url", url, cwd=tmp_path
    )

    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Cannot allocate memory; no memory is left: " in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_run_whose_report_has_no_memory_keeps_its_data_and_states_where_to_report_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.yaml").write_text("steps: [{text: Hello}]")
    url = f"ws://127.0.0.1:{free_port()}/v1/realtime?model=m"
    ended = limited(560 * MIB, "run", "mine.yaml", "--sessions", "1", "--url", url, cwd=tmp_path)

    run = only_run(tmp_path / "runs")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    *_, problem, remedy = ended.stderr.splitlines()
    assert "Cannot allocate memory; no memory is left: " in problem
    assert (
        f"on another machine with a copy of the folder, run `rtbench report runs/{run.name}`"
        in remedy
    )
    limited(8_192 * MIB, "report", f"runs/{run.name}", cwd=tmp_path)
    assert (run / "report.html").exists(), "the remedy does not report what the run has kept"
