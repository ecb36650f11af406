"""The chunks that the compiled code sends without a decision of their session, and the same in
Python.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import SendTime, monotonic_ns
from bench.transport.fast import _sending_interpreted, sending
from bench.transport.parser import MASK_BYTES, frame_bytes
from bench.transport.rtp_track import RtpTrack, TrackTransport
from bench.wire.connection import SendReceipt, SentChunk
from bench.wire.dialect import ClientMessage, MessageKind
from tests.examples import thorough

EACH_SENDING = pytest.mark.parametrize("kind", [sending, _sending_interpreted], ids=["C", "Python"])
DUE_NS, LATER_NS = 1_000_000, 3_600_000_000_000
MOST = 16
RECORD, KEY = b"record", 0x5A
CHUNK = st.tuples(
    st.sampled_from([0, 3, 125, 126, 800]), st.booleans(), st.sampled_from([1, 1, 1, LATER_NS])
)
"""The size of a chunk, whether it contains an instant, and its duration in ns."""
CHUNKS = st.lists(CHUNK, max_size=24)


def chunk(size: int, has_instant: bool = False, duration_ns: int = 1) -> ClientMessage:
    data = bytes(place % 251 for place in range(size))
    return ClientMessage(
        MessageKind.APPEND,
        "x",
        data,
        duration_ns,
        size,
        instants={"speech_end": 0} if has_instant else {},
    )


class Rest(NamedTuple):
    """What `keep` received."""

    frame_bytes: int
    wire: bytes
    error: int


def encrypted(frame: bytes) -> bytes:
    """Return a record with the frame, as TLS would: other bytes, and more of them."""
    return RECORD + bytes(byte ^ KEY for byte in frame)


def decrypted(wire: bytes, size: int) -> Iterator[bytes]:
    """Return the frames in records of frames with `size` bytes."""
    record = len(RECORD) + size
    for at in range(0, len(wire), record):
        assert wire[at : at + len(RECORD)] == RECORD
        yield bytes(byte ^ KEY for byte in wire[at + len(RECORD) : at + record])


class Line:
    """A microphone whose chunks were due a millisecond ago, and a connected socket."""

    def __init__(
        self,
        kind: ModuleType,
        ours: socket.socket,
        speech: Sequence[ClientMessage],
        silence: Sequence[ClientMessage],
    ) -> None:
        self.microphone = kind.Microphone(silence)
        self.sent: list[SentChunk] = []
        self.plain = kind.PlainChunks(self.microphone, None, self.sent, MOST)
        self.written, self.rests = 0, list[Rest]()
        self.encrypt: Callable[[bytes], bytes] | None = None
        self._fd = ours.fileno()
        if speech:
            self.microphone.speak(speech, silence)
        self.start_ns = monotonic_ns() - DUE_NS
        self.microphone.open(self.start_ns)

    def send(self) -> int:
        return int(
            self.plain.send(
                self._fd,
                self._note_written,
                lambda *rest: self.rests.append(Rest(*rest)),
                self.encrypt,
            )
        )

    def _note_written(self, count: int) -> None:
        self.written += count


@contextmanager
def linked(
    kind: ModuleType, speech: Sequence[ClientMessage], silence: Sequence[ClientMessage] = ()
) -> Iterator[tuple[Line, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield Line(kind, ours, speech, silence), theirs


def payloads(wire: bytes) -> Iterator[bytes]:
    while wire:
        size, header = wire[1] & 0x7F, 2
        if size == 126:
            size, header = int.from_bytes(wire[2:4], "big"), 4
        mask, wire = wire[header : header + MASK_BYTES], wire[header + MASK_BYTES :]
        yield bytes(byte ^ mask[place % MASK_BYTES] for place, byte in enumerate(wire[:size]))
        wire = wire[size:]


@EACH_SENDING
@thorough
@given(speech=CHUNKS, silence=CHUNKS)
def test_chunks_are_sent_until_one_needs_a_decision_or_is_not_due(
    kind: ModuleType, speech: list[tuple[int, bool, int]], silence: list[tuple[int, bool, int]]
) -> None:
    spoken, between = [chunk(*values) for values in speech], [chunk(*values) for values in silence]
    with linked(kind, spoken, between) as (line, theirs):
        # a closed microphone that gets speech finishes the silence in progress first
        order = [*between[:1], *spoken] if between and spoken else spoken
        expected, at_ns, result = list[ClientMessage](), line.start_ns, 0
        while len(expected) < MOST:
            place = len(expected)
            if place >= len(order) and not between:
                break
            following = (
                order[place] if place < len(order) else between[(place - len(order)) % len(between)]
            )
            if at_ns + (following.duration_ns or 0) > monotonic_ns():
                result = at_ns + (following.duration_ns or 0)
                break
            if following.instants or place == len(order) - 1:
                break
            at_ns += following.duration_ns or 0
            expected.append(following)

        assert line.send() == result
        assert [sent[1:3] for sent in line.sent] == [
            (frame_bytes(len(sent.data)) + MASK_BYTES, sent.audio_bytes) for sent in expected
        ]
        assert all(
            sent.lag_ns > 0 and sent.at_ns - sent.lag_ns > line.start_ns for sent in line.sent
        )
        assert line.written == sum(sent.wire_bytes for sent in line.sent)
        assert list(payloads(theirs.recv(1 << 20) if expected else b"")) == [
            sent.data for sent in expected
        ]
        assert line.microphone.due_ns is None or line.microphone.due_ns > at_ns


@EACH_SENDING
def test_the_rest_of_a_frame_that_the_kernel_does_not_accept_is_given_back_once(
    kind: ModuleType,
) -> None:
    silence = [chunk(60_000)]
    with linked(kind, (), silence) as (line, theirs):
        while not line.rests:
            assert line.send() == 0
            line.sent.clear()
        (rest,) = line.rests
        theirs.settimeout(0)
        wire = b"".join(iter(lambda: _received(theirs), b""))

        assert rest.error == 0
        assert line.plain.offered[0] is silence[0]
        assert set(payloads(wire + rest.wire)) == {silence[0].data}
        assert rest.frame_bytes == frame_bytes(60_000) + MASK_BYTES
        assert line.written == len(wire)


@EACH_SENDING
def test_the_kernel_gets_encrypted_frames_and_the_record_has_the_size_of_the_frame(
    kind: ModuleType,
) -> None:
    size = frame_bytes(60_000) + MASK_BYTES
    with linked(kind, (), [chunk(60_000)]) as (line, theirs):
        line.encrypt = encrypted
        sent: list[SentChunk] = []
        while not line.rests:
            assert line.send() == 0
            sent += line.sent
            line.sent.clear()
        (rest,) = line.rests
        theirs.settimeout(0)
        wire = b"".join(iter(lambda: _received(theirs), b""))

        frames = list(decrypted(wire + rest.wire, size))
        assert len(frames) == len(sent) + 1
        assert set(payloads(b"".join(frames))) == {chunk(60_000).data}
        assert {each.wire_bytes for each in sent} == {size}
        assert (rest.frame_bytes, rest.error) == (size, 0)
        assert line.written == len(wire)


def _received(theirs: socket.socket) -> bytes:
    try:
        return theirs.recv(1 << 20)
    except BlockingIOError:
        return b""


@EACH_SENDING
def test_the_error_of_a_send_is_given_back_with_the_whole_frame(kind: ModuleType) -> None:
    with linked(kind, (), [chunk(100)]) as (line, theirs):
        theirs.close()

        assert line.send() == 0
        assert line.rests[0].error == errno.EPIPE
        assert next(payloads(line.rests[0].wire)) == chunk(100).data


@EACH_SENDING
def test_no_chunk_follows_one_that_the_session_has_not_taken(kind: ModuleType) -> None:
    """Otherwise it would be within a frame that is half sent, and the record of the other one
    would be lost.
    """
    with linked(kind, (), [chunk(60_000)]) as (line, theirs):
        while not line.rests:
            line.send()
            line.sent.clear()
        offered, written = line.plain.offered, line.written
        theirs.settimeout(0)
        while _received(theirs):
            pass

        assert line.send() == 0
        assert (line.plain.offered, line.written, len(line.rests)) == (offered, written, 1)


@EACH_SENDING
def test_a_chunk_that_cannot_be_encrypted_remains_due(kind: ModuleType) -> None:
    def fail(_: bytes) -> bytes:
        raise OSError("broken")

    with linked(kind, (), [chunk(100)]) as (line, _):
        due_ns, line.encrypt = line.microphone.due_ns, fail
        with pytest.raises(OSError, match="broken"):
            line.send()

        assert line.microphone.due_ns == due_ns


@EACH_SENDING
def test_a_refused_packet_is_recorded_before_the_next_one_is_sent(kind: ModuleType) -> None:
    track = Track(0, None)
    transport: Any = TrackTransport(RtpTrack("127.0.0.1", range(1 << 14, 1 << 15)))
    transport.try_send = track.try_send
    microphone = kind.Microphone([chunk(160, duration_ns=LATER_NS)])
    microphone.open(monotonic_ns() - LATER_NS)
    send = transport._sending(kind.PlainChunks(microphone, None, [], MOST))

    assert (send(), send()) == (0, 0)
    transport.track.close()
    assert len(track.packets) == 1


@EACH_SENDING
def test_a_pause_leaves_each_chunk_to_the_session(kind: ModuleType) -> None:
    with linked(kind, (), [chunk(100)]) as (line, _):
        line.plain.paused = True

        assert line.send() == 0
        assert not line.sent


@EACH_SENDING
def test_the_codec_of_a_call_encodes_each_chunk_once(kind: ModuleType) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        encoded: list[bytes] = []

        def encode(_: MessageKind, data: bytes) -> bytes:
            encoded.append(data)
            return b"%d" % len(encoded)

        microphone = kind.Microphone([chunk(10)])
        microphone.open(monotonic_ns() - DUE_NS)
        kind.PlainChunks(microphone, encode, [], 3).send(
            ours.fileno(), lambda _: None, lambda *_: None
        )

        assert list(payloads(theirs.recv(1_000))) == [b"1", b"2", b"3"]
        assert encoded == [chunk(10).data] * 3


class Track:
    """A sender of packets, which refuses the packet with this number, or has ended before it."""

    def __init__(self, refused: int | None, ended: int | None) -> None:
        self.packets: list[bytes] = []
        self._refused, self._ended = refused, ended

    def try_send(self, packet: bytes) -> SendReceipt | None:
        number = len(self.packets)
        if number == self._ended:
            return None
        self.packets.append(packet)
        unsent = "refused" if number == self._refused else ""
        return SendReceipt(SendTime(1_000 * number), len(packet) + 12, unsent)


@thorough
@given(CHUNKS, st.none() | st.integers(0, 5), st.none() | st.integers(0, 5))
def test_packets_are_sent_by_the_track_until_a_chunk_needs_the_session(
    chunks: list[tuple[int, bool, int]], refused: int | None, ended: int | None
) -> None:
    found = []
    for kind in (sending, _sending_interpreted):
        microphone, sent, track = (
            kind.Microphone([chunk(160)]),
            list[SentChunk](),
            Track(refused, ended),
        )
        plain = kind.PlainChunks(microphone, None, sent, MOST)
        microphone.speak([chunk(*each) for each in chunks], [chunk(160)])
        microphone.open(1)
        next_ns = plain.send_by(track.try_send)
        found.append(
            (next_ns, sent, track.packets, plain.offered, plain.refused, microphone.due_ns)
        )
    assert found[0] == found[1]

    next_ns, sent, packets, offered, held, _ = found[0]
    assert [each.wire_bytes - 12 for each in sent] == [
        len(packet) for packet in packets[: len(sent)]
    ]
    assert len(packets) == len(sent) + (held is not None)
    assert not next_ns or (offered is None and held is None)
    assert offered is None or len(packets) == ended
    assert held is None or len(sent) == refused
