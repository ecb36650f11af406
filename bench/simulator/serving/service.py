"""What a simulated service and the server know of each other: requests, sessions, and the state
of the server.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs

from bench.simulator.faults.injection import FaultInjector, Lacks, RefusalForm
from bench.simulator.ground_truth_log import GroundTruthLog, LatenessCounts
from bench.simulator.profile import Profile
from bench.simulator.quota import ResponseSlots, ServiceQuota
from bench.simulator.recorded_replies import RecordedReply
from bench.simulator.refusals import PostUpgradeRefusal, RefusedUpgrade
from bench.simulator.serving.credentials import Authenticator
from bench.simulator.serving.stream import ServerStream
from bench.simulator.serving.token_issuer import IdentityEndpoint
from bench.simulator.simulated_session import SessionParts, SimulatedDialect, SimulatedSession
from bench.transport.interface import HostPort
from bench.wire.events import EventKind

KEY_PARAMETERS = ("api-key",)
"""The parameters of the query that may contain the key, at most services."""


class UpgradeRequest(NamedTuple):
    """An upgrade request. `path` has no slash at its end. `headers` have names in lower case."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @classmethod
    def of(cls, target: str, headers: Mapping[str, str]) -> UpgradeRequest:
        """Return the request with the path and query of the request line."""
        path, _, query = target.partition("?")
        values = parse_qs(query, keep_blank_values=True)
        return cls(path.rstrip("/"), {name: each[0] for name, each in values.items()}, headers)

    @property
    def model(self) -> str:
        return self.query.get("model", "")

    def keys(self, parameters: Iterable[str] = KEY_PARAMETERS) -> list[str]:
        """Return the keys in these parameters of the query."""
        return [self.query[name] for name in parameters if name in self.query]

    @property
    def transcribes(self) -> bool:
        """Whether the client requests a session that only transcribes."""
        return self.query.get("intent") == "transcription"


@dataclass(frozen=True)
class AcceptedUpgrade:
    """An accepted upgrade. `complaint`: the refusal that follows the upgrade.

    `token`: the number of the accepted token; None if a key was accepted, or no credentials are
    required.
    """

    dialect: SimulatedDialect
    model: str
    complaint: PostUpgradeRefusal | None = None
    token: int | None = None


class ServerAddress(NamedTuple):
    """The address of a server. `authority` is the host and the port."""

    authority: str
    has_tls: bool
    workers: int


def local_host(host: str) -> str:
    """Return the host of this machine at which a server is that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def websocket_urls(**targets: str) -> Callable[[ServerAddress], Mapping[str, str]]:
    """Return a function that returns the URLs of paths and queries, by the same names."""
    return lambda address: {
        name: f"{'wss' if address.has_tls else 'ws'}://{address.authority}{target}"
        for name, target in targets.items()
    }


@dataclass(frozen=True)
class SimulatedService:
    """A simulated service.

    `answer` returns the response to an upgrade request, regardless of the client's credentials;
    None if the request is not for this service. `urls` returns the URLs in the ready file, and
    `titles` has the titles of those that are announced, by their names. `note` follows them.
    `refusal_form` is the form of injected refusals, and `lacks` returns why the service does not
    have a fault. `bad_key` is the refusal of wrong credentials after the upgrade; None if they are
    refused before it. `key_parameters` are the parameters of the query that may contain the key.
    `log_kinds` has the kinds of the events that the ground-truth log names differently than the
    Realtime API. `limits_headers` is True if the number of custom headers is limited. `listen`
    opens the service's own sockets.
    """

    answer: Callable[[UpgradeRequest], AcceptedUpgrade | RefusedUpgrade | None] = lambda request: (
        None
    )
    urls: Callable[[ServerAddress], Mapping[str, str]] = lambda address: {}
    refusal_form: RefusalForm = "http"
    bad_key: PostUpgradeRefusal | None = None
    key_parameters: Sequence[str] = KEY_PARAMETERS
    limits_headers: bool = False
    listen: Callable[[ServerState, tuple[str, int], int], ServiceSockets] | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    log_kinds: Mapping[str, EventKind] = field(default_factory=dict)
    note: str = ""
    lacks: Lacks = lambda fault: ""


class Receiver(Protocol):
    """A connection with messages of another protocol than HTTP."""

    has_received: bool
    """Whether a complete message was received."""

    def received(self, data: bytes, at_ns: int) -> bool:
        """Accept bytes. Return False if they are not of the protocol, and the connection must be
        closed.
        """

    def ended(self) -> None:
        """Forget the connection, because it is closed."""


class ServiceSockets(Protocol):
    """The sockets of a service that does not only use WebSockets."""

    @property
    def has_calls(self) -> bool:
        """True if a call is open."""

    @property
    def dropped_packets(self) -> int:
        """The number of packets that the simulated network path dropped."""

    def connect(self, first: bytes, caller: HostPort, stream: ServerStream) -> Receiver | None:
        """Return a new connection, which uses `stream`. Return None if its first bytes are of
        another protocol.
        """

    def close(self) -> None:
        """End all calls, and close the sockets."""


class Sender(Protocol):
    def send_due(self, now_ns: int) -> None:
        """Send the due events, and plan the next one."""


@dataclass(frozen=True)
class ServerConfig:
    """The configuration of a server. `tls`: the TLS context; None for ws:// without TLS.

    `deflate`: True to compress messages for clients that offer compression.
    """

    profile: Profile
    replies: Sequence[RecordedReply]
    seed: int
    authenticator: Authenticator
    tls: ssl.SSLContext | None = None
    deflate: bool = False
    truth: GroundTruthLog | None = None
    identity: IdentityEndpoint | None = None
    services: Sequence[SimulatedService] = field(kw_only=True)


@dataclass(frozen=True)
class ServerState:
    """The state that all connections of a server share."""

    config: ServerConfig
    loop: asyncio.AbstractEventLoop
    quota: ServiceQuota
    servers: ResponseSlots
    # takes one connection, unless a limit of the server refuses it
    limit: Callable[[int], RefusedUpgrade | None]
    new_session: Callable[[AcceptedUpgrade], SimulatedSession]
    next_session: Callable[[], SessionParts]  # of a session without an upgrade
    refused: Callable[
        [RefusedUpgrade | PostUpgradeRefusal, int], None
    ]  # called for each refusal, with the arrival of its request
    # the due instant of its next event; None if there is none
    plan: Callable[[Sender, int | None], None]
    lateness: LatenessCounts
    # for the next connection; None if the profile has no faults
    injector: Callable[[], FaultInjector | None]
    freeze: Callable[[float], None]  # all connections, for these seconds
    # None if the first bytes are HTTP
    connect: Callable[[bytes, HostPort, ServerStream], Receiver | None]
