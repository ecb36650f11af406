"""ICE (RFC 8445) between one local address and the candidates of a session description, and its
consent. Pure.

`ControllingAgent` is the side that offers: it checks each candidate, nominates one, and then renews
the peer's consent (RFC 7675). `LiteAgent` only responds, as the services do that have a public
address. Their owner passes each STUN message to `received`, calls `expire` when `next_ns` is due,
and sends what `pop_packets` returns.
"""

# An agent sends nothing to an address that is not one of its candidates. A peer whose socket has
# several addresses, or whose packets pass a NAT, answers from another address than it names. An
# authentic message from there adds a peer-reflexive candidate (RFC 8445 §7.3.1.3), if packets may
# go to its host. The lite agent has no candidates. It responds to each authentic request.
#
# A relay is a second way to each candidate of the peer (RFC 8445 §5.1.1.2). It is checked after the
# direct way has had time to answer, so that a call takes the relay only if nothing else works.
#
# The checks of new candidates start 50 ms apart, by priority, and are repeated after 0.5, 1, and
# then every 2 s (§14.2, §14.3). A candidate fails after `MAX_CHECKS`, and the call if all have
# failed. The first candidate that answers is nominated by the next check (regular nomination,
# §8.1.1); a lite peer is nominated at once, because it sends no checks. The nominated address
# stays: the requests for consent go only there, at random times between 4 and 6 s, and after 30 s
# without a response nothing more is sent (RFC 7675 §5.1).

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.ice.stun import (
    TRANSACTION_BYTES,
    StunAttribute,
    StunKind,
    StunMessage,
    build_message,
    mapped_address,
    xor_address,
)
from bench.wire.addresses import HostPort

PACE_NS = 50 * NS_PER_MS
"""The time between two new checks (RFC 8445 §14.2)."""
FIRST_WAIT_NS = 500 * NS_PER_MS
"""The time after which a check is repeated for the first time (RFC 8445 §14.3). Later, it
doubles."""
MAX_CHECKS = 6
"""The number of checks of a candidate after which it has failed."""
CONSENT_NS = 5 * NS_PER_S
"""The mean time between two requests for consent (RFC 7675 §5.1)."""
CONSENT_LIMIT_NS = 30 * NS_PER_S
"""The time after the last consent after which nothing more is sent to the peer."""
WAIT_FOR_CHECKS_NS = 3 * NS_PER_S
"""The time after which a peer without candidates, which may still send checks, has failed."""
MAX_CANDIDATES = 16
"""The maximum number of candidates that are checked. A peer decides how many it names."""
MAX_LEARNED = 8
"""The maximum number of peer-reflexive candidates. A peer decides from how many addresses it
sends."""
RELAY_WAIT_NS = 500 * NS_PER_MS
"""The time for which only the direct way is checked, if there is one."""
NO_CANDIDATE = "the peer names no candidate that can be reached"
HOST_PREFERENCE = 126
PEER_REFLEXIVE_PREFERENCE = 110
"""The preferences of the types of candidates (RFC 8445 §5.1.2.2)."""
MAX_PREFERENCE = 65_535
"""The preference of the first of several addresses of a host."""
ROLE_CONFLICT = 487
Packet = tuple[bytes, HostPort]
"""The data of a packet, and its destination."""


def host_priority(preference: int = MAX_PREFERENCE) -> int:
    """Return the priority of a host candidate of the component 1 (RFC 8445 §5.1.2.1)."""
    return HOST_PREFERENCE << 24 | preference << 8 | 255


CHECK_PRIORITY = PEER_REFLEXIVE_PREFERENCE << 24 | MAX_PREFERENCE << 8 | 255
"""The priority that a peer gives to an address which it learns from a check (RFC 8445 §7.1.1)."""
RELAYED_PRIORITY = MAX_PREFERENCE << 8 | 255
"""The priority of a relayed candidate, whose type has the preference 0 (RFC 8445 §5.1.2.1)."""


class RelayedAddress(HostPort):
    """An address of a peer that packets reach through the relay. It is not equal to the same
    address without one.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RelayedAddress) and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((RelayedAddress, *self))


class IceLogin(NamedTuple):
    """The user fragment and the password of one side. The password is a secret of the call."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"IceLogin({self.user!r}, hidden)"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address at which a peer may be reached over UDP."""

    address: HostPort
    priority: int


@dataclass(slots=True)
class _Pair:
    """The checks of one candidate. `due_ns` is the instant of the next check."""

    candidate: Candidate
    due_ns: int = NEVER_NS
    checks: int = 0
    is_valid: bool = False
    has_failed: bool = False


@dataclass(slots=True)
class _Request:
    """A request that awaits its response."""

    pair: _Pair
    nominates: bool
    sent_ns: int


class ControllingAgent:
    """The agent of the side that offers. `random_bytes` returns that many random bytes.

    `permits` returns whether packets may go to a host that is not among the candidates. If
    `has_relay` is True, a relay is a second way to each address. `selected` is the nominated
    address; None until then. `problem` is why there is none, or why the consent ended.
    """

    def __init__(
        self,
        local: IceLogin,
        remote: IceLogin,
        candidates: Sequence[Candidate],
        now_ns: int,
        random_bytes: Callable[[int], bytes],
        *,
        is_peer_lite: bool = False,
        permits: Callable[[str], bool] = lambda host: False,
        has_relay: bool = False,
    ) -> None:
        self._local = local
        self._remote = remote
        self._random_bytes = random_bytes
        self._permits = permits
        self._nominates_at_once = is_peer_lite
        self._tie_breaker = random_bytes(8)
        by_address = {
            each.address: each
            for each in sorted(candidates, key=lambda candidate: candidate.priority)
        }
        best = list(reversed(by_address.values()))[:MAX_CANDIDATES]
        self._pairs = {
            each.address: _Pair(each, now_ns + number * PACE_NS) for number, each in enumerate(best)
        }
        self._relay_ns = now_ns + (RELAY_WAIT_NS if best else 0)
        """The instant from which the way through the relay is checked."""
        for number, each in enumerate(best if has_relay else ()):
            address = RelayedAddress(*each.address)
            self._pairs[address] = _Pair(
                replace(each, address=address), self._relay_ns + number * PACE_NS
            )
        self._max_pairs = len(self._pairs) + MAX_LEARNED
        self._wait_until_ns = now_ns + WAIT_FOR_CHECKS_NS
        self._requests: dict[bytes, _Request] = {}
        self._packets: list[Packet] = []
        self._consent_ns = 0
        """The instant of the last consent."""
        self.selected: HostPort | None = None
        self.mapped: HostPort | None = None
        """The address of this side, as the peer sees it."""
        self.round_trip_ns: int | None = None
        """The shortest time from a request to its response, of the selected address; None until
        there is one."""
        self.refused: HostPort | None = None
        """The first address from which an authentic message came, although no packets may go to
        its host."""
        self.problem = "" if best or not is_peer_lite else NO_CANDIDATE

    @property
    def addresses(self) -> frozenset[HostPort]:
        """The only addresses to which packets are sent."""
        return frozenset(self._pairs)

    @property
    def next_ns(self) -> int:
        no_pair_ns = NEVER_NS if self.problem else self._wait_until_ns
        return min((pair.due_ns for pair in self._pairs.values()), default=no_pair_ns)

    def pop_packets(self) -> list[Packet]:
        packets = self._packets
        self._packets = []
        return packets

    def expire(self, now_ns: int) -> None:
        """Send the checks that are due."""
        if self.selected is not None and now_ns - self._consent_ns >= CONSENT_LIMIT_NS:
            self._fail(f"the peer has not renewed its consent for {CONSENT_LIMIT_NS // NS_PER_S} s")
        if not self._pairs and self._wait_until_ns <= now_ns:
            self._fail(f"{NO_CANDIDATE}, and sends no checks")
        for pair in self._pairs.values():
            if pair.due_ns <= now_ns:
                self._check(pair, now_ns)

    def _check(self, pair: _Pair, now_ns: int) -> None:
        if self.selected is not None:
            share = self._random_bytes(1)[0] / 255
            pair.due_ns = now_ns + int(CONSENT_NS * (0.8 + 0.4 * share))
        elif pair.checks >= MAX_CHECKS:
            pair.due_ns = NEVER_NS
            pair.has_failed = True
            if self._has_no_way:
                self._fail("no candidate of the peer answers")
            return
        else:
            pair.due_ns = now_ns + (FIRST_WAIT_NS << min(pair.checks, 2))
            pair.checks += 1
        nominates = pair.is_valid or self._nominates_at_once
        transaction = self._random_bytes(TRANSACTION_BYTES)
        attributes: dict[int, bytes] = {
            StunAttribute.USERNAME: f"{self._remote.user}:{self._local.user}".encode(),
            StunAttribute.PRIORITY: CHECK_PRIORITY.to_bytes(4),
            StunAttribute.CONTROLLING: self._tie_breaker,
        }
        if nominates:
            attributes[StunAttribute.USE_CANDIDATE] = b""
        self._requests[transaction] = _Request(pair, nominates, now_ns)
        data = build_message(StunKind.REQUEST, transaction, attributes, self._remote.password)
        self._packets.append((data, pair.candidate.address))

    @property
    def _has_no_way(self) -> bool:
        return all(pair.has_failed for pair in self._pairs.values())

    def _fail(self, problem: str) -> None:
        self.problem = self.problem or problem
        for pair in self._pairs.values():
            pair.due_ns = NEVER_NS

    def received(self, message: StunMessage, source: HostPort, at_ns: int) -> None:
        """Accept a message. Messages that are not authentic, or come from a host without
        permission, are ignored.
        """
        if self.problem:
            return
        if message.kind is StunKind.REQUEST:
            self._answer(message, source, at_ns)
            return
        request = self._requests.get(message.transaction)
        if request is None or not message.is_authentic(self._remote.password):
            return
        if request.pair.candidate.address != source:  # the pair is not valid (RFC 8445 §7.2.5.2.1)
            self._learn(source, request.pair.candidate.priority, at_ns)
            return
        del self._requests[message.transaction]
        if message.kind is StunKind.SUCCESS:
            self._succeeded(request, message, at_ns)
        elif message.kind is StunKind.ERROR and message.error_code != ROLE_CONFLICT:
            request.pair.has_failed = True
            request.pair.due_ns = NEVER_NS
            if self.selected == source or self._has_no_way:
                self._fail(f"the peer refuses the connectivity checks with {message.error_code}")

    def _answer(self, message: StunMessage, source: HostPort, at_ns: int) -> None:
        """Respond to a request, and check the address from which it came (RFC 8445 §7.3.1.4)."""
        response = _response(
            message, source, self._local, f"{self._local.user}:{self._remote.user}"
        )
        if response is None:
            return
        priority = int.from_bytes(message.attributes.get(StunAttribute.PRIORITY, b"")[:4])
        if self._learn(source, priority, at_ns):
            self._packets.append((response, source))

    def _learn(self, address: HostPort, priority: int, at_ns: int) -> bool:
        """Check an address from which an authentic message came. Return False if no packets may
        go there.
        """
        pair = self._pairs.get(address)
        if pair is None:
            if len(self._pairs) >= self._max_pairs:
                return False
            if not self._permits(address.host):
                self.refused = self.refused or address
                return False
            pair = self._pairs[address] = _Pair(Candidate(address, priority))
        if not pair.checks and self.selected is None:
            pair.due_ns = (
                max(at_ns, self._relay_ns) if isinstance(address, RelayedAddress) else at_ns
            )
        return True

    def _succeeded(self, request: _Request, message: StunMessage, at_ns: int) -> None:
        pair = request.pair
        round_trip_ns = max(0, at_ns - request.sent_ns)
        mapped = mapped_address(
            message.attributes.get(StunAttribute.XOR_MAPPED_ADDRESS, b""), message.transaction
        )
        if self.selected == pair.candidate.address:
            self._consent_ns, self.round_trip_ns = (
                at_ns,
                min(round_trip_ns, self.round_trip_ns or round_trip_ns),
            )
            self._requests = {
                key: each for key, each in self._requests.items() if each.sent_ns > request.sent_ns
            }
        elif self.selected is not None:
            return
        elif request.nominates:
            self.selected = pair.candidate.address
            self.mapped = mapped
            self._consent_ns = at_ns
            self.round_trip_ns = round_trip_ns
            self._requests.clear()
            for each in self._pairs.values():
                each.due_ns = NEVER_NS
            pair.due_ns = at_ns + CONSENT_NS
        elif not any(each.is_valid for each in self._pairs.values()):
            # A pair of higher priority might still answer, but waiting for it would be a part of
            # the set-up time.
            # the next check nominates it
            pair.is_valid = True
            pair.checks = 0
            pair.due_ns = at_ns


def _response(
    message: StunMessage, source: HostPort, local: IceLogin, user: str | None
) -> bytes | None:
    """Return the response to an authentic request; None if the request is ignored. `user` is
    None if unknown.
    """
    name = message.attributes.get(StunAttribute.USERNAME, b"").decode("utf-8", "replace")
    is_for_us = name == user if user is not None else name.partition(":")[0] == local.user
    if not is_for_us or not message.is_authentic(local.password):
        return None
    # only this side controls
    if user is not None and StunAttribute.CONTROLLING in message.attributes:
        code = bytes((0, 0, ROLE_CONFLICT // 100, ROLE_CONFLICT % 100)) + b"Role Conflict"
        refused: dict[int, bytes] = {StunAttribute.ERROR_CODE: code}
        return build_message(StunKind.ERROR, message.transaction, refused, local.password)
    attributes: dict[int, bytes] = {
        StunAttribute.XOR_MAPPED_ADDRESS: xor_address(source, message.transaction)
    }
    return build_message(StunKind.SUCCESS, message.transaction, attributes, local.password)


# The requests with which the full agent renews its consent also show this side that it lives.
@dataclass(slots=True)
class LiteAgent:
    """The agent of a side that only responds (RFC 8445 §2.5). `selected` is the address that the
    peer nominated.
    """

    local: IceLogin
    consent_ns: int
    """The instant of the last authentic request; at first that of the start."""
    selected: HostPort | None = None
    problem: str = ""
    _packets: list[Packet] = field(default_factory=list)

    mapped: HostPort | None = None
    refused: HostPort | None = None
    round_trip_ns: int | None = None

    @property
    def addresses(self) -> frozenset[HostPort]:
        """The only address to which packets other than responses are sent."""
        return frozenset(() if self.selected is None else (self.selected,))

    @property
    def next_ns(self) -> int:
        return NEVER_NS if self.problem else self.consent_ns + CONSENT_LIMIT_NS

    def pop_packets(self) -> list[Packet]:
        packets = self._packets
        self._packets = []
        return packets

    def expire(self, now_ns: int) -> None:
        if now_ns >= self.next_ns:
            self.problem = "the peer sends no more connectivity checks"

    def received(self, message: StunMessage, source: HostPort, at_ns: int) -> None:
        """Accept a message. Messages that are not authentic requests are ignored."""
        if message.kind is not StunKind.REQUEST or self.problem:
            return
        if (response := _response(message, source, self.local, None)) is None:
            return
        self._packets.append((response, source))
        self.consent_ns = at_ns
        if StunAttribute.USE_CANDIDATE in message.attributes:
            self.selected = source


IceAgent = ControllingAgent | LiteAgent
