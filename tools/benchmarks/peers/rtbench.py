"""The load generator as a user runs it: a headless Locust run of a script with everything
recorded, and its rows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.record import folder as files
from tests.system.end_to_end.locust_process import write_scenario
from tools.benchmarks.peers.figures import ClientReport, report_from_rows
from tools.benchmarks.peers.work import Work, words

STEP = "  - {{text: '{}', name: step_{}}}\n"


def command(work: Work, scratch: Path) -> list[str]:
    steps = "".join(STEP.format(words(turn), turn) for turn in range(1, work.turns + 1))
    scenario = write_scenario(scratch, script=f"session:\n  output: audio\nsteps:\n{steps}")
    load = [
        "-u",
        str(work.sessions),
        "-r",
        f"{work.sessions / work.ramp_s:g}",
        "--sessions",
        str(work.sessions),
    ]
    where = ["--runs-dir", str(scratch / "runs"), "--url", work.url]
    return [sys.executable, "-m", "locust", "-f", str(scenario), "--headless", *load, *where]


def client_report(scratch: Path) -> ClientReport:
    (run,) = (scratch / "runs").iterdir()
    turns, sessions = (files.read_table(run, table).to_pandas() for table in ("turns", "sessions"))
    return report_from_rows(turns, sessions)
