"""Compressed messages: the same messages as without, and every byte that was on the wire counted."""

from __future__ import annotations

import itertools
import logging
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from bench.limits import Limits
from bench.transport.interface import Phases
from bench.transport.parser import frame_bytes
from bench.transport.received import Received
from bench.transport.websocket import WebSocket, client_protocol
from tests.examples import thorough
from tests.transport.test_websocket import LIMIT, PING, FakeStream, cut, read, received

URI = parse_uri("ws://service.example/v1/realtime?model=m")
TEXTS = st.lists(
    st.sampled_from([b"", b"{}", b'{"type": "x", "delta": "' + b"AAAA" * 500 + b'"}'])
    | st.builds(bytes, st.sampled_from([1, 125, 126, 127, 65_535, 65_536])),
    max_size=8,
)
PLACES = st.lists(st.integers(0, 400_000), max_size=12)
COMPRESSED = pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])


def opened(*, offered: bool, accepted: bool) -> tuple[WebSocket, FakeStream]:
    stream = FakeStream()
    stream.server = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()] if accepted else None)
    socket = WebSocket(stream, client_protocol(URI, LIMIT, deflate=offered))
    socket.upgrade([], Limits(), Phases())
    return socket, stream


def wire(stream: FakeStream, messages: Iterable[bytes]) -> list[bytes]:
    """The frames that the service sends for messages."""
    frames = []
    for message in messages:
        stream.server.send_text(message)
        frames.append(b"".join(stream.server.data_to_send()))
    return frames


@COMPRESSED
@thorough
@given(messages=TEXTS, places=PLACES, pinged=st.booleans())
def test_frames_that_are_cut_anywhere_give_the_same_messages_and_every_byte_on_the_wire_is_counted(
    compressed: bool, messages: list[bytes], places: list[int], pinged: bool
) -> None:
    socket, stream = opened(offered=compressed, accepted=compressed)
    frames = wire(stream, messages)
    sent = b"".join(frames) + PING * pinged
    stream.reads += [read(part, place) for place, part in enumerate(cut(sent, places))]

    came = received(socket)
    assert [message.data for message in came] == messages
    assert [message.wire_bytes for message in came] == [len(frame) for frame in frames]
    assert socket.closed is None


def test_a_compressed_message_is_smaller_on_the_wire_than_what_it_says() -> None:
    socket, stream = opened(offered=True, accepted=True)
    stream.reads += [read(part) for part in wire(stream, [b"A" * 10_000])]

    (message,) = received(socket)
    assert message.wire_bytes < 100 < len(message.data)


@COMPRESSED
def test_a_fragmented_message_counts_its_frames_as_they_were_on_the_wire(compressed: bool) -> None:
    socket, stream = opened(offered=compressed, accepted=compressed)
    parts = []
    for send, data, fin in (
        (stream.server.send_text, b"A" * 500, False),
        (stream.server.send_continuation, b"B" * 500, False),
        (stream.server.send_continuation, b"C" * 500, True),
    ):
        send(data, fin)
        parts.append(b"".join(stream.server.data_to_send()))
    stream.reads += [read(part, place) for place, part in enumerate(parts)]

    (message,) = received(socket)
    assert message.data == b"A" * 500 + b"B" * 500 + b"C" * 500
    assert message.wire_bytes == len(b"".join(parts))


@COMPRESSED
def test_the_event_that_ends_a_read_is_exact_and_one_after_which_a_frame_begins_is_not(compressed: bool) -> None:
    socket, stream = opened(offered=compressed, accepted=compressed)
    first, second, third = wire(stream, [b"A" * 300, b"B" * 300, b"C" * 300])
    stream.reads += [read(first), read(second + third[:1], 1), read(third[1:], 2)]

    exact = [message.arrival.error_ns == 0 for message in received(socket)]
    assert exact == [True, False, True]


@thorough
@given(messages=TEXTS)
def test_what_is_sent_compressed_arrives_and_its_frames_are_counted(messages: list[bytes]) -> None:
    socket, stream = opened(offered=True, accepted=True)
    before = len(stream.written)
    sent = [socket.send(message) for message in messages]
    heard = [bytes(event.data) for event in stream.server.events_received() if isinstance(event, Frame)]

    assert heard == messages
    assert sum(one.wire_bytes for one in sent if one) == len(stream.written) - before


def test_connections_do_not_share_what_they_compressed_before() -> None:
    first, second = opened(offered=True, accepted=True), opened(offered=True, accepted=True)
    for (socket, stream), word in itertools.product((first, second), (b"A" * 400, b"B" * 400)):
        stream.reads += [read(part) for part in wire(stream, [word])]
        assert [message.data for message in received(socket)] == [word]


def test_a_frame_that_cannot_be_decompressed_ends_the_connection() -> None:
    socket, stream = opened(offered=True, accepted=True)
    stream.reads += [read(b"\xc1\x03\xff\xff\xff")]

    assert received(socket) == []
    assert socket.closed is not None
    assert socket.closed.code == 1002


@pytest.mark.parametrize("parts", [1, 8])
def test_a_message_is_inflated_up_to_the_limit_and_no_further(parts: int) -> None:
    """In one frame or in fragments: 64 times the limit, of which less than twice the limit is ever there."""
    socket, stream = opened(offered=True, accepted=True)
    whole = bytes(LIMIT * 64 // parts)
    stream.server.send_text(whole, fin=parts == 1)
    for place in range(1, parts):
        stream.server.send_continuation(whole, fin=place == parts - 1)
    stream.reads += [read(part, place) for place, part in enumerate(stream.server.data_to_send())]

    tracemalloc.start()
    try:
        assert received(socket) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert socket.closed is not None
    assert (socket.closed.code, socket.closed.ours) == (1009, True)
    assert peak < 4 * LIMIT


# Agreeing on it.


def test_nothing_is_offered_unless_it_is_asked_for() -> None:
    _, stream = opened(offered=False, accepted=True)

    assert b"sec-websocket-extensions" not in stream.written.lower()


def test_an_offer_says_what_we_compress_with_and_the_answer_is_kept() -> None:
    socket, stream = opened(offered=True, accepted=True)

    assert b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n" in stream.written
    assert socket.handshake.headers["sec-websocket-extensions"].startswith("permessage-deflate")


def test_a_service_may_decline() -> None:
    socket, stream = opened(offered=True, accepted=False)
    stream.reads += [read(part) for part in wire(stream, [b"A" * 400])]
    sent = socket.send(b"B" * 400)

    came: list[Received] = received(socket)
    assert "sec-websocket-extensions" not in socket.handshake.headers
    assert [message.wire_bytes for message in came] == [frame_bytes(400)]
    assert sent is not None
    assert sent.wire_bytes == frame_bytes(400) + 4


def test_whatever_is_logged_the_request_s_headers_are_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        stream = FakeStream()
        socket = WebSocket(stream, client_protocol(URI, LIMIT))
        socket.upgrade([("api-key", "a-key-that-nobody-may-see")], Limits(), Phases())

    assert b"a-key-that-nobody-may-see" in stream.written
    assert [record for record in caplog.records if record.name != "websockets.server"] == []
