"""Hostile media: after any flood on the ports of RTP and RTCP, the call still plays the frames
of its peer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Any

from tests.attack.media import FLOOD, PACKETS, REPORTS, SOURCE, changed_packet, packet
from tests.transport.sip.hostile_line import Behaviour, HostilePeer

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


def flood_of_a_stranger(peer: HostilePeer) -> None:
    peer.answer()
    for number in range(FLOOD):
        peer.media(packet(number, number * 160, source=99, payload=SPEECH), peer.stranger)
        peer.frame(SPEECH)


def frames_before_the_answer(peer: HostilePeer) -> None:
    for number in range(FLOOD):
        peer.media(packet(number, number * 160, source=SOURCE, payload=SPEECH))
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


def random_bytes(number: int, first: bytes = b"") -> bytes:
    random = Random(number)
    return first + random.randbytes(random.randint(0, 1_500))


def of_rtp(changes: Callable[[int], dict[str, Any]]) -> Behaviour:
    return sends(lambda _, number: changed_packet(changes, number, SOURCE, SPEECH))


def agrees(number: int, name: str, changes: Callable[[int], dict[str, Any]]) -> Behaviour:
    """Return the behaviour that selects a codec of a wideband offer, and sends packets."""

    def behave(peer: HostilePeer) -> None:
        line = f"audio {peer.rtp.getsockname()[1]} RTP/AVP {number} 101"
        peer.answer(body=peer.sdp(line, more=f"a=rtpmap:{number} {name}\r\n"))
        for count in range(FLOOD):
            usual = {"kind": number} | changes(count)
            peer.media(changed_packet(lambda _, usual=usual: usual, count, SOURCE, SPEECH))  # type: ignore[misc]
        peer.payload_type = number

    return behave


OPUS = 111, "opus/48000/2"
G722 = 9, "G722/8000"
WIDE_CASES: dict[str, Behaviour] = {
    "frames of G.722 of odd lengths": agrees(*G722, lambda n: {"payload": b"\x11" * n}),
    "another codec of the offer in each packet": agrees(
        *G722, lambda n: {"kind": (0, 8, 9, 111)[n % 4]}
    ),
    "random bytes as Opus": agrees(
        *OPUS, lambda n: {"timestamp": n * 960, "payload": random_bytes(n)}
    ),
    "each first byte of Opus": agrees(
        *OPUS, lambda n: {"timestamp": n * 960, "payload": bytes([n & 255, 255, 9])}
    ),
    "comfort noise of each size between frames": agrees(
        *G722, lambda n: {"kind": 9 + n % 2 * 4, "payload": b"\x40" * (n % 60)}
    ),
}
CASES: dict[str, Behaviour] = {
    "no media for a while": no_media,
    "a flood of another source from another port": flood_of_a_stranger,
    "frames before the answer": frames_before_the_answer,
    **{name: of_rtp(changes) for name, changes in PACKETS.items()},
    "random bytes": sends(lambda peer, number: random_bytes(number)),
    "random bytes after a valid first byte": sends(
        lambda peer, number: random_bytes(number, b"\x80\x00")
    ),
    "empty datagrams": sends(lambda peer, number: b""),
    "the largest datagrams": sends(lambda peer, number: bytes(65_000), times=20),
    **{
        name: of_rtp(lambda _, size=size: {"payload": bytes(size)})  # type: ignore[misc]
        for name, size in {"too long packets": 2_037, "the longest packets": 2_036}.items()
    },
    "headers without a payload": frames(b""),
    "frames of 1 byte": frames(b"\x11", samples=1),
    "frames of 60 ms": frames(SPEECH * 3, samples=480),
    "frames of 200 ms": frames(SPEECH * 10, samples=1_600),
    "a flood of comfort noise": frames(b"\x40", payload_type=13),
    "a flood of comfort noise without a level": frames(b"", payload_type=13),
    "a flood of keys": frames(struct.pack("!BBH", 5, 0x8A, 0xFFFF), payload_type=101),
    "a flood of keys that are cut": frames(b"\x05", payload_type=101),
    "RTCP on the port of RTP": sends(lambda peer, number: REPORTS["goodbyes"](number)),
    "a dead port": to_a_dead_port,
    "requests on the ports of media": requests_on_the_port_of_media,
    **{
        f"{name} by RTCP": controls(lambda _, number, make=make: make(number))  # type: ignore[misc]
        for name, make in REPORTS.items()
    },
    "RTCP that is cut anywhere": controls(
        lambda peer, number: REPORTS["reports that are cut"](0)[: number % 8]
    ),
    "RTCP of 60,000 bytes": controls(
        lambda peer, number: REPORTS["reports of the largest numbers"](number) * 77, times=20
    ),
}
