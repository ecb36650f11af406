"""The list of the services, each one object in a file or folder of its own, and the dialects that
are confused. Pure.

GA and preview have the same addresses. The service's error messages, and the form of its session,
show a wrong dialect.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from bench.base.errors import UsageError
from bench.catalogue.model_retirements import Retirement
from bench.catalogue.outcomes import UNFINISHED, parsed
from bench.catalogue.pricing import undated
from bench.files.yaml_file import PythonValue, read_yaml
from bench.services import (
    agents,
    azure,
    foundry,
    glm,
    inworld,
    qwen,
    stepfun,
    telephone,
    vllm_omni,
    voice_live,
    xai,
)
from bench.services.azure import PREVIEW_ROUTE
from bench.services.deepgram import dialect as deepgram
from bench.services.gemini import service as gemini
from bench.services.gpt_live import dialect as gpt_live
from bench.services.gpt_live.track import LIVE_TRACKS
from bench.services.names import NAMES
from bench.services.nova_sonic import dialect as nova_sonic
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.services.openai.track import GA_TRACKS
from bench.services.openai_hosts import HUGGINGFACE, LITELLM, LOCALAI, OPENAI
from bench.services.pages.dialect import PageDialect
from bench.services.pages.files import dialect_in, service_of
from bench.services.translation import dialect as translation
from bench.wire.audio import PCM16
from bench.wire.dialect import Dialect, Peer
from bench.wire.service import WEBSOCKET, Link, Route, Service, Tracks

ADDED_ROUTES = (
    voice_live.ROUTES,
    gpt_live.ROUTES,
    translation.ROUTES,
    foundry.ROUTES,
    foundry.LIVE_ROUTES,
)
"""The routes of products that several services have, by the names of the services."""


def _with_routes(service: Service) -> Service:
    added = [routes[service.name] for routes in ADDED_ROUTES if service.name in routes]
    return replace(service, routes=(*service.routes, *added)) if added else service


# All that the rest of the tool knows of services goes through this list. A new service adds one
# line here, and no condition anywhere: what differs is data of its `Service`, or an attribute of
# its dialect. Addresses are compared in this order.
SERVICES: Mapping[str, Service] = {
    service.name: _with_routes(service)
    for service in (
        OPENAI,
        azure.AZURE,
        xai.SERVICE,
        qwen.SERVICE,
        stepfun.SERVICE,
        glm.SERVICE,
        inworld.SERVICE,
        *gemini.SERVICES,
        deepgram.SERVICE,
        nova_sonic.SERVICE,
        LOCALAI,
        HUGGINGFACE,
        vllm_omni.SERVICE,
        *agents.SERVICES,
        telephone.SERVICE,
        LITELLM,
    )
}
AZURE = SERVICES[azure.AZURE.name]


_NAMED = {
    dialect.name: dialect
    for service in SERVICES.values()
    for dialect in (service.dialect, *(route.dialect for route in service.routes))
}
TRACKS: Mapping[Dialect, Tracks] = {
    GA: GA_TRACKS,
    gpt_live.GPT_LIVE: LIVE_TRACKS,
    **agents.TRACKS,
    **telephone.TRACKS,
}
"""The dialects that have the events of calls, too, each with the dialects of such calls."""
_NAMED |= {dialect.name: dialect for tracks in TRACKS.values() for dialect in tracks.dialects}
DIALECTS: Mapping[str, Dialect] = {name: _NAMED[name] for name in NAMES}
"""The dialects by the names that users type."""

UNKNOWN = Dialect()
PUBLIC_CLOUD = next(cloud for service in SERVICES.values() for cloud in service.clouds.values())
"""The cloud of Entra ID whose tokens are used if the address names no other."""


def service_at(host: str, path: str) -> Service | None:
    """Return the service at an address, or None. Hosts precede paths, except if its customers
    have own hosts.
    """
    services = SERVICES.values()
    by_path = [service for service in services if service.has_path(path)]
    by_host = [service for service in services if service.has_host(host)]
    hosted = [service for service in (*by_host, *by_path) if not service.url]
    return next(iter((*hosted, *by_host, *by_path)), None)


def dialect_of(target: Mapping[str, Any]) -> Dialect:
    """Return the dialect of a target in run.json. If this version does not know it, return one
    without properties.
    """
    if content := target.get("protocol"):
        return _stored_dialect(msgspec.json.encode(content))
    return DIALECTS.get(target.get("dialect") or "", UNKNOWN)


def logged_dialect(about: Mapping[str, Any]) -> Dialect:
    """Return the dialect of a session in a log. Raise KeyError if this version does not know it."""
    dialect = dialect_of(about)
    if dialect is UNKNOWN:
        raise KeyError(about.get("dialect"))
    return dialect


@cache
def _stored_dialect(content: bytes) -> Dialect:
    try:
        return dialect_in(PythonValue("protocol", msgspec.json.decode(content)))
    except UsageError:
        return UNKNOWN


def user_service(path: Path) -> Service:
    """Return the service of a protocol file. Raise ScriptError with the place of a mistake."""
    file = read_yaml(path, "the file")
    dialect = dialect_in(file)
    if dialect.name in DIALECTS:
        raise file.nearest("protocol").refuse(
            f"must not be {dialect.name}, which this tool has: choose another name"
        )
    return service_of(dialect)


def service_named(name: str, dialect: Dialect) -> Service | None:
    """Return the service with a name, or that of a user's protocol file; None if it is neither."""
    if isinstance(dialect, PageDialect) and dialect.content is not None:
        return service_of(dialect)
    return SERVICES.get(name)


def own_formats(dialect: Dialect) -> set[str]:
    """Return the keys of the formats that cannot be PCM16 of 24 kHz, the default of the Realtime
    API.
    """
    formats = {"input_format": dialect.input_formats, "output_format": dialect.output_formats}
    return {key for key, known in formats.items() if PCM16.name not in known}


def retirement_of(service: str, model: str) -> Retirement | None:
    """Return the retirement of a model, by the name that the service reports; None if no
    retirement is known.
    """
    models = SERVICES[service].retirements if service in SERVICES else {}
    return models.get(model) or models.get(undated(model))


def links_of(dialect: Dialect) -> tuple[Link, ...]:
    """Return the kinds of connections that a dialect has. The first one is the default."""
    having = (
        service
        for service in SERVICES.values()
        if service.dialect is dialect or service.route_of(dialect)
    )
    return tuple(dict.fromkeys(link for service in having for link in service.links)) or (
        WEBSOCKET,
    )


def link_at(scheme: str, service: Service | None, dialect: Dialect) -> Link | None:
    """Return the kind of connection of a URL. The links of its service come before the others of
    its dialect.

    Return None if the dialect has none with this scheme.
    """
    links = links_of(dialect)
    own = [link for link in service.links if link in links] if service else []
    return next((link for link in (*own, *links) if scheme in link.schemes), None)


def scope_of(dialect: Dialect) -> str:
    """Return the scope of a dialect's tokens in the public cloud; "" if it is that of the cloud."""
    routes = (
        route
        for service in SERVICES.values()
        for route in service.routes
        if route.dialect is dialect
    )
    return next((route.scope for route in routes if route.scope), "")


def agent_dialects(path: str) -> list[str]:
    """Return the dialects of the agents that may have this path, which no realtime service has."""
    return [
        agent.name
        for agent in agents.AGENTS
        if re.search(agent.page.path or "$^", path, re.IGNORECASE)
    ][:1] or [agent.name for agent in agents.AGENTS]


def simulated_agent(path: str) -> Dialect | None:
    """Return the dialect of the simulator's agent at a path; None if the path is that of no
    agent.
    """
    dialect = DIALECTS.get(path.removeprefix(agents.SIMULATED_PATH))
    is_agent = (
        path.startswith(agents.SIMULATED_PATH)
        and dialect is not None
        and dialect.peer is Peer.AGENT
    )
    return dialect if is_agent else None


def route_at(path: str) -> Route | None:
    """Return the route at a path, whose host is not known; None if no service has this path."""
    routes = (route for service in SERVICES.values() for route in service.routes)
    return next((route for route in routes if route.pattern.fullmatch(path)), None)


def known_path(path: str) -> str:
    """Return a path without the prefix of a gateway, such as Azure API Management, if its end
    identifies a service.
    """
    unique = (route for service in SERVICES.values() for route in service.routes if route.is_unique)
    ends = (route.end_of(path) for route in (*AZURE.routes, *unique))
    return max(ends, key=len) or path


def plain_path(path: str) -> str:
    """Return a path without repeated slashes, which some SDKs send, and without a slash at its
    end.
    """
    return re.sub("/{2,}", "/", path).rstrip("/")


OWN_PARAMETERS: dict[Dialect, tuple[str, ...]] = {
    GA: ("type", "audio", "output_modalities"),
    PREVIEW: (
        "modalities",
        "voice",
        "input_audio_format",
        "output_audio_format",
        "input_audio_transcription",
        "input_audio_noise_reduction",
        "turn_detection",
        "temperature",
        "max_response_output_tokens",
    ),
}
"""For each dialect, the top-level keys of a request's `session` or `response` that only this
dialect has."""
OWN_SHAPE: dict[Dialect, tuple[str, ...]] = {
    GA: ("output_modalities", "audio"),
    PREVIEW: ("modalities", "input_audio_format", "output_audio_format"),
}
"""For each dialect, the top-level keys of a service's `session` object that only this dialect
has."""
UNGREETED: Mapping[str, Any] = MappingProxyType({})
"""The session object if the service has not described its session."""
OTHER_CAUSES = UNFINISHED | {"ok", "throttled", "session_expired"}
"""The outcomes that a wrong dialect never causes. The text after the colon of an outcome is left
out."""
DIALECT_REMEDIES: dict[Dialect, str] = {
    GA: (
        "the service uses the GA dialect: use --dialect ga. This tool uses preview if --dialect, a"
        f" target's `dialect` or OPENAI_API_VERSION sets it, or if the path is {PREVIEW_ROUTE.path}"
    ),
    PREVIEW: (
        "the service uses the preview dialect: use --dialect preview. This tool uses GA if"
        " --dialect or a target's `dialect` sets it, if OPENAI_API_VERSION is not set, and for"
        f" other paths than {PREVIEW_ROUTE.path}"
    ),
}
"""The remedies if the client uses the wrong dialect, by the dialect that the service uses."""
SIBLINGS: dict[Dialect, Dialect] = {GA: PREVIEW, PREVIEW: GA}
"""For each dialect, the dialect with which it is easily confused, because both have the same
addresses."""
_PARAMETER = re.compile(r"'(?:session|response)\.(\w+)")


def shape_of(session: Mapping[str, Any]) -> Dialect | None:
    """Return the dialect in which a service described its session; None if the form fits both
    dialects, or neither.
    """
    shapes = [
        dialect for dialect, names in OWN_SHAPE.items() if any(name in session for name in names)
    ]
    return shapes[0] if len(shapes) == 1 else None


def dialect_remedy(
    outcome: str, message: str, dialect: Dialect, greeting: Mapping[str, Any] = UNGREETED
) -> str:
    """Return the remedy if the client's wrong dialect caused the outcome; otherwise "".

    `message` is the service's text, and `greeting` the session object in `session.created`.
    """
    other = SIBLINGS.get(dialect)
    if other is None:
        return ""
    family, code, _ = parsed(outcome)
    is_confused = family not in OTHER_CAUSES and shape_of(greeting) is other
    match code:
        case "dialect":
            is_confused = True
        case "missing_required_parameter":
            is_confused |= dialect is PREVIEW and "'session.type'" in message
        case "unknown_parameter" if match := _PARAMETER.search(message):
            is_confused |= match[1] in OWN_PARAMETERS[dialect]
    return DIALECT_REMEDIES[other] if is_confused else ""
