"""A dialog (RFC 3261 §12): tags, sequence numbers, the route to the peer, and the session timer
(RFC 4028). Pure.
"""

# A dialog is named by the Call-ID and both tags (RFC 3261 §12). Its requests count up in one CSeq
# per direction, follow the route set, which never changes after the first 2xx, and go to the
# Contact that the peer named last (target refresh, §12.2). ACK and CANCEL have the number of their
# INVITE.
#
# The route set is what the proxies on the way wrote into Record-Route: they want to see the
# requests that follow. Contact, Record-Route, and therefore the hop of each request come from the
# peer. Where a request really goes is decided by `Reach`, and its headers with secrets are added
# only if the user named that hop.

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.base.units import NEVER_NS, NS_PER_S
from bench.protocols.sip.header_values import parameters_of, parse_address, split_outside_quotes
from bench.protocols.sip.hops import ANYWHERE, Reach, hop_of, parse_uri, without_uri_headers
from bench.protocols.sip.messages import ALLOWED, SipMessage, SipRequest
from bench.protocols.sip.transactions import MAGIC_COOKIE, OutgoingRequest
from bench.wire.addresses import HostPort, whole_number

RandomTokens = Callable[[], str]
"""A source of random tokens. Each token has at least 16 hexadecimal digits."""
# The smallest interval that RFC 4028 §5 permits, the largest one that is used, and the 32 s by
# which BYE precedes the end of the interval (§10: the smaller of 32 s and a third of the interval).
MIN_INTERVAL_S = 90
MAX_INTERVAL_S = 86_400
GRACE_S = 32
# The value that RFC 3261 §8.1.1.6 recommends.
MAX_FORWARDS = 70
RELIABLE = "100rel"
"""The extension by which provisional responses are repeated until PRACK acknowledges them (RFC
3262)."""
CAPABILITIES = (("Allow", ", ".join(ALLOWED)), ("Supported", "timer"))
EXTENSIONS = {"timer"}
"""The extensions of SIP that a request may require. No provisional response of this side is
reliable."""


@dataclass(frozen=True, slots=True)
class LocalParty:
    """The own side of a call, as its messages name it."""

    sent_by: HostPort
    """The address at which this side receives messages."""
    transport: str
    contact: str
    """The URI in Contact."""
    product: str
    """The value of User-Agent or Server."""
    headers: tuple[tuple[str, str], ...] = ()
    """Additional headers of responses."""
    reach: Reach = ANYWHERE
    """The hosts to which requests may go."""


def new_branch(tokens: RandomTokens) -> str:
    return MAGIC_COOKIE + tokens()


def contact_of(message: SipMessage) -> str | None:
    """Return the URI in Contact, or None if there is no valid one."""
    try:
        uri = without_uri_headers(parse_address(message.entries("Contact")[0]).uri)
        hop_of(uri, "UDP")
    except (ValueError, IndexError):
        return None
    return uri


def routes_of(message: SipMessage) -> tuple[str, ...]:
    """Return the values of Record-Route. If one of them is not valid, return none: requests go
    to Contact.
    """
    try:
        routes = message.entries("Record-Route")
        for route in routes:
            hop_of(parse_address(route).uri, "UDP")
    except ValueError:
        return ()
    return routes


def routed(target: str, routes: Sequence[str]) -> tuple[str, tuple[str, ...], str]:
    """Return (Request-URI, values of Route, URI of the next hop) of a request (§12.2.1.1).

    A first route without `lr` is a strict router: it expects itself in the Request-URI.
    """
    if not routes:
        return target, (), target
    first = parse_address(routes[0]).uri
    # A loose router (RFC 3261 §16.12) takes the request by its own URI in Route, and leaves the
    # Request-URI as it is.
    if "lr" in parse_uri(first).values:
        return target, tuple(routes), first
    return first, (*routes[1:], f"<{target}>"), first


@dataclass(slots=True)
class Dialog:
    """A dialog, or a call that has none yet. `local` and `remote` are From and To of this side's
    requests.
    """

    call_id: str
    local: str
    local_tag: str
    remote: str
    remote_tag: str
    local_cseq: int
    remote_cseq: int | None
    routes: tuple[str, ...]
    target: str
    """The URI of the peer's Contact."""

    def matches(self, request: SipRequest) -> bool:
        return (request.callee.tag, request.caller.tag) == (self.local_tag, self.remote_tag)

    def refresh_target(self, message: SipMessage) -> None:
        # A message without a valid Contact leaves the old target, so that BYE still has an address.
        if contact := contact_of(message):
            self.target = contact

    def peer_hop(self, party: LocalParty) -> tuple[HostPort, str]:
        """Return the hop that the peer names for the next request, and its transport."""
        return hop_of(routed(self.target, self.routes)[2], party.transport)

    def next_hop(self, party: LocalParty) -> tuple[HostPort, str]:
        """Return the hop to which the next request is sent, and its transport."""
        return party.reach.next_hop(*self.peer_hop(party))

    def request(
        self,
        method: str,
        party: LocalParty,
        branch: str,
        cseq: int | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        secrets: Iterable[tuple[str, str]] = (),
    ) -> OutgoingRequest:
        """Return a request in the dialog. Without `cseq`, it gets the next number.

        `secrets` are headers that only a hop gets that the user names.
        """
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        uri, routes, _ = routed(self.target, self.routes)
        to, transport = self.next_hop(party)
        headers = (*headers, *(secrets if party.reach.is_named(to, transport) else ()))
        via = f"SIP/2.0/{transport} {party.sent_by};rport;branch={branch}"
        written = [("Via", via), ("Max-Forwards", str(MAX_FORWARDS))]
        written += [("Route", route) for route in routes]
        written += [
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        written += [("User-Agent", party.product), *headers]
        if method in ("INVITE", "UPDATE"):
            given = {name for name, _ in headers}
            written += [
                ("Contact", f"<{party.contact}>"),
                *(each for each in CAPABILITIES if each[0] not in given),
            ]
        if body and method != "NOTIFY":
            written.append(("Content-Type", "application/sdp"))
        return OutgoingRequest(method, uri, tuple(written), body, to, transport)


def interval_of(message: SipMessage, header: str = "Session-Expires") -> tuple[int, str] | None:
    """Return (seconds, refresher) of a header. Return None if it is missing or not valid."""
    try:
        text, *parts = split_outside_quotes(message.first(header), ";")
        refresher = parameters_of(parts).get("refresher", "").lower()
    except ValueError:
        return None
    return (min(seconds, MAX_INTERVAL_S), refresher) if (seconds := whole_number(text, 9)) else None


@dataclass(slots=True)
class SessionTimer:
    """The timer. Without an interval it never expires."""

    refresh_ns: int = NEVER_NS
    """The instant at which this side must refresh the session."""
    expiry_ns: int = NEVER_NS

    @property
    def next_ns(self) -> int:
        return min(self.refresh_ns, self.expiry_ns)

    def start(self, interval_s: int, is_refresher: bool, now_ns: int) -> None:
        whole_ns = interval_s * NS_PER_S
        # RFC 4028 §10. Both instants count from the 2xx, which both sides have seen.
        self.refresh_ns = now_ns + whole_ns // 2 if is_refresher else NEVER_NS
        self.expiry_ns = now_ns + whole_ns - min(GRACE_S * NS_PER_S, whole_ns // 3)

    def stop(self) -> None:
        self.refresh_ns = self.expiry_ns = NEVER_NS

    def accept(self, response: SipMessage, now_ns: int) -> None:
        """Apply a 2xx to this side's INVITE or UPDATE (§7.2)."""
        found = interval_of(response)
        if found is None:
            self.stop()
        else:
            self.start(found[0], found[1] != "uas", now_ns)

    # RFC 4028 §9: this side may shorten the interval that the peer asks for, down to its Min-SE. A
    # peer that does not know the timer cannot refresh, so this side then does. If the peer
    # refreshes, Require forces it to know that (table 2 of §9).
    def answer(
        self, request: SipMessage, wanted_s: int | None, now_ns: int
    ) -> list[tuple[str, str]]:
        """Apply the peer's INVITE or UPDATE. Return the headers of the 2xx (§9)."""
        found = interval_of(request)
        supported = "timer" in request.tokens("Supported")
        if found is None and wanted_s is None:
            self.stop()
            return []
        interval_s, asked = found or (wanted_s or 0, "")
        if wanted_s is not None:
            minimum = interval_of(request, "Min-SE")
            interval_s = max(
                min(interval_s, wanted_s), MIN_INTERVAL_S, minimum[0] if minimum else 0
            )
        refresher = "uas" if asked == "uas" or not supported else "uac"
        self.start(interval_s, refresher == "uas", now_ns)
        headers = [("Session-Expires", f"{interval_s};refresher={refresher}")]
        return [*headers, ("Require", "timer")] if refresher == "uac" else headers


def is_too_small(request: SipMessage) -> bool:
    """Return whether an INVITE or UPDATE must be refused with 422, which only a peer with
    `timer` understands.
    """
    found = interval_of(request)
    return (
        found is not None and found[0] < MIN_INTERVAL_S and "timer" in request.tokens("Supported")
    )


def timer_headers(interval_s: int | None) -> list[tuple[str, str]]:
    """Return the headers by which INVITE or UPDATE asks for a session interval, which may be
    that of a 422.
    """
    return (
        []
        if interval_s is None
        else [("Session-Expires", str(interval_s)), ("Min-SE", str(interval_s))]
    )
