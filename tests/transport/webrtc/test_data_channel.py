"""The data channel of a call: each message arrives once and in order, and no packet of a peer
does harm.
"""

from __future__ import annotations

import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.units import NEVER_NS, NS_PER_S
from bench.protocols.sctp.sctp_packets import (
    BEGIN,
    END,
    MAX_PACKET_BYTES,
    AbortCause,
    Chunk,
    ChunkKind,
    Fragment,
    build_chunk,
    build_fragment,
    build_packet,
    parse_packet,
)
from bench.wire.connection import ABNORMAL, BAD_FRAME, NORMAL, TOO_LARGE
from tests.examples import thorough
from tests.transport.webrtc.channel_pair import LIMIT_BYTES, ChannelPair, NetworkPath

BAD_PATHS = st.tuples(st.floats(0, 0.3), st.floats(0, 0.3), st.integers(0, 60)).map(
    lambda each: NetworkPath(*each)
)
SIZES = st.lists(
    st.one_of(st.integers(0, 3), st.integers(1_100, 3_000), st.just(20_000)), min_size=1, max_size=5
)


@thorough
@given(st.integers(0, 2**32 - 1), BAD_PATHS, SIZES, SIZES)
def test_each_message_arrives_once_and_in_order(
    seed: int, path: NetworkPath, up: list[int], down: list[int]
) -> None:
    """Also while the channel is opened by both sides at once, and with messages of many packets."""
    random = Random(seed)
    pair = ChannelPair(random, path._replace(ends_ns=100 * NS_PER_S))
    pair.open()
    sent = [[random.randbytes(size) for size in sizes] for sizes in (up, down)]
    for messages, end in zip(sent, pair.ends, strict=True):
        for number, data in enumerate(messages):
            end.send(data, pair.now_ns, is_binary=bool(number % 2))
    pair.run(lambda: (len(pair.came[1]), len(pair.came[0])) == (len(up), len(down)))
    pair.run(limit_ns=300 * NS_PER_S)  # until nothing is repeated

    assert [end.ending for end in pair.ends] == [None, None]
    assert [[message.data for message in came] for came in reversed(pair.came)] == sent
    assert all(
        message.is_binary == bool(number % 2)
        for came in pair.came
        for number, message in enumerate(came)
    )
    assert max(map(len, pair.packets)) <= MAX_PACKET_BYTES
    assert {end.next_ns for end in pair.ends} == {NEVER_NS}


def test_a_large_message_takes_few_round_trips_and_a_lost_packet_no_timeout() -> None:
    pair = ChannelPair(Random(1))
    pair.open()
    start_ns = pair.now_ns
    lost = iter([True])

    def send(number: int, packet: bytes) -> None:
        is_data = len(packet) == MAX_PACKET_BYTES
        if not (is_data and pair.now_ns > start_ns and next(lost, False)):
            original(number, packet)

    original, pair._send = pair._send, send  # type: ignore[method-assign]
    pair.client.send(bytes(200_000), pair.now_ns)
    pair.run(lambda: bool(pair.came[1]))

    assert next(lost, None) is None
    assert pair.now_ns - start_ns < 0.4 * NS_PER_S
    assert pair.came[1][0].wire_bytes > 200_000 + 16 * 200_000 // MAX_PACKET_BYTES


def test_a_peer_that_is_gone_is_noticed() -> None:
    pair = ChannelPair(Random(1))
    pair.open()
    pair._path = NetworkPath(loss=1.0)
    pair.client.send(b"{}", pair.now_ns)
    pair.run(lambda: pair.client.ending is not None)

    ending = pair.client.ending
    assert ending is not None
    assert (ending.code, ending.cause) == (ABNORMAL, "timed_out")
    silent = ChannelPair(Random(1), NetworkPath(loss=1.0))
    silent.open()
    assert silent.client.ending is not None
    assert "does not answer" in silent.client.ending.reason


@pytest.mark.parametrize(
    ("cause", "code", "kind"),
    [(AbortCause.USER, NORMAL, ""), (AbortCause.OUT_OF_RESOURCE, ABNORMAL, "reset")],
)
def test_messages_before_an_abort_arrive_and_its_reason_is_reported(
    cause: AbortCause, code: int, kind: str
) -> None:
    pair = ChannelPair(Random(1))
    pair.open()
    pair.service.send(b"the last", pair.now_ns)
    pair.run(lambda: not pair.service.unsent)
    pair.service.abort("maintenance", cause)
    pair.run()

    ending = pair.client.ending
    assert [message.data for message in pair.came[0]] == [b"the last"]
    assert ending is not None
    assert (ending.code, ending.cause, ending.ours) == (code, kind, False)
    assert ("maintenance" in ending.reason) == (cause is AbortCause.USER)


def test_a_message_beyond_the_limit_ends_the_call() -> None:
    pair = ChannelPair(Random(1), limit_bytes=5_000)
    pair.open()
    pair.service.send(bytes(5_000), pair.now_ns)
    pair.service.send(bytes(5_001), pair.now_ns)
    pair.run()

    ending = pair.client.ending
    assert [len(message.data) for message in pair.came[0]] == [5_000]
    assert ending is not None
    assert (ending.code, ending.ours) == (TOO_LARGE, True)
    assert "5000 bytes" in ending.reason
    assert pair.service.ending is not None


class Forger:
    """A peer that sends chunks of its own to the client of an open channel."""

    def __init__(self) -> None:
        self.pair = ChannelPair(Random(7))
        self.pair.open()
        self.pair.run()
        client = self.pair.associations[0]
        self.tag, self.tsn = client._own.tag, client._receiver._tsn

    def send(self, *chunks: bytes) -> list[bytes]:
        self.pair.client.received(build_packet(5_000, 5_000, self.tag, chunks), self.pair.now_ns)
        return self.pair.client.pop_packets()

    def fragment(self, ahead: int, flags: int, data: bytes = b"x", stream: int = 1) -> bytes:
        return build_fragment(Fragment((self.tsn + ahead) & 0xFFFFFFFF, stream, 0, 51, flags, data))

    def came(self) -> list[bytes]:
        return [message.data for message in self.pair.client.pop_messages()]


def answers(packets: list[bytes]) -> list[Chunk]:
    return [chunk for packet in packets for chunk in parse_packet(packet).chunks]


def test_skipped_fragments_are_not_awaited_and_whole_messages_after_them_arrive() -> None:
    forger = Forger()
    forger.send(forger.fragment(1, BEGIN, b"half a "), forger.fragment(3, END, b"lost"))
    forger.send(forger.fragment(5, BEGIN | END, b"whole"), forger.fragment(6, BEGIN | END, b"next"))
    assert forger.came() == []
    forward = build_chunk(ChunkKind.FORWARD_TSN, ((forger.tsn + 5) & 0xFFFFFFFF).to_bytes(4))
    (report,) = answers(forger.send(forward))

    assert forger.came() == [b"whole", b"next"]
    assert int.from_bytes(report.body[:4]) == (forger.tsn + 6) & 0xFFFFFFFF


def test_a_heartbeat_is_answered_and_the_end_of_a_stream_waits_for_its_messages() -> None:
    forger = Forger()
    assert answers(forger.send(build_chunk(ChunkKind.HEARTBEAT, b"\0\1\0\6hi"))) == [
        Chunk(ChunkKind.HEARTBEAT_ACK, 0, b"\0\1\0\6hi")
    ]
    last = ((forger.tsn + 1) & 0xFFFFFFFF).to_bytes(4)
    reset = build_chunk(ChunkKind.RECONFIG, b"\0\x0d\0\x12" + bytes(8) + last + b"\0\1\0\0")
    assert answers(forger.send(reset))[0].body[-4:] == b"\0\0\0\6"
    assert forger.pair.client.ending is None
    forger.send(forger.fragment(1, BEGIN | END, b"last"), reset)

    assert forger.came() == [b"last"]
    ending = forger.pair.client.ending
    assert ending is not None
    assert ending.code == NORMAL


def test_what_is_queued_is_sent_before_the_answer_to_a_shutdown() -> None:
    """RFC 9260 §9.2. The peer's SHUTDOWN acknowledges, too."""
    forger = Forger()
    pair = forger.pair
    end_tsn = pair.associations[1]._receiver._tsn
    pair.client.send(bytes(20_000), pair.now_ns)
    pair.client.pop_packets()
    shutdown = build_chunk(ChunkKind.SHUTDOWN, end_tsn.to_bytes(4))
    assert all(chunk.kind == ChunkKind.DATA for chunk in answers(forger.send(shutdown)))
    sent = []
    while pair.client.ending is None:
        end_tsn = (end_tsn + 1) & 0xFFFFFFFF
        sent += answers(forger.send(build_chunk(ChunkKind.SHUTDOWN, end_tsn.to_bytes(4))))

    assert sum(len(chunk.body) - 12 for chunk in sent[:-1]) + 4 * 1_132 >= 20_000
    assert sent[-1].kind == ChunkKind.SHUTDOWN_ACK
    assert pair.client.ending.code == NORMAL


def test_a_peer_that_shuts_down_and_acknowledges_nothing_is_awaited_for_one_timeout() -> None:
    forger = Forger()
    pair = forger.pair
    end_tsn = pair.associations[1]._receiver._tsn
    pair.client.send(b"{}", pair.now_ns)
    pair.client.pop_packets()
    forger.send(build_chunk(ChunkKind.SHUTDOWN, end_tsn.to_bytes(4)))
    pair._path = NetworkPath(loss=1.0)
    start_ns = pair.now_ns
    pair.client.send(b"after the SHUTDOWN", pair.now_ns)
    pair.run(lambda: pair.client.ending is not None)

    assert pair.now_ns - start_ns == NS_PER_S
    assert not pair.client.unsent


@pytest.mark.parametrize("flags", [[0], [END], [BEGIN, BEGIN]])
def test_fragments_that_are_no_messages_end_the_call(flags: list[int]) -> None:
    forger = Forger()
    sent = forger.send(*(forger.fragment(1 + number, each) for number, each in enumerate(flags)))

    ending = forger.pair.client.ending
    assert ending is not None
    assert (ending.code, ending.ours) == (BAD_FRAME, True)
    assert answers(sent)[-1].kind == ChunkKind.ABORT


def test_a_packet_of_another_association_has_no_effect() -> None:
    forger = Forger()
    abort = build_chunk(ChunkKind.ABORT)
    for tag in (0, 1, forger.tag ^ 1):
        forger.pair.client.received(build_packet(5_000, 5_000, tag, [abort]), 0)
    damaged = bytearray(build_packet(5_000, 5_000, forger.tag, [abort]))
    damaged[9] ^= 1
    forger.pair.client.received(bytes(damaged), 0)

    assert forger.pair.client.ending is None
    assert forger.pair.associations[0].ignored == 4


CHUNKS = st.builds(
    lambda kind, flags, body: build_chunk(ChunkKind(kind), body, flags),
    st.sampled_from(list(ChunkKind)),
    st.integers(0, 7),
    st.one_of(
        st.binary(max_size=80), st.binary(min_size=4, max_size=4).map(lambda data: data + bytes(12))
    ),
)


@thorough
@given(st.data(), st.integers(0, 2**32 - 1))
def test_hostile_packets_never_raise_and_their_memory_is_bounded(
    data: st.DataObject, seed: int
) -> None:
    """Random chunks with the right tag, and fragments far ahead, of which no message is
    complete.
    """
    random = Random(seed)
    pair = ChannelPair(random, limit_bytes=LIMIT_BYTES)
    if data.draw(st.booleans()):
        pair.open()
    client = pair.associations[0]
    pair.client.start(0)
    for _ in range(data.draw(st.integers(1, 40))):
        chunks = data.draw(st.lists(CHUNKS, max_size=4))
        ahead = random.choice((1, 2, 3, random.randrange(1 << 32)))
        fragment = Fragment(
            (client._receiver._tsn + ahead) & 0xFFFFFFFF,
            1,
            0,
            51,
            random.randrange(8),
            random.randbytes(16_000),
        )
        tag = data.draw(st.sampled_from([0, client._own.tag]))
        packet = build_packet(5_000, 5_000, tag, [*chunks, build_fragment(fragment)])
        pair.client.received(
            packet if random.random() < 0.9 else packet[: random.randrange(len(packet))],
            pair.now_ns,
        )
        pair.now_ns += random.choice((0, NS_PER_S, 90 * NS_PER_S))
        pair.client.expire(pair.now_ns)
        assert sum(map(len, pair.client.pop_packets())) <= 40_000
        pair.client.pop_messages()

    receiver = client._receiver
    held = sum(sys.getsizeof(each.data) for each in receiver._ahead.values()) + len(receiver._data)
    assert held <= 2 * LIMIT_BYTES + 20_000
