"""The memory that must be left before libraries are imported, because some do not survive without
it.

If no memory or no thread is left, OpenBLAS (in NumPy and SciPy) asks for memory without end, ends
the process with the status of a failed threshold, or sends it SIGINT. Other libraries fail with
errors that do not state the cause.
"""

# Memory can run out at any import, also in a child, and the messages of libraries then name
# anything but the cause. A test allocation is cheap: an anonymous mapping that is never touched
# takes no memory, but counts against the limits (RLIMIT_AS, overcommit), which are what fails
# later.

import gc
import mmap
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

ROOM_BYTES = {"numpy": 128 << 20, "pyarrow": 192 << 20, "scipy": 192 << 20, "pandas": 320 << 20}
"""The address space that must be left at the first import of a library.

That of pandas is for all modules of a report.
"""
RUN_BYTES = 384 << 20
"""The address space that must be left before the modules of a run are imported."""


class RoomCheck:
    """A finder that finds no module. It raises MemoryError if a library of `ROOM_BYTES` would
    have too little room.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in ROOM_BYTES:
            require(ROOM_BYTES[fullname])
        return None


def require(size_bytes: int) -> None:
    """Raise MemoryError if this process cannot have so much more address space."""
    try:
        mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE).close()
    except OSError as error:
        raise MemoryError from error


FRUGAL = {"OPENBLAS_NUM_THREADS": "1", "MIMALLOC_ARENA_RESERVE": "64MiB"}
"""Environment variables of libraries, which limit their address space, here and in child processes.

OpenBLAS takes 40 MiB for each thread, one per core, and makes no product of this tool faster with
several. Mimalloc, in PyArrow, reserves 1 GiB.
"""

NEW_OBJECTS = 10_000
"""The number of new objects after which the garbage collector searches them. With Python's 700, its
searches take a sixth of the start of a command, because imports make many objects, and no garbage.
"""


def prepare() -> None:
    """Check the memory before imports from now on, and let libraries take little of it."""
    os.environ |= FRUGAL
    gc.set_threshold(NEW_OBJECTS)
    if not any(isinstance(finder, RoomCheck) for finder in sys.meta_path):
        sys.meta_path.insert(0, RoomCheck())
