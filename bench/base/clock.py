"""The clock readings of Python code, and the conversion of kernel timestamps to CLOCK_MONOTONIC.

All instants are integer nanoseconds of CLOCK_MONOTONIC, which is one clock for all processes of a
host. The kernel's timestamps use CLOCK_REALTIME, both for received segments (SO_TIMESTAMPNS) and
for sent segments (`transport/tx_timestamps.py`). NTP may step CLOCK_REALTIME. Therefore this module
reads both clocks together at once, computes the age of the kernel timestamp, and uses only the age.
"""

# Why two clocks: only CLOCK_MONOTONIC can be subtracted safely, and the kernel stamps packets in
# CLOCK_REALTIME. The age of a stamp is the same on both, if both are read at the same time. A
# preemption between the two readings would be an error of the instant, so they are repeated until
# they are close (`MAX_CLOCK_GAP_NS`). A stamp from the future, or older than a minute, shows that
# the wall clock was stepped. It is not used, and the caller counts a timestamp of user space.

import atexit
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from bench.base.units import NS_PER_S

monotonic_ns = time.monotonic_ns
utc_ns = time.time_ns
thread_cpu_ns = time.thread_time_ns
"""A function that returns the CPU time of the calling thread in nanoseconds."""

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python's socket module has no name for it
ANCILLARY_BYTES = 64
MAX_CLOCK_GAP_NS = 20_000  # a preemption between two clock reads takes longer than this
TRIES = 10  # limits the loop on machines on which a clock read itself is slow
MAX_LAG_NS = 60_000_000_000

_TIMESPEC = struct.Struct("qq")
_keep_stamping: socket.socket | None = None


class Arrival(NamedTuple):
    """The instant of an arrival, and its maximum error. `is_kernel` is True if the kernel
    recorded the instant.
    """

    at_ns: int
    uncertainty_ns: int = 0
    is_kernel: bool = True


class SendTime(NamedTuple):
    """The clock just before a send call, and the duration of the call.

    `ticket` identifies the kernel's timestamp of the send; 0 if none was requested, or none is
    available.
    """

    at_ns: int
    width_ns: int = 0
    ticket: int = 0


def enable_timestamps(sock: socket.socket) -> bool:
    """Ask the kernel to timestamp the data that arrives on `sock`. Return False if the platform has
    no such timestamps.

    The kernel enables timestamps asynchronously. It disables them when the last socket with this
    option is closed. Therefore this function opens a dummy socket with the option, which keeps
    timestamps enabled until the process ends.
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
    """Return (CLOCK_MONOTONIC, CLOCK_REALTIME) of one instant. After a preemption, read again,
    up to TRIES times.
    """
    closest = 1 << 62
    pair = (0, 0)
    for _ in range(TRIES):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        if after - before < closest:
            closest = after - before
            pair = (after, wall)
        if closest <= MAX_CLOCK_GAP_NS:
            break
    return pair


def monotonic_of(realtime_ns: int) -> int | None:
    """Convert a timestamp to CLOCK_MONOTONIC; None if its age, below 0 or over 60 s, shows a
    stepped wall clock.
    """
    now, wall = now_with_realtime()
    lag = wall - realtime_ns
    return now - lag if 0 <= lag <= MAX_LAG_NS else None


def arrival_ns(ancillary: Sequence[tuple[int, int, bytes]]) -> int | None:
    """Return the kernel's receive timestamp in CLOCK_MONOTONIC, from the ancillary data of
    `recvmsg`.

    Return None if there is none. The caller then reads its own clock, and counts this.
    """
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return monotonic_of(seconds * NS_PER_S + nanoseconds)
    return None
