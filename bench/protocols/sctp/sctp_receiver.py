"""The receiving half of an SCTP association: fragments → messages, within limits. Pure.

A sender numbers its fragments (TSN) in the order in which it fragments its messages. They are
delivered in this order, which is also the order of the messages of each stream.
"""

# Fragments up to `_tsn` have arrived, and were delivered. Those after a gap wait in `_ahead`,
# within `WINDOW_BYTES` and `MAX_AHEAD`. What exceeds the limits is dropped without a trace in the
# SACK, so the peer sends it again, and nothing is lost.
#
# Only one message is assembled at a time, because the TSN of the fragments of a message are
# consecutive (RFC 9260 §6.9) and peers do not use the interleaving of RFC 8260, which this side
# does not offer. Stream and sequence number are therefore not needed to put a message together.
# Unordered messages, whose fragments also have consecutive TSN, are delivered in the order of their
# TSN.
#
# TSN are compared modulo 2**32 (§1.6); `_tsn` itself counts on, so that the keys of `_ahead` can be
# sorted.

from typing import NamedTuple

from bench.protocols.sctp.sctp_packets import (
    BEGIN,
    DATA_HEADER_BYTES,
    END,
    Acknowledgement,
    Fragment,
)
from bench.wire.connection import BAD_FRAME, TOO_LARGE, CloseCause

WINDOW_BYTES = 1 << 20
"""The maximum size of the fragments that wait for an earlier one."""
MAX_AHEAD = 4_096
"""The maximum distance of a fragment from the last one before it that arrived. Later ones are
dropped."""
TSN_MASK = (1 << 32) - 1
TSN_HALF = 1 << 31


class ChannelEnding(NamedTuple):
    """The end of an association or of its channel. `code` is a close code, as in
    `bench.transport.interface`.
    """

    code: int
    reason: str
    cause: CloseCause = ""
    ours: bool = False


class StreamMessage(NamedTuple):
    """A received message. `wire_bytes` is the size of its chunks with their headers."""

    stream: int
    protocol: int
    data: bytes
    wire_bytes: int


class FragmentReceiver:
    """The fragments of a peer, whose first one is `first_tsn`. A message may have
    `max_message_bytes`.

    `violation` is not None after fragments that are no messages.
    """

    def __init__(self, first_tsn: int, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._tsn = first_tsn - 1
        """The last fragment up to which all have arrived. It is not reduced to 32 bits."""
        self._ahead: dict[int, Fragment] = {}
        self._ahead_bytes = 0
        self._first: Fragment | None = None
        """The first fragment of the message whose fragments arrive; None between two messages."""
        self._data = bytearray()
        self._wire_bytes = 0
        self._messages: list[StreamMessage] = []
        self.violation: ChannelEnding | None = None

    def pop_messages(self) -> list[StreamMessage]:
        messages = self._messages
        self._messages = []
        return messages

    def has_all_until(self, tsn: int) -> bool:
        return not 0 < (tsn - self._tsn) & TSN_MASK < TSN_HALF

    def receive(self, fragment: Fragment) -> None:
        distance = (fragment.tsn - self._tsn) & TSN_MASK
        tsn = self._tsn + distance
        ahead_bytes = self._ahead_bytes + len(fragment.data)
        if distance == 1:
            self._deliver(fragment)
            self._deliver_ahead()
        elif 1 < distance <= MAX_AHEAD and ahead_bytes <= WINDOW_BYTES and tsn not in self._ahead:
            self._ahead[tsn] = fragment
            self._ahead_bytes = ahead_bytes

    def skip_until(self, tsn: int) -> None:
        """Skip the missing fragments up to one, because the peer does not send them again (RFC
        3758 §3.6).
        """
        if self.has_all_until(tsn):
            return
        last = self._tsn + ((tsn - self._tsn) & TSN_MASK)
        for each in sorted(each for each in self._ahead if each <= last):
            if each != self._tsn + 1:
                self._first = None
            self._tsn = each - 1
            fragment = self._pop_ahead(each)
            if self._first is None and not fragment.flags & BEGIN:
                self._tsn = each  # the rest of a message that is skipped
            else:
                self._deliver(fragment)
        if self._tsn != last:
            self._first = None
            self._tsn = last
        self._deliver_ahead()

    def _pop_ahead(self, tsn: int) -> Fragment:
        fragment = self._ahead.pop(tsn)
        self._ahead_bytes -= len(fragment.data)
        return fragment

    def _deliver_ahead(self) -> None:
        while self._tsn + 1 in self._ahead and self.violation is None:
            self._deliver(self._pop_ahead(self._tsn + 1))

    def _deliver(self, fragment: Fragment) -> None:
        self._tsn += 1
        if fragment.flags & BEGIN and self._first is None:
            self._first = fragment
            self._wire_bytes = 0
            self._data.clear()
        elif fragment.flags & BEGIN or self._first is None or fragment.stream != self._first.stream:
            self.violation = ChannelEnding(
                BAD_FRAME, "the fragments of a message are not in order", ours=True
            )
            return
        self._data += fragment.data
        self._wire_bytes += len(fragment.data) + DATA_HEADER_BYTES
        if len(self._data) > self._max_message_bytes:
            problem = f"a message exceeds the limit of {self._max_message_bytes} bytes"
            self.violation = ChannelEnding(TOO_LARGE, problem, ours=True)
        elif fragment.flags & END:
            first = self._first
            self._first = None
            message = StreamMessage(
                first.stream, first.protocol, bytes(self._data), self._wire_bytes
            )
            self._messages.append(message)

    # §3.3.4: the cumulative TSN, the room that is left, and the blocks behind the gaps, as offsets.
    def acknowledgement(self) -> Acknowledgement:
        gaps = list[tuple[int, int]]()
        for tsn in sorted(self._ahead):
            offset = tsn - self._tsn
            if gaps and gaps[-1][1] == offset - 1:
                gaps[-1] = (gaps[-1][0], offset)
            else:
                gaps.append((offset, offset))
        return Acknowledgement(self._tsn & TSN_MASK, WINDOW_BYTES - self._ahead_bytes, gaps)
