"""What a process takes, seen from outside: CPU and memory, sampled from /proc, and how busy its core was besides."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.clock import monotonic_ns

EVERY_S = 0.1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """One look: CPU of the process (all threads) so far, its resident memory, and what its core did so far."""

    at_ns: int
    cpu_s: float
    rss_bytes: int
    core_busy_s: float
    steal_s: float


@dataclass(frozen=True)
class Watched:
    """The looks at one process, in order."""

    samples: Sequence[Sample]

    def cpu_s(self, begin_ns: float, end_ns: float) -> float:
        return self._grown("cpu_s", begin_ns, end_ns)

    def others_share(self, begin_ns: float, end_ns: float) -> float:
        """Share of the core's time that went to anybody else, other guests of the machine included."""
        busy_s = self._grown("core_busy_s", begin_ns, end_ns) + self._grown("steal_s", begin_ns, end_ns)
        return max(0.0, busy_s - self.cpu_s(begin_ns, end_ns)) / ((end_ns - begin_ns) / 1e9)

    def rss_bytes(self, at_ns: float) -> float:
        return self._at("rss_bytes", at_ns)

    def _grown(self, name: str, begin_ns: float, end_ns: float) -> float:
        return self._at(name, end_ns) - self._at(name, begin_ns)

    def _at(self, name: str, at_ns: float) -> float:
        times = [sample.at_ns for sample in self.samples]
        return float(np.interp(at_ns, times, [getattr(sample, name) for sample in self.samples]))


def alone(pid: int) -> list[int]:
    """The process itself: who is looked at, unless somebody says otherwise."""
    return [pid]


def children(pid: int) -> list[int]:
    """Those that it has forked and that live."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def watched(
    process: subprocess.Popen[bytes], core: int, limit_s: float, who: Callable[[int], list[int]] = alone
) -> Watched | None:
    """Look at a process, or those that belong to it, until it ends. None, and it is killed, after `limit_s`."""
    samples = []
    until_ns = monotonic_ns() + int(limit_s * 1e9)
    while process.poll() is None:
        if monotonic_ns() > until_ns:
            process.kill()
            process.wait()
            return None
        samples += looked_at(process.pid, core, who)
        time.sleep(EVERY_S)
    return Watched(samples)


def looked_at(pid: int, core: int, who: Callable[[int], list[int]] = alone) -> list[Sample]:
    """One sample of these processes together; none where one of them is gone."""
    try:
        pids = who(pid)
        cpu_s, rss_bytes = sum(map(cpu_of, pids)), sum(map(rss_of, pids))
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return []
    busy_s, steal_s = core_times(Path("/proc/stat").read_text(), core)
    return [Sample(monotonic_ns(), cpu_s, rss_bytes, busy_s, steal_s)]


def cpu_of(pid: int) -> float:
    """User and system time (proc(5): fields 14 and 15; the name before them may hold blanks)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def core_times(stat: str, core: int) -> tuple[float, float]:
    """(busy, stolen) seconds of a core in /proc/stat: user nice system idle iowait irq softirq steal."""
    (line,) = (line for line in stat.splitlines() if line.startswith(f"cpu{core} "))
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, line.split()[1:])
    return (user + nice + system + irq + softirq) / TICKS_PER_S, steal / TICKS_PER_S


def cores(clients: int = 1) -> tuple[int, list[int]]:
    """(the simulator's core, those of so many client processes): fewer where there are not as many, at least one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1:][-clients:] or usable


@contextmanager
def on_cores(numbers: Sequence[int]) -> Iterator[None]:
    """What is started in this block stays on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, numbers)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
