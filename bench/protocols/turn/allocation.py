"""The client of a TURN server (RFC 8656): an allocation with its permissions and its channel. Pure.

Its owner passes each message of the server to `received`, calls `expire` when `next_ns` is due,
sends what `pop_messages` returns, and reports the instant of each send to `note_sent`. The first
request has no credentials. The server refuses it, and names the realm and the nonce that all other
requests need (RFC 8489 §9.2). A nonce that has become stale is replaced. A server without login
grants the first request, so no request has credentials.

A refresh is sent every few seconds, and not only before the allocation expires. So the round trip
to the server is known, and a server that has died is noticed.
"""

# A response to a signed request must be signed, too. One to a request without credentials cannot
# be: its random transaction id keeps senders away that do not see the request, no secret has been
# sent, and DTLS protects what is relayed. Once a server has asked for credentials, all requests
# have them.
#
# The client of RFC 8656 in the order of its requests: Allocate (refused once, then with
# credentials), Refresh at once and every `REFRESH_NS`, CreatePermission for each host of the
# answer, and ChannelBind for the peer that ICE has selected. Until the channel is bound, data goes
# in Send indications, which are about 40 bytes longer.
#
# A permission is for an IP address (§9) and a channel for an address with its port (§12). Both have
# to be renewed before they expire, and data of other hosts is dropped by the server. The allocation
# ends with `problem` if Allocate or Refresh fails. If a permission fails, the other ways may still
# work, so it is only noted in `refused`.
#
# Over UDP, requests are repeated with a doubled time (RFC 8489 §6.2.1); over TCP and TLS they are
# not (§6.2.2).

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.catalogue.causes import Cause, Code, in_words
from bench.files.sanitize import excerpt
from bench.protocols.ice.stun import (
    TRANSACTION_BYTES,
    StunAttribute,
    StunKind,
    StunMessage,
    StunMethod,
    build_message,
    mapped_address,
    parse_turn_message,
    plain_address,
    xor_address,
)
from bench.protocols.turn.framing import (
    FIRST_CHANNEL,
    build_channel_data,
    parse_channel_data,
)
from bench.protocols.turn.servers import TurnLogin
from bench.wire.addresses import HostPort, authority

FIRST_WAIT_NS = 500 * NS_PER_MS
"""The time after which a request over UDP is repeated for the first time (RFC 8489 §6.2.1).
Later, it doubles."""
ANSWER_LIMIT_NS = 10 * NS_PER_S
"""The time after which a request without an answer has failed."""
LIFETIME_NS = 600 * NS_PER_S
"""The lifetime of an allocation that is requested (RFC 8656 §7.1)."""
REFRESH_NS = 5 * NS_PER_S
"""The time between two refreshes, if the lifetime is not shorter."""
PERMISSION_NS = 240 * NS_PER_S
"""The time after which permissions are renewed. They last for 300 s (RFC 8656 §9), and a channel
for 600 s (§12)."""
MAX_NONCES = 3
"""The maximum number of nonces for one request. A server that refuses them all is broken."""
MAX_TEXT_BYTES = 763
"""The maximum size of a nonce and of a realm (RFC 8489 §14.9, §14.10)."""
MAX_PERMISSIONS = 32
"""The maximum number of hosts to which the server is asked to relay. A peer decides how many it
names."""
TRY_ALTERNATE = 300
UNAUTHORIZED = 401
MISMATCH = 437
STALE_NONCE = 438
QUOTA = 486
CAPACITY = 508
CODES = {
    UNAUTHORIZED: Code.TURN_LOGIN,
    QUOTA: Code.TURN_FULL,
    CAPACITY: Code.TURN_EXHAUSTED,
}
"""The causes of refused allocations that have a status of their own."""
MAX_REASON_CHARACTERS = 80
CLOSED = "closed by this tool"
UDP = bytes((17, 0, 0, 0))
IPV6 = bytes((2, 0, 0, 0))
RelayedData = tuple[bytes, HostPort]
"""Data from a peer, and the address of the peer."""


def long_term_key(login: TurnLogin, realm: bytes) -> bytes:
    """Return the key of long-term credentials (RFC 8489 §9.2.2)."""
    text = b":".join((login.user.encode(), realm, login.password.encode()))
    return hashlib.md5(text, usedforsecurity=False).digest()


@dataclass(slots=True)
class _Request:
    """A request that awaits its response. `peer` is the address in it; None if it has none."""

    method: StunMethod
    attributes: Mapping[int, bytes]
    peer: HostPort | None
    message: bytes
    is_signed: bool
    nonces: int
    """The number of nonces that the server has refused."""
    due_ns: int
    until_ns: int
    sends: int = 1
    sent_ns: int | None = None
    """The instant of the only send; None if it is unknown, or if there were several."""


@dataclass(slots=True)
class Allocation:
    """An allocation at a TURN server. It is requested at once.

    `is_stream` states whether the server is reached over TCP, and `is_ipv6` whether its peers have
    addresses of IPv6. `relayed` is its address, from which the server sends; None until the server
    has answered. `problem` is why there is none, or why it has ended, as a text that follows the
    name of the server.
    """

    login: TurnLogin
    random_bytes: Callable[[int], bytes]
    now_ns: int
    is_stream: bool = False
    is_ipv6: bool = False
    relayed: HostPort | None = None
    problem: Cause | None = None
    is_silent: bool = False
    """True if the problem is that the server does not answer."""
    is_unsigned: bool = False
    """True if a response was ignored, because the password has not signed it."""
    alternate: HostPort | None = None
    """The server to which this one sends its clients (RFC 8489 §10); None if it names none."""
    round_trip_ns: int | None = None
    """The shortest time from a refresh to its response; None before the first one."""
    refused: dict[str, int] = field(default_factory=dict)
    """The hosts to which the server does not relay, each with the code of its error."""
    _key: bytes = field(default=b"", repr=False)
    """The key of the credentials; empty until the server has named the realm."""
    _realm: bytes = b""
    _nonce: bytes = b""
    _requests: dict[bytes, _Request] = field(default_factory=dict)
    _messages: list[bytes] = field(default_factory=list)
    _hosts: dict[str, None] = field(default_factory=dict)
    """The hosts for which a permission was requested."""
    _channel: HostPort | None = None
    """The peer of the channel; None until the server has bound it."""
    _wanted: HostPort | None = None
    """The peer for which a channel was requested."""
    _refresh_ns: int = NEVER_NS
    _renewal_ns: int = NEVER_NS

    def __post_init__(self) -> None:
        attributes = _lifetime(LIFETIME_NS) | {StunAttribute.REQUESTED_TRANSPORT: UDP}
        if self.is_ipv6:
            attributes[StunAttribute.REQUESTED_ADDRESS_FAMILY] = IPV6
        self._request(StunMethod.ALLOCATE, attributes, None, self.now_ns)

    @property
    def next_ns(self) -> int:
        if self.problem:
            return NEVER_NS
        due_ns = min(
            (min(each.due_ns, each.until_ns) for each in self._requests.values()), default=NEVER_NS
        )
        return min(due_ns, self._refresh_ns, self._renewal_ns)

    @property
    def silence(self) -> Cause:
        """The cause if no response was accepted in time."""
        return Cause(Code.TURN_UNSIGNED if self.is_unsigned else Code.TURN_SILENT)

    def pop_messages(self) -> list[bytes]:
        """Return the messages to send to the server."""
        messages = self._messages
        self._messages = []
        return messages

    def note_sent(self, message: bytes, at_ns: int) -> None:
        """Note the instant at which a message of `pop_messages` was sent."""
        request = self._requests.get(message[8:20])
        if request is not None:
            request.sent_ns = at_ns if request.sends == 1 else None

    def expire(self, now_ns: int) -> None:
        """Repeat the requests without an answer, and renew what is due."""
        for transaction, request in [*self._requests.items()]:
            if request.until_ns <= now_ns:
                del self._requests[transaction]
                self._fail(request, self.silence)
            elif request.due_ns <= now_ns:
                request.due_ns = now_ns + (FIRST_WAIT_NS << request.sends)
                request.sends = request.sends + 1
                request.sent_ns = None
                self._messages.append(request.message)
        if self.problem:
            return
        if self._refresh_ns <= now_ns:
            self._refresh_ns = NEVER_NS
            self._request(StunMethod.REFRESH, _lifetime(LIFETIME_NS), None, now_ns)
        if self._renewal_ns <= now_ns:
            self._renewal_ns = now_ns + PERMISSION_NS
            for host in self._hosts:
                self._request_permission(host, now_ns)
            if self._wanted is not None:
                self.bind(self._wanted, now_ns)

    def permit(self, hosts: Iterable[str], now_ns: int) -> None:
        """Let the server relay to these IP addresses, and from them (RFC 8656 §9)."""
        for host in hosts:
            # A relayed address reaches only peers of its own family (error 443).
            is_usable = (":" in host) == self.is_ipv6 and len(self._hosts) < MAX_PERMISSIONS
            if is_usable and host not in self._hosts:
                self._hosts[host] = None
                self._request_permission(host, now_ns)
                self._renewal_ns = min(self._renewal_ns, now_ns + PERMISSION_NS)

    def _request_permission(self, host: str, now_ns: int) -> None:
        """Request the permission of one host, so that each has its own answer."""
        self._request(StunMethod.CREATE_PERMISSION, {}, HostPort(host, 0), now_ns)

    def bind(self, peer: HostPort, now_ns: int) -> None:
        """Let the server bind a channel to a peer. Until then, indications have the data."""
        self._wanted = peer
        number: dict[int, bytes] = {
            StunAttribute.CHANNEL_NUMBER: FIRST_CHANNEL.to_bytes(2) + bytes(2)
        }
        self._request(StunMethod.CHANNEL_BIND, number, peer, now_ns)

    def wrapped(self, data: bytes, peer: HostPort) -> bytes:
        """Return the message that lets the server send data to a peer."""
        if peer == self._channel:
            return build_channel_data(FIRST_CHANNEL, data, is_stream=self.is_stream)
        transaction = self.random_bytes(TRANSACTION_BYTES)
        attributes: dict[int, bytes] = {
            StunAttribute.XOR_PEER_ADDRESS: xor_address(peer, transaction),
            StunAttribute.DATA: data,
        }
        return build_message(StunKind.INDICATION, transaction, attributes, "", StunMethod.SEND)

    # A server keeps a forgotten allocation for `LIFETIME_NS` and counts it for the quota (486), so
    # that it would refuse the next sessions of a load test.
    def close(self) -> None:
        """End the allocation. The last message of `pop_messages` deletes it at the server (RFC
        8656 §8).
        """
        if self.relayed is not None and not self.problem:
            self._request(StunMethod.REFRESH, _lifetime(0), None, 0)
        self.problem = self.problem or in_words(CLOSED)

    def received(self, data: bytes, at_ns: int) -> RelayedData | None:
        """Accept a message of the server. Return the data of a peer in it; None if it has none,
        or is not valid.
        """
        if (framed := parse_channel_data(data)) is not None:
            channel, content = framed
            return (
                (content, self._wanted)
                if channel == FIRST_CHANNEL and self._wanted is not None
                else None
            )
        message = parse_turn_message(data)
        if message is None:
            return None
        if message.kind is StunKind.INDICATION:
            return _data_of(message)
        request = self._requests.get(message.transaction)
        if self.problem or request is None or message.method is not request.method:
            return None
        if message.kind is StunKind.ERROR:
            del self._requests[message.transaction]
            self._refuse(request, message, at_ns)
        elif request.is_signed and not message.is_authentic(self._key):
            self.is_unsigned = True
        elif message.kind is StunKind.SUCCESS:
            del self._requests[message.transaction]
            self._accept(request, message, at_ns)
        return None

    def _accept(self, request: _Request, message: StunMessage, at_ns: int) -> None:
        match request.method:
            case StunMethod.ALLOCATE:
                value = message.attributes.get(StunAttribute.XOR_RELAYED_ADDRESS, b"")
                self.relayed = mapped_address(value, message.transaction)
                if self.relayed is None:
                    self.problem = Cause(Code.TURN_WITHOUT_ADDRESS)
                self._plan_refresh(message, at_ns)
            case StunMethod.REFRESH:
                if request.sent_ns is not None:
                    round_trip_ns = max(0, at_ns - request.sent_ns)
                    self.round_trip_ns = min(round_trip_ns, self.round_trip_ns or round_trip_ns)
                self._plan_refresh(message, at_ns)
            case StunMethod.CREATE_PERMISSION if request.peer is not None:
                self.refused.pop(request.peer.host, None)
            case StunMethod.CHANNEL_BIND:
                self._channel = request.peer

    def _plan_refresh(self, message: StunMessage, at_ns: int) -> None:
        """Plan the next refresh, the first one at once."""
        lifetime_ns = (
            int.from_bytes(message.attributes.get(StunAttribute.LIFETIME, b"")[:4]) * NS_PER_S
        )
        interval_ns = min(REFRESH_NS, (lifetime_ns or LIFETIME_NS) // 2)
        # The refresh right after Allocate measures the round trip without the work of an
        # allocation.
        self._refresh_ns = at_ns if message.method is StunMethod.ALLOCATE else at_ns + interval_ns

    def _refuse(self, request: _Request, message: StunMessage, at_ns: int) -> None:
        """Repeat a request with the nonce that its error names, or let it fail."""
        code = message.error_code
        attributes = message.attributes
        nonce = attributes.get(StunAttribute.NONCE, b"")
        realm = attributes.get(StunAttribute.REALM, self._realm)
        is_new = code == STALE_NONCE or (code == UNAUTHORIZED and not request.is_signed)
        is_usable = 0 < len(nonce) <= MAX_TEXT_BYTES and 0 < len(realm) <= MAX_TEXT_BYTES
        if is_new and is_usable and request.nonces < MAX_NONCES:
            # The error itself is not authentic: it has no integrity that this side could check
            # before it knows the realm. A forged one costs at most `MAX_NONCES` further requests.
            self._nonce, self._realm, self._key = nonce, realm, long_term_key(self.login, realm)
            self._request(
                request.method, request.attributes, request.peer, at_ns, request.nonces + 1
            )
        else:
            if code == TRY_ALTERNATE and request.method is StunMethod.ALLOCATE:
                self.alternate = plain_address(attributes.get(StunAttribute.ALTERNATE_SERVER, b""))
            self._fail(request, _refusal(code, message.error_reason, self.alternate), code)

    def _fail(self, request: _Request, reason: Cause, code: int = 0) -> None:
        """Note the failure of a request. Without a permission or a channel, the allocation may
        still be of use.
        """
        if request.method in (StunMethod.ALLOCATE, StunMethod.REFRESH):
            self.is_silent = not code and not self.is_unsigned
            is_ended = request.method is StunMethod.REFRESH and code == MISMATCH
            self.problem = Cause(Code.TURN_ENDED, {"status": MISMATCH}) if is_ended else reason
        elif request.peer is not None and code:
            self.refused[request.peer.host] = code

    def _request(
        self,
        method: StunMethod,
        attributes: Mapping[int, bytes],
        peer: HostPort | None,
        now_ns: int,
        nonces: int = 0,
    ) -> None:
        transaction = self.random_bytes(TRANSACTION_BYTES)
        sent = dict(attributes)
        if peer is not None:
            sent[StunAttribute.XOR_PEER_ADDRESS] = xor_address(peer, transaction)
        if self._key:
            sent[StunAttribute.USERNAME] = self.login.user.encode()
            sent[StunAttribute.REALM] = self._realm
            sent[StunAttribute.NONCE] = self._nonce
        message = build_message(StunKind.REQUEST, transaction, sent, self._key, method)
        due_ns = NEVER_NS if self.is_stream else now_ns + FIRST_WAIT_NS
        until_ns = now_ns + ANSWER_LIMIT_NS
        self._requests[transaction] = _Request(
            method, attributes, peer, message, bool(self._key), nonces, due_ns, until_ns
        )
        self._messages.append(message)


def _lifetime(lifetime_ns: int) -> dict[int, bytes]:
    return {StunAttribute.LIFETIME: (lifetime_ns // NS_PER_S).to_bytes(4)}


def _data_of(message: StunMessage) -> RelayedData | None:
    """Return the data of a peer in an indication, and its address; None if it is no Data
    indication.
    """
    peer = mapped_address(
        message.attributes.get(StunAttribute.XOR_PEER_ADDRESS, b""), message.transaction
    )
    data = message.attributes.get(StunAttribute.DATA)
    return (
        None
        if message.method is not StunMethod.DATA or peer is None or data is None
        else (data, peer)
    )


def _refusal(code: int, reason: str, alternate: HostPort | None) -> Cause:
    """Return why a server refuses an allocation."""
    if alternate is not None:
        return Cause(Code.TURN_REDIRECTS, {"other": authority(alternate.host, alternate.port or 0)})
    if code in CODES:
        return Cause(CODES[code], {"status": code})
    return Cause(Code.TURN_REFUSED, {"reason": f"{code} {excerpt(reason, MAX_REASON_CHARACTERS)}"})
