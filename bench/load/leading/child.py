"""Runs a command beside the sessions of a run: without a copy of this process, at low priority, never waited for.

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

from gevent.os import posix_spawn, waitpid

from bench.spawn import own_environment

LOW_PRIORITY = 10
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""It takes its time on one core, and leaves the others to the load."""


def output_of(command: Sequence[str]) -> str:
    """Return what a command prints; other greenlets run meanwhile, and the command ends where this one is killed.

    Raises OSError where it does not end well, with the last line of what it said.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, Path(os.devnull).open("rb") as nothing:
        pid = _spawned(command, nothing, output, errors)
        status = None
        try:
            os.setpriority(os.PRIO_PROCESS, pid, LOW_PRIORITY)
            status = os.waitstatus_to_exitcode(waitpid(pid, 0)[1])
        finally:
            if status is None:
                os.kill(pid, signal.SIGKILL)
                waitpid(pid, 0)
        if status != 0:
            raise OSError((_text(errors).strip().splitlines() or [f"status {status}"])[-1])
        return _text(output)


def _spawned(command: Sequence[str], *files: IO[bytes]) -> int:
    """Start the process in a session of its own: Ctrl-C is not for it. `files`: its first descriptors."""
    taken = [(os.POSIX_SPAWN_DUP2, file.fileno(), place) for place, file in enumerate(files)]
    environment = own_environment(os.environ) | ONE_THREAD
    return int(posix_spawn(command[0], command, environment, file_actions=taken, setsid=True))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
