"""A proxy on loopback, in threads of the test's process: HTTP CONNECT, SOCKS 4, 4a and 5 at one
port.
"""

from __future__ import annotations

import base64
import ipaddress
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import NamedTuple

from tests.simulator_process import GUARD_S

READ_BYTES = 65_536
SOCKS4, SOCKS5 = 4, 5
ANONYMOUS, WITH_PASSWORD, NONE_ACCEPTED = 0, 2, 0xFF
IPV4, NAME, IPV6 = 1, 3, 4
ADDRESS_BYTES = {IPV4: 4, IPV6: 16}


class Asked(NamedTuple):
    """A client's request to the proxy: its protocol and destination. `host` is a name or an
    address, as received.
    """

    protocol: str
    host: str
    port: int


@dataclass
class RunningProxy:
    """A running proxy. `names`: the host names that it can resolve; `asked`: the tunnels that
    clients requested.
    """

    port: int
    user: str | None
    password: str | None
    names: Mapping[str, str]
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def url(self, scheme: str, *, authorized: bool = True) -> str:
        """Return the URL for `--proxy` and the environment."""
        who = f"{self.user}:{self.password}@" if self.user and authorized else ""
        return f"{scheme}://{who}127.0.0.1:{self.port}"


@contextmanager
def running_proxy(
    user: str | None = None, password: str | None = None, names: Mapping[str, str] | None = None
) -> Iterator[RunningProxy]:
    """Run a proxy. If `user` and `password` are given, the proxy requires them."""

    class Server(ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            proxy.connections += 1
            with suppress(OSError):
                _serve(self.request, proxy)

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy = RunningProxy(server.server_address[1], user, password, names or {})
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield proxy
        server.shutdown()
        thread.join(GUARD_S)


def _serve(client: socket.socket, proxy: RunningProxy) -> None:
    client.settimeout(GUARD_S)
    first = client.recv(1, socket.MSG_PEEK)
    if first in (bytes([SOCKS4]), bytes([SOCKS5])):
        _socks4(client, proxy) if first[0] == SOCKS4 else _socks5(client, proxy)
    elif first:
        _http(client, proxy)


def _open(proxy: RunningProxy, protocol: str, host: str, port: int) -> socket.socket | None:
    proxy.asked.append(Asked(protocol, host, port))
    try:
        return socket.create_connection((proxy.names.get(host, host), port), GUARD_S)
    except OSError:
        return None


def _http(client: socket.socket, proxy: RunningProxy) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(READ_BYTES)
    lines = head.decode("latin-1").split("\r\n")
    host, _, port = lines[0].split()[1].rpartition(":")
    if proxy.user is not None:
        basic = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        if f"Proxy-Authorization: Basic {basic}" not in lines:
            client.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"
            )
            return
    far = _open(proxy, "http", host.strip("[]"), int(port))
    if far is None:
        client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        return
    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    _relay(client, far)


def _socks4(client: socket.socket, proxy: RunningProxy) -> None:
    _, _, *rest = _exactly(client, 8)
    port, address = int.from_bytes(rest[:2]), bytes(rest[2:])
    user = _until_null(client)
    by_name = address[:3] == bytes(3) and address[3]
    host = _until_null(client) if by_name else str(ipaddress.IPv4Address(address))
    far = _open(proxy, "socks4", host, port) if proxy.user in (None, user) else None
    client.sendall(bytes([0, 91 if far is None else 90]) + bytes(6))
    if far is not None:
        _relay(client, far)


def _socks5(client: socket.socket, proxy: RunningProxy) -> None:
    offered = _exactly(client, _exactly(client, 2)[1])
    method = ANONYMOUS if proxy.user is None else WITH_PASSWORD
    client.sendall(bytes([SOCKS5, method if method in offered else NONE_ACCEPTED]))
    if method not in offered or (method == WITH_PASSWORD and not _knows(client, proxy)):
        return
    kind = _exactly(client, 4)[3]
    address = _exactly(client, _exactly(client, 1)[0] if kind == NAME else ADDRESS_BYTES[kind])
    host = address.decode() if kind == NAME else str(ipaddress.ip_address(address))
    far = _open(proxy, "socks5", host, int.from_bytes(_exactly(client, 2)))
    client.sendall(bytes([SOCKS5, 5 if far is None else 0, 0, IPV4]) + bytes(6))
    if far is not None:
        _relay(client, far)


def _knows(client: socket.socket, proxy: RunningProxy) -> bool:
    user = _exactly(client, _exactly(client, 2)[1]).decode()
    password = _exactly(client, _exactly(client, 1)[0]).decode()
    holds = (user, password) == (proxy.user, proxy.password)
    client.sendall(bytes([1, 0 if holds else 1]))
    return holds


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ConnectionError("the client went away")
        data += part
    return data


def _until_null(sock: socket.socket) -> str:
    data = b""
    while (byte := _exactly(sock, 1)) != b"\0":
        data += byte
    return data.decode()


def _relay(client: socket.socket, far: socket.socket) -> None:
    with far:
        for sock in (client, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        other = {client: far, far: client}
        while True:
            for sock in select.select([client, far], [], [], GUARD_S)[0]:
                data = sock.recv(READ_BYTES)
                if not data:
                    return
                other[sock].sendall(data)
