"""Reads Linux's transmit stamps: when the kernel handed bytes to the network, and when the peer acknowledged them.

`SO_TIMESTAMPING` names a stamped byte by its place in the stream, so whoever asks for stamps counts every byte that
goes out. The answers come through the socket's error queue; while one lies there a poll reports the socket as ready, so
a reader or writer that found nothing to do takes them before it waits again. One answer per segment is kept, and none
while the socket's receive buffer is full: whoever asks may hear nothing. How it works is in Linux's
Documentation/networking/timestamping.rst, the numbers are in include/uapi/linux/net_tstamp.h and errqueue.h.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable
from typing import NamedTuple

from bench.clock import monotonic_of
from bench.transport.interface import TxTimestamp
from bench.units import NS_PER_S

SO_TIMESTAMPING = 37  # asm-generic/socket.h; Python's socket module names neither this nor what follows
TX_SOFTWARE, REPORT_SOFTWARE, OPT_ID, TX_ACK, OPT_TSONLY = 1 << 1, 1 << 4, 1 << 7, 1 << 9, 1 << 11
OPT_ID_TCP = 1 << 16
"""Places count from the last byte written, not from the last one acknowledged; Linux 6.2."""
OPT_RX_FILTER = 1 << 17
"""What arrives is not stamped a second time in this format; Linux 6.12."""
FLAGS = REPORT_SOFTWARE | OPT_ID | OPT_TSONLY
NEWEST_FIRST = (FLAGS | OPT_ID_TCP | OPT_RX_FILTER, FLAGS | OPT_ID_TCP, FLAGS)

ANSWER_BYTES = 512
ERROR_QUEUE = getattr(socket, "MSG_ERRQUEUE", 0) | getattr(socket, "MSG_DONTWAIT", 0)
RECEIVED_ERRORS = ((0, 11), (41, 25))
"""(level, type) of a `sock_extended_err`: SOL_IP with IP_RECVERR, SOL_IPV6 with IPV6_RECVERR."""
TIMESTAMPING = 4
"""The `ee_origin` of an answer."""
SENT, ACKNOWLEDGED = 0, 2
"""The kinds of answer: `ee_info`."""
PLACES = 1 << 32

_ASK = [(socket.SOL_SOCKET, SO_TIMESTAMPING, struct.pack("I", TX_SOFTWARE | TX_ACK))]
_TIMESPEC = struct.Struct("qq")
_EXTENDED_ERROR = struct.Struct("IBBBBII")  # errno, origin, type, code, padding, info, data


class TxReport(NamedTuple):
    """What became of the byte at `place` (modulo 2**32): `kind` happened to it, on CLOCK_REALTIME."""

    kind: int
    place: int
    realtime_ns: int


class TxTimestamps:
    """The transmit stamps of one connected TCP socket, which does not block and of which nothing was written yet.

    `enabled`: the platform has them. All that is written goes through `send`. The ticket of a send is the number of
    bytes written up to its end, so an acknowledgement settles every ticket up to its own.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._written = 0
        self._asked: dict[int, int] = {}  # by the place of the last byte: the ticket
        self._told: list[TxTimestamp] = []
        self._left = self._last_ns = 0
        self.enabled = sys.platform.startswith("linux") and _switch_on(sock)

    @property
    def owed(self) -> bool:
        """Whether the kernel owes an answer."""
        return bool(self._asked)

    @property
    def ticket(self) -> int:
        """The ticket of the last send, where that was stamped; else 0."""
        return self._written if self.enabled else 0

    def send(self, data: bytes | memoryview, *, stamped: bool = False) -> int:
        """As `socket.send`; `stamped` asks when the last byte of what is taken leaves, and when it is acknowledged."""
        if not (stamped and self.enabled):
            count = self._sock.send(data)
            self._written += count
            return count
        count = self._sock.sendmsg([data], _ASK)
        self._written += count
        # the kernel names the last byte of what it took, which may be less than all
        self._asked[(self._written - 1) % PLACES] = self._written
        return count

    def take(self) -> list[TxTimestamp]:
        """Hand out the stamps that came and were not handed out yet."""
        if self.owed:
            self.drain()
        told, self._told = self._told, []
        return told

    def drain(self) -> None:
        """Empty the error queue; what is in it is kept for `take`."""
        while self.enabled:
            try:
                _, ancillary, _, _ = self._sock.recvmsg(0, ANSWER_BYTES, ERROR_QUEUE)
            except OSError:  # there is no more
                return
            answer = read_stamp_answer(ancillary)
            if answer is not None:
                self._note(answer)

    def _note(self, answer: TxReport) -> None:
        """Keep an answer. A segment that is sent again is stamped again, perhaps when settled: the first counts."""
        ticket, acknowledged = self._asked.get(answer.place), answer.kind == ACKNOWLEDGED
        if ticket is None or (ticket <= self._left and not acknowledged):
            return
        self._left = max(self._left, ticket)
        at_ns = monotonic_of(answer.realtime_ns)
        if at_ns is not None:
            # two conversions differ by some ns, and answers stand in the order in which things happened
            self._last_ns = max(self._last_ns, at_ns)
            self._told.append(TxTimestamp(ticket, self._last_ns, acknowledged))
        if acknowledged:
            self._asked = {place: later for place, later in self._asked.items() if later > ticket}


def _switch_on(sock: socket.socket) -> bool:
    for flags in NEWEST_FIRST:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, flags)
        except OSError:
            continue
        return True
    return False


def read_stamp_answer(ancillary: Iterable[tuple[int, int, bytes]]) -> TxReport | None:
    """Read the answer in `recvmsg`'s ancillary data; None where it holds none, or one of another kind."""
    at_ns = error = None
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING) and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            at_ns = seconds * NS_PER_S + nanoseconds
        elif (level, kind) in RECEIVED_ERRORS and len(data) >= _EXTENDED_ERROR.size:
            error = _EXTENDED_ERROR.unpack_from(data)
    if at_ns is None or error is None:
        return None
    _, origin, _, _, _, info, place = error
    return TxReport(info, place, at_ns) if origin == TIMESTAMPING and info in (SENT, ACKNOWLEDGED) else None
