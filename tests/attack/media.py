"""Packets and reports that no peer should send, as functions of their number. They are sent as RTP
over SIP, and as SRTP over WebRTC.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from bench.protocols.rtp.rtcp import (
    Goodbye,
    Report,
    ReportBlock,
    SenderInfo,
    SourceDescription,
    build_compound,
)
from bench.protocols.rtp.rtp import build_packet

FLOOD = 300
"""The number of repetitions."""
SOURCE = 7
"""The source of the peer itself."""


def packet(
    number: int,
    timestamp: int,
    *,
    source: int,
    payload: bytes,
    kind: int = 0,
    first: int = 0x80,
) -> bytes:
    """Return a packet. `first` is its first byte."""
    built = build_packet(kind, number & 0xFFFF, timestamp & 0xFFFFFFFF, source, payload)
    return bytes([first]) + built[1:]


def changed_packet(
    changes: Callable[[int], dict[str, Any]], number: int, source: int, payload: bytes
) -> bytes:
    """Return a packet of 20 ms, with its changes."""
    usual: dict[str, Any] = {
        "number": number,
        "timestamp": number * 160,
        "source": source,
        "payload": payload,
    }
    return packet(**usual | changes(number))


PACKETS: dict[str, Callable[[int], dict[str, Any]]] = {
    # what differs from packets of 20 ms in their order
    "another source in each packet": lambda n: {"source": n + 9},
    "another source after each second packet": lambda n: {"source": n // 2 + 9},
    "two sources in turn": lambda n: {"source": 7 + n % 2},
    "types that were not agreed": lambda n: {"kind": n % 64},
    "the type of a codec that was not chosen": lambda n: {
        "kind": 111,
        "timestamp": n * 960,
        "payload": b"\xf8\xff\xfe",
    },
    "a header that states 15 sources": lambda n: {"first": 0x8F, "payload": b"x"},
    "a header of version 3": lambda n: {"first": 0xC0},
    "an extension that is longer than the packet": lambda n: {
        "first": 0x90,
        "payload": b"\xbe\xde\xff\xff",
    },
    "an extension without an end": lambda n: {"first": 0x90, "payload": b"\xbe"},
    "padding that is longer than the packet": lambda n: {"first": 0xA0},
    "padding of 0 bytes": lambda n: {"first": 0xA0, "payload": bytes(160)},
    "payloads without a byte": lambda n: {"payload": b""},
    "payloads of 1 byte": lambda n: {"timestamp": n, "payload": b"\xff"},
    "payloads of 1,300 bytes": lambda n: {"payload": b"\xff" * 1_300},
    "timestamps that jump": lambda n: {"timestamp": Random(n).getrandbits(32)},
    "timestamps that run backwards": lambda n: {"timestamp": -n * 160},
    "timestamps that jump by half of their range": lambda n: {"timestamp": n << 31},
    "the same timestamp": lambda n: {"timestamp": 0},
    "numbers that jump": lambda n: {"number": Random(n).getrandbits(16)},
    "numbers that run backwards": lambda n: {"number": 30_000 - n},
    "the same number": lambda n: {"number": 5},
    "each second packet missing": lambda n: {"number": 2 * n, "timestamp": n * 320},
    "numbers that jump by the largest gap": lambda n: {
        "number": n * 2_999,
        "timestamp": n * 2_999,
        "payload": b"\xff",
    },
    "packets of 1 byte that state a gap of 3,000": lambda n: {
        "number": n % 2 * 2_999,
        "timestamp": n * 2_999,
        "payload": b"\xff",
    },
    "comfort noise": lambda n: {"kind": 13, "payload": b"\x40"},
    "comfort noise without a level": lambda n: {"kind": 13, "payload": b""},
}
BLOCK = ReportBlock(7, 255, -(1 << 23), *[0xFFFFFFFF] * 4)
INFO = SenderInfo(2**64 - 1, *[2**32 - 1] * 3)
REPORTS: dict[str, Callable[[int], bytes]] = {
    "goodbyes": lambda n: build_compound(Report(SOURCE), Goodbye((n, SOURCE), "\x1b[2J")),
    "reports of the largest numbers": lambda n: build_compound(
        Report(SOURCE, (BLOCK._replace(ssrc=n),) * 31, INFO), SourceDescription(SOURCE, "x")
    ),
    "reports of a source each": lambda n: build_compound(
        Report(n, (), INFO), SourceDescription(n, "x")
    ),
    "reports that are cut": lambda n: build_compound(Report(SOURCE, (BLOCK,) * 9))[: 8 + n % 200],
    "reports of noise": lambda n: b"\x81\xc8" + Random(n).randbytes(6 + n * 4),
    "a name that is no text": lambda n: (
        build_compound(Report(SOURCE)) + b"\x81\xca\x00\x02" + bytes(4) + b"\x01\x02\xff\xfe"
    ),
}
