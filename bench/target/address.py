"""The address, dialect, headers and subprotocols of a target, as its settings specify them. Pure.

The address and dialect come from the endpoint of an Azure resource, or from a complete URL.

The addresses, queries and headers of each service are those of Azure's and OpenAI's reference of
the Realtime API. The variables in settings are filled here, too. The value of a `${NAME}` is not
stored.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from bench.catalogue.causes import Cause, Code
from bench.catalogue.outcomes import NONE
from bench.files.sanitize import excerpt
from bench.files.validation import either
from bench.services.azure import GA_ROUTE, NO_API_VERSIONS, PREVIEW_ROUTE
from bench.services.registry import (
    AZURE,
    DIALECTS,
    SERVICES,
    agent_dialects,
    known_path,
    link_at,
    links_of,
    plain_path,
    route_at,
    service_at,
    simulated_agent,
)
from bench.target.sip_uri import host_text, sip_uri
from bench.target.target import (
    MIN_SECRET_CHARACTERS,
    Address,
    Credential,
    clean,
    requests_transcription,
)
from bench.target.target_settings import KeyNames, SettingError, TargetSettings
from bench.transport.challenges import TOKEN_CHARACTER
from bench.transport.interface import WEB_PORTS
from bench.wire.addresses import UNSPECIFIED, is_host_name, is_loopback
from bench.wire.dialect import CALL_ID, Dialect, Peer
from bench.wire.service import SIP, Route, Service

EXAMPLE_TRANSCRIPTION = f"wss://HOST{GA_ROUTE.path}?intent=transcription"
EXAMPLE_URL = f"wss://HOST{GA_ROUTE.path}?model=DEPLOYMENT"
EXAMPLE_ENDPOINT = "https://RESOURCE.openai.azure.com"
EXAMPLE_GATEWAY = "https://GATEWAY/PREFIX"

_BARE_HOST = re.compile(r"(?:https|wss)://([^/?#@:]+)/?", re.IGNORECASE)
_SECRET_QUERY = re.compile(r"(key|token|secret|password|authorization)$")


# A user gives an endpoint of Azure, from which the URL is made (`endpoint_address`), a complete
# URL, which is never changed (`url_address`), or a SIP URI (`telephone_address`). What a URL does
# not state is found in this order, and the first answer counts:
#
#   service   the setting `service`; else the one that has this host, or this path
#   dialect   the setting `dialect`; else the agent of our simulator, on this machine; else that
#             of the service, unless it is the usual one; else that of the path; else GA
#   link      by the scheme, among those of the service and the dialect
#
# What certainly fails, or would send a key in the open, is an error. What probably is a mistake is
# a notice, because services change their hosts, paths and versions more often than this tool does.
def endpoint_address(
    endpoint: str, deployment: str, settings: TargetSettings, names: KeyNames
) -> Address:
    """Return the address of a deployment in an Azure resource. Raise SettingError."""
    source = names["endpoint"]

    def refuse(problem: str) -> SettingError:
        return SettingError("endpoint", f"{source} {problem}")

    if "://" not in endpoint:
        raise refuse(f"has no scheme: begin it with https://, e.g. {EXAMPLE_ENDPOINT}")
    parts = split_url(endpoint, "endpoint", source)
    if parts.scheme in ("http", "ws") and not is_loopback(parts.hostname or ""):
        raise refuse(
            "must begin with https://: otherwise the key or token is sent without encryption"
        )
    if parts.scheme not in ("https", "wss", "http", "ws"):
        raise refuse(f"must begin with https://, e.g. {EXAMPLE_ENDPOINT}")
    if requests_transcription(parts.query):
        raise refuse(
            f"must end before the `?`; for transcription set {names['url']}, e.g."
            f" {EXAMPLE_TRANSCRIPTION}"
        )
    if parts.query:
        raise refuse(
            f"must end before the `?`, e.g. {EXAMPLE_ENDPOINT}; for a complete URL use"
            f" {names['url']}"
        )
    path = parts.path.rstrip("/")
    is_ga = path.endswith("/openai/v1")
    is_resource = AZURE.has_host(parts.hostname or "")
    prefix = path.removesuffix("/openai/v1" if is_ga or is_resource else "/openai").rstrip("/")
    if prefix and is_resource:
        for_url = f"for a complete URL use {names['url']}"
        example = f"e.g. {EXAMPLE_ENDPOINT}"
        raise refuse(f"has the path {parts.path}: end it after the host, {example}; {for_url}")
    if "/openai/" in f"{prefix}/" or prefix.endswith("/realtime"):
        raise refuse(
            f"must end before /openai, e.g. {EXAMPLE_GATEWAY}; for a complete URL use"
            f" {names['url']}"
        )
    version = settings.api_version or ""
    requested_dialect = None if settings.dialect is None else DIALECTS[settings.dialect]
    if requested_dialect is None and version and is_ga:
        raise SettingError(
            "api_version",
            f"{source} ends in /openai/v1 (GA) but {names['api_version']} is set (preview): unset "
            f"{names['api_version']}, or remove /openai/v1 from {source}",
        )
    dialect = requested_dialect or (PREVIEW_ROUTE if version else GA_ROUTE).dialect
    route = AZURE.route_of(dialect) or GA_ROUTE
    if not route.needs:
        remedy = (
            f"set {names['url']} to wss://HOST{route.path}, and `model` in the session's settings"
        )
        raise refuse(f"has no {route.title}: {remedy}")
    refuse_agent(dialect, names)
    notices = _azure_notices(route, dialect, version, is_ga, names)
    dated = {"api-version": version or route.versions[0]} if route.versions else {}
    # `model` is the name of the deployment on Azure GA, and the name of the model at Voice Live
    resource = f"{prefix}{route.path}?{urlencode(dated | {route.needs[0]: deployment})}"
    return _address(
        parts, resource, dialect, AZURE, notices + _host_notices(parts, dialect, source)
    )


def refuse_agent(dialect: Dialect, names: KeyNames) -> None:
    """Raise SettingError for the dialect of an agent, because Azure has no agents."""
    if dialect.peer is Peer.AGENT:
        link = links_of(dialect)[0]
        remedy = f"set {names['url']} to its {link.address_form}, e.g. {link.example}"
        raise SettingError(
            "dialect", f"{names['dialect']} {dialect.name} is for an agent: {remedy}"
        )


def url_address(
    url: str, settings: TargetSettings, names: KeyNames, described: Service | None = None
) -> Address:
    """Return the address of any server that uses a known dialect, or that of the `described`
    service. Its URL is not changed. Raise SettingError.
    """
    source = names["url"]

    def refuse(problem: str) -> SettingError:
        return SettingError("url", f"{source} {problem}")

    if url.lower().startswith(tuple(f"{scheme}:" for scheme in (*SIP.schemes, "tel"))):
        return telephone_address(url, settings, names)
    links = dict.fromkeys(link for service in SERVICES.values() for link in service.links)
    if bare := _bare_resource(url, names):
        raise refuse(bare)
    if not url.lower().startswith(
        tuple(f"{scheme}://" for link in links for scheme in link.schemes)
    ):
        raise refuse(f"must begin with wss://, or with ws:// to this machine, e.g. {EXAMPLE_URL}")
    parts = split_url(url, "url", source)
    host = parts.hostname or ""
    own_path = plain_path(parts.path)
    path = known_path(own_path)
    schemes = next((link.schemes for link in links if parts.scheme == link.schemes[0]), None)
    if schemes is not None and not is_loopback(host):
        local = f"{schemes[0]}:// is for servers on this machine (localhost, 127.0.0.1, ::1)"
        raise refuse(f"must begin with {schemes[1]}://: {local}")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if is_secret(name) and value != CALL_ID and not is_variable(value):
            remedy = (
                f"set {names['api_key_env']} to the name of its variable, or write {name}=${{NAME}}"
                " with that name"
            )
            raise refuse(f"contains a key in its query, which would be written to files: {remedy}")
    known = described or (
        SERVICES[settings.service] if settings.service else service_at(host, path)
    )
    route = route_at(path)
    default = GA_ROUTE.dialect
    # services with the GA dialect may also have the path of another one, as OpenAI has that of
    # GPT-Live
    own = (
        known.dialect
        if known and known.dialect is not default
        else route.dialect
        if route
        else default
    )
    simulated = simulated_agent(path) if is_loopback(host) else None
    set_dialect = DIALECTS[settings.dialect] if settings.dialect else None
    if described is not None:
        set_dialect = described.dialect
    dialect = set_dialect or simulated or own
    link = link_at(parts.scheme, known, dialect)
    if link is None:
        raise refuse(_wrong_scheme(parts, dialect, settings, names))
    if dialect.peer is Peer.SERVICE:  # an agent's query has its own meaning
        check_transcription(parts.query, dialect, known, source)
    is_behind_gateway = path != own_path
    notices = _query_notices(
        route, dict(parse_qsl(parts.query)), source, may_lack_model=is_behind_gateway
    )
    if (
        set_dialect is None
        and simulated is None
        and route is None
        and (known is None or not known.url)
    ):
        key = names["dialect"]
        others = (
            f"for an agent set {key} {either(agent_dialects(path))}, for preview set {key} preview"
        )
        notices += (
            f"the path {parts.path} does not determine the dialect, so ga is used: {others}",
        )
    if not path and dialect.peer is Peer.SERVICE and described is None:
        raise refuse(f"needs the path of a realtime service, e.g. {EXAMPLE_URL}")
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    notices += _host_notices(parts, dialect, source)
    return replace(_address(parts, resource, dialect, known, notices), link=link)


def _bare_resource(url: str, names: KeyNames) -> str:
    """Return the problem with a URL that is only the host of an Azure resource; "" if it is
    another one.
    """
    found = _BARE_HOST.fullmatch(url)
    if found is None or not AZURE.has_host(found[1]):
        return ""
    complete = f"wss://{found[1]}{GA_ROUTE.path}?model=DEPLOYMENT"
    remedy = f"set {names['endpoint']} to https://{found[1]}, or {names['url']} to {complete}"
    return f"is an Azure resource without a path: {remedy}"


def _wrong_scheme(
    parts: SplitResult, dialect: Dialect, settings: TargetSettings, names: KeyNames
) -> str:
    """Return the problem with a URL whose scheme the dialect does not have."""
    usual = links_of(dialect)[0]
    scheme = usual.schemes[0 if is_loopback(parts.hostname or "") else 1]
    if usual.address_form != "URL":
        reason = f"because the dialect {dialect.name} is for {usual.peers}"
        return f"must be a {usual.address_form}, {reason}, e.g. {usual.example}"
    problem = f"must begin with {scheme}://, not {parts.scheme}://"
    for key in ("dialect", "transport", "service"):
        if set_to := getattr(settings, key):
            return f"{problem}, with {names[key]} {set_to}"
    agents = [
        name
        for name, other in DIALECTS.items()
        if other.peer is Peer.AGENT
        and any(parts.scheme in link.schemes for link in links_of(other))
    ]
    if route_at(known_path(plain_path(parts.path))) or not agents:
        return problem
    return f"{problem}; for an agent set {names['dialect']} {either(agents)}"


def telephone_address(url: str, settings: TargetSettings, names: KeyNames) -> Address:
    """Return the address of an agent that is called by telephone. Raise SettingError."""
    if url.lower().startswith("tel:"):
        example = f"sip:{url[4:].partition(';')[0]}@{host_text(settings.proxy or '') or 'HOST'}"
        raise SettingError(
            "url",
            f"{names['url']} is a telephone number: write it with its SIP server, as {example}",
        )
    uri = sip_uri(url, "url", names)
    service = next(service for service in SERVICES.values() if SIP in service.links)
    for key, name in (("service", settings.service), ("dialect", settings.dialect)):
        if name not in (None, service.name):
            problem = (
                f"is a telephone, but {names[key]} is {name}: set {names[key]} to {service.name}"
            )
            raise SettingError("url", f"{names['url']} {problem}")
    if settings.dial is not None and (uri.host in UNSPECIFIED or uri.tls or uri.parameters):
        raise SettingError(
            "url", f"{names['url']} must be sip: with an IP address of this machine, over UDP"
        )
    resource = f"{uri.user}@{uri.parameters}"
    notices = uri.notices(names["url"])
    return Address(
        uri.host,
        uri.port,
        uri.tls,
        resource,
        service.dialect,
        service.name,
        SIP,
        notices,
        uri.address,
    )


def check_transcription(query: str, dialect: Dialect, service: Service | None, source: str) -> None:
    """Raise SettingError if a query requests a session that only transcribes, and the service
    has none like this.
    """
    if not requests_transcription(query):
        return
    if not dialect.transcribers:
        problem = f"a session that only transcribes, which the {dialect.name} dialect does not have"
        raise SettingError(
            "url",
            f"{source} has intent=transcription: {problem}; remove it, or set the dialect to ga",
        )
    if (
        service
        and service.transcription == "separate, without a model"
        and "model" in dict(parse_qsl(query))
    ):
        refusal = f"{service.title} refuses a model with intent=transcription"
        problem = f"{refusal}: remove it, and name it in `input_transcription`"
        raise SettingError("url", f"{source} names a model, but {problem}")


def with_model(url: str, model: str) -> str | None:
    """Return a URL with another model (or deployment) in its query or path; None if it names no
    model.
    """
    address, _, query = url.partition("?")
    patterns = (service.model_in_path for service in SERVICES.values())
    if found := next(filter(None, (each.search(address) for each in patterns if each)), None):
        start, end = found.span(1)
        return f"{address[:start]}{quote(model, safe='')}{url[end:]}"
    pairs = [pair.partition("=") for pair in query.split("&")]
    if not any(name in ("model", "deployment") for name, _, _ in pairs):
        return None
    replaced = (
        urlencode({name: model}) if name in ("model", "deployment") else f"{name}{equals}{value}"
        for name, equals, value in pairs
    )
    return f"{address}?{'&'.join(replaced)}"


def _azure_notices(
    route: Route, dialect: Dialect, version: str, endpoint_is_ga: bool, names: KeyNames
) -> tuple[str, ...]:
    source = names["api_version"]
    dialect_text = f"{names['dialect']} {dialect.name} is set"
    if not route.versions:
        return (
            (f"{source} is ignored: {dialect_text}, and GA has no api-version",) if version else ()
        )
    ignored = (
        (f"/openai/v1 in {names['endpoint']} is ignored: {dialect_text}",) if endpoint_is_ga else ()
    )
    if not version:
        return (*ignored, f"{source} is not set: using {route.versions[0]}")
    return ignored + _version_notices(version, route.path, route.versions, "api_version", source)


def _version_notices(
    version: str, path: str, known: Sequence[str], key: str, source: str
) -> tuple[str, ...]:
    if what := NO_API_VERSIONS.get(version):
        remedy = f"use {' or '.join(known)}; for GA, which has none, remove it"
        raise SettingError(key, f"{source} is {version}, which is {what}: {remedy}")
    return (
        ()
        if version in known
        else (f"{source} is {version}; the known versions of {path} are {' and '.join(known)}",)
    )


def _host_notices(parts: SplitResult, dialect: Dialect, source: str) -> tuple[str, ...]:
    """Return a notice if the host is not the right one for this dialect."""
    host = (parts.hostname or "").removesuffix(".")
    route = AZURE.route_of(dialect)
    if route is None:
        return ()
    return tuple(
        f"the host of {route.title} is {host.removesuffix(end)}{own}, not {host}: set {source}"
        " to it"
        for end, own in route.other_hosts.items()
        if host.endswith(end)
    )


def _query_notices(
    route: Route | None, query: Mapping[str, str], source: str, *, may_lack_model: bool
) -> tuple[str, ...]:
    """Return notices about likely mistakes in a known path's query. Raise SettingError if it is
    certainly wrong.
    """
    if route is None:
        return ()
    required_names = () if requests_transcription(urlencode(query)) else route.needs
    path = route.path
    if required_names and not may_lack_model and not any(name in query for name in required_names):
        remedy = f"add ?{required_names[0]}=NAME (or &{required_names[0]}=NAME)"
        raise SettingError("url", f"{source} must name the model at {path}: {remedy}")
    for parameter, reason in route.refused.items():
        if parameter in query.items():
            raise SettingError("url", f"{source} has {'='.join(parameter)}, {reason}")
    version = query.get("api-version")
    if route.versions is None:
        return ()
    if not route.versions:
        return (
            (f"Azure refuses an api-version at {path} (401): remove it from {source}",)
            if version
            else ()
        )
    if not version:
        return (
            (
                f"Azure requires an api-version at {path}: add &api-version={route.versions[0]} to"
                f" {source}"
            ),
        )
    return _version_notices(version, path, route.versions, "url", f"api-version in {source}")


REFUSES_VERSION = (400, 401, 404)


def other_version(status: int | None, resource: str) -> list[Cause]:
    """Return the api-version in the path and query of a request that was refused, if the path does
    not have it; no cause otherwise. The service reads a key before an api-version that it needs.
    """
    path, _, query = resource.partition("?")
    route = route_at(known_path(plain_path(path)))
    if route is None or route.versions is None or status not in REFUSES_VERSION:
        return []
    version = dict(parse_qsl(query)).get("api-version", NONE)
    known = " or ".join(route.versions) or NONE
    is_known = version in (route.versions or (NONE,))
    if is_known or (status == 401 and route.versions):
        return []
    return [Cause(Code.OTHER_VERSION, {"version": excerpt(version), "known": known})]


def _address(
    parts: SplitResult,
    resource: str,
    dialect: Dialect,
    service: Service | None,
    notices: tuple[str, ...],
) -> Address:
    tls = parts.scheme in ("https", "wss")
    port = parts.port or WEB_PORTS[parts.scheme]
    name = service.name if service else "other"
    return Address(parts.hostname or "", port, tls, resource, dialect, name, notices=notices)


_PLACEHOLDER = re.compile(
    r"^(ACCOUNT|GATEWAY|HOST|RESOURCE|VAULT)(-[A-Z0-9]+)?(?=[.:]|$)|\bOWNER\b"
)
"""The hosts in examples of the documents and messages. Real hosts are rarely written in upper
case."""


def has_placeholder(url: str) -> bool:
    """Return whether the host of a URL is still that of an example."""
    try:
        return _PLACEHOLDER.search(urlsplit(url).netloc) is not None
    except ValueError:  # such a URL is refused for what is wrong
        return False


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_BARE_VARIABLE = re.compile(r"\$([A-Z][A-Z0-9_]*)")


def url_parts(text: str, key: str, source: str) -> tuple[SplitResult, int | None]:
    """Return (the parts of a URL, its port).

    Raise SettingError for the setting `key`, which the message calls `source`, if it is not a URL.
    """
    wrong = next((character for character in text if not "!" <= character <= "~"), None)
    if wrong is not None:
        shown = {" ": "a space", "\t": "a tab", "\n": "a line break"}.get(
            wrong, f"the character {wrong!a}"
        )
        remedy = f"remove it, or write {quote(wrong)}" if wrong.isprintable() else "remove it"
        raise SettingError(key, f"{source} contains {shown}, which a URL cannot have: {remedy}")
    try:
        parts = urlsplit(text)
        return parts, parts.port
    except ValueError:  # the exception's text may quote a password
        raise SettingError(
            key, f"{source} is not a URL, or its port is not from 1 to 65535"
        ) from None


def split_url(text: str, key: str, source: str) -> SplitResult:
    """Return the parts of a URL that is safe for sockets and request lines, without a password.
    Raise SettingError.
    """
    parts, port = url_parts(text, key, source)
    if port == 0:
        raise SettingError(key, f"{source} has port 0: name the port of the service")
    if "@" in parts.netloc:
        raise SettingError(
            key, f"{source} contains a user or password, which would be written to files: remove it"
        )
    if parts.fragment:
        raise SettingError(key, f"{source} must end before the `#`")
    if "${" in parts.netloc:
        problem = "has a variable before its path, where none is filled in: write the host"
        raise SettingError(key, f"{source} {problem}")
    if placeholder := _PLACEHOLDER.search(parts.netloc):
        problem = f"still has the placeholder {placeholder[0]} of an example"
        raise SettingError(key, f"{source} {problem}: write the name of your resource or server")
    if not is_host(parts):
        raise SettingError(
            key, f"{source} has an invalid host name: set it to the name of your resource or server"
        )
    return parts


def is_host(parts: SplitResult) -> bool:
    """Return whether the host of a URL is possible: it is an IPv6 address or a name."""
    host = parts.hostname or ""
    if "[" not in parts.netloc:
        return is_host_name(host)
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def percent_encoded(text: str) -> str:
    return quote(text, safe="")


def is_secret(parameter: str) -> bool:
    """Return whether a parameter of a query contains a key, by its name."""
    return _SECRET_QUERY.search(parameter.lower()) is not None


def is_variable(text: str) -> bool:
    """Return whether a text is one variable, `${NAME}`, and nothing else."""
    return _VARIABLE.fullmatch(text) is not None


def check_references(text: str, key: str, source: str) -> None:
    """Check that each `${` begins a variable, and that a URL has no `$NAME`. Raise SettingError."""
    if "${" in _VARIABLE.sub("", text):
        problem = "has ${ without a name (A-Z a-z 0-9 _) and } after it: write ${NAME}"
        raise SettingError(key, f"{source} {problem}")
    if key == "url" and (bare := _BARE_VARIABLE.search(text)) is not None:
        remedy = f"write ${{{bare[1]}}}"
        raise SettingError(key, f"{source} has {bare[0]}, which is not filled in: {remedy}")


def fill_variables(
    text: str,
    environ: Mapping[str, str],
    key: str,
    source: str,
    *,
    encode: Callable[[str], str] = str,
) -> tuple[str, tuple[Credential, ...]]:
    """Return (a text with the encoded values of its variables, these values). Raise SettingError.

    Only values that are long enough are returned: they are secrets, which are never shown.
    """
    check_references(text, key, source)
    values = {
        name: clean(environ.get(name, ""), f"a variable in {source}")
        for name in _VARIABLE.findall(text)
    }
    if not all(values.values()):
        raise SettingError(
            key,
            f"{source} uses a variable that is not set: ${{NAME}} is the environment variable NAME",
        )
    sent = {name: encode(value) for name, value in values.items()}
    secrets = {
        value for value in (*values.values(), *sent.values()) if len(value) >= MIN_SECRET_CHARACTERS
    }
    return _VARIABLE.sub(lambda match: sent[match[1]], text), tuple(
        Credential(key, value) for value in sorted(secrets)
    )


# Headers and subprotocols.

OF_SIGN_IN = frozenset({"authorization", "api-key"})
"""The headers that only the sign-in may set."""
OF_UPGRADE = frozenset({"host", "connection", "upgrade", "content-length", "transfer-encoding"})
"""The headers that only the WebSocket upgrade may set, as all headers that start with `sec-`."""
OF_SIP = frozenset(
    {
        "via",
        "v",
        "from",
        "f",
        "to",
        "t",
        "call-id",
        "i",
        "cseq",
        "contact",
        "m",
        "route",
        "record-route",
        "max-forwards",
        "content-type",
        "c",
        "content-length",
        "l",
        "content-encoding",
        "e",
        "content-disposition",
        "allow",
        "supported",
        "k",
        "require",
        "proxy-require",
        "unsupported",
        "session-expires",
        "x",
        "min-se",
        "rseq",
        "rack",
        "authorization",
        "proxy-authorization",
        "www-authenticate",
        "proxy-authenticate",
        "user-agent",
    }
)
"""The headers of a telephone call that only SIP itself may set, with their short forms (RFC 3261
§7.3.3)."""
KEYS_OF_SIP = {
    **dict.fromkeys(("from", "f"), "from"),
    **dict.fromkeys(("to", "t"), "url"),
    **dict.fromkeys(("route", "record-route"), "proxy"),
    **dict.fromkeys(("authorization", "proxy-authorization"), "api_key_env` with `auth: basic"),
}
"""The keys of a target that decide about such headers."""
_SUBPROTOCOL = re.compile(f"{TOKEN_CHARACTER}+")
"""The pattern of a subprotocol, which must be a token (RFC 6455 §4.1)."""


def is_of_upgrade(header: str) -> bool:
    return header.lower() in OF_UPGRADE or header.lower().startswith("sec-")


def check_headers(configured: Mapping[str, str], *, is_sip: bool) -> None:
    """Raise SettingError, whose message quotes no value, if a header may not be set, or is set
    twice.
    """
    names = [name.lower() for name in configured]
    for name, text in configured.items():
        if is_sip and name.lower() in OF_SIP:
            key = KEYS_OF_SIP.get(name.lower())
            remedy = f"; set `{key}` of the target" if key else ""
            raise SettingError(
                "headers", f"headers must not set {name}: SIP itself sets it in each call{remedy}"
            )
        if not is_sip and name.lower() in OF_SIGN_IN:
            remedy = (
                f"put the key into the variable of `api_key_env`, and set `api_key_header: {name}`"
            )
            raise SettingError("headers", f"headers must not set {name}: {remedy}")
        if not is_sip and is_of_upgrade(name):
            raise SettingError(
                "headers", f"headers must not set {name}: the WebSocket upgrade sets it"
            )
        value = text.strip()
        if not (value.isprintable() and (is_sip or value.isascii()) and value):
            kind = "text" if is_sip else "ASCII text"
            raise SettingError(
                "headers", f"the header {name} must be printable {kind}, in one line"
            )
    if len(set(names)) < len(names):
        raise SettingError("headers", "headers has one header twice: the names differ only in case")


def further_headers(
    configured: Mapping[str, str], environ: Mapping[str, str], *, is_sip: bool = False
) -> tuple[tuple[tuple[str, str], ...], tuple[Credential, ...]]:
    """Return (headers to send, the values of variables in them). Raise SettingError, whose
    message quotes no value.
    """
    check_headers(configured, is_sip=is_sip)
    headers = []
    secrets: list[Credential] = []
    for name, text in configured.items():
        value, variable_secrets = fill_variables(text, environ, "headers", f"the header {name}")
        headers.append((name, value.strip()))
        secrets += variable_secrets
    return tuple(headers), tuple(secrets)


def subprotocols(
    configured: Sequence[str], environ: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[Credential, ...]]:
    """Return (subprotocols, values of variables in them). Raise SettingError, which quotes no
    value.
    """
    offered = [fill_variables(text, environ, "subprotocols", "subprotocols") for text in configured]
    if not all(_SUBPROTOCOL.fullmatch(name) for name, _ in offered):
        raise SettingError(
            "subprotocols", "subprotocols must be names of only letters, digits and -._"
        )
    return tuple(name for name, _ in offered), tuple(
        secret for _, secrets in offered for secret in secrets
    )
