"""The instants that a capture of the calls of others shows, and the table of docs/agents.md."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tools.made_page import SECTION
from tools.peers.capture import NANOSECOND_MAGIC, RtpSeen, read_capture
from tools.peers.peers import PEERS
from tools.peers.table import PAGE, sections, written
from tools.peers.values import nearest, reply_starts

MS = 1_000_000
PAUSES, SIZES = (next(peer for peer in PEERS if peer.onset == onset) for onset in ("pause", "size"))


def seen(at_ms: float, timestamp: int, size: int = 182) -> RtpSeen:
    return RtpSeen(int(at_ms * MS), 40_000, 16_384, 7, 0, timestamp, size, b"")


def test_a_reply_begins_with_the_first_packet_after_a_pause() -> None:
    packets = [seen(1_000 * burst + 20 * number, 160 * number) for burst in (1, 2) for number in range(20)]

    assert reply_starts(packets, PAUSES) == [1_000 * MS, 2_000 * MS]


def test_the_fastest_of_the_packets_for_which_a_listener_waits_counts() -> None:
    """The first packet is 5 ms late, and the fourth one would be too late."""
    packets = [seen(at_ms, timestamp) for at_ms, timestamp in ((1_005, 0), (1_020, 160), (1_041, 320), (1_030, 480))]

    assert reply_starts(packets, PAUSES) == [1_000 * MS]


def test_a_reply_of_opus_begins_with_the_first_large_packet() -> None:
    sizes = [25] * 20 + [90] * 10 + [25] * 20
    packets = [seen(20 * number, 960 * number, size) for number, size in enumerate(sizes)]

    assert reply_starts(packets, SIZES) == [400 * MS]


def test_the_nearest_instant_is_found() -> None:
    assert nearest([1, 10, 30], 12) == 10
    assert nearest([], 12) is None


def test_a_capture_has_the_packets_of_rtp_and_the_connections(tmp_path: Path) -> None:
    rtp = struct.pack("!BBHII", 0x80, 0x80, 9, 160, 7) + bytes(170)
    rtcp, stun = struct.pack("!BBH", 0x80, 200, 1) + bytes(20), bytes(20)
    frames = [
        *(ipv4(17, struct.pack("!HHHH", 40_000, 16_384, 8 + len(each), 0) + each) for each in (rtp, rtcp, stun)),
        ipv4(6, struct.pack("!HH", 50_000, 7_860) + bytes(16)),
    ]
    header = struct.pack("<IHHiIII", NANOSECOND_MAGIC, 2, 4, 0, 0, 160, 1)
    records = [
        struct.pack("<IIII", 5, number, min(160, len(each)), len(each)) + each[:160]
        for number, each in enumerate(frames)
    ]
    (tmp_path / "calls.pcap").write_bytes(header + b"".join(records))
    captured = read_capture(tmp_path / "calls.pcap")

    assert captured.packets == [RtpSeen(5_000_000_000, 40_000, 16_384, 7, 9, 160, len(rtp), rtp[12:118])]
    assert captured.connects == {7_860: [5_000_000_003]}


def ipv4(protocol: int, content: bytes) -> bytes:
    return bytes(12) + b"\x08\x00" + b"\x45" + bytes(8) + bytes([protocol]) + bytes(10) + content


def test_another_kind_of_capture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "calls.pcap").write_bytes(struct.pack("<I", 0xA1B2C3D4) + bytes(20))
    with pytest.raises(ValueError, match="ns"):
        read_capture(tmp_path / "calls.pcap")


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert written(page) == page, "run `make schema`"
    assert all(SECTION.format(name, text) in page for name, text in sections().items())
