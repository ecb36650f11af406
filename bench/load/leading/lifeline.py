"""Tells a worker whether its master lives, by a lock on the run's folder that the master holds while it does.

The kernel lets go of it when the process ends, however it does. So a number of a process that another has by now tells
nothing wrong, and a master that stands still is not taken for dead.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


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
