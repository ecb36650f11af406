"""The instants that a capture of the calls of others shows, and the table of these agents."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from pylibsrtp import Policy, Session

from bench.protocols.rtp.opus import LibraryEncoder
from bench.wire.audio import G711_ULAW
from tools.made_page import SECTION
from tools.peers.capture import NANOSECOND_MAGIC, RtpSeen, read_capture
from tools.peers.sound import OPUS, Sound, heard, jitter_ns, read_keys, sounds
from tools.peers.table import PAGE, sections, written
from tools.peers.values import TRUE_TO_NS, Value, nearest

MS = 1_000_000
SILENCE, TONE = bytes([0xFF]) * 160, G711_ULAW.encode(np.full(160, 8_000, np.int16))
LATER_TONE = SILENCE[:40] + TONE[40:]


def seen(
    at_ms: float, number: int, payload: bytes = TONE, payload_type: int = 0, ticks: int = 160
) -> RtpSeen:
    header = struct.pack("!BBHII", 0x80, payload_type, number & 0xFFFF, number * ticks, 7)
    return RtpSeen(
        int(at_ms * MS), 40_000, 16_384, 7, number & 0xFFFF, number * ticks, header + payload
    )


def test_a_sound_begins_with_its_first_audible_sample_and_ends_with_its_last() -> None:
    payloads = [SILENCE, LATER_TONE, TONE, *[SILENCE] * 20, TONE, SILENCE]
    stream = heard(
        [seen(20 * number, number, payload) for number, payload in enumerate(payloads)], []
    )

    assert sounds(stream) == [
        Sound(25 * MS, 25 * MS, 60 * MS, 0),
        Sound(460 * MS, 460 * MS, 480 * MS, 0),
    ]


def test_a_late_packet_is_heard_when_it_arrives_and_its_clock_is_that_of_the_fastest_packet() -> (
    None
):
    stream = heard([seen(0, 0, SILENCE), seen(33, 1, SILENCE), seen(47, 2)], [])

    (sound,) = sounds(stream)
    assert (sound.clock_ns, sound.start_ns) == (40 * MS, 47 * MS)
    assert sound.jitter_ns == jitter_ns(stream) == (13 + 6) * MS // 2
    assert not sound.is_clean


def test_packets_that_were_overtaken_or_repeated_are_decoded_in_their_order() -> None:
    packets = [
        seen(0, 65_535, SILENCE),
        seen(41, 65_537),
        seen(42, 65_536, SILENCE),
        seen(43, 65_537),
    ]

    assert [each.packet.at_ns // MS for each in heard(packets, [])] == [0, 42, 41]


def test_an_encrypted_packet_of_opus_is_decoded_with_the_key_of_its_call(tmp_path: Path) -> None:
    keys, encoder = [bytes([number]) * 30 for number in (1, 2)], LibraryEncoder()
    policy = Policy(
        keys[1],
        ssrc_type=Policy.SSRC_ANY_OUTBOUND,
        srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    )
    session, silence = Session(policy), bytes(960)
    voice = np.where(np.arange(480) % 48 < 24, 8_000, -8_000).astype("<i2").tobytes()
    packets = []
    for number, audio in enumerate([silence] * 5 + [voice] * 5):
        plain = seen(20 * number, number, encoder.encode(audio), OPUS, 960)
        packets.append(plain._replace(datagram=session.protect(plain.datagram)))
    material = keys[0][:16] + keys[1][:16] + keys[0][16:] + keys[1][16:]
    (tmp_path / "keys.txt").write_text(f"{material.hex()}\n")

    (sound,) = sounds(heard(packets, read_keys(tmp_path / "keys.txt")))

    assert 100 * MS <= sound.start_ns <= 107 * MS  # Opus delays it by 6.5 ms, and smears its start


def test_the_header_the_extension_and_the_padding_of_a_packet_are_no_audio() -> None:
    plain = seen(0, 0).datagram
    extended = (
        bytes([plain[0] | 0x31])
        + plain[1:12]
        + bytes(4)
        + b"\xbe\xde\0\1abcd"
        + plain[12:]
        + b"\0\0\3"
    )

    (stream,) = heard([seen(0, 0)._replace(datagram=extended)], [])
    assert len(stream.samples) == 160


def test_a_value_is_beyond_its_bound_before_the_packet_arrived_or_later_than_permitted() -> None:
    def is_beyond(error_ms: float) -> bool:
        return Value(int(error_ms * MS), 2 * MS, None, True).is_beyond_bound

    assert TRUE_TO_NS == MS // 4
    assert [is_beyond(error_ms) for error_ms in (-0.5, -0.2, 0, 2.2, 2.5)] == [
        True,
        False,
        False,
        False,
        True,
    ]


def test_the_nearest_instant_is_found() -> None:
    assert nearest([1, 10, 30], 12) == 10
    assert nearest([], 12) is None


def test_a_capture_has_the_packets_of_rtp_and_the_connections(tmp_path: Path) -> None:
    rtp = struct.pack("!BBHII", 0x80, 0x80, 9, 160, 7) + bytes(170)
    rtcp, stun = struct.pack("!BBH", 0x80, 200, 1) + bytes(20), bytes(20)
    frames = [
        *(
            ipv4(17, struct.pack("!HHHH", 40_000, 16_384, 8 + len(each), 0) + each)
            for each in (rtp, rtcp, stun)
        ),
        ipv4(6, struct.pack("!HH", 50_000, 7_860) + bytes(16)),
    ]
    header = struct.pack("<IHHiIII", NANOSECOND_MAGIC, 2, 4, 0, 0, 160, 1)
    records = [
        struct.pack("<IIII", 5, number, len(each), len(each)) + each
        for number, each in enumerate(frames)
    ]
    (tmp_path / "calls.pcap").write_bytes(header + b"".join(records))
    captured = read_capture(tmp_path / "calls.pcap")

    assert captured.packets == [RtpSeen(5_000_000_000, 40_000, 16_384, 7, 9, 160, rtp)]
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
