"""The TURN servers that a target or a service names: URIs (RFC 7065), `iceServers` in JSON, and
Link headers. Pure.

`RTCIceServer` of the W3C's WebRTC has the form in JSON, which services pass on to browsers.
Pipecat's runner has it in `iceConfig`. A Link header has the form of WHIP (RFC 9725 §4.6).
"""

# All that a service names is bounded: the number of servers, the length of a login, and the form of
# a host, which is looked up later. A server without a login is skipped, because TURN servers must
# authenticate requests (RFC 8656 §5), and a `stun:` URI names no relay.

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

from bench.wire.addresses import authority, is_address, is_host_name

PLAIN_PORT = 3_478
TLS_PORT = 5_349
MAX_SERVERS = 8
"""The maximum number of servers that a service may name."""
MAX_LOGIN_CHARACTERS = 2_048
ICE_SERVER_KEYS = ("iceServers", "ice_servers")
_URI = re.compile(
    r"""
    (turns?): (\[[0-9A-Fa-f:.]{2,45}\] | [A-Za-z0-9._-]{1,253})
    (?: : (\d{1,5}) )?
    (?: \?transport= (udp | tcp) )?
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_LINK = re.compile(
    r"""
    < ([^<>]{1,1000}) >
    ( (?: \s* ; \s* [\w-]{1,32} \s* = \s* (?: "[^"]{0,2048}" | [^\s,;"]{1,2048} ) )* )
    """,
    re.ASCII | re.VERBOSE,
)
_PARAMETER = re.compile(
    r"""; \s* ([\w-]{1,32}) \s* = \s* (?: "([^"]*)" | ([^\s,;"]+) )""", re.ASCII | re.VERBOSE
)


class TurnLogin(NamedTuple):
    """The user and the password at a TURN server. Services name users that are secrets, too."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "TurnLogin(hidden)"


TurnTransport = Literal["udp", "tcp", "tls"]


class TurnServer(NamedTuple):
    """A TURN server (RFC 8656): its host, a name or an IP address, the transport to it, and the
    login.
    """

    host: str
    port: int
    transport: TurnTransport
    login: TurnLogin

    def __str__(self) -> str:
        """Return the URI of the server (RFC 7065)."""
        scheme, transport = (
            ("turns", "tcp") if self.transport == "tls" else ("turn", self.transport)
        )
        return f"{scheme}:{authority(self.host, self.port)}?transport={transport}"


def parse_turn_uri(text: str, login: TurnLogin) -> TurnServer | None:
    """Return the server of a URI; None if it is malformed, is no TURN server, or needs DTLS
    (turns: over UDP).
    """
    match = _URI.fullmatch(text.strip())
    if match is None:
        return None
    is_tls = match[1].lower() == "turns"
    host = match[2].strip("[]")
    transport: TurnTransport | None = next(
        (each for each in get_args(TurnTransport) if each == (match[4] or "").lower()), None
    )
    if is_tls and transport == "udp":
        return None
    port = int(match[3] or (TLS_PORT if is_tls else PLAIN_PORT))
    is_host = is_address(host) if match[2].startswith("[") else is_host_name(host)
    if not is_host or not 0 < port < 65_536:
        return None
    return TurnServer(host, port, "tls" if is_tls else transport or "udp", login)


def servers_in_json(document: Any) -> tuple[TurnServer, ...]:
    """Return the TURN servers that a document in JSON names. Malformed entries are ignored."""
    return tuple(_servers_of(_entries(document)))[:MAX_SERVERS]


def servers_in_links(header: str) -> tuple[TurnServer, ...]:
    """Return the TURN servers that Link headers name, joined by commas. Malformed ones are
    ignored.
    """
    entries = []
    for uri, text in _LINK.findall(header):
        parameters = {
            name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(text)
        }
        if "ice-server" in parameters.get("rel", "").split():
            entries.append({"urls": uri} | parameters)
    return tuple(_servers_of(entries))[:MAX_SERVERS]


def _entries(document: Any) -> list[Any]:
    if not isinstance(document, Mapping):
        return []
    holders: tuple[Any, ...] = (document, document.get("iceConfig"))
    for holder in holders:
        for key in ICE_SERVER_KEYS if isinstance(holder, Mapping) else ():
            if isinstance(entries := holder.get(key), list):
                return entries
    return []


def _servers_of(entries: Iterable[Any]) -> Iterator[TurnServer]:
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        login = TurnLogin(_word(entry.get("username")), _word(entry.get("credential")))
        urls = entry.get("urls", entry.get("url"))
        if not all(login) or not isinstance(urls, str | list):
            continue
        for url in [urls] if isinstance(urls, str) else urls:
            if isinstance(url, str) and (server := parse_turn_uri(url, login)) is not None:
                yield server


def _word(text: object) -> str:
    """Return a part of a login; "" if it is none."""
    return text if isinstance(text, str) and len(text) <= MAX_LOGIN_CHARACTERS else ""
