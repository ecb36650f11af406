"""Ogg Opus files as recorders write them: each packet in a page, with its position."""

from __future__ import annotations

import io
import struct
from collections.abc import Container

import numpy as np
import soundfile
from numpy.typing import NDArray

PACKET_SAMPLES = 960
"""The samples of one packet of libsndfile, 20 ms, in this unit."""


def opus_file(frames: NDArray[np.float64], rate_hz: int, missing: Container[int] = ()) -> bytes:
    """Return audio as Ogg Opus without the packets `missing`. The positions of the others do not
    change.
    """
    written = io.BytesIO()
    soundfile.write(written, frames, rate_hz, format="OGG", subtype="OPUS")
    head, tags, *packets = _packets(written.getvalue())
    kept = [(number, packet) for number, packet in enumerate(packets) if number not in missing]
    pages = [_page(head, 0, 0, 2), _page(tags, 0, 1, 0)]
    for number, (at, packet) in enumerate(kept):
        pages.append(
            _page(
                packet, (at + 1) * PACKET_SAMPLES, number + 2, 4 if number + 1 == len(kept) else 0
            )
        )
    return b"".join(pages)


def _packets(data: bytes) -> list[bytes]:
    packets, rest, at = list[bytes](), b"", 0
    while at < len(data):
        count = data[at + 26]
        lengths, at = data[at + 27 : at + 27 + count], at + 27 + count
        for length in lengths:
            rest, at = rest + data[at : at + length], at + length
            if length < 255:
                packets.append(rest)
                rest = b""
    return packets


def _page(packet: bytes, position: int, number: int, flags: int) -> bytes:
    lengths = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    head = b"OggS\0" + struct.pack("<BqIIIB", flags, position, 7, number, 0, len(lengths))
    page = head + lengths + packet
    return page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def _checksum(page: bytes) -> int:
    """Return the CRC of RFC 3533: polynomial 0x04C11DB7, not reflected, with the initial value
    0.
    """
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x8000_0000 else 0)) & 0xFFFF_FFFF
    return value
