"""The README's first command as a new user has it: quiet, and beside busy loops. What it says and how it ends.

`make benchmark PARTS=first`; TRIES=10 LOOPS=0,2,12 (the default) is half an hour on a machine that does nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.installation import HOME
from reports.runs import load_frames
from reports.summary.trust import machines, validity_of
from tests.benchmark.crowd import crowd

TRIES, LOOPS = int(os.environ.get("TRIES", "10")), os.environ.get("LOOPS", "0,2,12")
LAST_LINES = 4


def first_command(runs: Path) -> str:
    """Run it; returns its line of the table, and what it said last."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_OPENAI_")}
    began_s = time.monotonic()
    command = [sys.executable, "-m", "bench.cli.app", "quickstart", "--simulator", "--runs-dir", str(runs)]
    ended = subprocess.run(command, cwd=HOME, env=environ, capture_output=True, text=True, check=False)
    took_s = time.monotonic() - began_s
    said = [line for line in ended.stdout.splitlines() if line.strip()]
    for folder in runs.glob("*"):
        run = load_frames(folder)
        verdict = validity_of(run.metadata)
        broken = " ".join(f"{check.name} {check.value}" for check in verdict.failed) or "–"
        cores = "; ".join(
            f"others {one.other_programs:.0%}, we {one.this_run:.0%}, stolen {one.steal:.1%}" for one in machines(run)
        )
        sessions = len(run.sessions)
        line = f"status {ended.returncode} · {verdict.word} {broken} · {sessions} calls · {took_s:.0f} s · {cores}"
        return "\n".join([line, *(f"        {one}" for one in said[-LAST_LINES:])])
    return f"status {ended.returncode} · no run · {took_s:.0f} s: {ended.stderr.strip()[-300:]}"


def main() -> None:
    for loops in map(int, LOOPS.split(",")):
        print(f"beside {loops} busy loops, on {os.cpu_count()} cores", flush=True)
        for number in range(1, TRIES + 1):
            with tempfile.TemporaryDirectory() as folder, crowd(loops):
                print(f"    {number:2}  {first_command(Path(folder))}", flush=True)
