"""The end of a run: its closing, decision, report and check.

Child processes do this work, so this process never interprets thresholds. Thresholds are read before the run starts, so
that an error in them costs no session. They are stored in run.json for `rtbench check`.
"""

from __future__ import annotations

import contextlib
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from bench.base.clock import utc_ns
from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, USAGE_STATUS, UsageError
from bench.base.installation import last_line, python_command
from bench.base.status_line import text_width
from bench.base.units import NS_PER_S
from bench.load.planning.run_options import OF_CHECK, is_command
from bench.load.planning.run_plan import LONG_RUN_S, RunPlan
from bench.load.runners import children
from bench.record import folder as files
from bench.record import spool
from bench.record.lock import permission_to_close
from bench.record.upload import URL_VARIABLE
from bench.record.worker_part import parts

REPORT_S, SPOOLED_BYTES_PER_S = 600, 200_000
"""The two parts of a child's time limit.

REPORT_S is the limit, in seconds, for a run without rows. SPOOLED_BYTES_PER_S is the number of recorded bytes that add
one second. A turn takes about 1 kB.
"""
UPLOAD_S, UPLOADED_BYTES_PER_S = 600, 1_000_000
DECIDED = (0, 1, 3, 4)
"""The exit statuses of a decision or check that was completed.

They are 0 for passed, 1 for failed or regressed, 3 for inconclusive, and 4 for an invalid run.
"""


Thresholds = Mapping[str, Sequence[str]]
"""Thresholds as text, by metric and filters, in the form of run.json."""


def read_thresholds(plan: RunPlan, parsed: Any) -> Thresholds:
    """Return the thresholds of a run, from a file or from its scripts. Raise UsageError if they are invalid.

    `parsed` are Locust's parsed options.
    """
    file, baseline = plan.options.thresholds, getattr(parsed, "baseline", None)
    scripts = {script.name: script for script in plan.scripts if script.thresholds}
    if file is None and baseline is None and not scripts:
        return {}
    request = {
        "file": None if file is None else str(file),
        "scripts": [
            {"name": script.name, "path": str(script.path)}
            | {"thresholds": None if script.task is None else script.thresholds}
            for script in scripts.values()
        ],
        "script_names": [script.name for script in plan.scripts],
        "baseline": baseline,
        "targets": [target.label for target in plan.targets],
        "lacking": plan.missing_features,
    }
    thresholds: Thresholds = children.child_output(
        [*python_command("reports.check"), json.dumps(request)],
        late=f"the thresholds were not read within {children.ANSWER_S:.0f} s",
        failed="the thresholds could not be read",
    )
    return thresholds


def check_options(parsed: Any, thresholds: Thresholds) -> list[str] | None:
    """Return the options with which `rtbench check` will be called; None if there will be no check.

    Raise UsageError if an option would have no effect.
    """
    if not is_command(parsed):
        return None
    options = {option.flag: value for option in OF_CHECK if (value := getattr(parsed, option.name))}
    if thresholds or "--baseline" in options:
        return [word for option in options.items() for word in option]
    if options:
        raise UsageError(f"{next(iter(options))} needs thresholds: add --thresholds FILE, or --baseline RUN")
    return None


@dataclass(frozen=True)
class FinalizedRun:
    """The result of the end of a run.

    `summary` is the text to print. `error` is the error of a child; "" if there is none. `status` is the exit status of
    the run; None if Locust's own status is used.
    """

    summary: str
    error: str
    status: int | None


def finalize_run(
    folder: Path, document: dict[str, Any], stopped: str, check_options: Sequence[str] | None = None
) -> FinalizedRun:
    """Close, decide, report and check a run.

    `stopped` is the reason of its end. `check_options` are the options of `rtbench check`; None if there is no check.
    """
    document |= {"state": "closing", "ended_utc_ns": utc_ns(), "stop_reason": stopped}
    duration_s = (document["ended_utc_ns"] - document["started_utc_ns"]) / NS_PER_S
    document["notices"] = [*document["notices"], *missing_warmup_notice(document, duration_s)]
    with contextlib.suppress(OSError):  # a full disk was reported before; the document from the start still exists
        files.write_document(folder, document)
    longest_s, permission = longest_report_s(folder), permission_to_close(folder)
    decided = None
    # before the report, which shows the decision; the first of them closes the folder
    if "sequential_plan" in document:
        command = python_command("rtbench.cli.decision", str(folder))
        late = children.too_long(f"rtbench check {folder}", longest_s)
        decided = children.run_child(command, longest_s, late, **permission)
    reported = children.run_command("report", folder, longest_s, **permission)
    summary = reported.stdout.rstrip("\n")
    if reported.returncode != 0:
        return _failed(summary, reported, "the report could not be made")
    status = run_status(files.read_document(folder))
    if decided is not None:
        if decided.returncode not in DECIDED:
            return _failed(summary, decided, "the run could not be decided")
        summary = with_sentence(summary, decided.stdout, text_width())
        status = status or decided.returncode
    if check_options is None:
        return FinalizedRun(summary, "", status)
    checked = children.run_command("check", folder, longest_s, *check_options)
    summary = f"{summary}\n\n{checked.stdout}".rstrip()
    if checked.returncode not in DECIDED:
        return _failed(summary, checked, "the run could not be checked")
    worst = next(
        (code for code in (INVALID_STATUS, FAIL_STATUS, INCONCLUSIVE_STATUS) if code in (status, checked.returncode)), 0
    )
    return FinalizedRun(summary, "", worst)


def _failed(summary: str, child: CompletedProcess[str], problem: str) -> FinalizedRun:
    return FinalizedRun(summary, last_line(child.stderr, problem), USAGE_STATUS)


def upload_run(folder: Path, url: str) -> str:
    """Upload the folder to this URL. Return the lines to print. Raise UsageError if any file could not be uploaded."""
    size_bytes = sum(path.lstat().st_size for path in folder.rglob("*"))
    uploaded = children.run_command(
        "upload", folder, UPLOAD_S + size_bytes / UPLOADED_BYTES_PER_S, **{URL_VARIABLE: url}
    )
    if uploaded.returncode != 0:
        raise UsageError(last_line(uploaded.stderr, "the folder could not be uploaded"))
    return uploaded.stdout.strip()


def run_status(document: Mapping[str, Any]) -> int | None:
    """Return the exit status of a run: 4 if it is not valid; None, which means Locust's own status, if it is valid."""
    validity = document.get("validity") or {}
    return None if validity.get("status") == "valid" else INVALID_STATUS


def longest_report_s(folder: Path) -> float:
    """Return the time limit of a child in seconds. It depends on the number of recorded bytes.

    It is several times as long as the slowest machines need.
    """
    recorded = sum(part.size_bytes(table) for part in parts(folder) for table in files.SCHEMAS)
    return REPORT_S + recorded / SPOOLED_BYTES_PER_S


def with_sentence(summary: str, decided: str, width: int) -> str:
    """Insert the first line of the decision into a summary, before its last two lines.

    The last two lines are the verdict and the page of the report.
    """
    lines, decision = summary.splitlines(), decided.strip().splitlines()
    wrapped = textwrap.wrap(decision[0], width, break_long_words=False, break_on_hyphens=False) if decision else []
    return "\n".join([*lines[:-2], *wrapped, *lines[-2:]])


def missing_warmup_notice(document: Mapping[str, Any], duration_s: float) -> list[str]:
    """Return a notice if a long run had no warm-up because its duration was unknown before the start; otherwise []."""
    if duration_s < LONG_RUN_S or document["warmup_s"] or "warmup" in document["settings"]:
        return []
    return [
        "No warm-up is excluded, because the run's length was not known in advance; to exclude one minute, add "
        "--warmup 1m."
    ]


def holds_rows(folder: Path) -> bool:
    """Return whether a run without a report has rows. They can be reported later, when the disk has space."""
    tables: tuple[files.TableName, ...] = ("turns", "sessions")
    spooled = any(len(batch) for table in tables for batch in files.spooled_batches(folder, table))
    return spooled or not spool.is_stored(folder)
