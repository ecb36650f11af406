"""The real simulator for tests. It runs in its own process on a free port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtbench_simulator.profile import QUIET
from tests import forked

ROOT = Path(__file__).parents[1]
AUDIO = ROOT / "scenarios" / "audio"
"""The shipped recordings."""
# The timeout in s that detects a hang. It is long because a busy machine may take minutes.
GUARD_S = 600
LONGER_S = (0.05, 1.0, 20.0)
"""Limits of a call that is not answered, in s. On a busy machine, what the peer has sent may be
received after the first limit: then a test tries the next one."""
POLL_S = 0.02

QUICK = """
delays_ms:
  session_created: {p50: 1, p95: 2}
  session_updated: {p50: 1, p95: 2}
  item_created: {p50: 1, p95: 2}
  committed: {p50: 2, p95: 4}
  response_created: {p50: 2, p95: 4}
  first_text: {p50: 10, p95: 20}
  first_audio: {p50: 20, p95: 40}
  transcript_lead: {p50: 5, p95: 10}
  response_done: {p50: 1, p95: 2}
  cancelled: {p50: 1, p95: 2}
  rate_limits_updated: {p50: 1, p95: 2}
  speech_started: {p50: 1, p95: 2}
  speech_stopped: {p50: 1, p95: 2}
  vad_committed: {p50: 1, p95: 2}
  input_transcribed: {p50: 10, p95: 20}
  semantic_end: {p50: 100, p95: 200}
  function_named: {p50: 10, p95: 20}
  answer_pause: {p50: 10, p95: 20}
generation_speed: 100
text_tokens_per_s: 1000
functions: {arguments_tokens_per_s: 1000}
"""


@dataclass
class Ready:
    """A simulator that accepts connections.

    `stop` ends it before the end of the block. `output` and `returncode` are set after the block.
    """

    pid: int
    pids: list[int]  # the serving processes
    port: int
    urls: dict[str, str]
    ca: Path | None
    identity: dict[str, str] | None  # {endpoint, header} of the service that issues tokens
    stop: Callable[[], None] = field(repr=False)
    output: str = field(default="", repr=False)
    returncode: int | None = None


@contextmanager
def running_simulator(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path = ROOT
) -> Iterator[Ready]:
    """Start `rtbench simulate --port 0 ARGUMENTS`, with the profile `quiet` unless the arguments
    name another one.

    At the end of the block, end it with SIGINT.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready_file, log = Path(folder) / "ready.json", Path(folder) / "output"
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "rtbench.cli.app",
            "simulate",
            "--port",
            "0",
        ]
        command += ["--ready-file", str(ready_file)]
        if not {"--profile", "--from-run"} & set(arguments):
            command += ["--profile", QUIET]
        with log.open("wb") as output:
            process = forked.Popen(
                [*command, *arguments],
                cwd=cwd,
                env=os.environ | (env or {}),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            ready = _ready(process, ready_file, log)
            yield ready
        finally:
            _end(process)
        ready.output, ready.returncode = log.read_text(), process.returncode


@contextmanager
def quick_simulator(folder: Path, *arguments: str, more: str = "") -> Iterator[Ready]:
    """Start a simulator whose delays are a few milliseconds. `more` is appended to its profile."""
    profile = folder / "quick.yaml"
    profile.write_text(QUICK + more)
    with running_simulator("--profile", str(profile), *arguments) as ready:
        yield ready


@contextmanager
def patient_simulator(folder: Path, *arguments: str) -> Iterator[Ready]:
    """Start a quick simulator that generates a reply as fast as it is spoken, so that the reply
    can be interrupted.
    """
    profile = folder / "patient.yaml"
    profile.write_text(QUICK.replace("generation_speed: 100", "generation_speed: 1"))
    with running_simulator("--profile", str(profile), *arguments) as ready:
        yield ready


def _ready(process: subprocess.Popen[bytes], ready_file: Path, log: Path) -> Ready:
    deadline = time.monotonic() + GUARD_S
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the simulator did not start:\n{log.read_text()}")
        time.sleep(POLL_S)
    facts: dict[str, Any] = json.loads(ready_file.read_text())
    ca = Path(facts["ca"]) if facts["ca"] else None
    pids = facts["pids"]
    return Ready(
        facts["pid"],
        pids,
        facts["port"],
        facts["urls"],
        ca,
        facts["identity"],
        lambda: _end(process),
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(GUARD_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
