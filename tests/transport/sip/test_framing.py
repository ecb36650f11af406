"""Messages in a byte stream (RFC 3261 §18.3), however the stream is divided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocols.sip.framing import PONG, StreamFramer
from bench.protocols.sip.messages import MAX_MESSAGE_BYTES
from tests.examples import thorough

FIRST = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 4\r\n\r\n\r\n\r\n"
SECOND = b"SIP/2.0 200 OK\r\nl : 0\r\n\r\n"


@thorough
@given(
    st.lists(st.sampled_from([FIRST, SECOND, b"\r\n\r\n"]), max_size=6),
    st.lists(st.integers(1, 40), max_size=40),
)
def test_the_division_of_the_stream_does_not_change_the_messages(
    parts: list[bytes], sizes: list[int]
) -> None:
    stream, framer = b"".join(parts), StreamFramer()
    found = []
    for size in [*sizes, len(stream) + 1]:
        found += framer.received(stream[:size])
        stream = stream[size:]

    assert found == [part for part in parts if part != b"\r\n\r\n"]
    assert framer.pop_pongs() == PONG * parts.count(b"\r\n\r\n")
    assert framer.pop_pongs() == b""
    assert framer.broken == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"OPTIONS x SIP/2.0\r\nVia: y\r\n\r\n", "a message has no single Content-Length"),
        (b"X\r\nContent-Length: 1\r\nl: 2\r\n\r\n", "a message has no single Content-Length"),
        (b"X\r\nContent-Length: x\r\n\r\n", "Content-Length is not valid"),
        (b"X\r\nContent-Length: \xb2\r\n\r\n", "Content-Length is not valid"),
        (b"X\r\nContent-Length: 999999\r\n\r\n", "Content-Length is not valid"),
        (b"X\r\nContent-Length: 16384\r\n\r\n", "the message is too long"),
        (b"x" * (MAX_MESSAGE_BYTES + 1), "the headers are too long"),
    ],
)
def test_a_stream_without_a_known_next_message_is_broken(data: bytes, reason: str) -> None:
    framer = StreamFramer()

    assert framer.received(data) == []
    assert framer.broken == reason
    assert framer.received(SECOND) == []
