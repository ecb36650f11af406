"""Deltas that are taken by their form say what they say when each is understood; everything else is left alone."""

from __future__ import annotations

import base64
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.clock import Arrival, enable_stamps, monotonic_ns
from bench.protocol.base import Dialect
from bench.protocol.dialects import DIALECTS
from bench.protocol.events import DELTAS, CutPayload
from bench.transport import _interpreted
from bench.transport.compiled import COMPILED, ReadState
from bench.transport.delta_reader import DeltaReader
from bench.transport.frames import leading_texts
from bench.transport.received import DeltaArrival, Received
from bench.transport.tcp import READ_BYTES
from tests.examples import thorough
from tests.helpers import REALTIME, base64_of, delta
from tests.transport.test_websocket import FAR_NS, PING, FakeStream, cut, opened, read, text

if not COMPILED:
    pytest.skip("there was no compiler", allow_module_level=True)

AT_NS, EMPTY_NS = 5_000, 1_000
KINDS = st.sampled_from(["audio", "transcript", "text"])
PAYLOADS = st.one_of(
    st.binary(min_size=1, max_size=60).map(lambda audio: base64.b64encode(audio).decode()),
    st.text(max_size=8),
    st.sampled_from(["", "QQ==", "QUI=", "abc", "=", "\\u0041", "é", 'a"b']),
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": ")])


def said(dialect: Dialect, kind: str, event_id: str | None, payload: str, separators: tuple[str, str]) -> bytes:
    """A delta as a service may write it, its payload escaped or not."""
    event = json.loads(delta(dialect, kind, "r1"))
    event.pop("event_id", None)
    given = {} if event_id is None else {"event_id": event_id}
    rest = {name: value for name, value in event.items() if name not in ("type", "delta")}
    written = {"type": event["type"], **given, **rest, "delta": payload}
    return json.dumps(written, separators=separators, ensure_ascii=len(payload) % 2 == 0).encode()


MESSAGES = st.builds(
    said,
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
    """What the messages of a read say, each understood by itself, with how much earlier it may have come."""
    frames, taken = leading_texts(wire, Arrival(AT_NS))
    assert taken == len(wire)
    events = [dialect.decode(frame.data) for frame in frames]
    errors_ns = [AT_NS - EMPTY_NS] * (len(frames) - 1) + [0 if complete else AT_NS - EMPTY_NS]
    return [
        (event.kind, event.name, event.response_id, event.item_id, event.payload_bytes, error_ns, frame.wire_bytes)
        for (event,), error_ns, frame in zip(events, errors_ns, frames, strict=True)
    ]


def told(deltas: list[DeltaArrival]) -> list[tuple[Any, ...]]:
    assert all(one.at_ns == AT_NS for one in deltas)
    return [
        (one.event.kind, one.event.name, one.event.response_id, one.event.item_id, one.payload_bytes, one.error_ns,
         one.wire_bytes)
        for one in deltas
    ]  # fmt: skip


def reader_of(dialect: Dialect, *messages: bytes) -> DeltaReader:
    reader = DeltaReader(lambda: None)
    for message in messages:
        (event,) = dialect.decode(message)
        if event.kind in DELTAS and not event.foreign:
            reader.learn_from(message, event)
    return reader


@thorough
@given(
    st.sampled_from([*REALTIME.values()]),
    st.lists(MESSAGES, min_size=1, max_size=3),
    st.lists(MESSAGES | ODD, min_size=1, max_size=3),
    st.booleans(),
)
def test_what_is_taken_says_what_it_says_when_it_is_understood(
    dialect: Dialect, learned: list[bytes], came: list[bytes], complete: bool
) -> None:
    reader = reader_of(dialect, *learned)
    wire = b"".join(map(text, came))

    if reader.take(wire, AT_NS, EMPTY_NS, complete):
        assert told(reader.hand_out()) == understood(dialect, wire, complete=complete)
    assert reader.count == 0


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
@pytest.mark.parametrize("kind", ["audio", "transcript", "text"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["dense", "spaced"])
@pytest.mark.parametrize("ids", [("event_1", "event_22"), (None, None)], ids=["ids", "none"])
def test_a_delta_like_the_one_that_was_learned_is_taken(
    dialect: Dialect, kind: str, separators: tuple[str, str], ids: tuple[str | None, str | None]
) -> None:
    first, second = (said(dialect, kind, one, base64_of(30), separators) for one in ids)
    reader = reader_of(dialect, first)

    assert reader.take(text(second) + text(first), AT_NS, EMPTY_NS, True)
    assert told(reader.hand_out()) == understood(dialect, text(second) + text(first), complete=True)


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_a_read_with_anything_else_in_it_is_left_whole(dialect: Dialect) -> None:
    known = said(dialect, "audio", "event_1", base64_of(30), (",", ":"))
    reader = reader_of(dialect, known)
    others = (
        PING,
        text(delta(dialect, "audio", "r2")),
        text(known)[:-1],
        text(known, fin=False),
        text(said(dialect, "audio", "event_1", "", (",", ":"))),
        text(said(dialect, "audio", "event_1", "abc", (",", ":"))),
        b"\x81\x7f" + len(known).to_bytes(8, "big") + known,
    )

    for other in others:
        assert not reader.take(text(known) + other, AT_NS, EMPTY_NS, True), other
        assert reader.count == 0
    assert not reader.take(b"", AT_NS, EMPTY_NS, True)


def test_a_payload_that_stands_twice_is_looked_for_where_the_delta_is() -> None:
    """The last string of this event is not its payload, which is as long and says the same."""
    dialect = DIALECTS["ga"]
    message = said(dialect, "transcript", "event_1", "hello", (",", ":"))
    reader = reader_of(dialect, message[:-1] + b',"obfuscation":"hello"}')

    assert not reader.take(text(message), AT_NS, EMPTY_NS, True)
    assert not reader.take(text(message[:-1] + b',"obfuscation":"hollo"}'), AT_NS, EMPTY_NS, True)


def test_nothing_is_taken_once_all_is_forgotten() -> None:
    dialect = DIALECTS["ga"]
    known = said(dialect, "audio", "event_1", base64_of(30), (",", ":"))
    reader = reader_of(dialect, known)
    reader.forget()

    assert not reader.take(text(known), AT_NS, EMPTY_NS, True)
    (event,) = dialect.decode(known)
    reader.learn_from(known, event)
    assert reader.take(text(known), AT_NS, EMPTY_NS, True)


def test_deltas_are_due_when_there_are_many_and_taken_while_there_is_room() -> None:
    dialect = DIALECTS["ga"]
    known = text(said(dialect, "audio", "event_1", base64_of(30), (",", ":")))
    reader = reader_of(dialect, said(dialect, "audio", "event_1", base64_of(30), (",", ":")))
    counts = []
    while reader.take(known, monotonic_ns(), 0, True):
        counts.append((reader.count, reader.due))

    assert counts == [(count, count >= 32) for count in range(1, 65)]
    assert len(reader.hand_out()) == 64
    assert (reader.count, reader.due) == (0, False)


def test_without_a_compiler_nothing_is_taken() -> None:
    taker = _interpreted.DeltaTaker()
    dialect = DIALECTS["ga"]
    known = said(dialect, "audio", "event_1", base64_of(30), (",", ":"))
    (event,) = dialect.decode(known)
    taker.learn(event, known, b"", b"", True)

    assert not taker.take(text(known), AT_NS, EMPTY_NS, True)
    taker.forget()
    assert (taker.count, taker.due, taker.hand_out(), taker.received()) == (0, False, [], b"")


def test_what_was_cut_out_of_a_message_is_not_learned_from() -> None:
    known = said(DIALECTS["ga"], "audio", "event_1", base64_of(30), (",", ":"))
    (event,) = DIALECTS["ga"].decode(known)
    reader = DeltaReader(lambda: None)
    reader.learn_from(known, msgspec.structs.replace(event, payload=CutPayload(0)))

    assert not reader.take(text(known), AT_NS, EMPTY_NS, True)


# The socket.


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection over loopback: ours does not block, and what arrives is stamped."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as ours,
    ):
        ours.setblocking(False)
        enable_stamps(ours)
        theirs, _ = listening.accept()
        with theirs:
            theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield ours, theirs


def hear(reader: DeltaReader, ours: socket.socket, state: ReadState, polled_ns: int = 0) -> bool:
    """Whether what is read, as soon as there is something, is taken."""
    while True:
        try:
            return reader.hear(ours.fileno(), state, polled_ns)
        except BlockingIOError:
            continue


def state_of(drained_ns: int = 0, stamped_ns: int = 0, *, drained: bool = True) -> ReadState:
    state = ReadState()
    state.drained_ns, state.stamped_ns, state.drained = drained_ns, stamped_ns, drained
    return state


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernel stamps are Linux's")
def test_what_is_read_has_its_stamp_and_is_taken_if_it_is_of_deltas() -> None:
    dialect = DIALECTS["ga"]
    known = said(dialect, "audio", "event_1", base64_of(3_000), (",", ":"))
    reader, state = reader_of(dialect, known), state_of()
    with pair() as (ours, theirs):
        for _ in range(1_000):  # the kernel stamps when it gets round to it
            theirs.sendall(b"hello")
            assert not hear(reader, ours, state)
            assert reader.received() == b"hello"
            if reader.kernel:
                break

        before_ns = monotonic_ns()
        theirs.sendall(text(known))
        assert hear(reader, ours, state)
        assert before_ns <= reader.at_ns <= monotonic_ns()
        assert reader.at_ns == state.stamped_ns
        assert (reader.size, reader.received()) == (len(text(known)), text(known))
        (taken,) = reader.hand_out()
        assert (taken.at_ns, taken.error_ns, taken.payload_bytes) == (reader.at_ns, 0, 3_000)
        assert 0 <= taken.lag_ns <= monotonic_ns() - reader.at_ns

        theirs.close()
        assert not hear(reader, ours, state)
        assert reader.received() == b""
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.hear(-1, state, 0)


def test_a_socket_without_stamps_has_none_and_its_deltas_are_not_taken() -> None:
    known = said(DIALECTS["ga"], "audio", "event_1", base64_of(30), (",", ":"))
    reader = reader_of(DIALECTS["ga"], known)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(text(known))

        assert not hear(reader, ours, state_of())
        assert not reader.kernel
        assert reader.received() == text(known)


@pytest.mark.parametrize(
    ("drained_ns", "drained", "polled_ns", "empty_ns"),
    [(700, True, 0, 700), (700, True, 900, 900), (700, True, 500, 700), (700, False, 900, 700)],
)
def test_a_socket_was_empty_when_it_was_drained_and_when_a_poll_found_it_so(
    drained_ns: int, drained: bool, polled_ns: int, empty_ns: int
) -> None:
    """What was left in a socket is there whatever a poll says."""
    reader, state = reader_of(DIALECTS["ga"]), state_of(drained_ns, drained=drained)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(b"hello")
        before_ns = monotonic_ns()
        hear(reader, ours, state, polled_ns)

    assert reader.empty_ns == empty_ns
    assert state.drained
    assert before_ns <= state.drained_ns <= monotonic_ns()


def test_time_does_not_run_backwards_where_two_stamps_differ_by_their_conversion() -> None:
    ahead_ns = monotonic_ns() + 1_000_000_000_000
    reader, state = reader_of(DIALECTS["ga"]), state_of(stamped_ns=ahead_ns)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(b"hello")
        hear(reader, ours, state)

    assert reader.at_ns == state.stamped_ns == ahead_ns


def test_a_read_that_fills_its_room_may_have_left_something() -> None:
    reader, state = reader_of(DIALECTS["ga"]), state_of(5)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        sent = 0
        while sent < READ_BYTES:
            sent += theirs.send(bytes(READ_BYTES))
        hear(reader, ours, state)

    assert reader.size == READ_BYTES
    assert (state.drained, state.drained_ns) == (False, 5)


# Between reads and messages.


@given(
    st.lists(st.sampled_from([0, 1, 2, 3]), min_size=1, max_size=12),
    st.lists(st.integers(0, 4_000), max_size=8),
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=4),
)
def test_what_is_taken_and_what_is_understood_are_together_what_came(
    which: list[int], places: list[int], states: list[tuple[bool, bool]]
) -> None:
    """Deltas, other messages and pings, cut into reads anywhere, with and without a reader of deltas."""
    dialect = DIALECTS["ga"]
    known = said(dialect, "audio", "event_1", base64_of(300), (",", ":"))
    kinds = [text(known), text(said(dialect, "audio", "event_2", base64_of(60), (",", ":"))), text(b"{}"), PING]
    parts = cut(b"".join(kinds[kind] for kind in which), places)

    def came(reader: DeltaReader | None) -> list[tuple[Any, ...]]:
        stream = FakeStream()
        socket, _ = opened(stream)
        for place, part in enumerate(parts):
            complete, kernel = states[place % len(states)]
            stream.reads.append(read(part, place, complete=complete, kernel=kernel))
        heard: list[tuple[Any, ...]] = []

        def hand_on() -> None:
            assert reader is not None
            for one in reader.hand_out():
                heard.append((one.at_ns, one.error_ns, one.payload_bytes, one.wire_bytes))

        def take(message: Received) -> bool:
            if reader is not None:
                hand_on()
            (event,) = dialect.decode(message.data)
            heard.append((message.arrival.at_ns, message.arrival.error_ns, event.payload_bytes, message.wire_bytes))
            return False

        while stream.reads:
            socket.listen(FAR_NS, take, reader)
        if reader is not None:
            hand_on()
        return heard

    assert came(reader_of(dialect, known)) == came(None)
