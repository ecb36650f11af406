"""Several simulator processes on one port."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from rtbench_simulator.ground_truth_log import read_truth
from tests.simulator.dialled import connect
from tests.simulator_process import GUARD_S, POLL_S, quick_simulator
from tests.system.simulator.talk import receive, turn

SESSIONS = 12


def test_workers_share_a_port_and_a_log_and_stop_together(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--workers", "2", "--ground-truth", str(truth)) as ready:
        for _ in range(SESSIONS):
            with connect(ready.urls["ga"], max_size=None) as client:
                receive(client)
                assert (
                    turn(client, {"type": "response.create"})[-1]["response"]["status"]
                    == "completed"
                )

    head, *lines = read_truth(truth)
    ends = [line for line in lines if line["direction"] == "end"]
    assert head["simulated"] is True
    assert len(ends) == 2
    assert sum(end["sessions"] for end in ends) == SESSIONS
    assert sum(end["events"] for end in ends) == sum(line["direction"] == "out" for line in lines)
    assert len({line["session"] for line in lines if "session" in line}) == SESSIONS
    assert ready.returncode == 0
    assert f"SIMULATED: {SESSIONS} sessions" in ready.output
    assert "latest of 2 workers" in ready.output


def test_a_killed_worker_ends_the_command_with_status_1(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--workers", "2") as ready:
        os.kill(ready.pids[0], signal.SIGKILL)
        for pid in (ready.pids[1], ready.pid):
            _wait_until_gone(pid)

    assert ready.returncode == 1
    assert ready.output.endswith(
        "a worker of the simulator ended by signal 9; the others were stopped\n"
    )
    assert "Traceback" not in ready.output


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--workers", "2") as ready:
        os.kill(ready.pid, signal.SIGKILL)
        for pid in ready.pids:
            _wait_until_gone(pid)

    assert "Traceback" not in ready.output


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + GUARD_S
    while _alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(POLL_S)


def _alive(pid: int) -> bool:
    """Return whether a process runs. A process that has ended but was not waited for does not
    count.
    """
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (
        FileNotFoundError,
        ProcessLookupError,
    ):  # ProcessLookupError if the process ends between open and read
        return False
