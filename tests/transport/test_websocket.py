"""WebSocket frames over a stream that the test fills.

However the bytes are split, they give the same messages, each with its timestamp.
"""

from __future__ import annotations

import errno
import logging
import os
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from bench.base.clock import SendTime
from bench.base.units import NEVER_NS
from bench.catalogue.causes import ConnectError, in_words
from bench.catalogue.outcomes import remedy_of
from bench.catalogue.timeouts import Timeouts
from bench.observe.inputs import SessionStart
from bench.observe.timeline import Timeline
from bench.session.session import Session
from bench.transport.connect import MAX_REFUSAL_BYTES
from bench.transport.interface import ConnectTimings
from bench.transport.parser import SocketRead, frame_bytes
from bench.transport.websocket import WebSocket, client_protocol
from bench.wire.connection import ReceivedMessage
from tests.examples import thorough
from tests.helpers import Listening, build_script, receive, say, session_created, session_updated
from tests.transport.fake_stream import (
    EMPTY_NS,
    FAR_NS,
    LIMIT,
    PING,
    STAMP_NS,
    FakeStream,
    answer,
    close_frame,
    cut,
    opened,
    read,
    text,
)


def received(socket: WebSocket) -> list[ReceivedMessage]:
    """Return all messages that the stream contains."""
    came: list[ReceivedMessage] = []
    while more := receive(socket, FAR_NS):
        came += more
    return came


# Frames.


@thorough
@given(
    parts=st.lists(st.binary(max_size=200), min_size=2, max_size=4),
    places=st.lists(st.integers(0, 1_000), max_size=6),
    pinged=st.booleans(),
)
def test_a_fragmented_message_is_received_as_one(
    parts: list[bytes], places: list[int], pinged: bool
) -> None:
    frames = [
        text(parts[0], fin=False),
        *(text(part, fin=False, opcode=Opcode.CONT) for part in parts[1:-1]),
    ]
    wire = (
        b"".join(frames)
        + (PING if pinged else b"")
        + text(parts[-1], opcode=Opcode.CONT)
        + text(b"next")
    )
    socket, stream = opened()
    stream.reads += [read(part, place) for place, part in enumerate(cut(wire, places))]

    whole, after = received(socket)
    assert whole.data == b"".join(parts)
    assert whole.wire_bytes == sum(frame_bytes(len(part)) for part in parts)
    assert (after.data, after.wire_bytes) == (b"next", 6)


@thorough
@given(places=st.lists(st.integers(0, 300), max_size=8))
def test_the_upgrade_may_be_split_anywhere_and_include_the_first_messages(
    places: list[int],
) -> None:
    stream = FakeStream(tail=text(b"first") + text(b"second")[:4])
    socket = WebSocket(stream, client_protocol(parse_uri("ws://service.example/"), LIMIT))
    whole_write = stream.write

    def write(data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        handed = whole_write(data)
        (answer,) = stream.reads
        stream.reads = deque(
            read(part, place) for place, part in enumerate(cut(answer.data, places))
        )
        return handed

    stream.write = write  # type: ignore[method-assign]
    socket.upgrade([], Timeouts(), ConnectTimings())
    stream.write = whole_write  # type: ignore[method-assign]
    stream.reads.append(read(text(b"second")[4:], 99))

    first, second = received(socket)
    assert (first.data, first.wire_bytes) == (b"first", 7)
    assert (second.data, second.wire_bytes, second.arrival.uncertainty_ns) == (b"second", 8, 0)


# Timestamps.


LATE = STAMP_NS - EMPTY_NS
LONG = text(bytes(300))
STAMPED: dict[str, tuple[list[SocketRead], list[tuple[int, int, bool]]]] = {
    # (reads; for each message: index of the read with its timestamp, its uncertainty, whether it is
    # the kernel's)
    "the last message of a read that emptied the socket is exact": (
        [read(text(b"a") + text(b"b") + text(b"c")), read(text(b"d"), 1)],
        [(0, LATE, True), (0, LATE, True), (0, 0, True), (1, 0, True)],
    ),
    "a message before a ping in the same read is not exact": (
        [read(text(b"a") + PING)],
        [(0, LATE, True)],
    ),
    "a message before a close frame in the same read is not exact": (
        [read(text(b"a") + close_frame(1000))],
        [(0, LATE, True)],
    ),
    "a read that left bytes in the socket has no exact message": (
        [read(text(b"a"), complete=False), read(text(b"b"), 1)],
        [(0, LATE, True), (1, 0, True)],
    ),
    "a frame of several reads has the timestamp of the last": (
        [read(LONG[:2]), read(LONG[2:200], 1), read(LONG[200:], 2)],
        [(2, 0, True)],
    ),
    "userspace timestamps are marked": ([read(text(b"a"), kernel=False)], [(0, 0, False)]),
}


@pytest.mark.parametrize(("reads", "timestamps"), STAMPED.values(), ids=STAMPED)
def test_a_message_has_the_timestamp_of_the_read_that_ended_it(
    reads: list[SocketRead], timestamps: list[tuple[int, int, bool]]
) -> None:
    socket, stream = opened()
    stream.reads += reads

    arrivals = [message.arrival for message in received(socket)]
    assert [(arrival.at_ns, arrival.uncertainty_ns, arrival.is_kernel) for arrival in arrivals] == [
        (STAMP_NS + place * 100_000, error_ns, kernel) for place, error_ns, kernel in timestamps
    ]


# Control frames and the end.


def test_pings_are_answered_and_are_no_messages() -> None:
    socket, stream = opened()
    stream.reads += [read(PING[:3]), read(PING[3:] + text(b"a"))]

    assert [message.data for message in received(socket)] == [b"a"]
    (pong,) = stream.server.events_received()
    assert isinstance(pong, Frame)
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"are you there")


@pytest.mark.parametrize(
    ("broken_off", "failure", "cause"),
    [
        (b"", 0, ""),
        (text(b"half a message")[:5], 0, ""),
        (b"\x81", 0, ""),
        (b"", errno.ECONNRESET, "reset"),
        (b"", errno.ETIMEDOUT, "timed_out"),
        (b"", errno.EHOSTUNREACH, "unreachable"),
        (b"", errno.ENETUNREACH, "unreachable"),
        (b"", errno.EIO, ""),
    ],
)
def test_an_end_without_a_close_frame_has_code_1006_and_its_cause(
    broken_off: bytes, failure: int, cause: str
) -> None:
    socket, stream = opened()
    stream.reads += [read(text(b"a") + broken_off), read(b"", 1)]
    stream.failure = failure

    assert [message.data for message in received(socket)] == [b"a"]
    assert socket.closed is not None
    assert (socket.closed.code, socket.closed.cause, socket.closed.at_ns) == (
        1006,
        cause,
        STAMP_NS + 100_000,
    )
    assert broken_off or socket.closed.reason == (
        os.strerror(failure) if failure else "unexpected end of stream"
    )
    assert socket.send(b"{}") is None


def test_an_invalid_frame_ends_the_session_with_protocol_error() -> None:
    socket, stream = opened()
    script = build_script(say(), say())
    reserved_opcode = b"\x83\x01x"
    stream.reads += [
        read(text(session_created())),
        read(text(session_updated())),
        read(reserved_opcode),
    ]
    timeline = Timeline(SessionStart(0, 2, script.limits), script.dialect)
    Session(script, socket, timeline, Listening(), lambda: False).run()

    assert timeline.session().outcome.partition(":")[0] == "protocol_error"


def oversize(name: str) -> list[bytes]:
    """Return the first reads of a message that is one byte too large. The last of them shows
    that it is too large.
    """
    return {
        "announced": [b"\x81\x7f" + (LIMIT + 1).to_bytes(8, "big")],
        "announced with an enormous length": [b"\x81\x7f" + (1 << 63).to_bytes(8, "big")],
        "in fragments": [
            text(b"x" * LIMIT, fin=False),
            text(b"x", fin=False, opcode=Opcode.CONT)[:2],
        ],
    }[name]


@pytest.mark.parametrize("name", ["announced", "announced with an enormous length", "in fragments"])
def test_a_message_above_the_limit_ends_the_session_as_soon_as_it_is_detected(name: str) -> None:
    socket, stream = opened()
    script = build_script(say(), say())
    greeting = [text(session_created()), text(session_updated())]
    stream.reads += [read(part, place) for place, part in enumerate([*greeting, *oversize(name)])]
    timeline = Timeline(SessionStart(0, 2, script.limits), script.dialect)
    Session(script, socket, timeline, Listening(), lambda: False).run()

    session = timeline.session()
    assert (session.outcome, session.close_code) == ("protocol_error:too_large", 1009)
    assert str(LIMIT) in session.detail


def test_messages_are_delivered_in_batches_of_64() -> None:
    socket, stream = opened()
    stream.reads += [
        read(b"".join(text(b"%d" % number) for number in range(150)) + close_frame(1000))
    ]

    came = [receive(socket, FAR_NS)]
    assert (socket.closed, socket.watermark_ns, stream.rests) == (None, EMPTY_NS - 1, 0)
    while len(came) < 3:
        came.append(receive(socket, FAR_NS))
    assert [len(handful) for handful in came] == [64, 64, 22]
    assert [message.data for handful in came for message in handful] == [
        b"%d" % number for number in range(150)
    ]
    assert stream.rests == 2
    assert socket.closed is not None


def test_a_read_of_many_small_frames_lets_other_greenlets_run() -> None:
    socket, stream = opened()
    stream.reads += [read(PING * 1_000)]
    received(socket)

    assert stream.rests == len(PING) * 1_000 // 4_096
    assert (
        len([event for event in stream.server.events_received() if isinstance(event, Frame)])
        == 1_000
    )


def test_a_sent_message_is_masked_and_its_frame_is_counted() -> None:
    socket, stream = opened()
    before = len(stream.written)
    sent = socket.send(b'{"type": "x"}')

    assert sent is not None
    assert (sent.handed, sent.wire_bytes) == (SendTime(77, 3), len(stream.written) - before)
    (frame,) = stream.server.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, bytes(frame.data)) == (Opcode.TEXT, b'{"type": "x"}')


EXPIRED = "Your session hit the maximum duration of 60 minutes."
BROKEN: dict[str, tuple[list[SocketRead], bool, list[bytes], int, str]] = {
    # (reads, whether the client sends, messages, close code, close reason)
    "messages before a failed send are still read": (
        [read(text(b"last words")), read(close_frame(1008, "enough"), 1), read(b"", 2)],
        True,
        [b"last words"],
        1008,
        "enough",
    ),
    "without messages the code is 1006": (
        [],
        True,
        [],
        1006,
        "the connection broke while sending: Broken pipe",
    ),
    "a close frame counts even if the service closed at once": (
        [read(close_frame(1001, EXPIRED)), read(b"", 1)],
        False,
        [],
        1001,
        EXPIRED,
    ),
}


@pytest.mark.parametrize(
    ("reads", "sends", "messages", "code", "reason"), BROKEN.values(), ids=BROKEN
)
def test_messages_before_a_broken_connection_are_delivered(
    reads: list[SocketRead], sends: bool, messages: list[bytes], code: int, reason: str
) -> None:
    socket, stream = opened()
    stream.reads += reads
    stream.broken = True

    assert not sends or socket.send(b"{}") is None
    assert reads or socket.closed is not None
    assert [message.data for message in received(socket)] == messages
    assert socket.closed is not None
    assert (socket.closed.code, socket.closed.reason) == (code, reason)


def test_a_message_offered_to_a_broken_connection_ends_it_at_finish() -> None:
    socket, stream = opened()
    stream.broken = True

    assert socket.try_send(b"{}") is None
    assert socket.closed is None
    assert socket.flush() is None
    assert socket.closed is not None
    assert socket.closed.code == 1006
    assert (socket.try_send(b"{}"), socket.flush()) == (None, None)


def test_after_a_failed_write_no_ping_is_answered() -> None:
    socket, stream = opened()
    stream.reads += [
        *(read(PING, place) for place in range(2_000)),
        read(text(b"last words"), 2_000),
    ]
    stream.broken = True

    assert [message.data for message in received(socket)] == [b"last words"]
    assert socket.closed is not None
    assert (socket.closed.code, stream.attempts) == (1006, 1)


# The upgrade.


def refused(whole: bytes) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        opened(FakeStream(whole, ends=True))
    return caught.value


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 10", b"HTTP/1.1 101 Switching\r\nUpgrade: web"])
def test_a_connection_that_ends_before_a_whole_head_is_closed_without_an_answer(
    head: bytes,
) -> None:
    error = refused(head)

    assert error.detail == "the service closed the connection without an answer"
    assert "ends connections early" in remedy_of(error.outcome, [in_words(error.detail)])


@pytest.mark.parametrize(
    ("status", "body", "outcome", "words"),
    [
        (
            "401 Unauthorized",
            b'{"error":{"code":"401","message":"Access denied."}}',
            "connect_failed:401",
            "401: Access denied.",
        ),
        ("403 Forbidden", b"", "connect_failed:403", "Forbidden"),
        ("200 OK", b"hello", "connect_failed:200", "hello"),
        (
            "429 Too Many",
            b'{"error":{"code":"429","message":"Slow down."}}',
            "throttled:handshake",
            "Slow down.",
        ),
        (
            "429 Too Many",
            b'{"error":{"code":"insufficient_quota","message":"You exceeded your quota."}}',
            "connect_failed:429",
            "insufficient_quota: You exceeded your quota.",
        ),
        (
            "429 Too Many",
            b'{"error":{"code":"429","type":"insufficient_quota","message":"No."}}',
            "connect_failed:429",
            "insufficient_quota: No.",
        ),
        (
            "429 Too Many",
            b'{"error":{"status":"RESOURCE_EXHAUSTED","message":"You exceeded your current quota."'
            b"}}",
            "throttled:handshake",
            "You exceeded your current quota.",
        ),
        (
            "429 Too Many",
            b'{"error":{"code":"NoCapacity","message":"The system is experiencing high demand."}}',
            "throttled:capacity",
            "NoCapacity",
        ),
        ("503 Unavailable", b"engine_overloaded: try later", "throttled:capacity", "overloaded"),
        ("503 Unavailable", b"Too many connections", "throttled:handshake", "Too many"),
        ("503 Unavailable", b"no healthy upstream", "connect_failed:503", "healthy"),
        ("400 Bad Request", b"rate limit: no such field", "connect_failed:400", "no such"),
    ],
)
def test_a_refused_upgrade_has_an_outcome_and_the_service_s_message(
    status: str, body: bytes, outcome: str, words: str
) -> None:
    error = refused(answer(status, body, "apim-request-id: 77", "Retry-After: 3"))

    assert error.outcome == outcome
    assert words in error.detail
    assert status.split()[0] in error.detail
    assert (error.headers["apim-request-id"], error.headers["retry-after"]) == ("77", "3")


@pytest.mark.parametrize(
    "whole",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        answer("101 Switching Protocols", b""),
        b"HTTP/1.1 101 Switching",
    ],
)
def test_a_response_that_is_no_upgrade_is_refused(whole: bytes) -> None:
    assert refused(whole).outcome == "connect_failed:upgrade"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([], "the answer has no Sec-WebSocket-Accept"),
        (
            ["Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="],
            "the answer's Sec-WebSocket-Accept does not match",
        ),
    ],
)
def test_an_upgrade_with_a_wrong_accept_header_is_refused(headers: list[str], message: str) -> None:
    accepted = answer(
        "101 Switching Protocols", b"", "Upgrade: websocket", "Connection: Upgrade", *headers
    )
    error = refused(accepted)

    assert (error.outcome, error.detail.startswith(message)) == ("connect_failed:upgrade", True)


UPGRADES: dict[str, tuple[bytes | None, list[SocketRead], bool, str]] = {
    # (answer, earlier reads, whether the connection breaks, error)
    "a service that does not answer the upgrade times out": (
        b"HTTP/1.1 101 Swi",
        [],
        False,
        "timeout:upgrade",
    ),
    "a connection that breaks during the upgrade is refused": (
        None,
        [],
        True,
        "connect_failed:upgrade: the connection broke: Broken pipe",
    ),
    "a refusal before the request was sent is still read": (
        None,
        [read(answer("431 Too Large", b"")), read(b"")],
        True,
        "connect_failed:431",
    ),
}


@pytest.mark.parametrize(
    ("answered", "before", "breaks", "message"), UPGRADES.values(), ids=UPGRADES
)
def test_a_failed_upgrade_is_reported_with_its_cause(
    answered: bytes | None, before: list[SocketRead], breaks: bool, message: str
) -> None:
    stream = FakeStream(answered)
    stream.reads += before
    stream.broken = breaks
    with pytest.raises(ConnectError, match=message):
        opened(stream)


UNENDED = {
    "no length": [
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n\r\n",
        b'{"error":{"message":"Slow down."}}',
    ],
    "half a chunk": [
        (
            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nTransfer-Encoding:"
            b" chunked\r\n\r\nff\r\nSlow "
        ),
        b"down.",
    ],
    "another coding": [
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nTransfer-Encoding: x-odd\r\n\r\n",
        b"Slow down.",
    ],
    "many headers": [
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n" + b"x-more: 1\r\n" * 200 + b"\r\n",
        b"Slow down.",
    ],
}


@pytest.mark.parametrize("ends", [False, True], ids=["stays", "goes"])
@pytest.mark.parametrize("parts", UNENDED.values(), ids=UNENDED)
def test_a_refusal_with_an_incomplete_body_is_known_from_its_head(
    parts: list[bytes], ends: bool
) -> None:
    stream = FakeStream(b"")
    stream.reads += [read(part) for part in parts] + [read(b"")] * ends
    with pytest.raises(ConnectError) as caught:
        opened(stream)

    assert (caught.value.outcome, caught.value.headers["retry-after"]) == (
        "throttled:handshake",
        "7",
    )
    assert caught.value.detail == "HTTP 429: Slow down."


def test_an_endless_refusal_is_read_up_to_a_limit() -> None:
    stream = FakeStream(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3000000\r\n\r\n")
    whole_write = stream.write

    def write(data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        handed = whole_write(data)
        stream.reads += [read(b"x" * 1_000)] * 100
        return handed

    stream.write = write  # type: ignore[method-assign]
    with pytest.raises(ConnectError, match="connect_failed:403"):
        opened(stream)

    assert len(stream.reads) > 100 - MAX_REFUSAL_BYTES / 1_000 - 1


# The network path.


URI = parse_uri("ws://service.example/v1/realtime?model=m")
TEXTS = st.lists(
    st.sampled_from([b"", b"{}", b'{"type": "x", "delta": "' + b"AAAA" * 500 + b'"}'])
    | st.builds(bytes, st.sampled_from([1, 125, 126, 127, 65_535, 65_536])),
    max_size=8,
)
PLACES = st.lists(st.integers(0, 400_000), max_size=12)
COMPRESSED = pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])


def agreed(*, offered: bool, accepted: bool) -> tuple[WebSocket, FakeStream]:
    stream = FakeStream()
    stream.server = ServerProtocol(
        extensions=[ServerPerMessageDeflateFactory()] if accepted else None
    )
    socket = WebSocket(stream, client_protocol(URI, LIMIT, deflate=offered))
    socket.upgrade([], Timeouts(), ConnectTimings())
    return socket, stream


def wire(stream: FakeStream, messages: Iterable[bytes]) -> list[bytes]:
    """Return the frames in which the service sends these messages."""
    frames = []
    for message in messages:
        stream.server.send_text(message)
        frames.append(b"".join(stream.server.data_to_send()))
    return frames


@COMPRESSED
@thorough
@given(messages=TEXTS, places=PLACES, pinged=st.booleans())
def test_messages_do_not_depend_on_how_frames_are_split_and_all_bytes_are_counted(
    compressed: bool, messages: list[bytes], places: list[int], pinged: bool
) -> None:
    socket, stream = agreed(offered=compressed, accepted=compressed)
    frames = wire(stream, messages)
    sent = b"".join(frames) + PING * pinged
    stream.reads += [read(part, place) for place, part in enumerate(cut(sent, places))]

    came = received(socket)
    assert [message.data for message in came] == messages
    assert [message.wire_bytes for message in came] == [len(frame) for frame in frames]
    assert socket.closed is None


@thorough
@given(messages=TEXTS)
def test_compressed_messages_are_sent_and_their_frames_are_counted(messages: list[bytes]) -> None:
    socket, stream = agreed(offered=True, accepted=True)
    before = len(stream.written)
    sent = [socket.send(message) for message in messages]
    received_texts = [
        bytes(event.data) for event in stream.server.events_received() if isinstance(event, Frame)
    ]

    assert received_texts == messages
    assert sum(one.wire_bytes for one in sent if one) == len(stream.written) - before


@pytest.mark.parametrize("parts", [1, 8])
def test_a_message_is_decompressed_only_up_to_the_limit(parts: int) -> None:
    """The decompressed message is 64 times as large as the limit. It is sent in one frame or in
    fragments.

    The memory never contains twice the limit.
    """
    socket, stream = agreed(offered=True, accepted=True)
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


# The negotiation of compression.


def test_compression_is_offered_only_on_request() -> None:
    _, stream = agreed(offered=False, accepted=True)

    assert b"sec-websocket-extensions" not in stream.written.lower()


def test_request_headers_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        stream = FakeStream()
        socket = WebSocket(stream, client_protocol(URI, LIMIT))
        socket.upgrade([("api-key", "a-key-that-nobody-may-see")], Timeouts(), ConnectTimings())

    assert b"a-key-that-nobody-may-see" in stream.written
    assert [record for record in caplog.records if record.name != "websockets.server"] == []


# Unusual answers to the upgrade (RFC 9110, RFC 9112).

INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n",
    b"HTTP/1.1 102\r\n\r\n",
)
UNUSUAL = {
    "interim answers": lambda head: b"".join(INTERIM) * 3 + head,
    "no reason": lambda head: head.replace(b"101 Switching Protocols", b"101"),
    "no reason, but a blank": lambda head: head.replace(b"101 Switching Protocols", b"101 "),
    "a long header": lambda head: head.replace(
        b"\r\n", b"\r\nContent-Security-Policy: " + b"a" * 20_000 + b"\r\n", 1
    ),
    "many headers": lambda head: head.replace(b"\r\n", b"\r\n" + b"X-More: v\r\n" * 300, 1),
    "line feeds": lambda head: head.replace(b"\r\n", b"\n"),
    "a folded header": lambda head: head.replace(b"\r\n", b"\r\nX-Info: a\r\n b\r\n", 1),
    "a length": lambda head: head.replace(b"\r\n", b"\r\nContent-Length: 7\r\n", 1),
}


class ChangedStream(FakeStream):
    """A stream whose server changes its answer, which arrives in parts."""

    def __init__(
        self, change: Callable[[bytes], bytes], places: Iterable[int] = (), tail: bytes = b""
    ) -> None:
        super().__init__()
        self._change, self._places, self._after = change, places, tail

    def _upgrade(self, request: bytes) -> None:
        super()._upgrade(request)
        whole = self._change(self.reads.pop().data) + self._after
        self.reads += [read(part) for part in cut(whole, self._places)]


@pytest.mark.parametrize("change", UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize(
    "places", [(), range(1, 200), range(1_000, 30_000, 1_000)], ids=["one read", "bytes", "parts"]
)
def test_an_unusual_upgrade_is_accepted_with_the_messages_after_it(
    change: Callable[[bytes], bytes], places: Iterable[int]
) -> None:
    socket, _ = opened(ChangedStream(change, places, text(b"one") + text(b"two")))

    assert [message.data for message in received(socket)] == [b"one", b"two"]
    assert socket.handshake.headers["upgrade"] == "websocket"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda head: head.replace(b"1.1", b"1.0"), "expected HTTP/1.1"),
        (lambda head: head.replace(b"Upgrade: websocket\r\n", b""), "missing Upgrade header"),
        (lambda head: INTERIM[1] * 3_000 + head, "the answer's headers exceed 64 KiB"),
        (lambda head: head[:20] + b"a" * 70_000, "the answer's headers exceed 64 KiB"),
        (
            lambda _: INTERIM[0] + b"SSH-2.0-OpenSSH_9.6\r\n",
            "is not a WebSocket upgrade: invalid HTTP status line",
        ),
    ],
)
def test_an_answer_that_is_no_upgrade_has_a_true_reason(
    change: Callable[[bytes], bytes], words: str
) -> None:
    with pytest.raises(ConnectError, match=words) as caught:
        opened(ChangedStream(change))
    assert caught.value.outcome == "connect_failed:upgrade"


@pytest.mark.parametrize(
    ("header", "words", "remedy"),
    [
        (
            "Sec-WebSocket-Protocol: realtime",
            "subprotocol realtime",
            "set `subprotocols: realtime` in targets.yaml",
        ),
        (
            "sec-websocket-extensions: permessage-deflate; x=1",
            "extension permessage-deflate",
            "set --compression deflate",
        ),
    ],
)
def test_a_choice_that_was_not_offered_is_refused_with_its_remedy(
    header: str, words: str, remedy: str
) -> None:
    with pytest.raises(ConnectError) as caught:
        opened(ChangedStream(lambda head: head.replace(b"\r\n", f"\r\n{header}\r\n".encode(), 1)))

    assert caught.value.detail == f"the server chose the {words}, which was not offered"
    assert remedy_of(caught.value.outcome, [in_words(caught.value.detail)]) == remedy


def test_a_redirect_is_not_followed() -> None:
    stream = FakeStream(
        answer("302 Found", b"", "Location: wss://other.example/v1/realtime"), ends=True
    )
    with pytest.raises(ConnectError, match="connect_failed:302"):
        opened(stream, [("api-key", "k")])
    assert stream.written.count(b"api-key: k") == 1
