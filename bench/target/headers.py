"""The headers and subprotocols that a target sets: their names are checked, and their variables are filled. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bench.target.address import fill_variables
from bench.target.credentials import Credential
from bench.target.target_settings import SettingError
from bench.transport.challenges import TOKEN_CHARACTER

OF_SIGN_IN = frozenset({"authorization", "api-key"})
"""The headers that only the sign-in may set."""
OF_UPGRADE = frozenset({"host", "connection", "upgrade", "content-length", "transfer-encoding"})
"""The headers that only the WebSocket upgrade may set, as all headers that start with `sec-`."""
OF_SIP = frozenset({
    *("via", "v", "from", "f", "to", "t", "call-id", "i", "cseq", "contact", "m", "route", "record-route"),
    *("max-forwards", "content-type", "c", "content-length", "l", "content-encoding", "e", "content-disposition"),
    *("allow", "supported", "k", "require", "proxy-require", "unsupported", "session-expires", "x", "min-se", "rseq"),
    *("rack", "authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate", "user-agent"),
})  # fmt: skip
"""The headers of a telephone call that only SIP itself may set, with their short forms (RFC 3261 §7.3.3)."""
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
    """Raise SettingError, whose message quotes no value, if a header may not be set, or is set twice."""
    names = [name.lower() for name in configured]
    for name, text in configured.items():
        if is_sip and name.lower() in OF_SIP:
            key = KEYS_OF_SIP.get(name.lower())
            remedy = f"; set `{key}` of the target" if key else ""
            raise SettingError("headers", f"headers must not set {name}: SIP itself sets it in each call{remedy}")
        if not is_sip and name.lower() in OF_SIGN_IN:
            remedy = f"put the key into the variable of `api_key_env`, and set `api_key_header: {name}`"
            raise SettingError("headers", f"headers must not set {name}: {remedy}")
        if not is_sip and is_of_upgrade(name):
            raise SettingError("headers", f"headers must not set {name}: the WebSocket upgrade sets it")
        value = text.strip()
        if not (value.isprintable() and (is_sip or value.isascii()) and value):
            kind = "text" if is_sip else "ASCII text"
            raise SettingError("headers", f"the header {name} must be printable {kind}, in one line")
    if len(set(names)) < len(names):
        raise SettingError("headers", "headers has one header twice: the names differ only in case")


def further_headers(
    configured: Mapping[str, str], environ: Mapping[str, str], *, is_sip: bool = False
) -> tuple[tuple[tuple[str, str], ...], tuple[Credential, ...]]:
    """Return (headers to send, the values of variables in them). Raise SettingError, whose message quotes no value."""
    check_headers(configured, is_sip=is_sip)
    headers: list[tuple[str, str]] = []
    secrets: list[Credential] = []
    for name, text in configured.items():
        value, variable_secrets = fill_variables(text, environ, "headers", f"the header {name}")
        headers.append((name, value.strip()))
        secrets += variable_secrets
    return tuple(headers), tuple(secrets)


def subprotocols(
    configured: Sequence[str], environ: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[Credential, ...]]:
    """Return (subprotocols, values of variables in them). Raise SettingError, which quotes no value."""
    offered = [fill_variables(text, environ, "subprotocols", "subprotocols") for text in configured]
    if not all(_SUBPROTOCOL.fullmatch(name) for name, _ in offered):
        raise SettingError("subprotocols", "subprotocols must be names of only letters, digits and -._")
    return tuple(name for name, _ in offered), tuple(secret for _, secrets in offered for secret in secrets)
