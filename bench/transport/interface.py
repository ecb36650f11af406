"""The interface between a session and the network: whole messages with their arrival, without sockets, TLS or frames.

A transport is connected when it is created, and is closed once. It provides the session's only clock: the real
transport uses the process's clock, the one in memory a virtual clock.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from bench.clock import SendTime, monotonic_ns
from bench.protocol.events import ServerEvent
from bench.timeouts import Timeouts
from bench.transport.received import MatchedDelta, ReceivedMessage

BAD_FRAME, TOO_LARGE = 1002, 1009
"""The close codes with which we end a connection: unreadable frame, message too big (RFC 6455 §7.4.1)."""
MIB = 1 << 20
MAX_MESSAGE_MIB = 16
"""The default maximum size of a message. The largest messages of services have a hundredth of this size."""


OnMessage = Callable[[ReceivedMessage], bool]
"""Handler of a message. It must not block. It returns True if the listener must act now."""


class SendReceipt(NamedTuple):
    """The receipt of a send: when the kernel accepted the message, and the bytes of its frame."""

    handed: SendTime
    wire_bytes: int


class TxTimestamp(NamedTuple):
    """The kernel's timestamp of when a message sent with `stamped` left, or when the peer's TCP acknowledged it.

    `ticket` identifies the message. It is the ticket in `SendReceipt.handed`.
    """

    ticket: int
    at_ns: int
    acknowledged: bool


CloseCause = Literal["", "reset", "timed_out", "unreachable"]


class CloseInfo(NamedTuple):
    """The end of a connection: the close code (1006 if there was no close frame), the reason, and the instant.

    `ours` is True if the client ended it, because a message broke a rule of the protocol or exceeded a limit. `cause`
    is the kernel's reason if a connection ended without a close frame: the peer or a device on the path reset it, the
    peer acknowledged no more data, or there was no route to the peer any more. `uncertainty_ns` is how much earlier the
    end may have come.
    """

    code: int
    reason: str
    at_ns: int
    ours: bool = False
    cause: CloseCause = ""
    uncertainty_ns: int = 0


class Handshake(NamedTuple):
    """The phases of connecting, as instants of `bench.columns.SESSION_INSTANTS`, and the response headers.

    `uncertainties_ns` states how much earlier each phase may really have ended. `call_id` is a unique name of the call;
    "" if the service receives none.
    """

    instants: Mapping[str, int]
    headers: Mapping[str, str]
    uncertainties_ns: Mapping[str, int] = MappingProxyType({})
    call_id: str = ""


class TcpInfo(NamedTuple):
    """The kernel's state of the path to the peer: smoothed and shortest round trip, and retransmitted segments so far.

    `scope` states who the peer is: the service (its nearest TCP endpoint), or the proxy in front of it.
    """

    rtt_ns: int
    min_rtt_ns: int
    retransmits: int
    scope: Literal["service", "proxy"] = "service"


@dataclass(slots=True)
class ConnectTimings:
    """The instants of connecting so far, and the wait for a token before connecting.

    `uncertainties_ns` states how much earlier each awaited instant may really have been.
    """

    instants: dict[str, int] = field(default_factory=dict)
    auth_wait_ns: int = 0
    uncertainties_ns: dict[str, int] = field(default_factory=dict)

    def set_instant(self, instant: str) -> None:
        self.instants[instant] = monotonic_ns()

    def set_lookup(self, start_ns: int, done_ns: int) -> None:
        """Set the end of a name lookup.

        If the lookup had to wait in this process before it started, move the start of connecting later by that wait.
        """
        before_ns = self.instants.get("dns_done", self.instants["connect_start"])
        self.instants["connect_start"] += start_ns - before_ns
        self.instants["dns_done"] = done_ns

    def set_arrival(self, instant: str, at_ns: int, error_ns: int) -> None:
        """Set an instant to an arrival."""
        self.instants[instant], self.uncertainties_ns[instant] = at_ns, error_ns


@dataclass(frozen=True)
class Proxy:
    """A proxy that opens a tunnel: by HTTP's CONNECT or by SOCKS.

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
    """The path to a service: a proxy, an address in place of the name's address, and compression if both sides agree.

    `max_message_mib` is the maximum size of a message; a larger message ends its connection. `ca`, `client_cert` and
    `client_key` are certificate files (PEM) for the TLS context.
    """

    proxy: Proxy | None = None
    address: str | None = None
    deflate: bool = False
    max_message_mib: int = MAX_MESSAGE_MIB
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


DIRECT = NetworkPath()


def authority(host: str, port: int) -> str:
    """Return host and port as in a URL. An IPv6 address is in brackets (RFC 3986 §3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class DeltaListener(Protocol):
    """A listener to a reply that has begun.

    `streaming` is True if the client awaits only the end of the reply, so that the deltas may be read slightly late.
    """

    streaming: bool

    def on_deltas(self, deltas: Sequence[MatchedDelta]) -> None:
        """Handle deltas that match a template. Do not block."""


class PacedSender(Protocol):
    """A sender on a schedule, while a session listens."""

    @property
    def due_ns(self) -> int | None:
        """The instant of the next `send_due`; None if nothing is due."""

    def send_due(self) -> bool:
        """Send what is due, without blocking. Return whether the listener must act."""


class Transport(Protocol):
    """An open connection, over which whole messages are sent and received."""

    handshake: Handshake
    keeps_texts: bool
    """True if a `MatchedDelta` contains its message, for a log."""

    @property
    def closed(self) -> CloseInfo | None:
        """The end of the connection; None while it is open, or while earlier messages are not delivered yet."""

    def now_ns(self) -> int:
        """Return the current instant, on the clock of the timestamps."""

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        """Pass one message to the kernel. Return None if the connection has ended (see `closed`).

        A `BinaryMessage` is audio, which a transport may send as media; all other messages are text. `stamped` requests
        the kernel's timestamp of the message. `transmitted` returns it later.
        """

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        """Do the same as `send`, without blocking. If it returns None, `flush` sends the rest."""

    def flush(self) -> SendReceipt | None:
        """Send the rest of the last offered message. Return None if the connection has ended."""

    def transmitted(self) -> list[TxTimestamp]:
        """Return the kernel's new timestamps of messages sent with `stamped`, without blocking."""

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        """Pass messages to `on_message` until it returns True, an instant passes, or the connection ends (`closed`).

        The event loop calls `on_message` while the listener sleeps. The messages of one read are passed on together, up
        to a number that is soon handled. If the instant has already passed, all messages that arrived by then are still
        passed on, and `watermark_ns` is then not before it. Messages from before the end of the connection are passed
        on before `closed` is set. The event loop calls `sender` when it is due, unless the instant has passed. If
        `sender` returns True, listening ends.

        `reply` is set while the end of a reply is awaited. It receives deltas that match a template, several at a time.
        It receives them before `on_message` receives any later message, and before listening ends. While it is
        streaming, the socket may be polled only every few milliseconds. Listening without a reply deletes the
        templates.
        """

    def add_template(self, message: ReceivedMessage, event: ServerEvent) -> None:
        """Learn a template: pass later deltas like `event` to the listener of the reply.

        `event` is the message's only event.
        """

    @property
    def watermark_ns(self) -> int:
        """The instant by which every arrived message has been delivered. A deadline before it has passed."""

    def network(self) -> TcpInfo | None:
        """Return the current state of the path to the peer; None if the platform does not report it."""

    def close(self) -> None:
        """Send a close frame, wait a moment for the answer, and close the connection."""

    def abort(self) -> None:
        """Close the connection at once, without waiting or switching greenlets."""


class OpenTransport(Protocol):
    """The function that opens the transport of a URL's scheme."""

    def __call__(
        self,
        url: str,
        headers: Iterable[tuple[str, str]],
        context: ssl.SSLContext | None,
        limits: Timeouts,
        phases: ConnectTimings,
        path: NetworkPath,
        subprotocols: Sequence[str],
        /,
    ) -> Transport:
        """Connect and set the instants in `phases`, of which `opened` is the last.

        `context` is for TLS, if the scheme uses it. Raise ConnectError with an outcome: `connect_failed:<stage or
        status>`, `throttled:handshake`, `timeout:<stage>`.
        """
