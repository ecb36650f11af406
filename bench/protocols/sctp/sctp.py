"""An SCTP association (RFC 9260) with one peer over the DTLS of a call (RFC 8261). Pure.

Its owner passes each packet to `received`, calls `expire` when `next_ns` is due, sends what
`pop_packets` returns, and takes the messages from `pop_messages`. Both sides may call `connect`, as
WebRTC's implementations do. The packets that are received before a call of `pop_packets` are
acknowledged together.
"""

# The handshake has four chunks (RFC 9260 §5.1): INIT, INIT ACK with a cookie, COOKIE ECHO, COOKIE
# ACK. INIT and COOKIE ECHO are repeated with a doubled timeout. If both sides send INIT, each
# answers with its own cookie, and both ways lead to the same association (§5.2). An INIT with
# another tag is refused, because a peer that restarts also restarts its DTLS. A packet must have
# the tag of this side; only INIT has none, and an ABORT may have the peer's (§8.5).
#
# Chunks that are due together share packets (§6.10). One SACK acknowledges all packets that were
# received since the last one (§6.2), and the windows decide which fragments go with it
# (`sctp_sender`). A peer closes a channel by a reset of its streams, which is done when all
# fragments before it have arrived (RFC 6525 §5.2.2, RFC 8831 §6.7). FORWARD TSN skips fragments
# that the peer no longer sends (RFC 3758 §3.6).
#
# All that a peer may choose has a limit: cookies, heartbeats, messages, and what waits for an
# earlier fragment. A malformed packet is counted and ignored. A violation of the order ends the
# association.

from collections.abc import Callable
from enum import Enum, auto

from bench.base.units import NEVER_NS
from bench.files.sanitize import excerpt
from bench.protocols.sctp.sctp_packets import (
    HEADER_BYTES,
    MAX_PACKET_BYTES,
    REFLECTED,
    AbortCause,
    Chunk,
    ChunkKind,
    Parameters,
    SctpPacket,
    build_abort,
    build_acknowledgement,
    build_chunk,
    build_packet,
    build_parameters,
    build_reset_response,
    parse_abort,
    parse_acknowledgement,
    parse_fragment,
    parse_number,
    parse_packet,
    parse_parameters,
    parse_resets,
)
from bench.protocols.sctp.sctp_receiver import (
    WINDOW_BYTES,
    ChannelEnding,
    FragmentReceiver,
    StreamMessage,
)
from bench.protocols.sctp.sctp_sender import RTO_FIRST_NS, RTO_MAX_NS, FragmentSender
from bench.wire.connection import ABNORMAL, BAD_FRAME, NORMAL

PORT = 5_000
MAX_STREAMS = 65_535
# Max.Init.Retransmits of RFC 9260 §16.
MAX_INITS = 8
MAX_ECHOED_BYTES = 1_000
"""The maximum size of a cookie or of a heartbeat's content, which this side sends back."""
MAX_REASON_CHARACTERS = 200
DONE = 1
DENIED = 2
IN_PROGRESS = 6
"""The results of requests to reset streams (RFC 6525 §4.4)."""
ALL_STREAMS = -1


class AssociationState(Enum):
    NEW = auto()
    COOKIE_WAIT = auto()
    COOKIE_ECHOED = auto()
    OPEN = auto()


class Association:
    """One side of an association. `random_bytes` returns that many random bytes.

    A message of the peer may have `max_message_bytes`. `ending` is None until the association ends.
    """

    def __init__(
        self, random_bytes: Callable[[int], bytes], max_message_bytes: int, peer_port: int = PORT
    ) -> None:
        self._max_message_bytes = max_message_bytes
        self._peer_port = peer_port
        # The tag 0 is that of a packet with INIT (RFC 9260 §5.3.1), so it is not drawn.
        tag, tsn = (int.from_bytes(random_bytes(4)) for _ in range(2))
        self._own = Parameters(tag or 1, WINDOW_BYTES, MAX_STREAMS, tsn, b"")
        self._cookie = random_bytes(16)
        self._offered: Parameters | None = None
        """The parameters of the peer's INIT."""
        self._peer: Parameters | None = None
        self._state = AssociationState.NEW
        self._now_ns = 0
        self._packets: list[bytes] = []
        self._control: list[bytes] = []
        """The chunks that are sent with the next packet."""
        self._greeting = b""
        self._greetings = 0
        self._greeting_ns = NEVER_NS
        """The chunk INIT or COOKIE ECHO, how often it was sent, and when it is sent again."""
        self._sender = FragmentSender(tsn)
        self._receiver = FragmentReceiver(0, max_message_bytes)
        self._must_acknowledge = False
        self._shutdown_ns = NEVER_NS
        """The instant at which SHUTDOWN of the peer is answered at the latest."""
        self.closed_streams: set[int] = set()
        """The streams that the peer has ended."""
        self.ending: ChannelEnding | None = None
        self.ignored = 0
        """The number of packets that were malformed, or not of this association."""

    @property
    def is_open(self) -> bool:
        return self._state is AssociationState.OPEN and self.ending is None

    @property
    def unsent(self) -> int:
        """The number of fragments that were never sent."""
        return self._sender.unsent

    @property
    def next_ns(self) -> int:
        if self.ending is not None:
            return NEVER_NS
        return min(self._greeting_ns, self._sender.next_ns, self._shutdown_ns)

    @property
    def is_shut(self) -> bool:
        """True if the peer has sent SHUTDOWN."""
        return self._shutdown_ns != NEVER_NS

    def connect(self, now_ns: int) -> None:
        """Begin the handshake, unless the peer has begun it."""
        if self._state is AssociationState.NEW:
            self._now_ns = now_ns
            self._state = AssociationState.COOKIE_WAIT
            self._greet(build_chunk(ChunkKind.INIT, build_parameters(self._own)))

    def send(self, stream: int, protocol: int, data: bytes, now_ns: int) -> int:
        """Add a message, which is not empty. Return the size of its chunks with their headers; 0
        if the peer has ended the association.
        """
        self._now_ns = now_ns
        return 0 if self.is_shut else self._sender.add(stream, protocol, data)

    def abort(self, reason: str, cause: AbortCause = AbortCause.USER) -> None:
        """End the association. The last packet reports that to the peer."""
        self._end(ChannelEnding(NORMAL, reason, ours=True), cause)

    def _end(self, ending: ChannelEnding, cause: AbortCause | None = None) -> None:
        if self.ending is not None:
            return
        self.ending = ending
        if cause is not None and self._peer is not None:
            self._emit(self._peer.tag, build_abort(cause, ending.reason))

    def pop_messages(self) -> list[StreamMessage]:
        return self._receiver.pop_messages()

    def pop_packets(self) -> list[bytes]:
        if self._peer is not None and self.ending is None:
            chunks = self._control
            self._control = []
            # One SACK for all packets that were read together. RFC 9260 §6.2 wants one for every
            # second packet at least, within 200 ms; here no timer delays it.
            if self._must_acknowledge:
                chunks.append(build_acknowledgement(self._receiver.acknowledgement()))
                self._must_acknowledge = False
            if self._state is AssociationState.OPEN:
                chunks += self._sender.due_fragments(self._now_ns)
            self._emit_bundled(self._peer.tag, chunks)
        packets = self._packets
        self._packets = []
        return packets

    def _emit_bundled(self, tag: int, chunks: list[bytes]) -> None:
        """Add packets with these chunks, as few as possible."""
        bundle = list[bytes]()
        size = HEADER_BYTES
        for chunk in chunks:
            if bundle and size + len(chunk) > MAX_PACKET_BYTES:
                self._emit(tag, *bundle)
                bundle = []
                size = HEADER_BYTES
            bundle.append(chunk)
            size += len(chunk)
        if bundle:
            self._emit(tag, *bundle)

    def _emit(self, tag: int, *chunks: bytes) -> None:
        self._packets.append(build_packet(PORT, self._peer_port, tag, chunks))

    def expire(self, now_ns: int) -> None:
        """Send again what is not answered in time."""
        self._now_ns = now_ns
        if self._greeting_ns <= now_ns:
            if self._greetings > MAX_INITS:
                self._end(
                    ChannelEnding(ABNORMAL, "the peer does not answer over SCTP", "timed_out")
                )
            else:
                self._greet(self._greeting)
        self._sender.expire(now_ns)
        if self._sender.is_unanswered:
            self._end(
                ChannelEnding(ABNORMAL, "the peer acknowledges no more data", "timed_out"),
                AbortCause.USER,
            )
        self._shut_down()

    def _greet(self, chunk: bytes) -> None:
        self._greeting = chunk
        self._greetings = self._greetings + 1
        self._greeting_ns = self._now_ns + min(RTO_FIRST_NS << self._greetings - 1, RTO_MAX_NS)
        self._emit(0 if self._peer is None else self._peer.tag, chunk)

    def received(self, data: bytes, now_ns: int) -> None:
        """Accept a packet. What is malformed, or is not of this association, is ignored."""
        if self.ending is not None:
            return
        self._now_ns = now_ns
        try:
            self._accept(parse_packet(data))
        except ValueError:
            self.ignored += 1

    def _accept(self, packet: SctpPacket) -> None:
        first = packet.chunks[0]
        is_init = first.kind == ChunkKind.INIT
        expected = self._own.tag
        if is_init:
            expected = 0
        elif first.kind == ChunkKind.ABORT and first.flags & REFLECTED and self._peer is not None:
            expected = self._peer.tag
        if packet.tag != expected or (is_init and len(packet.chunks) > 1):
            raise ValueError("the packet is of another association")
        for chunk in packet.chunks:
            if (handle := _HANDLERS.get(chunk.kind)) is not None:
                handle(self, chunk)
            elif not chunk.kind & 0x80:  # an unknown chunk of this kind hides those after it (§3.2)
                break
            if self.ending is not None:
                break

    # The handshake

    # The cookie of RFC 9260 §5.1.3 carries the state, so that a server needs none for forged
    # addresses. Inside of DTLS the peer is known, so the cookie is only a random number, and the
    # state stays here.
    def _on_init(self, chunk: Chunk) -> None:
        offered = parse_parameters(chunk.body)
        if self._peer is not None and offered.tag != self._peer.tag:
            raise ValueError("the peer restarts the association")  # its DTLS would restart, too
        self._offered = offered
        answer = build_parameters(self._own._replace(cookie=self._cookie))
        self._emit(offered.tag, build_chunk(ChunkKind.INIT_ACK, answer))

    def _on_init_answer(self, chunk: Chunk) -> None:
        if self._state is not AssociationState.COOKIE_WAIT:
            return
        peer = parse_parameters(chunk.body)
        if not 0 < len(peer.cookie) <= MAX_ECHOED_BYTES:
            raise ValueError("the cookie is missing, or too long")
        self._peer = peer
        self._state = AssociationState.COOKIE_ECHOED
        self._greetings = 0
        self._greet(build_chunk(ChunkKind.COOKIE_ECHO, peer.cookie))

    def _on_cookie(self, chunk: Chunk) -> None:
        if self._offered is None or chunk.body != self._cookie:
            raise ValueError("the cookie is not that of INIT ACK")
        if self._state is not AssociationState.OPEN:
            self._open(self._offered)
        self._control.append(build_chunk(ChunkKind.COOKIE_ACK))

    def _on_cookie_answer(self, chunk: Chunk) -> None:
        if self._state is AssociationState.COOKIE_ECHOED and self._peer is not None:
            self._open(self._peer)

    def _open(self, peer: Parameters) -> None:
        self._peer = peer
        self._state = AssociationState.OPEN
        self._greeting_ns = NEVER_NS
        self._sender.peer_room_bytes = peer.window_bytes
        self._receiver = FragmentReceiver(peer.first_tsn, self._max_message_bytes)

    # Data

    def _on_fragment(self, chunk: Chunk) -> None:
        fragment = parse_fragment(chunk)
        if self._state is AssociationState.OPEN:
            self._must_acknowledge = True
            self._receiver.receive(fragment)
            self._check_received()

    def _on_forward(self, chunk: Chunk) -> None:
        tsn = parse_number(chunk.body)
        if self._state is AssociationState.OPEN:
            self._must_acknowledge = True
            self._receiver.skip_until(tsn)
            self._check_received()

    def _check_received(self) -> None:
        if (violation := self._receiver.violation) is not None:
            self._end(
                violation, AbortCause.VIOLATION if violation.code == BAD_FRAME else AbortCause.USER
            )

    def _on_acknowledgement(self, chunk: Chunk) -> None:
        report = parse_acknowledgement(chunk.body)
        if self._state is AssociationState.OPEN:
            self._sender.acknowledge(report, self._now_ns)
            self._shut_down()

    # The rest

    def _on_heartbeat(self, chunk: Chunk) -> None:
        if len(chunk.body) <= MAX_ECHOED_BYTES and len(self._control) < MAX_INITS:
            self._control.append(build_chunk(ChunkKind.HEARTBEAT_ACK, chunk.body))

    # A request that this side cannot fulfil yet is answered with "in progress", and the peer
    # repeats it (RFC 6525 §5.2.2). Other requests, such as more streams, are denied.
    def _on_reset(self, chunk: Chunk) -> None:
        """Answer requests to reset streams, with which a peer closes its channels (RFC 8831
        §6.7).
        """
        for reset in parse_resets(chunk.body):
            result = DENIED
            if reset.last_tsn is not None:
                result = DONE if self._receiver.has_all_until(reset.last_tsn) else IN_PROGRESS
            if result == DONE:
                self.closed_streams.update(reset.streams or (ALL_STREAMS,))
            self._control.append(build_reset_response(reset.number, result))

    def _on_abort(self, chunk: Chunk) -> None:
        cause, text = parse_abort(chunk.body)
        reason = f": {excerpt(text, MAX_REASON_CHARACTERS)}" if text else ""
        if cause in (None, AbortCause.USER):
            self._end(ChannelEnding(NORMAL, f"the peer closed the connection (SCTP ABORT){reason}"))
        else:
            self._end(
                ChannelEnding(
                    ABNORMAL,
                    f"the peer aborted the connection (SCTP cause {cause}){reason}",
                    "reset",
                )
            )

    # All that is queued is sent before SHUTDOWN ACK, and nothing new is accepted (RFC 9260 §9.2). A
    # peer that is gone acknowledges nothing, so this lasts for at most one timeout.
    def _on_shutdown(self, chunk: Chunk) -> None:
        if self._peer is not None:
            self._sender.acknowledge_until(parse_number(chunk.body), self._now_ns)
            self._shutdown_ns = min(self._shutdown_ns, self._now_ns + RTO_FIRST_NS)
            self._shut_down()

    def _shut_down(self) -> None:
        """Answer SHUTDOWN as soon as nothing is outstanding."""
        if self._shutdown_ns <= self._now_ns or (self.is_shut and self._sender.is_done):
            assert self._peer is not None, "it sent SHUTDOWN"
            self._emit(self._peer.tag, build_chunk(ChunkKind.SHUTDOWN_ACK))
            self._end(ChannelEnding(NORMAL, "the peer closed the connection (SCTP SHUTDOWN)"))


_HANDLERS: dict[int, Callable[[Association, Chunk], None]] = {
    ChunkKind.DATA: Association._on_fragment,
    ChunkKind.INIT: Association._on_init,
    ChunkKind.INIT_ACK: Association._on_init_answer,
    ChunkKind.SACK: Association._on_acknowledgement,
    ChunkKind.HEARTBEAT: Association._on_heartbeat,
    ChunkKind.ABORT: Association._on_abort,
    ChunkKind.SHUTDOWN: Association._on_shutdown,
    ChunkKind.ERROR: lambda association, chunk: None,
    ChunkKind.COOKIE_ECHO: Association._on_cookie,
    ChunkKind.COOKIE_ACK: Association._on_cookie_answer,
    ChunkKind.RECONFIG: Association._on_reset,
    ChunkKind.FORWARD_TSN: Association._on_forward,
}
