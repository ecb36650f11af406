"""The interface between a session and the network. It has complete messages, and no sockets, TLS or
frames.

A transport is connected when it is created, and is closed once. The session uses only the clock of
its transport. The real transport has the process's clock. The transport in memory has a virtual
clock.
"""

import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from bench.base.clock import monotonic_ns
from bench.catalogue.timeouts import Timeouts
from bench.protocols.turn.servers import TurnServer
from bench.services.names import WITH_CALL_KEY, OfferForm
from bench.transport.impairment.profiles import NetworkProfile
from bench.wire.addresses import authority
from bench.wire.connection import (
    MAX_MESSAGE_MIB,
    Connected,
    ConnectionClosed,
    MatchedDelta,
    NetworkMeasured,
    ReceivedMessage,
    RtpMeasured,
    SendReceipt,
    Transmitted,
)
from bench.wire.events import ServerEvent

WEB_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
"""The default ports, by the schemes of URLs of TCP servers."""


Headers = Iterable[tuple[str, str]]
"""The names and values of headers."""
OnMessage = Callable[[ReceivedMessage], bool]
"""A handler of messages. It must not block. It returns True if the listener must act now."""


class ChunkSender(Protocol):
    """A sender of the chunks that need no decision (`PlainChunks` of
    `bench.transport.fast.sending`).
    """

    def send(
        self,
        fd: int,
        note_written: Callable[[int], None],
        keep: Callable[[int, bytes, int], None],
        encrypt: Callable[[bytes], bytes] | None = None,
    ) -> int:
        """Send the chunks that are due. Return the instant at which the next one is due; 0 if
        the session must act.
        """

    def send_by(self, try_send: Callable[[bytes], SendReceipt | None]) -> int:
        """Do the same, by the method of a transport that sends a chunk whole or not at all, such
        as a packet.
        """


@dataclass(slots=True)
class ConnectTimings:
    """The instants of connecting that were reached, and the wait for a token before connecting.

    An instant that was an arrival may have been earlier, by up to its value in `uncertainties_ns`.
    """

    instants: dict[str, int] = field(default_factory=dict)
    auth_wait_ns: int = 0
    uncertainties_ns: dict[str, int] = field(default_factory=dict)

    def set_instant(self, instant: str) -> None:
        self.instants[instant] = monotonic_ns()

    def set_lookup(self, start_ns: int, done_ns: int) -> None:
        """Set the end of a name lookup.

        If the lookup waited in this process before it started, the instant of `connect_start` is
        moved later by that wait.
        """
        before_ns = self.instants.get("dns_done", self.instants["connect_start"])
        self.instants["connect_start"] += start_ns - before_ns
        self.instants["dns_done"] = done_ns

    def set_arrival(self, instant: str, at_ns: int, error_ns: int) -> None:
        """Set an instant that is the arrival of data. It may have been earlier, by up to
        `error_ns`.
        """
        self.instants[instant] = at_ns
        self.uncertainties_ns[instant] = error_ns

    def connected(
        self, headers: Mapping[str, str], early_audio: bytes = b"", early_end_ns: int = 0
    ) -> Connected:
        """Return the record of the success or refusal, with the instants that were reached until
        now.
        """
        return Connected(
            dict(self.instants),
            headers,
            self.auth_wait_ns,
            dict(self.uncertainties_ns),
            early_audio=early_audio,
            early_end_ns=early_end_ns,
        )


@dataclass(frozen=True)
class Proxy:
    """A proxy that opens a tunnel, by CONNECT of HTTP or by SOCKS.

    `remote_dns` is True if the proxy looks up the service's name.
    """

    scheme: Literal["http", "socks4", "socks5"]
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    remote_dns: bool = True

    @property
    def public(self) -> str:
        """The proxy without user and password, for messages, files and screens."""
        return f"{self.scheme}://{authority(self.host, self.port)}"


@dataclass(frozen=True)
class NetworkPath:
    """The network path to a service.

    `proxy` is the proxy, None for a direct path. `address` replaces the address of the service's
    name. `deflate` is True if messages are compressed when the service agrees. `max_message_mib` is
    the maximum size of a message; a larger message ends its connection. `ca`, `client_cert` and
    `client_key` are certificate files (PEM) for the TLS context. Telephone calls use `sip_proxy`,
    the URI of an outbound proxy with its port, or "", and the local ports `rtp_ports` for RTP. Each
    call also uses the port after that of its RTP. The calls offer `codecs`, in this order. Their
    audio is encrypted if `srtp` is True. `call_hosts` are hosts, each with a port or None, to which
    a call may go although only the peer names them. `may_leave` is True if a call to this machine
    may go to any host. `offer` is the form of the request that places a call, and `offer_members`
    is a JSON object, whose members an offer in JSON has, too. `network` impairs what calls send;
    None if nothing is impaired. `turn` is a TURN server that may relay calls over WebRTC; None
    without one. `dial` is the command that lets an agent call this tool; None if there is none. A
    line rings for `ring_ns`, or `is_busy`.
    """

    proxy: Proxy | None = None
    address: str | None = None
    deflate: bool = False
    max_message_mib: int = MAX_MESSAGE_MIB
    srtp: bool = False
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    sip_proxy: str = ""
    rtp_ports: range = range(16_384, 32_768, 2)
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    call_hosts: tuple[tuple[str, int | None], ...] = ()
    may_leave: bool = False
    offer: OfferForm = "form"
    offer_members: bytes = b"{}"
    network: NetworkProfile | None = None
    turn: TurnServer | None = None
    dial: str | None = None
    ring_ns: int = 0
    is_busy: bool = False

    @property
    def has_call_key(self) -> bool:
        """True if calls need a key that the service issues for calls."""
        return self.offer == WITH_CALL_KEY

    @property
    def proxy_name(self) -> str | None:
        """The proxy without its user and password; None for a direct path."""
        return self.proxy.public if self.proxy is not None else self.sip_proxy or None


DIRECT = NetworkPath()


class DeltaListener(Protocol):
    """A listener for the deltas of a reply.

    `has_begun` is True if the last reply continues. `streaming` is True if the client waits only
    for the end of the reply. The deltas may then be read slightly late. The transport may set
    `on_streaming`, which is called when `streaming` changes.
    """

    streaming: bool
    on_streaming: Callable[[bool], object]

    @property
    def has_begun(self) -> bool: ...

    def on_deltas(self, deltas: Sequence[MatchedDelta]) -> bool:
        """Handle deltas that matched a template, without blocking. Return whether the listener
        must act.
        """


SLOT_NS = 5_000_000
"""The instants at which microphones are opened are multiples of this time.

So the chunks of many sessions are due at the same instant, and the process wakes up once for all of
them.
"""


def next_slot_ns(at_ns: int) -> int:
    """Return the first multiple of `SLOT_NS` that is not before an instant."""
    return at_ns + -at_ns % SLOT_NS


class PacedSender(Protocol):
    """An object that sends messages at scheduled instants while a session listens."""

    @property
    def plain(self) -> ChunkSender | None:
        """The sender of the chunks that the transport may send without `send_due`; None if there
        are no such chunks.
        """

    @property
    def due_ns(self) -> int | None:
        """The instant at which `send_due` must be called next; None if nothing is to be sent."""

    def send_due(self) -> bool:
        """Send the messages that are due, without blocking. Return whether the listener must
        act.
        """


# A session sees only this: messages with arrivals, receipts with instants, and one end. What
# carries them (TCP, TLS, HTTP/2, RTP, SCTP) is not visible, and neither are threads or callbacks,
# except that `on_message` runs in the event loop and must not block.
#
# Time has two rules. A deadline has passed only when `watermark_ns` is behind it, because a message
# from before it may still be in a buffer. And an instant of a message is an arrival with an
# uncertainty, which is never later than when the message was read.
class Transport(Protocol):
    """An open connection. It sends and receives complete messages."""

    handshake: Connected
    fill: Callable[[bytes], bytes] | None
    """A function that inserts the secrets into a set-up message; None if there are no secrets."""
    keeps_texts: bool
    """True if a `MatchedDelta` contains its message, for a log."""

    @property
    def closed(self) -> ConnectionClosed | None:
        """The end of the connection.

        It is None while the connection is open, and while messages from before the end are not
        delivered yet.
        """

    def now_ns(self) -> int:
        """Return the current instant, on the same clock as the timestamps."""

    def handled_ns(self) -> int:
        """Return the current instant minus the time for which the transport held the message that
        it passes on.

        Only a jitter buffer holds messages, because it waits for missing ones.
        """

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        """Pass one message to the kernel. Return None if the connection has ended (see `closed`).

        A `BinaryMessage` is audio, which a transport may send as media. All other messages are
        text. If `stamped` is True, the kernel is asked to timestamp the message. `transmitted`
        returns the timestamp later.
        """

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        """Do the same as `send`, without blocking. If it returns None, `flush` must send the
        rest.
        """

    def flush(self) -> SendReceipt | None:
        """Send the rest of the message that was last passed to `try_send`. Return None if the
        connection has ended.
        """

    def transmitted(self) -> list[Transmitted]:
        """Return the kernel's new timestamps for messages that were sent with `stamped`. Do not
        block.
        """

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        """Pass messages to `on_message` until it returns True, `until_ns` passes, or the connection
        ends.

        The event loop calls `on_message` while the listener sleeps. The messages of one read are
        passed on together, up to a number that can be handled quickly. If `until_ns` has already
        passed, all messages that arrived by then are still passed on, and `watermark_ns` is then at
        least `until_ns`. Messages from before the end of the connection are passed on before
        `closed` is set. The event loop calls `sender` when it is due, unless `until_ns` has passed.
        If `sender` returns True, listening ends.

        `reply` is set while the end of a reply is awaited. It receives deltas that match a
        template, several at a time. It receives them before `on_message` receives any later
        message, and before listening ends. If `reply.streaming` is True, the socket may be polled
        only every few milliseconds. Without a reply that has begun, the templates are deleted.
        """

    def add_template(
        self,
        message: ReceivedMessage,
        event: ServerEvent,
        *,
        is_sound: bool = False,
        keeps_text: bool = False,
    ) -> None:
        """Learn a template: later deltas that are like `event` are passed to the listener of the
        reply.

        `event` must be the only event of `message`. If `is_sound` is True, the deltas contain their
        audio; if `keeps_text` is True, their messages.
        """

    def take_deltas(self) -> list[MatchedDelta]:
        """Return the matched deltas that the listener has not received yet. It does not receive
        them any more.
        """

    @property
    def watermark_ns(self) -> int:
        """An instant: all messages that arrived by then have been delivered.

        So a deadline before this instant has passed.
        """

    def network(self) -> NetworkMeasured | RtpMeasured | None:
        """Return the current state of the path to the peer; None if the platform does not report
        it.
        """

    def close(self) -> None:
        """Send a close frame, wait a short time for the answer, and close the connection."""

    def abort(self) -> None:
        """Close the connection at once, without waiting or switching greenlets."""


class WrappedTransport:
    """The part of a transport around another one that the other one does."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.handshake = transport.handshake
        self.fill = transport.fill
        self.now_ns = transport.now_ns
        self.handled_ns = transport.handled_ns
        self.network = transport.network
        self.add_template = transport.add_template
        self.take_deltas = transport.take_deltas

    @property
    def closed(self) -> ConnectionClosed | None:
        return self._transport.closed

    @property
    def watermark_ns(self) -> int:
        return self._transport.watermark_ns


class ConnectRequest(NamedTuple):
    """What a connection is opened with.

    `context` is that of TLS; None if the URL needs none. `phases` gets the instants that are
    reached, of which the last one is `opened`. `subprotocols` are offered. `hide` gets the name and
    the value of each secret that the transport itself finds, before it sends it.
    """

    url: str
    headers: Headers
    context: ssl.SSLContext | None
    limits: Timeouts
    phases: ConnectTimings
    path: NetworkPath = DIRECT
    subprotocols: Sequence[str] = ()
    hide: Callable[[str, str], object] = lambda name, secret: None


OpenTransport = Callable[[ConnectRequest], Transport]
"""A function that opens a transport, for each kind of connection.

It raises ConnectError with an outcome: `connect_failed:<stage or status>`, `throttled:handshake`,
`timeout:<stage>`.
"""


class CallKey(NamedTuple):
    """A key that a service issued for calls. `expires_s` is in seconds since 1970 UTC; None if
    it is not stated.
    """

    secret: str
    expires_s: float | None

    def __repr__(self) -> str:
        return "CallKey(hidden)"


class CallKeyKind(NamedTuple):
    """A kind of keys that services issue for calls: its name, the remedy for a refusal, and the
    request of one.

    `request` raises ConnectError.
    """

    name: str
    remedy: str
    request: Callable[[ConnectRequest], CallKey]
