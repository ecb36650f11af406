"""The fuzzing of an event stream: frames of HTTP/2, messages of AWS, and events of Nova Sonic, of
which many are damaged.

The stream reads or ends, its state stays bounded, and it sends no secret.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

from botocore.credentials import ReadOnlyCredentials
from hpack import Encoder

from bench.base.clock import SendTime
from bench.base.units import NEVER_NS
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.protocols.event_stream.messages import CHUNK, encoded_headers, encoded_message
from bench.protocols.event_stream.signing import Signing
from bench.services.nova_sonic.replies import NovaReader
from bench.transport.event_stream import MAX_FRAME_BYTES, EventStream
from bench.transport.interface import ConnectRequest, ConnectTimings
from bench.wire.connection import ReceivedMessage
from tests.transport.fake_stream import FAR_NS, FakeStream, cut, read
from tools.fuzz.damage import LEVELS, damaged_bytes, damaged_document, dumped

LIMIT = 100_000
"""The maximum size of a message in bytes."""
SECRET = "a-secret-key-of-nobody"
URL = "http://127.0.0.1:1/model/m/invoke-with-bidirectional-stream"
EVENTS: tuple[dict[str, Any], ...] = (
    {"completionStart": {"sessionId": "s", "promptName": "prompt", "completionId": "c"}},
    {"contentStart": {"contentId": "u", "type": "TEXT", "role": "USER"}},
    {"textOutput": {"contentId": "u", "content": "Hello.", "role": "USER"}},
    {"contentEnd": {"contentId": "u", "stopReason": "PARTIAL_TURN", "type": "TEXT"}},
    {
        "contentStart": {
            "additionalModelFields": '{"generationStage":"SPECULATIVE"}',
            "contentId": "t",
            "type": "TEXT",
            "role": "ASSISTANT",
        }
    },
    {"textOutput": {"contentId": "t", "content": "Good day.", "role": "ASSISTANT"}},
    {"contentStart": {"contentId": "a", "type": "AUDIO", "role": "ASSISTANT"}},
    {"audioOutput": {"contentId": "a", "content": b64encode(bytes(480)).decode()}},
    {"toolUse": {"toolName": "order", "toolUseId": "1", "content": '{"a":1}'}},
    {"textOutput": {"contentId": "t", "content": '{ "interrupted" : true }'}},
    {"usageEvent": {"details": {"delta": {"input": {"textTokens": 1}, "output": {}}}}},
    {"contentEnd": {"contentId": "a", "stopReason": "END_TURN", "type": "AUDIO"}},
    {"completionEnd": {}},
)
HEADERS: tuple[dict[str, Any], ...] = (
    dict(CHUNK),
    {":message-type": "exception", ":exception-type": "throttlingException"},
    {":message-type": "error", ":error-code": "500", ":error-message": "No."},
    {":message-type": 1, ":event-type": b"chunk", ":date": 7},
    {":exception-type": "x" * 30_000},
    {},
)
KINDS = b"".join(
    len(name).to_bytes(1, "big") + name + value
    for name, value in (
        (b"true", b"\0"),
        (b"false", b"\1"),
        (b"byte", b"\2\xff"),
        (b"short", b"\3\x80\0"),
        (b"int", b"\4\x80\0\0\0"),
        (b"long", b"\5" + b"\xff" * 8),
        (b"bytes", b"\6\0\2\xff\0"),
        (b"text", b"\7\0\2ab"),
        (b"time", b"\x08" + b"\x7f" * 8),
        (b"uuid", b"\x09" + b"\xaa" * 16),
    )
)
"""A header of each type."""
TYPES = (*range(11), 11, 200)
FLAGS = (0, 1, 4, 5, 8, 9, 0x20, 0xFF)
STREAMS = (0, 1, 1, 1, 2, 3, (1 << 31) - 1, (1 << 32) - 1)
CODES = (0, 1, 2, 7, 8, 11, 13, 99, (1 << 32) - 1)
NUMBERS = (0, 1, 100, 16_384, 65_535, (1 << 24) - 1, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
ACCEPTED = ((":status", "200"), ("content-type", "application/vnd.amazon.eventstream"))
PIECES = (
    b"\0\0\0\4\1\0\0\0\0",
    b"\0\0\4\3\0\0\0\0\1\0\0\0\x08",
    b"\0\0\x08\7\0\0\0\0\0\0\0\0\1\0\0\0\0",
    b"\0\0\4\x08\0\0\0\0\1\0\0\0\0",
    b"\0\0\0\0\1\0\0\0\1",
    b"\xff" * 9,
    bytes(12),
)


class _Stream(FakeStream):
    """A stream of bytes that accepts all that is written."""

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        self.written += data
        return SendTime(77, 3)


def event_stream(random: Random) -> None:
    """Check that a connection with a damaged stream reads on or ends, and keeps little."""
    opening = _frame(4, b"", stream=0) + _frame(1, Encoder().encode(ACCEPTED), 4)
    if random.random() < 0.2:
        opening = _any_settings(random) + _response(random)
    parts = random.choices(_PARTS, WEIGHTS, k=random.randint(1, 12))
    data = opening + b"".join(part(random) for part in parts)
    if random.random() < 0.1:
        data = damaged_bytes(random, data, PIECES)
    stream = _Stream()
    size = random.choice((1, 7, 500, 65_536, 1 << 20))
    step = max(size, len(data) // 2_000)
    pieces = cut(data, range(0, len(data), step))
    stream.reads.extend(read(piece, number) for number, piece in enumerate(pieces, 1))
    if random.random() < 0.5:
        stream.reads.append(read(b"", len(pieces) + 1))
    signing = Signing(ReadOnlyCredentials("KEY", SECRET, "session-token"), "us-east-1")
    transport = EventStream(stream, signing, LIMIT)
    try:
        transport.start(urlsplit(URL), ConnectRequest(URL, [], None, Timeouts(), ConnectTimings()))
    except ConnectError as error:
        assert len(str(error)) < 1_000, "a long error"
        assert error.outcome in ("connect_failed:upgrade", "timeout:upgrade")
        return
    decode = NovaReader().decode

    def take(message: ReceivedMessage) -> bool:
        decode(message.data)
        return random.random() < 0.1

    for _ in range(3):
        if random.random() < 0.5 and transport.try_send(b'{"event":{"x":"y"}}') is None:
            stream.reads.append(read(b"", len(pieces) + 2))
            transport.flush()
        while stream.reads and transport.closed is None:
            transport.receive_until(FAR_NS, take)
        assert len(transport._data) <= MAX_FRAME_BYTES + 9 + step
        assert transport._message_bytes <= LIMIT + (1 << 20)
    assert SECRET.encode() not in stream.written
    transport.close()
    assert transport.closed is not None
    assert transport.send(b"{}") is None


def _frame(kind: int, payload: bytes, flags: int = 0, stream: int = 1) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _any_settings(random: Random) -> bytes:
    pairs = [(random.randrange(12), random.choice(NUMBERS)) for _ in range(random.randrange(3))]
    return _frame(4, b"".join(struct.pack(">HI", *pair) for pair in pairs), stream=0)


def _response(random: Random) -> bytes:
    fields = [
        (":status", random.choice(("200", "200", "200", "100", "103", "403", "429", "\xb2", ""))),
        ("content-type", "application/vnd.amazon.eventstream"),
        ("x-amzn-errortype", "x" * random.choice((1, 9_000))),
        ("retry-after", random.choice(("9", "-1", "nan", "1e400"))),
    ]
    random.shuffle(fields)
    block = Encoder().encode(fields[: random.randint(1, 4)], huffman=random.random() < 0.5)
    if random.random() < 0.2:
        block = damaged_bytes(random, block, PIECES)
    at = random.randint(0, len(block))
    if random.random() < 0.3:
        return _frame(1, block[:at]) + _frame(9, block[at:], random.choice((0, 4)))
    return _frame(1, block, random.choice((4, 4, 4, 5)))


def _data(random: Random) -> bytes:
    """Return messages of AWS in frames: whole, cut anywhere, or with padding."""
    data = b"".join(_message(random) for _ in range(random.choice((1, 1, 3, 80))))
    if random.random() < 0.1:
        data = damaged_bytes(random, data, PIECES)
    size = random.choice((1, 11, 100, MAX_FRAME_BYTES, MAX_FRAME_BYTES))
    pieces = [data[at : at + size] for at in range(0, min(len(data), 300 * size), size)]
    if random.random() < 0.1:
        padding = random.randrange(256)
        return b"".join(
            _frame(0, bytes([padding]) + piece[:16_000] + bytes(padding), 8) for piece in pieces
        )
    last = random.random() < 0.1
    return b"".join(
        _frame(0, piece, int(last and number == len(pieces)))
        for number, piece in enumerate(pieces, 1)
    )


def _message(random: Random) -> bytes:
    event = {"event": random.choice(EVENTS)}
    if random.random() < 0.3:
        event = damaged_document(random, event)
    text = dumped(event, random.choice(LEVELS)).encode()
    if random.random() < 0.1:
        text = damaged_bytes(random, text)
    payload = b'{"bytes":"' + b64encode(text) + b'"}'
    match random.random():
        case draw if draw < 0.1:
            payload = damaged_bytes(random, payload)
        case draw if draw < 0.2:
            part = damaged_document(random, {"bytes": "", "message": "No.", "p": [1, {}]})
            payload = dumped(part, random.choice(LEVELS)).encode()
    headers = encoded_headers(dict(CHUNK) if random.random() < 0.6 else random.choice(HEADERS))
    if random.random() < 0.1:
        headers += KINDS
    if random.random() < 0.05:
        headers = damaged_bytes(random, headers, PIECES)
    if random.random() < 0.9:
        return encoded_message(headers, payload)
    lengths = random.choice(NUMBERS), random.choice(NUMBERS)
    prelude = struct.pack(">II", *lengths)
    body = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def _any_frame(random: Random) -> bytes:
    number, size = random.choice(NUMBERS), random.choice((0, 1, 4, 5, 8, 9, 300))
    payload = random.choice(
        (
            struct.pack(">I", number),
            struct.pack(">I", random.choice(CODES)),
            struct.pack(">II", random.choice((0, 1, 3)), random.choice(CODES)) + b"w" * size,
            struct.pack(">HI", random.randrange(12), number),
            random.randbytes(size),
            bytes(8),
        )
    )
    frame = _frame(random.choice(TYPES), payload, random.choice(FLAGS), random.choice(STREAMS))
    return frame * random.choice((1, 1, 1, 70, 1_000))


def _usual(random: Random) -> bytes:
    """Return a frame that a service may send at any time, perhaps often, or at the end."""
    often = (
        _frame(6, bytes(8), stream=0),
        _frame(8, struct.pack(">I", 1), stream=random.choice((0, 1))),
        _frame(7, struct.pack(">II", 1, 0), stream=0),
        _frame(4, b"", stream=0),
        _frame(0, b""),
        _frame(random.randrange(10, 256), random.randbytes(20), stream=random.choice((0, 1))),
    )
    last = (
        _any_settings(random),
        _frame(3, struct.pack(">I", random.choice(CODES))),
        _frame(1, Encoder().encode([("x-checksum", "y")]), 5),
        _frame(5, struct.pack(">I", 2) + Encoder().encode([(":method", "GET")]), 4),
        _frame(1, Encoder().encode([(":status", "103"), ("link", "x")]), 4),
    )
    if random.random() < 0.2:
        return random.choice(last)
    return random.choice(often) * random.choice((1, 1, 1, 70, 1_000))


_PARTS: tuple[Callable[[Random], bytes], ...] = (_data, _usual, _any_frame, _response)
WEIGHTS = (20, 4, 1, 1)
