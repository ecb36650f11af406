"""A check that metrics called exact are exact, and that uncertainties are upper bounds
(docs/decisions/0002).

Runs with a stopped reader, a busy core and bursts are compared with the simulator's ground truth. A
turn is *beyond* its uncertainty if its error is larger than the uncertainty plus 1 ms, because the
truth is exact to half a millisecond at both ends. If the truth is less exact, the turn is counted
as not known. A turn is *missed* if its error is larger than the metric's limit, but its uncertainty
is not. If a run calls a metric exact, p99 of the error must be within the limit. The verdict from
the timestamps of first deltas alone is printed, too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.cpu import allowed_cores, assign_cores, pinned_to
from bench.catalogue.metrics import CATALOGUE
from bench.plan.recordings import load_pcm
from bench.record import folder as files
from bench.record import validity_data
from bench.record.validity import MAX_UNCERTAINTY_MS, MAX_UNCERTAINTY_SHARE, MetricUncertainty
from bench.record.validity_data import metric_uncertainties, quantile_or_none
from rtbench.calibrate.ground_truth import COLUMNS, GroundTruth, MatchedErrors, match_rows, read_log
from rtbench.calibrate.load_steps import RECORDING
from tests.simulator_process import running_simulator
from tests.system.end_to_end.locust_process import write_scenario
from tools.benchmarks.crowd import crowd
from tools.benchmarks.locust_runs import run_locust

METRICS = ("ttfa", "transcript_first", "transcript_total", "end_of_turn_delay", "response_total")
TALK = f"""\
session: {{output: audio, turn_detection: {{type: server_vad, silence_duration_ms: 500}}}}
steps:
  - {{audio: {RECORDING}, chunk_ms: 50, name: said}}
  - {{audio: {RECORDING}, chunk_ms: 50, name: said_again}}
"""
TYPE = "session: {output: audio}\nsteps:\n" + "  - {text: Hello., name: typed}\n" * 4
PROFILE = """\
delays_ms:
  transcript_lead: {p50: 30, p95: 31}
"""
COINCIDING = f"generation_speed: 1\n{PROFILE}  first_audio: {{p50: 300, p95: 301}}\n"
SLACK_MS = 1.0
STOPPED_S, APART_S = 0.045, 0.35


@dataclass(frozen=True)
class Situation:
    """A run with a cause that delays the reader."""

    name: str
    script: str
    callers: int
    lasts_s: int
    profile: str = PROFILE
    meanwhile: Callable[[subprocess.Popen[str]], None] | None = None
    crowding: Callable[[], AbstractContextManager[None]] = nullcontext


def main() -> None:
    for situation in SITUATIONS:
        metric(situation)


def metric(situation: Situation) -> None:
    """Run the situation; print for each metric its error, its uncertainty, and the verdict of
    the run.
    """
    cores = assign_cores(allowed_cores())
    with tempfile.TemporaryDirectory() as scratch_:
        scratch, truth_log = Path(scratch_), Path(scratch_) / "truth.jsonl"
        (scratch / "profile.yaml").write_text(situation.profile)
        scenario = write_scenario(scratch, script=situation.script)
        with pinned_to(cores.simulator):
            simulator = running_simulator(
                "--ground-truth", str(truth_log), "--profile", str(scratch / "profile.yaml")
            )
            with simulator as ready, pinned_to(cores.load_generator), situation.crowding():
                callers = str(situation.callers)
                load = (
                    "-u",
                    callers,
                    "-r",
                    callers,
                    "-t",
                    f"{situation.lasts_s}s",
                    "--url",
                    ready.urls["ga"],
                )
                folder, _, _ = run_locust(
                    scenario, scratch / "runs", *load, meanwhile=situation.meanwhile
                )
        verdict, matched = (
            files.read_document(folder)["validity"],
            truth_by_row(folder, read_log(truth_log)),
        )
        word = verdict["status"]
        print(f"{situation.name}, {situation.callers} callers: {word}; {_first_deltas(folder)}")
        of_metric = {
            uncertainty.metric: uncertainty
            for uncertainty in metric_uncertainties(files.row_reader(folder))
        }
        wrong = errors_ms(folder, matched)
        for name in METRICS:
            if name in wrong:
                show(name, wrong[name], of_metric[name])
        print(
            f"  turns without a ground truth to 0.5 ms: {sum(row.unmatched for row in matched)}",
            flush=True,
        )


def truth_by_row(folder: Path, truth: GroundTruth) -> list[MatchedErrors]:
    """Return the errors of each row of the run against the truth."""
    speeches = {RECORDING.name: load_pcm(RECORDING).speech}
    rows: list[dict[str, Any]] = files.read_table(folder, "turns", list(COLUMNS)).to_pylist()
    return [match_rows([row], truth, speeches) for row in rows]


def errors_ms(folder: Path, matched: list[MatchedErrors]) -> dict[str, list[tuple[float, float]]]:
    """Return (error, uncertainty) in ms of each turn with a known truth, by metric."""
    pairs_by_metric = {}
    for name in METRICS:
        rows = files.read_table(folder, "turns", validity_data.bound_columns(CATALOGUE[name]))
        slack = validity_data.row_bounds(rows, CATALOGUE[name])
        pairs = [
            (abs(row.metrics[name][0]) / 1e6, float(s))
            for row, s in zip(matched, slack, strict=True)
            if name in row.metrics
        ]
        if pairs:
            pairs_by_metric[name] = pairs
    return pairs_by_metric


def show(name: str, pairs: list[tuple[float, float]], uncertainty: MetricUncertainty) -> None:
    """Print a line; it ends with `WRONG` if the run calls a metric exact that is not."""
    error, slack = (np.array(column) for column in zip(*pairs, strict=True))
    p50, p99 = quantile_or_none(error, 0.5), quantile_or_none(error, 0.99) or 0.0
    beyond, missed = (
        (error > slack + SLACK_MS).mean(),
        ((error > uncertainty.limit + SLACK_MS) & (slack <= uncertainty.limit)).mean(),
    )
    exactness = "exact" if uncertainty.exact else "not exact"
    right = "" if not uncertainty.exact or p99 <= uncertainty.limit + SLACK_MS else " WRONG"
    print(
        f"  {name:<17} {error.size:>5} turns  |value − truth| p50 {p50:.3f} · p99 {p99:.3f} · max"
        f" {error.max():.3f}  uncertainty p99 {uncertainty.bound_p99:.3f}  limit"
        f" {uncertainty.limit:.2f}  errors above it {beyond:.2%}  undetected {missed:.2%} "
        f" {exactness}{right}",
        flush=True,
    )


def _first_deltas(folder: Path) -> str:
    """Return what the verdict on timestamps would be if only the first deltas counted."""
    rows = files.read_table(
        folder,
        "turns",
        [
            "outcome",
            "timestamp_uncertainty_ns",
            "first_audio_at_ns",
            "request_sent_at_ns",
            "speech_end_at_ns",
        ],
    ).to_pandas()
    good = rows[rows["outcome"] == "ok"]
    waits = good["first_audio_at_ns"] - good["request_sent_at_ns"].fillna(good["speech_end_at_ns"])
    p99, p50 = (
        quantile_or_none(column.dropna().to_numpy() / 1e6, p) or 0.0
        for column, p in ((rows["timestamp_uncertainty_ns"], 0.99), (waits, 0.5))
    )
    limit = max(MAX_UNCERTAINTY_MS, MAX_UNCERTAINTY_SHARE * p50)
    return (
        f"by the first deltas only: {'VALID' if p99 <= limit else 'INVALID'} ({p99:.3f} ms, limit"
        f" {limit:.2f})"
    )


def stop_and_go(process: subprocess.Popen[str]) -> None:
    """Stop the reader for a moment, repeatedly, like a machine without an idle core."""
    time.sleep(4)  # until sessions are active
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s and process.poll() is None:
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(APART_S)


SITUATIONS = (
    Situation("nothing in its way", TALK, 20, 20),
    Situation("stopped reader, typed", TYPE, 40, 25, meanwhile=stop_and_go),
    Situation("stopped reader, spoken", TALK, 40, 25, meanwhile=stop_and_go),
    Situation("crowded core", TALK, 30, 25, crowding=lambda: crowd(2)),
    Situation("burst", TYPE, 400, 20, COINCIDING),
)


if __name__ == "__main__":
    main()
