"""Does the gate decide rightly, end to end? Real runs through all processes against simulators with short delays.

Two services alike must never be called *regressed*; one that is 30 % slower nearly always, at the size that
`rtbench sample-size` asked for; a harness that was held up, arms that were throttled and runs without data must exit
with 4.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.benchmark.validity import stop_and_go
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.locust_process import locust, only_run, write_scenario

RUNS = 5
PILOT, ALIKE = 200, 120
"""Pairs of the pilot, and of runs of services alike."""
TURNS, USERS = 5, 10
P50_MS, SLOWER = 400.0, 1.3
"""A stamp may be off by a hundredth of the median: two services and their client on two cores are off by 2 ms."""
SPEED = "10"
"""Times that of real speech: faster, events come back to back and share reads."""
FOUND_LEAST = 4
GUARD_S = 900.0
REGRESSED, INVALID = 1, 4


def main() -> None:
    met = [
        told("the same twice, default margins: never regressed", _alike),
        told("30 % slower, sized for power 0.99: found", _slower),
        told("a harness that is held up: 4", _held_up),
        told("throttled arms: 4", _throttled),
        told("no data: 4", _without_data),
    ]
    print(f"all met: {all(met)}")


def told(title: str, measured: Callable[[Path], tuple[bool, str]]) -> bool:
    """Measure in a folder of its own, and print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        met, said = measured(Path(folder))
    print(f"{'met    ' if met else 'NOT MET'} {title}: {said}", flush=True)
    return met


def _alike(folder: Path) -> tuple[bool, str]:
    statuses = [check(paired(folder / str(run), P50_MS, ALIKE, seed=run)) for run in range(RUNS)]
    return REGRESSED not in statuses and INVALID not in statuses, f"exit statuses {statuses}, {ALIKE} pairs each"


def _slower(folder: Path) -> tuple[bool, str]:
    pilot = paired(folder / "pilot", P50_MS, PILOT, seed=99)
    sized = rtbench("sample-size", "--pilot", pilot, "--detect", "30%", "--margin", "10%", "--metric", "ttfa:p50",
                    "--power", "0.99", "--json")  # fmt: skip
    _, sessions, _ = json.loads(sized.stdout)["sessions"]
    statuses = [check(paired(folder / str(run), P50_MS * SLOWER, sessions, seed=run)) for run in range(RUNS)]
    return statuses.count(REGRESSED) >= FOUND_LEAST, f"exit statuses {statuses}, {sessions} pairs each"


def _held_up(folder: Path) -> tuple[bool, str]:
    status = check(paired(folder, P50_MS, PILOT, seed=1, meanwhile=stop_and_go))
    return status == INVALID, f"exit status {status}"


def _throttled(folder: Path) -> tuple[bool, str]:
    status = check(paired(folder, P50_MS, 40, seed=1, more=f"quota: {{requests_per_minute: {TURNS * 20}}}\n"))
    return status == INVALID, f"exit status {status}"


def _without_data(folder: Path) -> tuple[bool, str]:
    status = check(paired(folder, P50_MS, 5, seed=1, refused=True))
    return status == INVALID, f"exit status {status}"


def paired(
    folder: Path,
    candidate_p50_ms: float,
    pairs: int,
    *,
    seed: int,
    more: str = "",
    refused: bool = False,
    meanwhile: Callable[[subprocess.Popen[str]], None] | None = None,
) -> Path:
    """An interleaved run of a service and a candidate; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with two_services(folder, candidate_p50_ms, seed, more, refused=refused) as ready:
        targets = "".join(f"  {name}: {{url: '{one.urls['ga']}'}}\n" for name, one in ready.items())
        (folder / "targets.yaml").write_text(f"targets:\n{targets}")
        load = ["-u", str(USERS), "-r", "8", "--sessions", str(pairs), "--seed", str(seed), "--targets", "before,after"]
        load += ["--target-file", str(folder / "targets.yaml")]
        with locust(write_scenario(folder, TURNS), folder / "runs", *load) as process:
            if meanwhile:
                meanwhile(process)
            process.communicate(timeout=GUARD_S)
    return only_run(folder / "runs")


@contextmanager
def two_services(
    folder: Path, candidate_p50_ms: float, seed: int, more: str, *, refused: bool
) -> Iterator[dict[str, Ready]]:
    """Simulators whose delays are drawn from different seeds."""
    with ExitStack() as stack:
        ready = {}
        for place, (name, p50_ms) in enumerate((("before", P50_MS), ("after", candidate_p50_ms))):
            (folder / name).mkdir()
            options = ["--speed", SPEED, "--ttfa-p50-ms", str(p50_ms), "--seed", str(1000 * (place + 1) + seed)]
            options += ["--fault", "no_deployment"] if refused else []
            ready[name] = stack.enter_context(quick_simulator(folder / name, *options, more=more))
        yield ready


def check(run: Path) -> int:
    """The exit status of `rtbench check` with the default gates: the first target is the baseline."""
    return rtbench("check", run).returncode


def rtbench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.cli.app", *map(str, arguments)], capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
