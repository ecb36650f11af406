"""ChannelData messages, and the messages of a stream over TCP (RFC 8656 §12.4, §12.5). Pure."""

from struct import Struct

FIRST_CHANNEL = 0x4000
LAST_CHANNEL = 0x4FFF
"""The numbers of channels (RFC 8656 §12)."""
_HEADER = Struct("!HH")
HEADER_BYTES = _HEADER.size
STUN_HEADER_BYTES = 20


def build_channel_data(channel: int, data: bytes, *, is_stream: bool) -> bytes:
    """Return a ChannelData message. A stream pads it to four bytes."""
    return _HEADER.pack(channel, len(data)) + data + bytes(-len(data) % 4 if is_stream else 0)


def parse_channel_data(message: bytes) -> tuple[int, bytes] | None:
    """Return (the channel, the data); None if the message is something else, or is cut."""
    if len(message) < HEADER_BYTES:
        return None
    channel, length = _HEADER.unpack_from(message)
    if not FIRST_CHANNEL <= channel <= LAST_CHANNEL or len(message) < HEADER_BYTES + length:
        return None
    return channel, message[HEADER_BYTES : HEADER_BYTES + length]


# On a stream, STUN messages and ChannelData follow each other without a border (RFC 8656 §12.5, RFC
# 8489 §6.2.2). The first two bits tell them apart: 00 is STUN, whose length is a multiple of four,
# and 01 a channel, whose data is padded on a stream but not in a datagram.
class MessageStream:
    """The messages in the bytes of a stream. `is_broken` states that the stream has something
    else.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self.is_broken = False

    @property
    def is_at_end(self) -> bool:
        """Whether the stream ends with the end of a message."""
        return not self._data

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that are complete with these bytes."""
        self._data += data
        messages = []
        while not self.is_broken and len(self._data) >= HEADER_BYTES:
            kind, length = _HEADER.unpack_from(self._data)
            if kind < FIRST_CHANNEL:
                size = STUN_HEADER_BYTES + length
                self.is_broken = bool(length % 4)
            elif kind <= LAST_CHANNEL:
                size = HEADER_BYTES + length + -length % 4
            else:
                self.is_broken = True
            if self.is_broken or len(self._data) < size:
                break
            messages.append(bytes(self._data[:size]))
            del self._data[:size]
        return messages
