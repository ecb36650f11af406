"""The CPU time per event if everything is recorded, and the number of sessions that one core can
run.

If there are two cores, the load generator has one and the simulator the other. The cost is the CPU
time of the process per event in the busiest seconds of a run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from bench.base.cpu import pinned_to
from bench.record import folder as files
from rtbench.calibrate.load_steps import PROFILE
from tests.simulator_process import running_simulator
from tests.system.end_to_end.locust_process import write_scenario
from tools.benchmarks.locust_runs import quantiles, run_locust, truth_of, turns_of, with_truth
from tools.benchmarks.watch import cores

LOADS = (50, 100, 200, 300, 400, 500, 600, 700, 800, 1000)


def main() -> None:
    for transport in ("plain", "tls"):
        capacity(transport)


def capacity(transport: str) -> None:
    """Increase the load until a run is invalid. Print whether the load generator or the
    simulator was the limit.
    """
    for sessions in LOADS:
        with tempfile.TemporaryDirectory() as folder:
            if not carries(Path(folder), transport, sessions):
                return


def carries(scratch: Path, transport: str, sessions: int) -> bool:
    scenario, truth_log = write_scenario(scratch, 12), scratch / "truth.jsonl"
    (scratch / "profile.yaml").write_text(PROFILE)
    tls = ["--tls"] if transport == "tls" else []
    where, served = (
        cores(),
        ("--ground-truth", str(truth_log), "--profile", str(scratch / "profile.yaml"), *tls),
    )
    with (
        pinned_to(where.simulator),
        running_simulator(*served) as ready,
        pinned_to(where.load_generator),
    ):
        load = [
            "-u",
            str(sessions),
            "-r",
            "40",
            "--sessions",
            str(sessions),
            "--url",
            ready.urls["ga"],
        ]
        ca = ["--ca-file", str(ready.ca)] if ready.ca else []
        run = run_locust(scenario, scratch / "runs", *load, *ca)
    verdict = files.read_document(run)["validity"]
    joined = with_truth(turns_of(run), truth_of(truth_log))
    busy = busiest(run)
    lateness = ready.output.strip().splitlines()[-1].removeprefix("SIMULATED: ")
    events_per_session = busy["events"] / sessions
    print(
        f"{transport}, {sessions} sessions: {verdict['status']} · {events_per_session:.0f} events/s"
        f" per session · CPU {busy['cpu'] * 100:.0f} %, {busy['cpu'] / busy['events'] * 1e6:.1f} µs"
        f" per event · |ttfa − truth| ms {quantiles(joined['error_ms'].abs(), 0.5, 0.99)}"
    )
    print(f"    simulator: {lateness}")
    return verdict["status"] == "valid"


def busiest(run: Path) -> pd.Series[float]:
    """Return the means over the third of the seconds that has the most events: all sessions are
    active in it.
    """
    seconds: pd.DataFrame = files.read_table(run, "seconds").to_pandas()
    busy_seconds = seconds.nlargest(max(1, len(seconds) // 3), "events")
    return busy_seconds[["events", "cpu"]].mean()


if __name__ == "__main__":
    main()
