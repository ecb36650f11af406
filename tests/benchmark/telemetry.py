"""What `--telemetry` costs the process that plays: CPU an event and the loop's delay, in pairs with it and without.

The two runs of a pair go on beside each other, so that whatever else this machine does is in both. The child that
sends the metrics is not in these figures, but takes its time from what is left of the cores.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import gevent

from bench.load.leading.monitor import Telemetry
from bench.load.playing.progress import BOUND, TARGET_COUNTS, VALUE, LiveKey, ProgressReport
from bench.metrics import HEADLINE
from bench.run import folder as files
from tests.benchmark.harness import run_locust
from tests.benchmark.watched_run import p_ms
from tests.collector import collector
from tests.simulator_process import running_simulator
from tests.system.end_to_end.locust_process import write_scenario

CALLERS, RAMP_S, LASTS_S, PAIRS = 200, 5, 25, 5
TURNS_A_S, REPORTS = 40, 500
MOST = 0.8
"""A second counts in which so many of the callers' sessions are under way."""


class Cost(NamedTuple):
    """Of the seconds after the ramp."""

    cpu_us_an_event: float
    cores: float
    event_loop_delay_p99_ms: float


def main() -> None:
    pairs: list[tuple[Cost, ...]] = []
    with collector() as received, running_simulator() as ready:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = received.url
        print(f"a second's report of {TURNS_A_S} turns takes {told_us():.0f} µs to tell", flush=True)
        for _ in range(PAIRS):
            with ThreadPoolExecutor(2) as both:
                pairs.append(tuple(both.map(partial(cost, ready.urls["ga"]), [(), ("--telemetry",)])))
            print(" · ".join(f"{name} {c.cpu_us_an_event:.1f} µs an event, {c.cores:.3f} cores, event_loop_delay p99 "
                             f"{c.event_loop_delay_p99_ms:.2f} ms" for name, c in zip(("off", "on"), pairs[-1],
                                 strict=True)),
                  flush=True)  # fmt: skip
    more = median(on.cpu_us_an_event / off.cpu_us_an_event - 1 for off, on in pairs)
    print(f"{CALLERS} sessions, {PAIRS} pairs: {100 * more:+.1f} % of the process's CPU, median")


def told_us() -> float:
    """CPU of a report of these callers, with the write to the child: of a loop that tells, less one that does not."""
    values = [LiveKey(VALUE, name, "request_sent") for name in HEADLINE]
    bounds = [LiveKey(BOUND, name, "request_sent") for name in HEADLINE]
    times = {"here": {"talk.say": [(key, [523_456] * TURNS_A_S) for key in (*values, *bounds)]}}
    standing = ProgressReport(targets={"here": dict.fromkeys(TARGET_COUNTS, 1.0)}, times_us=times)
    telemetry = Telemetry("run", cast(Any, SimpleNamespace(targets=[], scenario="talk")), print)
    loops = []
    for tells in (False, True):
        begun_s = time.process_time()
        for _ in range(REPORTS):
            if tells:
                telemetry.tell(0, standing)
            gevent.sleep(0.002)
        loops.append(time.process_time() - begun_s)
    telemetry.close()
    return 1e6 * (loops[1] - loops[0]) / REPORTS


def cost(url: str, options: Sequence[str]) -> Cost:
    """Of one run."""
    with tempfile.TemporaryDirectory() as scratch:
        scenario = write_scenario(Path(scratch), turns=20)
        load = ("-u", str(CALLERS), "-r", str(CALLERS // RAMP_S), "-t", f"{RAMP_S + LASTS_S}s", "--url", url)
        folder, _, _ = run_locust(scenario, Path(scratch) / "runs", *load, *options)
        seconds = files.read_table(folder, "seconds").to_pandas()
        full = seconds[seconds["sessions_active"] >= MOST * CALLERS].iloc[1:]
        cpu_s = (full["cpu"] * full["duration_ns"]).sum() / 1e9
        length_s = full["duration_ns"].sum() / 1e9
        return Cost(1e6 * cpu_s / full["events"].sum(), cpu_s / length_s, p_ms(folder, "event_loop_delay", 0.99)[0])
