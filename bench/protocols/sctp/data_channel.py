"""The data channel of a call (RFC 8831), and the protocol that opens it (DCEP, RFC 8832), over an
association. Pure.

The client opens the channel. The service uses the first channel that its peer opens. Other channels
are confirmed, and their messages are ignored.
"""

# A channel is a stream of SCTP in each direction with the same number. DATA_CHANNEL_OPEN asks for
# it, and DATA_CHANNEL_ACK confirms (RFC 8832 §5). The opener may send at once (§6), so a message
# that comes before the confirmation opens the channel too. The channel is reliable and ordered:
# type 0, priority 0, and no parameter of reliability in `_OPEN`.
#
# Messages are queued by the association, which sends what its windows permit. A peer closes a
# channel by a reset of its stream (RFC 8831 §6.7), which is the end of the call's events here.

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from bench.protocols.sctp.sctp import ALL_STREAMS, Association
from bench.protocols.sctp.sctp_packets import AbortCause
from bench.protocols.sctp.sctp_receiver import ChannelEnding, StreamMessage
from bench.wire.connection import NORMAL

LABEL = "oai-events"
"""The label of OpenAI's guide. Services accept any one."""
CONFIRMED = 2
OPENS = 3
"""The types of the messages DATA_CHANNEL_ACK and DATA_CHANNEL_OPEN (RFC 8832 §8.2.1)."""
_OPEN = Struct(">BBHIHH")
MAX_CHANNELS = 64
"""The maximum number of channels that are confirmed."""


class Protocol(IntEnum):
    """The payload protocol identifiers (RFC 8831 §8)."""

    CONTROL = 50
    TEXT = 51
    BINARY = 53
    EMPTY_TEXT = 56
    EMPTY_BINARY = 57


TEXTS = (Protocol.TEXT, Protocol.EMPTY_TEXT)
BINARIES = (Protocol.BINARY, Protocol.EMPTY_BINARY)


class ChannelMessage(NamedTuple):
    """A received message. `wire_bytes` is the size of its chunks with their headers."""

    data: bytes
    is_binary: bool
    wire_bytes: int


class DataChannel:
    """The channel of one call. `stream` is that of the channel that this side opens; None if the
    peer opens it.

    The DTLS client opens even streams, and the DTLS server odd ones (RFC 8832 §6). `ending` is None
    until the channel, or its association, ends.
    """

    def __init__(self, association: Association, stream: int | None) -> None:
        self._association = association
        self._opens = stream is not None
        self._stream = stream
        self._confirmed = 0
        self._ending: ChannelEnding | None = None
        self._messages: list[ChannelMessage] = []
        self.is_open = False

    @property
    def ending(self) -> ChannelEnding | None:
        return self._association.ending or self._ending

    @property
    def next_ns(self) -> int:
        return self._association.next_ns

    @property
    def unsent(self) -> int:
        """The number of parts of messages that were never sent."""
        return self._association.unsent

    def start(self, now_ns: int) -> None:
        """Connect, and open the channel if this side does. The keys of DTLS are known."""
        self._association.connect(now_ns)
        if self._stream is not None:
            label = LABEL.encode()
            self._send_control(
                self._stream, _OPEN.pack(OPENS, 0, 0, 0, len(label), 0) + label, now_ns
            )

    def _send_control(self, stream: int, data: bytes, now_ns: int) -> None:
        self._association.send(stream, Protocol.CONTROL, data, now_ns)

    def send(self, data: bytes, now_ns: int, *, is_binary: bool = False) -> int:
        """Add a message. Return the size of its chunks with their headers."""
        assert self._stream is not None, "the channel is open"
        if data:
            protocol = Protocol.BINARY if is_binary else Protocol.TEXT
        else:  # SCTP has no empty messages
            protocol = Protocol.EMPTY_BINARY if is_binary else Protocol.EMPTY_TEXT
            # RFC 8831 §6.6: the identifier says that the message is empty, and this byte is
            # ignored.
            data = b"\0"
        return self._association.send(self._stream, protocol, data, now_ns)

    def received(self, packet: bytes, now_ns: int) -> None:
        self._association.received(packet, now_ns)
        for message in self._association.pop_messages():
            self._accept(message, now_ns)
        if {ALL_STREAMS, self._stream} & self._association.closed_streams and self._ending is None:
            self._ending = ChannelEnding(NORMAL, "the peer closed the data channel")

    def _accept(self, message: StreamMessage, now_ns: int) -> None:
        stream, protocol, data, wire_bytes = message
        if protocol == Protocol.CONTROL:
            self._accept_control(stream, data, now_ns)
        elif stream == self._stream and protocol in (*TEXTS, *BINARIES):
            is_empty = protocol in (Protocol.EMPTY_TEXT, Protocol.EMPTY_BINARY)
            self._messages.append(
                ChannelMessage(b"" if is_empty else data, protocol in BINARIES, wire_bytes)
            )
            self.is_open = True  # a peer may send before it confirms

    def _accept_control(self, stream: int, data: bytes, now_ns: int) -> None:
        if data[0] == CONFIRMED:
            self.is_open |= stream == self._stream
        elif data[0] == OPENS and len(data) >= _OPEN.size and self._confirmed < MAX_CHANNELS:
            # A peer that opens a channel of its own, as some agents do, waits for the confirmation.
            if stream == self._stream and self._opens:
                return  # both sides open the same stream
            self._confirmed += 1
            if self._stream is None:
                self._stream = stream
                self.is_open = True
            self._send_control(stream, bytes((CONFIRMED,)), now_ns)

    def expire(self, now_ns: int) -> None:
        self._association.expire(now_ns)

    def pop_messages(self) -> list[ChannelMessage]:
        messages = self._messages
        self._messages = []
        return messages

    def pop_packets(self) -> list[bytes]:
        return self._association.pop_packets()

    def abort(self, reason: str, cause: AbortCause = AbortCause.USER) -> None:
        """End the association of the channel. The last packet reports that to the peer."""
        self._association.abort(reason, cause)
