"""The status line of the simulator, and the text that it prints so that users can paste it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.base.standard_streams import fitted
from rtbench_simulator.ground_truth_log import ServerProgress, live_parts
from tests.simulator.dialled import connect
from tests.simulator_process import GUARD_S, POLL_S, ROOT
from tests.terminal import screen, terminal

BUSY = ServerProgress(open=3, sessions=12, responses=40, events=2_000, late_p99_ms=0.3)


LATE = ServerProgress(open=1, sessions=2, responses=3, events=4, late_p99_ms=7.5)
LINES = [
    # (the progress of its processes, events per second, columns, the line)
    (
        [BUSY],
        9.4,
        160,
        "SIMULATED · 3 open of 12 sessions · 40 responses · 9 events/s · sent − due p99 ≤ 0.3 ms",
    ),
    (
        [ServerProgress(0, 0, 0, 0, 0.0)],
        0,
        160,
        "SIMULATED · 0 open of 0 sessions · 0 responses · 0 events/s",
    ),
    (
        [BUSY, LATE],
        9,
        160,
        "SIMULATED · 4 open of 14 sessions · 43 responses · 9 events/s · sent − due p99 ≤ 7.5 ms",
    ),
    ([BUSY], 1234, 45, "3 open · 1234 events/s · late p99 ≤ 0.3 ms"),
    ([BUSY], 1234, 20, "late p99 ≤ 0.3 ms"),
]


@pytest.mark.parametrize(("standings", "events_per_s", "columns", "line"), LINES)
def test_the_line_shows_the_state_of_the_simulator_and_always_its_lateness(
    standings: list[ServerProgress], events_per_s: float, columns: int, line: str
) -> None:
    assert fitted(live_parts(standings, events_per_s), columns) == line


@pytest.mark.parametrize("workers", [1, 2])
def test_a_simulator_on_a_terminal_shows_open_sessions(workers: int, tmp_path: Path) -> None:
    ready, seen = tmp_path / "ready.json", [""]
    command = [
        sys.executable,
        "-m",
        "rtbench.cli.app",
        "simulate",
        "--port",
        "0",
        "--ready-file",
        str(ready),
    ]
    with terminal(160) as (reads, stream):
        process = subprocess.Popen(
            [*command, "--workers", str(workers)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        )
        try:
            wait_for(ready.exists)
            with connect(json.loads(ready.read_text())["urls"]["openai"]) as client:
                client.recv()
                wait_for(lambda: "1 open of 1 sessions" in drawn(reads, seen))
        finally:
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=GUARD_S)
        drawn(reads, seen)

    assert seen[-1].endswith("\r\x1b[K")  # the last output removes the line
    assert output.splitlines()[-1].startswith("SIMULATED: 1 sessions")


def drawn(reads: int, seen: list[str]) -> str:
    """Return everything that a terminal has shown so far."""
    seen[:] = ["".join([*seen, screen(reads)])]
    return seen[0]


def wait_for(there: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + GUARD_S
    while not there():
        assert time.monotonic() < deadline_s
        time.sleep(POLL_S)
