"""The UDP sockets of simulated calls.

They are not those of the load generator, so an error of these does not hide in the simulator.
"""

import ipaddress
import secrets
import socket
from typing import Self

import psutil

from bench.base.clock import (
    ANCILLARY_BYTES,
    Arrival,
    SendTime,
    arrival_ns,
    enable_timestamps,
    monotonic_ns,
)
from bench.wire.addresses import is_address, is_loopback
from bench.wire.connection import Datagram, SocketAddress

MAX_DATAGRAM_BYTES = 65_535
HANDFUL = 64
"""The maximum number of datagrams that are read from a socket at once."""
SO_MEMINFO = 55  # asm-generic/socket.h; Python's socket module has no name for it
MEMORY_INFO_BYTES = 36
DROPPED_BYTES = 4
"""The last number of the kernel's answer: the datagrams that did not enter the socket."""


class DatagramSocket:
    """A UDP socket that never blocks, on a port of this machine. Its constructor raises OSError."""

    def __init__(self, host: str, port: int = 0) -> None:
        self._raw = socket.socket(
            socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM
        )
        try:
            self._raw.bind((host, port))
        except OSError:
            self._raw.close()
            raise
        self._raw.setblocking(False)
        enable_timestamps(self._raw)
        self._empty_ns = monotonic_ns()
        self.address: SocketAddress = self._raw.getsockname()

    @classmethod
    def pair(cls, host: str, ports: range) -> tuple[Self, Self]:
        """Return the sockets for RTP and RTCP, on an even port and the next one. Raise OSError if
        no pair is free.
        """
        first = secrets.randbelow(len(ports))
        for port in (*ports[first:], *ports[:first]):
            try:
                rtp = cls(host, port)
            except OSError:
                continue
            try:
                return rtp, cls(host, port + 1)
            except OSError:
                rtp.close()
        raise OSError(f"no pair of ports is free from {ports.start} to {ports.stop - 1}")

    def fileno(self) -> int:
        return self._raw.fileno()

    def receive(self, most: int = HANDFUL) -> list[Datagram]:
        """Return the datagrams that have arrived, at most `most`. The others stay in the
        socket.
        """
        now_ns = monotonic_ns()
        received = list[Datagram]()
        while len(received) < most:
            try:
                data, ancillary, _, source = self._raw.recvmsg(MAX_DATAGRAM_BYTES, ANCILLARY_BYTES)
            except (
                OSError
            ):  # the socket is empty, or an ICMP error was reported, which is noted once
                self._empty_ns = now_ns
                break
            at_ns = arrival_ns(ancillary)
            arrival = Arrival(at_ns) if at_ns is not None else self._read_now()
            received.append((data, source, arrival))
        return received

    def _read_now(self) -> Arrival:
        """Return the arrival of a datagram without a timestamp: after the socket was empty."""
        now_ns = monotonic_ns()
        return Arrival(now_ns, now_ns - self._empty_ns, is_kernel=False)

    def send(self, data: bytes, destination: SocketAddress) -> SendTime | None:
        """Send a datagram. Return None if the kernel does not accept it."""
        start_ns = monotonic_ns()
        try:
            self._raw.sendto(data, destination)
        except OSError:
            return None
        return SendTime(start_ns, monotonic_ns() - start_ns)

    @property
    def dropped(self) -> int:
        """The number of datagrams that the kernel dropped, as they were not read in time; 0 if the
        platform does not count them.
        """
        try:
            info = self._raw.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMORY_INFO_BYTES)
        except OSError:
            return 0
        return int.from_bytes(info[-DROPPED_BYTES:], "little")

    def close(self) -> None:
        self._raw.close()


def is_this_machine(host: str) -> bool:
    """Return whether a host is localhost, or an IP address of this machine."""
    if is_loopback(host):
        return True
    own = {
        each.address.partition("%")[0] for every in psutil.net_if_addrs().values() for each in every
    }
    return is_address(host) and str(ipaddress.ip_address(host)) in own
