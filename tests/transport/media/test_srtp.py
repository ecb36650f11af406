"""The encrypted media of a call: what one side protects, the other one receives, and nothing
else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS
from bench.protocols.call_media import KEY_FRAMES, CallMedia, key_payloads
from bench.protocols.rtp.jitter import Frame
from bench.protocols.rtp.rtp import HEADER_BYTES, RtpPacket, StreamNumbers, build_packet
from bench.protocols.rtp.srtp import (
    MAX_SOURCES,
    SECRET_BYTES,
    SUITES,
    TAG_BYTES,
    PacketEncryption,
    SrtpKey,
)
from bench.protocols.sdp.offer_answer import AgreedMedia
from bench.wire.addresses import HostPort
from tests.examples import thorough
from tests.transport.media.path import START_NS, audio

SUITE_80, _ = SUITES
FRAME_NS = 20 * NS_PER_MS
PLAIN = AgreedMedia(
    "192.0.2.4", 5000, "PCMU", 0, ((0, "PCMU"),), 101, 101, "sendrecv", HostPort("192.0.2.4", 5001)
)
suites = st.sampled_from(SUITES)


def key(letter: bytes, suite: str = SUITE_80) -> SrtpKey:
    return SrtpKey(suite, letter * SECRET_BYTES)  # type: ignore[arg-type]


def agreed(send_key: SrtpKey | None, receive_key: SrtpKey | None) -> AgreedMedia:
    return replace(PLAIN, send_key=send_key, receive_key=receive_key)


def media(
    send_key: SrtpKey | None, receive_key: SrtpKey | None, ssrc: int = 1, first: int = 0
) -> CallMedia:
    numbers = StreamNumbers(ssrc, first, 4_000)
    return CallMedia(agreed(send_key, receive_key), numbers, "x@y", START_NS, 0, lambda: 0.5)


def pair(suite: str = SUITE_80) -> tuple[CallMedia, CallMedia]:
    ours, theirs = key(b"a", suite), key(b"b", suite)
    return media(ours, theirs, ssrc=1), media(theirs, ours, ssrc=2)


def played(
    sender: CallMedia, receiver: CallMedia, frames: int, change: Callable[[int, bytes], bytes]
) -> list[Frame]:
    """Return the frames that a receiver plays of a sender's packets, which `change` changes on
    their way.
    """
    found: list[Frame] = []
    for number in range(frames):
        at_ns = START_NS + number * FRAME_NS
        found += receiver.received(
            change(number, sender.send_audio(audio(number))), Arrival(at_ns), receiver.peer
        )
    return found + receiver.expire(START_NS + 10**12)


@thorough
@given(suites, st.integers(0, 0x7FFF), st.integers(1, 80), st.booleans())
def test_the_frames_of_an_encrypted_call_are_those_of_a_plain_one(
    suite: str, first: int, frames: int, has_key_press: bool
) -> None:
    found: list[list[Frame]] = []
    for own in (key(b"a", suite), None):
        sender, receiver = media(own, None, first=first), media(None, own)
        if has_key_press:
            assert sender.press("5")
        found.append(played(sender, receiver, frames, lambda number, packet: packet))
        assert receiver.receiver.counts.rejected == 0

    assert found[0] == found[1]
    key_packets = len(key_payloads("5", KEY_FRAMES, 160)) if has_key_press else 0
    assert len(found[0]) >= frames - key_packets if has_key_press else len(found[0]) == frames


@pytest.mark.parametrize("first", [0, 40])
def test_an_encrypted_stream_whose_numbers_begin_again_after_a_pause_is_heard(first: int) -> None:
    own = key(b"a")
    receiver = media(None, own)
    for start_ns in (START_NS, START_NS + 10**10):
        sender = media(own, None, first=first)
        for number in range(70):
            packet, arrival = (
                sender.send_audio(audio(number)),
                Arrival(start_ns + number * FRAME_NS),
            )
            assert receiver.received(packet, arrival, receiver.peer)

    assert (receiver.receiver.source, receiver.receiver.counts.rejected) == (1, 0)


def test_a_recorded_packet_is_rejected_while_the_source_sends() -> None:
    own = key(b"a")
    sender, receiver = media(own, None), media(None, own)
    packets = [sender.send_audio(audio(number)) for number in range(30)]
    for number, packet in enumerate(packets):
        receiver.received(packet, Arrival(START_NS + number * FRAME_NS), receiver.peer)
        receiver.received(packets[0], Arrival(START_NS + number * FRAME_NS + 1), receiver.peer)

    assert receiver.receiver.counts.rejected == 30


def test_a_stream_whose_sequence_number_wraps_around_is_received() -> None:
    own = key(b"a")
    sender, receiver = media(own, None, first=0x7FFF), media(None, own)
    frames = 0x8000 + 200

    assert len(played(sender, receiver, frames, lambda number, packet: packet)) == frames
    assert receiver.receiver.counts.rejected == 0


@pytest.mark.parametrize("suite", SUITES)
def test_a_packet_is_not_readable_and_is_longer_by_its_tag(suite: str) -> None:
    sender, receiver = pair(suite)
    packet = sender.send_audio(audio(3))

    assert len(packet) == HEADER_BYTES + 160 + TAG_BYTES[suite]  # type: ignore[index]
    assert len(packet) == 160 + receiver.overhead_bytes
    assert audio(3)[:8] not in packet


@thorough
@given(suites, st.integers(0, 171), st.integers(1, 255))
def test_a_changed_packet_is_counted_and_its_frame_is_concealed(
    suite: str, place: int, mask: int
) -> None:
    sender, receiver = pair(suite)

    def change(number: int, packet: bytes) -> bytes:
        if number != 1:
            return packet
        return packet[:place] + bytes([packet[place] ^ mask]) + packet[place + 1 :]

    frames = played(sender, receiver, 3, change)
    counts = receiver.receiver.counts

    assert (counts.rejected, counts.received, counts.bad, counts.strays) == (1, 2, 0, 0)
    assert [not frame.payload_bytes for frame in frames] == [False, True, False]


@thorough
@given(st.binary(max_size=1_600))
def test_no_data_is_an_error(data: bytes) -> None:
    _, receiver = pair()

    assert receiver.received(data, Arrival(START_NS), receiver.peer) == []
    receiver.received_report(data, START_NS)
    assert receiver.receiver.counts.rejected == receiver.rtcp.rejected == 1


def test_a_plain_packet_of_an_encrypted_call_is_rejected() -> None:
    sender, receiver = media(None, None), media(None, key(b"a"))
    played(sender, receiver, 3, lambda number, packet: packet)

    assert receiver.receiver.counts.rejected == 3


def test_a_repeated_packet_is_rejected() -> None:
    sender, receiver = pair()
    packet = sender.send_audio(audio(0))

    assert len(receiver.received(packet, Arrival(START_NS), receiver.peer)) == 1
    assert receiver.received(packet, Arrival(START_NS), receiver.peer) == []
    assert (receiver.receiver.counts.rejected, receiver.receiver.counts.received) == (1, 1)


def test_a_goodbye_is_accepted_from_the_peer_only() -> None:
    caller, agent = pair()
    stranger = media(key(b"c"), None)
    agent.received(caller.send_audio(audio(0)), Arrival(START_NS), agent.peer)
    stranger.send_audio(audio(0))
    agent.received_report(stranger.report(START_NS, goodbye=True), START_NS)
    assert (agent.rtcp.received, agent.rtcp.rejected) == (0, 1)

    agent.received_report(caller.report(START_NS, goodbye=True), START_NS)
    assert (agent.rtcp.received, agent.rtcp.rejected) == (1, 1)


def test_a_key_has_a_limited_number_of_sources() -> None:
    own = key(b"a")
    sender, receiver = PacketEncryption(own, None), PacketEncryption(None, own)
    packets = [
        sender.protect(build_packet(*RtpPacket(0, 1, 0, ssrc, b"x")))
        for ssrc in range(1, MAX_SOURCES + 3)
    ]
    accepted = [receiver.unprotect(packet) is not None for packet in packets]

    assert accepted == [True] * MAX_SOURCES + [False] * 2
    assert (
        receiver.unprotect(sender.protect(build_packet(*RtpPacket(0, 2, 0, 1, b"x")))) is not None
    )
