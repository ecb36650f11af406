"""The reception of one RTP stream, with the statistics of RFC 3550 appendices A.1, A.3 and A.8. Pure.

The sequence number of a stream is extended, so that it does not wrap around. A packet is a *stray* if it does not
continue the stream: its source (SSRC) is different, or its sequence number is far from the last one. If the next
packet continues the stray, the stray was the first packet of a new source, or of a source that restarted. RFC 3550
waits for two packets at the start of the first source too. This module does not, because the signalling of the call
names the address of the peer.

Some senders play a recording again, with the same source, sequence numbers and timestamps. So a source also restarts if
its numbers go back after `SILENT_NS` without a packet, or go back so far that a delayed packet or a duplicate would be
`MAX_DELAY_NS` late, or if its timestamps show that no packet was lost where the sequence number jumps.

Packets may also come from other addresses: those of a peer behind NAT, or those of an earlier call on the same port.
A new source from the named address takes over with its first packet. A new source from another address takes over only
if the named one is silent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.transport.media.rtp import SEQUENCE_NUMBERS, TIMESTAMPS, RtpPacket, parse_packet

MAX_DROPOUT, MAX_MISORDER = 3_000, 100
"""The maximum numbers of packets by which a packet of a stream may be ahead, and behind (RFC 3550 appendix A.1)."""
COMFORT_NOISE_TYPE = 13
"""The payload type of comfort noise for codecs with 8 kHz (RFC 3389)."""
SILENT_NS = 200 * NS_PER_MS
"""The time without a packet after which a source is silent."""
MAX_DELAY_NS = NS_PER_S
"""The longest time by which the network delays a packet, or a duplicate."""
MIN_JUMP = 10
"""The smallest jump of the sequence number that may be no loss. Some senders have timestamps that hardly advance."""
MAX_PACKETS_PER_S = 200
"""The largest number of packets with audio of a stream: one each 5 ms."""
JITTER_GAIN = 1 / 16
_HALF_SEQUENCE, _HALF_TIMESTAMP = SEQUENCE_NUMBERS // 2, TIMESTAMPS // 2
_LATEST = (1 << MAX_MISORDER) - 1

PacketKind = Literal["audio", "event", "comfort_noise", "unknown"]
"""The content of a packet. `event` is a telephone event (RFC 4733). `unknown` has a payload type that is not agreed."""


class ReceivedPacket(NamedTuple):
    """A packet of the stream.

    `source` is the number of sources before this one, where a restart counts as a new source. `sequence` is the
    extended sequence number. It does not restart with a new source.
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

    Every packet is in exactly one of `bad`, `rejected`, `strays`, and `received`. `received` includes the duplicates.
    `expected` is the number of sequence numbers from the first packet to the highest one.
    """

    bad: int = 0
    rejected: int = 0
    """The packets that SRTP did not accept: they are not authentic, or they are duplicates."""
    strays: int = 0
    received: int = 0
    duplicates: int = 0
    expected: int = 0
    unknown_types: int = 0

    @property
    def lost(self) -> int:
        """The number of packets that were expected and not received. Duplicates make it too small, or negative."""
        return self.expected - self.received

    @property
    def without_audio(self) -> str:
        """The numbers of the packets that were not passed on, or have no audio, as text; "" if there are none."""
        numbers = {
            "duplicates": self.duplicates,
            "packets with another payload type": self.unknown_types,
            "packets that SRTP rejected": self.rejected,
            "packets of another source": self.strays,
            "datagrams that are no RTP": self.bad,
        }
        return ", ".join(f"{number:,} {name}" for name, number in numbers.items() if number)


class RtpReceiver:
    """The receiver of one stream, whose clock rate is `rate_hz`, with the payload types of `accept`."""

    def __init__(self, rate_hz: int, audio_types: Iterable[int], event_type: int | None = None) -> None:
        self.counts = ReceptionCounts()
        self.ssrc: int | None = None
        """The current source; None before the first packet."""
        self.highest_sequence = -1
        """The extended highest sequence number."""
        self.source_expected = self.source_received = 0
        """The numbers of packets that were expected and received from the current source, for reports of RTCP."""
        self._rate_hz = rate_hz
        self._kinds: dict[int, PacketKind] = {}
        self.accept(audio_types, event_type)
        self.source = -1
        """The number of sources before the current one, where a restart counts as a new source."""
        self._is_named = False
        self._stray: tuple[int, int] | None = None  # what would continue it: (SSRC, sequence number)
        self._received = 0  # the bit n is set if the packet n before the highest one was received
        self._heard_ns = 0
        self._last_ns = self._last_timestamp = -1
        self._highest_timestamp: int | None = None
        """The timestamp of the packet with the highest sequence number that has audio; None if there was none."""
        self._jitter_ns = 0.0

    def accept(self, audio_types: Iterable[int], event_type: int | None = None) -> None:
        """Accept these payload types of audio, and of telephone events, if they were agreed."""
        self._kinds = {COMFORT_NOISE_TYPE: "comfort_noise"}
        if event_type is not None:
            self._kinds[event_type] = "event"
        self._kinds.update(dict.fromkeys(audio_types, "audio"))

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

    def rename(self) -> None:
        """Let another address be the named one from the next packet on."""
        self._is_named = False

    def receive(self, data: bytes, arrival: Arrival, *, is_named: bool = True) -> ReceivedPacket | None:
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
        self.source_received += 1
        if ahead > 0:
            self.highest_sequence = last + ahead
            self._received = (self._received << ahead | 1) & _LATEST
            self.counts.expected += ahead
            self.source_expected += ahead
        elif self._received & 1 << -ahead:
            self.counts.duplicates += 1
            self._heard_ns = arrival.at_ns
            return None
        else:
            self._received |= 1 << -ahead
        return self._received_packet(packet, last + ahead, arrival)

    def _on_stray(self, packet: RtpPacket, arrival: Arrival, is_named: bool) -> ReceivedPacket | None:
        continues = (packet.ssrc, packet.sequence_number) == self._stray
        is_silent = self.is_silent(arrival.at_ns)
        # a single packet from the named address may be a stray itself
        is_blocked = self._is_named and not is_named and not is_silent and self.source_received > 1
        takes_over = is_named and not self._is_named
        speaks_again = is_silent and (is_named or not self._is_named or packet.ssrc == self.ssrc)
        if takes_over or speaks_again or (continues and not is_blocked):
            return self._start(packet, arrival, is_named)
        self.counts.strays += 1
        self._stray = packet.ssrc, (packet.sequence_number + 1) % SEQUENCE_NUMBERS
        return None

    def _begins_again(self, packet: RtpPacket, ahead: int, arrival: Arrival) -> bool:
        """Return whether a packet whose sequence number is not the next one is the first one after a restart."""
        gap_ns, media_ns = arrival.at_ns - self._heard_ns, 0
        before = self._highest_timestamp if self._kinds.get(packet.payload_type) == "audio" else None
        if before is not None:
            ticks = ((packet.timestamp - before + _HALF_TIMESTAMP) & 0xFFFFFFFF) - _HALF_TIMESTAMP
            media_ns = ticks * NS_PER_S // self._rate_hz
        if ahead > 0:
            has_lost = ahead < MIN_JUMP or before is None or ahead * NS_PER_S <= media_ns * MAX_PACKETS_PER_S
            return not has_lost or (gap_ns >= SILENT_NS and media_ns > gap_ns + MAX_DELAY_NS)
        if media_ns > 0 or gap_ns - media_ns >= MAX_DELAY_NS:
            return True
        return ahead < 0 and gap_ns >= SILENT_NS and bool(self._received & 1 << -ahead)

    def _start(self, packet: RtpPacket, arrival: Arrival, is_named: bool) -> ReceivedPacket:
        """Start a source with its first packet."""
        self._stray, self._is_named = None, is_named
        self.ssrc = packet.ssrc
        self.source += 1
        # the lowest extended number that is higher than all earlier ones, also for reordered packets before this one
        lowest = self.highest_sequence + 1 + (MAX_MISORDER if self.source else 0)
        self.highest_sequence = lowest + (packet.sequence_number - lowest) % SEQUENCE_NUMBERS
        self._received = 1
        self.source_expected = self.source_received = 1
        self.counts.expected += 1
        self.counts.received += 1
        self._last_ns, self._jitter_ns, self._highest_timestamp = -1, 0.0, None
        return self._received_packet(packet, self.highest_sequence, arrival)

    def _received_packet(self, packet: RtpPacket, sequence: int, arrival: Arrival) -> ReceivedPacket:
        self._heard_ns = arrival.at_ns
        payload_type, _, timestamp, _, payload, marker = packet
        kind = self._kinds.get(payload_type, "unknown")
        if kind == "audio":
            self._add_jitter(timestamp, arrival.at_ns)
            if sequence == self.highest_sequence:
                self._highest_timestamp = timestamp
        elif kind == "unknown":
            self.counts.unknown_types += 1
        return ReceivedPacket(kind, self.source, sequence, timestamp, payload, arrival, marker, payload_type)

    def _add_jitter(self, timestamp: int, at_ns: int) -> None:
        """Add the difference between two packets' transit times to the jitter (RFC 3550 §6.4.1)."""
        if self._last_ns >= 0:
            ticks = ((timestamp - self._last_timestamp + _HALF_TIMESTAMP) & 0xFFFFFFFF) - _HALF_TIMESTAMP
            difference_ns = at_ns - self._last_ns - ticks * NS_PER_S / self._rate_hz
            self._jitter_ns += (abs(difference_ns) - self._jitter_ns) * JITTER_GAIN
        self._last_ns, self._last_timestamp = at_ns, timestamp
