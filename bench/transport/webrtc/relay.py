"""The sockets of an allocation: over UDP the socket of the call itself, over TCP and TLS a
connection of its own.

Data of a peer passes the allocation in both directions. Each datagram keeps the kernel's timestamp
of the message in which it arrived.
"""

# A relay replaces the socket for sending (`RelayedSender`), and filters what the socket received
# (`Relay.receive`). Its packets look to the call as if they had come from the peer, at an address
# of the type `RelayedAddress`, so that ICE can tell the two ways to the same peer apart.
#
# Over TCP and TLS, a packet is never written in part: what the kernel takes only a part of is
# completed before the next one, and while `MAX_UNSENT_BYTES` wait, further packets are dropped and
# counted as refused (ENOBUFS). Waiting would be worse, because audio that is late has no value and
# blocks the loop for all calls.

import errno
import secrets
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from bench.base.clock import Arrival, SendTime, monotonic_ns
from bench.catalogue.causes import Cause, Code, ConnectError, in_words
from bench.catalogue.outcomes import Family, parsed
from bench.catalogue.timeouts import Timeouts
from bench.protocols.ice.ice import RelayedAddress
from bench.protocols.turn.allocation import Allocation
from bench.protocols.turn.framing import MessageStream
from bench.protocols.turn.servers import TurnServer
from bench.transport.connect import connect, look_up
from bench.transport.datagrams import DatagramSocket, family_of
from bench.transport.interface import DIRECT, ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.tcp import ByteStream
from bench.transport.tls import CertificateProblem, HandshakeError, tls_context
from bench.wire.addresses import HostPort
from bench.wire.connection import Datagram, SocketAddress

MAX_UNSENT_BYTES = 1 << 16
"""The maximum number of bytes that wait until the connection accepts them. Later packets are
lost."""
MAX_READS = 16
"""The maximum number of reads of a connection at once."""
CLOSED = "closes the connection"
CERTIFICATE_PROBLEMS: Mapping[CertificateProblem, Code] = {
    "untrusted": Code.TURN_DISTRUSTED,
    "not valid": Code.TURN_NOT_VALID,
    "other name": Code.TURN_OTHER_NAME,
}


class ServerLink(Protocol):
    """The way to the server."""

    def fileno(self) -> int: ...

    def send(self, message: bytes) -> SendTime | int:
        """Send a message. Return the number of the error if the kernel does not accept it."""

    def close(self) -> None: ...


class UdpLink:
    """The server over the socket of the call, to which it belongs."""

    def __init__(self, sock: DatagramSocket, address: SocketAddress) -> None:
        self._sock = sock
        self.address = address

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: bytes) -> SendTime | int:
        return self._sock.write(message, self.address)

    def close(self) -> None:
        """Do nothing: the call closes its socket."""


class StreamLink:
    """The server over a connection of its own, which a `Listener` watches. `problem` is why it
    has ended.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._unsent = bytearray()
        """The messages after those that the kernel has accepted a part of."""
        self._messages = MessageStream()
        self.problem = ""

    def fileno(self) -> int:
        return self._stream.fileno()

    def send(self, message: bytes) -> SendTime | int:
        """Do the same as `ServerLink.send`. What the kernel does not accept now leaves before
        the next message.
        """
        stream = self._stream
        before_ns = monotonic_ns()
        # also if this message is then lost: nothing else lets the others leave
        is_free = stream.try_flush()
        if not is_free and len(self._unsent) + len(message) > MAX_UNSENT_BYTES:
            return errno.ENOBUFS
        self._unsent += message
        if is_free:
            stream.try_write(bytes(self._unsent))
            self._unsent.clear()
        if stream.failure:
            self._end()
            return stream.failure
        return SendTime(before_ns, monotonic_ns() - before_ns)

    def receive(self) -> list[tuple[bytes, Arrival]]:
        """Return the messages that have arrived, each with its arrival.

        A read has the timestamp of its last segment. So the arrival is exact for a message at the
        end of a read, and the other ones may have arrived earlier.
        """
        received: list[tuple[bytes, Arrival]] = []
        # A server that sends faster than this process reads must not keep it from other calls.
        for _ in range(MAX_READS):
            if (read := self._stream.try_read()) is None:
                break
            if not read.data:
                self._end()
                break
            messages = self._messages.feed(read.data)
            if self._messages.is_broken:
                self.problem = self.problem or "sends data that is not TURN"
            early_ns = read.timestamp_ns - read.empty_ns
            arrivals = [Arrival(read.timestamp_ns, early_ns, read.is_kernel)] * len(messages)
            if messages and read.is_kernel and read.is_complete and self._messages.is_at_end:
                arrivals[-1] = Arrival(read.timestamp_ns)
            received += zip(messages, arrivals, strict=True)
        return received

    def _end(self) -> None:
        reason = self._stream.error_text
        self.problem = self.problem or (f"{CLOSED}: {reason}" if reason else CLOSED)

    def close(self) -> None:
        self._stream.close()


class Relay:
    """An allocation at a TURN server, and the way to it. `problem` is why it relays nothing; ""
    if it does.
    """

    def __init__(
        self, server: TurnServer, link: UdpLink | StreamLink, host: str, *, is_ipv6: bool
    ) -> None:
        self.server = server
        self.host = host
        """The IP address of the server."""
        self._link = link
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
    def problem(self) -> Cause | None:
        reason = self._allocation.problem
        if reason is None and self.stream is not None and self.stream.problem:
            reason = in_words(self.stream.problem)
        return _of_server(self.server, reason) if reason else None

    @property
    def alternate(self) -> HostPort | None:
        """The server to which this one sends its clients; None if it names none."""
        return self._allocation.alternate

    @property
    def is_silent(self) -> bool:
        """Whether the server has not answered."""
        allocation = self._allocation
        return allocation.is_silent or not (self.problem or allocation.is_unsigned)

    @property
    def round_trip_ns(self) -> int | None:
        """The shortest round trip to the server; None if it is unknown."""
        return self._allocation.round_trip_ns

    @property
    def next_ns(self) -> int:
        return self._allocation.next_ns

    def refusal(self) -> Cause | None:
        """Return which hosts the server refuses; None if there are none."""
        refused = self._allocation.refused
        named = ", ".join(f"{host} ({code})" for host, code in refused.items())
        return (
            _of_server(self.server, Cause(Code.TURN_FORBIDDEN, {"hosts": named})) if named else None
        )

    def silent(self, limit_s: float) -> Cause:
        """Return the cause of a server that has not answered within a limit."""
        late = Cause(Code.LATE, {"problem": self._allocation.silence, "limit_s": limit_s})
        return _of_server(self.server, late)

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
        """Return the datagrams without the messages of the server, but with the data of peers in
        them.

        Also read the connection, if the server has one of its own.
        """
        received = []
        if isinstance(self._link, UdpLink):
            # The source decides, because a peer could send a message that looks like one of the
            # server.
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
    """The way of packets to the peer of a call through a relay. It has the part of
    `DatagramSocket` that sends.
    """

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
        self.unsent = self.unsent + 1
        self.refusal = sent
        return None


@cache
def _tls_context(ca: Path | None) -> ssl.SSLContext:
    """Return the context for TLS, which is made only once, because that is slow."""
    return tls_context(ca)


def open_relay(
    server: TurnServer,
    sock: DatagramSocket,
    limits: Timeouts,
    ca: Path | None,
    other: HostPort | None = None,
) -> Relay:
    """Return a relay whose allocation is requested. `sock` is the socket of the call.

    `ca` is the file of a certificate authority to trust. `other` is the address of the server to
    which `server` has sent this client; its certificate has the name of `server` (RFC 8489 §10).
    Raise ConnectError: `connect_failed:relay`, `timeout:relay`.
    """
    family = family_of(sock.address[0])
    name = server.host
    if other is not None:
        server = server._replace(host=other.host, port=other.port or server.port)
    try:
        if server.transport == "udp":
            address = look_up(server.host, server.port, limits.tcp, family).addresses[0][4]
            link: UdpLink | StreamLink = UdpLink(sock, address)
        else:
            context = _tls_context(ca) if server.transport == "tls" else None
            path = DIRECT if other is None else NetworkPath(address=other.host)
            request = ConnectRequest("", (), context, limits, ConnectTimings(), path)
            stream = connect(name, server.port, request)
            address = stream.endpoints[1]
            link = StreamLink(stream)
    except ConnectError as error:
        stage = parsed(error.outcome).family
        if stage not in (Family.CONNECT_FAILED, Family.TIMEOUT):
            raise
        raise ConnectError(
            f"{stage}:relay", _of_server(server, _unreached(error, limits))
        ) from None
    return Relay(server, link, str(address[0]), is_ipv6=family is socket.AF_INET6)


def _of_server(server: TurnServer, problem: Cause) -> Cause:
    return Cause(Code.TURN_SERVER, {"server": str(server), "problem": problem})


def _unreached(error: ConnectError, limits: Timeouts) -> Cause:
    """Return why there is no connection to a server."""
    if isinstance(error, HandshakeError):
        code = (
            Code.TURN_NO_TLS
            if error.certificate is None
            else CERTIFICATE_PROBLEMS[error.certificate]
        )
        return Cause(code).because(in_words(error.reason))
    if error.outcome == "timeout:tls":
        return Cause(Code.LATE, {"problem": Cause(Code.TURN_NO_TLS), "limit_s": limits.tls})
    return Cause(Code.TURN_UNREACHED, {"reason": error.detail})
