"""A run against a simulator, each on its own core, sampled from outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.base.cpu import CpuAssignment, pinned_to
from bench.record import folder as files
from bench.record import histograms
from bench.record.histograms import MEASURED, quantile
from tests.simulator_process import ROOT, running_simulator
from tests.system.end_to_end.locust_process import write_scenario
from tools.benchmarks.watch import Watched, cores, watched

LIMIT_S = 180.0
FINE = (0, 4)
"""The exit statuses of a valid run (0) and of an invalid one (4)."""


@dataclass(frozen=True)
class WatchedRun:
    """The paths of a run's rows and of the simulator's truth log, and its resource use."""

    folder: Path
    truth_log: Path
    watched: Watched
    simulator: str
    """The simulator's report of its own lateness."""

    @property
    def verdict(self) -> dict[str, Any]:
        validity: dict[str, Any] = files.read_document(self.folder)["validity"]
        return validity


def quantile_ms(folder: Path, metric: str, p: float) -> float:
    """Return a quantile of a metric of the load generator, in a run with one target."""
    (histogram,) = (
        histogram
        for key, histogram in histograms.read(folder / "histograms.hlog").items()
        if key.metric == metric and key.phase == MEASURED
    )
    value_us = quantile(histogram, p)
    return float("nan") if value_us is None else value_us / 1000


def watched_run(
    scratch: Path,
    script: str,
    sessions: int,
    ramp_s: float,
    *,
    tls: bool = False,
    profile: str = "",
) -> WatchedRun:
    """Run `sessions` concurrent sessions, opened evenly over `ramp_s`, once each. Raise
    AssertionError.
    """
    scenario, truth_log = write_scenario(scratch, script=script), scratch / "truth.jsonl"
    (scratch / "profile.yaml").write_text(profile or "{}\n")
    where = cores()
    served = [
        "--ground-truth",
        str(truth_log),
        "--profile",
        str(scratch / "profile.yaml"),
        *(["--tls"] if tls else []),
    ]
    with pinned_to(where.simulator), running_simulator(*served) as ready:
        load = ["-u", str(sessions), "-r", f"{sessions / ramp_s:g}", "--sessions", str(sessions)]
        paths = [
            "--url",
            ready.urls["ga"],
            "--runs-dir",
            str(scratch / "runs"),
            *(["--ca-file", str(ready.ca)] if tls else []),
        ]
        command = [sys.executable, "-m", "locust", "-f", str(scenario), "--headless", *load, *paths]
        seen = watched_command(command, scratch, where, ready.pid)
    (folder,) = (scratch / "runs").iterdir()
    return WatchedRun(folder, truth_log, seen, ready.output.strip().splitlines()[-1])


def watched_command(
    command: Sequence[str],
    scratch: Path,
    where: CpuAssignment,
    simulator: int,
    limit_s: float = LIMIT_S,
) -> Watched:
    """Run a load generator on its core, and sample it. Raise AssertionError if it fails, or
    exceeds its limit.
    """
    with (scratch / "output").open("wb") as output:
        with pinned_to(where.load_generator):
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        seen = watched(process, simulator, where, limit_s)
    assert seen is not None, f"the run did not end within {limit_s:g} s"
    assert process.returncode in FINE, (scratch / "output").read_text(errors="replace")
    return seen
