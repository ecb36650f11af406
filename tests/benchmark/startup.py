"""How long commands take to start: `rtbench --help`, that of each command, a scenario's, and what a session imports.

Wanted: 0.4 s of wall time for each command, from the start of its process to its end; 1 s until a simulator listens.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.cli.app import app

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "scenarios" / "text_turns.py"
TIMES = 15
COSTLIEST = 8
IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")


def main() -> None:
    """Print medians of wall and CPU time, and what the imports of the first and of the longest one cost most."""
    python, rtbench = sys.executable, str(Path(sys.executable).parent / "rtbench")
    helps = [[rtbench, *command, "--help"] for command in ([], *([name] for name in commands()))]
    session = [python, "-c", "import bench.session"]
    scenario = [python, "-m", "locust", "-f", str(SCENARIO), "--help"]
    for command in (*helps, session, scenario):
        print(f"{shown(command):<44} {timed(command)}", flush=True)
    print(f"{'rtbench simulate, until it listens':<44} {timed([rtbench, 'simulate', '--port', '0'], listens)}")
    for title, command in (("rtbench --help", [python, "-m", "bench.cli.app", "--help"]), ("bench.session", session)):
        print(f"imports of {title}, ms with what they import: {', '.join(costliest(command))}")


def commands() -> list[str]:
    """The names of the commands."""
    return [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]


def shown(command: list[str]) -> str:
    """The command without where things are."""
    return " ".join(Path(word).name if word.startswith("/") else word for word in command)


def timed(command: list[str], once: Callable[[list[str]], tuple[float, float]] | None = None) -> str:
    """Medians of several runs, after one that fills the caches."""
    once = once or run
    once(command)
    walls_ms, cpus_ms = zip(*(once(command) for _ in range(TIMES)), strict=True)
    return f"{median(walls_ms):5.0f} ms (least {min(walls_ms):.0f}), CPU {median(cpus_ms):.0f} ms"


def run(command: list[str]) -> tuple[float, float]:
    """Wall and CPU time of one run, in ms."""
    begun_ns = time.perf_counter_ns()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{shown(command)}: exit status {process.returncode}")
    return (time.perf_counter_ns() - begun_ns) / 1e6, (used.ru_utime + used.ru_stime) * 1e3


def listens(command: list[str]) -> tuple[float, float]:
    """Wall time until a simulator says that it listens, and CPU time until it has ended, in ms."""
    begun_ns = time.perf_counter_ns()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        if not any(line.startswith("READY") for line in process.stdout):
            raise RuntimeError(f"{shown(command)}: it did not listen")
        wall_ms = (time.perf_counter_ns() - begun_ns) / 1e6
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return wall_ms, (used.ru_utime + used.ru_stime) * 1e3


def costliest(command: list[str]) -> list[str]:
    """The outermost imports that took longest, as `rich 52`."""
    told = subprocess.run(
        [command[0], "-X", "importtime", *command[1:]], cwd=ROOT, capture_output=True, text=True, check=True
    ).stderr
    found = [(int(whole_us), name) for _, whole_us, depth, name in IMPORTED.findall(told) if len(depth) <= 2]
    return [f"{name} {whole_us / 1e3:.0f}" for whole_us, name in sorted(found, reverse=True)[:COSTLIEST]]


if __name__ == "__main__":
    main()
