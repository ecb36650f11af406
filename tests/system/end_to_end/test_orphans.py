"""Workers whose master died: they end without the master, and their records are on disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.record import folder as files
from bench.record.spool import FACTS, path_of
from tests import forked
from tests.simulator_process import Ready
from tests.system.end_to_end.locust_process import (
    GUARD_S,
    locust,
    wait_for_rows,
    write_scenario,
)
from tools.peers.agents.ports import free_port

FOR_EVER = "\nfrom locust import runners\nrunners.MASTER_HEARTBEAT_TIMEOUT = 1e9\n"
"""Code that makes Locust's workers wait without end for a missing master. By default, they wait
for a minute."""
RTBENCH = [sys.executable, "-m", "rtbench.cli.app"]
SILENT_S = 6.0
GONE = "its master is missing"


def scenario(folder: Path) -> Path:
    path = write_scenario(folder)
    path.write_text(path.read_text() + FOR_EVER)
    return path


def check_remaining_rows(folder: Path) -> None:
    reported = forked.run(
        [*RTBENCH, "report", str(folder)], capture_output=True, text=True, check=False
    )
    document = files.read_document(folder)

    assert reported.returncode == 0, reported.stderr
    assert document["state"] == "killed"
    assert "killed" in document["stop_reason"]
    assert document["totals"]["turns"]["ok"] >= 2
    assert files.read_table(folder, "sessions").num_rows == sum(
        document["totals"]["sessions"].values()
    )


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="looks at processes as Linux shows them"
)
def test_forked_workers_end_when_their_master_is_killed(tmp_path: Path, simulator: Ready) -> None:
    runs = tmp_path / "runs"
    options = ["-u", "2", "-r", "2", "--processes", "2", "--url", simulator.urls["ga"]]
    with locust(scenario(tmp_path), runs, *options) as master:
        folder = wait_for_rows(runs, "sessions", 2)
        os.kill(master.pid, signal.SIGKILL)
        try:
            # the output ends when all processes that can write to it have ended
            _, output = master.communicate(timeout=GUARD_S)
        except subprocess.TimeoutExpired:
            os.killpg(master.pid, signal.SIGKILL)  # kill the remaining workers
            raise

    assert output.count(GONE) == 2, output
    assert "Traceback" not in output
    check_remaining_rows(folder)


def test_manually_started_workers_end_when_their_master_is_killed(
    tmp_path: Path, simulator: Ready
) -> None:
    runs, port = tmp_path / "runs", str(free_port())
    path, url = scenario(tmp_path), ["--url", simulator.urls["ga"]]
    with ExitStack() as stack:
        mastering = [
            "-u",
            "2",
            "-r",
            "2",
            "--master",
            "--master-bind-port",
            port,
            "--expect-workers",
            "2",
            *url,
        ]
        master = stack.enter_context(locust(path, runs, *mastering))
        working = ["--worker", "--master-port", port]
        workers = [stack.enter_context(locust(path, runs, *working)) for _ in range(2)]
        folder = wait_for_rows(runs, "sessions", 2)
        os.kill(master.pid, signal.SIGKILL)
        master.communicate(timeout=GUARD_S)
        ended = [(worker.communicate(timeout=GUARD_S)[1], worker.returncode) for worker in workers]

    assert [status for _, status in ended] == [2, 2], ended
    assert all(output.count(GONE) == 1 and "Traceback" not in output for output, _ in ended), ended
    check_remaining_rows(folder)


def test_a_temporarily_silent_worker_continues_its_run(tmp_path: Path, simulator: Ready) -> None:
    runs = tmp_path / "runs"
    load = ["-u", "2", "-r", "2", "--processes", "1", "--url", simulator.urls["ga"]]
    with locust(write_scenario(tmp_path, turns=50), runs, *load) as master:
        folder = wait_for_rows(runs, "turns", 2)
        worker = json.loads(path_of(folder, 0, FACTS).read_text())["pid"]
        os.kill(worker, signal.SIGSTOP)
        time.sleep(SILENT_S)  # longer than the time for which Locust waits
        os.kill(worker, signal.SIGCONT)
        before = sum(len(batch) for batch in files.spooled_batches(folder, "turns"))
        wait_for_rows(runs, "turns", before + 1)
        master.send_signal(signal.SIGINT)
        _, output = master.communicate(timeout=GUARD_S)

    document = files.read_document(folder)
    assert "went missing" not in output
    assert (document["state"], document["stop_reason"]) == ("ended", "interrupted")


def test_a_run_whose_folder_is_removed_ends_with_an_error(tmp_path: Path, simulator: Ready) -> None:
    runs = tmp_path / "runs"
    with locust(
        write_scenario(tmp_path), runs, "-u", "1", "--url", simulator.urls["ga"]
    ) as process:
        shutil.rmtree(wait_for_rows(runs, "sessions", 1))
        _, output = process.communicate(timeout=GUARD_S)

    assert process.returncode == 2
    assert "Traceback" not in output
    assert output.count("the run folder and the recorded data no longer exist") == 1, output
    assert "make room" not in output
    assert "rtbench report" not in output
    assert list(runs.iterdir()) == []


DIES = """
import os, signal

forks = []


def die_with_the_second():
    forks.append(None)
    if len(forks) == 2:
        os.kill(os.getpid(), signal.SIGKILL)


os.register_at_fork(after_in_parent=die_with_the_second)
"""
"""Code of a master that is killed before it listens."""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="where the kernel tells of a parent's end"
)
def test_forked_workers_end_if_their_master_is_killed_at_its_start(tmp_path: Path) -> None:
    path = scenario(tmp_path)
    path.write_text(path.read_text() + DIES)
    with locust(
        path, tmp_path / "runs", "--url", "ws://127.0.0.1:1/v1/realtime?model=x", "--processes", "2"
    ) as process:
        # wait until all processes that write to this output have ended
        process.communicate(timeout=GUARD_S)

    assert process.returncode == -signal.SIGKILL
