"""UDP sockets whose datagrams have the kernel's arrival timestamps. They need no event loop of their own.

A datagram has its own timestamp, so its arrival is exact. Only without a kernel timestamp is the arrival uncertain: it
is then at most as early as the last instant at which the socket was empty.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.clock import ANCILLARY_BYTES, Arrival, SendTime, arrival_ns, enable_timestamps, monotonic_ns

MAX_DATAGRAM_BYTES = 65_535
HANDFUL = 64
"""The maximum number of datagrams that are read from a socket at once."""
SocketAddress = tuple[Any, ...]
"""The address of a peer, as the socket module has it."""


class Datagram(NamedTuple):
    """A received datagram."""

    data: bytes
    source: SocketAddress
    arrival: Arrival


class DatagramSocket:
    """A UDP socket that never blocks."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        raw.setblocking(False)
        enable_timestamps(raw)
        self._empty_ns = monotonic_ns()
        self.address: SocketAddress = raw.getsockname()
        self.fallbacks = 0
        """The number of datagrams without a kernel timestamp."""
        self.unsent = 0
        """The number of datagrams that the kernel did not accept."""
        self.refusal = 0
        """The number of the error with which the kernel refused the last of them, such as ENETUNREACH."""

    def fileno(self) -> int:
        return self._raw.fileno()

    def receive(self) -> Iterator[Datagram]:
        """Yield the datagrams that have arrived, at most `HANDFUL`."""
        for _ in range(HANDFUL):
            now_ns = monotonic_ns()
            try:
                data, ancillary, _, source = self._raw.recvmsg(MAX_DATAGRAM_BYTES, ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                self._empty_ns = now_ns
                return
            except OSError:  # an ICMP error, which the kernel reports once
                return
            at_ns = arrival_ns(ancillary)
            if at_ns is None:
                self.fallbacks += 1
                now_ns = monotonic_ns()
                yield Datagram(data, source, Arrival(now_ns, now_ns - self._empty_ns, is_kernel=False))
            else:
                yield Datagram(data, source, Arrival(at_ns))

    def send(self, data: bytes, destination: SocketAddress) -> SendTime | None:
        """Send a datagram. Return None if the kernel does not accept it."""
        before_ns = monotonic_ns()
        try:
            self._raw.sendto(data, destination)
        except OSError as error:
            self.unsent += 1
            self.refusal = error.errno or errno.EIO
            return None
        return SendTime(before_ns, monotonic_ns() - before_ns)

    def close(self) -> None:
        self._raw.close()
