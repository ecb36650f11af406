"""RTP packets (RFC 3550 §5.1): the codecs of their payloads, their parser, and the sender of one stream. Pure.

A codec converts a payload to the session's audio and back. The duration of a payload follows from the number of bytes
only if the codec encodes each sample for itself, as G.711 does.

The parser never raises an error. It returns None for data that is not an RTP packet, and its caller counts these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from bench.wire.audio import G711_ALAW, G711_ULAW, AudioFormat

AUDIO = G711_ULAW
"""The format of the session's audio. PCMU is the same on the network."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec. `encode` and `decode` are None if a payload is the session's audio without a change."""

    payload_type: int
    """The payload type that this side offers."""
    clock_hz: int
    """The number of units of the timestamp (ticks) per second."""
    ticks: Callable[[bytes], int]
    """The function that returns the duration of a payload in ticks; 0 if the payload is not valid."""
    encode: Callable[[bytes], bytes] | None = None
    decode: Callable[[bytes], bytes] | None = None


def _conversion(source: AudioFormat, target: AudioFormat) -> Callable[[bytes], bytes]:
    """Return the function that converts the samples of a format, each of which is one byte."""
    table = target.encode(source.decode(bytes(range(256))))
    return lambda audio: audio.translate(table)


CODECS = {
    "PCMU": Codec(0, G711_ULAW.rate_hz, len),
    "PCMA": Codec(8, G711_ALAW.rate_hz, len, _conversion(AUDIO, G711_ALAW), _conversion(G711_ALAW, AUDIO)),
}
"""The codecs, by their names in session descriptions. All codecs of a call have the same clock."""


VERSION = 2
MAX_PACKET_BYTES = 2_048
"""The maximum size of a packet. The longest usual packet has 1612 bytes: 200 ms of G.711, and the header."""
SEQUENCE_NUMBERS, TIMESTAMPS = 1 << 16, 1 << 32
"""The numbers of different sequence numbers, and of different timestamps. Both wrap around."""
FIRST_SEQUENCE_BITS = 15
"""The number of random bits of the first sequence number.

SRTP counts how often the sequence number wraps around. A receiver that misses the first packets would miss a wrap among
them, and could decrypt nothing. With 15 bits there is none.
"""
RTCP_TYPES = range(192, 224)
"""The values of the second byte with which a packet on the media port is RTCP and not RTP (RFC 5761 §4)."""
_PADDING, _EXTENSION, _CSRC_COUNT, _MARKER = 0x20, 0x10, 0x0F, 0x80
_HEADER = Struct("!BBHII")
HEADER_BYTES = _HEADER.size
_EXTENSION_WORDS = Struct("!2xH")


class RtpPacket(NamedTuple):
    """A packet without its contributing sources, its header extension, and its padding."""

    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False


def parse_packet(data: bytes) -> RtpPacket | None:
    """Return the packet; None if the data is not an RTP packet, or if the packet is too long."""
    size = len(data)
    if not _HEADER.size <= size <= MAX_PACKET_BYTES:
        return None
    flags, kind, sequence_number, timestamp, ssrc = _HEADER.unpack_from(data)
    if flags >> 6 != VERSION or kind in RTCP_TYPES:
        return None
    start = _HEADER.size
    if flags & 0x3F:
        start += 4 * (flags & _CSRC_COUNT)
        if flags & _EXTENSION:
            if start + _EXTENSION_WORDS.size > size:
                return None
            start += _EXTENSION_WORDS.size + 4 * _EXTENSION_WORDS.unpack_from(data, start)[0]
        if flags & _PADDING:
            # The last byte is the number of bytes of padding, and counts itself.
            if not data[-1]:
                return None
            size -= data[-1]
        if start > size:
            return None
    return RtpPacket(kind & 0x7F, sequence_number, timestamp, ssrc, data[start:size], kind >= _MARKER)


def build_packet(
    payload_type: int, sequence_number: int, timestamp: int, ssrc: int, payload: bytes, marker: bool = False
) -> bytes:
    """Return the bytes of a packet without contributing sources, header extension, and padding."""
    kind = payload_type | _MARKER if marker else payload_type
    return _HEADER.pack(VERSION << 6, kind, sequence_number, timestamp, ssrc) + payload


class StreamNumbers(NamedTuple):
    """The random numbers of a stream (RFC 3550 §5.1): its source, and those of its first packet."""

    ssrc: int
    sequence_number: int
    timestamp: int

    @staticmethod
    def drawn(random_bits: Callable[[int], int]) -> StreamNumbers:
        """Return random numbers. `random_bits` returns a number of that many random bits."""
        return StreamNumbers(random_bits(32), random_bits(FIRST_SEQUENCE_BITS), random_bits(32))


class RtpSender:
    """The sender of one stream. Its caller sends one frame each 20 ms, and decides when.

    `timestamp` is the media time of the next frame, which has the codec `codec`. `sequence_number` is that of the next
    packet.
    """

    def __init__(self, codec: Codec, payload_type: int, numbers: StreamNumbers) -> None:
        self.ssrc = numbers.ssrc
        self.timestamp = numbers.timestamp % TIMESTAMPS
        self.packet_count = self.payload_bytes = 0
        """What was sent, for the sender reports of RTCP."""
        self.codec, self.payload_type = codec, payload_type
        self.sequence_number = numbers.sequence_number % SEQUENCE_NUMBERS
        self._talk_starts = True

    def audio(self, payload: bytes) -> bytes:
        """Return the packet of the next frame. The first frame after a pause has the marker (RFC 3551 §4.1)."""
        packet = self.packet(self.payload_type, self.timestamp, payload, marker=self._talk_starts)
        self._talk_starts = False
        self.timestamp = (self.timestamp + self.codec.ticks(payload)) % TIMESTAMPS
        return packet

    def pause(self, ticks: int) -> None:
        """Let media time pass without audio: during a pause, and while the keys of the phone are sent instead."""
        self.timestamp = (self.timestamp + ticks) % TIMESTAMPS
        self._talk_starts = True

    def packet(self, payload_type: int, timestamp: int, payload: bytes, *, marker: bool) -> bytes:
        """Return the next packet. Media time does not pass."""
        packet = build_packet(payload_type, self.sequence_number, timestamp, self.ssrc, payload, marker)
        self.sequence_number = (self.sequence_number + 1) % SEQUENCE_NUMBERS
        self.packet_count += 1
        self.payload_bytes += len(payload)
        return packet
