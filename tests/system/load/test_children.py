"""Child processes of a run: interim analyses, reports and the OpenTelemetry exporter. The run
survives failures.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from bench.base.errors import USAGE_STATUS
from bench.load.execution.progress import ProgressReport
from bench.load.runners import monitor
from bench.load.runners.finalized_run import finalize_run, holds_rows, output_of
from bench.load.runners.monitor import BEHIND, MAX_LINES, Telemetry
from bench.record.document import SCHEMA_VERSION
from rtbench.evaluation import EVALUATION
from tests.load.fake_live_run import FakeRun
from tests.simulator_process import ROOT
from tests.system.end_to_end.locust_process import GUARD_S

ENDS_BEFORE_ANYBODY_LISTENS = """
import os
import gevent.os

def spawned(*words, spawn=gevent.os._raw_posix_spawn, **more):
    pid = spawn(*words, **more)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid

gevent.os._raw_posix_spawn = spawned
"""


TAKEN_OVER = """
import signal
import gevent

gevent.get_hub().loop.install_sigchld()
gevent.spawn_later(0.2, signal.signal, signal.SIGCHLD, signal.SIG_DFL)
"""


WAITS = """
import sys
from bench.load.runners.finalized_run import output_of

print(output_of([sys.executable, "-c", "import time; time.sleep(0.6); print('said')"]))
"""


@pytest.mark.parametrize("lost", [ENDS_BEFORE_ANYBODY_LISTENS, TAKEN_OVER])
def test_a_child_whose_exit_signal_is_lost_is_detected(lost: str) -> None:
    command = [sys.executable, "-c", lost + WAITS]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=GUARD_S
    )

    assert (ended.stdout, ended.stderr) == ("said\n\n", "")


def test_a_child_that_exceeds_its_time_is_killed_with_its_descendants() -> None:
    with pytest.raises(OSError, match=r"longer than 0\.2 s"):
        output_of(["/bin/sh", "-c", "sleep 3600 & wait"], longest_s=0.2)


def test_a_report_that_exceeds_its_time_is_killed_and_rows_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FakeRun(tmp_path)
    run.play()
    run.live.close()
    endless = tmp_path / "python"
    endless.write_text("#!/bin/sh\nexec sleep 3600\n")
    endless.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(endless))
    monkeypatch.setattr("bench.load.runners.finalized_run.longest_report_s", lambda folder: 0.01)
    document = {
        "schema": SCHEMA_VERSION,
        "started_utc_ns": 0,
        "warmup_s": 1,
        "notices": [],
        "settings": {},
    }
    closed = finalize_run(EVALUATION, run.folder, document, "all sessions are done")

    assert (closed.summary, closed.status) == ("", USAGE_STATUS)
    assert closed.error.endswith(
        f"was stopped; all rows are saved; run it again: rtbench report {run.folder}"
    )
    assert holds_rows(run.folder)


def made(said: list[str], *command: str) -> Telemetry:
    """Return telemetry whose child process executes another command."""
    planned: Any = SimpleNamespace(targets=[], scenario="talk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monitor, "python_command", lambda _: list(command))
        return Telemetry("run-1", planned, said.append)


def test_a_child_that_does_not_read_blocks_nothing_and_is_reported_once() -> None:
    output: list[str] = []
    stuck = made(output, "sleep", "1000")
    for _ in range(2 * MAX_LINES):
        stuck.export((0, ProgressReport()))
    stuck._child.kill()
    stuck.close()

    assert output == [BEHIND]


def test_output_of_a_child_is_printed_and_its_end_is_ignored() -> None:
    output: list[str] = []
    ended = made(output, "sh", "-c", "echo no more metrics >&2")
    ended._child.wait()
    for _ in range(2 * MAX_LINES):
        ended.export((0, ProgressReport()))
        gevent.sleep(0)
    ended.close()

    assert output == ["telemetry: no more metrics"]
