"""The child processes of a run. Some run before and after its sessions, and others run during its sessions.

During sessions, a child is started with `posix_spawn`. gevent's `Popen` would fork, and a fork of a process of 400 MB
delays the event loop by 20 to 30 ms. Before and after the sessions, `subprocess` is used.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
from gevent.os import posix_spawn, waitpid

from bench.base.clock import monotonic_ns
from bench.base.cpu import LOWERED
from bench.base.errors import UsageError
from bench.base.installation import KILLED_S, child_environment, last_line, python_command
from bench.base.units import NS_PER_S

ANSWER_S = 120.0
MAX_CHILD_S, AGAIN_S = 600.0, 1.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Environment variables that limit a child to one core, so that other cores remain for the load."""
TIMED_OUT = 124
"""The exit status of a command that took too long, as of timeout(1)."""


def child_output(command: Sequence[str], *, late: str, failed: str) -> Any:
    """Run a command, and return the JSON that it prints. Raise UsageError if it fails or takes longer than ANSWER_S.

    The error contains `late`, or the last line of the command's stderr, or else `failed`.
    """
    # the message quotes the child's error, so the error must not contain colours
    ended = run_child(command, ANSWER_S, f"{late}: is the machine busy?", FORCE_COLOR="")
    if ended.returncode != 0:
        raise UsageError(last_line(ended.stderr, failed))
    return json.loads(ended.stdout)


def run_command(
    command: str, folder: Path, longest_s: float, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    words = python_command("rtbench.cli.app", command, str(folder), *options)
    return run_child(words, longest_s, too_long(f"rtbench {command} {folder}", longest_s), **variables)


def too_long(again: str, longest_s: float) -> str:
    """Return the text about a child that took too long. `again` is the command that repeats its work."""
    return (
        f"`{again}` took longer than {longest_s / 60:.0f} min and was stopped; all rows are saved; run it again: "
        f"{again}"
    )


def run_child(
    command: Sequence[str], longest_s: float, late: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of this tool. Its output has the width of our terminal. Kill it after `longest_s` seconds.

    If it is killed, the stderr in the result is the text `late`. `variables` are further environment variables.
    """
    terminal = {"COLUMNS": str(shutil.get_terminal_size().columns), "FORCE_COLOR": "1"} if sys.stdout.isatty() else {}
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
    # gevent's `subprocess` ignores `encoding`, and decodes in that of the locale
    printed, errors = (data.decode(errors="replace") for data in (ended.stdout, ended.stderr))
    return subprocess.CompletedProcess(command, ended.returncode, printed, errors)


def output_of(command: Sequence[str], longest_s: float = MAX_CHILD_S) -> str:
    """Run a command, and return what it prints. Other greenlets run meanwhile. If this is killed, so is the command.

    Raise OSError if the command takes longer than `longest_s`, or fails (with the last line of its stderr).
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, Path(os.devnull).open("rb") as nothing:
        # gevent installs its handler only after the start of the child, which may have ended by then
        gevent.get_hub().loop.install_sigchld()
        streams = [
            (os.POSIX_SPAWN_DUP2, file.fileno(), number) for number, file in enumerate((nothing, output, errors))
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
    """Wait until a child has ended. Return its exit status; None if this takes longer than `longest_s`.

    Only SIGCHLD makes the event loop notice that a child has ended, and its handler may have been replaced. Therefore,
    once per second, install the handler again and send the signal; then the loop checks all children.
    """
    loop = gevent.get_hub().loop
    until_ns = monotonic_ns() + int(longest_s * NS_PER_S)
    while (left_ns := until_ns - monotonic_ns()) > 0:
        ended = gevent.with_timeout(min(left_ns / NS_PER_S, AGAIN_S), waitpid, pid, 0, timeout_value=None)
        if ended is not None:
            return os.waitstatus_to_exitcode(ended[1])
        loop.reset_sigchld()  # otherwise the loop assumes that its handler is installed
        loop.install_sigchld()
        os.kill(os.getpid(), signal.SIGCHLD)
    return None
