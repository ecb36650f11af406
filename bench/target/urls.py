"""URLs, headers and subprotocols as targets have them: taken apart, checked, and with their `${NAME}` filled in. Pure.

What variables stand for is stored nowhere.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, quote, urlsplit

from bench.errors import UsageError
from bench.target.credentials import SHORTEST_SECRET, Credential, cleaned

_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})")
OURS = frozenset({"authorization", "api-key", "host", "connection", "upgrade", "content-length", "transfer-encoding"})
"""Headers that signing in and the WebSocket upgrade set; so are all that begin with sec-."""
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""A token of RFC 9110 §5.6.2, as a subprotocol must be (RFC 6455 §4.1)."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
Headers = tuple[tuple[str, str], ...]


class SettingError(UsageError):
    """The setting at `key` (see `target_settings.py`) cannot be used. The text is a sentence that names it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


def split_url(text: str, key: str, source: str) -> SplitResult:
    """The parts of a URL that can neither surprise a socket or a request line nor hold a password.

    Raises SettingError for the setting `key`, which calls it `source`.
    """
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise SettingError(key, f"{source} holds characters that no URL has: percent-encode them")
    try:
        parts = urlsplit(text)
        port_is_usable = parts.port != 0
    except ValueError:  # whose text may quote a password
        raise SettingError(key, f"{source} is not a URL, or its port is not from 1 to 65535") from None
    if not port_is_usable:
        raise SettingError(key, f"{source} has port 0: name the port of the service")
    if "@" in parts.netloc:
        raise SettingError(key, f"{source} holds a user or password, which would end in files: take it out")
    if parts.fragment:
        raise SettingError(key, f"{source} must end before the `#`")
    if not is_host(parts):
        raise SettingError(key, f"{source} names no host that can exist: put the name of your resource or server there")
    return parts


def is_host(parts: SplitResult) -> bool:
    """Whether a URL's host can exist: an address, or a name as DNS has it.

    RFC 1035 §2.3.4: labels of 1 to 63 characters, 253 in all; `_` occurs.
    """
    host = parts.hostname or ""
    if "[" in parts.netloc:
        return is_ipv6(host)
    return len(host) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))


def is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def url_path(parts: SplitResult) -> str:
    return parts.path.rstrip("/")


def further_headers(given: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Headers, tuple[Credential, ...]]:
    """(headers to send, what variables stood for in them). Raises SettingError, which quotes no value."""
    for name in given:
        if name.lower() in OURS or name.lower().startswith("sec-"):
            raise SettingError(
                "headers", f"headers must not set {name}: that is done by `auth`, or by the upgrade itself"
            )
    if len({name.lower() for name in given}) < len(given):
        raise SettingError("headers", "headers has one header twice, in capitals and without")
    headers: list[tuple[str, str]] = []
    secrets: list[Credential] = []
    for name, text in given.items():
        source = f"the header {name}"
        values = _variables(text, environ, "headers", source)
        value = _filled(text, values).strip()
        if not value or not (value.isascii() and value.isprintable()):
            raise SettingError("headers", f"{source} must be printable text of ASCII, in one line")
        headers.append((name, value))
        secrets += hidden_values(name, values)
    return tuple(headers), tuple(secrets)


def subprotocols(given: Sequence[str], environ: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[Credential, ...]]:
    """(subprotocols to offer, what variables stood for in them). Raises SettingError, which quotes no value."""
    names: list[str] = []
    secrets: list[Credential] = []
    for text in given:
        values = _variables(text, environ, "subprotocols", "subprotocols")
        names.append(_filled(text, values))
        secrets += hidden_values("subprotocol", values)
        if not _TOKEN.fullmatch(names[-1]):
            raise SettingError("subprotocols", "subprotocols must be names, of letters, digits and -._ alone")
    return tuple(names), tuple(secrets)


def filled_resource(resource: str, environ: Mapping[str, str]) -> tuple[str, tuple[Credential, ...]]:
    """(a URL's path and query with its variables, percent-encoded; what they stood for). Raises SettingError."""
    values = _variables(resource, environ, "url", "the url")
    quoted = {name: quote(value, safe="") for name, value in values.items()}
    return _filled(resource, quoted), (*hidden_values("url", values), *hidden_values("url", quoted))


def is_variable(text: str) -> bool:
    """Whether a text is a variable and nothing else."""
    return _VARIABLE.fullmatch(text) is not None


def hidden_values(name: str, values: Mapping[str, str]) -> tuple[Credential, ...]:
    """The values of variables that are long enough to be secrets, so that they are shown nowhere."""
    return tuple(Credential(name, value) for value in values.values() if len(value) >= SHORTEST_SECRET)


def filled_url(text: str, environ: Mapping[str, str], key: str) -> str:
    """A URL with its variables in it: one that is the whole as it is, others percent-encoded. Raises SettingError."""
    values = _variables(text, environ, key, key)
    if _VARIABLE.fullmatch(text):
        return _filled(text, values)
    return _filled(text, {name: quote(value, safe="") for name, value in values.items()})


def _variables(text: str, environ: Mapping[str, str], key: str, source: str) -> dict[str, str]:
    """The variables of a text, and their values."""
    values = {name: cleaned(environ.get(name, ""), f"a variable in {source}") for name in _VARIABLE.findall(text)}
    if not all(values.values()):
        raise SettingError(key, f"{source} wants a variable that is not set: ${{NAME}} takes the one called NAME")
    return values


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: values[found[1]], text)
