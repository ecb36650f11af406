"""Connections to services. The phases are name lookup, TCP or a proxy's tunnel, and TLS.

Each phase has its own timing and its own limit. Only this module creates client sockets. It
converts every `OSError` on the network path to a `ConnectError`, once.

The system's resolver looks names up, so that /etc/hosts, nsswitch.conf and search domains have the
same effect as in all other programs. It blocks, so each lookup runs in its own thread, which also
reads the clock. gevent's pool has only ten threads for all purposes. If ten lookups occupied them,
the next one would wait in this process, and that wait is not network time.

A tunnel is negotiated over our own TCP stream, which then carries all other data. python-socks does
so for SOCKS. To connect through a chain of proxies, it calls `connect` of an object `forward`,
which opens the connection to the next proxy. Here, `forward` is our stream with the interface of a
socket. It reads nothing beyond the proxy's answer, so later bytes and their timestamps stay in the
stream.
"""

from __future__ import annotations

import base64
import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import gevent
import gevent.socket
from gevent import monkey
from gevent.event import AsyncResult
from gevent.server import StreamServer
from gevent.threadpool import ThreadPool

from bench.base.clock import monotonic_ns
from bench.base.errors import closed_on_failure
from bench.base.installation import tool_version
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.causes import Cause, Code, ConnectError, in_words
from bench.catalogue.outcomes import OWN_FAULT
from bench.catalogue.timeouts import Timeouts
from bench.files.sanitize import excerpt
from bench.transport.challenges import challenges
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath, Proxy
from bench.transport.loop_monitor import HubLocal
from bench.transport.own_limits import hidden_limit, own_limit, own_limit_of_port
from bench.transport.parser import (
    MAX_HEAD_BYTES,
    QUOTED,
    HttpResponse,
    may_be_response,
    read_response,
    service_message,
    without_interim,
)
from bench.transport.ring.choice import new_stream
from bench.transport.tcp import ByteStream, PeerScope, TcpStream
from bench.transport.tls import shake_hands
from bench.wire.addresses import authority

getaddrinfo = monkey.get_original("socket", "getaddrinfo")
MAX_LOOKUPS = 500
"""The maximum number of lookups in progress in a process. After its timeout, a lookup still
occupies its thread until the resolver gives up."""
IDLE_S = 60.0
"""The idle time after which a thread ends."""
STOPPED_NS = 20_000_000
"""The maximum delay after which a wait normally ends. If the delay was longer, this process did not
run, and neither did the lookup's thread."""


class Lookup(NamedTuple):
    """The addresses of a name, as `getaddrinfo` returns them, and when the lookup started and
    ended.
    """

    addresses: list[Any]
    started_ns: int
    done_ns: int


def look_up(host: str, port: int, limit_s: float, family: int = socket.AF_UNSPEC) -> Lookup:
    """Look up a host. If the host is an address, return this address.

    Raise ConnectError `connect_failed:dns`, `timeout:dns` or `failed:load_generator`.
    """
    start_ns = monotonic_ns()
    try:  # an address needs no resolver, and so no thread, for which a busy process would wait
        addresses = list(
            getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        )
    except (OSError, UnicodeError):
        return Resolver.of_hub().look_up(_Query(host, port, family), limit_s)
    return Lookup(addresses, start_ns, monotonic_ns())


def start_first_thread() -> None:
    """Start the first thread now, so that the first connection does not have to wait for it."""
    with suppress(ConnectError):  # the result does not matter
        look_up("localhost", 0, Timeouts.tcp)


class _Query:
    """A lookup to do. `started_ns` is the instant at which its thread started the lookup; 0
    before that.
    """

    def __init__(self, host: str, port: int, family: int) -> None:
        self.host = host
        self.started_ns = 0
        self._query = host, port, family, socket.SOCK_STREAM

    def run(self) -> Lookup | OSError | UnicodeError:
        """Do the lookup in the thread. Return an error instead of raising it, because gevent
        would print it.
        """
        self.started_ns = monotonic_ns()
        try:
            addresses = list(getaddrinfo(*self._query))
        except OSError as error:
            return hidden_limit(error)
        except UnicodeError as error:
            return error
        return Lookup(addresses, self.started_ns, monotonic_ns())


class _Threads(ThreadPool):  # type: ignore[misc]  # gevent has no types
    """A thread pool that stops growing when the machine's limit is reached.

    Further lookups then wait for free threads.
    """

    def _add_thread(self) -> None:
        try:
            super()._add_thread()
        except RuntimeError:  # for example a container's limit of processes
            if not self.size:
                raise
            self._maxsize = self.size


class Resolver(HubLocal):
    """A pool of threads for name lookups."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = _Threads(MAX_LOOKUPS, idle_task_timeout=IDLE_S)

    def look_up(self, query: _Query, limit_s: float) -> Lookup:
        """Look up a host, as the function `look_up` does.

        `limit_s` applies to the wait for a thread, and then again to the lookup.
        """
        limit_error = ConnectError(
            OWN_FAULT, Cause(Code.LOOKUPS_FULL, {"lookups": MAX_LOOKUPS, "limit_s": limit_s})
        )
        try:
            with gevent.Timeout(limit_s, limit_error):
                async_result = self._threads.spawn(query.run)
        except RuntimeError as error:
            raise own_limit(error, query.host) or error from None
        if not _wait_for_answer(async_result, query, int(limit_s * NS_PER_S)):
            raise ConnectError("timeout:dns", f"looking up {query.host} took over {limit_s:g} s")
        result: Lookup | OSError | UnicodeError = async_result.get()
        if isinstance(result, Lookup):
            return result
        reason = f"{query.host}: {getattr(result, 'strerror', None) or result}"
        raise own_limit(result, query.host) or ConnectError("connect_failed:dns", reason)


def _wait_for_answer(async_result: AsyncResult, query: _Query, limit_ns: int) -> bool:
    """Wait for the result of a lookup. Return False if the lookup takes longer than the limit.

    Pauses of this process do not count.
    """
    paused_ns = 0
    while not async_result.ready():
        until_ns = (query.started_ns or monotonic_ns()) + limit_ns + paused_ns
        left_ns = until_ns - monotonic_ns()
        if left_ns <= 0:
            return False
        async_result.wait(left_ns / NS_PER_S)
        overslept_ns = monotonic_ns() - until_ns
        if overslept_ns > STOPPED_NS:
            # the lost time, and the same time again, in which the thread can run
            paused_ns += 2 * overslept_ns
    return True


LOOPBACK = "127.0.0.1"
BODY_NS = 1_000_000_000
"""The maximum time to wait for the body of a refusal after its head has arrived."""
MAX_REFUSAL_BYTES = 16_384
UNAUTHORIZED = 407
NO_METHOD = "No acceptable authentication methods"


def connect(host: str, port: int, request: ConnectRequest) -> ByteStream:
    """Look up the name, connect, and do the TLS handshake for `host`, even if the path of the
    request has another address or a proxy.

    With a proxy, `dns_done` is the instant at which the proxy's name was looked up. If the proxy
    does not look up the service's name, `dns_done` includes that lookup, too. `tcp_done` is the
    instant at which the tunnel is open. Raise ConnectError with the outcome
    `connect_failed:dns|tcp|proxy|tls` or `timeout:…`.
    """
    phases = request.phases
    tcp = open_tcp(host, port, request.limits, phases, request.path)
    phases.set_instant("tcp_done")
    if request.context is None:
        return tcp
    with closed_on_failure(tcp):
        tls = shake_hands(tcp, request.context, host, request.limits.tls)
    phases.set_instant("tls_done")
    return tls


def open_tcp(
    host: str, port: int, limits: Timeouts, phases: ConnectTimings, path: NetworkPath
) -> TcpStream:
    """Connect to the service, or open a tunnel to it. With a proxy, the limit `limits.tcp`
    includes the tunnel.
    """
    phases.set_instant("connect_start")
    requested_host = path.address or host
    proxy = path.proxy
    if proxy is None:
        return open_stream(_look_up(phases, requested_host, port, limits.tcp), limits.tcp)
    addresses = _look_up(phases, proxy.host, proxy.port, limits.tcp)
    if not proxy.remote_dns:  # the first address that the proxy supports: SOCKS 4 has no IPv6
        family = socket.AF_INET if proxy.scheme == "socks4" else socket.AF_UNSPEC
        requested_host = str(_look_up(phases, requested_host, port, limits.tcp, family)[0][4][0])
    until_ns = monotonic_ns() + int(limits.tcp * NS_PER_S)
    tcp = open_stream(addresses, limits.tcp, "proxy", "proxy")
    # the proxy was in time, but this process did not run
    if (now_ns := monotonic_ns()) >= until_ns:
        until_ns = now_ns + int(limits.tcp * NS_PER_S)
    with closed_on_failure(tcp):
        tunnel(tcp, proxy, requested_host, port, until_ns)
    return tcp


def _look_up(
    phases: ConnectTimings, host: str, port: int, limit_s: float, family: int = socket.AF_UNSPEC
) -> list[Any]:
    """Look up the addresses of a host. Record in `phases` how long the resolver took."""
    addresses, start_ns, done_ns = look_up(host, port, limit_s, family)
    phases.set_lookup(start_ns, done_ns)
    return addresses


def open_stream(
    addresses: list[Any], limit_s: float, stage: str = "tcp", scope: PeerScope = "service"
) -> TcpStream:
    """Connect as `connect_first` does, and return the connection as a stream."""
    connect_start_ns = monotonic_ns()
    return new_stream(connect_first(addresses, limit_s, stage), connect_start_ns, scope)


def connect_first(addresses: list[Any], limit_s: float, stage: str = "tcp") -> Any:
    """Connect to the first address that answers. Raise ConnectError `connect_failed:<stage>` or
    `timeout:<stage>`.

    All addresses share one limit. Each address gets an equal share of the remaining time. So if the
    packets to one address are dropped, because there is no route for its family, for example, time
    is left for the other addresses. If a limit of this machine prevented the connection to an
    address, it is unknown whether this address would have answered. Then raise ConnectError
    `exhausted:<resource>`.
    """
    left_s = limit_s
    problem = ConnectError("connect_failed:dns", "the host name has no address")
    limit = None
    for index, (family, kind, proto, _, address) in enumerate(addresses):
        address_text = authority(*address[:2])
        sock = None
        share_s = max(0.001, left_s / (len(addresses) - index))
        start_ns = monotonic_ns()
        try:
            sock = gevent.socket.socket(family, kind, proto)
            sock.settimeout(share_s)
            sock.connect(address)
            return sock
        except gevent.GreenletExit:
            if sock is not None:
                sock.close()
            raise
        except TimeoutError:
            # The loop may have woken long after the limit. A connection that the kernel has made by
            # now counts.
            if sock is not None and sock._sock.connect_ex(address) in (0, errno.EISCONN):
                return sock
            problem = ConnectError(
                f"timeout:{stage}", f"{address_text} did not answer within {share_s:.3g} s"
            )
        except OSError as error:
            problem = ConnectError(
                f"connect_failed:{stage}", f"{address_text}: {error.strerror or error}"
            )
            limit = own_limit_of_port(error, address_text, (family, address)) or limit
        if sock is not None:
            sock.close()
        # An attempt uses no more than its share, however late this process notices its end.
        left_s -= min(share_s, (monotonic_ns() - start_ns) / NS_PER_S)
    raise limit or problem


def is_refused(host: str, port: int, limit_s: float) -> bool:
    """Return whether a machine refuses TCP connections to a port. Other faults are no refusal."""
    try:
        socket.create_connection((host, port), limit_s).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


class AnswerError(Exception):
    """An answer of a proxy that is a refusal, or no answer."""


def tunnel(stream: TcpStream, proxy: Proxy, host: str, port: int, until_ns: int) -> None:
    """Request a tunnel to `host` from the proxy at the other end of `stream`.

    Raise ConnectError: `connect_failed:proxy` with the text of the proxy's answer, or
    `timeout:proxy`.
    """
    proxy_socket = ProxySocket(stream, until_ns)
    try:
        if proxy.scheme == "http":
            _connect_by_http(proxy_socket, proxy, authority(host, port))
        else:
            _connect_by_socks(proxy_socket, proxy, host, port)
    except TimeoutError:
        raise ConnectError(
            "timeout:proxy", f"the proxy {proxy.public} did not answer in time"
        ) from None
    except AnswerError as error:
        text = _shown(proxy, str(error))
        raise _refusal(
            proxy, f"{text}; {_login_text(proxy)}" if NO_METHOD in text else text
        ) from None
    except UnicodeDecodeError:
        raise _refusal(proxy, "its response cannot be read") from None
    except ValueError:  # its text may quote a password
        raise _refusal(
            proxy, f"{proxy.scheme} cannot encode its user, its password or the host"
        ) from None
    except OSError as error:
        broken = _refusal(proxy, f"the connection broke: {error.strerror or error}")
        raise own_limit(error, f"the proxy {proxy.public}") or broken from None
    if proxy_socket.beyond:
        words = service_message(proxy_socket.beyond, MAX_REFUSAL_BYTES)
        raise _refusal(proxy, _shown(proxy, f"it sent data after its response: {words}"))


def load_socks() -> None:
    """Import the library for SOCKS, which takes 20 ms, before a connection needs it."""
    import python_socks.sync  # noqa: F401


def _connect_by_socks(proxy_socket: ProxySocket, proxy: Proxy, host: str, port: int) -> None:
    """Request a tunnel to `host` by SOCKS. Raise AnswerError if the proxy refuses."""
    from python_socks import ProxyError, ProxyType
    from python_socks.sync import Proxy as Negotiator

    negotiator = Negotiator(
        {"socks4": ProxyType.SOCKS4, "socks5": ProxyType.SOCKS5}[proxy.scheme],
        proxy.host,
        proxy.port,
        username=proxy.user,
        password=proxy.password or "",
        rdns=True,  # `host` is what the proxy receives, whether a name or an address
        forward=proxy_socket,  # type: ignore[arg-type]  # only its `connect` is called
    )
    try:
        negotiator.connect(host, port)
    except ProxyError as error:
        raise AnswerError(str(error)) from None


def _connect_by_http(proxy_socket: ProxySocket, proxy: Proxy, service: str) -> None:
    """Request a tunnel to `service` by CONNECT (RFC 9110 §9.3.6). Any status 2xx opens it, and has
    no body.

    Raise ConnectError with the words of the proxy's page if the proxy refuses.
    """
    lines = [
        f"CONNECT {service} HTTP/1.1",
        f"Host: {service}",
        f"User-Agent: rtbench/{tool_version()}",
    ]
    if proxy.user:
        basic = base64.b64encode(f"{proxy.user}:{proxy.password or ''}".encode("latin-1")).decode()
        lines.append(f"Proxy-Authorization: Basic {basic}")
    proxy_socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    response = proxy_socket.http_response()
    if response.status // 100 == 2:
        proxy_socket.beyond = response.body
        return
    until_ns = min(proxy_socket.until_ns, monotonic_ns() + BODY_NS)
    response = receive_body(proxy_socket.stream, response, until_ns)
    page = service_message(response.content, MAX_REFUSAL_BYTES)
    answer = _shown(
        proxy, ": ".join(filter(None, (f"{response.status} {response.reason}".strip(), page)))
    )
    schemes = [
        challenge.scheme for challenge in challenges(response.headers.get("proxy-authenticate", ""))
    ]
    if (
        response.status == UNAUTHORIZED
        and schemes
        and not any(scheme.lower() == "basic" for scheme in schemes)
    ):
        more = [Cause(Code.OTHER_LOGIN, {"schemes": excerpt(", ".join(schemes), QUOTED)})]
    elif response.status == UNAUTHORIZED:
        more = [in_words(_login_text(proxy))]
    else:
        more = []
    raise _refusal(proxy, answer, more)


# python-socks wants a blocking socket. Its methods here block a greenlet only, with one limit for
# the whole negotiation.
class ProxySocket:
    """A TCP stream with the socket interface that python-socks needs. It is also the `forward` of
    python-socks.

    `beyond` contains received bytes that were not requested. If this process takes time to answer,
    that time is added to `until_ns`, because the proxy waits for the answer.
    """

    def __init__(self, stream: TcpStream, until_ns: int) -> None:
        self.stream = stream
        self.until_ns = until_ns
        self.beyond = b""
        self._received_ns = NEVER_NS
        self._received_bytes = 0

    def connect(self, **_: Any) -> ProxySocket:
        return self

    def sendall(self, data: bytes) -> None:
        self.stream.write(data)
        self.until_ns += max(0, monotonic_ns() - self._received_ns)

    def http_response(self) -> HttpResponse:
        """Return the answer of an HTTP proxy, with the received part of its body. Raise AnswerError
        if it is no answer.

        The head may arrive in parts, after interim answers.
        """
        while (response := read_response(self.beyond)) is None:
            self.beyond = without_interim(self.beyond)
            size = self._received_bytes
            if not may_be_response(self.beyond) or size > MAX_HEAD_BYTES or not self._more():
                raise AnswerError(
                    f"Invalid proxy response: {service_message(self.beyond, MAX_REFUSAL_BYTES)}"
                )
        return response

    def recv(self, count: int) -> bytes:
        if not self.beyond:
            self._more()
        data = self.beyond[:count]
        self.beyond = self.beyond[count:]
        return data

    def _more(self) -> bool:
        """Wait for more bytes from the proxy. Return False if the proxy has closed the connection.

        Raise TimeoutError, or OSError if the connection broke.
        """
        read = self.stream.read(self.until_ns)
        if read is None:
            raise TimeoutError
        if not read.data and self.stream.error_text:
            raise OSError(self.stream.failure, self.stream.error_text)
        self._received_ns = read.timestamp_ns
        self.beyond += read.data
        self._received_bytes += len(read.data)
        return bool(read.data)

    def close(self) -> None:
        self.stream.close()


def receive_body(stream: ByteStream, response: HttpResponse, until_ns: int) -> HttpResponse:
    """Wait for the body of a refusal. Return the refusal with the part of the body that arrived
    before `until_ns`.
    """
    while not response.is_complete and len(response.body) < MAX_REFUSAL_BYTES:
        read = stream.read(until_ns)
        if read is None or not read.data:
            break
        response = response._replace(body=response.body + read.data)
    return response._replace(body=response.body[:MAX_REFUSAL_BYTES])


def _refusal(proxy: Proxy, reason: str, more: Sequence[Cause] = ()) -> ConnectError:
    answered = in_words(f"the proxy {proxy.public}: {reason}")
    return ConnectError("connect_failed:proxy", [answered, *more])


def _shown(proxy: Proxy, text: str) -> str:
    """Return a text of a proxy on one line: without the proxy's password, and then shortened."""
    if proxy.password:
        basic = base64.b64encode(
            f"{proxy.user}:{proxy.password}".encode("latin-1", "replace")
        ).decode()
        text = text.replace(basic, "***").replace(proxy.password, "***")
    return " ".join(text.split())[:QUOTED].encode("utf-8", "replace").decode()


def _login_text(proxy: Proxy) -> str:
    requirement = (
        "it requires a user and a password"
        if proxy.user is None
        else "it does not accept this user and password"
    )
    return f"{requirement}: {proxy.scheme}://USER:PASSWORD@HOST:PORT"


def kernel_timestamps(limit_s: float) -> bool:
    """Return whether the kernel timestamps received data. Raise OSError or ConnectError if
    localhost is unreachable.
    """
    server = StreamServer((LOOPBACK, 0), _answer_request)
    server.start()
    try:
        stream = open_stream(look_up(LOOPBACK, server.server_port, limit_s).addresses, limit_s)
        try:
            stream.write(b"?")
            read = stream.read(monotonic_ns() + int(limit_s * NS_PER_S))
        finally:
            stream.close()
    finally:
        server.stop()
    return read is not None and read.is_kernel


def _answer_request(sock: Any, _: object) -> None:
    """Wait for a request, and answer it. When the answer arrives, the kernel's timestamps are
    switched on.
    """
    sock.recv(1)
    sock.sendall(b"!")
    sock.close()
