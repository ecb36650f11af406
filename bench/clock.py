"""The only reader of clocks, and the way from a kernel's stamp to the process's own time line.

All instants are integer nanoseconds of CLOCK_MONOTONIC, which is one clock for all processes of a host. The kernel
stamps segments with CLOCK_REALTIME: those that arrive (SO_TIMESTAMPNS) and those that leave
(`transport/tx_timestamps.py`). NTP may step that clock, so a stamp is turned into an age at once, by reading both
clocks together, and only the age is used.
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
"""How long this thread has been on a core."""

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python's socket module does not name it
ANCILLARY_BYTES = 64
APART_NS = 20_000  # a preemption between two clock reads shows as more than this
TRIES = 10  # where a clock read is slow in itself, none is good enough
ABSURD_LAG_NS = 60_000_000_000

_TIMESPEC = struct.Struct("qq")
_keep_stamping: socket.socket | None = None


class Arrival(NamedTuple):
    """When something arrived, how far off that may be at most, and whether the kernel said so."""

    at_ns: int
    error_ns: int = 0
    kernel: bool = True


class SendTime(NamedTuple):
    """When something was handed to the kernel: the clock just before the send call, and how long the call took.

    `ticket`: by which the kernel will say when it really left; 0 where it was not asked, or cannot say.
    """

    at_ns: int
    width_ns: int = 0
    ticket: int = 0


def enable_stamps(sock: socket.socket) -> bool:
    """Ask the kernel to stamp what arrives on `sock`; False where the platform has no such stamps.

    The kernel switches stamping on asynchronously and off again with the last socket that wanted it, so one dummy
    socket keeps it on for the life of the process.
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
    """(CLOCK_MONOTONIC, CLOCK_REALTIME) of one instant; read again where a preemption fell between."""
    closest, pair = 1 << 62, (0, 0)
    for _ in range(TRIES):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        if after - before < closest:
            closest, pair = after - before, (after, wall)
        if closest <= APART_NS:
            break
    return pair


def monotonic_of(realtime_ns: int) -> int | None:
    """A kernel's stamp, on CLOCK_MONOTONIC; None where its age is negative or absurd: the wall clock was stepped."""
    now, wall = now_with_realtime()
    lag = wall - realtime_ns
    return now - lag if 0 <= lag <= ABSURD_LAG_NS else None


def arrival_ns(ancillary: Sequence[tuple[int, int, bytes]]) -> int | None:
    """The kernel's receive stamp in `recvmsg`'s ancillary data, on CLOCK_MONOTONIC.

    None where there is no stamp, or no usable one: the caller then falls back to its own clock, and counts that.
    """
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return monotonic_of(seconds * NS_PER_S + nanoseconds)
    return None
