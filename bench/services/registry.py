"""The list of the services. A service is one object in a folder or a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from bench.services import glm, inworld, qwen, stepfun, xai
from bench.services.agents import dialects as agents
from bench.services.azure.service import AZURE
from bench.services.names import DialectName
from bench.services.openai_hosts import HUGGINGFACE, LITELLM, LOCALAI, OPENAI
from bench.services.telephone import dialect as telephone
from bench.wire.dialect import Dialect
from bench.wire.service import WEBSOCKET, Link, Route, Service

SERVICES: Mapping[str, Service] = {
    service.name: service
    for service in (
        *(OPENAI, AZURE, xai.SERVICE, qwen.SERVICE, stepfun.SERVICE, glm.SERVICE, inworld.SERVICE),
        *(LOCALAI, HUGGINGFACE, *agents.SERVICES, telephone.SERVICE, LITELLM),
    )
}
_NAMED = {
    dialect.name: dialect
    for service in SERVICES.values()
    for dialect in (service.dialect, *(route.dialect for route in service.routes))
}
DIALECTS: Mapping[str, Dialect] = {name: _NAMED[name] for name in get_args(DialectName)}
"""The dialects by the names that users type."""


UNKNOWN = Dialect()


def service_at(host: str, path: str) -> Service | None:
    """Return the service at an address; None if it is unknown.

    The host is compared first. If no service has this host, the path is compared.
    """
    by_host = (service for service in SERVICES.values() if service.has_host(host))
    return next(by_host, None) or next((s for s in SERVICES.values() if path.startswith(s.paths)), None)


def service_of_link(link: Link) -> Service:
    """Return the service that is chosen by the kind of connection alone."""
    return next(service for service in SERVICES.values() if link in service.links)


def dialect_of(target: Mapping[str, Any]) -> Dialect:
    """Return the dialect of a target in run.json. If this version does not know it, return one without properties."""
    return DIALECTS.get(target.get("dialect") or "", UNKNOWN)


def link_of(dialect: Dialect) -> Link:
    """Return the kind of connection that a dialect has by default."""
    return next((service.links[0] for service in SERVICES.values() if service.dialect is dialect), WEBSOCKET)


def route_at(path: str) -> Route | None:
    """Return the route at a path, whose host is not known; None if no service has this path."""
    return next((route for service in SERVICES.values() for route in service.routes if route.path == path), None)
