"""The fast reader of frames and the slow one.

Both give the same messages and timestamps for the same bytes, however these bytes are split into
parts.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from bench.base.clock import Arrival, monotonic_ns
from bench.transport.fast import _interpreted, _sending_interpreted, reader, sending
from bench.transport.fast.reader import MessageReader
from bench.transport.parser import (
    MASK_BYTES,
    SocketRead,
    frame_bytes,
    leading_messages,
    masked_frame,
    missing_bytes,
)
from bench.transport.websocket import WebSocket
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage
from tests.examples import thorough
from tests.helpers import receive
from tests.transport.fake_stream import (
    FAR_NS,
    LIMIT,
    PING,
    FakeStream,
    close_frame,
    cut,
    opened,
    read,
    text,
)

EACH_SENDING = pytest.mark.parametrize("kind", [sending, _sending_interpreted], ids=["C", "Python"])
SIZES = st.sampled_from([0, 1, 60, 125, 126, 127, 300, 65_535, 65_536])
TEXTS = SIZES.map(lambda size: text(b"x" * size))
ODD = st.sampled_from(
    [
        PING,
        close_frame(1000, "bye"),
        text(b"begun, ", fin=False),
        text(b"ended", opcode=Opcode.CONT),
        text(b"bytes", opcode=Opcode.BINARY),
        Frame(Opcode.TEXT, b"masked").serialize(mask=True),
        b"\x81\x7e\x00\x05hello",  # a 16-bit length that fits into 7 bits
        b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x05hello",
        b"\xc1\x05hello",  # a reserved bit
        b"\x83\x05hello",  # a reserved opcode
    ]
)
READ = st.lists(TEXTS | ODD | st.binary(max_size=6), min_size=1, max_size=3).map(b"".join)
READS = st.lists(READ | READ.map(lambda whole: whole[: len(whole) // 2]), max_size=6)


LIMITS = st.sampled_from([20, 125, 126, 65_534, 65_535, LIMIT])
AT_NS, EMPTY_NS = 5_000, 4_000
ARRIVAL = Arrival(AT_NS, AT_NS - EMPTY_NS)
STATES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=4)


def came(wire: bytes, *, kernel: bool = True, complete: bool = False) -> SocketRead:
    return SocketRead(wire, AT_NS, EMPTY_NS, kernel, complete)


class SlowReader(MessageReader):
    """A reader that passes every frame to the protocol object of websockets."""

    def expect(self, *, plain: bool) -> None:
        super().expect(plain=False)


def read_all_parts(
    kind: type[MessageReader],
    parts: Sequence[bytes],
    states: Sequence[tuple[bool, bool]],
    limit: int,
) -> tuple[object, ...]:
    """Read the bytes `parts`, one part per read.

    Return the messages with their timestamps, the end of the connection, and the frames that we
    answered.
    """
    stream = FakeStream()
    socket, _ = opened(stream, limit=limit)
    socket._reader = kind()
    socket._reader.expect(plain=socket._is_plain())
    asked = len(stream.written)
    for place, part in enumerate(parts):
        complete, kernel = states[place % len(states)]
        stream.reads.append(read(part, place, complete=complete, kernel=kernel))
    came: list[ReceivedMessage] = []
    while more := receive(socket, FAR_NS):
        came += more
    return came, socket.closed, _unmasked(stream.written[asked:])


def _unmasked(frames: bytes) -> list[bytes]:
    """Return our frames without the masks of their payloads, because masks are random. All
    frames must be short.
    """
    parts_written, at = [], 0
    while at < len(frames):
        length, mask = frames[at + 1] & 0x7F, frames[at + 2 : at + 6]
        payload = frames[at + 6 : at + 6 + length]
        parts_written.append(
            frames[at : at + 2]
            + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        )
        at += 6 + length
    return parts_written


@thorough
@example([text(b"begun, ", fin=False), text(b"whole")], [], [(True, True)], LIMIT)
@example([text(b"just right") + text(b"one too many")], [], [(True, True)], 11)
@given(READS, st.lists(st.integers(0, 400_000), max_size=2), STATES, LIMITS)
def test_the_fast_and_the_slow_reader_give_the_same_messages(
    reads: list[bytes], places: list[int], states: Sequence[tuple[bool, bool]], limit: int
) -> None:
    """A read consists of complete and incomplete frames. Some reads are split again at any
    position.

    The limit varies.
    """
    parts = [part for whole in reads for part in cut(whole, places if len(whole) % 2 else ())]

    assert read_all_parts(MessageReader, parts, states, limit) == read_all_parts(
        SlowReader, parts, states, limit
    )


def test_a_read_of_complete_text_frames_needs_no_protocol_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    socket, stream = opened()
    monkeypatch.delattr(WebSocket, "_parse")
    stream.reads.append(read(text(b"one") + text(b"two")))

    assert [message.data for message in receive(socket, FAR_NS)] == [b"one", b"two"]


@thorough
@given(
    st.lists(SIZES.filter(lambda size: size <= 65_535), max_size=4),
    st.integers(0, 200_000),
    st.booleans(),
)
def test_complete_text_frames_are_parsed_up_to_the_end_of_the_bytes(
    sizes: list[int], end: int, complete: bool
) -> None:
    frames = [text(b"x" * size) for size in sizes]
    wire = b"".join(frames)[:end]

    texts, taken = leading_messages(came(wire, complete=complete))
    whole = 0
    while whole < len(frames) and sum(map(len, frames[: whole + 1])) <= len(wire):
        whole += 1
    arrivals = [ARRIVAL] * whole
    if complete and whole and taken == len(wire):
        arrivals[-1] = Arrival(AT_NS, 0)
    assert texts == [
        ReceivedMessage(b"x" * size, arrival, frame_bytes(size))
        for size, arrival in zip(sizes, arrivals, strict=False)
    ]
    assert taken == sum(map(len, frames[:whole]))


@thorough
@given(
    st.lists(READ, max_size=3).map(b"".join), st.integers(0, 200_000), st.booleans(), st.booleans()
)
def test_the_c_and_python_parsers_of_text_frames_are_equal(
    wire: bytes, end: int, kernel: bool, complete: bool
) -> None:
    part = came(wire[:end], kernel=kernel, complete=complete)

    messages, taken = leading_messages(part)
    assert reader.leading_messages(part) == (messages, taken)
    is_whole = bool(messages) and taken == len(part.data)
    for matcher in (reader.TemplateMatcher(), _interpreted.TemplateMatcher()):
        assert matcher.consume(part) == part
        matcher.consumes_messages = True
        assert matcher.consume(part) == (None if is_whole else part)
        assert matcher.due is is_whole
        assert matcher.pop_messages() == (messages if is_whole else [])
        assert not matcher.due


@pytest.mark.parametrize(
    "frame",
    [
        PING,
        close_frame(1000),
        text(b"part", fin=False),
        b"\x81\x85maskhello",
        b"\x81\x7e\x00\x05hello",
    ],
)
def test_a_frame_that_is_no_plain_text_is_left_to_the_general_parser(frame: bytes) -> None:
    texts, taken = leading_messages(came(text(b"before") + frame + text(b"after")))

    assert (texts, taken) == ([ReceivedMessage(b"before", ARRIVAL, 8)], 8)


@given(
    st.binary(max_size=300) | st.integers(0, 70_000).map(bytes),
    st.binary(min_size=4, max_size=4),
    st.booleans(),
)
def test_the_c_and_python_frames_are_equal(payload: bytes, mask: bytes, binary: bool) -> None:
    message = BinaryMessage(payload) if binary else payload

    assert sending.masked_frame(message, mask) == masked_frame(message, mask)


@EACH_SENDING
def test_each_frame_has_another_mask(kind: ModuleType) -> None:
    masks = {kind.masked_frame(b"")[2:] for _ in range(200)}

    assert len(masks) == 200
    assert {len(mask) for mask in masks} == {MASK_BYTES}


@EACH_SENDING
def test_a_send_returns_the_accepted_bytes_or_the_error(kind: ModuleType) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setblocking(False)
        begun_ns = monotonic_ns()
        at_ns, width_ns, count = kind.send_at_once(ours.fileno(), b"one")
        assert (count, peer.recv(9)) == (3, b"one")
        assert begun_ns <= at_ns <= at_ns + width_ns <= monotonic_ns()
        while (count := kind.send_at_once(ours.fileno(), b"x" * 70_000)[2]) == 70_000:
            pass
        if count > 0:  # the rest did not fit
            count = kind.send_at_once(ours.fileno(), b"x")[2]
        assert count == -errno.EAGAIN
        peer.close()
        assert kind.send_at_once(ours.fileno(), b"x")[2] == -errno.EPIPE


@given(SIZES, st.binary(min_size=4, max_size=4))
def test_frames_are_masked_like_those_of_websockets(size: int, mask: bytes) -> None:
    payload = b"x" * size
    frame = masked_frame(payload, mask)
    whole = ServerProtocol(state=State.OPEN, max_size=None)
    whole.receive_data(frame)

    assert [(one.opcode, one.fin, one.data) for one in whole.events_received()] == [
        (Opcode.TEXT, True, payload)
    ]
    assert len(frame) == frame_bytes(size) + MASK_BYTES
    assert frame[-size - MASK_BYTES : len(frame) - size] == mask


@given(SIZES, st.integers(1, 70_000))
def test_the_missing_bytes_of_an_incomplete_frame_are_known_from_its_header(
    size: int, begun: int
) -> None:
    frame = text(b"x" * size)
    begun %= len(frame)
    missing = missing_bytes(frame[:begun]) if begun else 0

    if size > 65_535:
        assert missing in (0, 1)  # the frame's second byte shows that the frame is not supported
    elif begun:
        header = frame_bytes(size) - size
        assert (
            missing
            == (len(frame) if begun >= header else min(header, 2 if begun < 2 else 4)) - begun
        )
