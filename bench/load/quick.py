"""The quick run behind `make bench`: both shipped scenarios in one Locust process, simulated unless Azure is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import scenarios
from bench.clock import monotonic_ns
from bench.errors import INVALID_STATUS, UsageError
from bench.target.endpoint import ENDPOINT, resolve_target

SIMULATED_LOAD = ("--users", "16", "--spawn-rate", "4", "--sessions", "20")
AZURE_LOAD = ("--users", "4", "--spawn-rate", "1", "--sessions", "8")
AZURE_SAYS = "8 sessions, 4 at a time; 1 to 2 minutes of audio are sent, silence included, and 2 to 4 minutes come back"
START_S = 60.0
SCENARIOS = ("text_turns.py", "voice_turns.py")


def quick_run(target: str, *, yes: bool, runs: Path) -> int:
    """Run it; returns the exit status: 0 also where the run is judged invalid, for then its last lines say so."""
    if target not in ("auto", "simulator"):
        raise UsageError(f"--target is `auto` or `simulator`, not `{target}`")
    if target == "auto" and os.environ.get(ENDPOINT):
        return _run_azure(runs, yes=yes)
    with simulator() as ready:
        print(f"SIMULATED: the service is `rtbench simulate` on port {ready['port']} of this machine", flush=True)
        return _locust(runs, *SIMULATED_LOAD, "--url", str(ready["urls"]["ga"]))


def _run_azure(runs: Path, *, yes: bool) -> int:
    target = resolve_target(os.environ)
    print(f"This calls {target.public_url}: {AZURE_SAYS}. It is billed to that resource.", flush=True)
    if not yes and not _agreed():
        print("Nothing was called. `YES=1` answers yes, `TARGET=simulator` simulates.")
        return 0
    return _locust(runs, *AZURE_LOAD)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to answer: set YES=1 to call the deployment, or TARGET=simulator")
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


def _locust(runs: Path, *load: str) -> int:
    """Locust's own tables go to a file that nobody needs; its log and our summary to the terminal.

    What is set for other runs (LOCUST_*, a locust.conf beside) does not reach this one: it does what it has said.
    """
    folder = Path(scenarios.__file__).parent
    files = ",".join(str(folder / name) for name in SCENARIOS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    with tempfile.TemporaryDirectory() as scratch:
        quiet = ("--only-summary", "--loglevel", "WARNING", "--json-file", str(Path(scratch) / "locust"))
        command = [sys.executable, "-m", "locust", "-f", files, "--headless", *load, "--runs", str(runs.resolve())]
        status = _wait(subprocess.Popen([*command, *quiet], cwd=scratch, env=environment))
    return 0 if status == INVALID_STATUS else status


def _wait(process: subprocess.Popen[bytes]) -> int:
    """To the process's own end: Ctrl-C reaches it as well, and it knows what to do."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


@contextmanager
def simulator(*options: str) -> Iterator[dict[str, Any]]:
    """`rtbench simulate` in a process of its own, on a free port; yields what its ready file says."""
    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch) / "ready.json"
        command = [
            sys.executable,
            "-m",
            "bench.cli.app",
            "simulate",
            "--port",
            "0",
            "--ready-file",
            str(ready),
            *options,
        ]
        log = Path(scratch) / "simulator.log"
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
            try:
                yield _when_ready(process, ready, log)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()


def _when_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> dict[str, Any]:
    until_ns = monotonic_ns() + int(START_S * 1e9)
    while not ready.exists():
        if process.poll() is not None or monotonic_ns() > until_ns:
            raise UsageError(f"the simulator did not start: {log.read_text().strip()[-300:]}")
        time.sleep(0.02)
    document: dict[str, Any] = json.loads(ready.read_text())
    return document
