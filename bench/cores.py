"""Says which cores this process may use, and how much of their time."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""What a container's cgroup may take: microseconds of all processors, or `max`, in each period (cgroup v2)."""


def allowed_cores() -> frozenset[int]:
    """The cores that this process may use, by their numbers; empty where the system binds no process to a core."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def core_count() -> int:
    """How many cores this process may use."""
    return len(allowed_cores()) or os.cpu_count() or 1


def cpu_limit() -> float | None:
    """How many cores' time this container may take together; None where that is not limited."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = CPU_MAX.read_text(encoding="ascii").split()
        return int(quota) / int(period)  # `max` is no number
    return None
