"""The reader of messages, in C and in Python.

The same bytes give the same messages, instants, bounds and deltas, however they are split and over
any stream.
"""

from __future__ import annotations

import base64
import errno
import importlib.util
import itertools
import json
import re
import socket
import ssl
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from bench.base.clock import Arrival, SendTime, enable_timestamps, monotonic_ns
from bench.base.units import NEVER_NS
from bench.catalogue.timeouts import Timeouts
from bench.services.gemini.dialect import GEMINI
from bench.services.registry import DIALECTS
from bench.transport.fast import _interpreted, reader
from bench.transport.interface import ConnectTimings, PacedSender
from bench.transport.loop_monitor import LoopMonitor
from bench.transport.parser import READ_BYTES, SocketRead, leading_messages
from bench.transport.tcp import TakeRead, TcpStream, pass_on
from bench.transport.tls import TlsStream, tls_context
from bench.transport.websocket import WebSocket, client_protocol
from bench.wire.connection import MatchedDelta, ReceivedMessage
from bench.wire.dialect import BinaryMessage, Dialect
from bench.wire.events import DELTAS, ServerEvent, StrippedAudio, audio_payload
from rtbench_simulator.serving.certificates import loopback_tls
from tests.compiled import needs_compiler
from tests.examples import thorough
from tests.helpers import REALTIME, base64_of, delta
from tests.simulator_process import ROOT
from tests.transport.fake_stream import FAR_NS, LIMIT, PING, FakeStream, cut, read, text
from tests.transport.replies import GA, Reply

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernel stamps are Linux's")


def interpreted() -> Any:
    """Return the module `reader` in the form that it has without the compiled module."""
    spec = importlib.util.spec_from_file_location("interpreted_reader", reader.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {"bench.transport.fast._compiled": None}):
        spec.loader.exec_module(module)
    return module


READERS: list[Any] = [reader, interpreted()]
EACH_SOCKET = pytest.mark.parametrize(
    "kind", [reader.SocketReader, _interpreted.SocketReader], ids=["C", "Python"]
)
AT_NS, EMPTY_NS = 5_000, 1_000
KINDS = st.sampled_from(["audio", "transcript", "text"])
PAYLOADS = st.one_of(
    st.binary(min_size=1, max_size=60).map(lambda audio: base64.b64encode(audio).decode()),
    st.text(max_size=8),
    st.sampled_from(["", "QQ==", "QUI=", "abc", "=", "\\u0041", "é", 'a"b']),
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": ")])


def delta_message(
    dialect: Dialect, kind: str, event_id: str | None, payload: str, separators: tuple[str, str]
) -> bytes:
    """Return a delta in one of the spellings that a service may use. Some payloads are escaped."""
    event = json.loads(delta(dialect, kind, "r1"))
    event.pop("event_id", None)
    given = {} if event_id is None else {"event_id": event_id}
    rest = {name: value for name, value in event.items() if name not in ("type", "delta")}
    written = {"type": event["type"], **given, **rest, "delta": payload}
    return json.dumps(written, separators=separators, ensure_ascii=len(payload) % 2 == 0).encode()


MESSAGES = st.builds(
    delta_message,
    st.sampled_from([*REALTIME.values()]),
    KINDS,
    st.none() | st.sampled_from(["event_1", "event_2", 'odd"id', "é", ""]),
    PAYLOADS,
    SEPARATORS,
)


def mutated(message: bytes, place: int, byte: int) -> bytes:
    place %= len(message)
    return message[:place] + bytes([byte]) + message[place + 1 :]


ODD = st.builds(mutated, MESSAGES, st.integers(0, 10_000), st.integers(0, 255))


def understood(dialect: Dialect, wire: bytes, *, complete: bool) -> list[tuple[Any, ...]]:
    """Decode each message of a read. Return the facts of the events, with the uncertainty of the
    arrival.
    """
    frames, taken = leading_messages(SocketRead(wire, AT_NS, EMPTY_NS, True, complete))
    assert taken == len(wire)
    return [
        (
            event.kind,
            event.name,
            event.response_id,
            event.item_id,
            event.payload_bytes,
            frame.arrival.uncertainty_ns,
            frame.wire_bytes,
        )
        for frame in frames
        for event in dialect.decode(frame.data)
    ]


def matched_events(deltas: list[MatchedDelta]) -> list[tuple[Any, ...]]:
    assert all(one.at_ns == AT_NS for one in deltas)
    return [
        (
            one.event.kind,
            one.event.name,
            one.event.response_id,
            one.event.item_id,
            one.payload_bytes,
            one.uncertainty_ns,
            one.wire_bytes,
        )
        for one in deltas
    ]


def reader_of(dialect: Dialect, *messages: bytes) -> reader.MessageReader:
    made = reader.MessageReader()
    for message in messages:
        (event,) = dialect.decode(message)
        if event.kind in DELTAS and not event.other_dialect:
            made.add_template(message, event)
    return made


@needs_compiler
def test_templates_of_many_items_are_dropped_and_learned_again() -> None:
    ga = REALTIME["ga"]
    messages = [delta(ga, "audio", f"r{number}") for number in range(2 * reader.MAX_TEMPLATES)]
    made, reply = reader_of(ga, *messages), Reply()
    made.expect(plain=True)
    made.begin(reply)
    made.read(read(text(messages[0])))
    made.read(read(text(messages[-1])))
    made.end()

    assert [one.event.response_id for one in reply.matched] == [f"r{2 * reader.MAX_TEMPLATES - 1}"]


@needs_compiler
@thorough
@given(
    st.sampled_from([*REALTIME.values()]),
    st.lists(MESSAGES, min_size=1, max_size=3),
    st.lists(MESSAGES | ODD, min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_a_matched_delta_equals_the_decoded_event(
    dialect: Dialect, learned: list[bytes], came: list[bytes], complete: bool, keeps_texts: bool
) -> None:
    wire, made = b"".join(map(text, came)), reader_of(dialect, *learned)
    made.keeps_texts = keeps_texts
    matched = made.match(wire, AT_NS, EMPTY_NS, complete)
    assert made.due == (matched and keeps_texts)
    deltas = made.pop_deltas()
    assert matched_events(deltas) == (
        understood(dialect, wire, complete=complete) if matched else []
    )
    assert [one.data for one in deltas] == (came if keeps_texts else [b""] * len(came)) * matched
    assert made.count == 0


@needs_compiler
@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
@pytest.mark.parametrize("form", ["audio", "transcript", "text"])
def test_a_delta_like_the_template_is_matched(dialect: Dialect, form: str) -> None:
    for ids, dense in itertools.product((("event_1", "event_22"), (None, None)), (True, False)):
        separators = (",", ":") if dense else (", ", ": ")
        first, second = (
            delta_message(dialect, form, one, base64_of(30), separators) for one in ids
        )
        wire, made = text(second) + text(first), reader_of(dialect, first)

        assert made.match(wire, AT_NS, EMPTY_NS, True)
        assert matched_events(made.pop_deltas()) == understood(dialect, wire, complete=True)


@needs_compiler
def test_in_binary_frames_audio_and_words_like_the_template_are_matched() -> None:
    def sound(data: str) -> bytes:
        parts = [{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": data}}]
        return msgspec.json.encode({"serverContent": {"modelTurn": {"parts": parts}}})

    def binary(message: bytes) -> bytes:
        return b"\x82" + text(message)[1:]

    first, second = sound(base64_of(30)), sound(base64_of(90))
    words = msgspec.json.encode({"serverContent": {"outputTranscription": {"text": "Hello"}}})
    made = reader_of(GEMINI, BinaryMessage(first), BinaryMessage(words))

    wire = b"".join(map(binary, (second, words, first)))
    assert made.match(wire, AT_NS, EMPTY_NS, True)
    assert matched_events(made.pop_deltas()) == understood(GEMINI, wire, complete=True)
    assert not made.match(binary(words.replace(b"output", b"input")), AT_NS, EMPTY_NS, True)
    assert not made.match(text(second), AT_NS, EMPTY_NS, True)


@needs_compiler
def test_only_matched_words_have_their_messages_if_their_template_keeps_them() -> None:
    """The template of words may be learned before the reply is listened to."""
    sound, words = (delta(GA, form, "r1") for form in ("audio", "transcript"))
    made, reply = reader.MessageReader(), Reply()
    made.expect(plain=True)
    for message in (sound, words):
        made.add_template(message, GA.decode(message)[0], keeps_text=message is words)
    made.begin(reply)
    for message in (sound, words, sound, words):
        made.read(read(text(message)))
    made.end()

    assert [one.data for one in reply.matched] == [b"", words, b"", words]


def sound_message(way: str, form: int, audio: bytes) -> bytes:
    """Return a piece of an agent's audio in one of the forms that agents use."""
    if way == "pcm":
        return BinaryMessage(audio)
    data = base64.b64encode(audio).decode()
    forms = {
        "twilio": (
            {"event": "media", "streamSid": "MZ1", "media": {"payload": data}},
            {
                "event": "media",
                "media": {"track": "outbound", "payload": data, "chunk": "1"},
                "streamSid": "MZ1",
            },
        ),
        "acs": (
            {"kind": "AudioData", "audioData": {"data": data}},
            {"Kind": "AudioData", "AudioData": {"Data": data, "Silent": False}, "StopAudio": None},
        ),
    }
    return json.dumps(forms[way][form % 2], separators=(",", ":") if form > 1 else None).encode()


def audio_of(event: ServerEvent) -> bytes | None:
    return audio_payload(event.payload) if isinstance(event.payload, msgspec.Raw) else None


def test_compiled_code_has_no_negative_index() -> None:
    """Compiled code does not wrap indexes around: with -1 it would read memory before the items
    of a list.
    """
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "bench").rglob("*.p[yx][xi]")]

    assert len(sources) >= 7
    assert not [
        line for source in sources for line in source.splitlines() if re.search(r"\w\[-", line)
    ]


@needs_compiler
@thorough
@given(
    way=st.sampled_from(["twilio", "acs", "pcm"]),
    form=st.integers(0, 3),
    pieces=st.lists(st.binary(max_size=40), min_size=1, max_size=5),
    damage=st.none() | st.tuples(st.integers(0, 10_000), st.integers(0, 255)),
    is_other_frame=st.booleans(),
)
def test_the_audio_of_matched_sound_equals_the_decoded_audio(
    way: str, form: int, pieces: list[bytes], damage: tuple[int, int] | None, is_other_frame: bool
) -> None:
    dialect, made = DIALECTS[way], reader.MessageReader()
    learned = sound_message(way, form, b"0123456789")
    event = dialect.binary_sound if dialect.binary_sound is not None else dialect.decode(learned)[0]
    made.add_template(learned, event, is_sound=True)
    messages = [sound_message(way, form, piece) for piece in pieces]
    if damage is not None and messages[0]:
        messages[0] = type(messages[0])(mutated(messages[0], *damage))
    opcodes = [0x82 if isinstance(message, BinaryMessage) else 0x81 for message in messages]
    opcodes[-1] ^= 3 if is_other_frame else 0
    wire = b"".join(
        bytes([opcode]) + text(body)[1:] for opcode, body in zip(opcodes, messages, strict=True)
    )
    frames, _ = leading_messages(SocketRead(wire, AT_NS, EMPTY_NS, True, False))
    events = [dialect.decode(frame.data)[0] for frame in frames]

    is_matched = made.match(wire, AT_NS, EMPTY_NS, False)

    assert is_matched or damage is not None or is_other_frame or not all(pieces)
    if is_matched:
        decoded = [(one.kind, one.session_id, one.payload_bytes, audio_of(one)) for one in events]
        found = [
            (one.event.kind, one.event.session_id, one.payload_bytes, one.data)
            for one in made.pop_deltas()
        ]
        assert found == decoded


@needs_compiler
def test_a_reader_is_ready_to_match_only_at_the_start_of_a_message() -> None:
    made, listener = reader.MessageReader(), Reply()
    made.begin(listener)
    assert not made.ready
    made.expect(plain=True)
    assert made.ready


@needs_compiler
@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_a_read_with_other_messages_is_not_matched(dialect: Dialect) -> None:
    known = delta_message(dialect, "audio", "event_1", base64_of(30), (",", ":"))
    made = reader_of(dialect, known)
    made.keeps_texts = True
    others = (
        PING,
        text(delta(dialect, "audio", "r2")),
        text(known)[:-1],
        text(known, fin=False),
        text(delta_message(dialect, "audio", "event_1", "", (",", ":"))),
        text(delta_message(dialect, "audio", "event_1", "abc", (",", ":"))),
        b"\x81\x7f" + len(known).to_bytes(8, "big") + known,
    )

    for other in others:
        assert not made.match(text(known) + other, AT_NS, EMPTY_NS, True), other
        assert made.count == 0
    assert not made.match(b"", AT_NS, EMPTY_NS, True)
    assert made.match(text(known), AT_NS, EMPTY_NS, True)
    assert [one.data for one in made.pop_deltas()] == [known]


@needs_compiler
def test_a_payload_that_occurs_twice_is_matched_only_at_the_delta_key() -> None:
    """In this event, the last string is not the payload, but it has the same length and text as
    the payload.
    """
    dialect = DIALECTS["ga"]
    message = delta_message(dialect, "transcript", "event_1", "hello", (",", ":"))
    made = reader_of(dialect, message[:-1] + b',"obfuscation":"hello"}')

    assert not made.match(text(message), AT_NS, EMPTY_NS, True)
    assert not made.match(text(message[:-1] + b',"obfuscation":"hollo"}'), AT_NS, EMPTY_NS, True)


@needs_compiler
def test_templates_are_dropped_when_a_listener_without_a_reply_begins() -> None:
    dialect = DIALECTS["ga"]
    known = delta_message(dialect, "audio", "event_1", base64_of(30), (",", ":"))
    made = reader_of(dialect, known)
    made.begin(Reply())
    made.end()
    assert made.match(text(known), AT_NS, EMPTY_NS, True)
    made.pop_deltas()
    made.begin(None)

    assert not made.match(text(known), AT_NS, EMPTY_NS, True)
    (event,) = dialect.decode(known)
    made.add_template(known, event)
    assert made.match(text(known), AT_NS, EMPTY_NS, True)


@needs_compiler
def test_deltas_are_due_after_32_and_are_matched_up_to_64() -> None:
    dialect = DIALECTS["ga"]
    known = text(delta_message(dialect, "audio", "event_1", base64_of(30), (",", ":")))
    made = reader_of(dialect, delta_message(dialect, "audio", "event_1", base64_of(30), (",", ":")))
    counts = []
    while made.match(known, monotonic_ns(), 0, True):
        counts.append((made.count, made.due))

    assert [one for one in counts if one[0] >= 32] == [(count, True) for count in range(32, 65)]
    assert [count for count, _ in counts] == [*range(1, 65)]
    assert not counts[0][1]
    assert len(made.pop_deltas()) == 64
    assert (made.count, made.due) == (0, False)


@needs_compiler
def test_an_event_with_stripped_audio_is_no_template() -> None:
    known = delta_message(DIALECTS["ga"], "audio", "event_1", base64_of(30), (",", ":"))
    (event,) = DIALECTS["ga"].decode(known)
    made = reader.MessageReader()
    made.add_template(known, msgspec.structs.replace(event, payload=StrippedAudio(0)))

    assert not made.match(text(known), AT_NS, EMPTY_NS, True)


# The socket.


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield our end and the other end of a loopback connection. Our end does not block, and has
    receive timestamps.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as ours,
    ):
        ours.setblocking(False)
        enable_timestamps(ours)
        theirs, _ = listening.accept()
        with theirs:
            theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield ours, theirs


class Watch:
    """A loop monitor that proves that a socket was empty at `empty_ns`."""

    def __init__(self, empty_ns: int = 0) -> None:
        self._empty_ns = empty_ns

    def empty_ns(self, fd: int, polls_when_watched: int, stamp_ns: int) -> int:
        assert polls_when_watched == POLLS
        return self._empty_ns if self._empty_ns <= stamp_ns else 0


POLLS = 7


def socket_reader(
    kind: type[reader.SocketReader],
    ours: socket.socket,
    *,
    drained_ns: int = 0,
    stamped_ns: int = 0,
    drained: bool = True,
    looked_ns: int = 0,
) -> reader.SocketReader:
    made = kind(ours, cast(LoopMonitor, Watch(looked_ns)), drained_ns)
    made.stamped_ns, made.drained = stamped_ns, drained
    return made


def soon(
    made: reader.SocketReader,
    polled_ns: int = 0,
    matcher: reader.TemplateMatcher | None = None,
    polls: int | None = None,
) -> SocketRead | None:
    """Wait for data, and return the next read."""
    while True:
        try:
            return made.read(polled_ns, polls, matcher)
        except BlockingIOError:
            continue


@LINUX
@needs_compiler
def test_a_read_has_its_timestamp_and_its_deltas_are_matched() -> None:
    dialect = DIALECTS["ga"]
    known = delta_message(dialect, "audio", "event_1", base64_of(3_000), (",", ":"))
    matcher = reader_of(dialect, known)
    matcher.ready = True
    with pair() as (ours, theirs):
        made = socket_reader(reader.SocketReader, ours)
        for _ in range(1_000):  # the kernel enables timestamps with a delay
            theirs.sendall(b"hello")
            came = soon(made, 0, matcher)
            assert came is not None
            assert came.data == b"hello"
            if came.is_kernel:
                break

        before_ns = monotonic_ns()
        theirs.sendall(text(known))
        assert soon(made, 0, matcher) is None
        (delta,) = matcher.pop_deltas()
        assert before_ns <= delta.at_ns <= monotonic_ns()
        assert (delta.at_ns, delta.uncertainty_ns, delta.payload_bytes) == (
            made.stamped_ns,
            0,
            3_000,
        )
        assert 0 <= delta.lag_ns <= monotonic_ns() - delta.at_ns

        matcher.ready = False
        theirs.sendall(text(known))
        came = soon(made, 0, matcher)
        assert came is not None
        assert came.data == text(known)

        theirs.close()
        came = soon(made, 0, matcher)
        assert came is not None
        assert came.data == b""
        made.close()
    came = soon(made)  # the file descriptor of the closed socket may be reused
    assert came is not None
    assert came.data == b""


@EACH_SOCKET
def test_a_socket_without_kernel_timestamps_does_not_match_deltas(
    kind: type[reader.SocketReader],
) -> None:
    known = delta_message(DIALECTS["ga"], "audio", "event_1", base64_of(30), (",", ":"))
    matcher = reader_of(DIALECTS["ga"], known)
    matcher.ready = True
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(text(known))
        came = soon(socket_reader(kind, ours), 0, matcher)

    assert came is not None
    assert (came.data, came.is_kernel) == (text(known), False)


@EACH_SOCKET
@pytest.mark.parametrize(
    ("drained_ns", "drained", "polled_ns", "looked_ns", "empty_ns"),
    [
        (700, True, 0, None, 700),
        (700, True, 900, None, 900),
        (700, True, 500, None, 700),
        (700, False, 900, None, 700),
        (700, True, 0, 800, 800),
        (700, True, 0, 600, 700),
        (700, True, 0, FAR_NS, 700),
    ],
)
def test_the_empty_instant_is_the_latest_of_drain_poll_and_snapshot(
    kind: type[reader.SocketReader],
    drained_ns: int,
    drained: bool,
    polled_ns: int,
    looked_ns: int | None,
    empty_ns: int,
) -> None:
    """If the socket contains unread data, no poll proves that the socket is empty."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(b"hello")
        made = socket_reader(
            kind, ours, drained_ns=drained_ns, drained=drained, looked_ns=looked_ns or 0
        )
        before_ns = monotonic_ns()
        came = soon(made, polled_ns, polls=None if looked_ns is None else POLLS)

    assert came is not None
    assert (came.empty_ns, came.is_complete, made.drained) == (empty_ns, True, True)
    assert before_ns <= made.drained_ns <= came.timestamp_ns


@EACH_SOCKET
@pytest.mark.parametrize(
    ("reset", "failure"), [(False, 0), (True, errno.ECONNRESET)], ids=["closed", "reset"]
)
def test_the_end_of_a_connection_has_its_error_number(
    kind: type[reader.SocketReader], reset: bool, failure: int
) -> None:
    with pair() as (ours, theirs):
        made = socket_reader(kind, ours)
        theirs.sendall(b"last words")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
        theirs.close()
        came = [soon(made), soon(made)]

    assert [read.data if read else None for read in came] == [b"last words", b""]
    assert made.failure == failure


@EACH_SOCKET
def test_a_socket_without_data_was_empty_before_the_read(kind: type[reader.SocketReader]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        made = socket_reader(kind, ours, drained=False)
        before_ns = monotonic_ns()
        with pytest.raises(BlockingIOError):
            made.read(0, None, None)

    assert before_ns <= made.drained_ns <= monotonic_ns()
    assert made.drained


@EACH_SOCKET
def test_timestamps_never_decrease(
    kind: type[reader.SocketReader],
) -> None:
    ahead_ns = monotonic_ns() + 1_000_000_000_000
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(b"hello")
        made = socket_reader(kind, ours, stamped_ns=ahead_ns)
        came = soon(made)

    assert came is not None
    assert came.timestamp_ns == made.stamped_ns == ahead_ns


@EACH_SOCKET
def test_a_read_that_fills_the_buffer_may_be_incomplete(kind: type[reader.SocketReader]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        made, sent = socket_reader(kind, ours, drained_ns=5), 0
        while sent < READ_BYTES:
            sent += theirs.send(bytes(READ_BYTES))
        came = soon(made)

    assert came is not None
    assert (len(came.data), came.is_complete) == (READ_BYTES, False)
    assert (made.drained, made.drained_ns) == (False, 5)


# Any stream.

NAMES = st.sampled_from(
    ["audio", "transcript", "empty", "other reply", "done", "ping", "cut", "huge"]
)
PLACES = st.lists(st.integers(0, 200_000), max_size=4)
STATES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=4)
KNOWN = {
    kind: delta_message(GA, kind, "event_1", base64_of(300), (",", ":"))
    for kind in ("audio", "transcript")
}
SAID = {
    "audio": delta_message(GA, "audio", "event_22", base64_of(600), (",", ":")),
    "transcript": delta_message(GA, "transcript", "event_333", "hello", (",", ":")),
    "empty": delta_message(GA, "audio", "event_4", "", (",", ":")),
    "other reply": delta(GA, "audio", "r2"),
    "done": b'{"type":"response.done"}',
    "cut": delta_message(GA, "transcript", "event_5", "in fragments", (",", ":")),
    "huge": delta_message(GA, "audio", "event_6", base64_of(60_000), (",", ":")),
}
CARRIED = ["plain", "compressed", "tls"]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS context of a server, and the TLS context of a client that trusts this
    server.
    """
    ca = tmp_path_factory.mktemp("tls") / "ca.pem"
    return loopback_tls(ca), tls_context(ca)


class FlowingStream(FakeStream):
    """A stream that delivers all of its reads when a client listens."""

    def receive_until(
        self,
        until_ns: int,
        on_read: TakeRead,
        sender: PacedSender | None = None,
        *,
        polled: bool = False,
    ) -> bool:
        while (came := self.read(until_ns)) is not None:
            if pass_on(self.sieve.consume(came), self.sieve, on_read):
                return True
        return False


class EncryptedStream(FlowingStream):
    """A stream that carries the encrypted bytes of a `TlsStream`. `server_tls` is the TLS object
    of the server.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server_tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._shaken = False

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        self._in.write(data)
        if self._shaken:
            there = len(self.reads)
            super().write(self.server_tls.read(1 << 16))
            for place in range(there, len(self.reads)):
                self.reads[place] = self.reads[place]._replace(
                    data=self.encrypted(self.reads[place].data)
                )
        else:
            with suppress(ssl.SSLWantReadError):
                self.server_tls.do_handshake()
                self._shaken = True
            if answer := self._out.read():
                self.reads.append(read(answer))
        return SendTime(77, 3)

    def encrypted(self, data: bytes) -> bytes:
        self.server_tls.write(data)
        return self._out.read()


def connection(
    carried: str, kind: Any, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> tuple[WebSocket, FakeStream]:
    server, client = contexts
    stream = EncryptedStream(server) if carried == "tls" else FlowingStream()
    stream.server = ServerProtocol(
        extensions=[ServerPerMessageDeflateFactory()] if carried == "compressed" else None
    )
    below: Any = stream
    if isinstance(stream, EncryptedStream):
        with patch("bench.transport.tls.Decrypter", kind.Decrypter):
            below = TlsStream(cast(TcpStream, stream), client, "localhost")
        below.handshake(FAR_NS)
    protocol = client_protocol(parse_uri("ws://localhost/"), LIMIT, deflate=carried == "compressed")
    transport = WebSocket(below, protocol)
    transport.upgrade([], Timeouts(), ConnectTimings())
    below.sieve = transport._reader = kind.MessageReader()
    transport._reader.expect(plain=transport._is_plain())
    return transport, stream


def frames(stream: FakeStream, name: str) -> bytes:
    """Return the frames in which the service sends the message `name`."""
    if name == "ping":
        stream.server.send_ping(b"?")
    elif name == "cut":
        stream.server.send_text(SAID[name][:50], fin=False)
        stream.server.send_continuation(SAID[name][50:], fin=True)
    else:
        stream.server.send_text(SAID[name])
    return b"".join(stream.server.data_to_send())


class Hearer(Reply):
    """A reply that records the facts of each delta.

    The facts are (kind, response, payload bytes, timestamp, uncertainty, True for a kernel
    timestamp, bytes on the wire).
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[Any, ...]] = []
        self.texts: list[bytes] = []
        self.count = 0

    def on_deltas(self, deltas: Sequence[MatchedDelta]) -> bool:
        self.count += len(deltas)
        for event, at_ns, error_ns, _, payload_bytes, wire_bytes, data in deltas:
            self.heard.append(
                (event.kind, event.response_id, payload_bytes, at_ns, error_ns, True, wire_bytes)
            )
            self.texts.append(data)
        return False

    def take(self, message: ReceivedMessage) -> bool:
        (event,) = GA.decode(message.data)
        self.heard.append(
            (
                event.kind,
                event.response_id,
                event.payload_bytes,
                *message.arrival,
                message.wire_bytes,
            )
        )
        self.texts.append(message.data)
        return False


WAYS: list[tuple[Any, bool]] = [
    (None, False),
    *((kind, texts) for kind in READERS for texts in (False, True)),
]
"""Pairs of a reader, and True if the texts of deltas are recorded. If the reader is None, every
delta is decoded."""


@pytest.mark.parametrize("carried", CARRIED)
@example(names=["audio", "done"], ends=[True], places=[], states=[(True, True)])
@example(names=["audio"], ends=[], places=[], states=[(True, False)])
@given(
    names=st.lists(NAMES, max_size=14),
    ends=st.lists(st.booleans(), min_size=14),
    places=PLACES,
    states=STATES,
)
def test_messages_and_deltas_do_not_depend_on_how_bytes_are_split_and_carried(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    carried: str,
    names: list[str],
    ends: list[bool],
    places: list[int],
    states: list[tuple[bool, bool]],
) -> None:
    received = []
    wanted = [SAID[name] for name in names if name != "ping"]
    for kind, keeps_texts in WAYS:
        transport, stream = connection(carried, kind or reader, contexts)
        transport.keeps_texts = keeps_texts
        for known in KNOWN.values():
            transport.add_template(ReceivedMessage(known, Arrival(0), 0), GA.decode(known)[0])
        wire = [frames(stream, name) for name in names]
        if isinstance(stream, EncryptedStream):
            wire = [stream.encrypted(one) for one in wire]
        edges = [
            edge
            for edge, is_cut in zip(itertools.accumulate(map(len, wire)), ends, strict=False)
            if is_cut
        ]
        edges += range(READ_BYTES, sum(map(len, wire)), READ_BYTES)
        for place, part in enumerate(cut(b"".join(wire), [*edges, *places]), 1):
            complete, kernel = states[place % len(states)]
            stream.reads.append(read(part, place, complete=complete, kernel=kernel))
        reads = {one.timestamp_ns: one for one in stream.reads}
        hearer = Hearer()
        while stream.reads:
            transport.receive_until(FAR_NS, hearer.take, None if kind is None else hearer)
        received.append(hearer.heard)
        assert len(hearer.texts) == len(wanted)
        if kind is None or keeps_texts:
            assert hearer.texts == wanted
        for _, _, _, at_ns, error_ns, kernel, _ in hearer.heard:
            came = reads[at_ns]
            assert kernel is came.is_kernel
            assert error_ns == came.timestamp_ns - came.empty_ns or (
                error_ns == 0 and came.is_complete
            )

    assert all(one == received[0] for one in received)


@needs_compiler
@pytest.mark.parametrize("carried", CARRIED)
def test_deltas_are_matched_over_plain_and_tls_but_not_compressed_connections(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], carried: str
) -> None:
    transport, stream = connection(carried, reader, contexts)
    for known in KNOWN.values():
        transport.add_template(ReceivedMessage(known, Arrival(0), 0), GA.decode(known)[0])
    wire = [frames(stream, name) for name in ("audio", "transcript", "audio")]
    parts = [stream.encrypted(one) if isinstance(stream, EncryptedStream) else one for one in wire]
    reads = [parts[0], parts[1][:30], parts[1][30:] + parts[2]]
    stream.reads += [read(part, place) for place, part in enumerate(reads, 1)]
    hearer = Hearer()
    while stream.reads:
        transport.receive_until(FAR_NS, hearer.take, hearer)

    assert len(hearer.heard) == 3
    assert hearer.count == (0 if carried == "compressed" else 3)
