"""Peers on loopback, and streams that are connected to them."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest
from websockets.server import ServerProtocol

from bench.base.clock import MAX_CLOCK_GAP_NS, monotonic_ns
from bench.catalogue.timeouts import Timeouts
from bench.transport.connect import connect
from bench.transport.interface import ConnectRequest, ConnectTimings
from bench.transport.loop_monitor import LoopMonitor
from bench.transport.tcp import ByteStream, TcpStream
from bench.transport.tls import tls_context
from bench.transport.websocket import WebSocket, open_websocket
from tests.simulator_process import GUARD_S
from tests.transport.certificates import Certificate

ENOUGH = Timeouts(tcp=GUARD_S, tls=GUARD_S, upgrade=GUARD_S)
KINDS = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@contextmanager
def listener(backlog: int = 8) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as sock:
        sock.settimeout(GUARD_S)
        yield sock


class Peer:
    """The peer of one connection. Its thread calls functions with the socket.

    It reports the start and the end of each function call, and the result.
    """

    def __init__(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        self._listening, self._context = listening, context
        self._orders: SimpleQueue[Callable[[Any], Any] | None] = SimpleQueue()
        self._reports: SimpleQueue[tuple[int, int, Any]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        sock, _ = self._listening.accept()
        sock.settimeout(GUARD_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=True)
        with sock:
            while (order := self._orders.get()) is not None:
                before_ns = monotonic_ns()
                result = order(sock)
                self._reports.put((before_ns, monotonic_ns(), result))

    def order(self, order: Callable[[Any], Any]) -> None:
        self._orders.put(order)

    def report(self) -> tuple[int, int, Any]:
        """Return (start, end, result) of the oldest order.

        Block this thread, and therefore its event loop, until the peer reports this order.
        """
        return self._reports.get(timeout=GUARD_S)

    def do(self, order: Callable[[Any], Any]) -> tuple[int, int, Any]:
        self.order(order)
        return self.report()

    def send(self, data: bytes) -> tuple[int, int]:
        before_ns, after_ns, _ = self.do(lambda sock: sock.sendall(data))
        return before_ns, after_ns

    def end(self) -> None:
        self._orders.put(None)
        self._thread.join(GUARD_S)


@contextmanager
def connected(tls: bool, certificate: Certificate) -> Iterator[tuple[ByteStream, Peer]]:
    server_context, ca = certificate
    with listener() as listening:
        peer = Peer(listening, server_context if tls else None)
        context = tls_context(str(ca)) if tls else None
        stream = connect(
            "127.0.0.1",
            listening.getsockname()[1],
            ConnectRequest("", (), context, ENOUGH, ConnectTimings()),
        )
        try:
            yield stream, peer
        finally:
            stream.close()
            peer.end()


def accept_upgrade(sock: Any) -> None:
    """Accept the upgrade to WebSocket.

    All bytes after the upgrade request stay unread for the next order of the test.
    """
    server = ServerProtocol()
    while not (asked := server.events_received()):
        server.receive_data(sock.recv(65_536))
    server.send_response(server.accept(asked[0]))  # type: ignore[arg-type]
    sock.sendall(b"".join(server.data_to_send()))


@contextmanager
def connected_websocket(tls: bool, certificate: Certificate) -> Iterator[tuple[WebSocket, Peer]]:
    """Open a WebSocket connection. Yield it and its peer, which follows the orders of the test."""
    server_context, ca = certificate
    with listener() as listening:
        peer = Peer(listening, server_context if tls else None)
        peer.order(accept_upgrade)
        url = f"{'wss' if tls else 'ws'}://127.0.0.1:{listening.getsockname()[1]}/v1/realtime"
        transport = open_websocket(
            ConnectRequest(url, [], tls_context(str(ca)) if tls else None, ENOUGH, ConnectTimings())
        )
        peer.report()
        try:
            yield transport, peer
        finally:
            transport.abort()
            peer.end()


def _tcp_of(stream: Any) -> TcpStream:
    below: TcpStream = getattr(stream, "_tcp", stream)
    return below


def wait_until_there(stream: Any) -> int:
    """Wait until the socket contains bytes, and then a little longer. Do not read the bytes.

    Return an instant after the arrival of the bytes.
    """
    below = _tcp_of(stream)
    received = getattr(below, "_received", None)
    files = [below._sock.fileno()]
    has_arrived = False
    if received is not None:  # the ring takes the bytes from the socket
        ring = LoopMonitor.of_hub().ring
        has_arrived = not received.drained or not ring.arm_wakeup()
        files.append(ring.fileno())
    if not has_arrived:
        assert select.select(files, [], [], GUARD_S)[0]
    until_ns = monotonic_ns() + 50 * MAX_CLOCK_GAP_NS
    while (now_ns := monotonic_ns()) < until_ns:
        pass
    return now_ns
