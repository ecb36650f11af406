"""Raises the priority of this process on its core, and says what keeps that from counting.

Its measure is niceness, from 19 down to −20. Linux weighs a process by it within its group (sched(7)): where the kernel
makes a group of each session (autogroup), it is the group's niceness that counts beside programs of other terminals.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

RAISED, LOWERED = -10, 10
"""The niceness that is asked for, nine times the weight of an ordinary process, and the kernel's own work goes on; that
of what runs beside sessions."""
AUTOGROUP, OWN_GROUP = Path("/proc/sys/kernel/sched_autogroup_enabled"), Path("/proc/self/autogroup")
"""Whether the kernel groups by session, 1 or 0; the group of this process: `/autogroup-812 nice 0`."""


class Priority(NamedTuple):
    """What a process gets that asks for priority: its niceness; what keeps that from counting, or ""; what to do."""

    niceness: int
    hindrance: str = ""
    remedy: str = ""


def niceness() -> int:
    """The niceness of this process; on Linux that of the calling thread, which is the one that plays."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def set_niceness(value: int) -> None:
    """Change it. Raises PermissionError for a lower one where that is not permitted (RLIMIT_NICE, CAP_SYS_NICE)."""
    os.setpriority(os.PRIO_PROCESS, 0, value)


def obtainable() -> Priority:
    """The priority that this process gets where it asks: it is tried, and put back."""
    before = niceness()
    try:
        set_niceness(min(RAISED, before))
    except PermissionError:
        permit = (
            "`sudo prlimit --pid $$ --nice=30` permits it in a shell, `--ulimit nice=30` in a container of Docker's"
        )
        return Priority(before, "is not permitted", permit)
    raised = niceness()
    set_niceness(before)
    if _is_grouped():
        everywhere = f"after `echo {RAISED} > /proc/$$/autogroup` in this shell it counts against all programs"
        return Priority(raised, "only counts against programs of the same terminal", everywhere)
    return Priority(raised)


def _is_grouped() -> bool:
    """Whether this process is in a group of its session that itself has not been raised."""
    try:
        return AUTOGROUP.read_text().strip() == "1" and int(OWN_GROUP.read_text().rpartition(" ")[2]) > RAISED
    except (OSError, ValueError):
        return False
