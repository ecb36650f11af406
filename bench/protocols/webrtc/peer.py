"""One connection to a peer: the packets of one socket are STUN, DTLS, or media (RFC 7983). It has
no socket.

Its owner passes each datagram to `received`, calls `expire` when `next_ns` is due, sends the
packets of `pop_packets`, and takes the messages of the data channel, which are in DTLS, from
`pop_messages`.
"""

# Three machines share the packets: ICE decides to which address anything may go, DTLS starts when
# an address is selected, and the data channel starts when the keys of DTLS are known. The end of
# one is the end of all; `ending` prefers what the channel states, because it has the peer's reason.
#
# The peer may be faster: its DTLS client may send before this side has selected its address. Up to
# `MAX_EARLY_DATAGRAMS` of its datagrams wait for that. Without them, its first flight would be
# repeated after a second, and the call would seem to need that second. They are not answered
# before, because an address that ICE has not checked may belong to another user.
#
# `at_ns` is the arrival of a packet and `now_ns` the present. The phases of the set-up end with the
# arrival of the packet that completes them, so that a busy process measures the peer and not
# itself.

from collections import Counter, deque
from collections.abc import Callable
from enum import Enum, auto

from bench.base.units import NEVER_NS, NS_PER_S
from bench.protocols.ice.ice import IceAgent, Packet
from bench.protocols.ice.stun import parse_message
from bench.protocols.sctp.data_channel import ChannelMessage, DataChannel
from bench.protocols.sctp.sctp_packets import AbortCause
from bench.protocols.sctp.sctp_receiver import ChannelEnding
from bench.protocols.webrtc.dtls import DtlsSession, SrtpKeys
from bench.wire.addresses import HostPort
from bench.wire.connection import ABNORMAL, NORMAL

MAX_EARLY_DATAGRAMS = 16
"""The maximum number of DTLS datagrams that wait until an address of the peer is selected."""


class PacketType(Enum):
    """What a datagram is, by its first byte."""

    STUN = auto()
    DTLS = auto()
    MEDIA = auto()
    OTHER = auto()


def packet_type(data: bytes) -> PacketType:
    """Return the type of a datagram (RFC 7983 §7)."""
    first = data[0] if data else 255
    if first < 4:
        return PacketType.STUN
    # The rest of the table of RFC 7983 §7 is not used here: ZRTP from 16, channels of TURN from 64.
    if 20 <= first < 64:
        return PacketType.DTLS
    return PacketType.MEDIA if 128 <= first < 192 else PacketType.OTHER


class WebRtcPeer:
    """The ICE, the DTLS and the data channel of one call. `channel` is None if the call has none.

    If `needs_channel` is True, the end of the channel is the end of the connection. `selected_ns`
    and `keyed_ns` are the instants at which ICE selected an address, and at which the keys were
    known.
    """

    def __init__(
        self,
        ice: IceAgent,
        dtls: DtlsSession,
        channel: DataChannel | None = None,
        *,
        needs_channel: bool = True,
    ) -> None:
        self._ice = ice
        self._dtls = dtls
        self.channel = channel
        self._needs_channel = needs_channel
        self._early: deque[bytes] = deque(maxlen=MAX_EARLY_DATAGRAMS)
        self._dtls_due_ns = NEVER_NS
        self.selected_ns: int | None = None
        self.keyed_ns: int | None = None
        # A media packet changes none of the machines, and there are 50 of them each second, so the
        # value is stored instead of computed.
        self.next_ns = ice.next_ns
        """The instant at which `expire` is due. It changes when packets are received, popped, or
        due, not for media."""
        self.ignored = Counter[PacketType]()
        """The numbers of datagrams that were ignored, because their sender or their type is
        unknown."""

    @property
    def peer(self) -> HostPort | None:
        """The address of the peer; None until ICE has selected one."""
        return self._ice.selected

    @property
    def addresses(self) -> frozenset[HostPort]:
        """The addresses to which this side may send."""
        return self._ice.addresses

    @property
    def refused(self) -> HostPort | None:
        """The first address from which the peer sends checks although no packets may go to its
        host; None if none.
        """
        return self._ice.refused

    @property
    def mapped(self) -> HostPort | None:
        """The address of this side, as the peer sees it; None if it is unknown."""
        return self._ice.mapped

    @property
    def round_trip_ns(self) -> int | None:
        """The shortest round trip to the peer, with its ICE; None if it is unknown."""
        return self._ice.round_trip_ns

    @property
    def keys(self) -> SrtpKeys | None:
        return self._dtls.keys

    @property
    def ending(self) -> ChannelEnding | None:
        """The end of the connection; None if it has not failed, and has not ended."""
        if self._needs_channel and self.channel is not None and self.channel.ending is not None:
            return self.channel.ending
        if not (problem := self._ice.problem or self._dtls.problem):
            return None
        return ChannelEnding(NORMAL if self._dtls.is_closed else ABNORMAL, problem)

    @property
    def problem(self) -> str:
        """Why the connection failed or ended; "" if it did not."""
        return "" if self.ending is None else self.ending.reason

    def _plan(self) -> None:
        channel_ns = NEVER_NS if self.channel is None else self.channel.next_ns
        self.next_ns = min(self._ice.next_ns, self._dtls_due_ns, channel_ns)

    def expire(self, now_ns: int) -> None:
        if self._ice.next_ns <= now_ns:
            self._ice.expire(now_ns)
        if self._dtls_due_ns <= now_ns:
            self._advance(self._dtls.expire, now_ns)
        if self.channel is not None and self.channel.next_ns <= now_ns:
            self.channel.expire(now_ns)
        self._plan()

    def received(self, data: bytes, source: HostPort, at_ns: int, now_ns: int) -> bool:
        """Accept a datagram, which arrived at `at_ns`. Return True if it is media, which the
        owner must decrypt.
        """
        kind = packet_type(data)
        is_peer = source == self.peer
        if kind is PacketType.MEDIA and is_peer:
            return True
        if kind is PacketType.STUN:
            message = parse_message(data)
            if message is None:
                self.ignored[kind] += 1
            else:
                self._ice.received(message, source, at_ns)
                self._note_selection(at_ns, now_ns)
        elif kind is PacketType.DTLS and (is_peer or self.peer is None):
            if is_peer:
                self._advance(lambda: self._dtls.received(data), now_ns, at_ns)
            else:
                self._early.append(data)
        else:
            self.ignored[kind] += 1
        self._plan()
        return False

    def _note_selection(self, at_ns: int, now_ns: int) -> None:
        if self.peer is None or self.selected_ns is not None:
            return
        self.selected_ns = at_ns
        self._advance(self._dtls.start, now_ns)
        while self._early:
            data = self._early.popleft()
            # The function is called at once.
            self._advance(lambda: self._dtls.received(data), now_ns, at_ns)  # noqa: B023

    def _advance(self, step: Callable[[], None], now_ns: int, at_ns: int | None = None) -> None:
        step()
        if self.keyed_ns is None and self._dtls.keys is not None:
            self.keyed_ns = now_ns if at_ns is None else at_ns
            if self.channel is not None:
                self.channel.start(now_ns)
        for content in self._dtls.pop_contents():
            if self.channel is not None:
                self.channel.received(content, now_ns)
        timeout_s = self._dtls.timeout_s
        self._dtls_due_ns = (
            NEVER_NS if timeout_s is None else now_ns + int(timeout_s * NS_PER_S) + 1
        )

    def pop_packets(self) -> list[Packet]:
        """Return the packets to send, with their destinations."""
        self._encrypt()
        self._plan()
        peer = self.peer
        encrypted = self._dtls.pop_packets()
        return [*self._ice.pop_packets(), *((data, peer) for data in encrypted if peer is not None)]

    def pop_messages(self) -> list[ChannelMessage]:
        """Return the messages that were received since the last call."""
        return [] if self.channel is None else self.channel.pop_messages()

    def close(self, reason: str = "", cause: AbortCause = AbortCause.USER) -> None:
        """End the connection. The last packets report that to the peer, with the reason."""
        if self.channel is not None:
            self.channel.abort(reason, cause)
        self._encrypt()
        self._dtls.close()

    def _encrypt(self) -> None:
        if self.channel is not None:
            for packet in self.channel.pop_packets():
                self._dtls.send(packet)
