"""The CPU cores that this process may use, its priority on them, and the CPU time that programs
used.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S

# Three questions are answered here: how many cores there are, who used them during a run, and which
# priority a process has. The answers explain late timestamps to the user. No value of a run is
# corrected by them.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""The file with the CPU limit of a container (cgroup v2).

It has the microseconds of CPU time per period, or `max`, and the period in microseconds.
"""
BUSY = 0.7
"""A share of all cores' time. If at least this share is in use, a process sometimes waits for a
core."""
STOLEN = 0.02
"""A share of all cores' time. If the hypervisor takes at least this share, it counts as a cause of
delays. For the worst time window, the limit is twice as high."""
WINDOW_S = 2.0
OTHERS = (
    "other programs use this machine's CPU: stop them, or measure on a machine that runs nothing"
    " else"
)
HYPERVISOR = (
    "the hypervisor gave CPU time of this machine to others (steal): measure on a machine with"
    " dedicated cores"
)


def allowed_cores() -> frozenset[int]:
    """Return the numbers of the cores that this process may use; none if the system cannot bind
    processes to cores.
    """
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def core_count() -> int:
    """Return the number of cores that this process may use."""
    return len(allowed_cores()) or os.cpu_count() or 1


def cpu_limit() -> float | None:
    """Return the CPU limit of this container, as a number of cores; None if there is no limit."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = CPU_MAX.read_text(encoding="ascii").split()
        return int(quota) / int(period)  # `max` is not a number
    return None


class CpuUsage(TypedDict):
    """The use of a machine's cores, as shares of the time of all cores; null if the system does not
    report it.

    `all_programs` includes this run and the kernel. `total_max` (with the hypervisor) and
    `steal_max` are those of the worst time window of some seconds. `load_start` and `load_end` are
    the load average over one minute.
    """

    cores: int
    load_start: float | None
    load_end: float | None
    this_run: float | None
    all_programs: float | None
    steal: float | None
    total_max: float | None
    steal_max: float | None


class CpuTimes(NamedTuple):
    """Seconds of CPU time. `own_s` is that of this process; the others are of all cores since
    the machine started.
    """

    all_s: float
    taken_s: float
    """The time that programs and the kernel used."""
    stolen_s: float | None
    own_s: float


def cpu_times() -> CpuTimes | None:
    """Return the CPU times until now; None if the system does not report them."""
    import psutil

    try:
        times = psutil.cpu_times()
    except (OSError, RuntimeError, ValueError):
        return None
    taken_s = sum(
        getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq")
    )
    stolen_s = getattr(times, "steal", None)  # only Linux reports it
    all_s = taken_s + times.idle + getattr(times, "iowait", 0.0) + (stolen_s or 0.0)
    return CpuTimes(all_s, taken_s, stolen_s, sum(os.times()[:2]))


class CpuMonitor:
    """A monitor of the machine's CPU use. It begins when the monitor is made."""

    def __init__(self) -> None:
        self._begin = self._last = cpu_times()
        self._load_begin = load_average()
        self._taken_max = 0.0
        self._stolen_max: float | None = None

    def sample(self) -> CpuUsage:
        """Return the use since the start. The time since the last sample is a window, unless it
        is below about 1 s.
        """
        cores = os.cpu_count() or 1
        now = cpu_times()
        own = programs = stolen = taken_max = None
        if (
            now is not None
            and self._begin is not None
            and self._last is not None
            and now.all_s > self._begin.all_s
        ):
            # in a shorter window one clock tick is a large share
            if now.all_s - self._last.all_s >= cores:
                _, _, stolen, taken = shares(self._last, now)
                self._taken_max, self._stolen_max = (
                    max(self._taken_max, taken),
                    _larger(self._stolen_max, stolen),
                )
                self._last = now
            own, programs, stolen, taken = shares(self._begin, now)
            taken_max = max(self._taken_max, taken)
        return CpuUsage(
            cores=cores,
            load_start=self._load_begin,
            load_end=load_average(),
            this_run=own,
            all_programs=programs,
            steal=stolen,
            total_max=taken_max,
            steal_max=None if taken_max is None else _larger(self._stolen_max, stolen),
        )


def _larger(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


def shares(start: CpuTimes, end: CpuTimes) -> tuple[float, float, float | None, float]:
    """Return the shares of all cores' time of this process, programs, the hypervisor (None:
    unknown), the last two.
    """
    all_s = end.all_s - start.all_s
    programs_s = end.taken_s - start.taken_s
    is_known = start.stolen_s is not None and end.stolen_s is not None
    stolen_s = (end.stolen_s or 0.0) - (start.stolen_s or 0.0)
    parts_s = end.own_s - start.own_s, programs_s, stolen_s, programs_s + stolen_s
    own, programs, stolen, taken = (round(part_s / all_s, 4) for part_s in parts_s)
    return own, programs, stolen if is_known else None, taken


def merge_cpu_usage(usages: Sequence[CpuUsage]) -> CpuUsage | None:
    """Merge the values that several processes measured on one machine over the same time.

    Sum the processes' own use. Take the maximum of each other value. Return None for an empty
    sequence.
    """
    if not usages:
        return None
    merged = CpuUsage(**usages[0])
    for key in merged:
        merged[key] = _larger(*(usage[key] for usage in usages))  # type: ignore[literal-required]
    own = [usage["this_run"] for usage in usages if usage["this_run"] is not None]
    merged["this_run"] = round(sum(own), 4) if own else None
    return merged


def others_are_busy(processors: Mapping[str, Any]) -> bool:
    """Return whether the cores were in use most of the time, and other programs used most of
    what was used.
    """
    own, programs, taken = (
        processors.get(key) or 0.0 for key in ("this_run", "all_programs", "total_max")
    )
    return taken >= BUSY and programs >= 3 * own


class OtherPrograms:
    """The other programs of this machine, as they use its cores at present."""

    def __init__(self) -> None:
        self._last = cpu_times()
        self._are_busy = False

    def are_busy(self) -> bool:
        """Return whether they were busy in the last seconds (`others_are_busy`)."""
        now = cpu_times()
        if now is None or self._last is None:
            return False
        if now.all_s - self._last.all_s >= WINDOW_S * (os.cpu_count() or 1):
            own, programs, _, taken = shares(self._last, now)
            use = {"this_run": own, "all_programs": programs, "total_max": taken}
            self._are_busy = others_are_busy(use)
            self._last = now
        return self._are_busy


def busy_reason(processors: Mapping[str, Any] | None) -> str:
    """Return why other programs or the hypervisor delayed this process, with the remedy; "" if
    neither did.
    """
    if processors is None:
        return ""
    stolen, stolen_max = (processors.get(key) or 0.0 for key in ("steal", "steal_max"))
    others = OTHERS if others_are_busy(processors) else ""
    hypervisor = HYPERVISOR if stolen >= STOLEN or stolen_max >= 2 * STOLEN else ""
    return "; ".join(filter(None, (others, hypervisor)))


def load_average() -> float | None:
    """Return the mean number of processes that had a core or waited for one in the last minute;
    None if unknown.
    """
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


# Priority on a core is niceness, from 19 down to −20. Linux weighs a process by it within its group
# (sched(7)). If the kernel makes a group of each terminal session (autogroup), the niceness of the
# group counts against programs of other terminals.

RAISED = -10
LOWERED = 10
"""Values of niceness: of a process that asks for more priority, and of processes with other work
during sessions.

A process with RAISED has nine times the weight of an ordinary process, but the kernel's own work
still runs.
"""
AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")
OWN_GROUP = Path("/proc/self/autogroup")
"""Two files of the kernel about groups of processes.

AUTOGROUP contains 1 if the kernel groups processes by terminal session, else 0. OWN_GROUP contains
the group of this process, in a line such as `/autogroup-812 nice 0`.
"""


class Priority(NamedTuple):
    """The niceness of a process that asks for more priority.

    `hindrance` is why it has little or no effect, and `remedy` how to change this; "" if it has its
    full effect.
    """

    niceness: int
    hindrance: str = ""
    remedy: str = ""


def niceness() -> int:
    """Return the niceness of this process. On Linux, it is that of the calling thread, which
    runs the sessions.
    """
    return os.getpriority(os.PRIO_PROCESS, 0)


def set_niceness(value: int) -> None:
    """Set the niceness. Raise PermissionError without the permission to lower it (RLIMIT_NICE,
    CAP_SYS_NICE).
    """
    os.setpriority(os.PRIO_PROCESS, 0, value)


def available_priority() -> Priority:
    """Return the priority that this process gets: ask for it, read the result, and restore the
    old one.
    """
    before = niceness()
    try:
        set_niceness(min(RAISED, before))
    except PermissionError:
        permit = (
            "to permit it, run `sudo prlimit --pid $$ --nice=30` in the shell, or start the Docker"
            " container with `--ulimit nice=30`"
        )
        return Priority(before, "is not permitted", permit)
    raised = niceness()
    set_niceness(before)
    # the process may be in the group of its terminal session, and the niceness of that group is not
    # raised
    with suppress(OSError, ValueError):
        if (
            AUTOGROUP.read_text(encoding="utf-8").strip() == "1"
            and int(OWN_GROUP.read_text(encoding="utf-8").rpartition(" ")[2]) > RAISED
        ):
            everywhere = (
                f"run `echo {RAISED} > /proc/$$/autogroup` in this shell, so that the priority"
                " takes effect against all programs"
            )
            return Priority(
                raised, "takes effect only against programs of this terminal", everywhere
            )
    return Priority(raised)


PROC = Path("/proc")
MAX_SIMULATOR_CORES = 4
PROGRAMS = ("user", "nice", "system", "steal")
"""The kinds of CPU time, by programs or the hypervisor, that count as use of a core. Interrupts do
not, because those of the network are part of the work that is measured."""


@dataclass(frozen=True)
class CpuAssignment:
    """The cores of the load generator and of the simulator; empty if the system cannot bind
    processes to cores.
    """

    load_generator: frozenset[int]
    simulator: frozenset[int]

    @property
    def shared(self) -> bool:
        """True if the load generator and the simulator share a core."""
        return bool(self.load_generator & self.simulator) or not self.load_generator

    @property
    def workers(self) -> int:
        """The number of the simulator's processes."""
        return max(1, len(self.simulator))

    @property
    def used(self) -> frozenset[int]:
        return self.load_generator | self.simulator


def assign_cores(allowed: frozenset[int]) -> CpuAssignment:
    """Divide the cores: one for the load generator, the others for the simulator. Of one core,
    both use it.
    """
    if len(allowed) < 2:
        return CpuAssignment(allowed, allowed)
    *others, last = sorted(allowed)
    return CpuAssignment(frozenset({last}), frozenset(others[-MAX_SIMULATOR_CORES:]))


@contextmanager
def pinned_to(cores: frozenset[int]) -> Iterator[None]:
    """Run the processes that the block starts on these cores. They remain on these cores when
    the block has ended.
    """
    if sys.platform != "linux" or not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class CpuReading(NamedTuple):
    """The seconds of CPU time that two processes and a set of cores have used until `at_ns`;
    None if unknown.
    """

    at_ns: int
    load_generator_s: float | None
    simulator_s: float | None
    busy_s: float | None


class ProcessCpuUsage(NamedTuple):
    """The CPU use of the load generator, the simulator and all other programs, in cores: 2.0
    means two full cores.
    """

    load_generator: float | None
    simulator: float | None
    others: float | None


def read_cpu(load_generator: int, simulator: int, cores: frozenset[int]) -> CpuReading:
    """Read the CPU time of two processes, by their ids, and of everything that ran on `cores`."""
    return CpuReading(
        monotonic_ns(), _process_s(load_generator), _process_s(simulator), _busy_s(cores)
    )


def cpu_usage(start: CpuReading, end: CpuReading) -> ProcessCpuUsage:
    seconds = (end.at_ns - start.at_ns) / NS_PER_S
    load_generator, simulator, busy = (
        None if before is None or after is None else (after - before) / seconds
        for before, after in zip(start[1:], end[1:], strict=True)
    )
    others = None
    if load_generator is not None and simulator is not None and busy is not None:
        others = max(0.0, busy - load_generator - simulator)
    return ProcessCpuUsage(load_generator, simulator, others)


def peak_rss_bytes(process: int) -> int | None:
    """Return the peak memory of a process in bytes (VmHWM of proc_pid_status(5)); None if it is
    unknown.
    """
    try:
        lines = (
            (PROC / str(process) / "status")
            .read_text(encoding="utf-8", errors="replace")
            .splitlines()
        )
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _process_s(process: int) -> float | None:
    """Return the seconds of CPU time of a process and its running children; None if the process
    has ended.
    """
    import psutil

    try:
        parent = psutil.Process(process)
        if parent.status() == psutil.STATUS_ZOMBIE:
            return None
        times = [member.cpu_times() for member in (parent, *parent.children(recursive=True))]
    except psutil.Error:
        return None
    return float(sum(cpu.user + cpu.system for cpu in times))


def _busy_s(cores: frozenset[int]) -> float | None:
    """Return the seconds of CPU time that all programs used on these cores; None if the system
    does not report them.
    """
    import psutil

    core_times = psutil.cpu_times(percpu=True)
    # if a core is offline, the list has no entry for it, and a position is no longer a core's
    # number
    if not cores or len(core_times) <= max(cores):
        return None
    return float(sum(getattr(core_times[core], name, 0.0) for core in cores for name in PROGRAMS))
