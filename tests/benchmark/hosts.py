"""A master and three workers on hosts of their own (`tests.hosts`, which takes root), and what goes wrong with them:
one is killed, or started again, one is stopped for ten seconds, one is cut off for twenty and comes back; the master is
killed.

What the rows of the merged run hold is set beside the simulator's truth.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.run import folder as files
from tests.hosted_run import HostedRun, hosted_run
from tests.hosts import available

NAMES = ("east", "west", "south")
LASTS_S = 45
LOAD = ("-u", "9", "-r", "9", "--session-pause", "0.2", "-t", f"{LASTS_S}s")
AWAY_S = 20.0


def main() -> None:
    if not available():
        print("it takes root, and network namespaces")
        return
    for name, fault in {
        "nothing happens": lambda hosted: None,
        "one worker is killed": kill,
        "one worker is killed, and started again": start_again,
        "all workers are killed": kill_all,
        "one worker is stopped for 10 s": stop,
        f"one host is cut off for {AWAY_S:g} s": cut,
    }.items():
        with tempfile.TemporaryDirectory() as folder, hosted_run(Path(folder), NAMES) as hosted:
            show(name, hosted, fault)
    with tempfile.TemporaryDirectory() as folder, hosted_run(Path(folder), NAMES) as hosted:
        kill_master(hosted)


def show(name: str, hosted: HostedRun, fault: Callable[[HostedRun], None]) -> None:
    """Play a run with a fault in it, and say what came of it."""
    hosted.lead(*LOAD)
    hosted.work()
    hosted.wait_for_turns(30)
    fault(hosted)
    status = hosted.ended()
    document = files.read_document(hosted.run)
    lost = [f"at most {entry['turns']} turns of worker {entry['worker']}" for entry in document["missing_workers"]]
    print(f"{name}: status {status}, {compared(hosted, hosted.run)}, lost: {', '.join(lost) or 'nothing'}")
    broken = [rule["name"] for rule in document["validity"]["checks"] if rule["result"] == "fail"]
    print(f"  rules broken: {', '.join(broken) or 'none'}; hosts: {hosts_in(hosted.run)}")


def compared(hosted: HostedRun, run: Path) -> str:
    """How many turns the run has, which of the simulator's it lacks, and what it has twice."""
    rows = files.read_table(run, "turns", ["response_id", "outcome"]).to_pandas()
    told = rows[rows["outcome"] == "ok"]["response_id"]
    true = hosted.true_turns()
    twice = int(told.duplicated().sum())
    return (
        f"{len(rows)} turns, {len(true - set(rows['response_id']))} of {len(true)} true ones are missing, {twice} twice"
    )


def hosts_in(run: Path) -> str:
    rows = files.read_table(run, "sessions", ["host"]).to_pandas()["host"].value_counts()
    return ", ".join(f"{host} {count}" for host, count in sorted(rows.items()))


def pids_of(hosted: HostedRun, name: str) -> list[int]:
    """The processes of a worker: all of its group."""
    group = hosted.workers[name].pid
    listed = subprocess.run(["ps", "-eo", "pid,pgid"], capture_output=True, text=True, check=True).stdout
    return [int(pid) for pid, pgid in (line.split() for line in listed.splitlines()[1:]) if int(pgid) == group]


def signalled(hosted: HostedRun, name: str, number: signal.Signals) -> None:
    for pid in pids_of(hosted, name):
        os.kill(pid, number)


def kill(hosted: HostedRun) -> None:
    signalled(hosted, "west", signal.SIGKILL)


def kill_all(hosted: HostedRun) -> None:
    for name in hosted.names:
        signalled(hosted, name, signal.SIGKILL)


def start_again(hosted: HostedRun) -> None:
    kill(hosted)
    hosted.workers["west"].wait()
    hosted.start("west")


def stop(hosted: HostedRun) -> None:
    signalled(hosted, "west", signal.SIGSTOP)
    time.sleep(10)
    signalled(hosted, "west", signal.SIGCONT)


def cut(hosted: HostedRun) -> None:
    hosted.net.cut("west")
    time.sleep(AWAY_S)
    hosted.net.join("west")


def kill_master(hosted: HostedRun) -> None:
    """Kill the master; its workers end by themselves, and what they keep is merged."""
    hosted.lead(*LOAD)
    hosted.work()
    hosted.wait_for_turns(30)
    assert hosted.master is not None
    hosted.master.kill()
    for worker in hosted.workers.values():
        worker.wait(240)
    kept = [run for name in hosted.names for run in (hosted.folder_of(name) / "runs").iterdir()]
    merged = hosted.folder / "merged"
    command = [sys.executable, "-m", "bench.cli.app", "merge", *map(str, kept), "-o", str(merged)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (ended.stdout + ended.stderr).strip().splitlines()
    kept_is = f"the master is killed: {len(kept)} parts are kept"
    print(f"{kept_is}, merge ends with {ended.returncode}: {said[-1] if said else ''}")
    if merged.exists():
        print(f"  {compared(hosted, merged)}; hosts: {hosts_in(merged)}")
        reported = subprocess.run(
            [sys.executable, "-m", "bench.cli.app", "report", str(merged)], capture_output=True, check=False
        )
        print(f"  report: {reported.returncode}")
