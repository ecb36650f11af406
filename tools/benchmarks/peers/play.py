"""A run of one client with a simulator, each on its own core: the client's report, the run's
cost, and the truth.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.base.cpu import pinned_to
from rtbench_simulator.ground_truth_log import read_truth
from tests.simulator_process import ROOT, running_simulator
from tools.benchmarks.peers import rtbench
from tools.benchmarks.peers.figures import Cannot, ClientReport, late_ms, report_from_records
from tools.benchmarks.peers.truth import Truth, truth_of
from tools.benchmarks.peers.work import Work, read_records
from tools.benchmarks.watch import Watched, cores, watched

PROFILE = (
    "generation_speed: 4.5\nrate_limits_updated: none\ndelays_ms:\n  first_audio: {p50: 150, p95:"
    " 300}\n"
)
"""A profile of answers with a short delay and fast generation: 40 events per second and session.

The events `rate_limits.updated` are omitted because their numbers depend on the time. So every
client receives the same bytes.
"""
TURN_S = 1.5
"""An upper bound of the mean duration of a turn with this profile."""
PATIENCE = 1.5
"""The maximum duration of a run as a multiple of the planned one. A client that takes longer cannot
sustain the load.
"""
START_S = 8.0
"""The time in s for the start of a client and for writing its report."""


@dataclass(frozen=True)
class Peer:
    """The command of a client, and the reader of its report.

    `utf8_check`: see `Work`. `tls`: True if the service uses wss.
    """

    name: str
    command: Callable[[Work, Path], list[str]]
    read_report: Callable[[Work, Path, Truth], ClientReport]
    utf8_check: bool = True
    tls: bool = False


@dataclass(frozen=True)
class Load:
    sessions: int
    turns: int
    ramp_s: float

    @property
    def limit_s(self) -> float:
        return self.ramp_s + PATIENCE * self.turns * TURN_S + START_S


@dataclass(frozen=True)
class Played:
    report: ClientReport
    truth: Truth
    watched: Watched


def locust_file(name: str) -> Callable[[Work, Path], list[str]]:
    """Return the command of a client that is a Locust file of this folder."""

    def command(work: Work, scratch: Path) -> list[str]:
        load = ["-u", str(work.sessions), "-r", f"{work.sessions / work.ramp_s:g}"]
        path = str(Path(__file__).with_name(f"{name}.py"))
        return [sys.executable, "-m", "locust", "-f", path, "--headless", *load]

    return command


def module(name: str) -> Callable[[Work, Path], list[str]]:
    """Return the command of a client that is a program of its own."""
    return lambda work, scratch: [sys.executable, "-m", f"{__package__}.{name}"]


def from_records(work: Work, scratch: Path, truth: Truth) -> ClientReport:
    return report_from_records(read_records(Path(work.out)), truth)


def from_rows(work: Work, scratch: Path, truth: Truth) -> ClientReport:
    return rtbench.client_report(scratch)


PEERS = (
    Peer("rtbench", rtbench.command, from_rows),
    Peer("websocket-client", locust_file("websocket_client"), from_records),
    Peer(
        "websocket-client unchecked",
        locust_file("websocket_client"),
        from_records,
        utf8_check=False,
    ),
    Peer("openai SDK", module("openai_sdk"), from_records),
    Peer("picows + uvloop", module("picows_uvloop"), from_records),
    Peer("rtbench over TLS", rtbench.command, from_rows, tls=True),
    Peer("openai SDK over TLS", module("openai_sdk"), from_records, tls=True),
    Peer("picows + uvloop over TLS", module("picows_uvloop"), from_records, tls=True),
)


def play(
    peer: Peer, load: Load, scratch: Path, *, profile: str = PROFILE, limit_s: float | None = None
) -> Played | Cannot:
    """Run one client at one load. Return Cannot if it failed or was much too slow.

    `limit_s`: replaces the load's own limit.
    """
    limit_s = load.limit_s if limit_s is None else limit_s
    truth_log, profile_path = scratch / "truth.jsonl", scratch / "profile.yaml"
    profile_path.write_text(profile)
    where, tls = cores(), ["--tls"] if peer.tls else []
    with (
        pinned_to(where.simulator),
        running_simulator(
            "--ground-truth", str(truth_log), "--profile", str(profile_path), *tls
        ) as ready,
    ):
        out = str(scratch / "records.json")
        work = Work(ready.urls["ga"], load.sessions, load.turns, load.ramp_s, out, peer.utf8_check)
        with (scratch / "output").open("wb") as output:
            with pinned_to(where.load_generator):
                process = subprocess.Popen(
                    peer.command(work, scratch),
                    cwd=ROOT,
                    env=environment(work, ready.ca),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            seen = watched(process, ready.pid, where, limit_s)
    truth = truth_of(read_truth(truth_log))
    if seen is None:
        return Cannot(
            f"more than {PATIENCE:g} times as slow as the service; stopped after {limit_s:.0f} s",
            late_ms(truth),
        )
    try:
        report = peer.read_report(work, scratch, truth)
    except (OSError, ValueError):
        last = (scratch / "output").read_text(errors="replace").strip().splitlines()[-1:]
        return Cannot(f"exit status {process.returncode}: {' '.join(last)}", late_ms(truth))
    return Played(report, truth, seen)


def environment(work: Work, ca: Path | None) -> dict[str, str]:
    """Return the environment of this process, without the variables that would direct a client to
    another service.

    `ca`: the only certificate authority that OpenSSL trusts. It replaces the authorities of the
    system.
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AZURE_OPENAI_", "OPENAI_"))
    }
    trusted = {} if ca is None else {"SSL_CERT_FILE": str(ca)}
    return clean | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT)} | trusted | work.environment()
