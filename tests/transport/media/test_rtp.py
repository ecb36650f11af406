"""RTP packets, and the sender of a stream."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocols.rtp.rtp import (
    MAX_PACKET_BYTES,
    Codec,
    RtpPacket,
    RtpSender,
    StreamNumbers,
    build_packet,
    parse_packet,
)
from tests.examples import thorough

WORD = st.integers(0, 0xFFFFFFFF)
PACKETS = st.builds(
    RtpPacket,
    st.integers(0, 127),
    st.integers(0, 0xFFFF),
    WORD,
    WORD,
    st.binary(max_size=400),
    st.just(False),
) | st.builds(
    RtpPacket,
    # with the marker, the types 64 to 95 look like RTCP
    st.integers(0, 63) | st.integers(96, 127),
    st.integers(0, 0xFFFF),
    WORD,
    WORD,
    st.binary(max_size=400),
    st.booleans(),
)


@thorough
@given(
    PACKETS,
    st.lists(WORD, max_size=15),
    st.none() | st.binary(max_size=40),
    st.none() | st.integers(1, 255),
)
def test_a_packet_is_read_without_sources_extension_and_padding(
    packet: RtpPacket, sources: list[int], extension: bytes | None, padding: int | None
) -> None:
    wire = bytearray(build_packet(*packet))
    middle = b"".join(struct.pack("!I", source) for source in sources)
    if extension is not None:
        extension += bytes(-len(extension) % 4)
        middle += struct.pack("!HH", 0xBEDE, len(extension) // 4) + extension
        wire[0] |= 0x10
    wire[0] |= len(sources)
    wire[12:12] = middle
    if padding is not None:
        wire[0] |= 0x20
        wire += bytes(padding - 1) + bytes([padding])

    assert parse_packet(bytes(wire)) == packet


def test_the_header_has_the_layout_of_rfc_3550() -> None:
    wire = bytes.fromhex("80 80 1234 00000140 deadbeef ff7f".replace(" ", ""))

    assert parse_packet(wire) == RtpPacket(0, 0x1234, 320, 0xDEADBEEF, b"\xff\x7f", True)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        bytes(11),
        bytes(12),  # version 0
        b"\x40" + bytes(11),  # version 1
        b"\xc0" + bytes(11),  # version 3
        b"\x82" + bytes(15),  # two sources, and room for one
        b"\x90" + bytes(13),  # half the header of an extension
        b"\x90" + bytes(13) + b"\0\1",  # an extension without its word
        b"\xa0" + bytes(11),  # padding of no bytes
        b"\xa0" + bytes(11) + b"\2",  # more padding than content
        b"\x80\xc8" + bytes(10),  # a sender report of RTCP
        b"\x80" + bytes(MAX_PACKET_BYTES),
    ],
)
def test_data_that_is_not_a_packet_is_refused(wire: bytes) -> None:
    assert parse_packet(wire) is None


@thorough
@given(
    st.binary(max_size=60) | st.binary(min_size=11, max_size=60).map(lambda data: b"\xb1" + data)
)
def test_random_bytes_raise_no_error(data: bytes) -> None:
    packet = parse_packet(data)

    assert packet is None or len(packet.payload) <= len(data) - 12


def test_the_sender_counts_samples_and_wraps_around() -> None:
    sender = RtpSender(
        Codec(96, 16_000, lambda payload: len(payload) // 2),
        96,
        StreamNumbers(7, 0xFFFF, 0xFFFFFFFF),
    )
    first, second = (parse_packet(sender.audio(bytes(640))) for _ in range(2))

    assert first == RtpPacket(96, 0xFFFF, 0xFFFFFFFF, 7, bytes(640), True)
    assert second == RtpPacket(96, 0, 319, 7, bytes(640), False)
    assert (sender.packet_count, sender.payload_bytes) == (2, 1280)
