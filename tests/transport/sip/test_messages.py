"""Bytes of SIP messages: what is read, what is refused, and what is returned unchanged (RFC 3261 §7, RFC 4475)."""

from __future__ import annotations

import pytest

from bench.transport.interface import HostPort
from bench.transport.sip.hops import escaped_user, hop_of, without_uri_headers
from bench.transport.sip.messages import (
    MAX_HEADERS,
    MAX_MESSAGE_BYTES,
    SipMessage,
    SipRequest,
    SipResponse,
    parse_address,
    parse_message,
    parse_via,
    readable,
    split_outside_quotes,
    write_response,
)

OPTIONS = (
    b"OPTIONS sip:bob@biloxi.example;x=a+b SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK1;rport, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bK0\r\n"
    b'From: "A, <b>" <sip:alice@a.example>;tag=a+1~\r\n'
    b"To: <sip:bob@biloxi.example>\r\nCall-ID: c1@h\r\nCSeq: 7 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


def parsed(data: bytes) -> SipMessage:
    return parse_message(data)


def is_read(data: bytes) -> bool:
    try:
        parse_message(data)
    except ValueError:
        return False
    return True


def test_a_request_is_read() -> None:
    request = parsed(OPTIONS)

    assert isinstance(request, SipRequest)
    assert (request.method, request.uri) == ("OPTIONS", "sip:bob@biloxi.example;x=a+b")
    assert (request.via.sent_by, request.via.branch, len(request.vias)) == (HostPort("192.0.2.9", 5070), "z9hG4bK1", 2)
    assert (request.caller.uri, request.caller.tag) == ("sip:alice@a.example", "a+1~")
    assert (request.cseq, request.cseq_method) == (7, "OPTIONS")


def test_compact_folded_and_spaced_headers_are_read() -> None:
    data = (
        b"\r\n\r\nSIP/2.0 200 \r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\n ;received=192.0.2.1\r\nf : sip:a@b;tag=1\r\n"
        b"t:<sip:c@d>;tag=2\r\ni: c\r\nCSEQ:   1\t INVITE\r\n\r\nbody"
    )
    response = parsed(data)

    assert isinstance(response, SipResponse)
    assert (response.code, response.phrase, response.body) == (200, "", b"body")
    assert response.via.parameters["received"] == "192.0.2.1"
    assert (response.caller.uri, response.caller.tag, response.callee.tag) == ("sip:a@b", "1", "2")


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


@pytest.mark.parametrize("code", ["099", "700", "000", "2_00", "+200", "20", "2000", "٢٠٠", "x"])
def test_a_status_code_outside_the_standard_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="status code"):
        parse_message(f"SIP/2.0 {code} x\r\n".encode() + OPTIONS.partition(b"\r\n")[2])


@pytest.mark.parametrize(("line", "phrase"), [("200", ""), ("200 ", ""), ("200 O K", "O K")])
def test_the_phrase_of_a_response_may_be_empty(line: str, phrase: str) -> None:
    response = parse_message(f"SIP/2.0 {line}\r\n".encode() + OPTIONS.partition(b"\r\n")[2])

    assert isinstance(response, SipResponse)
    assert (response.code, response.phrase) == (200, phrase)


def test_bytes_after_the_body_of_a_datagram_are_ignored() -> None:
    assert parsed(OPTIONS + b"more").body == b""


def test_a_response_returns_headers_of_the_request_unchanged() -> None:
    request = parse_message(OPTIONS)
    assert isinstance(request, SipRequest)
    sent = write_response(request, 200, "mine", HostPort("203.0.113.5", 1024))
    response = parsed(sent.data)

    assert b'From: "A, <b>" <sip:alice@a.example>;tag=a+1~\r\n' in sent.data
    assert response.callee.tag == "mine"
    assert response.vias == (
        "SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK1;rport=1024;received=203.0.113.5",
        "SIP/2.0/TCP [2001:db8::1];branch=z9hG4bK0",
    )
    assert sent.to == HostPort("203.0.113.5", 1024)


def test_without_rport_a_response_goes_to_the_port_of_the_via() -> None:
    request = parse_message(OPTIONS.replace(b";rport", b""))
    assert isinstance(request, SipRequest)

    assert write_response(request, 200, "t", HostPort("203.0.113.5", 1024)).to == HostPort("203.0.113.5", 5070)
    assert write_response(request, 200, "t", None).to == HostPort("192.0.2.9", 5070)


def test_a_response_100_has_no_tag_and_returns_the_timestamp() -> None:
    request = parse_message(OPTIONS.replace(b"Call-ID", b"Timestamp: 54\r\nCall-ID"))
    assert isinstance(request, SipRequest)
    response = parsed(write_response(request, 100, "mine", None).data)

    assert (response.callee.tag, response.first("Timestamp")) == ("", "54")


@pytest.mark.parametrize(
    ("text", "uri", "tag"),
    [
        ("sip:a@b;tag=1", "sip:a@b", "1"),
        ("<sip:a@b;tag=no>;tag=1", "sip:a@b;tag=no", "1"),
        ('"x\\"<;,>" <sip:a@b> ; TAG = 1', "sip:a@b", "1"),
        ("Bob <sip:a@b>", "sip:a@b", ""),
    ],
)
def test_parameters_outside_the_brackets_belong_to_the_header(text: str, uri: str, tag: str) -> None:
    address = parse_address(text)

    assert (address.uri, address.tag) == (uri, tag)


LATIN_1 = (
    OPTIONS.replace(b'"A, <b>"', b'"M\xfcller"').replace(b";rport,", b';rport;x="\xfc\x80",')
    .replace(b"Call-ID", b"Server: B\xfcro\xff\x85\xe2\x80\r\nSubject: \xc3\xbc\r\nCall-ID")
)  # fmt: skip


def test_bytes_that_are_not_utf_8_are_read_shown_as_latin_1_and_returned_unchanged() -> None:
    request = parse_message(LATIN_1)
    assert isinstance(request, SipRequest)
    sent = write_response(request, 200, "mine", None)

    assert readable(request.first("Server")) == "Büro\xff\x85â\x80"
    assert readable(request.first("Subject")) == "ü"
    assert b'From: "M\xfcller" <sip:alice@a.example>;tag=a+1~\r\n' in sent.data
    assert b';x="\xfc\x80"' in sent.data
    assert parse_message(sent.data).caller.tag == "a+1~"


def test_a_control_character_is_read_unless_it_would_be_returned() -> None:
    for character in (b"\x00", b"\x1b", b"\x7f"):
        assert is_read(OPTIONS.replace(b"Call-ID", b"Server: a" + character + b"b\r\nCall-ID"))
        assert not is_read(OPTIONS.replace(b'"A, <b>"', b'"A' + character + b'"'))
        assert not is_read(OPTIONS.replace(b"Call-ID", b"Require: a" + character + b"b\r\nCall-ID"))


def test_a_comma_in_quotes_or_brackets_does_not_divide_a_list() -> None:
    assert split_outside_quotes('"a,b" <sip:c,d@e>, f,, "g\\",h"', ",") == ['"a,b" <sip:c,d@e>', "f", '"g\\",h"']


def test_a_via_may_have_an_ipv6_address_without_brackets_as_received() -> None:
    via = parse_via("SIP / 2.0 / tls [2001:db8::9:1]:5061 ;received=2001:db8::9:255;branch=z9hG4bKas3")

    assert (via.transport, via.sent_by) == ("TLS", HostPort("[2001:db8::9:1]", 5061))
    assert via.parameters["received"] == "2001:db8::9:255"


@pytest.mark.parametrize(
    ("uri", "hop"),
    [
        ("sip:a@b", (HostPort("b"), "UDP")),
        ("sip:b:5080;transport=TCP", (HostPort("b", 5080), "TCP")),
        ("sips:a@b", (HostPort("b"), "TLS")),
        ("sip:a@b;maddr=192.0.2.3", (HostPort("192.0.2.3"), "UDP")),
        ("sip:a@b;transport=sctp", (HostPort("b"), "UDP")),
    ],
)
def test_a_uri_determines_the_next_hop(uri: str, hop: tuple[HostPort, str]) -> None:
    assert hop_of(uri, "UDP") == hop


@pytest.mark.parametrize("uri", ["sip:h", "sip:a@h", "sip:a?b@h:5070;lr", "sips:a:p@h"])
def test_the_headers_of_a_uri_are_left_out(uri: str) -> None:
    for headers in ("", "?", "?Diversion=%3Csip%3A100%40e%3E&body=x", "?Diversion=a%40b"):
        assert without_uri_headers(uri + headers) == uri
    assert without_uri_headers("sip:a@h?Diversion=a@b") == "sip:a@h"


@pytest.mark.parametrize(
    ("uri", "host", "port"),
    [
        ("sip:agent@asterisk1", "asterisk1", None),
        ("sip:agent@pbx_1:5070", "pbx_1", 5070),
        ("sip:e5f3a9c81b2d;lr", "e5f3a9c81b2d", None),
        ("sip:agent@sip1.prod1.:5060;lr=on", "sip1.prod1.", 5060),
        ("sip:a@Host.123;x=;a==b;self=1", "Host.123", None),
        ("sip:a@[2001:db8::1%25eth0]:5080", "[2001:db8::1]", 5080),
        ("sip:a@b\u00fccher.example", "xn--bcher-kva.example", None),
        ("sip:m\u00fcller@h", "h", None),
        ("sip:*72#|{1}^`\\[x]@h", "h", None),
        ("sip:%zz@h", "h", None),
        ("sip:a?b/c;d=e@h", "h", None),
        ("sip:alice@example.com@h", "h", None),
        ("sip:a:secret@h", "h", None),
        ("sip:a@h?Diversion=%3Csip:x@y%3E", "h", None),
    ],
)
def test_the_host_of_a_uri_that_a_peer_writes_is_read(uri: str, host: str, port: int | None) -> None:
    assert hop_of(uri, "UDP")[0] == HostPort(host, port)


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


@pytest.mark.parametrize(
    "uri", ["sip:a@pbx_1", "sip:m\u00fcller@asterisk1;x=", "sips:#1@h", "tel:+1555;phone-context=x"]
)
def test_a_request_to_any_sip_or_tel_uri_is_read(uri: str) -> None:
    request = parse_message(OPTIONS.replace(b"sip:bob@biloxi.example;x=a+b", uri.encode()))

    assert isinstance(request, SipRequest)
    assert request.uri == uri


def test_a_user_gets_escapes_for_the_characters_that_it_cannot_have() -> None:
    assert escaped_user("*72#") == "*72%23"
    assert escaped_user("m\u00fcller a@b%23") == "m%C3%BCller%20a%40b%23"
    assert escaped_user("+1(555)012-3;npdi=a/b") == "+1(555)012-3;npdi=a/b"
