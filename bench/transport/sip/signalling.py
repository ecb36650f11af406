"""The sockets for a call's SIP messages: a UDP socket for all peers, and a TCP or TLS connection to
each peer.

Nothing here blocks the event loop. A host name that a peer names is looked up, and a connection is
opened, in a greenlet. Its messages wait.

If the peer has not confirmed the end of a call, its signalling goes on in the background. Without
it, a peer that answers a cancelled call late would keep a call that no one acknowledges (RFC 3261
§9.1), and load tests would measure a service that is busy with such calls.
"""

# The call decides what is sent and to which hop; this module only finds a way to that hop. One UDP
# socket serves all hops. A connection is kept per hop and transport, and a request opens a new one
# if the old one has ended (RFC 3261 §18.1.1). Responses go back on the connection on which the
# request came (§18.2.2).
#
# Name lookups and TCP connects may take seconds, so they run in greenlets. Meanwhile, the first
# `MAX_WAITING` messages wait, and of the later ones only the last: SIP repeats over UDP anyway, and
# a call over TCP sends few messages.
#
# The owner gets all failures by `on_broken` and `on_error`, because an exception in a greenlet
# would only be printed.

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

import gevent

from bench.base.clock import Arrival, monotonic_ns
from bench.base.units import NS_PER_S
from bench.catalogue.causes import ConnectError
from bench.catalogue.outcomes import is_own_limit
from bench.protocols.sip.call import SipCall
from bench.protocols.sip.framing import StreamFramer
from bench.protocols.sip.header_values import DEFAULT_PORTS
from bench.protocols.sip.hops import CallAddress
from bench.protocols.sip.messages import Outgoing
from bench.protocols.sip.transactions import TIMEOUT_NS
from bench.transport.connect import connect, look_up
from bench.transport.datagrams import DatagramSocket, family_of, host_of, own_host, udp_socket
from bench.transport.event_loop import Listener
from bench.transport.interface import ConnectRequest, ConnectTimings
from bench.transport.own_limits import NO_MEMORY, exhausted, own_limit_of_port
from bench.transport.parser import SocketRead
from bench.transport.tcp import ByteStream
from bench.wire.addresses import HostPort, authority
from bench.wire.connection import SocketAddress

LISTEN_NS = 3_600 * NS_PER_S
"""The time after which a listener of a connection starts to listen again."""
MAX_WAITING = 16
"""The maximum number of messages that wait for a connection or for the address of a host."""
MAX_HOPS = 16
"""The maximum number of hosts and ports to which the messages of a call go. Those to further ones
are not sent.

A peer names a port in each of its requests, so it could otherwise fill the memory, or make a call
open any number of connections.
"""
TRANSIENT = NO_MEMORY | {errno.EAGAIN, errno.EINTR}
"""The errors of a datagram after which a repetition may succeed."""
MAX_LINGERING = 64
"""The maximum number of calls of a process that linger. Further ones end without a confirmation."""
LINGER_NS = 2 * TIMEOUT_NS
"""The maximum time: until the request that ends the call has timed out, and then an INVITE that
it cancels."""
_lingering: set[LingeringCall] = set()
Connect = Callable[[str, int, str], ByteStream]
"""A function that connects to (host, port, TCP or TLS). It raises ConnectError."""


class SignalListener(Protocol):
    """The owner of a call's signalling. Its functions must not block."""

    def on_signal(self, data: bytes, source: HostPort, arrival: Arrival) -> None:
        """Handle a message."""

    def on_broken(self, reason: str) -> None:
        """Handle the end of a connection, or a message that could not be sent."""

    def on_error(self, error: BaseException) -> None:
        """Handle an unexpected error."""


class Signalling:
    """The sender and receiver of a call's SIP messages.

    The owner sets `listener` before it sends or waits. It reads `socket`, whose messages are
    datagrams.
    """

    listener: SignalListener

    def __init__(self, transport: str, connect: Connect, lookup_s: float) -> None:
        self.transport = transport
        self._connect = connect
        self._lookup_s = lookup_s
        self.socket: DatagramSocket | None = None
        self.local = HostPort("")
        """The address at which this side receives messages, without brackets, with the zone of a
        link-local one."""
        self.peer = ""
        """The IP address of the first hop."""
        self._addresses: dict[HostPort, list[SocketAddress]] = {}
        """The addresses of each hop. The first one is used until it refuses a datagram."""
        self._unaddressed: dict[HostPort, list[bytes]] = {}
        """The datagrams that wait for the address of their host."""
        self._connections: dict[tuple[HostPort, str], PeerConnection] = {}
        self.own_limit: ConnectError | None = None
        """The limit of this machine because of which the last message was not sent; None if it
        was sent."""

    def note_failure(self, error: ConnectError) -> None:
        """Note why a host could not be reached."""
        if is_own_limit(error.outcome):
            self.own_limit = error

    def use_socket(self, socket: DatagramSocket, hop: HostPort, address: SocketAddress) -> None:
        """Send datagrams with a socket. Those to `hop` go to `address`, without a name lookup."""
        self.socket = socket
        self.local = HostPort(host_of(socket.address), socket.address[1])
        self.peer = str(address[0])
        self._addresses[hop] = [address]

    def use_stream(self, stream: ByteStream, hop: HostPort) -> None:
        """Send the messages to `hop`, and to the address of its peer, over an open connection."""
        own, peer = stream.endpoints
        self.local = HostPort(host_of(own), own[1])
        self.peer = str(peer[0])
        connection = self._new_connection(hop, self.transport, stream)
        for each in (hop, HostPort(*peer[:2])):
            self._connections[each, self.transport] = connection

    def send(self, message: Outgoing) -> None:
        data = message.data
        hop = message.hop
        transport = message.transport
        if transport != "UDP":
            # a response opens no connection, because a peer names its transport in Via
            is_unasked = message.is_response and (hop, transport) not in self._connections
            if not is_unasked and (connection := self._connection(hop, transport)) is not None:
                connection.send(data)
        elif self.socket is None:
            self.listener.on_broken(
                f"the next hop {hop} needs UDP, and the URL of the call names another transport"
            )
        elif hop in self._addresses:
            self._send_datagram(data, hop)
        elif hop in self._unaddressed:
            del self._unaddressed[hop][MAX_WAITING:]
            self._unaddressed[hop].append(data)
        elif len(self._addresses) + len(self._unaddressed) < MAX_HOPS:
            self._unaddressed[hop] = [data]
            gevent.spawn(self._look_up, hop)

    def _connection(self, hop: HostPort, transport: str) -> PeerConnection | None:
        """Return the connection to a hop. Open one if there is none, or if the last one has ended.

        Return None if the call has connections to too many hops.
        """
        connection = self._connections.get((hop, transport))
        if connection is None and len(self._connections) >= MAX_HOPS:
            return None
        if connection is None or connection.has_ended:
            connection = self._connections[hop, transport] = self._new_connection(hop, transport)
        return connection

    def _new_connection(
        self, hop: HostPort, transport: str, stream: ByteStream | None = None
    ) -> PeerConnection:
        port = hop.port or DEFAULT_PORTS[transport]
        return PeerConnection(
            self, transport, lambda: self._connect(hop.host, port, transport), stream
        )

    def accept_requests(self, peer: HostPort, connection: PeerConnection) -> None:
        """Send the responses to requests of this peer over this connection."""
        self._connections.setdefault((peer, connection.transport), connection)

    def _look_up(self, hop: HostPort) -> None:
        """Look up the address of a host, and send the datagrams that wait for it."""
        assert self.socket is not None, "a datagram is to be sent"
        try:
            found = look_up(
                hop.host, hop.port or 0, self._lookup_s, family_of(self.local.host)
            ).addresses
        except ConnectError as error:
            self.note_failure(error)
            found = []
            reason = error.detail
        else:
            reason = f"{hop.host}: the host name has no address"
        waiting = self._unaddressed.pop(hop, [])
        if self.socket.fileno() < 0:  # the call has ended
            return
        if not found:
            self.listener.on_broken(reason)
            return
        self._addresses[hop] = [each[4] for each in found]
        for data in waiting:
            self._send_datagram(data, hop)

    def _send_datagram(self, data: bytes, hop: HostPort) -> None:
        assert self.socket is not None, "a datagram is to be sent"
        if self.socket.send(data, self._addresses[hop][0]) is not None:
            self.own_limit = None
            return
        refusal = self.socket.refusal
        if refusal in NO_MEMORY:
            self.own_limit = exhausted("memory", "a SIP message", os.strerror(refusal))
        if refusal not in TRANSIENT:
            reason = (
                f"this machine could not send to {hop.host} port {hop.port}: {os.strerror(refusal)}"
            )
            self.listener.on_broken(reason)

    def pop_refusals(self) -> list[tuple[HostPort, str]]:
        """Return the hops whose last address refused a datagram (ICMP), and why.

        A hop that has further addresses gets its next messages, and repeated ones, at the next
        address.
        """
        refusals = []
        while self.socket is not None and self.socket.refused:
            refused, number = self.socket.refused.popitem()
            for hop, addresses in self._addresses.items():
                # `on_broken` is not called: the repetition of the message goes to the next address.
                if addresses[0][:2] == refused and len(addresses) > 1:
                    del addresses[0]
                elif addresses[0][:2] == refused:
                    refusals.append((hop, f"{authority(*refused)}: {os.strerror(number)}"))
        return refusals

    def close(self) -> None:
        self._unaddressed.clear()
        for connection in self._connections.values():
            connection.close()
        if self.socket is not None:
            self.socket.close()


class PeerConnection:
    """A connection for SIP messages. A greenlet of its own opens it with `connect`, and then reads
    from it.

    If `stream` is given, it is already open.
    """

    def __init__(
        self,
        owner: Signalling,
        transport: str,
        connect: Callable[[], ByteStream],
        stream: ByteStream | None = None,
    ) -> None:
        self._owner = owner
        self.transport = transport
        self._connect = connect
        self._stream = stream
        self._waiting: list[bytes] = []
        self._framer = StreamFramer()
        self._source = HostPort("")
        self.has_ended = self._is_running = False
        self._greenlet = gevent.spawn(self._run)

    def send(self, data: bytes) -> None:
        if self._stream is None:
            del self._waiting[MAX_WAITING:]
            self._waiting.append(data)
        elif not self.has_ended and self._stream.try_write(data) is None:
            # The kernel's buffer holds more than all messages of a call, so this peer reads
            # nothing.
            self._end(self._stream.error_text or "the peer reads no SIP messages")

    def _run(self) -> None:
        self._is_running = True
        try:
            stream = self._stream = self._stream or self._connect()
            self._source = HostPort(*stream.endpoints[1][:2])
            self._owner.accept_requests(self._source, self)
            waiting = self._waiting
            self._waiting = []
            for data in waiting:
                self.send(data)
            while not self.has_ended:
                stream.receive_until(monotonic_ns() + LISTEN_NS, self._read)
        except ConnectError as error:
            self._owner.note_failure(error)
            self._end(error.detail)
        except gevent.GreenletExit:
            self.has_ended = True
        except BaseException as error:  # gevent would only print it
            self.has_ended = True
            self._owner.listener.on_error(error)
        finally:
            if self._stream is not None:
                self._stream.close()

    def _read(self, read: SocketRead) -> bool:
        """Pass on the messages of a read. Return True if the connection has ended."""
        if self.has_ended:
            return True
        if not read.data:
            assert self._stream is not None, "it is open"
            self._end(self._stream.error_text or "the peer closed the SIP connection")
            return True
        messages = self._framer.received(read.data)
        uncertainty_ns = read.timestamp_ns - read.empty_ns
        for number, message in enumerate(messages, start=1):
            # As in `bench.transport.websocket`: the timestamp of a read is that of its last byte,
            # so only a message at the end of a read that emptied the socket has it. Those before
            # may be older, at most since the socket was last empty.
            is_exact = number == len(messages) and read.is_complete and self._framer.is_empty
            self._owner.listener.on_signal(
                message,
                self._source,
                Arrival(read.timestamp_ns, 0 if is_exact else uncertainty_ns, read.is_kernel),
            )
        if pongs := self._framer.pop_pongs():
            self.send(pongs)
        if self._framer.broken:
            self._end(f"the peer sent something that is not SIP: {self._framer.broken}")
        return self.has_ended

    def _end(self, reason: str) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._owner.listener.on_broken(reason)

    def close(self) -> None:
        """Close the connection. Messages that were sent are still transmitted."""
        self.has_ended = True
        self._greenlet.kill(block=False)
        if not self._is_running and self._stream is not None:
            self._stream.close()


def _over(transport: str, request: ConnectRequest) -> ConnectRequest:
    """Return a request for a connection of a transport. Only TLS needs the context of one."""
    return request if transport == "TLS" else request._replace(context=None)


def open_signalling(
    address: CallAddress, request: ConnectRequest
) -> list[Callable[[], Signalling]]:
    """Return the ways to the first hop of a call, each as a function that opens it: over UDP, one
    for each address.

    TCP and TLS are connected, to the first address that answers. Raise ConnectError, as
    `bench.transport.connect.connect` does.
    """
    hop = HostPort(address.host, address.port)
    limits = request.limits
    phases = request.phases
    path = request.path

    def connect_further(host: str, port: int, transport: str) -> ByteStream:
        own_path = path if host == address.host else replace(path, address=None)
        further = request._replace(phases=ConnectTimings(), path=own_path)
        return connect(host, port, _over(transport, further))

    def over_stream() -> Signalling:
        signalling = Signalling(address.transport, connect_further, limits.tcp)
        try:
            signalling.use_stream(stream, hop)
        except OSError as error:  # the peer has reset the connection
            stream.close()
            raise ConnectError("connect_failed:tcp", f"{hop}: {error.strerror or error}") from None
        return signalling

    def over_datagrams(own: str, peer: SocketAddress) -> Signalling:
        signalling = Signalling(address.transport, connect_further, limits.tcp)
        try:
            opened = udp_socket(own)
        except OSError as error:
            reason = f"{hop}: {error.strerror or error}"
            raise own_limit_of_port(error, str(hop)) or ConnectError(
                "connect_failed:sip", reason
            ) from None
        signalling.use_socket(DatagramSocket(opened, notes_refusals=True), hop, peer)
        return signalling

    if address.transport != "UDP":
        stream = connect(hop.host, address.port, _over(address.transport, request))
        return [over_stream]
    phases.set_instant("connect_start")
    addresses, start_ns, done_ns = look_up(path.address or hop.host, address.port, limits.tcp)
    phases.set_lookup(start_ns, done_ns)
    ways: list[Callable[[], Signalling]] = []
    problem = ConnectError("connect_failed:dns", "the host name has no address")
    limit = None
    for family, _, _, _, peer in addresses:
        try:
            ways.append(partial(over_datagrams, own_host(family, peer), peer))
        except OSError as error:  # for example, this machine has no way to the address
            problem = ConnectError("connect_failed:sip", f"{hop}: {error.strerror or error}")
            limit = own_limit_of_port(error, str(hop), (family, peer)) or limit
    if not ways:
        raise limit or problem
    return ways


def linger(call: SipCall, signalling: Signalling) -> None:
    """Close the signalling of a call that this side has ended, at once or when the peer has
    confirmed the end.
    """
    if call.is_confirmed or len(_lingering) >= MAX_LINGERING:
        signalling.close()
        return
    LingeringCall(call, signalling)


class LingeringCall:
    """The signalling of a call without a session. It closes itself."""

    def __init__(self, call: SipCall, signalling: Signalling) -> None:
        self._call = call
        self._signalling = signalling
        signalling.listener = self
        self._listener = Listener(() if signalling.socket is None else (signalling.socket,))
        _lingering.add(self)
        gevent.spawn(self._run)

    def _run(self) -> None:
        until_ns = monotonic_ns() + LINGER_NS
        try:
            if not self._call.is_confirmed:  # the connection may have broken meanwhile
                self._listener.listen(
                    until_ns, self._on_readable, lambda: self._call.next_ns, self._on_due
                )
        finally:
            _lingering.discard(self)
            self._listener.close()
            self._signalling.close()

    def _on_readable(self, sock: DatagramSocket) -> bool:
        for data, source, arrival in sock.receive():
            self._call.received(data, arrival.at_ns, HostPort(*source[:2]))
        return self._advance()

    def _on_due(self) -> bool:
        self._call.expire(monotonic_ns())
        return self._advance()

    def _advance(self) -> bool:
        """Send what is to be sent. Return True if the peer has confirmed the end."""
        for message in self._call.pop_messages():
            self._signalling.send(message)
        return self._call.is_confirmed

    # The listener of the signalling

    def on_signal(self, data: bytes, source: HostPort, arrival: Arrival) -> None:
        self._call.received(data, arrival.at_ns, source)
        if self._advance():
            self._listener.wake()

    def on_broken(self, reason: str) -> None:
        self._call.transport_failed(monotonic_ns(), reason)
        self._listener.wake()

    def on_error(self, error: BaseException) -> None:
        self._listener.wake(error)
