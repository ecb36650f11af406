"""Messages of `application/vnd.amazon.eventstream`, the framing of AWS's event streams. Pure.

A message is a prelude, headers, a payload, and checksums (Smithy, "Amazon Event Stream
Specification"). botocore decodes received messages; it encodes none. Each event of a client is a
message of its own, and the payload of a second message, which has its signature.
"""

import binascii
import struct
from collections.abc import Mapping, Sequence
from zlib import crc32

import msgspec

MEDIA_TYPE = "application/vnd.amazon.eventstream"
_STRING, _BYTES, _TIMESTAMP = 7, 6, 8
"""The types of headers."""
HeaderValue = str | bytes | int
"""A text, bytes, or milliseconds since 1970 UTC."""
CHUNK: Mapping[str, HeaderValue] = {
    ":event-type": "chunk",
    ":content-type": "application/json",
    ":message-type": "event",
}
"""The headers of an event, with those of Bedrock's `InvokeModelWithBidirectionalStream`."""
_decode_events = msgspec.json.Decoder(list[msgspec.Raw]).decode


def encoded_headers(headers: Mapping[str, HeaderValue]) -> bytes:
    return b"".join(
        len(name).to_bytes(1, "big") + name.encode() + _encoded_value(value)
        for name, value in headers.items()
    )


def _encoded_value(value: HeaderValue) -> bytes:
    if isinstance(value, int):
        return struct.pack(">Bq", _TIMESTAMP, value)
    kind = _STRING if isinstance(value, str) else _BYTES
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">BH", kind, len(data)) + data


def encoded_message(headers: bytes, payload: bytes) -> bytes:
    """Return a message. `headers` are encoded."""
    prelude = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    body = b"".join((prelude, struct.pack(">I", crc32(prelude)), headers, payload))
    return body + struct.pack(">I", crc32(body))


_CHUNK_HEADERS = encoded_headers(CHUNK)


def chunk(event: bytes | memoryview) -> bytes:
    """Return the message of an event, which is JSON."""
    encoded = binascii.b2a_base64(event, newline=False)
    return encoded_message(_CHUNK_HEADERS, b'{"bytes":"' + encoded + b'"}')


def events_of(message: bytes) -> Sequence[bytes | memoryview]:
    """Return the events of a client's message: one, or those of a JSON array."""
    if not message.startswith(b"["):
        return (message,)
    return [memoryview(event) for event in _decode_events(message)]
