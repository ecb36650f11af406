"""A server that sends back what it receives."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.sync.server import ServerConnection, serve

from bench.base.clock import monotonic_ns
from bench.transport.websocket import WebSocket
from bench.wire.connection import NetworkMeasured
from tests.helpers import MS, receive
from tests.simulator_process import GUARD_S


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@contextmanager
def serving(context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with serve(echo, sock=socket.create_server((host, 0), family=family), ssl=context) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join(GUARD_S)


def echoed(transport: WebSocket) -> NetworkMeasured | None:
    """Send a message, receive its echo, and close the connection. Return the kernel's data about
    the network path.
    """
    transport.send(b"hello")
    (came,) = receive(transport, monotonic_ns() + GUARD_S * 1_000 * MS)
    network = transport.network()
    transport.close()
    assert came.data == b"hello"
    return network
