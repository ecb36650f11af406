"""UDP sockets whose datagrams have the kernel's arrival timestamps. They need no event loop of
their own.

A datagram has its own timestamp, so its arrival is exact. Only without a kernel timestamp is the
arrival uncertain: it is then at most as early as the last instant at which the socket was empty.
"""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from bench.base.clock import SendTime, enable_timestamps, monotonic_ns
from bench.base.compiled import twin
from bench.catalogue.causes import Cause, Code, ConnectError
from bench.catalogue.outcomes import Family
from bench.transport._datagrams_interpreted import HANDFUL
from bench.transport.own_limits import own_limit
from bench.transport.tx_timestamps import ERROR_QUEUE, EXTENDED_ERROR, RECEIVED_ERRORS, REPORT_BYTES
from bench.wire.addresses import DISCARD_PORT, UNSPECIFIED, is_address, is_loopback
from bench.wire.connection import Datagram, SocketAddress

if TYPE_CHECKING:
    from bench.transport._datagrams import DatagramReader, DatagramWriter
else:
    _TWIN = twin("bench.transport._datagrams", "bench.transport._datagrams_interpreted")
    DatagramReader = _TWIN.DatagramReader
    DatagramWriter = _TWIN.DatagramWriter

SO_MEMINFO = 55  # asm-generic/socket.h; Python's socket module has no name for it
MEMORY_INFO = struct.Struct("9I")
"""The answer to SO_MEMINFO. Its last number is that of the datagrams that did not enter the
socket (Linux 4.12)."""
EMPTY = (0, errno.EAGAIN, errno.EINTR)
"""The error numbers of a read after which the socket is empty, or is read again."""


class DatagramSender(Protocol):
    """What sends the packets of a call: a socket, or a relay. The members are those of
    `DatagramSocket`.
    """

    unsent: int
    refusal: int

    def fileno(self) -> int: ...

    @property
    def write(self) -> Callable[[bytes, SocketAddress], SendTime | int]: ...

    def send(self, data: bytes, destination: SocketAddress) -> SendTime | None: ...


class DatagramSocket:
    """A UDP socket that never blocks.

    If `notes_refusals` is True, it notes the ICMP errors about its datagrams, as far as the
    platform reports them.
    """

    def __init__(self, raw: socket.socket, *, notes_refusals: bool = False) -> None:
        self._raw = raw
        self._reader = DatagramReader(raw)
        self._writer = DatagramWriter(raw)
        self._notes_refusals = notes_refusals and _request_errors(raw)
        raw.setblocking(False)
        enable_timestamps(raw)
        self._empty_ns = monotonic_ns()
        self.address: SocketAddress = raw.getsockname()
        self.unsent = 0
        """The number of datagrams that the kernel did not accept."""
        self.refusal = 0
        """The number of the error with which the kernel refused the last of them, such as
        ENETUNREACH."""
        self.refused: dict[tuple[str, int], int] = {}
        """The destinations, each a host and a port, of datagrams about which an ICMP error
        arrived, with its number."""

    def fileno(self) -> int:
        return self._raw.fileno()

    def receive(self, most: int = HANDFUL) -> list[Datagram]:
        """Return the datagrams that have arrived, at most `most` of up to `HANDFUL`. The others
        stay in the socket.
        """
        now_ns = monotonic_ns()
        datagrams, error = self._reader.receive(self._empty_ns, most)
        if error not in EMPTY:  # an ICMP error, which the kernel reports once
            self._read_errors()
        elif len(datagrams) < most:
            self._empty_ns = now_ns
        return datagrams

    @property
    def dropped(self) -> int | None:
        """The number of datagrams that the kernel of this machine dropped, as this process did not
        read them in time.

        None if the platform does not count them.
        """
        if not sys.platform.startswith("linux"):
            return None
        try:
            info = self._raw.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMORY_INFO.size)
        except OSError:
            return None
        return int(MEMORY_INFO.unpack(info)[-1]) if len(info) == MEMORY_INFO.size else None

    @property
    def write(self) -> Callable[[bytes, SocketAddress], SendTime | int]:
        """`DatagramWriter.send` of this socket. `send` must send again what it does not send."""
        return self._writer.send

    def send(self, data: bytes, destination: SocketAddress) -> SendTime | None:
        """Send a datagram. Return None if the kernel does not accept it."""
        sent = self._writer.send(data, destination)
        if isinstance(sent, SendTime):
            return sent
        if self._read_errors():  # it was the error of an earlier datagram
            return self.send(data, destination)
        self.unsent += 1
        self.refusal = sent
        return None

    def _read_errors(self) -> bool:
        """Empty the error queue, because its socket is always ready otherwise. Return whether it
        had an error.
        """
        has_any = False
        while self._notes_refusals:
            try:
                _, ancillary, _, destination = self._raw.recvmsg(0, REPORT_BYTES, ERROR_QUEUE)
            except OSError:  # the queue is empty
                break
            has_any = True
            for level, kind, data in ancillary:
                if (level, kind) in RECEIVED_ERRORS and len(data) >= EXTENDED_ERROR.size:
                    self.refused[destination[:2]] = EXTENDED_ERROR.unpack_from(data)[0]
        return has_any

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
        self._raw.close()


def _request_errors(raw: socket.socket) -> bool:
    """Ask the kernel to queue ICMP errors (IP_RECVERR). Return False if the platform has no
    queue for them.
    """
    if not sys.platform.startswith("linux"):
        return False
    level, kind = RECEIVED_ERRORS[raw.family == socket.AF_INET6]
    with suppress(OSError):
        raw.setsockopt(level, kind, 1)
        return True
    return False


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def host_of(address: SocketAddress) -> str:
    """Return the host of a socket's address: an IP address, with the zone of a link-local one,
    such as fe80::1%2.
    """
    return f"{address[0]}%{address[3]}" if len(address) > 3 and address[3] else str(address[0])


def udp_socket(host: str, port: int = 0) -> socket.socket:
    """Return a UDP socket on a port of an IP address; on any free port if it is 0. Raise
    OSError.
    """
    sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
    address, _, zone = host.partition("%")
    try:
        sock.bind((address, port, 0, int(zone)) if zone else (host, port))
    except OSError:
        sock.close()
        raise
    return sock


def own_host(family: int, peer: SocketAddress) -> str:
    """Return the address from which this machine sends packets to the peer. Raise OSError if it
    cannot.
    """
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(peer)
        return host_of(probe.getsockname())


def is_this_machine(host: str) -> bool:
    """Return whether a host is one of this machine: localhost, or an IP address to which a socket
    can be bound.

    An address of one link (fe80::1%2) counts as another machine. Raise ConnectError for a limit of
    this machine.
    """
    if is_loopback(host):
        return True
    if (
        not is_address(host)
        or "%" in host
        or ipaddress.ip_address(host).is_multicast
        or host in UNSPECIFIED
    ):
        return False
    try:
        with udp_socket(host) as sock:
            sock.connect((host, DISCARD_PORT))  # a socket can be bound to a broadcast address, too
    except OSError as error:
        if (limit := own_limit(error, host)) is not None:
            raise limit from None
        return False
    return True


def own_addresses(family: int) -> list[str]:
    """Return the IP addresses of this machine, without link-local ones, which are valid on one
    interface only.
    """
    import psutil

    interfaces = psutil.net_if_addrs().values()
    hosts = dict.fromkeys(
        each.address for every in interfaces for each in every if each.family == family
    )
    return [
        host for host in hosts if is_address(host) and not ipaddress.ip_address(host).is_link_local
    ]


def media_sockets(host: str, ports: range) -> tuple[socket.socket, socket.socket]:
    """Return the sockets for RTP and RTCP, on an even port and the next one. Raise ConnectError
    if no pair is free.
    """
    first = secrets.randbelow(len(ports))
    # A random start: calls that begin together would otherwise all try the same ports in turn.
    for port in (*ports[first:], *ports[:first]):
        opened = []
        try:
            for number in (port, port + 1):
                opened.append(udp_socket(host, number))
        except OSError as error:
            for each in opened:
                each.close()
            if (limit := own_limit(error, "the sockets of the audio")) is not None:
                raise limit from None
            continue
        rtp, rtcp = opened
        return rtp, rtcp
    pair = {"first": ports.start, "last": ports.stop - 1}
    raise ConnectError(f"{Family.EXHAUSTED}:ports", Cause(Code.NO_PAIR, pair))
