"""Tells a worker whether its master lives, by a lock on the run's folder that the master holds while it does.

The kernel lets go of it when the process ends, however it does. So a number of a process that another has by now tells
nothing wrong, and a master that stands still is not taken for dead.
"""

from __future__ import annotations

import ctypes
import fcntl
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


def is_cut(folder: Path) -> bool:
    """Whether nobody holds the lock any more, or the folder is gone. A file system without locks tells nothing."""
    try:
        file = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(file)
