"""The lock of a run's folder. The process that writes the run holds the lock until the process ends.

A PID does not show whether the writer is alive, because a later process or container may have the same PID. For the
same reason, the PID of a parent does not show that the writer started a process: process 1 is the parent of orphans.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

CLOSES = "RTBENCH_CLOSES"
"""The environment variable of a child process that may close the run of its parent: the folder of this run."""


def hold(folder: Path) -> None:
    """Acquire the lock of a run's folder until this process ends. Do nothing on a file system without locks."""
    file = os.open(folder, os.O_RDONLY)
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def permission_to_close(folder: Path) -> dict[str, str]:
    """Return the environment variable by which the writer of a run lets a child process close it."""
    return {CLOSES: str(folder.resolve())}


def may_close(folder: Path) -> bool:
    """Return whether the writer of a run lets this process close it."""
    return os.environ.get(CLOSES) == str(folder.resolve())


def is_held(folder: Path) -> bool | None:
    """Return whether a process holds the lock of a run's folder.

    Return None if that is unknown, because the file system has no locks, or because this user may not open the folder.
    """
    try:
        file = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return None
    try:
        return is_taken(file)
    finally:
        os.close(file)


def is_taken(file: int) -> bool | None:
    """Return whether another process holds the lock of an open folder; None if its file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
