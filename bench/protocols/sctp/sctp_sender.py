"""The sending half of an SCTP association: messages → fragments, in windows, until they are
acknowledged. Pure.
"""

# A message becomes fragments that fit into a packet. Two windows limit the bytes that are on their
# way: the room that the peer reports, and the congestion window (RFC 9260 §6.1). The congestion
# window begins with `FIRST_WINDOW_BYTES`, grows by up to one packet for each SACK until its
# threshold (slow start, §7.2.1), and then by one packet for each window that was acknowledged
# (§7.2.2). It grows only while it is used up.
#
# A fragment is sent again in two cases. Three SACKs report later fragments, and not this one: the
# window is halved, once until all that was sent before the loss is acknowledged (§7.2.4). Or
# nothing is acknowledged until the timeout, which follows from the measured round trips (§6.3.1):
# all that is on its way counts as lost, the window is one packet, and the timeout doubles (§6.3.3).
# Fragments that were sent twice measure no round trip. After `MAX_RETRANSMITS` timeouts the peer
# counts as gone. A fragment that the peer reported and then dropped is sent again (§6.2.1).

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.sctp.sctp_packets import (
    BEGIN,
    DATA_HEADER_BYTES,
    END,
    MAX_FRAGMENT_BYTES,
    MAX_PACKET_BYTES,
    Acknowledgement,
    Fragment,
    build_fragment,
)
from bench.protocols.sctp.sctp_receiver import TSN_MASK

RTO_FIRST_NS = NS_PER_S
RTO_MAX_NS = 60 * NS_PER_S
RTO_MIN_NS = 400 * NS_PER_MS
"""The minimum retransmission timeout. It is shorter than the second of RFC 9260 §16, as in
browsers."""
MAX_RETRANSMITS = 10
FIRST_WINDOW_BYTES = max(2 * MAX_PACKET_BYTES, 4_404)
"""The congestion window of a new association (§7.2.1)."""
REPORTS_OF_LOSS = 3
"""The number of reports after which a missing fragment is sent again (§7.2.4)."""


@dataclass(slots=True)
class _Outgoing:
    """A fragment to send, or one that was sent and is not acknowledged cumulatively. Its TSN is
    set when it is sent.
    """

    fragment: Fragment
    sent_ns: int = 0
    is_repeated: bool = False
    is_acknowledged: bool = False
    is_due: bool = False
    """Whether it must be sent again."""
    missing: int = 0
    """The number of reports that it is missing; -1 if it is sent again because of them."""

    @property
    def size(self) -> int:
        return len(self.fragment.data)


class FragmentSender:
    """The fragments to one peer. The first one is `first_tsn`. `next_ns` is when `expire` is
    due.
    """

    def __init__(self, first_tsn: int) -> None:
        self._queue: deque[_Outgoing] = deque()
        self._flying: list[_Outgoing] = []
        self._tsn = first_tsn - 1
        """The last fragment up to which all are acknowledged. It is not reduced to 32 bits."""
        self._sequences: dict[int, int] = {}
        self._window_bytes = FIRST_WINDOW_BYTES
        self._threshold_bytes = TSN_MASK
        self._partial_bytes = 0
        self._flying_bytes = 0
        """The size of the fragments that are on their way. Those that are due again are not."""
        self._recovery_tsn: int | None = None
        """The last fragment that was sent before the loss from which the sender recovers."""
        self._round_trip_ns = self._deviation_ns = 0
        self._timeout_ns = RTO_FIRST_NS
        self._timeouts = 0
        self.peer_room_bytes = 0
        """The number of bytes for which the peer has room, without those that are on their way."""
        self.next_ns = NEVER_NS

    @property
    def unsent(self) -> int:
        """The number of fragments that were never sent."""
        return len(self._queue)

    @property
    def is_done(self) -> bool:
        """Whether all messages were sent and acknowledged."""
        return not (self._queue or self._flying)

    @property
    def is_unanswered(self) -> bool:
        """Whether the peer has acknowledged nothing for too long."""
        return self._timeouts > MAX_RETRANSMITS

    def add(self, stream: int, protocol: int, data: bytes) -> int:
        """Add a message, which is not empty. Return the size of its chunks with their headers."""
        sequence = self._sequences.get(stream, 0)
        self._sequences[stream] = (sequence + 1) & 0xFFFF
        starts = range(0, len(data), MAX_FRAGMENT_BYTES)
        for start in starts:
            flags = (BEGIN if start == 0 else 0) | (END if start == starts[-1] else 0)
            part = data[start : start + MAX_FRAGMENT_BYTES]
            self._queue.append(_Outgoing(Fragment(0, stream, sequence, protocol, flags, part)))
        return len(data) + len(starts) * DATA_HEADER_BYTES

    def due_fragments(self, now_ns: int) -> Iterator[bytes]:
        """Yield the fragments that the windows permit: first those that are sent again, then new
        ones (§6.1).

        One fragment may always be on its way.
        """
        # A fragment that three reports miss is sent at once, whatever the window is (RFC 9260
        # §7.2.4). Those after a timeout share the window of one packet.
        for each in self._flying:
            if not each.is_due:
                continue
            is_reported = each.missing < 0
            if (
                self._flying_bytes
                and not is_reported
                and self._flying_bytes + each.size > self._window_bytes
            ):
                break
            each.is_due = False
            each.is_repeated = True
            yield self._launched(each, now_ns)
        while self._queue:
            each = self._queue[0]
            # The zero window probe of §6.1 A: only the SACK of a fragment tells that the peer has
            # room again.
            limit_bytes = min(self._window_bytes, self._flying_bytes + self.peer_room_bytes)
            if self._flying_bytes and self._flying_bytes + each.size > limit_bytes:
                break
            tsn = self._tsn + len(self._flying) + 1
            each.fragment = each.fragment._replace(tsn=tsn & TSN_MASK)
            self._flying.append(self._queue.popleft())
            self.peer_room_bytes = max(0, self.peer_room_bytes - each.size)
            yield self._launched(each, now_ns)

    def _launched(self, each: _Outgoing, now_ns: int) -> bytes:
        each.sent_ns = now_ns
        self._flying_bytes += each.size
        if self.next_ns == NEVER_NS:
            self.next_ns = now_ns + self._timeout_ns
        return build_fragment(each.fragment)

    def expire(self, now_ns: int) -> None:
        """Send the fragments that are not acknowledged in time again, slowly (§6.3.3)."""
        if self.next_ns > now_ns:
            return
        self._timeouts += 1
        self._timeout_ns = min(self._timeout_ns * 2, RTO_MAX_NS)
        self.next_ns = NEVER_NS
        # §7.2.3: the window after a timeout is one packet, and slow start leads back to half of the
        # last one.
        self._threshold_bytes = max(self._window_bytes // 2, 4 * MAX_PACKET_BYTES)
        self._window_bytes = MAX_PACKET_BYTES
        self._partial_bytes = 0
        self._recovery_tsn = None
        for each in self._flying:
            each.is_due = not each.is_acknowledged
            each.missing = 0
        self._flying_bytes = 0

    def acknowledge_until(self, tsn: int, now_ns: int) -> None:
        """Take the TSN of a SHUTDOWN, up to which all has arrived (§9.2)."""
        later = self._flying[(tsn - self._tsn) & TSN_MASK :]
        gaps = [(place, place) for place, each in enumerate(later, 1) if each.is_acknowledged]
        window_bytes = self.peer_room_bytes + self._flying_bytes
        self.acknowledge(Acknowledgement(tsn, window_bytes, gaps), now_ns)

    def acknowledge(self, report: Acknowledgement, now_ns: int) -> None:
        count = (report.tsn - self._tsn) & TSN_MASK
        if count > len(self._flying):
            return  # it is older than the last one, or names fragments that were not sent
        is_full = self._flying_bytes + MAX_PACKET_BYTES > self._window_bytes
        new_bytes = 0
        for each in self._flying[:count]:
            new_bytes += self._arrived(each, now_ns)
        del self._flying[:count]
        self._tsn += count
        found = self._reported(report.gaps)
        last_new = 0
        for index, each in enumerate(self._flying):
            if index in found and not each.is_acknowledged:
                new_bytes = new_bytes + self._arrived(each, now_ns)
                last_new = index
            elif index not in found and each.is_acknowledged:  # the peer has dropped it
                each.is_acknowledged = False
                each.is_due = True
        self.peer_room_bytes = max(0, report.window_bytes - self._flying_bytes)
        if self._recovery_tsn is not None and self._tsn >= self._recovery_tsn:
            self._recovery_tsn = None
        # A peer without room answers probes, so it is not gone (§6.1).
        if new_bytes or not report.window_bytes:
            self._timeouts = 0
        if count:
            self.next_ns = now_ns + self._timeout_ns if self._flying else NEVER_NS
            # Not while a loss is repaired: the SACKs of that time only confirm what was sent before
            # it.
            if self._recovery_tsn is None and is_full:
                self._widen(new_bytes)
        self._note_missing(last_new)

    def _reported(self, gaps: list[tuple[int, int]]) -> set[int]:
        """Return the indexes of the fragments that arrived after a gap. Blocks that are not
        valid are ignored.
        """
        found = set[int]()
        last = 0
        for start, end in gaps:
            if not last < start <= end <= len(self._flying):
                break
            found.update(range(start - 1, end))
            last = end
        return found

    def _arrived(self, each: _Outgoing, now_ns: int) -> int:
        """Note that a fragment has arrived. Return its size if that is new."""
        if each.is_acknowledged:
            return 0
        if not each.is_due:
            self._flying_bytes -= each.size
        each.is_acknowledged = True
        each.is_due = False
        if not each.is_repeated:
            self._measure(now_ns - each.sent_ns)
        return each.size

    def _measure(self, round_trip_ns: int) -> None:
        """Set the timeout by a round trip (§6.3.1)."""
        if not self._round_trip_ns:
            self._round_trip_ns = round_trip_ns
            self._deviation_ns = round_trip_ns // 2
        else:
            difference_ns = abs(self._round_trip_ns - round_trip_ns)
            # RTO.Beta is 1/4 and RTO.Alpha 1/8 (§16). The deviation comes first, as it needs the
            # old round trip.
            self._deviation_ns += (difference_ns - self._deviation_ns) // 4
            self._round_trip_ns += (round_trip_ns - self._round_trip_ns) // 8
        self._timeout_ns = min(
            max(self._round_trip_ns + 4 * self._deviation_ns, RTO_MIN_NS), RTO_MAX_NS
        )

    def _widen(self, new_bytes: int) -> None:
        """Let more bytes be on their way (§7.2.1, §7.2.2)."""
        if self._window_bytes <= self._threshold_bytes:
            self._window_bytes += min(new_bytes, MAX_PACKET_BYTES)
            return
        self._partial_bytes += new_bytes
        if self._partial_bytes >= self._window_bytes:
            self._partial_bytes -= self._window_bytes
            self._window_bytes += MAX_PACKET_BYTES

    def _note_missing(self, last_new: int) -> None:
        """Send the fragments again that several reports miss before a later one (§7.2.4)."""
        for each in self._flying[:last_new]:
            if each.is_acknowledged or each.is_due or each.missing < 0:
                continue
            each.missing += 1
            if each.missing < REPORTS_OF_LOSS:
                continue
            each.missing = -1
            each.is_due = True
            self._flying_bytes -= each.size
            if self._recovery_tsn is None:
                self._recovery_tsn = self._tsn + len(self._flying)
                self._threshold_bytes = max(self._window_bytes // 2, 4 * MAX_PACKET_BYTES)
                self._window_bytes = self._threshold_bytes
                self._partial_bytes = 0
