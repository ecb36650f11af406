"""RTCP: its compound packets (RFC 3550 §6), and the reports of a call with two members. Pure.

The parser never raises an error. It returns None for data that is not a valid compound packet.
"""

# Two members send a compound packet every five seconds: a sender report, or a receiver report if
# nothing was sent yet, and a source description with the CNAME (RFC 3550 §6.1 demands both). A
# goodbye ends the call.
#
# A round trip needs no synchronized clocks: the peer returns the middle of the NTP timestamp of our
# last report (LSR) and the time that it kept it (DLSR), and both are subtracted from the arrival of
# its report (§6.4.1). A timestamp that this side never sent gives no round trip.

from collections import deque
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from bench.base.units import NS_PER_S
from bench.protocols.rtp.rtp import SEQUENCE_NUMBERS, VERSION, RtpReceiver, RtpSender

SENDER_REPORT = 200
RECEIVER_REPORT = 201
SOURCE_DESCRIPTION = 202
GOODBYE = 203
CNAME = 1
MAX_REPORT_BLOCKS = 31
MIN_INTERVAL_NS = 5 * NS_PER_S
"""The interval between two reports (RFC 3550 §6.2).

The interval is longer only if two members need more than 5 % of the bandwidth of the call. Two
packets of 120 bytes in 5 s need 5 % of 8 kbit/s, and every format of audio has more than that.
"""
SENT_REPORTS = 16
"""The number of own sender reports that a round trip may start with."""
RECONSIDERATION = 1.21828
"""The factor that corrects the random interval: e − 3/2 (RFC 3550 §6.3.1)."""
NTP_EPOCH_S = 2_208_988_800
"""The seconds from 1900, the epoch of NTP, to 1970."""
_PADDING = 0x20
_COUNT = 0x1F
_HEADER = Struct("!BBH")
_BLOCK = Struct("!IIIIII")
_SENDER_INFO = Struct("!QIII")
_SSRC = Struct("!I")
_MAX_LOST = (1 << 23) - 1
_MIN_LOST = -(1 << 23)
_NTP_UNITS = 1 << 32
_SHORT_NTP_UNITS = 1 << 16
_32_BITS = 0xFFFFFFFF


class ReportBlock(NamedTuple):
    """What a member reports about a stream that it receives.

    `fraction_lost` is in units of 1/256, since the previous report. `jitter` is in units of the
    timestamp. `last_report` is the middle of the NTP timestamp of the last received sender report.
    `delay` is the time since then, in units of 1/65536 s. Both are 0 if no sender report was
    received.
    """

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence: int
    jitter: int
    last_report: int = 0
    delay: int = 0


class SenderInfo(NamedTuple):
    """What a member reports about the stream that it sends. `ntp_timestamp` and `timestamp` mean
    the same instant.
    """

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
    """The canonical name of a source."""

    ssrc: int
    cname: str


class Goodbye(NamedTuple):
    sources: tuple[int, ...]
    reason: str = ""


def parse_compound(data: bytes) -> list[Report] | None:
    """Return the reports of a compound packet; None if it is not valid (RFC 3550 appendix A.2).

    It must start with a report. Only its last packet may have padding. The content of other packets
    is not read.
    """
    reports: list[Report] = []
    start = 0
    while start < len(data):
        if start + _HEADER.size > len(data):
            return None
        flags, packet_type, words = _HEADER.unpack_from(data, start)
        end = start + 4 * (words + 1)
        if flags >> 6 != VERSION or end > len(data):
            return None
        is_report = packet_type in (SENDER_REPORT, RECEIVER_REPORT)
        if not reports and (not is_report or flags & _PADDING):
            return None
        content = data[start + _HEADER.size : end]
        if flags & _PADDING:
            if end != len(data) or not content or not 0 < content[-1] <= len(content):
                return None
            content = content[: -content[-1]]
        if is_report:
            report = _parse_report(flags & _COUNT, content, is_sender=packet_type == SENDER_REPORT)
            if report is None:
                return None
            reports.append(report)
        start = end
    return reports or None


def _parse_report(count: int, content: bytes, *, is_sender: bool) -> Report | None:
    start = _SSRC.size + (_SENDER_INFO.size if is_sender else 0)
    end = start + count * _BLOCK.size
    if end > len(content):
        return None
    sender = SenderInfo(*_SENDER_INFO.unpack_from(content, _SSRC.size)) if is_sender else None
    blocks = tuple(_block(fields) for fields in _BLOCK.iter_unpack(content[start:end]))
    return Report(_SSRC.unpack_from(content)[0], blocks, sender)


def _block(fields: tuple[int, ...]) -> ReportBlock:
    ssrc, lost, *rest = fields
    cumulative_lost = lost & 0xFFFFFF
    if cumulative_lost > _MAX_LOST:
        cumulative_lost -= 1 << 24
    return ReportBlock(ssrc, lost >> 24, cumulative_lost, *rest)


def build_compound(*packets: Report | SourceDescription | Goodbye) -> bytes:
    return b"".join(_build(packet) for packet in packets)


def _build(packet: Report | SourceDescription | Goodbye) -> bytes:
    match packet:
        case Report(ssrc, blocks, sender):
            blocks = blocks[:MAX_REPORT_BLOCKS]
            info = b"" if sender is None else _SENDER_INFO.pack(*sender)
            content = _SSRC.pack(ssrc) + info + b"".join(_block_bytes(block) for block in blocks)
            packet_type = RECEIVER_REPORT if sender is None else SENDER_REPORT
            count = len(blocks)
        case SourceDescription(ssrc, cname):
            name = cname.encode()[:255]
            content = _SSRC.pack(ssrc) + bytes((CNAME, len(name))) + name + b"\0"
            packet_type = SOURCE_DESCRIPTION
            count = 1
        case Goodbye(sources, reason):
            text = reason.encode()[:255]
            content = b"".join(_SSRC.pack(ssrc) for ssrc in sources) + (
                bytes((len(text),)) + text if text else b""
            )
            packet_type = GOODBYE
            count = len(sources)
    content += bytes(-len(content) % 4)
    return _HEADER.pack(VERSION << 6 | count, packet_type, len(content) // 4) + content


def _block_bytes(block: ReportBlock) -> bytes:
    lost = min(max(block.cumulative_lost, _MIN_LOST), _MAX_LOST) & 0xFFFFFF
    return _BLOCK.pack(block.ssrc, block.fraction_lost << 24 | lost, *block[3:])


def report_delay_ns(random_share: float, *, is_first: bool) -> int:
    """Return the time until the next report (RFC 3550 §6.2 and §6.3).

    `random_share` is a random number from 0 to 1. With two members, the timers of §6.3 need no
    correction, because the number of members does not change.
    """
    interval_ns = MIN_INTERVAL_NS // 2 if is_first else MIN_INTERVAL_NS
    return int(interval_ns * (0.5 + random_share) / RECONSIDERATION)


@dataclass(slots=True)
class PeerReport:
    """What the peer last reported about our stream. `reports` is the number of such reports; 0
    if there was none.
    """

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

    `utc_offset_ns` is UTC minus the monotonic clock at the start of the call. It does not change
    with the wall clock, so that a round trip is correct.
    """

    def __init__(
        self, sender: RtpSender, receiver: RtpReceiver, cname: str, utc_offset_ns: int
    ) -> None:
        self.peer = PeerReport()
        self.bad = self.rejected = self.received = 0
        """`rejected` is the number of packets that SRTCP did not accept, which `receive` never
        gets."""
        self._sender = sender
        self._receiver = receiver
        self._cname = cname
        self._utc_offset_ns = utc_offset_ns
        self._expected_before = self._received_before = 0
        self._source = -1
        self._last_report: tuple[int, int, int] | None = None
        """(source, middle of the NTP timestamp, arrival in ns) of the last sender report."""
        self._sent_reports: deque[int] = deque(maxlen=SENT_REPORTS)

    def report(self, now_ns: int, timestamp: int, *, goodbye: bool = False) -> bytes:
        """Return the compound packet that is due. `timestamp` is the media time of our stream at
        this instant.
        """
        sender = self._sender
        info = None
        if sender.packet_count:
            now = self._ntp(now_ns)
            info = SenderInfo(
                now, timestamp, sender.packet_count & _32_BITS, sender.payload_bytes & _32_BITS
            )
            self._sent_reports.append(now >> 16 & _32_BITS)
        report = Report(sender.ssrc, self._blocks(now_ns), info)
        further = (Goodbye((sender.ssrc,)),) if goodbye else ()
        return build_compound(report, SourceDescription(sender.ssrc, self._cname), *further)

    def receive(self, data: bytes, at_ns: int) -> None:
        """Handle a compound packet that arrived at this instant."""
        reports = parse_compound(data)
        if reports is None:
            self.bad += 1
            return
        self.received += 1
        for report in reports:
            if report.sender is not None:
                self._last_report = report.ssrc, report.sender.ntp_timestamp >> 16 & _32_BITS, at_ns
            for block in report.blocks:
                if block.ssrc == self._sender.ssrc:
                    self._on_block(block, at_ns)

    def _on_block(self, block: ReportBlock, at_ns: int) -> None:
        peer = self.peer
        peer.reports += 1
        peer.cumulative_lost = block.cumulative_lost
        peer.fraction_lost = block.fraction_lost / 256
        peer.jitter = block.jitter
        # Some peers count the cycles of sequence numbers wrongly, so only the number itself is
        # used.
        behind = (self._sender.sequence_number - 1 - block.highest_sequence) % SEQUENCE_NUMBERS
        peer.expected = max(0, self._sender.packet_count - behind)
        if block.last_report in self._sent_reports:
            units = ((self._ntp(at_ns) >> 16) - block.last_report - block.delay) & _32_BITS
            # otherwise negative: the peer's delay is longer than the time since our report
            if units < 1 << 31:
                peer.round_trip_ns = units * NS_PER_S // _SHORT_NTP_UNITS
                peer.min_round_trip_ns = min(
                    peer.min_round_trip_ns or peer.round_trip_ns, peer.round_trip_ns
                )

    def _blocks(self, now_ns: int) -> tuple[ReportBlock, ...]:
        """Return the block about the peer's stream (RFC 3550 appendix A.3), if anything was
        received from it.
        """
        receiver = self._receiver
        if receiver.ssrc is None:
            return ()
        if receiver.source != self._source:
            self._source = receiver.source
            self._expected_before = self._received_before = 0
        expected = receiver.source_expected
        received = receiver.source_received
        new = expected - self._expected_before
        # The fraction is that since the last report, and may be negative after duplicates, which
        # counts as 0 (appendix A.3). The cumulative number keeps the sign.
        lost = new - (received - self._received_before)
        self._expected_before = expected
        self._received_before = received
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
        """Return an instant as an NTP timestamp: seconds since 1900, with 32 bits after the
        point.
        """
        utc_ns = at_ns + self._utc_offset_ns
        return (utc_ns * _NTP_UNITS // NS_PER_S + (NTP_EPOCH_S << 32)) & (1 << 64) - 1
