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

from bench.base.standard_streams import StatusLine, fitted
from bench.simulator.ground_truth_log import LiveView, ServerProgress, live_parts
from rtbench.cli.simulate import CLIENTS, to_paste
from tests.simulator.dialled import connect
from tests.simulator_process import GUARD_S, POLL_S, ROOT, quick_simulator
from tests.terminal import screen, terminal

S = 1_000_000_000
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
    ([ServerProgress(0, 0, 0, 0, 0.0)], 0, 160, "SIMULATED · 0 open of 0 sessions · 0 responses · 0 events/s"),
    ([BUSY, LATE], 9, 160, "SIMULATED · 4 open of 14 sessions · 43 responses · 9 events/s · sent − due p99 ≤ 7.5 ms"),
    ([BUSY], 1234, 45, "3 open · 1234 events/s · late p99 ≤ 0.3 ms"),
    ([BUSY], 1234, 20, "late p99 ≤ 0.3 ms"),
]


@pytest.mark.parametrize(("standings", "events_per_s", "columns", "line"), LINES)
def test_the_line_shows_the_state_of_the_simulator_and_always_its_lateness(
    standings: list[ServerProgress], events_per_s: float, columns: int, line: str
) -> None:
    assert fitted(live_parts(standings, events_per_s), columns) == line


def test_lateness_is_shown_in_red() -> None:
    assert "\x1b[31msent − due p99 ≤ 7.5 ms" in fitted(live_parts([BUSY, LATE], 9), colour=True)


def test_the_event_rate_covers_the_time_since_the_last_line() -> None:
    with terminal(160) as (reads, stream):
        view = LiveView(StatusLine(stream, {}))
        view.update(0, BUSY, 10 * S)
        view.update(0, ServerProgress(3, 12, 40, 2_400, 0.3), 12 * S)
        text = screen(reads)

    assert "200 events/s" in text.split("\r")[-1]


def test_the_line_is_drawn_at_most_twice_a_second() -> None:
    with terminal(160) as (reads, stream):
        view = LiveView(StatusLine(stream, {}))
        for tenth in range(10):
            view.update(tenth % 2, BUSY, 10 * S + tenth * S // 10)
        text = screen(reads)

    assert text.count("\r") == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_simulator_on_a_terminal_shows_open_sessions(workers: int, tmp_path: Path) -> None:
    ready, seen = tmp_path / "ready.json", [""]
    command = [sys.executable, "-m", "rtbench.cli.app", "simulate", "--port", "0", "--ready-file", str(ready)]
    with terminal(160) as (reads, stream):
        process = subprocess.Popen(
            [*command, "--workers", str(workers)], cwd=ROOT, stdout=subprocess.PIPE, stderr=stream, text=True
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


def test_a_log_has_no_progress_line(tmp_path: Path) -> None:
    with quick_simulator(tmp_path) as ready, connect(ready.urls["openai"]) as client:
        client.recv()

    assert "events/s" not in ready.output
    assert "\r" not in ready.output


def test_the_option_clients_prints_the_setup_of_each_sdk(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--clients", "--key", "a-secret") as ready:
        pass

    address = f"127.0.0.1:{ready.port}"
    assert f'AsyncOpenAI(api_key="YOUR-KEY", base_url="http://{address}/v1")' in ready.output
    assert f'url = "ws://{address}/v1/realtime"' in ready.output
    assert "a-secret" not in ready.output


def test_with_tls_the_client_setup_has_the_ca_file() -> None:
    trust, *lines = to_paste("wss://[::1]:8765", "/tmp/ca.pem", keyed=False)

    assert trust == "trust: export SSL_CERT_FILE=/tmp/ca.pem NODE_EXTRA_CA_CERTS=/tmp/ca.pem"
    assert '  url = "wss://[::1]:8765/v1/realtime"' in lines
    assert 'baseURL: "https://[::1]:8765/v1"' in "\n".join(lines)
    assert not [line for line in lines if "--tls" in line]


def test_the_client_setup_fits_a_screen() -> None:
    lines = to_paste("ws://127.0.0.1:8765", None, keyed=False)

    assert len(lines) == 3 * len(CLIENTS) <= 24
    assert max(map(len, lines)) <= 110
    assert "{" not in "".join(lines).replace("{ ", "").replace('{"api_key', "")
