"""RTCP: its compound packets (RFC 3550 §6), and the reports of a call with two members. Pure.

The parser never raises an error. It returns None for data that is not a valid compound packet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from bench.base.units import NS_PER_S
from bench.transport.media.reception import RtpReceiver
from bench.transport.media.rtp import SEQUENCE_NUMBERS, VERSION, RtpSender

SENDER_REPORT, RECEIVER_REPORT, SOURCE_DESCRIPTION, GOODBYE = 200, 201, 202, 203
CNAME = 1
MAX_REPORT_BLOCKS = 31
MIN_INTERVAL_NS = 5 * NS_PER_S
"""The interval between two reports (RFC 3550 §6.2).

The interval is longer only if two members need more than 5 % of the bandwidth of the call. Two packets of 120 bytes in
5 s need 5 % of 8 kbit/s, and every format of audio has more than that.
"""
SENT_REPORTS = 16
"""The number of own sender reports that a round trip may start with."""
RECONSIDERATION = 1.21828
"""The factor that corrects the random interval: e − 3/2 (RFC 3550 §6.3.1)."""
NTP_EPOCH_S = 2_208_988_800
"""The seconds from 1900, the epoch of NTP, to 1970."""
_PADDING, _COUNT = 0x20, 0x1F
_HEADER, _BLOCK, _SENDER_INFO, _SSRC = Struct("!BBH"), Struct("!IIIIII"), Struct("!QIII"), Struct("!I")
_MAX_LOST, _MIN_LOST = (1 << 23) - 1, -(1 << 23)
_NTP_UNITS = 1 << 32
_SHORT_NTP_UNITS = 1 << 16
_32_BITS = 0xFFFFFFFF


class ReportBlock(NamedTuple):
    """What a member reports about a stream that it receives.

    `fraction_lost` is in units of 1/256, since the previous report. `jitter` is in units of the timestamp.
    `last_report` is the middle of the NTP timestamp of the last received sender report. `delay` is the time since then,
    in units of 1/65536 s. Both are 0 if no sender report was received.
    """

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence: int
    jitter: int
    last_report: int = 0
    delay: int = 0


class SenderInfo(NamedTuple):
    """What a member reports about the stream that it sends. `ntp_timestamp` and `timestamp` mean the same instant."""

    ntp_timestamp: int
    timestamp: int
    packet_count: int
    payload_bytes: int


class Report(NamedTuple):
    """A sender report, or a receiver report if `sender` is None."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()
    sender: SenderInfo | None = None


class SourceDescription(NamedTuple):
    """The canonical name of a source; "" if only other items describe the source."""

    ssrc: int
    cname: str


class Goodbye(NamedTuple):
    sources: tuple[int, ...]
    reason: str = ""


class OtherPacket(NamedTuple):
    """A packet of a type that this module does not read."""

    packet_type: int


RtcpPacket = Report | SourceDescription | Goodbye | OtherPacket


def parse_compound(data: bytes) -> list[RtcpPacket] | None:
    """Return the packets of a compound packet; None if it is not valid (RFC 3550 appendix A.2).

    It must start with a report. Only its last packet may have padding.
    """
    packets: list[RtcpPacket] = []
    start = 0
    while start < len(data):
        if start + _HEADER.size > len(data):
            return None
        flags, packet_type, words = _HEADER.unpack_from(data, start)
        end = start + 4 * (words + 1)
        if flags >> 6 != VERSION or end > len(data):
            return None
        if not packets and (packet_type not in (SENDER_REPORT, RECEIVER_REPORT) or flags & _PADDING):
            return None
        content = data[start + _HEADER.size : end]
        if flags & _PADDING:
            if end != len(data) or not content or not 0 < content[-1] <= len(content):
                return None
            content = content[: -content[-1]]
        parsed = _parse(packet_type, flags & _COUNT, content)
        if parsed is None:
            return None
        packets += parsed
        start = end
    return packets or None


def _parse(packet_type: int, count: int, content: bytes) -> Sequence[RtcpPacket] | None:
    if packet_type in (SENDER_REPORT, RECEIVER_REPORT):
        return _parse_report(count, content, is_sender=packet_type == SENDER_REPORT)
    if packet_type == SOURCE_DESCRIPTION:
        return _parse_descriptions(count, content)
    if packet_type == GOODBYE:
        end = 4 * count
        if end > len(content) or (len(content) > end and end + 1 + content[end] > len(content)):
            return None
        reason = content[end + 1 : end + 1 + content[end]] if len(content) > end else b""
        return (Goodbye(tuple(ssrc for (ssrc,) in _SSRC.iter_unpack(content[:end])), reason.decode(errors="replace")),)
    return (OtherPacket(packet_type),)


def _parse_report(count: int, content: bytes, *, is_sender: bool) -> Sequence[RtcpPacket] | None:
    start = _SSRC.size + (_SENDER_INFO.size if is_sender else 0)
    end = start + count * _BLOCK.size
    if end > len(content):
        return None
    sender = SenderInfo(*_SENDER_INFO.unpack_from(content, _SSRC.size)) if is_sender else None
    blocks = tuple(_block(fields) for fields in _BLOCK.iter_unpack(content[start:end]))
    return (Report(_SSRC.unpack_from(content)[0], blocks, sender),)


def _block(fields: tuple[int, ...]) -> ReportBlock:
    ssrc, lost, *rest = fields
    cumulative_lost = lost & 0xFFFFFF
    if cumulative_lost > _MAX_LOST:
        cumulative_lost -= 1 << 24
    return ReportBlock(ssrc, lost >> 24, cumulative_lost, *rest)


def _parse_descriptions(count: int, content: bytes) -> Sequence[RtcpPacket] | None:
    descriptions = []
    start = 0
    for _ in range(count):
        if start + _SSRC.size >= len(content):
            return None
        (ssrc,) = _SSRC.unpack_from(content, start)
        start += _SSRC.size
        cname = ""
        while content[start : start + 1] != b"\0":
            if start + 2 > len(content) or start + 2 + content[start + 1] >= len(content):
                return None
            kind, end = content[start], start + 2 + content[start + 1]
            if kind == CNAME:
                cname = content[start + 2 : end].decode(errors="replace")
            start = end
        start += 4 - start % 4  # at least one zero ends the items, and the next source starts at a whole word
        descriptions.append(SourceDescription(ssrc, cname))
    return descriptions if start <= len(content) else None


def build_compound(*packets: Report | SourceDescription | Goodbye) -> bytes:
    return b"".join(_build(packet) for packet in packets)


def _build(packet: Report | SourceDescription | Goodbye) -> bytes:
    match packet:
        case Report(ssrc, blocks, sender):
            blocks = blocks[:MAX_REPORT_BLOCKS]
            info = b"" if sender is None else _SENDER_INFO.pack(*sender)
            content = _SSRC.pack(ssrc) + info + b"".join(_block_bytes(block) for block in blocks)
            packet_type, count = RECEIVER_REPORT if sender is None else SENDER_REPORT, len(blocks)
        case SourceDescription(ssrc, cname):
            name = cname.encode()[:255]
            content = _SSRC.pack(ssrc) + bytes((CNAME, len(name))) + name + b"\0"
            packet_type, count = SOURCE_DESCRIPTION, 1
        case Goodbye(sources, reason):
            text = reason.encode()[:255]
            content = b"".join(_SSRC.pack(ssrc) for ssrc in sources) + (bytes((len(text),)) + text if text else b"")
            packet_type, count = GOODBYE, len(sources)
    content += bytes(-len(content) % 4)
    return _HEADER.pack(VERSION << 6 | count, packet_type, len(content) // 4) + content


def _block_bytes(block: ReportBlock) -> bytes:
    lost = min(max(block.cumulative_lost, _MIN_LOST), _MAX_LOST) & 0xFFFFFF
    return _BLOCK.pack(block.ssrc, block.fraction_lost << 24 | lost, *block[3:])


def report_delay_ns(random_share: float, *, is_first: bool) -> int:
    """Return the time until the next report (RFC 3550 §6.2 and §6.3).

    `random_share` is a random number from 0 to 1. With two members, the timers of §6.3 need no correction, because the
    number of members does not change.
    """
    interval_ns = MIN_INTERVAL_NS // 2 if is_first else MIN_INTERVAL_NS
    return int(interval_ns * (0.5 + random_share) / RECONSIDERATION)


@dataclass(slots=True)
class PeerReport:
    """What the peer last reported about our stream. `reports` is the number of such reports; 0 if there was none."""

    reports: int = 0
    expected: int = 0
    """The number of our packets from the first one to the last that the peer received."""
    cumulative_lost: int = 0
    fraction_lost: float = 0.0
    jitter: int = 0
    """In units of the timestamp."""
    round_trip_ns: int | None = None
    """The last round trip; None if no report had one."""
    min_round_trip_ns: int | None = None


class RtcpSession:
    """The RTCP of one call with one peer.

    `utc_offset_ns` is UTC minus the monotonic clock at the start of the call. It does not change with the wall clock,
    so that a round trip is correct.
    """

    def __init__(self, sender: RtpSender, receiver: RtpReceiver, cname: str, utc_offset_ns: int) -> None:
        self.peer = PeerReport()
        self.bad = self.rejected = self.received = 0
        """`rejected` is the number of packets that SRTCP did not accept, which `receive` never gets."""
        self.other_packets = 0
        """The number of packets of unknown types, and of reports about other streams."""
        self.is_ended = False
        """True if the peer has said goodbye."""
        self._sender, self._receiver, self._cname, self._utc_offset_ns = sender, receiver, cname, utc_offset_ns
        self._expected_before = self._received_before = 0
        self._source = -1
        self._last_report: tuple[int, int, int] | None = None
        """(source, middle of the NTP timestamp, arrival in ns) of the last sender report."""
        self._sent_reports: deque[int] = deque(maxlen=SENT_REPORTS)

    def report(self, now_ns: int, timestamp: int, *, goodbye: bool = False) -> bytes:
        """Return the compound packet that is due. `timestamp` is the media time of our stream at this instant."""
        sender = self._sender
        info = None
        if sender.packet_count:
            now = self._ntp(now_ns)
            info = SenderInfo(now, timestamp, sender.packet_count & _32_BITS, sender.payload_bytes & _32_BITS)
            self._sent_reports.append(now >> 16 & _32_BITS)
        report = Report(sender.ssrc, self._blocks(now_ns), info)
        description = SourceDescription(sender.ssrc, self._cname)
        if goodbye:
            return build_compound(report, description, Goodbye((sender.ssrc,)))
        return build_compound(report, description)

    def receive(self, data: bytes, at_ns: int) -> None:
        """Handle a compound packet that arrived at this instant."""
        packets = parse_compound(data)
        if packets is None:
            self.bad += 1
            return
        self.received += 1
        for packet in packets:
            match packet:
                case Report(ssrc, blocks, sender):
                    if sender is not None:
                        self._last_report = ssrc, sender.ntp_timestamp >> 16 & _32_BITS, at_ns
                    for block in blocks:
                        self._on_block(block, at_ns)
                case Goodbye(sources):
                    self.is_ended = self.is_ended or self._receiver.ssrc in sources
                case OtherPacket():
                    self.other_packets += 1

    def _on_block(self, block: ReportBlock, at_ns: int) -> None:
        if block.ssrc != self._sender.ssrc:
            self.other_packets += 1
            return
        peer = self.peer
        peer.reports += 1
        peer.cumulative_lost, peer.fraction_lost = block.cumulative_lost, block.fraction_lost / 256
        peer.jitter = block.jitter
        # Some peers count the cycles of sequence numbers wrongly, so only the number itself is used.
        behind = (self._sender.sequence_number - 1 - block.highest_sequence) % SEQUENCE_NUMBERS
        peer.expected = max(0, self._sender.packet_count - behind)
        if block.last_report in self._sent_reports:
            units = ((self._ntp(at_ns) >> 16) - block.last_report - block.delay) & _32_BITS
            if units < 1 << 31:  # otherwise negative: the peer's delay is longer than the time since our report
                peer.round_trip_ns = units * NS_PER_S // _SHORT_NTP_UNITS
                peer.min_round_trip_ns = min(peer.min_round_trip_ns or peer.round_trip_ns, peer.round_trip_ns)

    def _blocks(self, now_ns: int) -> tuple[ReportBlock, ...]:
        """Return the block about the peer's stream (RFC 3550 appendix A.3), if anything was received from it."""
        receiver = self._receiver
        if receiver.ssrc is None:
            return ()
        if receiver.source != self._source:
            self._source = receiver.source
            self._expected_before = self._received_before = 0
        expected, received = receiver.source_expected, receiver.source_received
        new = expected - self._expected_before
        lost = new - (received - self._received_before)
        self._expected_before, self._received_before = expected, received
        last_report = delay = 0
        if self._last_report is not None and self._last_report[0] == receiver.ssrc:
            _, last_report, arrival_ns = self._last_report
            delay = (now_ns - arrival_ns) * _SHORT_NTP_UNITS // NS_PER_S & _32_BITS
        return (
            ReportBlock(
                receiver.ssrc,
                min(255, lost * 256 // new) if new > 0 and lost > 0 else 0,
                expected - received,
                receiver.highest_sequence & _32_BITS,
                receiver.jitter,
                last_report,
                delay,
            ),
        )

    def _ntp(self, at_ns: int) -> int:
        """Return an instant as an NTP timestamp: seconds since 1900, with 32 bits after the point."""
        utc_ns = at_ns + self._utc_offset_ns
        return (utc_ns * _NTP_UNITS // NS_PER_S + (NTP_EPOCH_S << 32)) & (1 << 64) - 1
