"""Several simulator processes on one port."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.simulator.ground_truth_log import read_truth
from bench.simulator.serving.server import TAG_BITS, ServerWorker
from rtbench.cli.simulate import simulate
from tests.simulator.dialled import connect
from tests.simulator_process import GUARD_S, POLL_S, quick_simulator
from tests.system.simulator.talk import receive, turn

SESSIONS = 12


@given(tag=st.integers(0, (1 << TAG_BITS) - 1), count=st.integers(2, 64), session=st.integers(1, 999_999))
def test_workers_have_different_ids_and_random_seeds(tag: int, count: int, session: int) -> None:
    crew = [ServerWorker(number, count, tag) for number in range(count)]

    tags = {worker.id_tag(session) for worker in crew}
    seeds = {tuple(worker.seeds(1, session)) for worker in crew}

    assert len(tags) == len(seeds) == count
    assert {len(tag) for tag in tags} == {12}


def test_workers_share_a_port_and_a_log_and_stop_together(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--workers", "2", "--ground-truth", str(truth)) as ready:
        for _ in range(SESSIONS):
            with connect(ready.urls["ga"], max_size=None) as client:
                receive(client)
                assert turn(client, {"type": "response.create"})[-1]["response"]["status"] == "completed"

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
    assert ready.output.endswith("a worker of the simulator ended by signal 9; the others were stopped\n")
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
    """Return whether a process runs. A process that has ended but was not waited for does not count."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # ProcessLookupError if the process ends between open and read
        return False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"token_lifetime": 10.0}, "--workers cannot be used with --token-lifetime"),
        ({"profile": "quota: {requests_per_minute: 60}\n"}, "profile limited has quota"),
        ({"profile": "max_concurrent_responses: 2\n"}, "profile limited has max_concurrent_responses"),
    ],
)
def test_options_with_global_state_are_refused_with_several_workers(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    if "profile" in options:
        (tmp_path / "limited.yaml").write_text(options["profile"])
        options = {"profile": tmp_path / "limited.yaml"}

    with pytest.raises(UsageError, match=words):
        simulate(port=0, workers=2, **options)
