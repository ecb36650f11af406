"""What a simulated service and the server know of each other: requests, sessions, and the state
of the server.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs

import numpy as np

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.units import NS_PER_S
from bench.wire.addresses import HostPort
from bench.wire.events import EventKind
from rtbench_simulator.faults.injection import FaultEntry, FaultInjector, Lacks, RefusalForm
from rtbench_simulator.faults.kinds import Fault
from rtbench_simulator.ground_truth_log import GroundTruthLog, LatenessCounts
from rtbench_simulator.overload import OverloadedSlots, OverloadPeriod
from rtbench_simulator.profile import Profile
from rtbench_simulator.quota import ResponseSlots, ServiceQuota
from rtbench_simulator.recorded_replies import RecordedReply
from rtbench_simulator.refusals import (
    TOO_MANY_SESSIONS,
    PostUpgradeRefusal,
    RefusedUpgrade,
    throttled,
)
from rtbench_simulator.server_events import Ids
from rtbench_simulator.serving.credentials import Authenticator
from rtbench_simulator.serving.stream import ServerStream
from rtbench_simulator.serving.token_issuer import IdentityEndpoint
from rtbench_simulator.simulated_session import SessionParts, SimulatedDialect, SimulatedSession

TAG_BITS = 24
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


def answer_at(
    session: Callable[[SessionParts], SimulatedSession], *paths: str
) -> Callable[[UpgradeRequest], AcceptedUpgrade | None]:
    """Return the function that accepts requests to these paths for sessions without a model."""
    accepted = AcceptedUpgrade(lambda model, parts: session(parts), "")
    return lambda request: accepted if request.path in paths else None


def lacks_of(title: str, places: Collection[str], kinds: Mapping[str, str]) -> Lacks:
    """Return the function `SimulatedService.lacks` of a service that lacks the faults at these
    places, and those of these kinds, each for a reason.
    """
    return lambda fault: kinds.get(
        fault.kind, f"{title} has no event {fault.at}" if fault.at in places else ""
    )


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


class ServedConnection(Protocol):
    number: int
    """The number of the connection in its worker, from 1."""

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake."""

    def end_stall(self, now_ns: int) -> None:
        """Make all events that a stall delayed due now."""

    def go_away(self, left_s: float) -> None:
        """Announce that the server closes the connection, if the protocol has words for it."""

    def strike(self, fault: Fault) -> None:
        """Inject and log a fault of the server."""


class Sender(Protocol):
    def send_due(self, now_ns: int) -> None:
        """Send the due events, and plan the next one."""


def urls_of(services: Iterable[SimulatedService], address: ServerAddress) -> dict[str, str]:
    """Return the URLs of services at an address, by name."""
    return {name: url for service in services for name, url in service.urls(address).items()}


@dataclass(frozen=True)
class ServerConfig:
    """The configuration of a server. `tls`: the TLS context; None for ws:// without TLS.

    `deflate`: True to compress messages for clients that offer compression. `dial`: the SIP URI
    that the agent calls, with `lines` calls at the same time; "" if it calls none.
    """

    profile: Profile
    replies: Sequence[RecordedReply]
    seed: int
    authenticator: Authenticator
    tls: ssl.SSLContext | None = None
    deflate: bool = False
    truth: GroundTruthLog | None = None
    identity: IdentityEndpoint | None = None
    dial: str = ""
    lines: int = 1
    services: Sequence[SimulatedService] = field(kw_only=True)


@dataclass(frozen=True)
class ServerWorker:
    """One of the processes that serve a port.

    `tag` (below 2²⁴) is the same in all these processes, and random at each start. It distinguishes
    the ids of this simulator from the ids of other simulators with the same seed.
    """

    number: int
    count: int
    tag: int

    def id_tag(self, session: int) -> str:
        """Return the common part of all ids of one session. No other session has the same part.

        `session`: the number of the session in this worker.
        """
        return f"{(self.tag + self.number) % (1 << TAG_BITS):06x}{session:06d}"

    def seeds(self, seed: int, session: int) -> list[int]:
        """Return the seeds of a session. They are the same with one worker as without workers."""
        return [seed, session] if self.count == 1 else [seed, self.number, session]


# It owns what all sessions share: the quotas, the slots of responses, the log, and the random
# seeds. A session is numbered when it opens and a connection when it is accepted. Both numbers seed
# generators, so a client that is refused shifts the faults of later connections, and not their
# sessions' delays.
class ServerState:
    """The state that all connections of a server share.

    `plan` sets the due instant of the next event of a sender; None if there is none.
    """

    def __init__(
        self,
        config: ServerConfig,
        loop: asyncio.AbstractEventLoop,
        worker: ServerWorker,
        plan: Callable[[Sender, int | None], None],
    ) -> None:
        self.config = config
        self.loop = loop
        self.plan = plan
        self.quota = ServiceQuota(config.profile.quota)
        self.servers = self._new_servers()
        self.lateness = LatenessCounts()
        self.connections: set[ServedConnection] = set()
        self.lines: Sequence[ServiceSockets] = ()
        self.sessions = self.refusals = self.faults = self.connection_count = 0
        self._worker = worker
        self._started_ns = monotonic_ns()

    def _new_servers(self) -> ResponseSlots:
        profile = self.config.profile
        count = profile.max_concurrent_responses
        if profile.overload is None or count is None:
            return ResponseSlots(count)
        return OverloadedSlots(count, profile.overload, self._on_overload)

    def _on_overload(self, period: OverloadPeriod) -> None:
        if self.config.truth:
            self.config.truth.overloaded(period)

    def urls(self, authority: str) -> dict[str, str]:
        """Return the URLs of the services at an address of this server, by name."""
        has_tls = self.config.tls is not None
        return urls_of(self.config.services, ServerAddress(authority, has_tls, self._worker.count))

    def limit(self, at_ns: int) -> RefusedUpgrade | None:
        """Take one connection, unless a limit of the server refuses it."""
        most = self.config.profile.max_sessions
        if most is not None and self.servers.sessions >= most:
            return TOO_MANY_SESSIONS
        wait_ns = self.servers.refusal_ns(at_ns) or self.quota.connect(at_ns)
        return throttled(wait_ns) if wait_ns else None

    def new_session(self, accepted: AcceptedUpgrade) -> SimulatedSession:
        return accepted.dialect(accepted.model, self.next_session())

    def next_session(self) -> SessionParts:
        """Count one more session. Return its parts."""
        self.sessions += 1
        config = self.config
        seeds = self._worker.seeds(config.seed, self.sessions)
        return SessionParts(
            int(utc_ns() / NS_PER_S + config.profile.max_session_s),
            config.profile,
            config.replies,
            np.random.default_rng(seeds),
            Ids(self._worker.id_tag(self.sessions)),
            self.quota,
            self.servers,
        )

    def refused(self, refusal: RefusedUpgrade | PostUpgradeRefusal, at_ns: int) -> None:
        """Count a refusal. `at_ns` is the arrival of its request."""
        self.refusals += 1
        if self.config.truth:
            status = refusal.status if isinstance(refusal, RefusedUpgrade) else refusal.close_code
            self.config.truth.refused(status, refusal.code, at_ns)

    def injector(self) -> FaultInjector | None:
        """Return the faults of the next connection; None if the profile has none."""
        self.connection_count += 1
        faults = self.config.profile.faults
        number = self.connection_count
        if not faults:
            return None
        seeds = self._worker.seeds(self.config.seed, number)

        def rng(fault: int, response: int) -> np.random.Generator:
            return np.random.default_rng([*seeds, fault, response])

        return FaultInjector(faults, number, self._started_ns, rng, self.struck)

    def struck(self, injected: FaultEntry) -> None:
        """Count a fault."""
        self.faults += 1
        if self.config.truth:
            self.config.truth.struck(injected)

    def freeze(self, duration_s: float) -> None:
        """Stop everything for this time."""
        time.sleep(duration_s)
        for connection in self.connections:
            connection.end_stall(monotonic_ns())

    def connect(self, first: bytes, caller: HostPort, stream: ServerStream) -> Receiver | None:
        """Return a connection of another protocol than HTTP; None if the first bytes are HTTP."""
        receivers = (line.connect(first, caller, stream) for line in self.lines)
        return next(filter(None, receivers), None)
