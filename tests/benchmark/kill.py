"""SIGKILL at random instants of a run: of its only process, a worker, the master, or the simulator that it calls.

Whatever is killed and whenever, the folder reads, its report is made, and of the responses that the simulator ended a
second or more before the kill each has its row, once. KILLS=100 does fewer than a thousand.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import reports
from bench.errors import RtbenchError
from bench.run import folder as files
from bench.run.part import FACTS
from bench.run.spool import path_of
from bench.simulator.truth import read_truth
from reports.summary.summary import summarise
from reports.text.terminal import report_text
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.locust_process import locust, write_scenario

KILLS = int(os.environ.get("KILLS", "1000"))
VICTIMS = ("the only process", "a worker", "the master", "the simulator")
AT_ONCE = 3
RUN_S, LATEST_S = 4, 5.5
"""How long a run is to last; up to when it is killed, which may be after its end."""
HANGS = "and what was left did not end"
FLUSHED_NS = 1_000_000_000
"""Rows are on disk so long after their turn has ended."""
ENDS_S = 300.0
"""Whatever is left of a run has ended by then, or hangs."""


@dataclass(frozen=True)
class Killed:
    """What came of a run that was killed. `lost`: responses without a row that ended more than a second before."""

    victim: str
    when: str
    rows: int = 0
    due: int = 0
    lost: int = 0
    twice: int = 0
    unreadable: str = ""


def main() -> None:
    chance = random.Random(1)
    plans = [(VICTIMS[n % len(VICTIMS)], chance.uniform(0, LATEST_S)) for n in range(KILLS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        killed = list(pool.map(lambda plan: kill(*plan), plans))
    for victim in VICTIMS:
        mine = [one for one in killed if one.victim == victim]
        when = Counter(one.when for one in mine)
        print(
            f"{victim}: killed {len(mine)} times ({', '.join(f'{n} {name}' for name, n in when.items())}); "
            f"{sum(one.rows for one in mine)} rows, {sum(one.lost for one in mine)} of {sum(one.due for one in mine)} "
            f"that were due are missing, {sum(one.twice for one in mine)} twice; "
            f"{sum(bool(one.unreadable) for one in mine)} folders do not read",
            flush=True,
        )
    for problem in sorted({one.unreadable for one in killed} - {""}):
        print(f"  {problem}")


def kill(victim: str, after_s: float) -> Killed:
    """Play a run, kill one of its processes so long after its start, and see what is left."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        log = scratch / "truth.jsonl"
        with contextlib.suppress(AssertionError), quick_simulator(scratch, "--ground-truth", str(log)) as simulator:
            killed_ns, when = _play(victim, after_s, scratch, simulator)
        return _left(victim, when, killed_ns, scratch / "runs", log)


def _play(victim: str, after_s: float, scratch: Path, simulator: Ready) -> tuple[int, str]:
    """When the victim was killed, and where the run was then."""
    several = () if victim == VICTIMS[0] else ("--processes", "2")
    load = ("-u", "6", "-r", "100", "-t", f"{RUN_S}s", "--url", simulator.urls["ga"], *several)
    runs = scratch / "runs"
    with locust(write_scenario(scratch, turns=8), runs, *load) as process:
        time.sleep(after_s)
        when, killed_ns = _stage(runs), time.monotonic_ns()
        pid = _pid(victim, process, runs, simulator)
        if pid is None:
            when = "before its worker was there"
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            process.communicate(timeout=ENDS_S)
        except subprocess.TimeoutExpired:
            return killed_ns, HANGS
        _wait_for_group(process.pid)
    return killed_ns, when


def _pid(victim: str, process: subprocess.Popen[str], runs: Path, simulator: Ready) -> int | None:
    if victim == "the simulator":
        return simulator.pid
    if victim != "a worker":
        return process.pid
    folder = _run_folder(runs)
    with contextlib.suppress(OSError, ValueError):
        return None if folder is None else int(json.loads(path_of(folder, 1, FACTS).read_text())["pid"])
    return None


def _run_folder(runs: Path) -> Path | None:
    return next(iter(runs.iterdir()), None) if runs.exists() else None


def _stage(runs: Path) -> str:
    folder = _run_folder(runs)
    if folder is None:
        return "before its folder"
    with contextlib.suppress(RtbenchError, OSError, ValueError):
        if files.read_document(folder)["state"] != "running":
            return "after its end"
    return "during its close" if (folder / "turns.parquet").exists() else "while it played"


def _wait_for_group(group: int) -> None:
    """Workers end by themselves where their master is gone."""
    until = time.monotonic() + ENDS_S
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(group, 0)
            time.sleep(0.05)


def _left(victim: str, when: str, killed_ns: int, runs: Path, log: Path) -> Killed:
    folder = _run_folder(runs)
    due = set(_ended(log, killed_ns - FLUSHED_NS))
    if folder is None:
        return Killed(victim, when, due=len(due), lost=len(due))
    try:
        run = reports.load(folder)
        if len(run.turns):
            report_text(summarise(run))
    except Exception as error:
        return Killed(victim, when, due=len(due), unreadable=f"{when}: {type(error).__name__}: {error}")
    told = run.turns["response_id"].dropna()
    return Killed(victim, when, len(run.turns), len(due), len(due - set(told)), int(told.duplicated().sum()))


def _ended(log: Path, before_ns: int) -> Iterator[str]:
    """The responses that were done before this instant; of a log that was cut off, as far as it goes."""
    if not log.exists():
        return
    with contextlib.suppress(RtbenchError, ValueError):
        for line in read_truth(log):
            if line.get("direction") == "out" and line["type"] == "response.done" and line["send_start_ns"] < before_ns:
                yield line["response"]
