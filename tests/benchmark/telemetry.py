"""What `--telemetry` costs the process that plays: CPU an event and the loop's delay, in pairs with it and without.

The child that sends the metrics is not in these figures, but takes its time from what is left of the cores.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.run import folder as files
from tests.benchmark.harness import run_locust
from tests.benchmark.watched_run import p_ms
from tests.collector import collector
from tests.end_to_end.locust_process import write_scenario
from tests.simulator_process import running_simulator

CALLERS, RAMP_S, LASTS_S, PAIRS = 200, 5, 25, 5


class Cost(NamedTuple):
    """Of the seconds after the ramp."""

    cpu_us_an_event: float
    cores: float
    hub_delay_p99_ms: float


def main() -> None:
    pairs = []
    with collector() as received, running_simulator() as ready:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = received.url
        for number in range(PAIRS):
            ways: tuple[tuple[str, ...], ...] = ((), ("--telemetry",))
            costs = {way: cost(ready.urls["ga"], *way) for way in (ways if number % 2 else reversed(ways))}
            pairs.append((costs[()], costs[("--telemetry",)]))
            print(" · ".join(f"{name} {c.cpu_us_an_event:.1f} µs an event, {c.cores:.3f} cores, hub_delay p99 "
                             f"{c.hub_delay_p99_ms:.2f} ms" for name, c in zip(("off", "on"), pairs[-1], strict=True)),
                  flush=True)  # fmt: skip
    more = median(on.cpu_us_an_event / off.cpu_us_an_event - 1 for off, on in pairs)
    print(f"{CALLERS} sessions, {PAIRS} pairs: {100 * more:+.1f} % of the process's CPU, median")


def cost(url: str, *options: str) -> Cost:
    """Of one run."""
    with tempfile.TemporaryDirectory() as scratch:
        scenario = write_scenario(Path(scratch), turns=20)
        load = ("-u", str(CALLERS), "-r", str(CALLERS // RAMP_S), "-t", f"{RAMP_S + LASTS_S}s", "--url", url)
        folder, _, _ = run_locust(scenario, Path(scratch) / "runs", *load, *options)
        seconds = files.read_table(folder, "seconds").to_pandas()
        full = seconds[seconds["sessions_active"] == CALLERS].iloc[1:]
        cpu_s = (full["cpu"] * full["length_ns"]).sum() / 1e9
        length_s = full["length_ns"].sum() / 1e9
        return Cost(1e6 * cpu_s / full["events"].sum(), cpu_s / length_s, p_ms(folder, "hub_delay", 0.99)[0])
