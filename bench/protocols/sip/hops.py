"""The hops of a call: SIP URIs (RFC 3261 §19.1), the hosts that a call may involve, and
redirections (§8.1.3.4). Pure.

A peer's URI is returned to the peer as it is, so only the parts that decide about the hop must be
readable. Hosts such as `pbx_1` and `asterisk1`, which the grammar of RFC 3261 or of libraries
excludes, are used in practice.

SIP lets the peer name other hosts: by redirections, Contact, Record-Route and session descriptions.
The headers and credentials of a target go only to the hop that the user names, which is compared
with the hop that a message really has.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from bench.catalogue.causes import Cause, Code
from bench.protocols.sip.header_values import (
    DEFAULT_PORTS,
    check_uri_length,
    parse_address,
    parse_host_port,
)
from bench.wire.addresses import UNSPECIFIED, HostPort, bracketed

if TYPE_CHECKING:
    from bench.protocols.sip.messages import SipResponse

MAX_REDIRECTS = 5
MAX_CONTACTS = 16
MAX_OTHER_HOSTS = 10
"""The maximum number of hosts that are listed. A peer decides how many there are."""
_URI = re.compile(
    r"(?P<scheme>sips?):(?:(?P<user>[^@\s]*|[^?\s]*)@)?(?P<hop>[^@;?\s]+)"
    r"(?P<parameters>(?:;[^;?\s]*)*)(?P<headers>\?\S*)?",
    re.IGNORECASE,
)
"""The pattern of a SIP URI. Only if there is no other reading, its user contains an `@`."""
_SAFE_IN_USER = "-_.!~*'()&=+$,;/"
"""The characters beyond letters and digits that a user may contain, except `?` (RFC 3261 §25.1)."""


class SipUri(NamedTuple):
    """The parts of a SIP URI. `parameters` starts with `;`, or is "". An IPv6 address is in
    brackets.
    """

    scheme: str
    user: str
    hop: HostPort
    parameters: str = ""
    headers: str = ""

    def __str__(self) -> str:
        return (
            f"{self.scheme}:{f'{self.user}@' if self.user else ''}{self.hop}"
            f"{self.parameters}"
            f"{self.headers}"
        )

    @property
    def values(self) -> Mapping[str, str]:
        """The values of the parameters by their names, which are in lower case."""
        pairs = (text.partition("=") for text in self.parameters.split(";")[1:])
        return {unquote(name).lower(): unquote(value) for name, _, value in pairs}


def parse_uri(text: str) -> SipUri:
    """Return the parts of a SIP URI. Raise ValueError, whose text is the end of a sentence about
    the URI.
    """
    check_uri_length(text)
    match = _URI.fullmatch(text)
    if match is None:
        raise ValueError("is not a valid SIP URI")
    hop = parse_host_port(match["hop"])
    return SipUri(
        match["scheme"].lower(),
        match["user"] or "",
        hop,
        match["parameters"],
        match["headers"] or "",
    )


def without_uri_headers(uri: str) -> str:
    """Return a URI without the headers that a request to it would have (RFC 3261 §19.1.5). They
    are left out.
    """
    return uri.removesuffix(parse_uri(uri).headers)


def hop_of(uri: str, transport: str) -> tuple[HostPort, str]:
    """Return the host and port that a URI leads to, and the transport. The URI may name another
    transport.
    """
    parsed = parse_uri(uri)
    named = (parsed.values.get("transport") or transport).upper()
    chosen = "TLS" if parsed.scheme == "sips" else named if named in DEFAULT_PORTS else transport
    # RFC 3261 §19.1.1: `maddr` replaces the host. It is read before anything is permitted.
    host = parse_host_port(maddr).host if (maddr := parsed.values.get("maddr")) else parsed.hop.host
    return HostPort(host, parsed.hop.port), chosen


def escaped_user(text: str) -> str:
    """Return a user with escapes (`%23`) for the characters that a user may not contain. Escapes
    are not changed.
    """
    return quote(text, safe=f"%{_SAFE_IN_USER}")


class CallAddress(NamedTuple):
    """The host and port to which the messages of a call are sent, and their transport: UDP, TCP
    or TLS.
    """

    host: str
    port: int
    transport: str


def call_address(url: str) -> CallAddress:
    """Return the address that the SIP URI of a target names."""
    hop, transport = hop_of(url, "UDP")
    return CallAddress(hop.host.strip("[]"), hop.port or DEFAULT_PORTS[transport], transport)


def canonical(hop: HostPort, transport: str) -> HostPort:
    """Return a hop in the one form that can be compared. Without a port, it gets the usual port
    of the transport.
    """
    return HostPort(canonical_host(hop.host), hop.port or DEFAULT_PORTS[transport])


def canonical_host(host: str) -> str:
    host = host.strip("[]").removesuffix(".").lower()
    with suppress(ValueError):
        return str(ipaddress.ip_address(host))
    return host


class ForeignHostError(ValueError):
    """The peer names a host to which nothing may be sent."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The hosts of one call."""

    first: tuple[HostPort, str] | None = None
    """The hop that the user names, and its transport: that of the URL, or of the outbound proxy."""
    address: str = ""
    """The IP address of the first hop; "" if it is unknown."""
    call_hosts: tuple[HostPort, ...] = ()
    """The further hosts that the user permits. Without a port, the port is the usual one."""
    is_own: Callable[[str], bool] | None = None
    """The function that returns whether a host is this machine, if the peer may name only such
    hosts and `call_hosts`.

    None if the peer may name any host."""
    _noted: dict[tuple[str, str], None] = field(default_factory=dict, compare=False)

    def note(self, host: str, purpose: str) -> None:
        """Note a host that receives something. Those that the user names do not count."""
        if (named := canonical_host(host)) not in self.named_hosts and named not in UNSPECIFIED:
            self._noted.update(
                dict.fromkeys([(named, purpose)][: MAX_OTHER_HOSTS - len(self._noted)])
            )

    @property
    def other_hosts(self) -> str:
        """The hosts that only the peer named and that receive something, with their purposes."""
        return ", ".join(f"{host} ({purpose})" for host, purpose in self._noted)

    @property
    def named_hosts(self) -> frozenset[str]:
        """The first hop's host, and its address."""
        hosts = (self.first[0].host if self.first else "", self.address)
        return frozenset(canonical_host(host) for host in hosts if host)

    # These three questions differ in what is at stake: secrets go only to the hop of the user, a
    # new INVITE also to hosts that the user permits, and audio and requests in the dialog to any
    # host, unless the target is on this machine. The address, port, and transport of the message
    # itself are compared, and not the text of a URI, because a name can hide another address.
    def is_named(self, hop: HostPort, transport: str) -> bool:
        """Return whether the user names this hop with this transport. Only such a hop may
        receive secrets.
        """
        if self.first is None or transport != self.first[1]:
            return False
        found = canonical(hop, transport)
        first = canonical(*self.first)
        return found.port == first.port and found.host in self.named_hosts

    def may_redirect(self, hop: HostPort, transport: str, called: HostPort) -> bool:
        """Return whether a redirection may lead to this hop. `called` is the hop of the called
        URI.
        """
        found = canonical(hop, transport)
        permitted = [called, *self.call_hosts]
        if self.first is not None:
            first = canonical(*self.first)
            permitted += (HostPort(host, first.port) for host in self.named_hosts)
        return any(found == canonical(each, transport) for each in permitted)

    def permits(self, host: str) -> bool:
        """Return whether audio or requests in the dialog may go to a host that the peer names."""
        host = canonical_host(host)
        return (
            self.is_own is None
            or host in self.named_hosts
            or any(host == canonical_host(permitted.host) for permitted in self.call_hosts)
            or self.is_own(host)
        )

    def check(self, host: str, purpose: str) -> None:
        """Raise ValueError if nothing may be sent to a host that the peer names."""
        if canonical_host(host) not in UNSPECIFIED and not self.permits(host):
            raise ForeignHostError(
                Cause(Code.FOREIGN_HOST, {"host": host, "purpose": purpose}).text
            )

    def next_hop(self, hop: HostPort, transport: str) -> tuple[HostPort, str]:
        """Return the hop to which a request is sent.

        It is the first hop in place of one that is no host or is not permitted, or whose transport
        does not encrypt although that of the first hop does.
        """
        if self.first is None:
            return hop, transport
        is_weaker = self.first[1] == "TLS" and transport != "TLS"
        host = canonical_host(hop.host)
        return (
            self.first
            if is_weaker or host in UNSPECIFIED or not self.permits(host)
            else (hop, transport)
        )


ANYWHERE = Reach()
"""The hosts of a call whose peer may name all hosts, and which has no secrets."""


class Redirection:
    """The URIs that a call has been sent to. `transport` is that of a URI that names none."""

    def __init__(self, uri: str, transport: str, reach: Reach) -> None:
        self._called = hop_of(uri, transport)
        self._transport = transport
        self._reach = reach
        self._visited = {self._key(uri)}
        self._is_secure = uri.lower().startswith("sips:")
        self._count = 0
        self.last = ""
        """The hop of the last redirection that was followed."""
        self.is_elsewhere = False
        """Whether the call goes to another hop than the user named. That hop gets no headers and
        no credentials."""

    def next(self, response: SipResponse) -> tuple[str | None, str]:
        """Return (URI to call next, why there is none). Of several, the one with the highest `q`
        is next.
        """
        if self._count >= MAX_REDIRECTS:
            return None, f"the call was redirected more than {MAX_REDIRECTS} times"
        found = sorted(_contacts(response), key=lambda contact: -contact[0])
        fresh = [uri for _, uri in found if self._key(uri) not in self._visited]
        if not fresh:
            return (
                None,
                "the redirection is a loop" if found else "the redirection has no valid Contact",
            )
        # RFC 3261 §8.1.3.4 lets a client go on from sips to sip if it informs its user. In a load
        # test, no user would see that, so the call fails.
        allowed = [uri for uri in fresh if not self._is_secure or uri.lower().startswith("sips:")]
        if not allowed:
            return None, "the redirection leads from sips to sip"
        allowed = [
            uri
            for uri in allowed
            if self._called[1] != "TLS" or hop_of(uri, self._transport)[1] == "TLS"
        ]
        if not allowed:
            return None, "the redirection leads from TLS to a transport that does not encrypt"
        called, called_transport = self._called
        permitted = [
            uri
            for uri in allowed
            if self._reach.may_redirect(*hop_of(uri, self._transport), called)
        ]
        if not permitted:
            return None, Cause(Code.UNNAMED_REDIRECTION, {"host": self._hop_text(allowed[0])}).text
        uri = permitted[0]
        self._count += 1
        self._visited.add(self._key(uri))
        self.last = self._hop_text(uri)
        hop, transport = hop_of(uri, self._transport)
        self.is_elsewhere = transport != called_transport or not (
            canonical(hop, transport) == canonical(called, transport)
            or self._reach.is_named(hop, transport)
        )
        return uri, ""

    def _hop_text(self, uri: str) -> str:
        host, port = canonical(*hop_of(uri, self._transport))
        return f"{bracketed(host)}:{port}"

    # Two Contacts are the same for a loop if they lead to the same user at the same hop, whatever
    # their parameters are. The comparison of §19.1.4 includes them, and would find no loop whose
    # server adds a counter.
    def _key(self, uri: str) -> str:
        parsed = parse_uri(uri)
        hop, transport = hop_of(uri, self._transport)
        return f"{parsed.scheme}:{unquote(parsed.user)}@{canonical(hop, transport)};{transport}"


def _contacts(response: SipResponse) -> list[tuple[float, str]]:
    """Return (q, URI) of each valid Contact, without the headers of the URI."""
    found = []
    for text in response.entries("Contact")[:MAX_CONTACTS]:
        try:
            address = parse_address(text)
            uri = without_uri_headers(address.uri)
            hop_of(uri, "UDP")
            quality = float(address.parameters.get("q", "1"))
            # NaN, too, is not between them
            found.append((quality if 0 <= quality <= 1 else 0.0, uri))
        except ValueError:
            continue
    return found
