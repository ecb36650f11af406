"""Looks at what this machine can bear, and whether its clocks and stamps can be trusted."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from bench.clock import now_with_realtime
from bench.cores import BUSY, OTHERS, Priority, core_count, obtainable
from bench.doctor.finding import Finding
from bench.errors import ConnectError
from bench.installation import tool_version
from bench.transport.connect import kernel_stamps
from bench.transport.fast.reader import COMPILED
from bench.units import NS_PER_MS, NS_PER_S

FEW_FILES, FEW_PORTS = 1_024, 4_096
OWN_FILES = 64
"""What a process has open besides its sessions: libraries, logs, Locust's own connections."""
COARSE_S = 1e-5
STEP_MS, WATCHED_S = 5.0, 0.25
SHOWN_MS = 0.01
LIMIT_S = 5.0
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TCP_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def look_at_machine() -> Iterator[Finding]:
    """Every finding about this machine."""
    yield installation(compiled=COMPILED)
    yield open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    yield local_ports(*_port_range())
    yield stamps()
    yield clock_resolution(time.get_clock_info("monotonic").resolution)
    yield wall_clock()
    yield processors(core_count(), os.getloadavg()[0])
    yield priority(obtainable())


def installation(*, compiled: bool) -> Finding:
    """Say what is installed here, and whether it has the parts in C that make events cheaper."""
    said = f"rtbench {tool_version()} on Python {platform.python_version()}"
    if compiled:
        return Finding("installation", "ok", f"{said}, with the compiled parts")
    return Finding("installation", "warning", f"{said}, without the compiled parts, which lower the CPU cost per event",
                   "for many calls at once, install a C compiler and Python's headers, then rtbench again")  # fmt: skip


def open_files(soft: int, hard: int) -> Finding:
    """Judge the limit on open files, of which a session is one.

    `soft` and `hard`: RLIMIT_NOFILE, negative for no limit.
    """
    if soft < 0:
        return Finding("open files", "ok", "no limit")
    sessions = max(0, soft - OWN_FILES)
    said = f"{soft:,} allowed: about {sessions:,} sessions in one process"
    if soft >= FEW_FILES:
        return Finding("open files", "ok", said)
    most = "any number" if hard < 0 else f"up to {hard:,}"
    return Finding(
        "open files", "warning", said, f"for more, `ulimit -n 65536` before the run ({most} is allowed here)"
    )


def local_ports(first: int, last: int, used: int) -> Finding:
    """Judge the local ports, of which each connection to one address takes one; 0 to 0 where they are not known."""
    if not last:
        return Finding("local ports", "skipped", "the range of ports is not known on this system")
    free = max(0, last - first + 1 - used)
    said = f"{first:,} to {last:,}, {used:,} in use: {free:,} more connections to one address"
    if free >= FEW_PORTS:
        return Finding("local ports", "ok", said)
    return Finding("local ports", "warning", said, 'widen it: sysctl -w net.ipv4.ip_local_port_range="10240 65535"')


def stamps() -> Finding:
    """Whether arrivals are stamped by the kernel, and with what figures are made otherwise."""
    try:
        stamped = kernel_stamps(LIMIT_S)
    except (OSError, ConnectError) as error:
        return Finding("kernel stamps", "warning", f"not tried: {error}", "a loopback connection must be possible")
    if stamped:
        return Finding("kernel stamps", "ok", "what arrives is stamped by the kernel")
    return Finding("kernel stamps", "warning", "the kernel does not stamp what arrives: times are this process's own",
                   "measure on Linux outside a sandbox; here keep the load low, and watch `receive_lag`")  # fmt: skip


def clock_resolution(resolution_s: float) -> Finding:
    said = f"monotonic clock in steps of {resolution_s * NS_PER_S:,.0f} ns"
    if resolution_s <= COARSE_S:
        return Finding("clock", "ok", said)
    return Finding("clock", "warning", said, "no latency can be measured more finely: measure on another machine")


def processors(cpus: int, load: float) -> Finding:
    said = f"{cpus} for this process, load {load:.1f} over the last minute"
    if load <= BUSY * cpus:
        return Finding("processors", "ok", said)
    return Finding("processors", "warning", said, OTHERS)


def priority(got: Priority) -> Finding:
    """Say what `--priority` of a run comes to here; what it lacks is no fault of the machine."""
    if not got.hindrance:
        return Finding("priority", "ok", f"a run with `--priority` gets it: niceness {got.niceness}")
    return Finding("priority", "ok", f"`--priority` {got.hindrance}", got.remedy)


def wall_clock() -> Finding:
    """Whether the wall clock is stepped while it is looked at."""
    before_ns = _wall_less_monotonic_ns()
    time.sleep(WATCHED_S)
    return judged_wall_clock((_wall_less_monotonic_ns() - before_ns) / NS_PER_MS)


def judged_wall_clock(moved_ms: float) -> Finding:
    moved = f"{moved_ms:+.2f} ms" if abs(moved_ms) >= SHOWN_MS else f"by less than {SHOWN_MS:g} ms"
    said = f"moved {moved} against the monotonic clock in {WATCHED_S:g} s"
    if abs(moved_ms) <= STEP_MS:
        return Finding("wall clock", "ok", said)
    return Finding("wall clock", "warning", said, "the clock is being set: wait until it is synchronised")


def _wall_less_monotonic_ns() -> int:
    monotonic, wall = now_with_realtime()
    return wall - monotonic


def _port_range() -> tuple[int, int, int]:
    """(first, last, how many of them sockets hold); the second column of the kernel's tables is ADDRESS:PORT in hex."""
    try:
        first, last = map(int, PORT_RANGE.read_text().split())
    except (OSError, ValueError):
        return 0, 0, 0
    held: set[int] = set()
    for table in TCP_TABLES:
        try:
            rows = table.read_text().splitlines()[1:]
        except OSError:
            continue
        held.update(int(row.split()[1].rpartition(":")[2], 16) for row in rows)
    return first, last, sum(first <= port <= last for port in held)
