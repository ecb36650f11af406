"""The check whether a request for the web UI comes from its own page. Pure.

A browser states the origin of the page in `Origin`, and the host that it requested in `Host`. A
reverse proxy changes `Host`, and may forward the browser's value in other headers.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from bench.files.sanitize import excerpt

FORWARDED = "X-Forwarded-Host"
FORWARDED_PORT = "X-Forwarded-Port"
OF_PROXIES = (FORWARDED, FORWARDED_PORT, "Forwarded")
"""The headers in which proxies state the host of the browser's request."""
_FORWARDED_HOST = re.compile(r'(?:^|[;,])\s*host\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_QUOTED = 100


def cross_site_reason(
    host: str, origin: str | None, names: frozenset[str], headers: Mapping[str, str] = NO_HEADERS
) -> str:
    """Return why a request is refused, if its headers show that it comes from a page of another
    origin; otherwise "".

    `names` are the allowed host names. If it is empty, all host names are allowed. `headers` are
    those of the request.

    The origin may be that of the host that a proxy forwards. A page of another origin cannot send
    these headers: a browser first asks the server for permission to add them (CORS), and this
    server permits none. A page whose name was pointed at this address (DNS rebinding) can send
    them, because it is of the same origin. Therefore they never change which host names are
    allowed.
    """
    address = _address(host)
    if names and (address is None or address[0] not in names):
        return (
            "the web UI accepts only the host name localhost, and the Host of the request is"
            f" {excerpt(host)}: for others set --web-host and --web-login, or let the proxy send"
            f" localhost as Host, and the browser's Host as {FORWARDED}"
        )
    if origin is None or _is_same(origin, _requested_hosts(host, headers)):
        return ""
    forwarded = "".join(
        f", {name} is {excerpt(headers[name])}" for name in OF_PROXIES if headers.get(name)
    )
    return (
        "pages of other origins may not use the web UI: the Origin of the page is"
        f" {excerpt(origin, MAX_QUOTED)}, the Host of the request is"
        f" {excerpt(host, MAX_QUOTED)}{forwarded}. If this is the web UI's page behind a proxy, let"
        f" the proxy pass the browser's Host, in nginx: proxy_set_header {FORWARDED} $http_host;"
    )


def _is_same(origin: str, hosts: Iterable[str]) -> bool:
    """Return whether one of the hosts is that of the origin, in any spelling. The default port
    may be missing.
    """
    scheme, _, host = origin.partition("://")
    default = DEFAULT_PORTS.get(scheme.lower())
    wanted = _address(host, default)
    return (
        default is not None
        and wanted is not None
        and wanted in (_address(other, default) for other in hosts)
    )


def _address(host: str, default_port: int | None = None) -> tuple[str, int | None] | None:
    """Return (name, port) of a host with an optional port; None if it is invalid. The name has
    no final dot.
    """
    try:
        parts = urlsplit(f"//{host}")
        name = (parts.hostname or "").removesuffix(".")
        port = parts.port
    except ValueError:
        return None
    return (
        (name, default_port if port is None else port)
        if name and parts.netloc == host and "@" not in host
        else None
    )


def _requested_hosts(host: str, headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the hosts that the browser may have requested: `Host`, X-Forwarded-Host, and Forwarded.

    A proxy that forwards a host without its port may add X-Forwarded-Port.
    """
    ports = [port.strip() for port in headers.get(FORWARDED_PORT, "").split(",")]
    for name in (host, *(other.strip() for other in headers.get(FORWARDED, "").split(","))):
        yield name
        yield from (f"{name}:{port}" for port in ports)
    yield from (
        quoted or plain for quoted, plain in _FORWARDED_HOST.findall(headers.get("Forwarded", ""))
    )
