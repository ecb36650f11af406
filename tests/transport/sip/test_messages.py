"""Bytes of SIP messages: what is read, what is refused, and what is returned unchanged (RFC 3261
§7, RFC 4475).
"""

from __future__ import annotations

import pytest

from bench.protocols.sip.header_values import split_outside_quotes
from bench.protocols.sip.hops import escaped_user, hop_of
from bench.protocols.sip.messages import (
    MAX_HEADERS,
    MAX_MESSAGE_BYTES,
    SipMessage,
    SipRequest,
    parse_message,
    write_response,
)

OPTIONS = (
    b"OPTIONS sip:bob@biloxi.example;x=a+b SIP/2.0\r\nVia: SIP/2.0/UDP"
    b' 192.0.2.9:5070;branch=z9hG4bK1;rport, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bK0\r\nFrom: "A,'
    b' <b>" <sip:alice@a.example>;tag=a+1~\r\nTo: <sip:bob@biloxi.example>\r\nCall-ID:'
    b" c1@h\r\nCSeq: 7 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


def parsed(data: bytes) -> SipMessage:
    return parse_message(data)


def is_read(data: bytes) -> bool:
    try:
        parse_message(data)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Via:", b"X:"),
        (b"From:", b"X:"),
        (b"To:", b"X:"),
        (b"Call-ID:", b"X:"),
        (b"CSeq: 7 OPTIONS", b"CSeq: 7 INVITE"),
        (b"CSeq: 7", b"CSeq: -7"),
        (b"CSeq: 7", b"CSeq: 4294967296"),
        (b"CSeq: 7", "CSeq: ٧".encode()),
        (b"Content-Length: 0", b"Content-Length: 5"),
        (b"Content-Length: 0", b"Content-Length: -1"),
        (b"Content-Length: 0", b"Content-Length: 99999999999"),
        (b"Content-Length: 0", b"l: 0\r\nContent-Length: 0"),
        (b"Call-ID: c1@h", b"Call-ID: c1@h\r\ni: c2@h"),
        (b"Call-ID: c1@h", b"Call-ID: " + b"c" * 300),
        (b"Call-ID: c1@h", b"Call-ID: a\nX: b"),
        (b"Call-ID: c1@h", b"Call-ID: a\rX: b"),
        (b"Call-ID: c1@h", b"no colon"),
        (b"SIP/2.0\r\n", b"SIP/3.0\r\n"),
        (b"sip:bob@biloxi.example;x=a+b", b"gopher:x"),
        (b"tag=a+1~", b"tag=a b"),
        (b"tag=a+1~", b"tag=a;tag=b"),
        (b"tag=a+1~", b"tag="),
        (b'"A, <b>"', b'"A, <b>'),
        (b"<sip:alice@a.example>", b"<sip:alice@a.example"),
        (b"SIP/2.0/UDP", b"HTTP/2.0/UDP"),
        (b"SIP/2.0/UDP", b"SIP/2.0/SCTP"),
        (b";branch=", b";rport h;branch="),
        (b"192.0.2.9:5070", b"192.0.2.9:70000"),
        (b"\r\n\r\n", b"\r\n"),
        (b"c1@h", b"\xff"),
    ],
)
def test_a_malformed_message_is_refused(old: bytes, new: bytes) -> None:
    assert old in OPTIONS
    assert not is_read(OPTIONS.replace(old, new))


@pytest.mark.parametrize(
    "data",
    [
        OPTIONS.replace(b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * MAX_HEADERS + b"\r\n"),
        OPTIONS.replace(b"c1@h", b"c1@h\r\nX: " + b"y" * 5_000),
        OPTIONS.replace(b"Via:", b"Via: " + b"SIP/2.0/UDP h;branch=1, " * 70),
        OPTIONS + b"x" * MAX_MESSAGE_BYTES,
        OPTIONS.replace(b"biloxi", b"b" * 600),
    ],
)
def test_a_message_that_exceeds_a_limit_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="too"):
        parse_message(data)


def test_a_response_100_has_no_tag_and_returns_the_timestamp() -> None:
    request = parse_message(OPTIONS.replace(b"Call-ID", b"Timestamp: 54\r\nCall-ID"))
    assert isinstance(request, SipRequest)
    response = parsed(write_response(request, 100, "mine", None).data)

    assert (response.callee.tag, response.first("Timestamp")) == ("", "54")


def test_a_control_character_is_read_unless_it_would_be_returned() -> None:
    for character in (b"\x00", b"\x1b", b"\x7f"):
        assert is_read(OPTIONS.replace(b"Call-ID", b"Server: a" + character + b"b\r\nCall-ID"))
        assert not is_read(OPTIONS.replace(b'"A, <b>"', b'"A' + character + b'"'))
        assert not is_read(OPTIONS.replace(b"Call-ID", b"Require: a" + character + b"b\r\nCall-ID"))


def test_a_comma_in_quotes_or_brackets_does_not_divide_a_list() -> None:
    assert split_outside_quotes('"a,b" <sip:c,d@e>, f,, "g\\",h"', ",") == [
        '"a,b" <sip:c,d@e>',
        "f",
        '"g\\",h"',
    ]


@pytest.mark.parametrize(
    "uri",
    [
        "sip:",
        "sip:a@",
        "sip:a@h:0",
        "sip:a@h:99999",
        "sip:a@h h",
        "sip:a@[::1",
        "http://h",
        "tel:+1",
        "sip:a@b..\u00fc",
    ],
)
def test_a_uri_without_a_readable_host_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"valid|port"):
        hop_of(uri, "UDP")


def test_a_uri_that_takes_long_to_read_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        hop_of("sip:a@" + "b" * 600, "UDP")


def test_a_user_gets_escapes_for_the_characters_that_it_cannot_have() -> None:
    assert escaped_user("*72#") == "*72%23"
    assert escaped_user("m\u00fcller a@b%23") == "m%C3%BCller%20a%40b%23"
    assert escaped_user("+1(555)012-3;npdi=a/b") == "+1(555)012-3;npdi=a/b"
