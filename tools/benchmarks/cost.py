"""The CPU time per event if everything is recorded, and the number of sessions that one core can
run.

If there are two cores, the load generator has one and the simulator the other. The cost is the CPU
time of the process per event in the busiest seconds of a run. `rtbench calibrate` measures the
errors at these loads.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from bench.record import folder as files
from rtbench.calibrate.load_steps import PROFILE
from tools.benchmarks.watched_run import watched_run

LOADS = (50, 100, 200, 300, 400, 500, 600, 700, 800, 1000)
STARTS_PER_S = 40
SCRIPT = "session:\n  output: audio\nsteps:\n" + "  - text: 'Hello.'\n" * 12


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
    ramp_s = sessions / STARTS_PER_S
    run = watched_run(scratch, SCRIPT, sessions, ramp_s, tls=transport == "tls", profile=PROFILE)
    busy, status = busiest(run.folder), run.verdict["status"]
    print(
        f"{transport}, {sessions} sessions: {status} · {busy['events'] / sessions:.0f} events/s"
        f" per session · CPU {busy['cpu'] * 100:.0f} %, {busy['cpu'] / busy['events'] * 1e6:.1f} µs"
        f" per event\n    simulator: {run.simulator}",
        flush=True,
    )
    return bool(status == "valid")


def busiest(run: Path) -> pd.Series[float]:
    """Return the means over the third of the seconds that has the most events: all sessions are
    active in it.
    """
    seconds: pd.DataFrame = files.read_table(run, "seconds").to_pandas()
    busy_seconds = seconds.nlargest(max(1, len(seconds) // 3), "events")
    return busy_seconds[["events", "cpu"]].mean()


if __name__ == "__main__":
    main()
