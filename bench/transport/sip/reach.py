"""The hosts that a call may involve: those that the user names, and those that only the peer names. Pure.

SIP lets the peer name other hosts: by redirections, Contact, Record-Route and session descriptions. The headers and
credentials of a target go only to the hop that the user names, which is compared with the hop that a message really
has.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass

from bench.catalogue.causes import FOREIGN_HOST
from bench.transport.interface import UNSPECIFIED, HostPort, is_loopback
from bench.transport.sip.messages import DEFAULT_PORTS


def canonical(hop: HostPort, transport: str) -> HostPort:
    """Return a hop in the one form that can be compared. Without a port, it gets the usual port of the transport."""
    return HostPort(canonical_host(hop.host), hop.port or DEFAULT_PORTS[transport])


def canonical_host(host: str) -> str:
    host = host.strip("[]").removesuffix(".").lower()
    with suppress(ValueError):
        return str(ipaddress.ip_address(host))
    return host


@dataclass(frozen=True, slots=True)
class Reach:
    """The hosts of one call."""

    first: tuple[HostPort, str] | None = None
    """The hop that the user names, and its transport: that of the URL, or of the outbound proxy."""
    address: str = ""
    """The IP address of the first hop; "" if it is unknown."""
    call_hosts: tuple[HostPort, ...] = ()
    """The further hosts that the user permits. Without a port, the port is the usual one."""
    is_local: bool = False
    """Whether the peer may name only hosts of this machine and `call_hosts`."""

    @property
    def named_hosts(self) -> frozenset[str]:
        """The first hop's host, and its address."""
        hosts = (self.first[0].host if self.first else "", self.address)
        return frozenset(canonical_host(host) for host in hosts if host)

    def is_named(self, hop: HostPort, transport: str) -> bool:
        """Return whether the user names this hop with this transport. Only such a hop may receive secrets."""
        if self.first is None or transport != self.first[1]:
            return False
        found, first = canonical(hop, transport), canonical(*self.first)
        return found.port == first.port and found.host in self.named_hosts

    def may_redirect(self, hop: HostPort, transport: str, called: HostPort) -> bool:
        """Return whether a redirection may lead to this hop. `called` is the hop of the called URI."""
        found, permitted = canonical(hop, transport), [called, *self.call_hosts]
        if self.first is not None:
            first = canonical(*self.first)
            permitted += (HostPort(host, first.port) for host in self.named_hosts)
        return any(found == canonical(each, transport) for each in permitted)

    def permits(self, host: str) -> bool:
        """Return whether audio or requests in the dialog may go to a host that the peer names."""
        host = canonical_host(host)
        return (
            not self.is_local
            or is_loopback(host)
            or any(host == canonical_host(permitted.host) for permitted in self.call_hosts)
        )

    def check(self, host: str, purpose: str) -> None:
        """Raise ValueError if nothing may be sent to a host that the peer names."""
        if canonical_host(host) not in UNSPECIFIED and not self.permits(host):
            raise ValueError(f"the peer names {host} for {purpose}, {FOREIGN_HOST}")

    def next_hop(self, hop: HostPort, transport: str) -> tuple[HostPort, str]:
        """Return the hop to which a request is sent.

        It is the first hop in place of one that is no host or is not permitted, or whose transport does not encrypt
        although that of the first hop does.
        """
        if self.first is None:
            return hop, transport
        is_weaker, host = self.first[1] == "TLS" and transport != "TLS", canonical_host(hop.host)
        return self.first if is_weaker or host in UNSPECIFIED or not self.permits(host) else (hop, transport)


ANYWHERE = Reach()
"""The hosts of a call whose peer may name all hosts, and which has no secrets."""
