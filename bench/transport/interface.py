"""Defines what a session sees of the network: whole messages with their arrival, nothing of sockets, TLS or frames.

A transport is connected when it is made, and is closed once. Time is what the transport says it is: the real one waits
on the process's clock, the one in memory has a virtual clock, and the session knows no other.
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
"""Close codes of a connection that we end: for an unreadable frame, for a message too big (RFC 6455 §7.4.1)."""
MIB = 1 << 20
MAX_MESSAGE_MIB = 16
"""How large a message may be unless something else is said: the largest that services send are a hundredth of it."""


OnMessage = Callable[[ReceivedMessage], bool]
"""Takes a message, without waiting for anything; True where whoever listens has something to decide now."""


class SendReceipt(NamedTuple):
    """The receipt of a send: when the message was handed to the kernel, and the bytes of its frame."""

    handed: SendTime
    wire_bytes: int


class TxTimestamp(NamedTuple):
    """The kernel's word of when a message that was sent `stamped` left, or when the peer's TCP acknowledged it.

    `ticket`: of `SendReceipt.handed`.
    """

    ticket: int
    at_ns: int
    acknowledged: bool


CloseCause = Literal["", "reset", "timed_out", "unreachable"]


class CloseInfo(NamedTuple):
    """The end of a connection: close code (1006: no close frame), reason, instant.

    `ours`: we ended it, because what came broke a rule. `cause`: how the kernel says that the connection broke: the
    peer or something on the way reset it, the peer acknowledged nothing any more, no route led there any more.
    `error_ns`: how much earlier the end may have come.
    """

    code: int
    reason: str
    at_ns: int
    ours: bool = False
    cause: CloseCause = ""
    error_ns: int = 0


class Handshake(NamedTuple):
    """The phases of connecting, as instants of `bench.columns.SESSION_INSTANTS`, and the response headers.

    `errors_ns`: how much earlier each phase may really have ended. `call_id`: a name that no two calls share;
    "" where the service is not told any.
    """

    instants: Mapping[str, int]
    headers: Mapping[str, str]
    errors_ns: Mapping[str, int] = MappingProxyType({})
    call_id: str = ""


class TcpInfo(NamedTuple):
    """What the kernel knows of the path to the peer: smoothed and shortest round trip, segments sent again so far.

    `scope` says who the peer is: the service (its nearest end of TCP), or the proxy that stands before it.
    """

    rtt_ns: int
    min_rtt_ns: int
    retransmits: int
    scope: Literal["service", "proxy"] = "service"


@dataclass(slots=True)
class ConnectTimings:
    """The instants of connecting, as far as it came, and how long it had to wait for a token before.

    `errors_ns`: how much earlier each may really have been, of those that were waited for.
    """

    instants: dict[str, int] = field(default_factory=dict)
    auth_wait_ns: int = 0
    errors_ns: dict[str, int] = field(default_factory=dict)

    def set_instant(self, instant: str) -> None:
        self.instants[instant] = monotonic_ns()

    def looked_up(self, began_ns: int, done_ns: int) -> None:
        """Mark the end of a name lookup. The wait for its begin was this process's: connecting starts later by it."""
        before_ns = self.instants.get("dns_done", self.instants["connect_start"])
        self.instants["connect_start"] += began_ns - before_ns
        self.instants["dns_done"] = done_ns

    def arrived(self, instant: str, at_ns: int, error_ns: int) -> None:
        """Mark an instant by the arrival of what was waited for."""
        self.instants[instant], self.errors_ns[instant] = at_ns, error_ns


@dataclass(frozen=True)
class Proxy:
    """A proxy that opens a tunnel: by HTTP's CONNECT or by SOCKS. `remote_dns`: it looks the service's name up."""

    scheme: Literal["http", "socks4", "socks5"]
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    remote_dns: bool = True

    @property
    def public(self) -> str:
        """The proxy as messages, files and screens may show it, without user and password."""
        return f"{self.scheme}://{authority(self.host, self.port)}"


@dataclass(frozen=True)
class NetworkPath:
    """How a service is reached: through a proxy, by an address instead of the name's, compressed if both agree.

    `max_message_mib`: a larger message ends its connection. `ca`, `client_cert`, `client_key`: files of certificates
    (PEM), of which the TLS context is made.
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
    """Host and port as URLs have them: an IPv6 address stands in brackets (RFC 3986 §3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class DeltaListener(Protocol):
    """Listens to a reply that has begun. `streaming`: only its end is awaited, so it may be read a little late."""

    streaming: bool

    def take_deltas(self, deltas: Sequence[MatchedDelta]) -> None:
        """Take deltas that are like one that was learned, without waiting for anything."""


class PacedSender(Protocol):
    """Sends by a schedule while somebody listens."""

    @property
    def due_ns(self) -> int | None:
        """When it is to be called next; None where nothing is due."""

    def send_due(self) -> bool:
        """Send what is due, without waiting for anything; whether whoever listens must look at it."""


class Transport(Protocol):
    """An open connection, over which whole messages are sent and received."""

    handshake: Handshake
    keeps_texts: bool
    """Whether a `MatchedDelta` brings the message that it came in: for whoever writes it down."""

    @property
    def closed(self) -> CloseInfo | None:
        """Why the connection is gone; None while it is not, or while messages that came before are not handed out."""

    def now_ns(self) -> int:
        """The instant now, on the clock that the stamps are on."""

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        """Hand one message to the kernel; None if the connection is gone (see `closed`).

        A `BinaryMessage` is audio, which a transport may send as media; all else is text. `stamped` asks the kernel
        when the message really leaves, which `transmitted` then returns.
        """

    def offer(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        """As `send`, but without waiting: where that gives None, `finish` hands over what is left."""

    def finish(self) -> SendReceipt | None:
        """Hand over what is left of the last message that was offered; None where the connection is gone."""

    def transmitted(self) -> list[TxTimestamp]:
        """What the kernel has said since it was last asked of messages that were sent stamped; does not wait."""

    def listen(
        self, until_ns: int, take: OnMessage, reply: DeltaListener | None = None, sender: PacedSender | None = None
    ) -> None:
        """Pass messages to `take` as they come, until it says True, an instant, or the connection's end (`closed`).

        The event loop calls `take`: whoever listens sleeps meanwhile. What came in one read is passed on together, but
        no more of it at once than is soon handled. Where the instant has passed already, what arrived by then is passed
        on, however late that is: then `heard_ns` is not before it. Messages that were there before the connection went
        are passed on before `closed` is set. The loop calls `sender` when it is due, unless the instant has passed;
        where that says True, listening is over.

        `reply` is given while the end of a reply is awaited: it is handed deltas like those that were learned, several
        at a time, and all that came before whatever `take` is given, and before listening is over. While it is
        streaming, what comes may be looked for every few milliseconds only. Who listens without a reply has all that
        was learned forgotten.
        """

    def learn(self, message: ReceivedMessage, event: ServerEvent) -> None:
        """Have deltas like this one, which is all that the message says, handed to whoever listens to the reply."""

    @property
    def heard_ns(self) -> int:
        """Every message that arrived by this instant has been handed out: a deadline before it has passed."""

    def network(self) -> TcpInfo | None:
        """The path to the peer as it is now; None where the platform does not tell."""

    def close(self) -> None:
        """Say goodbye, wait a moment for the answer, and let go of the connection."""

    def abort(self) -> None:
        """Let go at once, without waiting or switching."""


class OpenTransport(Protocol):
    """Opens the transport of a URL's scheme."""

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
        """Connect. `context`: of TLS, if the scheme wants it. `phases` gets the instants, `opened` the last of them.

        Raises ConnectError with an outcome: `connect_failed:<stage or status>`, `throttled:handshake`,
        `timeout:<stage>`.
        """
