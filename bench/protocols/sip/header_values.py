"""Values in headers of SIP: URIs, addresses, ports and quoted texts (RFC 3261 §25). Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.wire.addresses import HostPort

MAX_URI_CHARACTERS = 512
"""The maximum length of a URI. A regular expression needs quadratic time for some URIs."""
MAX_TOKEN_CHARACTERS = 256
"""The maximum length of a Call-ID, a tag, a branch and a method."""
DEFAULT_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}
_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)(?:%[^\s\]]+)?\]|([\w.-]{1,253}))(?::([0-9]{1,5}))?")
PHRASES = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    183: "Session Progress",
    200: "OK",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    415: "Unsupported Media Type",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    469: "Bad Info Package",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    484: "Address Incomplete",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    600: "Busy Everywhere",
    603: "Decline",
}


@dataclass(frozen=True, slots=True)
class NameAddress:
    """A value of From, To, Contact, Route or Record-Route. Names of parameters are in lower
    case.
    """

    uri: str
    parameters: Mapping[str, str]

    @property
    def tag(self) -> str:
        return self.parameters.get("tag", "")


def check_uri_length(uri: str) -> None:
    if len(uri) > MAX_URI_CHARACTERS:
        raise ValueError("is too long")


def _is_token(text: str) -> bool:
    return len(text) <= MAX_TOKEN_CHARACTERS and _TOKEN.fullmatch(text) is not None


def split_outside_quotes(text: str, separator: str) -> list[str]:
    """Split a text at the separators that are outside of quoted strings and of <>. Leave out
    empty parts.
    """
    parts = []
    start = 0
    quoted = False
    angle = False
    escaped = False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character in "<>":
            angle = character == "<"
        elif character == separator and not angle:
            parts.append(text[start:position].strip())
            start = position + 1
    if quoted:
        raise ValueError("a quoted string has no end")
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def parameters_of(parts: Iterable[str]) -> dict[str, str]:
    """Return parameters `name=value` as a mapping. The names are in lower case, and values are
    unquoted.
    """
    found = {}
    for part in parts:
        name, _, value = part.partition("=")
        if (name := name.strip().lower()) in found:
            raise ValueError("a parameter occurs twice")
        found[name] = unquoted_string(value.strip())
    return found


def unquoted_string(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def quoted_string(text: str) -> str:
    return '"' + re.sub(r'([\\"])', r"\\\1", text) + '"'


def parse_address(text: str) -> NameAddress:
    """Return an address. Without <>, the parameters belong to the header, not to the URI (RFC
    3261 §20.10).
    """
    parts = split_outside_quotes(text, ";")
    if not parts:
        raise ValueError("an address is missing")
    head = parts[0]
    if "<" in head:
        # A display name may contain a `<` in quotes, so the last one begins the URI.
        start = head.rindex("<")
        uri, closed, rest = head[start + 1 :].partition(">")
        if not closed or rest.strip():
            raise ValueError("an address is not valid")
    else:
        uri = head
    if not uri or any(character.isspace() or character in '<>"' for character in uri):
        raise ValueError("an address is not valid")
    address = NameAddress(uri, parameters_of(parts[1:]))
    if "tag" in address.parameters and not _is_token(address.tag):
        raise ValueError("a tag is not valid")
    return address


def parse_host_port(text: str) -> HostPort:
    """Return a host and a port. An international name gets its ASCII form, and an address loses its
    zone.

    The zone of an address (`%eth0`) has a meaning only at the peer that wrote it (RFC 4007 §11.2).
    """
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError("has a host that is not valid")
    address, name = match.group(1, 2)
    port = int(match[3]) if match[3] else None
    if port is not None and not 0 < port < 65_536:
        raise ValueError("has a port that is not from 1 to 65535")
    try:
        host = (
            f"[{address}]" if address else name if name.isascii() else name.encode("idna").decode()
        )
    except UnicodeError:
        raise ValueError("has a host that is not valid") from None
    return HostPort(host, port)
