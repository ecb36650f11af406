"""Messages in a stream: each comes out whole, however the stream is cut, and nothing else is
accepted.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.protocols.ice.stun import StunKind, StunMethod, build_message
from bench.protocols.turn.framing import (
    MessageStream,
    build_channel_data,
    parse_channel_data,
)
from tests.examples import thorough

STUN = build_message(StunKind.INDICATION, bytes(12), {0x13: b"data"}, "", StunMethod.DATA)
MESSAGES = st.one_of(
    st.just(STUN),
    st.builds(
        lambda channel, data: build_channel_data(channel, data, is_stream=True),
        st.integers(0x4000, 0x4FFF),
        st.binary(max_size=50),
    ),
)


@thorough
@given(st.lists(MESSAGES, max_size=6), st.lists(st.integers(0, 300), max_size=8))
def test_each_message_of_a_stream_comes_out_whole(messages: list[bytes], cuts: list[int]) -> None:
    data, stream = b"".join(messages), MessageStream()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    found = [each for start, end in pairwise(places) for each in stream.feed(data[start:end])]

    assert found == messages
    assert not stream.is_broken


@thorough
@given(st.binary(max_size=200))
def test_a_stream_of_anything_is_broken_or_waits_for_more(data: bytes) -> None:
    stream = MessageStream()
    found = stream.feed(data)

    assert sum(map(len, found)) <= len(data)
    assert stream.is_broken or len(stream.feed(b"")) == 0


@thorough
@given(st.integers(0x4000, 0x4FFF), st.binary(max_size=50), st.booleans())
def test_the_data_of_a_channel_is_read_again(channel: int, data: bytes, is_stream: bool) -> None:
    message = build_channel_data(channel, data, is_stream=is_stream)

    assert parse_channel_data(message) == (channel, data)
    assert parse_channel_data(message[: 3 + len(data)]) is None
    assert parse_channel_data(b"\x80" + message[1:]) is None
