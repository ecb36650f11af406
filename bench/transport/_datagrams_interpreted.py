"""The Python implementation of `_datagrams.pyx`. The docstrings of `_datagrams.pyx` have the
details.
"""

import errno
import socket
from typing import Any

from bench.base.clock import ANCILLARY_BYTES, Arrival, SendTime, arrival_ns, monotonic_ns

MAX_DATAGRAM_BYTES = 65_535
HANDFUL = 64
"""The maximum number of datagrams that are read from a socket at once."""


class DatagramReader:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def close(self) -> None:
        """Do nothing: the socket itself knows that it is closed."""

    def receive(
        self, empty_ns: int, most: int = HANDFUL
    ) -> tuple[list[tuple[bytes, tuple[Any, ...], Arrival]], int]:
        datagrams: list[tuple[bytes, tuple[Any, ...], Arrival]] = []
        while len(datagrams) < most:
            try:
                data, ancillary, _, source = self._sock.recvmsg(MAX_DATAGRAM_BYTES, ANCILLARY_BYTES)
            except OSError as error:
                return datagrams, error.errno or errno.EIO
            at_ns = arrival_ns(ancillary)
            now_ns = monotonic_ns()
            arrival = (
                Arrival(now_ns, now_ns - empty_ns, is_kernel=False)
                if at_ns is None
                else Arrival(at_ns)
            )
            datagrams.append((data, source, arrival))
        return datagrams, 0


class DatagramWriter:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def close(self) -> None:
        """Do nothing: the socket itself knows that it is closed."""

    def send(self, data: bytes, destination: tuple[Any, ...]) -> SendTime | int:
        before_ns = monotonic_ns()
        try:
            self._sock.sendto(data, destination)
        except OSError as error:
            return error.errno or errno.EIO
        return SendTime(before_ns, monotonic_ns() - before_ns)
