"""The clock readings of Python code, and the conversion of kernel timestamps to CLOCK_MONOTONIC.

All instants are integer nanoseconds of CLOCK_MONOTONIC, which is one clock for all processes of a host. The kernel
timestamps segments with CLOCK_REALTIME: those that arrive (SO_TIMESTAMPNS) and those that leave
(`transport/tx_timestamps.py`). NTP may step that clock. Therefore a timestamp is converted to an age at once, from both
clocks read together, and only the age is used.
"""

from __future__ import annotations

import atexit
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from bench.units import NS_PER_S

monotonic_ns = time.monotonic_ns
utc_ns = time.time_ns
thread_cpu_ns = time.thread_time_ns
"""The CPU time of this thread in nanoseconds."""

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python's socket module has no name for it
ANCILLARY_BYTES = 64
MAX_CLOCK_GAP_NS = 20_000  # a preemption between two clock reads takes longer than this
TRIES = 10  # limits the loop on machines on which a clock read itself is slow
MAX_LAG_NS = 60_000_000_000

_TIMESPEC = struct.Struct("qq")
_keep_stamping: socket.socket | None = None


class Arrival(NamedTuple):
    """The instant of an arrival, its maximum error, and whether it is a timestamp of the kernel."""

    at_ns: int
    uncertainty_ns: int = 0
    is_kernel: bool = True


class SendTime(NamedTuple):
    """The instant of a send: the clock just before the send call, and the duration of the call.

    `ticket` identifies the kernel's later timestamp of the send; 0 if none was requested, or none is available.
    """

    at_ns: int
    width_ns: int = 0
    ticket: int = 0


def enable_timestamps(sock: socket.socket) -> bool:
    """Ask the kernel to timestamp what arrives on `sock`. Return False if the platform has no such timestamps.

    The kernel enables timestamps asynchronously, and disables them when the last socket with this option is closed.
    Therefore a dummy socket keeps them enabled until the process ends.
    """
    global _keep_stamping
    if not sys.platform.startswith("linux"):
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        if _keep_stamping is None:
            dummy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            dummy.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            atexit.register(dummy.close)
            _keep_stamping = dummy
    except OSError:
        return False
    return True


def now_with_realtime() -> tuple[int, int]:
    """Return (CLOCK_MONOTONIC, CLOCK_REALTIME) of one instant. Read them again if a preemption occurred in between."""
    closest, pair = 1 << 62, (0, 0)
    for _ in range(TRIES):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        if after - before < closest:
            closest, pair = after - before, (after, wall)
        if closest <= MAX_CLOCK_GAP_NS:
            break
    return pair


def monotonic_of(realtime_ns: int) -> int | None:
    """Return a kernel timestamp on CLOCK_MONOTONIC.

    Return None if its age is negative or absurd, because then the wall clock was stepped.
    """
    now, wall = now_with_realtime()
    lag = wall - realtime_ns
    return now - lag if 0 <= lag <= MAX_LAG_NS else None


def arrival_ns(ancillary: Sequence[tuple[int, int, bytes]]) -> int | None:
    """Return the kernel's receive timestamp from the ancillary data of `recvmsg`, on CLOCK_MONOTONIC.

    Return None if there is no usable timestamp. The caller then uses its own clock, and counts the fallback.
    """
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return monotonic_of(seconds * NS_PER_S + nanoseconds)
    return None
