"""Chooses the cores that a calibration runs on, and reads who used them: Linux tells, elsewhere it is not known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.clock import monotonic_ns
from bench.units import NS_PER_S

PROC = Path("/proc")
SIMULATORS_MOST = 4
PROGRAMS = (1, 2, 3, 8)
"""The columns of /proc/stat in which programs ran: user, nice, system, and what the host of a virtual machine took
(proc_stat(5)). Not interrupts, for those of the network are the work that is measured.
"""


@dataclass(frozen=True)
class Cores:
    """The cores of harness and simulator; empty where the system binds no process to a core."""

    harness: frozenset[int]
    simulator: frozenset[int]

    @property
    def shared(self) -> bool:
        """Whether harness and simulator take each other's time."""
        return bool(self.harness & self.simulator) or not self.harness

    @property
    def workers(self) -> int:
        """How many processes simulate."""
        return max(1, len(self.simulator))

    @property
    def used(self) -> frozenset[int]:
        return self.harness | self.simulator


def cores_of(allowed: frozenset[int]) -> Cores:
    """Divide cores: one for the harness, as the answer is that of one process; some others for the simulator."""
    if len(allowed) < 2:
        return Cores(allowed, allowed)
    *others, last = sorted(allowed)
    return Cores(frozenset({last}), frozenset(others[-SIMULATORS_MOST:]))


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """Run what is started within the block on these cores; it stays there."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Reading:
    """Seconds of processor time so far; None where the system does not tell."""

    at_ns: int
    harness_s: float | None
    simulator_s: float | None
    busy_s: float | None


class CoreUsage(NamedTuple):
    """Shares of one core: 2.0 is two cores."""

    harness: float | None
    simulator: float | None
    others: float | None


def reading(harness: int, simulator: int, cores: frozenset[int]) -> Reading:
    """Read the processor time of two processes, by their ids, and of everything that ran on the cores."""
    return Reading(monotonic_ns(), _process_s(harness), _process_s(simulator), _busy_s(cores))


def usage(begin: Reading, end: Reading) -> CoreUsage:
    """Compute what was used between two readings."""
    seconds = (end.at_ns - begin.at_ns) / NS_PER_S
    harness, simulator, busy = (
        None if was is None or now is None else (now - was) / seconds
        for was, now in (
            (begin.harness_s, end.harness_s),
            (begin.simulator_s, end.simulator_s),
            (begin.busy_s, end.busy_s),
        )
    )
    known = harness is not None and simulator is not None and busy is not None
    return CoreUsage(harness, simulator, max(0.0, busy - harness - simulator) if known else None)  # type: ignore[operator]


def peak_rss_bytes(process: int) -> int | None:
    """The most memory that a process has had (VmHWM)."""
    lines = _read(PROC / str(process) / "status").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _process_s(process: int) -> float | None:
    """Processor time of a process and its running children: fields 14 and 15 of stat, behind a name of any kind."""
    fields = _read(PROC / str(process) / "stat").rpartition(")")[2].split()
    if len(fields) < 13:
        return None
    children = _read(PROC / str(process) / "task" / str(process) / "children").split()
    own_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own_s + sum(_process_s(int(child)) or 0.0 for child in children)


def _busy_s(cores: frozenset[int]) -> float | None:
    """The processor time of all programs on these cores."""
    names = {f"cpu{core}" for core in cores}
    rows = [row for line in _read(PROC / "stat").splitlines() if (row := line.split()) and row[0] in names]
    ticks = sum(int(row[place]) for row in rows for place in PROGRAMS)
    return ticks / os.sysconf("SC_CLK_TCK") if rows else None


def _read(path: Path) -> str:
    """What the kernel tells there; "" where it does not, or the process has ended."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
