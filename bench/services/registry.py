"""The list of the services. A service is one object in a folder or a file of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from bench.catalogue.model_retirements import Retirement
from bench.catalogue.pricing import undated
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
PUBLIC_CLOUD = next(cloud for service in SERVICES.values() for cloud in service.clouds.values())
"""The cloud of Entra ID whose tokens are used if the address names no other."""


def service_at(host: str, path: str) -> Service | None:
    """Return the service at an address, or None. Hosts precede paths, except if its customers have own hosts."""
    services = SERVICES.values()
    by_path = [service for service in services if service.has_path(path)]
    by_host = [service for service in services if service.has_host(host)]
    hosted = [service for service in (*by_host, *by_path) if not service.url]
    return next(iter((*hosted, *by_host, *by_path)), None)


def service_of_link(link: Link) -> Service:
    """Return the service that is chosen by the kind of connection alone."""
    return next(service for service in SERVICES.values() if link in service.links)


def dialect_of(target: Mapping[str, Any]) -> Dialect:
    """Return the dialect of a target in run.json. If this version does not know it, return one without properties."""
    return DIALECTS.get(target.get("dialect") or "", UNKNOWN)


def retirement_of(service: str, model: str) -> Retirement | None:
    """Return the retirement of a model, by the name that the service reports; None if no retirement is known."""
    models = SERVICES[service].retirements if service in SERVICES else {}
    return models.get(model) or models.get(undated(model))


def link_of(dialect: Dialect) -> Link:
    """Return the kind of connection that a dialect has by default."""
    return next((service.links[0] for service in SERVICES.values() if service.dialect is dialect), WEBSOCKET)


def scope_of(dialect: Dialect) -> str:
    """Return the scope of a dialect's tokens in the public cloud; "" if it is that of the cloud."""
    routes = (route for service in SERVICES.values() for route in service.routes if route.dialect is dialect)
    return next((route.scope for route in routes if route.scope), "")


def agent_dialects(path: str) -> list[str]:
    """Return the dialects of the agents that may have this path, which no realtime service has."""
    return [agent.name for agent in agents.AGENTS if re.search(agent.usual_path, path, re.IGNORECASE)][:1] or [
        agent.name for agent in agents.AGENTS
    ]


def route_at(path: str) -> Route | None:
    """Return the route at a path, whose host is not known; None if no service has this path."""
    return next((route for service in SERVICES.values() for route in service.routes if route.path == path), None)
