"""Tells a worker whether its master lives, by a lock in the run's spool that the master holds while it does.

The kernel lets go of it when the process ends, however it does. So a number of a process that another has by now tells
nothing wrong, and a master that stands still is not taken for dead.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

NAME = "master.lock"


def hold(folder: Path) -> None:
    """Take the lock of a run's folder, for as long as this process lives."""
    file = os.open(_path(folder), os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(file, fcntl.LOCK_EX)


def is_cut(folder: Path) -> bool:
    """Whether nobody holds the lock any more, or the folder is gone. A file system without locks tells nothing."""
    try:
        file = os.open(_path(folder), os.O_RDONLY)
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


def _path(folder: Path) -> Path:
    return folder / "spool" / NAME
