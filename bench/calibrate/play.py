"""Plays one load: the simulator in processes of its own, and a headless Locust run as users start it.

Harness and simulator are on different cores where there are two. The steady part of a run begins when all sessions
have started, and ends when no more turns begin.
"""

from __future__ import annotations

import json
import os
import site
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scenarios
from bench.calibrate.machine import Cores, CoreUsage, on, peak_rss_bytes, reading, usage
from bench.clock import utc_ns
from bench.errors import USAGE_STATUS, UsageError
from bench.locust_run import LocustRun, environment_without, locust_run, simulator, without_proxies
from bench.run import folder as files
from bench.run.calibration import SessionKind
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
END_S = 120.0
"""How long a run may take after its steady part, for the last turns and for closing."""


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
            words, environ = _words(scenario, scratch, sessions, pace, ready), _environment(os.environ, scratch)
            run = running.enter_context(locust_run(words, environ, log=scratch / "harness.log", folder=scratch))
        return _watched(run, int(ready["pid"]), pace, cores, scratch, truth)


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


def _words(scenario: Path, scratch: Path, sessions: int, pace: Pace, ready: Mapping[str, Any]) -> list[str]:
    """The command line of the run."""
    load = {"-u": sessions, "-r": -(-sessions // pace.ramp_s), "-t": f"{pace.ramp_s + pace.steady_s}s"}
    trust = ["--ca", str(ready["ca"])] if ready["ca"] else []
    place = ["--url", str(ready["urls"]["ga"]), *trust, "--runs", str(scratch / "runs"), "--loglevel", "WARNING"]
    return ["-f", str(scenario), "--headless", *(str(word) for option in load.items() for word in option), *place]


def _environment(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment without what is set for other runs, in variables or at home, and without proxies.

    Packages that are installed for this user alone are found all the same.
    """
    kept = environment_without(without_proxies(environ), "LOCUST_", "XDG_")
    return kept | {"HOME": str(home), "PYTHONUSERBASE": site.getuserbase()}


def _watched(run: LocustRun, simulating: int, pace: Pace, cores: Cores, scratch: Path, truth: Path) -> PlayedRun:
    """Watch the run until it has ended. Raises UsageError where it was refused."""
    folder, process = run.begun(scratch / "runs"), run.process
    begin_ns = files.read_document(folder)["began_utc_ns"] + pace.ramp_s * NS_PER_S
    end_ns = begin_ns + pace.steady_s * NS_PER_S
    _sleep_until(begin_ns)
    first = reading(process.pid, simulating, cores.used)
    _sleep_until(end_ns)
    used, peak = usage(first, reading(process.pid, simulating, cores.used)), peak_rss_bytes(process.pid)
    died = run.ended(folder, END_S)
    if process.returncode == USAGE_STATUS:
        raise UsageError(died)
    return PlayedRun(folder, truth, begin_ns, end_ns, used, peak, died)


def _sleep_until(at_utc_ns: int) -> None:
    time.sleep(max(0.0, (at_utc_ns - utc_ns()) / NS_PER_S))
