"""Ten minutes at half of what a core carries, with faults of every kind: memory and open files stay what they were.

Both processes are looked at once a second, after a first minute in which buffers and caches fill. SOAK_S=60 takes a
minute.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.calibrate.climb import PROFILE
from bench.cores import allowed_cores, cores_of, on
from bench.run import folder as files
from tests.benchmark.harness import run_locust
from tests.benchmark.watch import rss_bytes
from tests.simulator_process import running_simulator
from tests.system.end_to_end.locust_process import write_scenario

CALLERS, TURNS = 200, 12
LASTS_S = float(os.environ.get("SOAK_S", "600"))
FULL_AFTER = 0.1
"""The share of the run in which buffers and caches fill."""
FAULTS = (
    *("close,at=next_delta,code=1011", "close,at=done,code=1006", "reset,at=first_delta", "session_expired,at=done"),
    *("failed", "incomplete", "error,at=next_delta", "no_audio", "burst", "drop", "duplicate", "reorder", "unknown"),
    *("bad_json", "bad_base64", "binary", "fragmented", "drip,bytes_per_s=50000", "http,status=503", "internal"),
)
SHARE = 0.003
"""Of each fault: one response or session in sixteen meets one."""


def main() -> None:
    cores, faults = cores_of(allowed_cores()), [word for f in FAULTS for word in ("--fault", f"{f},share={SHARE}")]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "profile.yaml").write_text(PROFILE)
        scenario = write_scenario(scratch, TURNS)
        with on(cores.simulator):
            simulated = running_simulator("--profile", str(scratch / "profile.yaml"), *faults)
            with simulated as ready, on(cores.harness):
                load = ("-u", str(CALLERS), "-r", "20", "-t", f"{LASTS_S:g}s", "--url", ready.urls["ga"])
                looks: list[tuple[float, ...]] = []
                run, status, output = run_locust(
                    scenario, scratch / "runs", *load, meanwhile=partial(_look, ready.pid, looks)
                )
        document = files.read_document(run)
        turns = document["totals"]["turns"]
        print(f"{sum(turns.values())} turns, status {status}, verdict {document['validity']['status']}; "
              f"{', '.join(f'{name} {count}' for name, count in sorted(turns.items()))}")  # fmt: skip
        if not looks:
            print(output)
        _tell(np.array(looks))


def _look(simulator: int, looks: list[tuple[float, ...]], process: subprocess.Popen[str]) -> None:
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() - begun < LASTS_S:
        values: list[float] = [time.monotonic() - begun]
        try:
            for pid in (process.pid, simulator):
                values += [rss_bytes(pid) / 2**20, len(os.listdir(f"/proc/{pid}/fd"))]
        except OSError:
            return
        looks.append(tuple(values))
        time.sleep(1)


def _tell(looks: npt.NDArray[np.float64]) -> None:
    """Memory and open files of both processes, of the tenth after the start and of the last tenth."""
    at_s = looks[:, 0]
    settled = at_s >= FULL_AFTER * LASTS_S
    first = settled & (at_s < 2 * FULL_AFTER * LASTS_S)
    last = at_s >= (1 - FULL_AFTER) * LASTS_S
    median: Callable[[npt.NDArray[np.float64]], float] = lambda part: float(np.median(part))  # noqa: E731
    for name, place in (("harness", 1), ("simulator", 3)):
        memory, open_files = looks[:, place], looks[:, place + 1]
        print(f"{name}: {median(memory[first]):.0f} MiB at first, {median(memory[last]):.0f} MiB at last "
              f"(most {memory.max():.0f}); open files {median(open_files[first]):.0f} at first, "
              f"{median(open_files[last]):.0f} at last (most {open_files.max():.0f})")  # fmt: skip
