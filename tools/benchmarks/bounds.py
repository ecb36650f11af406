"""The uncertainty of text sessions' latencies by io_uring and by epoll, and its CPU time.

This is a table of docs/decisions/0002-timestamp-uncertainty.md. The runs of the two readers
alternate. The load generator has one core, and the simulator another one. Each value is compared
with the simulator's log. *inside* is the share of values whose error is at most their uncertainty,
plus the half millisecond to which the log knows an instant.

`python -m tools.benchmarks.bounds SESSIONS… [--pairs N] [--tls]` runs these loads.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.base.cpu import allowed_cores, assign_cores
from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import CATALOGUE
from bench.record import folder as files
from bench.record.calibration import GA, LoadStep
from bench.record.validity_data import row_bounds
from bench.transport.ring.choice import VARIABLE
from rtbench.calibrate import load_steps
from rtbench.calibrate.ground_truth import match_rows, read_log

READERS = ("epoll", "io_uring")
LOADS = (100, 400)
METRICS = ("transcript_first", "ttfa")
PACE = load_steps.LoadStepTiming(4, 12)
TRUTH_MS = 0.5
"""The maximum error of the truth itself."""
HEAD = """\
| sessions | reader | of | n | uncertainty p50/p99/p99.9, ms | error p50/p99, ms | inside, % \
| CPU, µs an event | verdict |
|--:|---|---|--:|--:|--:|--:|--:|---|"""


class Values(NamedTuple):
    """The uncertainties of the values of a metric in a run, and their errors, in ms."""

    bounds_ms: list[float]
    errors_ms: list[float]


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.bounds", description=__doc__)
    parser.add_argument("sessions", type=int, nargs="*", default=LOADS)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args(arguments)
    print(HEAD, flush=True)
    for sessions in options.sessions:
        for number in range(options.pairs):
            for reader in READERS if number % 2 == 0 else reversed(READERS):
                step, values = run_once(reader, sessions, tls=options.tls)
                print(*lines(sessions, reader, step, values), sep="\n", flush=True)


def run_once(reader: str, sessions: int, *, tls: bool) -> tuple[LoadStep, dict[str, Values]]:
    os.environ[VARIABLE] = reader
    cores = assign_cores(allowed_cores())
    with tempfile.TemporaryDirectory() as scratch:
        run = load_steps.run_load("text", sessions, PACE, cores, Path(scratch), tls=tls, dialect=GA)
        step = load_steps.load_step_entry("text", sessions, run, cores.workers, GA)
        truth = read_log(run.truth, load_steps.played_recording(GA))
        turns = files.read_table(run.folder, "turns")
        values = {name: Values([], []) for name in METRICS}
        bounds = {name: row_bounds(turns, CATALOGUE[name]) for name in METRICS}
        for index, row in enumerate(turns.to_pylist()):
            for name, errors_ns in match_rows([row], truth, {}, METRICS).metrics.items():
                values[name].errors_ms.append(errors_ns[0] / NS_PER_MS)
                values[name].bounds_ms.append(float(bounds[name][index]))
        return step, values


def lines(sessions: int, reader: str, step: LoadStep, values: dict[str, Values]) -> list[str]:
    rows = []
    for name, (bounds_ms, errors_ms) in values.items():
        bound, error = np.array(bounds_ms), np.abs(errors_ms)
        inside = float(np.mean(error <= bound + TRUTH_MS)) * 100
        quantiles = f"{at(bound, 0.5, 0.99, 0.999)} | {at(error, 0.5, 0.99)} | {inside:.2f}"
        rows.append(f"| {sessions} | {reader} | {name} | {len(bound)} | {quantiles} | | |")
    events = (step.load_generator or {})["timestamp_uncertainty"]
    quantiles = f"{events.p50:.3g}/{events.p99:.3g}/{events.p999:.3g}"
    end = f"{step.us_per_event or 0:.1f} | {step.validity}"
    rows.append(f"| | | all events | {events.n} | {quantiles} | | | {end} |")
    used = ", ".join(
        f"{name} {share or 0:.2f}"
        for name, share in (
            ("load generator", step.cpu),
            ("simulator", step.simulator_cpu),
            ("other programs", step.background),
        )
    )
    rows.append(f"<!-- shares of a core: {used}; load average {os.getloadavg()[0]:.1f} -->")
    return rows


def at(values: np.ndarray, *levels: float) -> str:
    return "/".join(f"{np.quantile(values, p, method='inverted_cdf'):.3g}" for p in levels)


if __name__ == "__main__":
    main(sys.argv[1:])
