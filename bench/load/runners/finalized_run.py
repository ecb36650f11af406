"""The end of a run: children decide, report, check and upload what was recorded."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.clock import utc_ns
from bench.errors import INVALID_STATUS, USAGE_STATUS, UsageError
from bench.installation import python_command
from bench.live_line import text_width
from bench.load.planning.planned import LONG_RUN_S
from bench.load.runners import children
from bench.run import folder as files
from bench.run import spool
from bench.run.part import parts
from bench.run.upload import URL_VARIABLE
from bench.units import NS_PER_S

REPORT_S, SPOOLED_BYTES_PER_S = 600, 200_000
"""Seconds that a child may take for a run without rows, and the bytes of spool that add one each: some 1 kB a turn."""
UPLOAD_S, UPLOADED_BYTES_PER_S = 600, 1_000_000
DECIDED = (0, 1, 3, 4)
"""Exit statuses of a decision and a check: passed, failed or regressed, inconclusive, the run is invalid."""


@dataclass(frozen=True)
class FinalizedRun:
    """A summary to print, and the exit status of the run; None for Locust's own."""

    summary: str
    problem: str
    status: int | None


def finalize_run(
    folder: Path, document: dict[str, Any], stopped: str, check_options: Sequence[str] | None = None
) -> FinalizedRun:
    """Write Parquet, histograms, validity, the decision of a sequential run, and the report.

    `check_options`: the options of `rtbench check`; None if the run is not checked.
    """
    document |= {"state": "closing", "ended_utc_ns": utc_ns(), "stop_reason": stopped}
    length_s = (document["ended_utc_ns"] - document["started_utc_ns"]) / NS_PER_S
    document["notices"] = [*document["notices"], *uncut(document, length_s)]
    with contextlib.suppress(OSError):  # a full disk was reported; the document of the start is still there
        files.write_document(folder, document)
    longest_s = longest_report_s(folder)
    # the decision before the report, which shows it; either of them closes the folder
    decided = (
        children.run_child(python_command("rtbench.cli.decision", str(folder)), longest_s, f"rtbench check {folder}")
        if "sequential_plan" in document
        else None
    )
    reported = children.run_command("report", folder, longest_s)
    if reported.returncode != 0:
        return FinalizedRun("", children.last_line(reported.stderr, "the report could not be made"), USAGE_STATUS)
    unusable = run_status(files.read_document(folder))
    summary = reported.stdout.rstrip("\n")
    if decided is not None:
        if decided.returncode not in DECIDED:
            return FinalizedRun(
                summary, children.last_line(decided.stderr, "the run could not be decided"), USAGE_STATUS
            )
        summary = with_sentence(summary, decided.stdout, text_width())
        unusable = unusable or decided.returncode
    if check_options is None:
        return FinalizedRun(summary, "", unusable)
    checked = children.run_command("check", folder, longest_s, *check_options)
    summary = f"{summary}\n\n{checked.stdout}".rstrip()
    if checked.returncode not in DECIDED:
        return FinalizedRun(summary, children.last_line(checked.stderr, "the run could not be checked"), USAGE_STATUS)
    return FinalizedRun(summary, "", joined_status(unusable or 0, checked.returncode))


def joined_status(*statuses: int) -> int:
    """Return the exit status of a run with several verdicts: the worst of them."""
    return next((status for status in (INVALID_STATUS, 1, 3) if status in statuses), 0)


def upload_run(folder: Path, url: str) -> str:
    """Upload the folder to this URL; returns the lines to print. Raises UsageError if a file does not arrive."""
    size_bytes = sum(path.lstat().st_size for path in folder.rglob("*"))
    uploaded = children.run_command(
        "upload", folder, UPLOAD_S + size_bytes / UPLOADED_BYTES_PER_S, **{URL_VARIABLE: url}
    )
    if uploaded.returncode != 0:
        raise UsageError(children.last_line(uploaded.stderr, "the folder could not be uploaded"))
    return uploaded.stdout.strip()


def run_status(document: Mapping[str, Any]) -> int | None:
    """Return the exit status of a run: 4 if it is not valid; None, for Locust's own, if it is."""
    validity = document.get("validity") or {}
    return None if validity.get("status") == "valid" else INVALID_STATUS


def longest_report_s(folder: Path) -> float:
    """Return how long a child may take for what a run recorded: a multiple of what the slowest machines take."""
    recorded = sum(part.size_bytes(table) for part in parts(folder) for table in files.SCHEMAS)
    return REPORT_S + recorded / SPOOLED_BYTES_PER_S


def with_sentence(summary: str, decided: str, width: int) -> str:
    """Insert the first line of the decision above the last two lines of a summary: its verdict and its page."""
    lines, said = summary.splitlines(), decided.strip().splitlines()
    wrapped = textwrap.wrap(said[0], width, break_long_words=False, break_on_hyphens=False) if said else []
    return "\n".join([*lines[:-2], *wrapped, *lines[-2:]])


def uncut(document: Mapping[str, Any], length_s: float) -> list[str]:
    """Return the notice of a long run without warm-up, whose length was not known before."""
    if length_s < LONG_RUN_S or document["warmup_s"] or "warmup" in document["settings"]:
        return []
    return ["No warm-up was cut, because the run's length was not known beforehand; --warmup 1m cuts a minute."]


def holds_rows(folder: Path) -> bool:
    """Return whether a run that could not be reported has rows that can be reported once the disk has space."""
    tables: tuple[files.TableName, ...] = ("turns", "sessions")
    spooled = any(len(batch) for table in tables for batch in files.spooled_batches(folder, table))
    return spooled or not spool.is_kept(folder)
