"""Linux's transmit timestamps: when the kernel passed bytes to the network, and when the peer
acknowledged them.

`SO_TIMESTAMPING` identifies a timestamped byte by its position in the stream. So the sender counts
all bytes that it writes. The kernel adds its reports to the socket's error queue. While the queue
contains a report, every poll returns the socket as ready. So if a reader or writer finds nothing to
do, it must empty the queue before it waits again. The kernel stores one report per segment. It
stores no report while the socket's receive buffer is full, so reports may be missing. Source:
Linux's Documentation/networking/timestamping.rst. The numbers are in
include/uapi/linux/net_tstamp.h and errqueue.h.
"""

import socket
import struct
import sys
from collections.abc import Iterable
from typing import NamedTuple

from bench.base.clock import monotonic_of
from bench.base.units import NS_PER_S
from bench.wire.connection import Transmitted

# asm-generic/socket.h; Python's socket module has neither this constant nor the next ones
SO_TIMESTAMPING = 37
TX_SOFTWARE = 1 << 1
REPORT_SOFTWARE = 1 << 4
OPT_ID = 1 << 7
TX_ACK = 1 << 9
OPT_TSONLY = 1 << 11
OPT_ID_TCP = 1 << 16
"""The option to count positions from the last written byte. Without it, they count from the last
acknowledged byte. It needs Linux 6.2."""
OPT_RX_FILTER = 1 << 17
"""The option that stops the kernel from adding a second receive timestamp in this format (Linux
6.12)."""
FLAGS = REPORT_SOFTWARE | OPT_ID | OPT_TSONLY
NEWEST_FIRST = (FLAGS | OPT_ID_TCP | OPT_RX_FILTER, FLAGS | OPT_ID_TCP, FLAGS)

REPORT_BYTES = 512
ERROR_QUEUE = getattr(socket, "MSG_ERRQUEUE", 0) | getattr(socket, "MSG_DONTWAIT", 0)
RECEIVED_ERRORS = ((0, 11), (41, 25))
"""The (level, type) pairs of the control messages that contain a `sock_extended_err`. They are
(SOL_IP, IP_RECVERR) and (SOL_IPV6, IPV6_RECVERR)."""
TIMESTAMPING = 4
"""The value of `ee_origin` if the message is a timestamp report."""
SENT = 0
ACKNOWLEDGED = 2
"""The values of `ee_info` for the two kinds of reports."""
PLACES = 1 << 32
MAX_OWED = 16
"""The number of requested timestamps from which a send reads reports first.

Reports take memory of the socket's receive buffer. If they fill it, the kernel drops received data.
"""

_ASK = [(socket.SOL_SOCKET, SO_TIMESTAMPING, struct.pack("I", TX_SOFTWARE | TX_ACK))]
_TIMESPEC = struct.Struct("qq")
EXTENDED_ERROR = struct.Struct("IBBBBII")  # errno, origin, type, code, padding, info, data


class TxReport(NamedTuple):
    """The kernel's report that a byte was sent or acknowledged.

    `kind` is SENT or ACKNOWLEDGED. `position` is the position of the byte, modulo 2**32.
    `realtime_ns` is the time on CLOCK_REALTIME.
    """

    kind: int
    position: int
    realtime_ns: int


class TxTimestamps:
    """The transmit timestamps of one TCP socket.

    The socket must be connected and non-blocking, and nothing must have been written to it before.
    `enabled` is True if the platform supports transmit timestamps. All data must be written with
    `send`, or counted by `note_written`. The ticket of a send is the number of bytes that were
    written up to its end. So if a ticket is acknowledged, all earlier tickets are acknowledged,
    too.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.written = 0
        """The number of bytes that the kernel has accepted."""
        self._requested: dict[int, int] = {}  # position of the last byte → ticket
        self._reported: list[Transmitted] = []
        self._left = self._last_ns = 0
        self.enabled = sys.platform.startswith("linux") and _switch_on(sock)

    @property
    def owed(self) -> bool:
        """True if the kernel has not reported all requested timestamps yet."""
        return bool(self._requested)

    @property
    def ticket(self) -> int:
        """The ticket of the last send; 0 if the platform does not support transmit timestamps."""
        return self.written if self.enabled else 0

    def send(self, data: bytes | memoryview, *, stamped: bool = False) -> int:
        """Send data, as `socket.send` does. Return the number of bytes that the kernel accepted.

        If `stamped` is True, request two reports for the last byte: when it leaves, and when it is
        acknowledged.
        """
        if not (stamped and self.enabled):
            count = self._sock.send(data)
            self.note_written(count)
            return count
        if len(self._requested) >= MAX_OWED:
            self.drain()
        count = self._sock.sendmsg([data], _ASK)
        self.written += count
        # The kernel identifies the last byte that it accepted. It may accept only a part of `data`.
        self._requested[(self.written - 1) % PLACES] = self.written
        return count

    def note_written(self, count: int) -> None:
        """Count bytes that were written to the socket without a timestamp."""
        self.written += count

    def pop(self) -> list[Transmitted]:
        """Return the timestamps that arrived since the last `pop`."""
        # Later reports are those of retransmissions. The next look for reports drains them.
        while self.owed and self._read_report():
            pass
        timestamps = self._reported
        self._reported = []
        return timestamps

    def drain(self) -> None:
        """Empty the error queue, and store its timestamps until the next `pop`."""
        while self.enabled and self._read_report():
            pass

    def _read_report(self) -> bool:
        """Read a report from the error queue. Return False if the queue is empty."""
        try:
            _, ancillary, _, _ = self._sock.recvmsg(0, REPORT_BYTES, ERROR_QUEUE)
        except OSError:
            return False
        report = read_tx_report(ancillary)
        if report is not None:
            self._add(report)
        return True

    def _add(self, report: TxReport) -> None:
        """Record a report. A retransmission causes further reports that the same byte was sent.
        These are ignored.
        """
        ticket = self._requested.get(report.position)
        acknowledged = report.kind == ACKNOWLEDGED
        if ticket is None or (ticket <= self._left and not acknowledged):
            return
        self._left = max(self._left, ticket)
        at_ns = monotonic_of(report.realtime_ns)
        if at_ns is not None:
            # Each conversion of the clock has an error of some ns. The kernel reports events in
            # order, so the instants must not decrease.
            self._last_ns = max(self._last_ns, at_ns)
            self._reported.append(Transmitted(ticket, self._last_ns, acknowledged))
        if acknowledged:
            self._requested = {
                position: pending_ticket
                for position, pending_ticket in self._requested.items()
                if pending_ticket > ticket
            }


def _switch_on(sock: socket.socket) -> bool:
    for flags in NEWEST_FIRST:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, flags)
        except OSError:
            continue
        return True
    return False


def read_tx_report(ancillary: Iterable[tuple[int, int, bytes]]) -> TxReport | None:
    """Return the report in the control messages of `recvmsg`; None if they contain no SENT or
    ACKNOWLEDGED report.
    """
    at_ns = error = None
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING) and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            at_ns = seconds * NS_PER_S + nanoseconds
        elif (level, kind) in RECEIVED_ERRORS and len(data) >= EXTENDED_ERROR.size:
            error = EXTENDED_ERROR.unpack_from(data)
    if at_ns is None or error is None:
        return None
    _, origin, _, _, _, info, position = error
    return (
        TxReport(info, position, at_ns)
        if origin == TIMESTAMPING and info in (SENT, ACKNOWLEDGED)
        else None
    )
