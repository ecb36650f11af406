"""A target: a service, and the data that is needed to connect to it, with the credentials that
identify the caller.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import takewhile
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qsl, unquote

from bench.base.errors import UsageError
from bench.catalogue.pricing import Prices, PricingTerms
from bench.files.sanitize import masked_query, outcome_part
from bench.protocols.sip.hops import CallAddress, call_address
from bench.services.registry import SERVICES, service_named
from bench.transport.interface import DIRECT, WEB_PORTS, NetworkPath, Proxy
from bench.wire.addresses import authority, bracketed, is_loopback
from bench.wire.dialect import CALL_ID, Dialect, Peer
from bench.wire.service import WEBSOCKET, Link, Service
from bench.wire.settings import ONLY_TRANSCRIPT

MIN_SECRET_CHARACTERS = 8
LONG_PART_CHARACTERS = 24
"""The length of a part of a secret that is hidden at any position.

A shorter part may be the start of all keys of one kind.
"""
HIDDEN = "***"
_USERS = re.compile(r'(?<=://)(?!USER:PASSWORD@)[^\s/?#"<>]+(?=@)')
"""The user in a URL (RFC 3986 §3.2.1), with a password or without. Our example USER:PASSWORD is
not secret."""


# Secrets are kept out of files and screens in three ways. A `Credential` shows only its name, and
# cannot be pickled or copied, so a secret cannot reach another process or a file by accident.
# Fields that may contain one have no `repr`. And each text from outside is redacted when it arrives
# (`redacted`), before anything truncates it, because a service may quote what it got.
#
# Each quote that is cut must be found, too. The pieces that follow the first eight characters are
# compared with the secret character by character, but only if these eight are in the text, which is
# almost never so.
class Credential:
    """A header with a secret, which follows `scheme`, such as Bearer, if there is one. Only
    `header` returns it.
    """

    __slots__ = ("_secret", "_spellings", "name", "scheme")

    def __init__(self, name: str, secret: str, scheme: str = "") -> None:
        self.name = name
        self.scheme = scheme
        self._secret = secret
        in_outcome = outcome_part(secret)
        is_distinct = len(in_outcome.replace("_", "")) >= MIN_SECRET_CHARACTERS
        self._spellings = dict.fromkeys((secret, in_outcome) if is_distinct else (secret,))

    def header(self) -> tuple[str, str]:
        """Return (name, value) of the request header."""
        return self.name, f"{self.scheme} {self._secret}" if self.scheme else self._secret

    def redact(self, text: str) -> str:
        """Replace the secret, which a service may quote, by ***.

        A secret that is shorter than MIN_SECRET_CHARACTERS is not hidden. A quote may end within
        the secret: a close reason has 123 bytes. Such a quote is hidden at the end of a line, and
        at any position if it has at least LONG_PART_CHARACTERS.
        """
        return reduce(_without, self._spellings, text)

    @property
    def length(self) -> int:
        return len(self._secret)

    def __repr__(self) -> str:
        return f"Credential({self.name!r}, hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a credential is not to be pickled or copied: it would end in a file or on a wire"
        )


def _without(text: str, secret: str) -> str:
    head = secret[:MIN_SECRET_CHARACTERS]
    if len(head) < MIN_SECRET_CHARACTERS or head not in text:  # true for nearly all texts
        return text
    text = text.replace(secret, HIDDEN)
    start = text.find(head)
    while start >= 0:
        line = text[start:].partition("\n")[0]
        pairs = zip(line, secret, strict=False)
        quoted = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if quoted == len(line) or quoted >= LONG_PART_CHARACTERS:
            text = text[:start] + HIDDEN + text[start + quoted :]
        start = text.find(head, start + 1)
    return text


def redacted(text: str, secrets: Iterable[Credential]) -> str:
    """Return the text without these secrets, and without the user in URLs, which is the part before
    the @.

    The longest secret is hidden first, because a shorter one may be its start.
    """
    for secret in sorted(secrets, key=attrgetter("length"), reverse=True):
        text = secret.redact(text)
    return _USERS.sub(HIDDEN, text) if "://" in text else text


_PLACEHOLDER = re.compile(r"\.\.\.|…|<[A-Za-z][A-Za-z _-]{0,40}>")
"""The values of settings in examples. No key, name or URL has this form."""


def clean(text: str, source: str) -> str:
    """Return a key or setting, perhaps "", without the white space and quotes around it.

    Raise UsageError if it is a placeholder. Raise UsageError, which quotes nothing, if anything
    else than visible ASCII is in it.
    """
    text = unquoted(text)
    if _PLACEHOLDER.fullmatch(text):
        raise UsageError(
            f"{source} is still the placeholder {text} of an example: replace it with your own"
            " value"
        )
    if not all("!" <= character <= "~" for character in text):
        raise UsageError(
            f"{source} contains a space, a line break or a non-ASCII character: copy it again"
        )
    return text


def variable_secret(
    variable: str, environ: Mapping[str, str], source: str, kind: str
) -> Credential:
    """Return the secret, of a kind such as `access token`, that an environment variable contains.

    Raise UsageError if it is missing, or too short to be hidden in texts.
    """
    token = clean(environ.get(variable, ""), f"{source}: the environment variable {variable}")
    if not token:
        raise UsageError(
            f"{source}: the environment variable {variable} is not set: set it to the {kind}"
        )
    if len(token) < MIN_SECRET_CHARACTERS:
        raise UsageError(
            f"{source}: the environment variable {variable} has fewer than {MIN_SECRET_CHARACTERS}"
            f" characters, which is too short for an {kind}: check it"
        )
    return Credential(variable, token)


def unquoted(text: str) -> str:
    """Return a text without the white space and quotes around it, which .env files and copying
    add.
    """
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text


TRANSCRIPTION = "intent", "transcription"
"""The name and value in a query that request a session without replies, which only transcribes."""


@dataclass(frozen=True)
class EntraSignIn:
    """A sign-in without a key: the credential of azure-identity, the scope, and the network path to
    the sign-in host.

    `kind` is default (DefaultAzureCredential), managed_identity, service_principal,
    workload_identity or azure_cli. `authority` is the host of a sovereign cloud. `proxy` is None if
    the environment determines it. `ca` has another authority.
    """

    scope: str
    kind: str = "default"
    authority: str | None = None
    client_id: str | None = None
    tenant_id: str | None = None
    proxy: Proxy | Literal["none"] | None = None
    ca: Path | None = None


Auth = Credential | EntraSignIn | None
"""The way to sign in: by a key, through Entra ID, or None if the target needs no sign-in."""


@dataclass(frozen=True)
class Address:
    """The address and dialect of a target, and messages to show before a run.

    `resource` is the path and query. `zoned` is the IPv6 address of the host with its zone, or
    None.
    """

    host: str
    port: int
    tls: bool
    resource: str = field(repr=False)
    dialect: Dialect
    service: str
    """The name of a service in `bench.services.registry`, or `other`."""
    link: Link = WEBSOCKET
    notices: tuple[str, ...] = ()
    zoned: str | None = None

    @property
    def known_service(self) -> Service | None:
        """The service; None if it is not known by name."""
        return service_named(self.service, self.dialect)

    @property
    def requested_model(self) -> str | None:
        """The name of the model or deployment that the URL requests; None if there is none."""
        path, _, query_text = self.resource.partition("?")
        query = dict(parse_qsl(query_text))
        known = self.known_service
        pattern = None if known is None else known.model_in_path
        found = None if pattern is None else pattern.search(path)
        in_path = None if found is None else unquote(found[1])
        return query.get("deployment") or query.get("model") or in_path

    @property
    def dialect_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that select the dialect."""
        path = self.resource.partition("?")[0].rstrip("/")
        routes = (route for service in SERVICES.values() for route in service.routes)
        return next(
            (
                route.headers
                for route in routes
                if route.dialect is self.dialect
                and (route.path == path or (route.is_unique and route.end_of(path)))
            ),
            (),
        )


@dataclass(frozen=True, kw_only=True)
class Target(Address):
    """A service, and the data that is needed to connect to it, under the `label` of rows and
    reports.

    `headers` are sent with the upgrade, and never stored. `session` has the settings that replace a
    script's settings. `variant_of` is the target from which a variant is derived, `varied` has the
    values of `--vary`, by key.
    """

    label: str
    auth: Auth
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    network_path: NetworkPath = DIRECT
    region: str | None = None
    connect_rate_per_min: float | None = None
    """The maximum number of new connections per minute; 0: no limit; None: that of the service."""
    prices: Prices | None = None
    """The prices; None if they depend on the model that answers."""
    model: str | None = None
    """The name of the model or deployment that is requested."""
    session: Mapping[str, Any] = field(default_factory=dict)
    session_source: str = ""
    """The position of the `session` settings in a file, such as targets.yaml:12. Errors contain
    it."""
    variant_of: str | None = None
    varied: Mapping[str, Any] = field(default_factory=dict)
    subprotocols: tuple[str, ...] = field(default=(), repr=False)
    """The values that are offered in `Sec-WebSocket-Protocol`. They are never stored."""
    secrets: tuple[Credential, ...] = field(default=(), repr=False)
    """Secrets other than the key, which must never be shown: the values of `${NAME}`, and the
    parts of a password."""

    @property
    def loopback(self) -> bool:
        """True if everything that is sent to the target stays on this machine."""
        return not self.far_host

    @property
    def far_host(self) -> str:
        """The first host outside of this machine to which something may be sent; "" if there is
        none.

        A SIP proxy on this machine passes the calls to the host of the URL.
        """
        path = self.network_path
        hosts = [path.address or self.first_hop.host, *([self.host] if path.sip_proxy else [])]
        hosts += [path.proxy.host] if path.proxy is not None else []
        hosts += (host.strip("[]") for host, _ in path.call_hosts)
        hosts += [path.turn.host] if path.turn is not None else []
        return next((host for host in hosts if not is_loopback(host)), "")

    @property
    def first_hop(self) -> CallAddress:
        """The host that gets the first request, unless the network path has another address, and
        the transport.
        """
        if self.link.address_form == "SIP URI":
            return call_address(self.network_path.sip_proxy or self.url)
        return CallAddress(self.host, self.port, "TLS" if self.tls else "TCP")

    @property
    def output(self) -> Literal["transcript"] | None:
        """The output that the address requests; None if none. An agent's query has its own
        meaning.
        """
        query = "" if self.dialect.peer is Peer.AGENT else self.resource.partition("?")[2]
        return ONLY_TRANSCRIPT if requests_transcription(query) else None

    @property
    def script_settings(self) -> Mapping[str, Any]:
        """The settings that replace a script's settings: `session`, and the output that the
        address implies.
        """
        return {"output": self.output, **self.session} if self.output else self.session

    @property
    def settings_source(self) -> str:
        """The origin of `script_settings`, for errors."""
        return self.session_source or (
            f"{self.label}, which only transcribes" if self.output else ""
        )

    def session_mismatch(self, output: str) -> str:
        """Return why this output is impossible here; "" if it is not. People's own servers may
        have both kinds.
        """
        transcribes = output == ONLY_TRANSCRIPT
        if self.output and not transcribes:
            return (
                f"{self.label} only transcribes (intent=transcription): set `output:"
                f" {ONLY_TRANSCRIPT}`"
            )
        is_separate = self.known_service is not None and self.known_service.transcription != "any"
        if transcribes and not self.output and is_separate:
            intent = "with intent=transcription and no model in its query"
            return (
                f"`output: {ONLY_TRANSCRIPT}` needs another address at {self.label}: set `url` to"
                f" one {intent}"
            )
        return ""

    @property
    def terms(self) -> PricingTerms:
        """The terms that determine the price of a turn, as far as they are known before the
        service has answered.
        """
        return PricingTerms(self.model, self.prices, self.dialect.billing, self.dialect.prepaid_s)

    @property
    def url(self) -> str:
        """The URL of a connection. The resource of a telephone is the user, and after an `@` the
        parameters.
        """
        if self.link.address_form == "SIP URI":
            user, _, parameters = self.resource.partition("@")
            return sip_url(user, self.host, self.port, parameters, tls=self.tls)
        scheme = self.link.schemes[self.tls]
        port = "" if self.port == WEB_PORTS[scheme] else f":{self.port}"
        return f"{scheme}://{bracketed(self.host)}{port}{self.resource}"

    def connection_url(self, call_id: str) -> str:
        """Return the URL of one connection. If the target's URL needs an id of the call, it
        contains `call_id`.
        """
        return self.url.replace(CALL_ID, call_id)

    def connection_headers(self, call_id: str) -> list[tuple[str, str]]:
        """Return the headers for an upgrade: the target's, and those of its dialect that the
        target does not set.
        """
        own_names = {name.lower() for name, _ in self.headers}
        provided = self.dialect.upgrade_headers
        headers = (
            *(header for header in provided if header[0].lower() not in own_names),
            *self.headers,
        )
        return [(name, value.replace(CALL_ID, call_id)) for name, value in headers]

    @property
    def public_url(self) -> str:
        """The URL for files and screens, with only the query values of well-known parameters."""
        return masked_query(self.url)

    @property
    def connects_per_min(self) -> float | None:
        """The maximum number of connections that may start per minute; None for no limit."""
        if self.connect_rate_per_min is not None:
            return self.connect_rate_per_min or None
        route = self.known_service.route_of(self.dialect) if self.known_service else None
        return None if route is None or self.loopback else route.connects_per_min


def requests_transcription(query: str) -> bool:
    """Return whether a query requests a session that only transcribes, in which no turn is
    answered.
    """
    return any((name.lower(), value.lower()) == TRANSCRIPTION for name, value in parse_qsl(query))


def sip_url(user: str, host: str, port: int, parameters: str, *, tls: bool) -> str:
    """Return a SIP URI. `parameters` starts with `;`, or is "". TLS is a parameter, or the
    scheme sips.
    """
    scheme = "sips" if tls and ";transport=tls" not in parameters.lower() else "sip"
    return f"{scheme}:{f'{user}@' if user else ''}{authority(host, port)}{parameters}"
