"""The end of a run: its folder is closed and reported by a child process, for this one's loop must not stand still."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.clock import utc_ns
from bench.errors import INVALID_STATUS, USAGE_STATUS
from bench.run import folder as files
from bench.run.close import alive, counters


@dataclass(frozen=True)
class Closed:
    """What the child made: a summary to print, and the exit status that the run calls for, None for Locust's own."""

    summary: str
    problem: str
    status: int | None


def close_run(folder: Path, document: dict[str, Any], stopped: str) -> Closed:
    """Parquet, histograms, verdict and report."""
    document |= {"state": "closing", "ended_utc_ns": utc_ns(), "stopped": stopped}
    with contextlib.suppress(OSError):  # a full disk was reported; the document of the start is still there
        files.write_document(folder, document)
    terminal = {"COLUMNS": str(shutil.get_terminal_size().columns), "FORCE_COLOR": "1"} if sys.stdout.isatty() else {}
    child = subprocess.run(
        [sys.executable, "-m", "bench.cli.app", "report", str(folder)],
        capture_output=True,
        text=True,
        start_new_session=True,  # Ctrl-C is not for it
        env=os.environ | terminal,
        check=False,
    )
    if child.returncode != 0:
        said = child.stderr.strip().splitlines() or ["the report could not be made"]
        return Closed("", said[-1].removeprefix("rtbench: "), USAGE_STATUS)
    verdict = files.read_document(folder).get("verdict") or {}
    return Closed(child.stdout.rstrip("\n"), "", INVALID_STATUS if verdict.get("valid") is False else None)


def unfinished_workers(folder: Path) -> int:
    """How many workers still have something to flush; one that died has not."""
    return sum(not worker.get("done") and alive(worker.get("pid")) for worker in counters(folder))


def holds_rows(folder: Path) -> bool:
    """Whether a run that could not be reported has saved anything that can be, once there is room."""
    tables: tuple[files.TableName, ...] = ("turns", "sessions")
    spooled = any(len(batch) for table in tables for batch in files.spooled_batches(folder, table))
    return spooled or not (folder / "spool").is_dir()
