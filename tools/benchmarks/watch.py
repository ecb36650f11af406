"""CPU time and memory of a process, sampled from outside while it runs, and the CPU time of
other programs.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.base.clock import monotonic_ns
from bench.base.cpu import CpuAssignment, CpuReading, allowed_cores, cpu_usage, read_cpu
from bench.base.units import NS_PER_S

EVERY_S = 0.1
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """One sample: the CPU times so far, all of them known, and the resident memory of the
    process.
    """

    reading: CpuReading
    rss_bytes: int


@dataclass(frozen=True)
class Watched:
    """The samples of one process that runs with a simulator, in order."""

    samples: Sequence[Sample]

    def cpu_s(self, start_ns: float, end_ns: float) -> float:
        """Return the CPU time of the process and its children."""
        return self._time("load_generator_s", end_ns) - self._time("load_generator_s", start_ns)

    def cpu_ms_per_s(self, start_ns: float, end_ns: float) -> float:
        """Return the CPU time of the process and its children in a second of this period, in ms."""
        return self.cpu_s(start_ns, end_ns) * NS_PER_S / (end_ns - start_ns) * 1_000

    def others_share(self, start_ns: float, end_ns: float) -> float:
        """Return how many cores other programs used, on the cores of the two processes. 1.0 is
        one whole core.
        """
        others = cpu_usage(self._reading(start_ns), self._reading(end_ns)).others
        return float("nan") if others is None else others

    def rss_bytes(self, at_ns: float) -> float:
        return self._at(at_ns, [sample.rss_bytes for sample in self.samples])

    def _reading(self, at_ns: float) -> CpuReading:
        return CpuReading(
            int(at_ns),
            *(self._time(name, at_ns) for name in ("load_generator_s", "simulator_s", "busy_s")),
        )

    def _time(self, name: str, at_ns: float) -> float:
        return self._at(at_ns, [getattr(sample.reading, name) for sample in self.samples])

    def _at(self, at_ns: float, values: Sequence[float]) -> float:
        return float(np.interp(at_ns, [sample.reading.at_ns for sample in self.samples], values))


def watched(
    process: subprocess.Popen[bytes], simulator: int, where: CpuAssignment, limit_s: float
) -> Watched | None:
    """Sample a process until it ends. After `limit_s`, kill it and return None."""
    samples = []
    until_ns = monotonic_ns() + int(limit_s * 1e9)
    while process.poll() is None:
        if monotonic_ns() > until_ns:
            process.kill()
            process.wait()
            return None
        samples += looked_at(process.pid, simulator, where)
        time.sleep(EVERY_S)
    return Watched(samples)


def looked_at(process: int, simulator: int, where: CpuAssignment) -> list[Sample]:
    """Return one sample; none if one of the two processes has ended."""
    try:
        rss = rss_bytes(process)
    except (FileNotFoundError, ProcessLookupError):
        return []
    seen = read_cpu(process, simulator, where.used)
    return (
        []
        if None in (seen.load_generator_s, seen.simulator_s, seen.busy_s)
        else [Sample(seen, rss)]
    )


def rss_bytes(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1]) * PAGE_BYTES


def cores() -> CpuAssignment:
    """Return one core for the simulator and another for the client. If there is only one core,
    both get it.
    """
    usable = sorted(allowed_cores())
    return CpuAssignment(frozenset(usable[-1:]), frozenset(usable[:1]))
