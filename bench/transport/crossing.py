"""Goes the way to a service: name lookup, TCP or a proxy's tunnel, TLS, each timed and each with its limit.

Every `OSError` of that way becomes a `ConnectError`, once.
"""

from __future__ import annotations

import socket
import ssl

from bench.clock import monotonic_ns
from bench.limits import Limits
from bench.transport.base import DIRECT, NetworkPath, Phases, Proxy
from bench.transport.proxy import tunnel
from bench.transport.tcp import ByteStream, TcpStream, look_up, open_stream
from bench.transport.tls import shake_hands
from bench.units import NS_PER_S


def connect(
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    limits: Limits,
    phases: Phases,
    way: NetworkPath = DIRECT,
) -> ByteStream:
    """Look up, connect, shake hands with `host`, whatever address or proxy leads there.

    Behind a proxy `dns_done` is when its name was looked up (and the service's, unless the proxy does that), and
    `tcp_done` when its tunnel stands. Raises ConnectError with the outcome: `refused:dns|tcp|proxy|tls`, `timeout:…`.
    """
    tcp = (
        _tunnelled(way.proxy, host, port, limits, phases, way)
        if way.proxy
        else _direct(host, port, limits, phases, way)
    )
    phases.mark("tcp_done")
    if context is None:
        return tcp
    try:
        tls = shake_hands(tcp, context, host, limits.tls)
    except BaseException:
        tcp.close()
        raise
    phases.mark("tls_done")
    return tls


def _direct(host: str, port: int, limits: Limits, phases: Phases, way: NetworkPath) -> TcpStream:
    addresses = look_up(way.address or host, port, limits.tcp)
    phases.mark("dns_done")
    return open_stream(addresses, limits.tcp)


def _tunnelled(proxy: Proxy, host: str, port: int, limits: Limits, phases: Phases, way: NetworkPath) -> TcpStream:
    """Connect to the proxy and open the tunnel; `limits.tcp` is for both together."""
    addresses = look_up(proxy.host, proxy.port, limits.tcp)
    asked_for = way.address or host
    if not proxy.remote_dns:
        asked_for = _address(asked_for, port, limits, proxy)
    phases.mark("dns_done")
    until_ns = monotonic_ns() + int(limits.tcp * NS_PER_S)
    tcp = open_stream(addresses, limits.tcp, "proxy", "proxy")
    try:
        tunnel(tcp, proxy, asked_for, port, until_ns)
    except BaseException:
        tcp.close()
        raise
    return tcp


def _address(host: str, port: int, limits: Limits, proxy: Proxy) -> str:
    """The host's first address that the proxy can be told: SOCKS 4 has no IPv6."""
    family = socket.AF_INET if proxy.scheme == "socks4" else socket.AF_UNSPEC
    return str(look_up(host, port, limits.tcp, family)[0][4][0])
