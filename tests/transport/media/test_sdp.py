"""Session descriptions: what is read, what is refused, and what both sides agree on (RFC 8866, RFC 3264)."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.transport.interface import HostPort
from bench.transport.media.offer_answer import LocalMedia, accepted_answer, answer_to, write_offer
from bench.transport.media.sdp import DIRECTIONS, Direction, parse_description
from tests.examples import thorough

HEAD = "v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\n"
AUDIO = "m=audio 5000 RTP/AVP 8 0 96 13\r\na=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-16\r\na=ptime:30\r\n"
LOCAL = LocalMedia("192.0.2.1", 40_000, 11)


def described(*parts: str) -> bytes:
    return "".join(parts).encode()


def test_the_audio_of_a_description_is_read() -> None:
    description = parse_description(
        described(HEAD, AUDIO, "a=rtcp:5009 IN IP4 192.0.2.5\r\na=rtcp-mux\r\na=sendonly\r\n")
    )
    audio = description.audio

    assert audio is not None
    assert (audio.address, audio.port, audio.direction) == ("192.0.2.4", 5000, "sendonly")
    assert [(each.payload_type, each.encoding) for each in audio.formats] == [
        (8, "PCMA"), (0, "PCMU"), (96, "TELEPHONE-EVENT"), (13, ""),
    ]  # fmt: skip
    assert (audio.rtcp, audio.rtcp_mux) == (HostPort("192.0.2.5", 5009), True)


PLAIN = described(HEAD, AUDIO, "a=rtcp:5009 IN IP4 192.0.2.5\r\na=sendonly\r\n")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.replace(b"\r\n", b" \r\n"),
        PLAIN.replace(b"\r\n", b"\t \r\n"),
        PLAIN.replace(b"\r\n", b"\r\n "),
        PLAIN.replace(b"\r\n", b"\r\n\r\n \r\n"),
        PLAIN.replace(b"\r\n", b"\n"),
        PLAIN.replace(b"\r\n", b"\r"),
        PLAIN.replace(b"\r\n", b"\r\r\n"),
        PLAIN.replace(b"=", b" = ").replace(b"fmtp:96 0 = 16", b"fmtp:96 0-16"),
        re.sub(rb"(?<=\S) (?=\S)", b"  ", PLAIN),
        re.sub(rb"(?<=\S) (?=\S)", b"\t", PLAIN),
        PLAIN + b" ",
        PLAIN + b" \r\n",
        PLAIN + b"\x00",
        PLAIN.replace(b"sendonly", b"SendOnly"),
        PLAIN.replace(b"sendonly", b" sendonly\x00"),
        PLAIN.replace(b"m=audio 5000 RTP/AVP", b"m=AUDIO 5000 rtp/avp"),
        PLAIN.replace(b"c=IN IP4", b"c=in ip4"),
        PLAIN.replace(b"rtpmap:96 ", b"rtpmap: 96  "),
        PLAIN.replace(b"ptime:30", b"ptime: 30 "),
        PLAIN.replace(b"s=-", b"s="),
        PLAIN.replace(b"s=-\r\n", b""),
        PLAIN.replace(b"s=-", b"s=B\xfcro \xff"),
        PLAIN.replace(b"s=-", b"s=\x1b[2J\x00x"),
        PLAIN.replace(b"s=-", b"s=-\r\nq=unknown\r\nb=AS:64"),
        PLAIN.replace(b"o=- 1 2 IN IP4 h", b"o=- 1 2 IN IP4 192.0.2.4 "),
        PLAIN.replace(b"o=- 1 2 IN IP4 h", b"o=B\xfcro"),
        PLAIN.replace(b"o=- 1 2 IN IP4 h\r\n", b""),
        PLAIN.replace(b"v=0\r\n", b""),
        PLAIN.replace(b"v=0", b"v=0 "),
        PLAIN + b"a=x-name:\xff\r\n",
        PLAIN + b"m=video 5004 RTP/AVP 97\r\nc=IN IP4 video.example\r\n",
        PLAIN.replace(b"192.0.2.4", b"session.example").replace(
            b"RTP/AVP 8 0 96 13", b"RTP/AVP 8 0 96 13\r\nc=IN IP4 192.0.2.4"
        ),
    ],
)
def test_what_a_call_does_not_use_changes_nothing(data: bytes) -> None:
    assert data != PLAIN
    plain, changed = (accepted_answer(LOCAL, parse_description(each)) for each in (PLAIN, data))
    assert changed == plain


@pytest.mark.parametrize("direction", ["sendonly ", "inactive\t", " SENDONLY", "Inactive \x00"])
def test_a_direction_may_have_spaces_and_any_case(direction: str) -> None:
    audio = parse_description(described(HEAD, AUDIO, f"a={direction}\r\n")).media[0]
    assert audio.direction == direction.strip(" \t\0").lower()


def test_an_address_and_a_direction_of_the_session_hold_for_its_media() -> None:
    description = parse_description(
        described(HEAD, "a=inactive\r\n", AUDIO, AUDIO, "c=IN IP6 2001:DB8::1\r\na=recvonly\r\n")
    )

    assert [(line.address, line.direction) for line in description.media] == [
        ("192.0.2.4", "inactive"), ("2001:db8::1", "recvonly"),
    ]  # fmt: skip


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


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("m=audio 5000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n", "the peer requires SRTP"),
        ("m=audio 5000 UDP/TLS/RTP/SAVPF 0\r\n", "the peer requires DTLS-SRTP"),
        ("m=audio 5000 RTP/AVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n", ""),
        ("m=audio 5000 RTP/SAVP 0\r\nm=audio 5002 RTP/AVP 0\r\n", ""),
        ("m=audio 0 RTP/SAVP 0\r\n", "the peer offers no audio"),
        ("m=video 5000 RTP/SAVP 0\r\n", "the peer offers no audio"),
    ],
)
def test_an_offer_is_refused_if_all_its_audio_is_encrypted(lines: str, problem: str) -> None:
    try:
        answer_to(LOCAL, parse_description(described(HEAD, lines)), 1)
    except ValueError as error:
        assert str(error) == problem
    else:
        assert not problem


def test_an_answer_has_one_codec_and_the_payload_types_of_the_offer() -> None:
    body, media = answer_to(LOCAL, parse_description(described(HEAD, AUDIO)), 1)

    assert b"m=audio 40000 RTP/AVP 8 96\r\n" in body
    assert b"a=fmtp:96 0-16\r\n" in body
    assert (media.codec, media.send_payload_type, media.receive_event_payload_type) == ("PCMA", 8, 96)
    assert (media.address, media.port, media.rtcp) == ("192.0.2.4", 5000, HostPort("192.0.2.4", 5001))


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_rtcp_is_multiplexed_if_both_sides_can(ours: bool, theirs: bool) -> None:
    offer = parse_description(described(HEAD, AUDIO, "a=rtcp-mux\r\n" if theirs else ""))
    body, media = answer_to(replace(LOCAL, rtcp_mux=ours), offer, 1)

    assert (b"a=rtcp-mux" in body) is (ours and theirs)
    assert (media.rtcp is None) is (ours and theirs)


@pytest.mark.parametrize(
    ("offered", "answered"),
    [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")],
)
def test_the_answer_mirrors_the_direction_of_the_offer(offered: Direction, answered: Direction) -> None:
    body, media = answer_to(LOCAL, parse_description(described(HEAD, AUDIO, f"a={offered}\r\n")), 1)

    assert media.direction == answered
    assert f"a={answered}\r\n".encode() in body


def test_the_unspecified_address_means_that_the_peer_holds_the_call() -> None:
    media = answer_to(LOCAL, parse_description(described(HEAD.replace("192.0.2.4", "0.0.0.0"), AUDIO)), 1)[1]

    assert media.direction == "recvonly"


@pytest.mark.parametrize(
    "rtpmap",
    ["a=rtpmap:0 PCMU/16000\r\n", "a=rtpmap:0 PCMU/8000/2\r\n", "a=rtpmap:0 L16/8000\r\n"],
)
def test_a_payload_type_means_what_its_rtpmap_says(rtpmap: str) -> None:
    offer = parse_description(described(HEAD, "m=audio 5000 RTP/AVP 0\r\n", rtpmap))

    with pytest.raises(ValueError, match="no codec"):
        answer_to(LOCAL, offer, 1)


@thorough
@given(
    st.permutations(["PCMU", "PCMA"]), st.permutations(["PCMU", "PCMA"]), st.booleans(), st.sampled_from(DIRECTIONS),
    st.sampled_from(["192.0.2.4", "2001:db8::7"]),
)  # fmt: skip
def test_both_sides_of_an_offer_and_its_answer_agree(
    ours: list[str], theirs: list[str], mux: bool, direction: Direction, address: str
) -> None:
    here = LocalMedia("2001:db8::1" if ":" in address else "192.0.2.1", 40_000, 11, tuple(ours[:1]), rtcp_mux=mux)
    there = LocalMedia(address, 50_000, 12, tuple(theirs), rtcp_mux=True)
    body, their_media = answer_to(there, parse_description(write_offer(here, 1, direction)), 1)
    our_media = accepted_answer(here, parse_description(body), direction)

    assert our_media.codec == their_media.codec == ours[0]
    assert dict(their_media.receive_codecs)[our_media.send_payload_type] == our_media.codec
    assert our_media.receive_event_payload_type == their_media.send_event_payload_type == 101
    assert (our_media.address, our_media.port) == (address, 50_000)
    assert (our_media.rtcp is None) is (their_media.rtcp is None) is mux
    assert our_media.direction == direction
    mirrored = {"sendonly": "recvonly", "recvonly": "sendonly"}
    assert their_media.direction == mirrored.get(direction, direction)


@pytest.mark.parametrize("connection", ["IN IP4 agent.example", "IN IP6 fe80::1%lo", "IN IP6 fe80::1%\u00e9"])
def test_an_address_that_a_packet_cannot_be_sent_to_at_once_is_refused(connection: str) -> None:
    with pytest.raises(ValueError, match="connection"):
        parse_description(described(HEAD.replace("IN IP4 192.0.2.4", connection), AUDIO))
    with pytest.raises(ValueError, match="connection"):
        parse_description(described(HEAD, AUDIO, f"a=rtcp:9 {connection}\r\n"))


def test_audio_of_the_other_version_of_ip_is_refused() -> None:
    """No packet could be sent to it."""
    description = parse_description(described(HEAD.replace("IP4 192.0.2.4", "IP6 ::1"), AUDIO))
    for agree in (accepted_answer, lambda local, offer: answer_to(local, offer, 1)):
        with pytest.raises(ValueError, match="IPv6 address, in an IPv4 call"):
            agree(LOCAL, description)


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


@pytest.mark.parametrize("text", ["0", "x", "70000", "", "5009x"])
def test_an_invalid_port_of_rtcp_means_the_next_port(text: str) -> None:
    offer = parse_description(described(HEAD, AUDIO, f"a=rtcp:{text}\r\n"))

    assert answer_to(LOCAL, offer, 1)[1].rtcp == HostPort("192.0.2.4", 5001)


@pytest.mark.parametrize("text", ["20", "20.0", "0", "-20", "x"])
def test_any_packet_time_is_accepted(text: str) -> None:
    audio = parse_description(described(HEAD, AUDIO.replace("ptime:30", f"ptime:{text}"))).audio
    assert audio is not None
