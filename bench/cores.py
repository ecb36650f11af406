"""Says which cores this process may use."""

from __future__ import annotations

import os


def allowed_cores() -> frozenset[int]:
    """The cores that this process may use, by their numbers; empty where the system binds no process to a core."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def core_count() -> int:
    """How many cores this process may use."""
    return len(allowed_cores()) or os.cpu_count() or 1
