"""SIP URIs (RFC 3261 §19.1): their parts, the hop that they lead to, and the characters of a user. Pure.

A peer's URI is returned to the peer as it is, so only the parts that decide about the hop must be readable. Hosts such
as `pbx_1` and `asterisk1`, which the grammar of RFC 3261 or of libraries excludes, are used in practice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

from bench.transport.interface import HostPort
from bench.transport.sip.messages import DEFAULT_PORTS, check_uri_length, parse_host_port

_URI = re.compile(
    r"(?P<scheme>sips?):(?:(?P<user>[^@\s]*|[^?\s]*)@)?(?P<hop>[^@;?\s]+)"
    r"(?P<parameters>(?:;[^;?\s]*)*)(?P<headers>\?\S*)?",
    re.IGNORECASE,
)
"""The pattern of a SIP URI. Only if there is no other reading, its user contains an `@`."""
_SAFE_IN_USER = "-_.!~*'()&=+$,;/"
"""The characters beyond letters and digits that a user may contain, except `?` (RFC 3261 §25.1)."""


class SipUri(NamedTuple):
    """The parts of a SIP URI. `parameters` starts with `;`, or is "". An IPv6 address is in brackets."""

    scheme: str
    user: str
    hop: HostPort
    parameters: str = ""
    headers: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}:{f'{self.user}@' if self.user else ''}{self.hop}{self.parameters}{self.headers}"

    @property
    def values(self) -> Mapping[str, str]:
        """The values of the parameters by their names, which are in lower case."""
        pairs = (text.partition("=") for text in self.parameters.split(";")[1:])
        return {unquote(name).lower(): unquote(value) for name, _, value in pairs}


def parse_uri(text: str) -> SipUri:
    """Return the parts of a SIP URI. Raise ValueError, whose text is the end of a sentence about the URI."""
    check_uri_length(text)
    match = _URI.fullmatch(text)
    if match is None:
        raise ValueError("is not a valid SIP URI")
    hop = parse_host_port(match["hop"])
    return SipUri(match["scheme"].lower(), match["user"] or "", hop, match["parameters"], match["headers"] or "")


def without_uri_headers(uri: str) -> str:
    """Return a URI without the headers that a request to it would have (RFC 3261 §19.1.5). They are left out."""
    return uri.removesuffix(parse_uri(uri).headers)


def hop_of(uri: str, transport: str) -> tuple[HostPort, str]:
    """Return the host and port that a URI leads to, and the transport. The URI may name another transport."""
    parsed = parse_uri(uri)
    named = (parsed.values.get("transport") or transport).upper()
    chosen = "TLS" if parsed.scheme == "sips" else named if named in DEFAULT_PORTS else transport
    host = parse_host_port(maddr).host if (maddr := parsed.values.get("maddr")) else parsed.hop.host
    return HostPort(host, parsed.hop.port), chosen


def escaped_user(text: str) -> str:
    """Return a user with escapes (`%23`) for the characters that a user may not contain. Escapes are not changed."""
    return quote(text, safe=f"%{_SAFE_IN_USER}")
