"""Errors of the metrics of agents' calls, by background and load: the table of docs/accuracy.md.

The agent is the simulator's. It plays its recordings over silence, comfort noise, noise or music,
and logs its actions. The instants in the log are exact to half a millisecond. Each error is also
compared with the uncertainty of its own value. Since a single call gives few values in a minute,
several processes run the backgrounds at the same time. The printed n shows if a p99 is based on too
few values.

`python -m tools.benchmarks.calls LOAD…` runs these loads (1, 100 and 200 calls), and prints the CPU
time of a call.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from bench.base.cpu import CpuAssignment, allowed_cores, assign_cores
from bench.base.installation import terminate
from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import CATALOGUE
from bench.plan.recordings import FULL_SCALE, to_pcm16
from bench.record import folder as files
from bench.record.calibration import AGENTS, LoadStep
from bench.record.validity_data import row_bounds
from bench.services.names import AgentName
from bench.wire.audio import AudioFormat, Samples
from rtbench.calibrate import load_steps
from rtbench.calibrate.ground_truth import match_rows, read_log
from rtbench_simulator.services.agents import AgentBehaviour
from tools.benchmarks import onsets

LOADS = (1, 100, 200)
BACKGROUNDS: Sequence[tuple[str, float]] = (
    *(behind for behind in onsets.BEHIND if behind[0] in (onsets.SILENCE, "white noise", "music")),
    ("comfort noise, −60 dBFS", -60),
)
"""(background, level).

The level is the dB by which the background is lower; for comfort noise it is the noise's own level.
"""
PACE, LONE_PACE = load_steps.LoadStepTiming(5, 30), load_steps.LoadStepTiming(1, 180)
PROFILE = "generation_speed: 1\ndelays_ms:\n  first_audio: {p50: 150, p95: 300}\n"
TRUE_TO_MS = 1.0
"""The maximum error of the truth itself: half a millisecond at each end."""
NOISE_S = 60
READY_S, ENDS_S = 60.0, 30.0


# The agent.


@cache
def background(behind: str, level_db: float, format: AudioFormat) -> Samples:
    """Return a minute of background, in 16 bits."""
    rng = np.random.default_rng(1)
    level = float(np.mean([onsets.rms(voice) for voice in onsets.voices(format.rate_hz)]))
    samples = onsets.noise(behind, level_db, NOISE_S * format.rate_hz, format.rate_hz, level, rng)
    return to_pcm16(samples.astype(np.float32))


def simulate(behind: str, level_db: str, *words: str) -> None:
    """Run `rtbench simulate` with this background."""
    from rtbench.cli.app import app

    def noisy(agent: Any, samples: Samples) -> Samples:
        made = background(behind, float(level_db), agent._wire.format)
        at = vars(agent).setdefault(
            "at", int(agent._rng.integers(len(made) // len(samples))) * len(samples)
        )
        agent.at = (at + len(samples)) % (len(made) // len(samples) * len(samples))
        mixed = samples.astype(np.int32) + made[at : at + len(samples)]
        return np.clip(mixed, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)

    for kind in AGENTS if behind != onsets.SILENCE else ():
        background(
            behind, float(level_db), load_steps.played_recording(kind).format
        )  # made here, before the first call starts
    AgentBehaviour._noisy = noisy  # type: ignore[assignment, method-assign]
    app(["simulate", *words])


@contextmanager
def agent(background_of: Sequence[str], *options: str) -> Iterator[dict[str, Any]]:
    """Start an agent like `rtbench.locust_run.simulator`, with one of `BACKGROUNDS`."""
    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch) / "ready.json"
        words = ("simulate", *background_of, "--port", "0", "--ready-file", str(ready), *options)
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.benchmarks.calls", *words],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until = time.monotonic() + READY_S
            while not ready.exists() and process.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
            yield json.loads(ready.read_text())
        finally:
            process.terminate()
            terminate(process, ENDS_S)


# The measurement.


class Compared(NamedTuple):
    """The errors of each value of a metric against the truth, and the uncertainties of the
    values, in ms.
    """

    errors_ms: list[float]
    bounds_ms: list[float]


class Played(NamedTuple):
    """The result of a load step, and the errors of each metric."""

    step: LoadStep
    metrics: dict[str, Compared]


def play(
    kind: AgentName,
    calls: int,
    background_of: tuple[str, float],
    pace: load_steps.LoadStepTiming,
    cores: CpuAssignment,
) -> Played:
    behind, level_db = background_of
    profile = PROFILE if behind == onsets.SILENCE else f"{PROFILE}agent: {{noise_dbfs: -60}}\n"
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        simulator = partial(agent, (behind, str(level_db)))
        with patch.multiple(load_steps, simulator=simulator, PROFILE=profile):
            run = load_steps.run_load(kind, calls, pace, cores, scratch, tls=False, dialect=kind)
        step = load_steps.load_step_entry(kind, calls, run, cores.workers, kind)
        return Played(step, {} if run.died else compared(kind, run))


def compared(kind: AgentName, run: load_steps.FinishedRun) -> dict[str, Compared]:
    """Return the errors of all values of a run against the truth, by metric."""
    truth = read_log(run.truth, load_steps.played_recording(kind))
    turns, sessions = (
        files.read_table(run.folder, "turns"),
        files.read_table(run.folder, "sessions"),
    )
    metrics = [CATALOGUE[name] for name in load_steps.COMPARED[kind]]
    tables = {metric.name: turns if metric.scope == "turn" else sessions for metric in metrics}
    bounds = {metric.name: row_bounds(tables[metric.name], metric).tolist() for metric in metrics}
    of_call = {name: index for index, name in enumerate(sessions["service_session_id"].to_pylist())}
    by_metric: dict[str, Compared] = {name: Compared([], []) for name in bounds}
    for index, row in enumerate(turns.to_pylist()):
        for name, errors_ns in match_rows(
            [row], truth, {}, load_steps.COMPARED[kind]
        ).metrics.items():
            row_of = index if tables[name] is turns else of_call[row["service_session_id"]]
            by_metric[name].errors_ms.append(errors_ns[0] / NS_PER_MS)
            by_metric[name].bounds_ms.append(bounds[name][row_of])
    return {name: errors for name, errors in by_metric.items() if errors.errors_ms}


def print_load(calls: int, background_of: tuple[str, float], played: Played) -> None:
    """Print the errors of each metric at one load."""
    behind, level_db = background_of
    step = played.step
    lower = f", {level_db:g} dB lower" if level_db > 0 else ""
    late = "–" if step.simulator_late_p99_ms is None else f"{step.simulator_late_p99_ms:.2g} ms"
    print(f"{behind}{lower}, {calls} calls by {step.kind}: {step.result} {step.why}")
    print(
        f"  {step.turns} turns, {step.failed} failed, {step.unmatched} without ground truth; CPU: "
        f"load generator {step.cpu or 0:.0%}, simulator {step.simulator_cpu or 0:.0%}, "
        f"other programs {step.background or 0:.0%}; simulator late by {late} (p99)"
    )
    for name, (errors_ms, bounds_ms) in played.metrics.items():
        error, bound = np.abs(errors_ms), np.array(bounds_ms)
        at = " · ".join(
            f"{np.quantile(error, p, method='inverted_cdf'):.3g}" for p in (0.5, 0.95, 0.99, 1)
        )
        over = error > bound + TRUE_TO_MS
        bounded = " · ".join(
            f"{np.quantile(bound, p, method='inverted_cdf'):.3g}" for p in (0.5, 0.99)
        )
        worst = (
            f": {', '.join(f'{errors_ms[at]:.0f} of {bound[at]:.0f}' for at in over.nonzero()[0])}"
            if over.any()
            else ""
        )
        print(
            f"  {name:<18} n {len(error):>5}  |value − truth| p50 · p95 · p99 · max {at} ms; "
            f"uncertainty p50 · p99 {bounded} ms; errors above it: {over.sum()}{worst}",
            flush=True,
        )


def main(loads: Sequence[int] = LOADS) -> None:
    cores = assign_cores(allowed_cores())
    if 1 in loads:
        with ProcessPoolExecutor(len(BACKGROUNDS)) as at_once:
            alone = at_once.map(
                partial(play, "twilio", 1, pace=LONE_PACE, cores=cores), BACKGROUNDS
            )
            for each, played in zip(BACKGROUNDS, alone, strict=True):
                print_load(1, each, played)
    for calls in (calls for calls in loads if calls > 1):
        for each in BACKGROUNDS:
            print_load(calls, each, play("twilio", calls, each, PACE, cores))
        for kind in AGENTS[1:]:
            print_load(calls, BACKGROUNDS[0], play(kind, calls, BACKGROUNDS[0], PACE, cores))


if __name__ == "__main__":
    if sys.argv[1:2] == ["simulate"]:
        simulate(*sys.argv[2:])
    else:
        main([int(word) for word in sys.argv[1:]] or LOADS)
