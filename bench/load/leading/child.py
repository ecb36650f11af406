"""Runs a command beside the sessions of a run: without a copy of this process, at low priority, and with an end.

A fork of a process of 400 MB holds its loop up for 20 to 30 ms, as gevent's `Popen` does it; `posix_spawn` for less
than can be told from nothing.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import gevent
from gevent.os import posix_spawn, waitpid

from bench.clock import monotonic_ns
from bench.spawn import KILLED_S, own_environment
from bench.units import NS_PER_S

LONGEST_S, AGAIN_S = 600.0, 1.0
LOW_PRIORITY = 10
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""It takes its time on one core, and leaves the others to the load."""


def output_of(command: Sequence[str], longest_s: float = LONGEST_S) -> str:
    """Return what a command prints; other greenlets run meanwhile, and the command ends where this one is killed.

    Raises OSError where it does not end well, with the last line of what it said, or not within `longest_s`.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, Path(os.devnull).open("rb") as nothing:
        pid = _spawned(command, nothing, output, errors)
        status = None
        try:
            os.setpriority(os.PRIO_PROCESS, pid, LOW_PRIORITY)
            status = _status(pid, longest_s)
        finally:
            if status is None:
                os.killpg(pid, signal.SIGKILL)
                _status(pid, KILLED_S)
        if status is None:
            raise OSError(f"it took longer than {longest_s:g} s, and was ended")
        if status != 0:
            raise OSError((_text(errors).strip().splitlines() or [f"status {status}"])[-1])
        return _text(output)


def _status(pid: int, longest_s: float) -> int | None:
    """Wait for a child's exit status; None where it has not ended after so long.

    The loop hears of children by SIGCHLD alone, which is lost where somebody else has its handler. So that is set and
    the signal given again each second: then the loop looks at all of them.
    """
    loop = gevent.get_hub().loop
    until_ns = monotonic_ns() + int(longest_s * NS_PER_S)
    while (left_ns := until_ns - monotonic_ns()) > 0:
        ended = gevent.with_timeout(min(left_ns / NS_PER_S, AGAIN_S), waitpid, pid, 0, timeout_value=None)
        if ended is not None:
            return os.waitstatus_to_exitcode(ended[1])
        loop.reset_sigchld()  # else it takes its handler for set
        loop.install_sigchld()
        os.kill(os.getpid(), signal.SIGCHLD)
    return None


def _spawned(command: Sequence[str], *files: IO[bytes]) -> int:
    """Start the process in a session of its own: Ctrl-C is not for it. `files`: its first descriptors."""
    gevent.get_hub().loop.install_sigchld()  # gevent does so once the child runs, which may have ended by then
    taken = [(os.POSIX_SPAWN_DUP2, file.fileno(), place) for place, file in enumerate(files)]
    environment = own_environment(os.environ) | ONE_THREAD
    return int(posix_spawn(command[0], command, environment, file_actions=taken, setsid=True))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
