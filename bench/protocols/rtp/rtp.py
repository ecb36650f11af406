"""RTP (RFC 3550): the codecs of payloads, packets (§5.1), and the sender and the receiver of one
stream. Pure.

A codec converts a payload to the session's audio and back. The duration of a payload follows from
the number of bytes only if the codec encodes each sample for itself, as G.711 does. Each packet of
Opus states its duration.

The parser never raises an error. It returns None for data that is not an RTP packet, and its caller
counts these.

The receiver has the statistics of RFC 3550 appendices A.1, A.3 and A.8. The sequence number of a
stream is extended, so that it does not wrap around. A packet is a *stray* if it does not continue
the stream: its source (SSRC) is different, or its sequence number is far from the last one. If the
next packet continues the stray, the stray was the first packet of a new source, or of a source that
restarted. RFC 3550 waits for two packets at the start of the first source too. This module does
not, because the signalling of the call names the address of the peer.

Some senders play a recording again, with the same source, sequence numbers and timestamps. So a
source also restarts if its numbers go back after `SILENT_NS` without a packet, or go back so far
that a delayed packet or a duplicate would be `MAX_DELAY_NS` late, or if its timestamps show that no
packet was lost where the sequence number jumps.

Packets may also come from other addresses: those of a peer behind NAT, or those of an earlier call
on the same port. A new source from the named address takes over with its first packet. A new source
from another address takes over only if the named one is silent, and if the two did not send at the
same time: then it belongs to another call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from struct import Struct
from typing import Literal, NamedTuple

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.causes import Cause, Code
from bench.protocols.rtp import opus_packets
from bench.protocols.rtp.encoded_once import EncodedOnce
from bench.wire.audio import G711_ALAW, G711_ULAW, PCM16, PCM16_16K, AudioFormat

AUDIO = G711_ULAW
"""The format of the session's audio in narrowband calls. PCMU is the same on the network."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec. `encode` and `decode` are None if a payload is the session's audio without a change.

    `clock_hz`, `channels` and `parameters` are those of session descriptions.
    """

    payload_type: int
    """The payload type that this side offers."""
    clock_hz: int
    """The number of units of the timestamp (ticks) per second."""
    ticks: Callable[[bytes], int]
    """The function that returns the duration of a payload in ticks; 0 if the payload is not
    valid."""
    encode: Callable[[bytes], bytes] | None = None
    decode: Callable[[bytes], bytes] | None = None
    recover: Callable[[bytes, int], bytes | None] | None = None
    """The function that returns the audio of a lost packet, from the payload after it and from its
    duration in ticks; None if that payload does not contain it."""
    audio: AudioFormat = AUDIO
    """The format of the session's audio."""
    delay_ns: int = 0
    """The time by which decoded audio is later than encoded audio."""
    channels: int = 1
    parameters: str = ""
    silent_bytes: int = 0
    """The maximum size of a payload that has no sound, and announces silence."""


def _conversion(source: AudioFormat, target: AudioFormat) -> Callable[[bytes], bytes]:
    """Return the function that converts the samples of a format, each of which is one byte."""
    table = target.encode(source.decode(bytes(range(256))))
    return lambda audio: audio.translate(table)


OPUS = "OPUS"
G722 = "G722"
G722_DELAY_NS = 22 * NS_PER_S // PCM16_16K.rate_hz
CODECS = {
    "PCMU": Codec(0, G711_ULAW.rate_hz, len),
    "PCMA": Codec(
        8, G711_ALAW.rate_hz, len, _conversion(AUDIO, G711_ALAW), _conversion(G711_ALAW, AUDIO)
    ),
    # Its clock has 8 kHz, because RFC 1890 said so by mistake (RFC 3551 §4.5.2). A byte is two
    # samples of 16 kHz, and one tick.
    G722: Codec(9, 8_000, len, audio=PCM16_16K, delay_ns=G722_DELAY_NS),
    OPUS: Codec(
        111,
        opus_packets.CLOCK_HZ,
        opus_packets.packet_ticks,
        audio=PCM16,
        delay_ns=opus_packets.DELAY_NS,
        channels=2,
        parameters="minptime=10;useinbandfec=1",
        silent_bytes=opus_packets.MAX_DTX_BYTES,
    ),
}
"""The codecs, by their names in session descriptions."""
LAWS = {"PCMU": G711_ULAW, "PCMA": G711_ALAW}
"""The formats of the codecs of G.711."""


def telephone_audio(codecs: Collection[str]) -> AudioFormat:
    """Return the format of the session's audio in telephone calls that may have these codecs."""
    return AUDIO if LAWS.keys() >= set(codecs) else PCM16_16K


def codec_of_call(name: str, audio: AudioFormat | None = None) -> Codec:
    """Return the codec of a call whose session has audio of a format; None: that of the codec.

    A codec with a state is that of one call.
    """
    codec = CODECS[name]
    audio = audio or codec.audio
    if name == OPUS:
        from bench.protocols.rtp.opus import LibraryEncoder, OpusDecoder  # loads libopus

        decoder = OpusDecoder(audio)
        encoder = EncodedOnce((OPUS, audio.rate_hz), lambda: LibraryEncoder(audio=audio))
        return replace(
            codec,
            audio=audio,
            encode=encoder.encode,
            decode=decoder.decode,
            recover=decoder.recover,
        )
    if audio is AUDIO:
        return codec
    from bench.protocols.rtp import wideband  # loads libg722

    if name == G722:
        return replace(
            codec,
            encode=EncodedOnce(G722, wideband.G722Encoder).encode,
            decode=wideband.G722Decoder().decode,
        )
    law = LAWS[name]
    return replace(
        codec,
        audio=audio,
        encode=EncodedOnce(name, lambda: wideband.NarrowEncoder(law)).encode,
        decode=wideband.NarrowDecoder(law).decode,
    )


VERSION = 2
MAX_PACKET_BYTES = 2_048
"""The maximum size of a packet. The longest usual packet has 1612 bytes: 200 ms of G.711, and
the header."""
SEQUENCE_NUMBERS = 1 << 16
TIMESTAMPS = 1 << 32
"""The numbers of different sequence numbers, and of different timestamps. Both wrap around."""
FIRST_SEQUENCE_BITS = 15
"""The number of random bits of the first sequence number.

SRTP counts how often the sequence number wraps around. A receiver that misses the first packets
would miss a wrap among them, and could decrypt nothing. With 15 bits there is none.
"""
RTCP_TYPES = range(192, 224)
"""The values of the second byte with which a packet on the media port is RTCP and not RTP (RFC
5761 §4)."""
_PADDING = 0x20
_EXTENSION = 0x10
_CSRC_COUNT = 0x0F
_MARKER = 0x80
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


def is_report(data: bytes) -> bool:
    """Return whether a packet on a port that RTP and RTCP share is RTCP."""
    return len(data) > 1 and data[1] in RTCP_TYPES


def parse_packet(data: bytes) -> RtpPacket | None:
    """Return the packet; None if the data is not an RTP packet, or if the packet is too long."""
    size = len(data)
    if not _HEADER.size <= size <= MAX_PACKET_BYTES:
        return None
    flags, kind, sequence_number, timestamp, ssrc = _HEADER.unpack_from(data)
    if flags >> 6 != VERSION or kind in RTCP_TYPES:
        return None
    start = _HEADER.size
    # Padding, an extension, or contributing sources: usual packets of calls have none of them.
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
    return RtpPacket(
        kind & 0x7F, sequence_number, timestamp, ssrc, data[start:size], kind >= _MARKER
    )


def build_packet(
    payload_type: int,
    sequence_number: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    marker: bool = False,
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

    `timestamp` is the media time of the next frame, which has the codec `codec`. `sequence_number`
    is that of the next packet.
    """

    def __init__(self, codec: Codec, payload_type: int, numbers: StreamNumbers) -> None:
        self.ssrc = numbers.ssrc
        self.timestamp = numbers.timestamp % TIMESTAMPS
        self.packet_count = self.payload_bytes = 0
        """What was sent, for the sender reports of RTCP."""
        self.codec = codec
        self.payload_type = payload_type
        self.sequence_number = numbers.sequence_number % SEQUENCE_NUMBERS
        self._talk_starts = True

    def audio(self, payload: bytes) -> bytes:
        """Return the packet of the next frame. The first frame after a pause has the marker (RFC
        3551 §4.1).
        """
        packet = self.packet(self.payload_type, self.timestamp, payload, marker=self._talk_starts)
        self._talk_starts = False
        # The timestamp counts ticks of the codec's clock, and not packets (RFC 3550 §5.1).
        self.timestamp = (self.timestamp + self.codec.ticks(payload)) % TIMESTAMPS
        return packet

    def pause(self, ticks: int) -> None:
        """Let media time pass without audio: during a pause, and while the keys of the phone are
        sent instead.
        """
        self.timestamp = (self.timestamp + ticks) % TIMESTAMPS
        self._talk_starts = True

    def packet(self, payload_type: int, timestamp: int, payload: bytes, *, marker: bool) -> bytes:
        """Return the next packet. Media time does not pass."""
        packet = build_packet(
            payload_type, self.sequence_number, timestamp, self.ssrc, payload, marker
        )
        self.sequence_number = (self.sequence_number + 1) % SEQUENCE_NUMBERS
        self.packet_count += 1
        self.payload_bytes += len(payload)
        return packet


MAX_DROPOUT = 3_000
MAX_MISORDER = 100
"""The maximum numbers of packets by which a packet of a stream may be ahead, and behind (RFC
3550 appendix A.1)."""
COMFORT_NOISE_TYPE = 13
"""The payload type of comfort noise for codecs with 8 kHz (RFC 3389)."""
SILENT_NS = 200 * NS_PER_MS
"""The time without a packet after which a source is silent."""
MAX_DELAY_NS = NS_PER_S
"""The longest time by which the network delays a packet, or a duplicate."""
MIN_JUMP = 10
"""The smallest jump of the sequence number that may be no loss. Some senders have timestamps
that hardly advance."""
MAX_PACKETS_PER_S = 200
"""The largest number of packets with audio of a stream: one each 5 ms."""
JITTER_GAIN = 1 / 16
_HALF_SEQUENCE = SEQUENCE_NUMBERS // 2
_HALF_TIMESTAMP = TIMESTAMPS // 2
_LATEST = (1 << MAX_MISORDER) - 1

PacketKind = Literal["audio", "event", "comfort_noise", "unknown"]
"""The content of a packet. `event` is a telephone event (RFC 4733). `unknown` has a payload type
that is not agreed."""


class ReceivedPacket(NamedTuple):
    """A packet of the stream.

    `source` is the number of sources before this one, where a restart counts as a new source.
    `sequence` is the extended sequence number. It does not restart with a new source.
    """

    kind: PacketKind
    source: int
    sequence: int
    timestamp: int
    payload: bytes
    arrival: Arrival
    marker: bool
    payload_type: int


@dataclass(slots=True)
class ReceptionCounts:
    """The numbers of packets of all sources.

    Every packet is in exactly one of `bad`, `rejected`, `strays`, and `received`. `received`
    includes the duplicates.
    """

    bad: int = 0
    rejected: int = 0
    """The packets that SRTP did not accept: they are not authentic, or they are duplicates."""
    strays: int = 0
    received: int = 0
    duplicates: int = 0
    unknown_types: int = 0

    @property
    def without_audio(self) -> str:
        """The numbers of the packets that were not passed on, or have no audio, as text; "" if
        there are none.
        """
        numbers = {
            Code.DUPLICATES: self.duplicates,
            Code.OTHER_TYPES: self.unknown_types,
            Code.OTHER_KEY: self.rejected,
            Code.OTHER_SOURCE: self.strays,
            Code.NO_RTP: self.bad,
        }
        return ", ".join(
            Cause(code, {"packets": number}).text for code, number in numbers.items() if number
        )


class RtpReceiver:
    """The receiver of one stream, whose clock rate is `rate_hz`, with the payload types of
    `accept`.
    """

    __slots__ = (
        "_earlier_expected",
        "_earlier_received",
        "_heard_ns",
        "_highest_timestamp",
        "_is_named",
        "_jitter_ns",
        "_kinds",
        "_last_ns",
        "_last_timestamp",
        "_lowest_sequence",
        "_parallel",
        "_rate_hz",
        "_received",
        "_stray",
        "counts",
        "highest_sequence",
        "source",
        "ssrc",
    )

    def __init__(
        self, rate_hz: int, audio_types: Iterable[int], event_type: int | None = None
    ) -> None:
        self.counts = ReceptionCounts()
        self.ssrc: int | None = None
        """The current source; None before the first packet."""
        self.highest_sequence = -1
        """The extended highest sequence number."""
        self._earlier_expected = self._earlier_received = 0
        """The numbers of packets that were expected and received from the sources before the
        current one."""
        self._rate_hz = rate_hz
        self._kinds: dict[int, PacketKind] = {}
        self.accept(audio_types, event_type)
        self.source = -1
        """The number of sources before the current one, where a restart counts as a new source."""
        self._is_named = False
        # what would continue it: (SSRC, sequence number)
        self._stray: tuple[int, int] | None = None
        self._parallel = (-1, -1)
        """(SSRC, `highest_sequence`) when a source was heard from another address while the named
        one was not silent. The two send at the same time if that number has grown since."""
        self._lowest_sequence = 0
        """The extended lowest sequence number of the current source."""
        self._received = 0  # the bit n is set if the packet n before the highest one was received
        self._heard_ns = 0
        self._last_ns = self._last_timestamp = -1
        self._highest_timestamp: int | None = None
        """The timestamp of the packet with the highest sequence number that has audio; None if
        there was none."""
        self._jitter_ns = 0.0

    def accept(self, audio_types: Iterable[int], event_type: int | None = None) -> None:
        """Accept these payload types of audio, and of telephone events, if they were agreed."""
        self._kinds = {COMFORT_NOISE_TYPE: "comfort_noise"}
        if event_type is not None:
            self._kinds[event_type] = "event"
        self._kinds.update(dict.fromkeys(audio_types, "audio"))

    @property
    def source_expected(self) -> int:
        """The number of packets expected from the current source: from its lowest sequence
        number to the highest.
        """
        return 0 if self.ssrc is None else self.highest_sequence - self._lowest_sequence + 1

    @property
    def source_received(self) -> int:
        """The number of packets received from the current source."""
        return self.counts.received - self._earlier_received

    @property
    def expected(self) -> int:
        """The number of packets expected from all sources."""
        return self._earlier_expected + self.source_expected

    @property
    def lost(self) -> int:
        """The number of packets that were expected and not received. Duplicates make it too
        small, or negative.
        """
        return self.expected - self.counts.received

    @property
    def jitter(self) -> int:
        """The interarrival jitter of the current source, in units of the timestamp."""
        return int(self._jitter_ns * self._rate_hz / NS_PER_S)

    @property
    def jitter_ns(self) -> int:
        return int(self._jitter_ns)

    def is_silent(self, at_ns: int) -> bool:
        """Return whether the current source has been silent for `SILENT_NS`."""
        return at_ns - self._heard_ns >= SILENT_NS

    def change_clock(self, rate_hz: int) -> None:
        """Count the timestamps of further packets by another clock."""
        self._rate_hz = rate_hz
        self._last_ns = -1
        self._highest_timestamp = None

    def rename(self) -> None:
        """Let another address be the named one from the next packet on."""
        self._is_named, self._parallel = False, (-1, -1)

    def receive(
        self, data: bytes, arrival: Arrival, *, is_named: bool = True
    ) -> ReceivedPacket | None:
        """Return the packet; None if it is bad, a stray, or a duplicate. It is counted in any case.

        `is_named` is True if the packet comes from the address that the signalling names.
        """
        packet = parse_packet(data)
        if packet is None:
            self.counts.bad += 1
            return None
        if packet.ssrc == self.ssrc:
            last = self.highest_sequence
            ahead = ((packet.sequence_number - last + _HALF_SEQUENCE) & 0xFFFF) - _HALF_SEQUENCE
            if not -MAX_MISORDER < ahead < MAX_DROPOUT:
                return self._on_stray(packet, arrival, is_named)
            if ahead != 1 and self._begins_again(packet, ahead, arrival):
                return self._start(packet, arrival, is_named)
            self._is_named |= is_named
        elif self.ssrc is None:
            return self._start(packet, arrival, is_named)
        else:
            return self._on_stray(packet, arrival, is_named)
        self._stray = None
        self.counts.received += 1
        if ahead > 0:
            self.highest_sequence = last + ahead
            self._received = (self._received << ahead | 1) & _LATEST
        elif self._received & 1 << -ahead:
            self.counts.duplicates += 1
            self._heard_ns = arrival.at_ns
            return None
        else:
            self._received |= 1 << -ahead
            # the first packet may have overtaken it
            self._lowest_sequence = min(self._lowest_sequence, last + ahead)
        return self._received_packet(packet, last + ahead, arrival)

    def _on_stray(
        self, packet: RtpPacket, arrival: Arrival, is_named: bool
    ) -> ReceivedPacket | None:
        continues = (packet.ssrc, packet.sequence_number) == self._stray
        is_silent = self.is_silent(arrival.at_ns)
        # a single packet from the named address may be a stray itself
        is_blocked = self._is_named and not is_named and not is_silent and self.source_received > 1
        is_known = packet.ssrc == self._parallel[0]
        if is_blocked and not is_known:
            self._parallel = packet.ssrc, self.highest_sequence
        takes_over = is_named and not self._is_named
        speaks_again = is_silent and (is_named or not self._is_named or packet.ssrc == self.ssrc)
        is_parallel = is_known and not is_named and self.highest_sequence > self._parallel[1]
        if takes_over or speaks_again or (continues and not is_blocked and not is_parallel):
            return self._start(packet, arrival, is_named)
        self.counts.strays += 1
        self._stray = packet.ssrc, (packet.sequence_number + 1) % SEQUENCE_NUMBERS
        return None

    def _begins_again(self, packet: RtpPacket, ahead: int, arrival: Arrival) -> bool:
        """Return whether a packet whose sequence number is not the next one is the first one
        after a restart.
        """
        gap_ns = arrival.at_ns - self._heard_ns
        media_ns = 0
        before = (
            self._highest_timestamp if self._kinds.get(packet.payload_type) == "audio" else None
        )
        if before is not None:
            ticks = ((packet.timestamp - before + _HALF_TIMESTAMP) & 0xFFFFFFFF) - _HALF_TIMESTAMP
            media_ns = ticks * NS_PER_S // self._rate_hz
        if ahead > 0:
            has_lost = (
                ahead < MIN_JUMP
                or before is None
                or ahead * NS_PER_S <= media_ns * MAX_PACKETS_PER_S
            )
            return not has_lost or (gap_ns >= SILENT_NS and media_ns > gap_ns + MAX_DELAY_NS)
        if media_ns > 0 or gap_ns - media_ns >= MAX_DELAY_NS:
            return True
        return ahead < 0 and gap_ns >= SILENT_NS and bool(self._received & 1 << -ahead)

    def _start(self, packet: RtpPacket, arrival: Arrival, is_named: bool) -> ReceivedPacket:
        """Start a source with its first packet."""
        self._stray = None
        self._is_named = is_named
        self._earlier_expected = self.expected
        self._earlier_received = self.counts.received
        self.ssrc = packet.ssrc
        self.source += 1
        # the lowest extended number that is higher than all earlier ones, also for reordered
        # packets before this one
        lowest = self.highest_sequence + 1 + (MAX_MISORDER if self.source else 0)
        self.highest_sequence = lowest + (packet.sequence_number - lowest) % SEQUENCE_NUMBERS
        self._lowest_sequence = self.highest_sequence
        self._received = 1
        self.counts.received += 1
        self._last_ns = -1
        self._jitter_ns = 0.0
        self._highest_timestamp = None
        return self._received_packet(packet, self.highest_sequence, arrival)

    def _received_packet(
        self, packet: RtpPacket, sequence: int, arrival: Arrival
    ) -> ReceivedPacket:
        self._heard_ns = arrival.at_ns
        payload_type, _, timestamp, _, payload, marker = packet
        kind = self._kinds.get(payload_type, "unknown")
        if kind == "audio":
            self._add_jitter(timestamp, arrival.at_ns)
            if sequence == self.highest_sequence:
                self._highest_timestamp = timestamp
        elif kind == "unknown":
            self.counts.unknown_types += 1
        return ReceivedPacket(
            kind, self.source, sequence, timestamp, payload, arrival, marker, payload_type
        )

    def _add_jitter(self, timestamp: int, at_ns: int) -> None:
        """Add the difference between two packets' transit times to the jitter (RFC 3550 §6.4.1)."""
        if self._last_ns >= 0:
            ticks = (
                (timestamp - self._last_timestamp + _HALF_TIMESTAMP) & 0xFFFFFFFF
            ) - _HALF_TIMESTAMP
            difference_ns = at_ns - self._last_ns - ticks * NS_PER_S / self._rate_hz
            self._jitter_ns += (abs(difference_ns) - self._jitter_ns) * JITTER_GAIN
        self._last_ns = at_ns
        self._last_timestamp = timestamp
