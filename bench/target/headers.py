"""What a target adds to its upgrade, and `${NAME}` in it. What variables stand for is stored nowhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from bench.target.credentials import SHORTEST_SECRET, Credential, cleaned
from bench.target.urls import SettingError

OURS = frozenset({"authorization", "api-key", "host", "connection", "upgrade", "content-length", "transfer-encoding"})
"""Headers that signing in and the WebSocket upgrade set; so are all that begin with sec-."""
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""Of RFC 9110 §5.6.2, as a subprotocol must be (RFC 6455 §4.1)."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

Headers = tuple[tuple[str, str], ...]


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
        headers.append((name, _header_value(_filled(text, values), source)))
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


def _header_value(text: str, source: str) -> str:
    value = text.strip()
    if not value or not (value.isascii() and value.isprintable()):
        raise SettingError("headers", f"{source} must be printable text of ASCII, in one line")
    return value
