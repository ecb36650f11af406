"""Errors while two busy processes share the client's core (docs/accuracy.md).

Three variants alternate with the same busy processes: with the kernel's timestamps, without them
(for received and sent messages), and with `--priority`. The busy processes are in the client's
session, so that they share its group if the kernel groups by session (autogroup). Each line also
states whether the run was valid.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.base.cpu import allowed_cores, assign_cores, pinned_to
from bench.record import folder as files
from rtbench.calibrate.ground_truth import COLUMNS, Errors, match_rows, read_log
from tests.simulator_process import running_simulator
from tests.system.end_to_end.locust_process import SCENARIO, write_scenario
from tools.benchmarks.locust_runs import quantiles, run_locust
from tools.benchmarks.watched_run import p_ms

BUSY, CALLERS, LASTS_S, ROUNDS = 2, 60, 20, 3
BLIND = """
from bench.transport import tcp, tx_timestamps

tcp.enable_stamps = lambda sock: False
tx_timestamps._switch_on = lambda sock: False
"""
"""Code that switches the kernel's timestamps off."""
WAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "kernel": (SCENARIO, ()),
    "user-space clock": (SCENARIO + BLIND, ()),
    "kernel, --priority": (SCENARIO, ("--priority",)),
}
"""The scenario of each variant, and its options."""
SHOWN = ("ttfa", "transcript_first", "response_total")


class Ran(NamedTuple):
    """The metrics of one run, and their errors."""

    ttfa_ms: list[float]
    metrics: Errors
    instants: Errors
    verdict: dict[str, Any]
    event_loop_delay_ms: list[float]
    """(p50, p99)"""


def main() -> None:
    for busy in (0, BUSY):
        print(
            f"{busy} busy processes on the same machine, {CALLERS} callers, {ROUNDS} runs of"
            f" {LASTS_S} s each:"
        )
        runs: dict[str, list[Ran]] = defaultdict(list)
        for _ in range(ROUNDS):
            for variant, (scenario, options) in WAYS.items():
                runs[variant].append(run(scenario, busy, *options))
        for variant, ran in runs.items():
            show(variant, ran)


def run(scenario: str, busy: int, *options: str) -> Ran:
    cores = assign_cores(allowed_cores())
    with tempfile.TemporaryDirectory() as folder:
        scratch, truth = Path(folder), Path(folder) / "truth.jsonl"
        write_scenario(scratch, turns=4)
        (scratch / "scenario.py").write_text(scenario)
        with pinned_to(cores.simulator):
            simulator = running_simulator("--ground-truth", str(truth))
            with simulator as ready, pinned_to(cores.load_generator), crowd(busy):
                load = (
                    "-u",
                    str(CALLERS),
                    "-r",
                    str(CALLERS),
                    "-t",
                    f"{LASTS_S}s",
                    "--url",
                    ready.urls["ga"],
                )
                folder_ = run_locust(scratch / "scenario.py", scratch / "runs", *load, *options)
        rows = files.read_table(folder_, "turns", list(COLUMNS)).to_pylist()
        verdict = files.read_document(folder_)["validity"]
        errors = match_rows(rows, read_log(truth), {})
        event_loop_delay_ms = p_ms(folder_, "event_loop_delay", 0.5, 0.99)
    waits = [
        row["first_audio_at_ns"] - row["request_sent_at_ns"]
        for row in rows
        if row["outcome"] == "ok"
    ]
    return Ran(
        [wait / 1e6 for wait in waits],
        errors.metrics,
        errors.instants,
        verdict,
        event_loop_delay_ms,
    )


@contextmanager
def crowd(busy: int) -> Iterator[None]:
    """Run this number of busy loops, on the cores of this process."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def show(variant: str, runs: list[Ran]) -> None:
    ttfa_ms = np.concatenate([ran.ttfa_ms for ran in runs])
    print(
        f"  {variant}: {len(ttfa_ms)} turns, measured ttfa {quantiles(ttfa_ms, 0.5, 0.95, 0.99)} ms"
    )
    for name in SHOWN:
        print(f"    |{name} − truth| ms: {_wrong([ran.metrics for ran in runs], name)}")
    for name in ("request_sent", "first_audio"):
        print(f"    |{name} − truth| ms: {_wrong([ran.instants for ran in runs], name)}")
    for ran in runs:
        figures = " · ".join(
            _rule(rule) for rule in ran.verdict["checks"] if rule["value"] is not None
        )
        held_up = " · ".join(f"{delay:.3g}" for delay in ran.event_loop_delay_ms)
        print(f"    {ran.verdict['status']}: {figures} · event_loop_delay p50, p99 {held_up} ms")


def _wrong(errors: list[Errors], name: str) -> str:
    return quantiles(
        np.abs(np.concatenate([run_errors[name] for run_errors in errors])) / 1e6,
        0.5,
        0.99,
        0.999,
        1,
    )


def _rule(rule: dict[str, Any]) -> str:
    return f"{rule['name']} {rule['value']:.3g} ms (limit {rule['limit']:.3g})"


if __name__ == "__main__":
    main()
