"""Plays one load: the simulator in processes of its own, and a headless Locust run as users start it.

Harness and simulator are on different cores where there are two. The steady part of a run begins when all sessions
have started, and ends when no more turns begin.
"""

from __future__ import annotations

import json
import os
import site
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scenarios
from bench.calibrate.machine import Cores, CoreUsage, on, peak_rss_bytes, reading, usage
from bench.clock import monotonic_ns, utc_ns
from bench.errors import INVALID_STATUS, USAGE_STATUS, UsageError
from bench.quick import simulator, without_proxies
from bench.run import folder as files
from bench.run.calibration import SessionKind
from bench.spawn import end, own_environment, python_command
from bench.units import NS_PER_S

RECORDING = Path(scenarios.__file__).parent / "audio" / "late_parcel.wav"
CHUNK_MS = 50
STEPS = 60
"""Turns of a session, more than any step has time for."""
PROFILE = "speed: 6.0\ndelays_ms:\n  first_audio: {p50: 150, p95: 300}\n"
"""Answers that follow quickly and are generated fast: a listening session gets some 40 events a second."""
SCENARIO = """\
from rtbench import RealtimeUser


class Caller(RealtimeUser):
    script = "script.yaml"
"""
SCRIPTS: dict[SessionKind, tuple[str, str]] = {
    "listening": ("{output: audio}", "{say: Hello, label: answer}"),
    "talking": (
        "{output: audio, turn_detection: {type: server_vad, silence_duration_ms: 500}}",
        f"{{play: {json.dumps(str(RECORDING))}, chunk_ms: {CHUNK_MS}, label: answer}}",
    ),
}
"""Session and step."""
START_S, POLL_S = 60.0, 0.05
END_S = 120.0
"""How long a run may take after its steady part, for the last turns and for closing."""
ENDED = (0, 1, INVALID_STATUS)
"""Exit statuses of a run that came to its end: good, with failed turns, invalid."""


@dataclass(frozen=True)
class Pace:
    """Seconds in which sessions start, and in which all of them are at work."""

    ramp_s: int
    steady_s: int


@dataclass(frozen=True)
class PlayedRun:
    """A run that is over, in `folder`, with the simulator's `truth`. Its steady part, UTC in ns, and what it took.

    `died`: how it ended where it did not come to its end; its folder is not whole then.
    """

    folder: Path
    truth: Path
    begin_utc_ns: int
    end_utc_ns: int
    used: CoreUsage
    peak_rss_bytes: int | None
    died: str = ""


def play(kind: SessionKind, sessions: int, pace: Pace, cores: Cores, scratch: Path, *, tls: bool) -> PlayedRun:
    """Play a load in an empty folder `scratch`. Raises UsageError where a process does not do its part."""
    scenario, truth = _write_scenario(kind, scratch), scratch / "truth.jsonl"
    with ExitStack() as running:
        with on(cores.simulator):
            ready = running.enter_context(simulator(*_simulated(scratch, truth, cores.workers, tls=tls)))
        with on(cores.harness):
            process = running.enter_context(_ended(_start(scenario, scratch, sessions, pace, ready)))
        return _watched(process, int(ready["pid"]), pace, cores, scratch, truth)


def _write_scenario(kind: SessionKind, scratch: Path) -> Path:
    session, step = SCRIPTS[kind]
    (scratch / "script.yaml").write_text(f"session: {session}\nsteps:\n" + f"  - {step}\n" * STEPS)
    (scratch / "scenario.py").write_text(SCENARIO)
    (scratch / "profile.yaml").write_text(PROFILE)
    return scratch / "scenario.py"


def _simulated(scratch: Path, truth: Path, workers: int, *, tls: bool) -> list[str]:
    """The options of the simulator."""
    several = ["--workers", str(workers)] if workers > 1 else []
    return ["--truth", str(truth), "--profile", str(scratch / "profile.yaml"), *several, *(["--tls"] if tls else [])]


def _start(
    scenario: Path, scratch: Path, sessions: int, pace: Pace, ready: Mapping[str, Any]
) -> subprocess.Popen[bytes]:
    """Start the run as a user does. What is set for other runs does not reach it."""
    load = {"-u": sessions, "-r": -(-sessions // pace.ramp_s), "-t": f"{pace.ramp_s + pace.steady_s}s"}
    words = [word for name, value in load.items() for word in (name, str(value))]
    trust = ["--ca", str(ready["ca"])] if ready["ca"] else []
    place = ["--url", str(ready["urls"]["ga"]), *trust, "--runs", str(scratch / "runs"), "--loglevel", "WARNING"]
    with (scratch / "harness.log").open("wb") as log:
        return subprocess.Popen(
            python_command("locust", "-f", str(scenario), "--headless", *words, *place),
            cwd=scratch,
            env=own_environment(_environment(os.environ, scratch)),
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for this process to act on
        )


def _environment(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment without what is set for other runs, in variables or at home, and without proxies.

    Packages that are installed for this user alone are found all the same.
    """
    here = without_proxies(environ)
    kept = {name: value for name, value in here.items() if not name.startswith(("LOCUST_", "XDG_"))}
    return kept | {"HOME": str(home), "PYTHONUSERBASE": site.getuserbase()}


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End the process with the block at the latest."""
    try:
        yield process
    finally:
        end(process)


def _watched(
    process: subprocess.Popen[bytes], simulating: int, pace: Pace, cores: Cores, scratch: Path, truth: Path
) -> PlayedRun:
    """Watch the run until it has ended."""
    folder = _when_begun(process, scratch)
    begin_ns = files.read_document(folder)["began_utc_ns"] + pace.ramp_s * NS_PER_S
    end_ns = begin_ns + pace.steady_s * NS_PER_S
    _sleep_until(begin_ns)
    first = reading(process.pid, simulating, cores.used)
    _sleep_until(end_ns)
    used, peak = usage(first, reading(process.pid, simulating, cores.used)), peak_rss_bytes(process.pid)
    return PlayedRun(folder, truth, begin_ns, end_ns, used, peak, _died(process, folder, scratch))


def _died(process: subprocess.Popen[bytes], folder: Path, scratch: Path) -> str:
    """How a run ended that did not come to its end; "" of one that did. Raises UsageError where it was refused."""
    with suppress(subprocess.TimeoutExpired):
        status = process.wait(END_S)
        if status == USAGE_STATUS:
            raise _failed(scratch)
        closed = "verdict" in files.read_document(folder)
        return "" if status in ENDED and closed else f"the run ended with status {status}"
    return f"the run did not end within {END_S:.0f} s of its planned end"


def _when_begun(process: subprocess.Popen[bytes], scratch: Path) -> Path:
    until_ns = monotonic_ns() + int(START_S * NS_PER_S)
    while not (begun := list((scratch / "runs").glob("*/run.json"))):
        if process.poll() is not None or monotonic_ns() > until_ns:
            raise _failed(scratch)
        time.sleep(POLL_S)
    return begun[0].parent


def _sleep_until(at_utc_ns: int) -> None:
    time.sleep(max(0.0, (at_utc_ns - utc_ns()) / NS_PER_S))


def _failed(scratch: Path) -> UsageError:
    said = (scratch / "harness.log").read_text(errors="replace").strip()
    return UsageError(f"the run did not end: {said[-300:] or 'it printed nothing'}")
