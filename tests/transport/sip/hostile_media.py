"""Hostile media: after any flood on the ports of RTP and RTCP, the call still plays the frames
of its peer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from bench.protocols.rtp.rtcp import (
    Goodbye,
    Report,
    ReportBlock,
    SenderInfo,
    SourceDescription,
    build_compound,
)
from bench.protocols.rtp.rtp import RtpPacket, build_packet
from tests.transport.sip.hostile_line import Behaviour, HostilePeer

FLOOD = 300
SPEECH = b"\x11" * 160


def sends(*make: Callable[[HostilePeer, int], bytes], times: int = FLOOD) -> Behaviour:
    """Return the behaviour that sends datagrams to the port of RTP. The number of the repetition
    is an argument.
    """

    def behave(peer: HostilePeer) -> None:
        peer.answer()
        for number in range(times):
            for each in make:
                peer.media(each(peer, number))

    return behave


def controls(make: Callable[[HostilePeer, int], bytes], times: int = FLOOD) -> Behaviour:
    """Return the behaviour that sends datagrams to the port of RTCP."""

    def behave(peer: HostilePeer) -> None:
        peer.answer()
        peer.frame(SPEECH)
        for number in range(times):
            peer.control(make(peer, number))

    return behave


def frames(
    payload: bytes, *, payload_type: int = 0, samples: int = 160, times: int = FLOOD
) -> Behaviour:
    def behave(peer: HostilePeer) -> None:
        peer.answer()
        for _ in range(times):
            peer.frame(payload, payload_type=payload_type, samples=samples)

    return behave


def packet(
    number: int, timestamp: int, ssrc: int = 7, payload: bytes = SPEECH, payload_type: int = 0
) -> bytes:
    return build_packet(
        *RtpPacket(payload_type, number & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, payload)
    )


def flood_of_a_stranger(peer: HostilePeer) -> None:
    peer.answer()
    for number in range(FLOOD):
        peer.media(packet(number, number * 160, ssrc=99), peer.stranger)
        peer.frame(SPEECH)


def frames_before_the_answer(peer: HostilePeer) -> None:
    for number in range(FLOOD):
        peer.media(packet(number, number * 160))
        peer.control(bytes(40))
    peer.answer()


def no_media(peer: HostilePeer) -> None:
    peer.answer()  # the frames at the end are the only ones


def to_a_dead_port(peer: HostilePeer) -> None:
    """Name a dead port for the media. The kernel reports it by ICMP. The frames come from
    another port.
    """
    port = peer.rtp.getsockname()[1]
    peer.rtp.close()
    peer.rtp = peer.stranger
    peer.answer(body=peer.sdp(f"audio {port} RTP/AVP 0"))


def requests_on_the_port_of_media(peer: HostilePeer) -> None:
    peer.answer()
    for _ in range(FLOOD):
        peer.media(peer.request("BYE"))
        peer.control(peer.request("BYE"))


def report(number: int, count: int = 1, ssrc: int = 7, sender: bool = True) -> Report:
    block = ReportBlock(number, 255, -(1 << 23), 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    info = SenderInfo(2**64 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    return Report(ssrc, (block,) * count, info if sender else None)


def random_bytes(number: int, first: bytes = b"") -> bytes:
    random = Random(number)
    return first + random.randbytes(random.randint(0, 1_500))


CASES: dict[str, Behaviour] = {
    "no media for a while": no_media,
    "a flood of another source from another port": flood_of_a_stranger,
    "frames before the answer": frames_before_the_answer,
    "another source in each packet": sends(
        lambda peer, number: packet(number, number * 160, ssrc=number)
    ),
    "another source after each second packet": sends(
        lambda peer, number: packet(number, number * 160, ssrc=number // 2)
    ),
    "two sources in turn": sends(
        lambda peer, number: packet(number, number * 160, ssrc=7),
        lambda peer, number: packet(number, 5, ssrc=8),
    ),
    "random bytes": sends(lambda peer, number: random_bytes(number)),
    "random bytes after a valid first byte": sends(
        lambda peer, number: random_bytes(number, b"\x80\x00")
    ),
    "empty datagrams": sends(lambda peer, number: b""),
    "the largest datagrams": sends(
        lambda peer, number: packet(number, 0) + bytes(65_000), times=20
    ),
    "packets one byte longer than the limit": sends(
        lambda peer, number: packet(number, 0, payload=bytes(2_037))
    ),
    "the longest packets": sends(
        lambda peer, number: packet(number, number * 160, payload=b"\x11" * 2_036)
    ),
    "headers without a payload": frames(b""),
    "payload types that were not agreed": sends(
        lambda peer, number: packet(number, number * 160, payload_type=number % 128)
    ),
    "timestamps that jump to random values": sends(
        lambda peer, number: packet(number, Random(number).getrandbits(32))
    ),
    "timestamps that run backwards": sends(lambda peer, number: packet(number, -number * 160)),
    "the same timestamp in each packet": sends(lambda peer, number: packet(number, 0)),
    "timestamps that jump by half of their range": sends(
        lambda peer, number: packet(number, number << 31)
    ),
    "sequence numbers that jump to random values": sends(
        lambda peer, number: packet(Random(number).getrandbits(16), number * 160)
    ),
    "sequence numbers that jump by the largest gap": sends(
        lambda peer, number: packet(number * 2_999, number * 2_999, payload=b"\x11")
    ),
    "sequence numbers that run backwards": sends(
        lambda peer, number: packet(-number, number * 160)
    ),
    "the same sequence number in each packet": sends(lambda peer, number: packet(5, number * 160)),
    "each second packet missing": sends(lambda peer, number: packet(2 * number, number * 320)),
    "frames of 1 byte": frames(b"\x11", samples=1),
    "frames of 60 ms": frames(SPEECH * 3, samples=480),
    "frames of 200 ms": frames(SPEECH * 10, samples=1_600),
    "a flood of comfort noise": frames(b"\x40", payload_type=13),
    "a flood of comfort noise without a level": frames(b"", payload_type=13),
    "a flood of keys": frames(struct.pack("!BBH", 5, 0x8A, 0xFFFF), payload_type=101),
    "a flood of keys that are cut": frames(b"\x05", payload_type=101),
    "contributing sources that are missing": sends(
        lambda peer, number: b"\x8f" + packet(number, 0)[1:20]
    ),
    "an extension that is longer than the packet": sends(
        lambda peer, number: b"\x90" + packet(number, 0)[1:12] + b"\xbe\xde\xff\xff"
    ),
    "padding that is longer than the packet": sends(
        lambda peer, number: b"\xa0" + packet(number, 0)[1:] + b"\xff"
    ),
    "RTCP on the port of RTP": sends(lambda peer, number: build_compound(report(number))),
    "a dead port": to_a_dead_port,
    "requests on the ports of media": requests_on_the_port_of_media,
    "a flood of RTCP": controls(
        lambda peer, number: build_compound(report(number, 31), SourceDescription(7, "x"))
    ),
    "random bytes as RTCP": controls(lambda peer, number: random_bytes(number, b"\x81\xc8")),
    "RTCP that is cut": controls(lambda peer, number: build_compound(report(1, 9))[: number % 200]),
    "RTCP of 60,000 bytes": controls(
        lambda peer, number: build_compound(*[report(1, 31)] * 77), times=20
    ),
    "a canonical name of bytes that are no text": controls(
        lambda peer, number: (
            build_compound(report(1)) + b"\x81\xca\x00\x02" + b"\x00" * 4 + b"\x01\x02\xff\xfe"
        )
    ),
    "a goodbye of each source": controls(
        lambda peer, number: build_compound(report(1), Goodbye((number, 7), "\x1b"))
    ),
}
