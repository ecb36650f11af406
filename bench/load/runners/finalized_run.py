"""The end of a run (its closing, decision, report and check), and the child processes of a run.

Child processes do this work, so this process never interprets thresholds. Thresholds are read
before the run starts, so that an error in them costs no session. They are stored in run.json for
`rtbench check`. During sessions, a child is started with `posix_spawn`: gevent's `Popen` would
fork, and a fork of a process of 400 MB delays the event loop by 20 to 30 ms.
"""

# At the end of a run, up to four children run one after another: the decision of a comparison, the
# check of thresholds, the report, and the upload. The first one that runs closes the folder
# (`record.finalize`). The folder is complete after each of them, so an error of one, or a kill,
# loses no data, and the printed command repeats its work.

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple

import gevent
from gevent.os import posix_spawn, waitpid

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.cpu import LOWERED
from bench.base.errors import (
    FAIL_STATUS,
    INCONCLUSIVE_STATUS,
    INVALID_STATUS,
    USAGE_STATUS,
    UsageError,
)
from bench.base.installation import (
    KILLED_S,
    REPORT_PACKAGES,
    child_environment,
    last_line,
)
from bench.base.standard_streams import text_width
from bench.base.units import NS_PER_S
from bench.load.planning.run_options import EXPLAIN, OF_CHECK, is_command
from bench.load.planning.run_plan import LONG_RUN_S, RunPlan
from bench.load.runners.evaluation import Evaluation
from bench.record import folder as files
from bench.record import spool
from bench.record.document import AbortEntry
from bench.record.presence import is_folder, permission_to_close
from bench.record.run_list import reference, split_name
from bench.record.spool import parts
from bench.record.upload import URL_VARIABLE
from bench.transport.own_limits import limit_text_of_process

ANSWER_S = 120.0
MAX_CHILD_S = 600.0
AGAIN_S = 1.0
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""The environment variable that limits a child to one core, so that other cores remain for the
load."""
NO_PROCESS = "no process could be started"
TIMED_OUT = 124
"""The exit status of a command that took too long, as of timeout(1)."""


def child_output(command: Sequence[str], *, late: str, failed: str) -> Any:
    """Run a command, and return the JSON that it prints. Raise UsageError if it fails or takes
    longer than ANSWER_S.

    The error contains `late`, or the last line of the command's stderr, or else `failed`.
    """
    # the message quotes the child's error, so the error must not contain colours
    ended = run_child(command, ANSWER_S, f"{late}: is the machine busy?", FORCE_COLOR="")
    if ended.returncode != 0:
        raise UsageError(child_problem(ended, failed))
    return json.loads(ended.stdout)


def run_command(
    evaluation: Evaluation,
    command: str,
    folder: Path,
    longest_s: float,
    *options: str,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    words = evaluation.command(*command.split(), str(folder), *options)
    return run_child(
        words, longest_s, too_long(f"rtbench {command} {folder}", longest_s), **variables
    )


def too_long(again: str, longest_s: float) -> str:
    """Return the text about a child that took too long. `again` is the command that repeats its
    work.
    """
    return (
        f"`{again}` took longer than {longest_s / 60:.0f} min and was stopped; all rows are saved;"
        f" run it again: {again}"
    )


def run_child(
    command: Sequence[str], longest_s: float, late: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of this tool. Its output has the width of our terminal. Kill it after
    `longest_s` seconds.

    If it is killed, the stderr in the result is the text `late`. `variables` are further
    environment variables.
    """
    terminal = (
        {"COLUMNS": str(shutil.get_terminal_size().columns), "FORCE_COLOR": "1"}
        if sys.stdout.isatty()
        else {}
    )
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            start_new_session=True,  # Ctrl-C does not reach it
            env=child_environment(os.environ) | terminal | variables,
            check=False,
            timeout=longest_s,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, TIMED_OUT, "", late)
    except (OSError, MemoryError) as error:
        reason = limit_text_of_process(error, NO_PROCESS) or f"{NO_PROCESS}: {error}"
        return subprocess.CompletedProcess(command, USAGE_STATUS, "", reason)
    # gevent's `subprocess` ignores `encoding`, and decodes in that of the locale
    printed, errors = (data.decode(errors="replace") for data in (ended.stdout, ended.stderr))
    return subprocess.CompletedProcess(command, ended.returncode, printed, errors)


def output_of(command: Sequence[str], longest_s: float = MAX_CHILD_S) -> str:
    """Run a command, and return what it prints. Other greenlets run meanwhile. If this is killed,
    so is the command.

    Raise OSError if the command takes longer than `longest_s`, or fails (with the last line of its
    stderr).
    """
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        Path(os.devnull).open("rb") as nothing,
    ):
        # gevent installs its handler only after the start of the child, which may have ended by
        # then
        gevent.get_hub().loop.install_sigchld()
        streams = [
            (os.POSIX_SPAWN_DUP2, file.fileno(), number)
            for number, file in enumerate((nothing, output, errors))
        ]
        environment = child_environment(os.environ) | ONE_THREAD
        # In a session of its own, so that Ctrl-C does not reach it.
        pid = int(posix_spawn(command[0], command, environment, file_actions=streams, setsid=True))
        status = None
        try:
            os.setpriority(os.PRIO_PROCESS, pid, LOWERED)
            status = _status(pid, longest_s)
        finally:
            if status is None:
                os.killpg(pid, signal.SIGKILL)
                _status(pid, KILLED_S)
        if status is None:
            raise OSError(f"it took longer than {longest_s:g} s, and was stopped")
        for file in (output, errors):
            file.seek(0)
        if status != 0:
            raise OSError(last_line(errors.read().decode(errors="replace"), f"status {status}"))
        return output.read().decode(errors="replace")


def _status(pid: int, longest_s: float) -> int | None:
    """Wait until a child has ended. Return its exit status; None if this takes longer than
    `longest_s`.

    Only SIGCHLD makes the event loop notice that a child has ended, and its handler may have been
    replaced. Therefore, once per second, install the handler again and send the signal; then the
    loop checks all children.
    """
    loop = gevent.get_hub().loop
    until_ns = monotonic_ns() + int(longest_s * NS_PER_S)
    while (left_ns := until_ns - monotonic_ns()) > 0:
        ended = gevent.with_timeout(
            min(left_ns / NS_PER_S, AGAIN_S), waitpid, pid, 0, timeout_value=None
        )
        if ended is not None:
            return os.waitstatus_to_exitcode(ended[1])
        loop.reset_sigchld()  # otherwise the loop assumes that its handler is installed
        loop.install_sigchld()
        os.kill(os.getpid(), signal.SIGCHLD)
    return None


REPORT_S = 600
SPOOLED_BYTES_PER_S = 200_000
"""A child's time limit without rows, and the recorded bytes that add one second. A turn takes
about 1 kB."""
UPLOAD_S = 600
UPLOADED_BYTES_PER_S = 1_000_000
DECIDED = (0, 1, 3, 4)
"""The exit statuses of a completed decision or check: passed, failed or regressed, inconclusive,
invalid run."""


Thresholds = Mapping[str, Sequence[str]]
"""Thresholds as text, by metric and filters, in the form of run.json."""


class RunThresholds(NamedTuple):
    """The thresholds of a run. `abort` is the plan of those that stop the run; None if there are
    none.
    """

    by_metric: Thresholds
    abort: AbortEntry | None
    baseline: str | None = None
    """`--baseline` with the folder of a run in place of its name, which this run may get, too."""


def read_thresholds(evaluation: Evaluation, plan: RunPlan, parsed: Any) -> RunThresholds:
    """Return the thresholds of a run, from `--thresholds` or from its scripts. Raise UsageError if
    they are invalid.

    `parsed` are Locust's parsed options.
    """
    given = plan.options.thresholds
    baseline = found_baseline(plan, parsed)
    scripts = {script.name: script for script in plan.scripts if script.thresholds}
    if not given and baseline is None and not scripts:
        return RunThresholds({}, None)
    request = {
        "given": given,
        "scripts": [
            {"name": script.name, "path": str(script.path)}
            | {"thresholds": None if script.task is None else script.thresholds}
            for script in scripts.values()
        ],
        "script_names": [script.name for script in plan.scripts],
        "baseline": baseline,
        "write": getattr(parsed, "write", None) or [],
        "targets": [target.label for target in plan.targets],
        "lacking": plan.missing_features,
    }
    planned = child_output(
        evaluation.of_thresholds("plan", json.dumps(request)),
        late=f"the thresholds were not read within {ANSWER_S:.0f} s",
        failed="the thresholds could not be read",
    )
    if given and not (plan.options.until_decided or is_command(parsed) or planned["abort"]):
        raise UsageError(
            "--thresholds needs --until-decided, a threshold with `abort: true`, or `rtbench run"
            " FILE` instead of `locust -f FILE`, which evaluates them at the end of the run"
        )
    return RunThresholds(planned["thresholds"], planned["abort"], baseline)


def found_baseline(plan: RunPlan, parsed: Any) -> str | None:
    """Return `--baseline` with the folder of a run in place of its name; None without it."""
    baseline: str | None = getattr(parsed, "baseline", None)
    if baseline is None or baseline in [target.label for target in plan.targets]:
        return baseline
    folder, target = split_name(baseline, plan.options.runs_dir)
    return reference(folder, target) if is_folder(folder) else baseline


def check_options(parsed: Any, thresholds: RunThresholds) -> list[str] | None:
    """Return the options with which `rtbench check` will be called; None if there will be no check.

    Raise UsageError if an option would have no effect.
    """
    if not is_command(parsed):
        return None
    given = {option.flag: value for option in OF_CHECK if (value := getattr(parsed, option.name))}
    if thresholds.baseline is not None:
        given["--baseline"] = thresholds.baseline
    if thresholds.by_metric or "--baseline" in given:
        values = {
            flag: value if isinstance(value, list) else [value] for flag, value in given.items()
        }
        pairs = ((flag, value) for flag, of_flag in values.items() for value in of_flag)
        return [
            word for flag, value in pairs for word in ((flag,) if value is True else (flag, value))
        ]
    if given:
        raise UsageError(
            f"{next(iter(given))} needs thresholds: add --thresholds FILE|THRESHOLD, or"
            " --baseline RUN|FOLDER"
        )
    return None


@dataclass(frozen=True)
class FinalizedRun:
    """The end of a run: the text to print, the error of a child or "", and the exit status; None
    for Locust's own.
    """

    summary: str
    error: str
    status: int | None


def can_report() -> bool:
    """Return whether the packages of reports are installed. A load generator that only writes a
    part needs none.
    """
    return all(PathFinder.find_spec(name) for name in REPORT_PACKAGES)


def finalize_run(
    evaluation: Evaluation,
    folder: Path,
    document: dict[str, Any],
    stopped: str,
    check_options: Sequence[str] | None = None,
) -> FinalizedRun:
    """Close, decide, check and report a run.

    `stopped` is the reason of its end. `check_options` are the options of `rtbench check`; None if
    there is no check.
    """
    document |= {"state": "closing", "ended_utc_ns": utc_ns(), "stop_reason": stopped}
    duration_s = (document["ended_utc_ns"] - document["started_utc_ns"]) / NS_PER_S
    document["notices"] = [*document["notices"], *missing_warmup_notice(document, duration_s)]
    # a full disk was reported before; the document from the start still exists
    with contextlib.suppress(OSError):
        files.write_document(folder, document)
    if not can_report():
        needed = ", ".join(REPORT_PACKAGES)
        text = (
            f"no report here (it needs {needed}): copy {folder}, and run `rtbench runs merge` or"
            " `rtbench report`"
        )
        return FinalizedRun(text, "", None)
    longest_s = longest_report_s(folder)
    permission = permission_to_close(folder)
    decided = None
    # before the report, which shows the decision and the check; the first of them closes the folder
    if "sequential_plan" in document:
        command = evaluation.of_decision(str(folder))
        late = too_long(f"rtbench check {folder}", longest_s)
        decided = run_child(command, longest_s, late, **permission)
    checked = None
    if check_options is not None:
        checked = run_command(
            evaluation, "check", folder, longest_s, "--quiet", *check_options, **permission
        )
    explain = [option for option in check_options or () if option == EXPLAIN]
    reported = run_command(evaluation, "report", folder, longest_s, *explain, **permission)
    summary = reported.stdout.rstrip("\n")
    if reported.returncode != 0:
        return _failed(summary, reported, "the report could not be made")
    closed = files.read_document(folder)
    status = run_status(closed)
    is_unmeasured = (closed.get("validity") or {}).get("status") == "no_verdict"
    if decided is not None:
        if decided.returncode not in DECIDED:
            return _failed(summary, decided, "the run could not be decided")
        summary = with_sentence(summary, decided.stdout, text_width())
        status = status or decided.returncode
    if checked is None:
        is_aborted = bool((document.get("abort") or {}).get("reason"))
        aborted_status = FAIL_STATUS if is_aborted else None
        if is_unmeasured:
            return FinalizedRun(summary, "", aborted_status or status)
        return FinalizedRun(summary, "", status or aborted_status)
    summary = f"{summary}\n\n{checked.stdout}".rstrip()
    if checked.returncode not in DECIDED:
        return _failed(summary, checked, "the run could not be checked")
    codes = (INVALID_STATUS, FAIL_STATUS, INCONCLUSIVE_STATUS)
    if is_unmeasured:  # limits on rates also fail if no turn succeeded
        codes = (FAIL_STATUS, INVALID_STATUS, INCONCLUSIVE_STATUS)
    worst = next((code for code in codes if code in (status, checked.returncode)), 0)
    return FinalizedRun(summary, "", worst)


def _failed(summary: str, child: CompletedProcess[str], problem: str) -> FinalizedRun:
    return FinalizedRun(summary, child_problem(child, problem), USAGE_STATUS)


def child_problem(child: CompletedProcess[str], problem: str) -> str:
    """Return a line on a child that failed: the signal that ended it, or the last line of its
    stderr.

    `problem` is what could not be done.
    """
    if child.returncode >= 0:
        return last_line(child.stderr, problem)
    name = signal.Signals(-child.returncode).name
    return (
        f"{problem}: {name} ended its process, as the system or a library does if no memory is left"
    )


def upload_run(evaluation: Evaluation, folder: Path, url: str) -> str:
    """Upload the folder to this URL. Return the lines to print. Raise UsageError if any file
    could not be uploaded.
    """
    size_bytes = sum(path.lstat().st_size for path in folder.rglob("*"))
    variables = {URL_VARIABLE: url} | permission_to_close(folder)
    uploaded = run_command(
        evaluation,
        "runs upload",
        folder,
        UPLOAD_S + size_bytes / UPLOADED_BYTES_PER_S,
        **variables,
    )
    if uploaded.returncode != 0:
        raise UsageError(child_problem(uploaded, "the folder could not be uploaded"))
    return uploaded.stdout.strip()


def run_status(document: Mapping[str, Any]) -> int | None:
    """Return the exit status of a run: 4 if it is not valid; None, which means Locust's own
    status, if it is valid.
    """
    validity = document.get("validity") or {}
    return None if validity.get("status") == "valid" else INVALID_STATUS


def longest_report_s(folder: Path) -> float:
    """Return a child's time limit in seconds, by the recorded bytes: several times what the
    slowest machines need.
    """
    recorded = sum(part.size_bytes(table) for part in parts(folder) for table in files.SCHEMAS)
    return REPORT_S + recorded / SPOOLED_BYTES_PER_S


def with_sentence(summary: str, decided: str, width: int) -> str:
    """Insert the first line of the decision before the last two lines of a summary: verdict and
    page of the report.
    """
    lines = summary.splitlines()
    decision = decided.strip().splitlines()
    wrapped = (
        textwrap.wrap(decision[0], width, break_long_words=False, break_on_hyphens=False)
        if decision
        else []
    )
    return "\n".join([*lines[:-2], *wrapped, *lines[-2:]])


def missing_warmup_notice(document: Mapping[str, Any], duration_s: float) -> list[str]:
    """Return a notice if a long run had no warm-up because its duration was unknown before the
    start; otherwise [].
    """
    if duration_s < LONG_RUN_S or document["warmup_s"] or "warmup" in document["settings"]:
        return []
    return [
        "No warm-up is excluded, because the run's length was not known in advance; to exclude one"
        " minute, add --warmup 1m."
    ]


def holds_rows(folder: Path) -> bool:
    """Return whether a run without a report has rows. They can be reported later, when the disk
    has space.
    """
    tables: tuple[files.TableName, ...] = ("turns", "sessions")
    spooled = any(len(batch) for table in tables for batch in files.spooled_batches(folder, table))
    return spooled or not spool.is_stored(folder)
