"""The address of a telephone call, from its URL, and the local ports of the call."""

from __future__ import annotations

import errno
import ipaddress
import socket
from random import SystemRandom
from typing import Any, NamedTuple

from bench.base.errors import ConnectError
from bench.transport.sip.messages import DEFAULT_PORTS
from bench.transport.sip.uri import hop_of

FILES_FULL = "this process has reached its limit of open files: raise `ulimit -n`"
_random = SystemRandom()


class CallAddress(NamedTuple):
    """The host and port to which the messages of a call are sent, and their transport: UDP, TCP or TLS."""

    host: str
    port: int
    transport: str


def call_address(url: str) -> CallAddress:
    """Return the address that the SIP URI of a target names."""
    hop, transport = hop_of(url, "UDP")
    return CallAddress(hop.host.strip("[]"), hop.port or DEFAULT_PORTS[transport], transport)


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of an IP address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def is_address(host: str) -> bool:
    """Return whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def host_of(address: tuple[Any, ...]) -> str:
    """Return the host of a socket's address: an IP address, with the zone of a link-local one, such as fe80::1%2."""
    return f"{address[0]}%{address[3]}" if len(address) > 3 and address[3] else str(address[0])


def udp_socket(host: str, port: int = 0) -> socket.socket:
    """Return a UDP socket on a port of an IP address; on any free port if it is 0. Raise OSError."""
    sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
    address, _, zone = host.partition("%")
    try:
        sock.bind((address, port, 0, int(zone)) if zone else (host, port))
    except OSError:
        sock.close()
        raise
    return sock


def own_host(family: int, peer: tuple[Any, ...]) -> str:
    """Return the address from which this machine sends packets to the peer. Raise OSError if it cannot."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(peer)
        return host_of(probe.getsockname())


def media_sockets(host: str, ports: range) -> tuple[socket.socket, socket.socket]:
    """Return the sockets for RTP and RTCP, on an even port and the next one. Raise ConnectError if no pair is free."""
    first = _random.randrange(len(ports))
    for port in (*ports[first:], *ports[:first]):
        opened: list[socket.socket] = []
        try:
            for number in (port, port + 1):
                opened.append(udp_socket(host, number))
        except OSError as error:
            for each in opened:
                each.close()
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise ConnectError("failed:load_generator", FILES_FULL) from None
            continue
        rtp, rtcp = opened
        return rtp, rtcp
    detail = f"no pair of UDP ports from {ports.start} to {ports.stop - 1} is free: use more ports (--rtp-ports)"
    raise ConnectError("failed:load_generator", detail)
