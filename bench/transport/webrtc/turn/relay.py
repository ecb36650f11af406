"""The sockets of an allocation: over UDP the socket of the call itself, over TCP and TLS a connection of its own.

Data of a peer passes the allocation in both directions. Each datagram keeps the kernel's timestamp of the message in
which it arrived.
"""

from __future__ import annotations

import errno
import secrets
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from bench.base.clock import ANCILLARY_BYTES, Arrival, SendTime, arrival_ns, enable_timestamps, monotonic_ns
from bench.base.errors import ConnectError
from bench.catalogue.outcomes import (
    TURN_DISTRUSTED,
    TURN_FORBIDDEN,
    TURN_NO_TLS,
    TURN_NOT_VALID,
    TURN_OTHER_NAME,
    TURN_SERVER,
    TURN_SILENT,
    TURN_UNREACHED,
)
from bench.catalogue.timeouts import Timeouts
from bench.transport.connect import connect_first, look_up
from bench.transport.datagrams import Datagram, DatagramSocket, SocketAddress
from bench.transport.interface import HostPort, TurnServer
from bench.transport.socket_read import READ_BYTES
from bench.transport.tls import OPENSSL_FRAME, TRUNCATED, tls_context
from bench.transport.webrtc.ice import RelayedAddress
from bench.transport.webrtc.turn.allocation import Allocation
from bench.transport.webrtc.turn.framing import MessageStream

MAX_UNSENT_BYTES = 1 << 16
"""The maximum number of bytes that wait until the connection accepts them. Later packets are lost."""
MAX_READS = 16
"""The maximum number of reads of a connection at once."""
CLOSED = "closes the connection"
DISTRUST = {9: TURN_NOT_VALID, 10: TURN_NOT_VALID, 62: TURN_OTHER_NAME, 64: TURN_OTHER_NAME}
"""The problem of a certificate by OpenSSL's verification error X509_V_ERR_… (x509_vfy.h)."""


class ServerLink(Protocol):
    """The way to the server."""

    def fileno(self) -> int: ...

    def send(self, message: bytes) -> SendTime | int:
        """Send a message. Return the number of the error if the kernel does not accept it."""

    def close(self) -> None: ...


class UdpLink:
    """The server over the socket of the call, to which it belongs."""

    def __init__(self, sock: DatagramSocket, address: SocketAddress) -> None:
        self._sock, self.address = sock, address

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: bytes) -> SendTime | int:
        return self._sock.write(message, self.address)

    def close(self) -> None:
        """Do nothing: the call closes its socket."""


class StreamLink:
    """The server over a connected TCP socket, which never blocks, perhaps with TLS. `problem` is why it has ended."""

    def __init__(self, sock: Any, tls: _Tls | None) -> None:
        self._sock, self._raw, self._tls = sock, sock._sock, tls
        self._raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        enable_timestamps(self._raw)
        self._unsent = bytearray()
        self._messages = MessageStream()
        self._empty_ns = monotonic_ns()
        self.problem = ""

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def send(self, message: bytes) -> SendTime | int:
        if len(self._unsent) + len(message) > MAX_UNSENT_BYTES:
            return errno.ENOBUFS
        self._unsent += message if self._tls is None else self._tls.encrypted(message)
        before_ns = monotonic_ns()
        try:
            while self._unsent:
                del self._unsent[: self._raw.send(self._unsent)]
        except (BlockingIOError, InterruptedError):
            pass  # the rest leaves before the next message
        except OSError as error:
            self.problem = self.problem or f"{CLOSED}: {error.strerror}"
            return error.errno or errno.EIO
        return SendTime(before_ns, monotonic_ns() - before_ns)

    def receive(self) -> list[tuple[bytes, Arrival]]:
        """Return the messages that have arrived, each with its arrival.

        A read has the timestamp of its last segment. A message before the last one of a read may have arrived earlier.
        """
        received: list[tuple[bytes, Arrival]] = []
        for _ in range(MAX_READS):
            now_ns = monotonic_ns()
            try:
                data, ancillary, *_ = self._raw.recvmsg(READ_BYTES, ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                self._empty_ns = now_ns
                break
            except OSError as error:
                self.problem = self.problem or f"{CLOSED}: {error.strerror}"
                break
            if not data:
                self.problem = self.problem or CLOSED
                break
            received += self._messages_of(data, ancillary)
        return received

    def _messages_of(self, data: bytes, ancillary: Any) -> Iterable[tuple[bytes, Arrival]]:
        at_ns, now_ns = arrival_ns(ancillary), monotonic_ns()
        early_ns = max(0, (at_ns or now_ns) - self._empty_ns)
        last = Arrival(now_ns, early_ns, is_kernel=False) if at_ns is None else Arrival(at_ns)
        try:
            messages = self._messages.feed(data if self._tls is None else self._tls.decrypted(data))
        except ssl.SSLError as error:
            self.problem = self.problem or f"{CLOSED}: TLS: {error.reason}"
            return []
        if self._messages.is_broken:
            self.problem = self.problem or "sends data that is not TURN"
        others = [last._replace(uncertainty_ns=early_ns)] * (len(messages) - 1)
        return zip(messages, [*others, last], strict=False)

    def close(self) -> None:
        self._sock.close()


class _Tls:
    """TLS over a connection, without its socket."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host.removesuffix("."))

    def shake_hands(self, sock: Any) -> None:
        """Do the handshake over a socket of gevent. Raise OSError, of which ssl.SSLError is one."""
        while True:
            try:
                self._session.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(self._outgoing.read())
                if not (data := sock.recv(READ_BYTES)):
                    raise ConnectionError(TRUNCATED) from None
                self._incoming.write(data)
        sock.sendall(self._outgoing.read())

    def encrypted(self, data: bytes) -> bytes:
        self._session.write(data)
        return self._outgoing.read()

    def decrypted(self, data: bytes) -> bytes:
        """Return what is complete of the content. Raise ssl.SSLError."""
        self._incoming.write(data)
        content = b""
        try:
            while piece := self._session.read(READ_BYTES):
                content += piece
        except ssl.SSLWantReadError:
            pass
        return content


class Relay:
    """An allocation at a TURN server, and the way to it. `problem` is why it relays nothing; "" if it does."""

    def __init__(self, server: TurnServer, link: UdpLink | StreamLink, *, is_ipv6: bool) -> None:
        self.server, self._link = server, link
        is_stream = isinstance(link, StreamLink)
        self._allocation = Allocation(
            server.login, secrets.token_bytes, monotonic_ns(), is_stream=is_stream, is_ipv6=is_ipv6
        )
        self._flush()

    @property
    def stream(self) -> StreamLink | None:
        """The connection that must be read; None over UDP."""
        return self._link if isinstance(self._link, StreamLink) else None

    @property
    def address(self) -> HostPort | None:
        """The address from which the server sends; None until it is known."""
        return self._allocation.relayed

    @property
    def problem(self) -> str:
        reason = self._allocation.problem or (self.stream.problem if self.stream is not None else "")
        return f"{TURN_SERVER} {self.server} {reason}" if reason else ""

    @property
    def is_silent(self) -> bool:
        """Whether the problem is that the server does not answer."""
        return self._allocation.problem == TURN_SILENT

    @property
    def round_trip_ns(self) -> int | None:
        """The shortest round trip to the server; None if it is unknown."""
        return self._allocation.round_trip_ns

    @property
    def next_ns(self) -> int:
        return self._allocation.next_ns

    def refusal(self) -> str:
        """Return which hosts the server refuses; "" if there are none."""
        refused = self._allocation.refused
        named = ", ".join(f"{host} ({code})" for host, code in refused.items())
        return f"{TURN_SERVER} {self.server} {TURN_FORBIDDEN} {named}" if named else ""

    def silent(self, limit_s: float) -> str:
        """Return the text about a server that has not answered within a limit."""
        return f"{TURN_SERVER} {self.server} {TURN_SILENT} within {limit_s:g} s"

    def fileno(self) -> int:
        return self._link.fileno()

    def permit(self, hosts: Iterable[str]) -> None:
        self._allocation.permit(hosts, monotonic_ns())
        self._flush()

    def bind(self, peer: HostPort) -> None:
        """Use a channel for a peer, whose packets are then shorter."""
        self._allocation.bind(HostPort(*peer), monotonic_ns())
        self._flush()

    def expire(self, now_ns: int) -> None:
        if self._allocation.next_ns <= now_ns:
            self._allocation.expire(now_ns)
            self._flush()

    def _flush(self) -> None:
        for message in self._allocation.pop_messages():
            sent = self._link.send(message)
            if isinstance(sent, SendTime):
                self._allocation.note_sent(message, sent.at_ns)

    def send(self, data: bytes, peer: HostPort) -> SendTime | int:
        """Send data to a peer. Return as `ServerLink.send`."""
        return self._link.send(self._allocation.wrapped(data, peer))

    def receive(self, datagrams: Sequence[Datagram]) -> list[Datagram]:
        """Return the datagrams without the messages of the server, but with the data of peers in them.

        Also read the connection, if the server has one of its own.
        """
        received: list[Datagram] = []
        if isinstance(self._link, UdpLink):
            own = self._link.address[:2]
            for datagram in datagrams:
                if datagram[1][:2] == own:
                    received += self._accepted(datagram[0], datagram[2])
                else:
                    received.append(datagram)
        else:
            received += datagrams
            for message, arrival in self._link.receive():
                received += self._accepted(message, arrival)
        self._flush()
        return received

    def _accepted(self, message: bytes, arrival: Arrival) -> list[Datagram]:
        relayed = self._allocation.received(message, arrival.at_ns)
        return [] if relayed is None else [(relayed[0], RelayedAddress(*relayed[1]), arrival)]

    def close(self) -> None:
        """Delete the allocation."""
        self._allocation.close()
        self._flush()
        self._link.close()


class RelayedSender:
    """The way of packets to the peer of a call through a relay. It has the part of `DatagramSocket` that sends."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.unsent = 0
        self.refusal = 0
        self.fileno = relay.fileno

    @property
    def write(self) -> Callable[[bytes, SocketAddress], SendTime | int]:
        return lambda data, destination: self._relay.send(data, HostPort(*destination[:2]))

    def send(self, data: bytes, destination: SocketAddress) -> SendTime | None:
        sent = self._relay.send(data, HostPort(*destination[:2]))
        if isinstance(sent, SendTime):
            return sent
        self.unsent, self.refusal = self.unsent + 1, sent
        return None


@cache
def _tls_context(ca: Path | None) -> ssl.SSLContext:
    """Return the context for TLS, which is made only once, because that is slow."""
    return tls_context(ca)


def open_relay(server: TurnServer, sock: DatagramSocket, limits: Timeouts, ca: Path | None) -> Relay:
    """Return a relay whose allocation is requested. `sock` is the socket of the call.

    `ca` is the file of a certificate authority to trust. Raise ConnectError: `connect_failed:relay`, `timeout:relay`.
    """
    family = socket.AF_INET6 if ":" in sock.address[0] else socket.AF_INET
    is_udp = server.transport == "udp"
    try:
        addresses = look_up(server.host, server.port, limits.tcp, family if is_udp else socket.AF_UNSPEC).addresses
        if is_udp:
            link: UdpLink | StreamLink = UdpLink(sock, addresses[0][4])
        else:
            link = _connected(server, addresses, limits, ca)
    except ConnectError as error:
        stage = error.outcome.partition(":")[0]
        if stage not in ("connect_failed", "timeout"):
            raise
        reason = error.detail if error.outcome.endswith(":tls") else f"{TURN_UNREACHED}: {error.detail}"
        problem = f"{TURN_SERVER} {server} {reason}"
        raise ConnectError(f"{stage}:relay", problem) from None
    return Relay(server, link, is_ipv6=family is socket.AF_INET6)


def _connected(server: TurnServer, addresses: list[Any], limits: Timeouts, ca: Path | None) -> StreamLink:
    sock = connect_first(addresses, limits.tcp)
    try:
        tls = None
        if server.transport == "tls":
            tls = _Tls(_tls_context(ca), server.host)
            sock.settimeout(limits.tls)
            tls.shake_hands(sock)
        return StreamLink(sock, tls)
    except TimeoutError:
        sock.close()
        raise ConnectError("timeout:tls", f"{TURN_NO_TLS} within {limits.tls:g} s") from None
    except ssl.SSLCertVerificationError as error:
        sock.close()
        problem = DISTRUST.get(error.verify_code, TURN_DISTRUSTED)
        raise ConnectError("connect_failed:tls", f"{problem}: {error.verify_message}") from None
    except OSError as error:
        sock.close()
        text = OPENSSL_FRAME.sub("", str(error.strerror or error))
        raise ConnectError("connect_failed:tls", f"{TURN_NO_TLS}: {text}") from None
    except BaseException:  # also at the end of the run: there is no other reference to the socket
        sock.close()
        raise
