"""Real Locust processes for tests: a scenario of short text turns against a simulator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.record import folder as files
from rtbench.locust_run import without_proxies
from tests import forked
from tests.simulator_process import GUARD_S
from tools.peers.agents.ports import free_port

ENDS_WELL = (0, 4)
"""The exit statuses of a run that ended normally.

4 is included because a busy machine may delay the load generator, and so make the run invalid.
"""


SCENARIO = """
from rtbench import RealtimeUser


class Caller(RealtimeUser):
    script = "script.yaml"
"""

EXACT = """
from bench.load.runners.live_totals import LiveTotals
from bench.observe import turn_observation

LiveTotals.overload_text = lambda totals: ""  # whatever this machine does otherwise
all_instants = turn_observation.all_instants


def exact(turn):  # and timestamps are exact, too
    found = all_instants(turn)
    found.uncertainties_ns = dict.fromkeys(found.uncertainties_ns, 0)
    found.widths_ns = dict.fromkeys(found.widths_ns, 0)
    return found


turn_observation.all_instants = exact
"""
"""Lines of a Locust file after which a slow machine neither suspends interim analyses nor makes
values uncertain."""


def rtbench(
    *arguments: object, cwd: Any = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in its own interpreter, with every warning as an error."""
    words = [*map(str, arguments)]
    return forked.run(
        [sys.executable, "-W", "error", "-m", "rtbench.cli.app", *words, *own_ports(words)],
        cwd=cwd,
        env=without_proxies(os.environ) | {"COLUMNS": "100"} | environment,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )


def own_ports(options: Sequence[str]) -> list[str]:
    """Return a port for several processes: tests run in parallel, and that of Locust is fixed."""
    if "--processes" not in options or "--master-bind-port" in options:
        return []
    port = str(free_port())
    return ["--master-bind-port", port, "--master-port", port]


def write_scenario(folder: Path, turns: int = 2, script: str = "") -> Path:
    steps = "".join(
        f"  - text: 'Turn {number}.'\n    name: step_{number}\n" for number in range(1, turns + 1)
    )
    (folder / "script.yaml").write_text(script or f"session:\n  output: audio\nsteps:\n{steps}")
    (folder / "scenario.py").write_text(SCENARIO)
    return folder / "scenario.py"


@contextmanager
def locust(
    scenario: Path, runs: Path, *options: str, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Run `locust`, headless unless its options contain `--autostart`, in its own process group.

    If it still runs at the end of the block, it is killed.
    """
    command = [sys.executable, "-m", "locust", "-f", str(scenario), "--runs-dir", str(runs)]
    command += [] if "--autostart" in options else ["--headless"]
    command += own_ports(options)
    process = forked.Popen(
        [*command, "--session-pause", "0.1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1"} | environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # its workers may outlive it
            os.killpg(process.pid, 9)
        process.communicate()


@contextmanager
def started(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Start the process that `rtbench run` becomes, in its own folder and process group; finally
    kill it.
    """
    process = forked.Popen(
        [sys.executable, "-m", "rtbench.run_process", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def run_locust(
    scenario: Path, runs: Path, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `locust` until it ends."""
    with locust(scenario, runs, *options, **environment) as process:
        output, errors = process.communicate(timeout=GUARD_S)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def interrupted_status(folder: Path) -> int:
    """Return the expected exit status of an interrupted run, which may be invalid on a slow
    machine.
    """
    return 130 if files.read_document(folder)["validity"]["status"] == "valid" else 4


def only_run(runs: Path) -> Path:
    """Return the only run folder."""
    (folder,) = runs.iterdir()
    return folder


def wait_for_run(runs: Path) -> None:
    """Wait until a run has its folder."""
    _wait(lambda: any(runs.glob("*/run.json")), "no run began", every_s=0.002)


def wait_for_rows(runs: Path, table: files.TableName, count: int) -> Path:
    """Wait until an open run has this number of rows on disk; return its folder."""
    _wait(
        lambda: sum(len(batch) for batch in _batches(runs, table)) >= count, "the run wrote no rows"
    )
    return only_run(runs)


def wait_until_turns_began(runs: Path, count: int) -> None:
    """Wait until an open run has recorded the start of this number of turns."""
    _wait(
        lambda: (
            sum(sum(b["turns_started"].to_pylist()) for b in _batches(runs, "seconds")) >= count
        ),
        "no turn began",
    )


def wait_for_file(path: Path) -> None:
    """Wait until the file is not empty."""
    _wait(lambda: path.exists() and path.stat().st_size > 0, f"nothing was written to {path.name}")


def _batches(runs: Path, table: files.TableName) -> Iterator[Any]:
    for folder in runs.iterdir() if runs.exists() else []:
        yield from files.spooled_batches(folder, table)


def _wait(happened: Callable[[], bool], problem: str, every_s: float = 0.05) -> None:
    until = time.monotonic() + GUARD_S
    while not happened():
        assert time.monotonic() < until, problem
        time.sleep(every_s)
