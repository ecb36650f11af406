"""The address of a telephone call, from its URL, and the local ports of the call."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, Literal
from urllib.parse import urlsplit

from bench.errors import ConnectError

PORTS = range(16_384, 32_768, 2)
"""The local ports of RTP, which are even. RTCP has the next port (RFC 3550 §11)."""
TRIES = 50
_random = SystemRandom()

SipTransportName = Literal["UDP", "TCP", "TLS"]


@dataclass(frozen=True)
class CallAddress:
    """The address of an agent. `uri` is its SIP URI; the other fields are where its messages are sent."""

    uri: str
    host: str
    port: int
    transport: SipTransportName


def call_address(url: str) -> CallAddress:
    """Return the address that a SIP URI names. The URI was checked when the target was read."""
    parts = urlsplit(url)
    rest, *parameters = parts.path.split(";")
    host, _, port = rest.rpartition("@")[2].rpartition(":")
    named = {name.lower(): value.lower() for name, _, value in (text.partition("=") for text in parameters)}
    is_secure = parts.scheme == "sips" or named.get("transport") == "tls"
    transport: SipTransportName = "TLS" if is_secure else "TCP" if named.get("transport") == "tcp" else "UDP"
    return CallAddress(url, host.strip("[]"), int(port), transport)


def local_address(family: int, peer: tuple[Any, ...]) -> str:
    """Return the address of this machine from which packets to the peer are sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(peer)
        return str(probe.getsockname()[0])


def media_sockets(family: int, host: str) -> tuple[socket.socket, socket.socket]:
    """Return the sockets for RTP and RTCP, on an even port and the next one. Raise ConnectError if no pair is free."""
    for port in _random.sample(PORTS, TRIES):
        rtp = socket.socket(family, socket.SOCK_DGRAM)
        rtcp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            rtp.bind((host, port))
            rtcp.bind((host, port + 1))
        except OSError:
            rtp.close()
            rtcp.close()
            continue
        return rtp, rtcp
    detail = f"no pair of UDP ports from {PORTS.start} to {PORTS.stop} is free: lower the number of calls"
    raise ConnectError("failed:load_generator", detail)
