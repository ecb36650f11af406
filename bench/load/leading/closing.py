"""Ends a run: child processes close, report and upload its folder, for this one's loop must not stand still."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.clock import utc_ns
from bench.errors import INVALID_STATUS, USAGE_STATUS, UsageError
from bench.live_line import text_width
from bench.load.planning.planned import LONG_RUN_S
from bench.run import folder as files
from bench.run import spool
from bench.run.part import parts
from bench.run.upload import URL_VARIABLE
from bench.spawn import own_environment, python_command
from bench.units import NS_PER_S

REPORT_S, SPOOLED_BYTES_PER_S = 600, 200_000
"""Seconds that a child may take for a run without rows, and the bytes of spool that add one each: some 1 kB a turn."""
UPLOAD_S, UPLOADED_BYTES_PER_S = 600, 1_000_000
TIMED_OUT = 124
"""As timeout(1) has it."""
DECIDED = (0, 1, 3, 4)
"""Exit statuses of `rtbench decide`: all gates kept, one is broken, inconclusive, the run is invalid."""


@dataclass(frozen=True)
class ClosedRun:
    """A summary to print, and the exit status that the run calls for, None for Locust's own."""

    summary: str
    problem: str
    status: int | None


def close_run(folder: Path, document: dict[str, Any], stopped: str) -> ClosedRun:
    """Make Parquet, histograms, the verdict, the decision where one is to be made, and the report of it all."""
    document |= {"state": "closing", "ended_utc_ns": utc_ns(), "stopped": stopped}
    length_s = (document["ended_utc_ns"] - document["began_utc_ns"]) / NS_PER_S
    document["notices"] = [*document["notices"], *uncut(document, length_s)]
    with contextlib.suppress(OSError):  # a full disk was reported; the document of the start is still there
        files.write_document(folder, document)
    longest_s = longest_report_s(folder)
    # the decision before the report, which shows it; either of them closes the folder
    decided = _child("decide", folder, longest_s) if "decision_plan" in document else None
    reported = _child("report", folder, longest_s)
    if reported.returncode != 0:
        return ClosedRun("", _last_line(reported.stderr, "the report could not be made"), USAGE_STATUS)
    unusable = run_status(files.read_document(folder))
    summary = reported.stdout.rstrip("\n")
    if decided is None:
        return ClosedRun(summary, "", unusable)
    if decided.returncode not in DECIDED:
        return ClosedRun(summary, _last_line(decided.stderr, "the run could not be decided"), USAGE_STATUS)
    return ClosedRun(with_sentence(summary, decided.stdout, text_width()), "", unusable or decided.returncode)


def upload_run(folder: Path, url: str) -> str:
    """Put the folder where `--upload` says; returns what became of it. Raises UsageError where it does not arrive."""
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*"))
    uploaded = _child("upload", folder, UPLOAD_S + size_bytes / UPLOADED_BYTES_PER_S, **{URL_VARIABLE: url})
    if uploaded.returncode != 0:
        raise UsageError(_last_line(uploaded.stderr, "the folder could not be uploaded"))
    return uploaded.stdout.strip()


def run_status(document: Mapping[str, Any]) -> int | None:
    """The exit status of a run: 4 where it is invalid or was not judged; None, for Locust's own, where it is valid."""
    verdict = document.get("verdict") or {}
    return None if verdict.get("valid") is True else INVALID_STATUS


def longest_report_s(folder: Path) -> float:
    """How long a child may take for what a run recorded: a multiple of what the slowest machines take."""
    recorded = sum(part.size_bytes(table) for part in parts(folder) for table in files.SCHEMAS)
    return REPORT_S + recorded / SPOOLED_BYTES_PER_S


def _child(command: str, folder: Path, longest_s: float, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of our commands on the folder, for a terminal as wide as ours; it is ended where it takes too long."""
    terminal = {"COLUMNS": str(shutil.get_terminal_size().columns), "FORCE_COLOR": "1"} if sys.stdout.isatty() else {}
    called = python_command("bench.cli.app", command, str(folder))
    try:
        return subprocess.run(
            called,
            capture_output=True,
            text=True,
            start_new_session=True,  # Ctrl-C is not for it
            env=own_environment(os.environ) | terminal | variables,
            check=False,
            timeout=longest_s,
        )
    except subprocess.TimeoutExpired:
        said = f"took longer than {longest_s / 60:.0f} min and was ended; no row is lost: rtbench {command} {folder}"
        return subprocess.CompletedProcess(called, TIMED_OUT, "", f"the command {command} {said}")


def _last_line(errors: str, otherwise: str) -> str:
    return (errors.strip().splitlines() or [otherwise])[-1].removeprefix("rtbench: ")


def with_sentence(summary: str, decided: str, width: int) -> str:
    """Put the first line of the decision into a summary, above its last two: the verdict, and where the page is."""
    lines, said = summary.splitlines(), decided.strip().splitlines()
    wrapped = textwrap.wrap(said[0], width, break_long_words=False, break_on_hyphens=False) if said else []
    return "\n".join([*lines[:-2], *wrapped, *lines[-2:]])


def uncut(document: Mapping[str, Any], length_s: float) -> list[str]:
    """The notice of a long run that has no warm-up, because nobody knew how long it would be."""
    if length_s < LONG_RUN_S or document["warmup_s"] or "warmup" in document["settings"]:
        return []
    return ["No warm-up was cut, because the run's length was not known beforehand; --warmup 1m cuts a minute."]


def holds_rows(folder: Path) -> bool:
    """Whether a run that could not be reported has saved anything that can be, once there is room."""
    tables: tuple[files.TableName, ...] = ("turns", "sessions")
    spooled = any(len(batch) for table in tables for batch in files.spooled_batches(folder, table))
    return spooled or not spool.is_kept(folder)
