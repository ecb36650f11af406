"""A service and how to reach it, in plain data: what everything else is told of a target."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from bench.pricing import UNLISTED_DIALECTS, Prices, PricingTerms
from bench.protocol.base import CALL_ID, Dialect
from bench.protocol.openai_preview import PREVIEW
from bench.target.credentials import Credential
from bench.transport.interface import DIRECT, NetworkPath, Proxy

Service = str
"""`azure`, a name of `bench.target.services`, or `other`."""
AZURE_PREVIEW_CONNECTS_PER_MIN = 30.0  # its quota counts new connections, tens a minute
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]")
_PUBLIC_QUERY = frozenset(
    {"model", "deployment", "api-version", "call_id", "intent"}
    | {"agent-name", "agent-version", "agent-project-name", "agent_id", "project_id"}
)


@dataclass(frozen=True)
class EntraSignIn:
    """How to sign in without a key: which credential of azure-identity, for which scope, and by which way.

    `kind`: default (the chain of DefaultAzureCredential), managed_identity, service_principal, workload_identity or
    azure_cli. `authority`: the sign-in host of a sovereign cloud, None for the public one. `proxy`: as the target
    says, which may be "none"; None is what the environment says to azure-identity. `ca`: trusted beside the others.
    """

    scope: str
    kind: str = "default"
    authority: str | None = None
    client_id: str | None = None
    tenant_id: str | None = None
    proxy: Proxy | Literal["none"] | None = None
    ca: Path | None = None


Auth = Credential | EntraSignIn | None
"""A key, a sign-in, or nothing."""


@dataclass(frozen=True)
class Target:
    """A service and how to reach it.

    `label` is its name in rows and reports. `resource` is the path and query of the request line. `headers` are sent
    with the upgrade, and stored nowhere. `session`: settings that this target has instead of a script's, where it is a
    variant of `variant_of`. `notices`: what to read before a run.
    """

    label: str
    host: str
    port: int
    tls: bool
    resource: str = field(repr=False)
    dialect: Dialect
    service: Service
    auth: Auth
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    network_path: NetworkPath = DIRECT
    region: str | None = None
    connect_rate_per_min: float | None = None
    """None: the service's default, see `connects_per_min`; 0: no limit."""
    prices: Prices | None = None
    """None: by the model that answers."""
    model: str | None = None
    """The name of the model or deployment that is asked for."""
    session: Mapping[str, Any] = field(default_factory=dict)
    session_source: str = ""
    """Where `session` is written, for errors: targets.yaml:12."""
    variant_of: str | None = None
    subprotocols: tuple[str, ...] = field(default=(), repr=False)
    """What the upgrade offers in `Sec-WebSocket-Protocol`, and stores nowhere."""
    secrets: tuple[Credential, ...] = field(default=(), repr=False)
    """What else must be shown nowhere: what `${NAME}` stood for, and what a password is made of."""
    notices: tuple[str, ...] = ()

    @property
    def loopback(self) -> bool:
        """Whether what is sent stays on this machine."""
        proxy = self.network_path.proxy
        return is_loopback(self.network_path.address or self.host) and (proxy is None or is_loopback(proxy.host))

    @property
    def terms(self) -> PricingTerms:
        """What its turns are priced by before it answers."""
        return PricingTerms(self.model, self.prices, self.dialect.name not in UNLISTED_DIALECTS)

    @property
    def url(self) -> str:
        port = "" if self.port == (443 if self.tls else 80) else f":{self.port}"
        return f"{'wss' if self.tls else 'ws'}://{bracketed(self.host)}{port}{self.resource}"

    def connection_url(self, call_id: str) -> str:
        """The URL of one connection, with its id where the target wants one."""
        return self.url.replace(CALL_ID, call_id)

    def connection_headers(self, call_id: str) -> list[tuple[str, str]]:
        """The headers of one connection's upgrade: its own, and those of its provider that it does not set itself."""
        own = {name.lower() for name, _ in self.headers}
        provided = self.dialect.provider.headers if self.dialect.provider else ()
        every = (*(header for header in provided if header[0].lower() not in own), *self.headers)
        return [(name, value.replace(CALL_ID, call_id)) for name, value in every]

    @property
    def public_url(self) -> str:
        """The URL for files and screens: what its query holds beyond the well-known names might be a secret."""
        address, mark, query = self.url.partition("?")
        return address + mark + "&".join(_masked(part) for part in query.split("&"))

    @property
    def connects_per_min(self) -> float | None:
        """How many connections may start in a minute; None for no limit."""
        if self.connect_rate_per_min is not None:
            return self.connect_rate_per_min or None
        quota = self.service == "azure" and self.dialect is PREVIEW and not self.loopback
        return AZURE_PREVIEW_CONNECTS_PER_MIN if quota else None


def as_label(text: str) -> str:
    """A text in the characters that a label may have."""
    return _NOT_IN_LABELS.sub("_", text)


def bracketed(host: str) -> str:
    """A host as URLs have it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """True for localhost, 127.0.0.0/8 and ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.removesuffix(".") == "localhost"


def _masked(part: str) -> str:
    name, equals, _ = part.partition("=")
    if unquote(name) in _PUBLIC_QUERY or not part:
        return part
    return f"{name}=***" if equals else "***"
