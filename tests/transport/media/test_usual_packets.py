"""The usual packets of a call: compiled code sends and accepts them as the modules of RTP do
with all packets.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival, SendTime
from bench.base.units import NEVER_NS, NS_PER_MS
from bench.protocols.call_media import CallMedia
from bench.protocols.rtp import _packets_interpreted
from bench.protocols.rtp.jitter import Frame
from bench.protocols.rtp.offset import BLOCK_PACKETS, START_PACKETS
from bench.protocols.rtp.packets import AudioPackets, send_frame
from bench.protocols.rtp.rtp import CODECS, RtpSender, StreamNumbers
from bench.protocols.rtp.srtp import SECRET_BYTES, SUITES, PacketEncryption, SrtpKey
from bench.wire.connection import Datagram, MatchedDelta, SendReceipt, SocketAddress
from bench.wire.dialect import BinaryMessage
from bench.wire.events import EventKind, ServerEvent
from tests.compiled import needs_compiler
from tests.examples import thorough
from tests.transport.media.path import FRAME_NS, PEER, PLAIN, START_NS, new_media

STRANGER = "192.0.2.9", 6_000
KEY = SrtpKey(SUITES[0], b"k" * SECRET_BYTES)
SOUND = ServerEvent(EventKind.AUDIO_DELTA, "audio")


def values_of(subject: object) -> Any:
    """Return the values of an object and of the objects that it has, so that they can be
    compared.
    """
    if isinstance(subject, (list, deque)):
        return [values_of(each) for each in subject]
    if isinstance(subject, dict):
        return {key: values_of(value) for key, value in subject.items()}
    if isinstance(subject, tuple):
        return tuple(map(values_of, subject))
    if dataclasses.is_dataclass(subject) and not isinstance(subject, type):
        return {
            each.name: values_of(getattr(subject, each.name))
            for each in dataclasses.fields(subject)
        }
    if type(subject).__module__.startswith("bench.protocols.rtp"):
        slots = getattr(subject, "__slots__", ())
        return values_of({name: getattr(subject, name) for name in slots} or vars(subject))
    return subject


def datagrams(
    chance: Random, packets: int, trouble: float, key: SrtpKey | None
) -> Iterator[Datagram]:
    """Yield packets of a stream, with a share of the events that happen to streams, in the order
    of their arrival.
    """
    encryption = PacketEncryption(key, None)

    def new_sender() -> RtpSender:
        numbers = StreamNumbers(
            chance.getrandbits(32), chance.getrandbits(15), chance.getrandbits(32)
        )
        return RtpSender(CODECS["PCMU"], 0, numbers)

    sender, media_ns, under_way = (
        new_sender(),
        START_NS,
        list[tuple[int, int, bytes, tuple[str, int]]](),
    )
    jitter_ns, source = chance.choice((0, 100_000, 5 * NS_PER_MS, 30 * NS_PER_MS)), PEER
    for number in range(packets):
        event = chance.randrange(12) if chance.random() < trouble else -1
        payload = chance.randbytes(chance.choice((80, 160)) if chance.random() < trouble else 160)
        media_ns += len(payload) * FRAME_NS // 160
        if event == 0:  # silence that is not sent
            frames = chance.choice((3, 8, 100))
            sender.pause(160 * frames)
            media_ns += frames * FRAME_NS
        elif event == 1:
            sender = new_sender()
        elif event == 2:
            sender.codec = CODECS[chance.choice(("PCMU", "PCMA"))]
            sender.payload_type = sender.codec.payload_type
        elif event == 3:
            source = chance.choice((PEER, STRANGER))
        elif event == 4:  # the path or the sender stands still
            media_ns += chance.choice((5, 40, 400)) * NS_PER_MS
        elif event == 5:
            sender.timestamp = (sender.timestamp + chance.choice((-160, 7, 1 << 31, 1 << 24))) % (
                1 << 32
            )
        elif event == 6:
            sender.payload_type = chance.choice((0, 13, 70, 99, 101))
        elif event == 7:
            payload = b""
        packet = encryption.protect(sender.audio(payload))
        if event == 8:
            packet = chance.choice(
                (b"", packet[:11], bytes([chance.getrandbits(8)]) + packet[1:], packet[:-1])
            )
        at_ns = (
            media_ns
            + chance.randrange(jitter_ns + 1)
            + (event == 9) * chance.randrange(80 * NS_PER_MS)
        )
        copies = {10: 0, 11: 2}.get(event, 1)
        under_way += [
            (at_ns + copy * chance.choice((0, FRAME_NS)), number, packet, source)
            for copy in range(copies)
        ]
        if len(under_way) > 10:
            under_way.sort()
            at_ns, _, data, origin = under_way.pop(0)
            yield data, origin, Arrival(at_ns, chance.choice((0, 0, 0, 1_000)))
    for at_ns, _, data, origin in sorted(under_way):
        yield data, origin, Arrival(at_ns)


def as_frame(delta: MatchedDelta, media: CallMedia) -> Frame:
    assert delta.event is SOUND
    assert delta.payload_bytes == len(delta.data)
    return Frame(
        delta.at_ns, delta.uncertainty_ns, delta.data, delta.wire_bytes - media.overhead_bytes
    )


@needs_compiler
@thorough
@given(
    st.integers(0, 1 << 32),
    st.integers(1, 400),
    st.sampled_from((0.0, 0.02, 0.3)),
    st.sampled_from((None, KEY)),
    st.booleans(),
)
def test_usual_packets_have_the_same_effect_as_by_the_modules_of_rtp(
    seed: int, packets: int, trouble: float, key: SrtpKey | None, is_delta: bool
) -> None:
    chance = Random(seed)
    agreed = replace(PLAIN, receive_key=key)
    fast, slow = new_media(agreed), new_media(agreed)
    found, expected, usual, total = list[Frame](), list[Frame](), 0, 0
    left = list(datagrams(chance, packets, trouble, key))
    while left:
        size = chance.choice((1, 1, 2, 5))
        batch, left = left[:size], left[size:]
        first_ns = batch[0][2].at_ns
        for released, media in ((found, fast), (expected, slow)):
            if media.buffer.next_ns <= first_ns:
                released += media.expire(first_ns)
        if chance.random() < trouble / 10:
            agreed = replace(agreed, address=chance.choice((PEER, STRANGER))[0])
            fast.change(agreed)
            slow.change(agreed)
        while batch:
            frames, deltas = list[tuple[Any, int]](), list[MatchedDelta]()
            event = SOUND if is_delta else None
            taken = fast.usual.take(batch, 0, first_ns + NEVER_NS // 4, 0, frames, deltas, event)
            assert not (frames if is_delta else deltas)
            found += [as_frame(delta, fast) for delta in deltas] or [frame for frame, _ in frames]
            for data, source, arrival in batch[taken : taken + 1]:
                found += fast.received(data, arrival, source)
            for data, source, arrival in batch[: taken + 1]:
                expected += slow.received(data, arrival, source)
            batch, usual, total = (
                batch[taken + 1 :],
                usual + taken,
                total + min(taken + 1, len(batch)),
            )
            assert values_of(fast.receiver) == values_of(slow.receiver)
            assert values_of(fast.buffer) == values_of(slow.buffer)

    assert found == expected
    # the first packet is not usual, one ends the start of the stream, and one begins each block
    if trouble == 0.0:
        path_is_even = slow.receiver.jitter_ns < NS_PER_MS
        assert (
            not path_is_even
            or usual >= total - 3 - (total > START_PACKETS) - total // BLOCK_PACKETS
        )


@needs_compiler
def test_a_usual_packet_behind_a_frame_is_a_frame_so_that_the_order_remains() -> None:
    media, sender = new_media(PLAIN), RtpSender(CODECS["PCMU"], 0, StreamNumbers(9, 1, 0))
    arrivals = [Arrival(START_NS + number * FRAME_NS) for number in range(3)]
    first, *others = ((sender.audio(bytes(160)), PEER, arrival) for arrival in arrivals)
    frames: list[Any] = [(frame, 0) for frame in media.received(first[0], first[2], PEER)]
    deltas: list[MatchedDelta] = []

    assert media.usual.take(others, 0, arrivals[-1].at_ns, 0, frames, deltas, SOUND) == 2
    assert not deltas
    assert [frame.at_ns for frame, _ in frames] == [arrival.at_ns for arrival in arrivals]


@needs_compiler
def test_a_delta_is_late_by_the_time_for_which_it_was_not_to_wait() -> None:
    media, sender = new_media(PLAIN), RtpSender(CODECS["PCMU"], 0, StreamNumbers(9, 1, 0))
    arrivals = [Arrival(START_NS + number * FRAME_NS) for number in range(3)]
    first, *others = ((sender.audio(bytes(160)), PEER, arrival) for arrival in arrivals)
    media.received(first[0], first[2], PEER)
    deltas: list[MatchedDelta] = []
    read_ns = arrivals[-1].at_ns + FRAME_NS
    media.usual.take(others[:1], 0, read_ns, read_ns - 1_000, [], deltas, SOUND)
    media.usual.take(others[1:], 0, read_ns, 0, [], deltas, SOUND)

    assert [delta.lag_ns for delta in deltas] == [1_000, read_ns - arrivals[-1].at_ns]


def test_without_compiled_code_no_packet_is_a_usual_one() -> None:
    media, frames = new_media(PLAIN), list[Any]()
    usual = _packets_interpreted.UsualPackets(media.receiver, media.buffer)
    usual.use(PEER, None, 12)

    assert (
        usual.take(list(datagrams(Random(1), 5, 0, None)), START_NS, START_NS, 0, frames, [], None)
        == 0
    )
    assert values_of(media.receiver) == values_of(new_media(PLAIN).receiver)
    assert not frames


@thorough
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("audio", "audio", "audio", "pause", "key", "agree")),
            st.integers(0, 200),
        )
    ),
    st.integers(0, (1 << 16) - 1),
    st.integers(0, (1 << 32) - 1),
)
def test_packets_of_audio_are_built_as_by_the_modules_of_rtp(
    steps: list[tuple[str, int]], sequence_number: int, timestamp: int
) -> None:
    numbers = StreamNumbers(9, sequence_number, timestamp)
    fast, slow = RtpSender(CODECS["PCMU"], 0, numbers), RtpSender(CODECS["PCMU"], 0, numbers)
    kinds: Any = (AudioPackets, fast), (_packets_interpreted.AudioPackets, slow)
    packets: Any = [kind(sender) for kind, sender in kinds]
    for each in packets:
        each.use(None)
    for step, value in steps:
        for each, sender in zip(packets, (fast, slow), strict=True):
            if step == "pause":
                sender.pause(160 * value)
            elif step == "key":
                sender.packet(101, sender.timestamp, b"1234", marker=True)
            elif step == "agree":
                sender.codec = CODECS["PCMA" if value % 2 else "PCMU"]
                sender.payload_type = sender.codec.payload_type
                each.use(PacketEncryption(KEY, None).protect if value % 3 == 0 else None)
        if step == "audio":
            audio = BinaryMessage(range(value))
            assert packets[0].next(audio) == packets[1].next(audio)
        assert values_of(fast) == values_of(slow)


@pytest.mark.parametrize("send", [send_frame, _packets_interpreted.send_frame], ids=["C", "Python"])
def test_a_frame_that_the_kernel_refuses_is_sent_again_in_the_same_packet(send: Any) -> None:
    results: list[SendTime | int] = [SendTime(5, 2), 11]
    written: list[tuple[bytes, SocketAddress]] = []
    refused: list[tuple[bytes, SocketAddress]] = []
    receipt = SendReceipt(SendTime(8), 0, "refused")

    def write(packet: bytes, peer: SocketAddress) -> SendTime | int:
        written.append((packet, peer))
        return results.pop(0)

    def send_again(packet: bytes, peer: SocketAddress) -> SendReceipt:
        refused.append((packet, peer))
        return receipt

    packets = new_media(PLAIN).audio_packets

    assert send(packets, write, send_again, PEER, bytes(160)) == SendReceipt(SendTime(5, 2), 172)
    assert send(packets, write, send_again, PEER, bytes(160)) is receipt
    assert refused == written[1:]
    assert [packet[2:4] for packet, _ in written] == [b"\0\2", b"\0\3"]
