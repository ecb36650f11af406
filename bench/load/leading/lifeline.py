"""Tells a worker whether its master lives: by a lock on the run's folder that the master holds, and by its silence.

The kernel lets go of the lock when the process ends, however it does. So a number of a process that another has by now
tells nothing wrong.
"""

from __future__ import annotations

import ctypes
import fcntl
import math
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""


def tie_forks() -> None:
    """Have the kernel end whatever this process forks together with it, until it says `outlive_parent`; on Linux."""
    parents: list[int] = []
    os.register_at_fork(before=lambda: parents.append(os.getpid()), after_in_child=lambda: _end_with(parents[-1]))


def outlive_parent() -> None:
    """Go on when the process ends that forked this one."""
    _on_end_of_parent(0)


def _end_with(parent: int) -> None:
    _on_end_of_parent(signal.SIGKILL)
    if sys.platform == "linux" and ctypes.CDLL(None).getppid() != parent:
        os._exit(1)  # it had ended before the kernel was asked


def _on_end_of_parent(number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def hold(folder: Path) -> None:
    """Take the lock of a run's folder, for as long as this process lives."""
    file = os.open(folder, os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_EX)


class Lifeline:
    """Tells whether a master lives: by its lock where it shares a disk, and by how long it has been silent."""

    def __init__(self) -> None:
        self.patience_s = math.inf
        self._silent_s = 0
        self._locked: int | None = None

    def tie(self, folder: Path | None) -> None:
        """Go by the lock on the folder of a run; None: of a master on another host nothing but its silence tells."""
        if self._locked is not None:
            os.close(self._locked)
        self._locked = None if folder is None else os.open(folder, os.O_RDONLY)

    def heard(self) -> None:
        """Note a word of the master's."""
        self._silent_s = 0

    def is_cut(self) -> bool:
        """Whether the master is lost; asked once a second, so that a process that stood still blames nobody for it."""
        self._silent_s += 1
        return self._silent_s > self.patience_s or self._is_let_go()

    def _is_let_go(self) -> bool:
        """Whether nobody holds the lock any more. A file system without locks tells nothing."""
        if self._locked is None:
            return False
        try:
            fcntl.flock(self._locked, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
