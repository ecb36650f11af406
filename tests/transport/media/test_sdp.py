"""Session descriptions: what is read, what is refused, and what both sides agree on (RFC 8866,
RFC 3264).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocols.rtp.rtp import CODECS
from bench.protocols.sdp.offer_answer import (
    EVENT_PAYLOAD_TYPES,
    LocalMedia,
    accepted_answer,
    answer_to,
    write_offer,
)
from bench.protocols.sdp.sdp import DIRECTIONS, Direction, parse_description
from bench.wire.addresses import HostPort
from tests.examples import thorough

HEAD = "v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\n"
AUDIO = (
    "m=audio 5000 RTP/AVP 8 0 96 13\r\na=rtpmap:96 telephone-event/8000\r\na=fmtp:96"
    " 0-16\r\na=ptime:30\r\n"
)
LOCAL = LocalMedia("192.0.2.1", 40_000, 11)


def described(*parts: str) -> bytes:
    return "".join(parts).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"v=1\r\n",
        described(HEAD.replace("c=IN IP4 192.0.2.4\r\n", ""), AUDIO),
        described(HEAD.replace("192.0.2.4", "224.0.0.1"), AUDIO),
        described(HEAD.replace("192.0.2.4", "2001:db8::1"), AUDIO),
        described(HEAD.replace("192.0.2.4", "bad host"), AUDIO),
        described(HEAD.replace("192.0.2.4", "x;y"), AUDIO),
        described(HEAD, AUDIO.replace("5000", "70000")),
        described(HEAD, AUDIO.replace("5000", "-1")),
        described(HEAD, "m=audio\r\n"),
        described(HEAD, "x\r\n"),
        described(HEAD, "A=1\r\n"),
        described(HEAD, AUDIO * 9),
        described(HEAD, AUDIO, "a=x\r\n" * 300),
        described(HEAD, AUDIO, "a=" + "x" * 2_000 + "\r\n"),
        described(HEAD, AUDIO.replace("8 0 96 13", "0 " * 65)),
        described(HEAD, AUDIO) + b"a=xxxxxxxx\r\n" * 1_000,
    ],
)
def test_a_malformed_or_excessive_description_is_refused(data: bytes) -> None:
    refused = False
    try:
        parse_description(data)
    except ValueError:
        refused = True

    assert refused


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_rtcp_is_multiplexed_if_both_sides_can(ours: bool, theirs: bool) -> None:
    offer = parse_description(described(HEAD, AUDIO, "a=rtcp-mux\r\n" if theirs else ""))
    body, media = answer_to(replace(LOCAL, rtcp_mux=ours), offer, 1)

    assert (b"a=rtcp-mux" in body) is (ours and theirs)
    assert (media.rtcp is None) is (ours and theirs)


@thorough
@given(
    st.permutations([*CODECS]),
    st.permutations([*CODECS]),
    st.integers(1, len(CODECS)),
    st.booleans(),
    st.sampled_from(DIRECTIONS),
    st.sampled_from(["192.0.2.4", "2001:db8::7"]),
)
def test_both_sides_of_an_offer_and_its_answer_agree(
    ours: list[str], theirs: list[str], count: int, mux: bool, direction: Direction, address: str
) -> None:
    here = LocalMedia(
        "2001:db8::1" if ":" in address else "192.0.2.1",
        40_000,
        11,
        tuple(ours[:count]),
        rtcp_mux=mux,
    )
    there = LocalMedia(address, 50_000, 12, tuple(theirs), rtcp_mux=True)
    body, their_media = answer_to(there, parse_description(write_offer(here, 1, direction)), 1)
    our_media = accepted_answer(here, parse_description(body), direction)

    assert our_media.codec == their_media.codec == ours[0]
    assert dict(their_media.receive_codecs)[our_media.send_payload_type] == our_media.codec
    clock_hz = CODECS[ours[0]].clock_hz
    assert our_media.event_clock_hz == their_media.event_clock_hz == clock_hz
    event_type = EVENT_PAYLOAD_TYPES[clock_hz]
    assert our_media.receive_event_payload_type == their_media.send_event_payload_type == event_type
    # its packets have the timestamps of the agreed codec
    received = [name for _, name in our_media.receive_codecs]
    assert received == [name for name in ours[:count] if CODECS[name].clock_hz == clock_hz]
    assert (our_media.address, our_media.port) == (address, 50_000)
    assert (our_media.rtcp is None) is (their_media.rtcp is None) is mux
    assert our_media.direction == direction
    mirrored = {"sendonly": "recvonly", "recvonly": "sendonly"}
    assert their_media.direction == mirrored.get(direction, direction)


def test_a_control_character_is_refused() -> None:
    for character in ("\x0b", "\x00", "\x1b"):
        data = described(HEAD, AUDIO.replace("0-16", f"0-16{character}a=x"))
        with pytest.raises(ValueError, match="control character"):
            parse_description(data)


def test_a_media_line_without_payload_types_is_read_and_refused_in_the_answer() -> None:
    offer = parse_description(described(HEAD, "m=audio 9 TCP/MRCPv2 speech\r\n", AUDIO))
    body, media = answer_to(LOCAL, offer, 1)

    assert b"m=audio 0 TCP/MRCPv2 speech\r\n" in body
    assert media.port == 5000


def test_a_payload_type_with_too_many_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="format"):
        parse_description(described(HEAD, "m=audio 5000 RTP/AVP 0 123456789\r\n"))


def test_the_address_of_rtcp_is_that_of_the_audio_by_default() -> None:
    audio = parse_description(described(HEAD, AUDIO, "a=rtcp:5009\r\n")).audio
    assert audio is not None

    assert audio.rtcp == HostPort("192.0.2.4", 5009)


def test_an_answer_has_one_codec_and_the_payload_types_of_the_offer() -> None:
    body, media = answer_to(LOCAL, parse_description(described(HEAD, AUDIO)), 1)

    assert b"m=audio 40000 RTP/AVP 8 96\r\n" in body
    assert b"a=fmtp:96 0-16\r\n" in body
    assert (media.codec, media.send_payload_type, media.receive_event_payload_type) == (
        "PCMA",
        8,
        96,
    )
    assert (media.address, media.port, media.rtcp) == (
        "192.0.2.4",
        5000,
        HostPort("192.0.2.4", 5001),
    )


def test_an_answer_may_have_phone_keys_with_the_clock_of_g711_next_to_opus() -> None:
    offer = LocalMedia("192.0.2.1", 4_000, 1, ("OPUS", "PCMU"))
    lines = (
        "m=audio 5000 RTP/AVP 111 101\r\n",
        "a=rtpmap:111 opus/48000/2\r\n",
        "a=rtpmap:101 telephone-event/8000\r\n",
    )
    media = accepted_answer(offer, parse_description(described(HEAD, *lines)))

    assert (media.codec, media.send_event_payload_type, media.event_clock_hz) == (
        "OPUS",
        101,
        8_000,
    )
    assert media.receive_codecs == ((111, "OPUS"),)
