"""A service: its addresses, its sign-in, and the dialect of each address. Pure data, registered
once for each service.

`bench.services.registry` lists the services. docs/targets.md has the sources, and reports what was
tried.
"""

# A service is data, so that commands can list, explain and choose services without a connection.
# What a service does with its messages is in its dialect. One service may have several dialects, by
# route, and one dialect may be spoken by several services. Code asks a `Link` how a connection is
# opened, and never a scheme: a link has its own steps, settings and ports.

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from bench.catalogue.model_retirements import Retirement
from bench.wire.dialect import Dialect

MODEL = "{model}"
"""The placeholder for the model in the address of a service."""
REGION = "{region}"
FIRST_REGION = "us-east-1"
"""The placeholder for the region in the address of a service, and the region if none is set."""
VERSION = "{version}"
"""The placeholder for the version in the path of a route. Services add versions, and keep the
rest of the path."""
NAME = "{name}"
"""The placeholder for a name in the path of a route."""


@dataclass(frozen=True)
class Link:
    """A kind of connection. A service has one or more, of which the scheme of a URL selects one.

    `schemes` are without and with TLS. `steps` are the parts of a connection that can fail one
    after the other. `opened` states in messages that a connection is open. `peers` and `example`
    describe what has such addresses. `settings` are the keys of targets that only some links have.
    `opener` is the function that opens the transport (`module:function`), and `extra` the extra of
    this package that installs what it needs; "" if it needs none.
    `title` names such connections. `transport` is the value of that key of targets which selects
    it; "" if only the scheme does. `codecs` are those that calls offer by default. `credential` is
    presented in a header of the first request, or as a digest of user and password if the peer
    demands it. `signed_by` names the credentials that the transport finds by itself, and with which
    it signs; "" if it signs nothing. `is_http` is True if an HTTP request
    opens the connection. `is_tls_by_scheme` is False if a later hop may require TLS although the
    scheme does not. `has_media` is True if audio travels in RTP packets, which need ports of their
    own. `sockets` is the number of sockets that a session needs.
    """

    schemes: tuple[str, str]
    steps: tuple[str, ...]
    opened: str
    peers: str
    example: str
    settings: tuple[str, ...]
    title: str
    opener: str
    extra: str = ""
    transport: str = ""
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    address_form: Literal["URL", "SIP URI"] = "URL"
    credential: Literal["header", "digest"] = "header"
    signed_by: str = ""
    is_http: bool = True
    is_tls_by_scheme: bool = True
    has_media: bool = False
    sockets: int = 1

    @property
    def selector(self) -> str:
        """What selects such a connection, for messages."""
        return f"transport: {self.transport}" if self.transport else f"{self.schemes[0]}: addresses"


CALLS_EXTRA = "calls"
"""The extra with the packages of calls: SIP, SRTP, DTLS, SCTP and Opus."""
# The links. Steps are what the doctor prints and skips, in this order. `settings` decides which
# keys of a target are refused for a link, and `has_media` whether a call needs ports.
WEBSOCKET = Link(
    ("ws", "wss"),
    ("upgrade", "session", "turn"),
    "HTTP 101",
    "WebSocket servers",
    "wss://HOST/PATH",
    settings=("compression", "max_message_mib"),
    title="WebSocket connections",
    opener="bench.transport.websocket:open_websocket",
    transport="websocket",
)
SIP = Link(
    ("sip", "sips"),
    ("call", "turn"),
    "the call was answered",
    "telephones",
    "sip:agent@sip.example.com",
    settings=("rtp_ports", "codec", "from_", "srtp", "call_hosts"),
    title="telephone calls",
    opener="bench.transport.sip.telephone:open_call",
    extra=CALLS_EXTRA,
    address_form="SIP URI",
    credential="digest",
    is_http=False,
    is_tls_by_scheme=False,
    has_media=True,
    sockets=3,
)
"""The link of telephone calls. Its sockets are for SIP, RTP and RTCP. A proxy or a redirection
may require TLS."""
SIP_CALLEE = replace(
    SIP,
    opened="the agent's call was answered",
    settings=("rtp_ports", "codec", "dial"),
    title="telephone calls that the agent makes",
    opener="bench.transport.sip.answering:open_answer",
    sockets=2,
)
"""The link of telephone calls that an agent makes to this tool. All calls of a process have one
socket for SIP."""
WEBRTC = Link(
    ("ws", "wss"),
    ("call", "session", "turn"),
    "the call is connected",
    "servers of the Realtime API",
    "wss://HOST/PATH",
    settings=(
        "max_message_mib",
        "rtp_ports",
        "codec",
        "call_hosts",
        "turn_server",
        "turn_login_env",
        "offer",
    ),
    title="calls over WebRTC",
    opener="bench.transport.webrtc.call:open_webrtc",
    extra=CALLS_EXTRA,
    transport="webrtc",
    codecs=("OPUS",),
    has_media=True,
    sockets=2,
)
"""The link of calls over WebRTC. Its sockets are for the offer, and for the packets of the call."""
WEBRTC_SESSION = replace(
    WEBRTC,
    steps=("connection", "session", "turn"),
    opened="the host of the offer is connected",
    peers="servers of the Live API",
    settings=tuple(key for key in WEBRTC.settings if key != "offer"),
    title="sessions over WebRTC",
    opener="bench.transport.webrtc.session_call:open_session_call",
)
"""The link of calls over WebRTC whose offer has the settings of the session. The first message
places the call."""
CALL_FAILED = "call.failed"
"""The type of the message in which the transport of WEBRTC_SESSION reports that the call was not
connected.

Its `error` has the stage of the outcome as `type`, the rest of the outcome as `code`, and the
detail as `message`.
"""
WEBRTC_AGENT = replace(
    WEBRTC,
    schemes=("http", "https"),
    steps=("call", "turn"),
    peers="agents over WebRTC",
    example="https://HOST/api/offer",
    settings=tuple(key for key in WEBRTC_SESSION.settings if key != "max_message_mib"),
    title="agents over WebRTC",
    opener="bench.transport.webrtc.call:open_agent_call",
)
"""The link of calls over WebRTC to agents, which have no events."""
MEDIA_LINKS = (SIP, SIP_CALLEE, WEBRTC, WEBRTC_SESSION, WEBRTC_AGENT)
OPENED = "opened"
"""The key of the message in which a transport reports the accepted request, if the session may
begin before. It has the `headers` of the response."""


class Tracks(NamedTuple):
    """The dialects of calls whose audio is a track next to the events, and their kind of
    connection. `by_codec` has those of calls that offer another codec than G.711. The first one
    that is offered counts.
    """

    link: Link
    by_codec: Mapping[str, Dialect]
    g711: Dialect

    def dialect(self, codecs: Collection[str]) -> Dialect:
        """Return the dialect of calls that offer these codecs."""
        return next((self.by_codec[name] for name in self.by_codec if name in codecs), self.g711)

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        return *self.by_codec.values(), self.g711


class KeyHeader(NamedTuple):
    """The header that carries a key. `scheme` precedes the key; "" if the header contains only
    the key.
    """

    name: str = "Authorization"
    scheme: str = "Bearer"


BEARER = KeyHeader()
BASIC = KeyHeader(scheme="Basic")


class Cloud(NamedTuple):
    """A cloud of Entra ID: the scope of its tokens, and its sign-in host; None for
    azure-identity's default.
    """

    scope: str
    authority: str | None = None


Signed = Literal["key", "entra", "nothing"]
"""The kind of credentials with which a client signs in."""


@dataclass(frozen=True)
class RefusedRequest:
    """A refused upgrade: the response's text, and the sent token's public claims. `path` has no
    gateway's prefix.
    """

    status: int
    message: str
    claims: Mapping[str, str]
    service: str
    host: str
    path: str
    query: str
    model: str | None
    signed: Signed


@dataclass(frozen=True)
class Route:
    """A path, perhaps with any VERSION or NAME, at which a service has a dialect.

    `title` is the name of the product, if it is not that of the service. The query must have one of
    the parameters `needs`; the first one names the model. `versions` are the known api-versions, of
    which the first one is the default; () if the service refuses an api-version here, and None if
    it is not known whether it has one. `headers` select the dialect, if the path has several.
    `scope` replaces the scope of the public cloud. `other_hosts` maps the end of a host that does
    not have the path to the end of the host that has it. `connects_per_min` is the quota of new
    connections. `is_unique` is True if no other service has such a path, so that the path
    identifies the service at any host. `roles` are the roles of Entra ID that permit sessions.
    `refused` maps parameters of the query, with their values, to the reason why this tool refuses
    them. `explain` returns the remedy for a refusal here; "" if it is that of the service.
    """

    path: str
    dialect: Dialect
    title: str = ""
    needs: tuple[str, ...] = ()
    versions: tuple[str, ...] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    scope: str = ""
    other_hosts: Mapping[str, str] = field(default_factory=dict)
    connects_per_min: float | None = None
    roles: tuple[str, ...] = ()
    is_unique: bool = False
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    explain: Callable[[RefusedRequest], str] = lambda refused: ""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The regular expression of the path."""
        path = re.escape(self.path).replace(re.escape(VERSION), r"[\w-]+")
        return re.compile(path.replace(re.escape(NAME), "[^/]+"))

    def end_of(self, path: str) -> str:
        """Return the end of a path that is a path of this route, without a gateway's prefix; ""
        if there is none.
        """
        found = re.search(f"{self.pattern.pattern}$", path)
        return found[0] if found else ""


@dataclass(frozen=True)
class Service:
    """A service that is known by name.

    `dialect` is its dialect, unless a route of the path has another one. `url` is its address, with
    `{model}` in place of the model; "" if each customer has another host. `links` are the kinds of
    connections that it accepts. `hosts` are the ends of its host names; a server that people run
    themselves has none. `folder` is the beginning of paths that only this service has; "" if it has
    none. `model` is the default model. `key_header` carries the key, and `api_key_env` is the
    variable from which the service's own clients read it. `clouds` maps the domain of a cloud to
    its tokens; {} if the service accepts none of Entra ID. `minutes` is the maximum duration of a
    session; None if no limit is known. `has_deployments` is True if requests name a deployment,
    whose name can differ from that of its model. `retirements` maps a model to its retirement.
    `transcription` states which address a session without replies needs: any, a separate one, or a
    separate one without a model. `telemetry_name` is the name in OpenTelemetry's conventions, if it
    is not `name`. `key_page` states where the user finds the key. `starter` is the YAML of the
    session settings that `rtbench init --service` writes; "" if it writes no folder for the
    service. `explain` returns the remedy for a status; "" if the service does not cause such
    refusals.
    """

    name: str
    title: str
    dialect: Dialect
    url: str = ""
    links: tuple[Link, ...] = (WEBSOCKET,)
    routes: tuple[Route, ...] = ()
    hosts: tuple[str, ...] = ()
    folder: str = ""
    model: str | None = None
    key_header: KeyHeader = BEARER
    api_key_env: str | None = None
    clouds: Mapping[str, Cloud] = field(default_factory=dict)
    minutes: int | None = None
    has_deployments: bool = False
    retirements: Mapping[str, Retirement] = field(default_factory=dict)
    transcription: Literal["any", "separate", "separate, without a model"] = "any"
    telemetry_name: str = ""
    key_page: str = ""
    starter: str = ""
    explain: Callable[[RefusedRequest, Service], str] | None = None

    @cached_property
    def model_in_path(self) -> re.Pattern[str] | None:
        """The regular expression of the end of a path that names a model, with a group for the
        percent-encoded name; None if the service's paths name none.
        """
        path = re.escape(urlsplit(self.url).path)
        named = path.replace(re.escape(MODEL), "([^/]+)")
        return None if named == path else re.compile(f"{named}/?$")

    def has_path(self, path: str) -> bool:
        """Return whether a path identifies the service."""
        if self.folder and path.startswith(self.folder):
            return True
        return any(route.is_unique and route.pattern.match(path) for route in self.routes)

    def has_host(self, host: str) -> bool:
        """Return whether a host is the service's."""
        name = f".{host.removesuffix('.')}"
        return any(name.endswith(f".{end}") for end in self.hosts)

    def cloud_of(self, host: str) -> Cloud | None:
        """Return the cloud to which a host belongs; None if it belongs to none of the service's
        clouds.
        """
        name = host.removesuffix(".")
        return next(
            (
                cloud
                for end, cloud in self.clouds.items()
                if self.has_host(host) and name.endswith(end)
            ),
            None,
        )

    def route_of(self, dialect: Dialect) -> Route | None:
        """Return the service's first route with a dialect; None if it has none."""
        return next((route for route in self.routes if route.dialect is dialect), None)
