"""Does the verdict mean something? Bursts of five events in a segment must leave a healthy run valid; a reader that is
stopped for 200 ms, ten times, must not."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.run import folder as files
from tests.benchmark.harness import quantiles, run_locust, truth_of, turns_of, with_truth
from tests.simulator_process import running_simulator
from tests.system.end_to_end.locust_process import write_scenario

SESSIONS, TURNS = 20, 10
BURSTS = "events_per_segment: 5\n"
STOPS, STOPPED_S = 10, 0.2


def main() -> None:
    valid = metric("bursts of five events in a segment", BURSTS)
    invalid = metric(f"reader stopped {STOPS} times for {STOPPED_S * 1000:g} ms", "", stop_and_go)
    print(f"the verdicts are right: {valid is True and invalid is False}")


def metric(title: str, profile: str, meanwhile: Callable[[subprocess.Popen[str]], None] | None = None) -> bool | None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        (scratch / "profile.yaml").write_text(profile)
        truth_log = scratch / "truth.jsonl"
        options = ["--ground-truth", str(truth_log), *(["--profile", str(scratch / "profile.yaml")] if profile else [])]
        scenario = write_scenario(scratch, TURNS)
        with running_simulator(*options) as ready:
            load = ["-u", str(SESSIONS), "-r", "10", "--sessions", str(SESSIONS), "--url", ready.urls["ga"]]
            run, status, output = run_locust(scenario, scratch / "runs", *load, meanwhile=meanwhile)
        truth, _ = truth_of(truth_log)
        joined = with_truth(turns_of(run), truth)
        verdict = files.read_document(run)["validity"]
    rule = verdict["checks"][0]
    print(f"{title}: {verdict['status']}, exit {status}")
    print(f"  timestamp_uncertainty p99 of first deltas {rule['value']} ms, limit {rule['limit']} ms")
    print(f"  |ttfa − truth|, ms:   {quantiles(joined['error_ms'].abs(), 0.5, 0.99, 1)}")
    exceeded = (joined["error_ms"].abs() * 1e6 > joined["timestamp_uncertainty_ns"] + 1e6).sum()
    print(f"  turns whose error is above their timestamp_uncertainty by more than 1 ms: {exceeded} of {len(joined)}")
    print(f"  {output.strip().splitlines()[-2]}")
    return {"valid": True, "invalid": False, "no_verdict": None}[verdict["status"]]


def stop_and_go(process: subprocess.Popen[str]) -> None:
    """Hold the reader up, as a machine without an idle core does."""
    time.sleep(5)  # until sessions are under way
    for _ in range(STOPS):
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
