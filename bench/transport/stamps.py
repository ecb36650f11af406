"""Tries on a connection of this machine with itself whether the kernel stamps what arrives."""

from __future__ import annotations

from typing import Any

from gevent.server import StreamServer

from bench.clock import monotonic_ns
from bench.transport.tcp import look_up, open_stream
from bench.units import NS_PER_S

LOOPBACK = "127.0.0.1"


def kernel_stamps(limit_s: float) -> bool:
    """Whether arrivals are stamped. Raises OSError or ConnectError where there is no connecting to oneself."""
    server = StreamServer((LOOPBACK, 0), _answer)
    server.start()
    try:
        addresses = look_up(LOOPBACK, server.server_port, limit_s)
        stream = open_stream(addresses, limit_s)
        try:
            stream.write(b"?")
            read = stream.read(monotonic_ns() + int(limit_s * NS_PER_S))
        finally:
            stream.close()
    finally:
        server.stop()
    return read is not None and read.kernel


def _answer(sock: Any, _: object) -> None:
    """Answer once something was asked: by then the kernel has switched its stamps on."""
    sock.recv(1)
    sock.sendall(b"!")
    sock.close()
