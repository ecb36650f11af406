"""The session description in the body of a message: alone, or with parts for others, in all
forms that peers write.
"""

from __future__ import annotations

import base64
import quopri
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocols.sdp.sdp import parse_description
from bench.protocols.sip.bodies import MAX_PARTS, described_in, has_unknown_body
from bench.protocols.sip.call_record import CallState
from bench.protocols.sip.messages import SipRequest, SipResponse, parse_message, write_message
from tests.examples import thorough
from tests.transport.sip.scripted_peer import ANSWER, ScriptedPeer

ISUP = b"\x01\x11\x48\x00\r\n\x03\x02\x09\x07\xff\x1b"
XML = b'<?xml version="1.0"?><presence entity="sip:a@example.com"/>'
SDP = ANSWER.replace(b"\n", b"\r\n")
CALL = [
    ("Via", "SIP/2.0/UDP h;branch=z9hG4bK1"),
    ("From", "<sip:a@b>;tag=1"),
    ("To", "<sip:c@d>;tag=2"),
    ("Call-ID", "c"),
    ("CSeq", "1 UPDATE"),
]
CONTACT = ("Contact", "<sip:bob@192.0.2.4>")
TYPE = "multipart/mixed;boundary=b1"


def part(kind: str, content: bytes, *headers: str) -> bytes:
    return "".join(
        f"{line}\r\n" for line in ([f"Content-Type: {kind}"] if kind else []) + [*headers]
    ).encode() + (b"\r\n" + content)


SDP_LINE = b"Content-Type: application/sdp"
ENCODED = "Content-Transfer-Encoding"
SDP_PART = part("application/sdp", SDP, "Content-Disposition: session;handling=required")
ISUP_PART = part(
    "application/isup;version=itu-t92+;base=itu-t92+",
    ISUP,
    "Content-Disposition: signal;handling=optional",
)


def multipart(*parts: bytes, boundary: str = "b1") -> bytes:
    line = b"--" + boundary.encode()
    return b"".join(line + b"\r\n" + each + b"\r\n" for each in parts) + line + b"--\r\n"


BODY = multipart(SDP_PART, ISUP_PART)


def message(body: bytes, kind: str = TYPE, *headers: tuple[str, str]) -> SipRequest | SipResponse:
    named = [("Content-Type", kind)] if kind else []
    return parse_message(write_message("UPDATE sip:a@b SIP/2.0", [*CALL, *named, *headers], body))


def nested(depth: int) -> bytes:
    body = BODY
    for number in range(depth):
        inner = "b1" if number == 0 else f"n{number}"
        parts = part("text/plain", b"x"), part(f"multipart/mixed;boundary={inner}", body)
        body = multipart(*parts, boundary=f"n{number + 1}")
    return body


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (SDP, "application/sdp"),
        (SDP, "Application/SDP ; charset=UTF-8"),
        (SDP, ""),
        (SDP, "text/plain"),
        (BODY, TYPE),
        (multipart(ISUP_PART, SDP_PART), TYPE),
        (multipart(part("application/pidf+xml", XML), SDP_PART, ISUP_PART), TYPE),
        (multipart(part("application/rs-metadata+xml", XML), part("", SDP)), TYPE),
        (BODY, 'Multipart/Mixed; charset=x; Boundary = "b1"'),
        (multipart(SDP_PART, boundary="a;b=c: (d)"), 'multipart/mixed;boundary="a;b=c: (d)"'),
        (
            multipart(SDP_PART, boundary="=_a'()+_,-./:=?"),
            'multipart/mixed;boundary="=_a\'()+_,-./:=?"',
        ),
        (BODY, "multipart/alternative;boundary=b1"),
        (BODY, 'multipart/related;boundary=b1;type="application/sdp"'),
        (BODY, "multipart/mixed"),
        (BODY, "multipart/mixed;boundary=other"),
        (BODY, "multipart/mixed;boundary=b1;boundary=b1"),
        (b"a preamble\r\n--b1x\r\n\r\n" + BODY + b"an epilogue\r\n--b1\r\n\r\nv=1", TYPE),
        (BODY.replace(b"\r\n", b"\n"), TYPE),
        (BODY.replace(b"--b1\r\n", b"--b1 \t\r\n"), TYPE),
        (b"\r\n" + BODY, TYPE),
        (BODY.removesuffix(b"--b1--\r\n"), TYPE),
        (multipart(SDP_PART).removesuffix(b"\r\n--b1--\r\n"), TYPE),
        (BODY.removesuffix(b"\r\n"), TYPE),
        (BODY.replace(SDP_LINE, b"CONTENT-TYPE :\r\n  Application/Sdp ;\r\n\tcharset=utf-8"), TYPE),
        (BODY.replace(SDP_LINE, b"c: application/sdp"), TYPE),
        (
            multipart(
                ISUP_PART, part("application/sdp", base64.encodebytes(SDP), f"{ENCODED}: BASE64")
            ),
            TYPE,
        ),
        (
            multipart(
                part("application/sdp", quopri.encodestring(SDP), f"{ENCODED}: quoted-printable")
            ),
            TYPE,
        ),
        (multipart(part("application/sdp", SDP, f"{ENCODED}: binary", "Content-ID: <1@h>")), TYPE),
        (multipart(part("application/sdp", SDP.replace(b"s=-", b"s=\xfc"), "X: \xfc")), TYPE),
        (
            multipart(
                part("application/sdp", b"v=0\r\n", "Content-Disposition: early-session"), SDP_PART
            ),
            TYPE,
        ),
        (multipart(part("application/sdp", b"v=0\r\n", "Content-Encoding: gzip"), SDP_PART), TYPE),
        (nested(1), "multipart/mixed;boundary=n1"),
        (nested(3), "multipart/mixed;boundary=n3"),
    ],
)
def test_the_description_is_found_in_each_form_of_a_body(body: bytes, kind: str) -> None:
    found = message(body, kind)

    assert described_in(found) == parse_description(SDP)
    assert not has_unknown_body(found)


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (
            ISUP,
            "application/isup;version=itu-t92+",
            r"no session description \(only application/isup\)",
        ),
        (
            multipart(ISUP_PART, part("text/XML", XML)),
            TYPE,
            r"description \(only application/isup, text/xml\)",
        ),
        (multipart(part("application/\x9bm", ISUP)), TYPE, "no session description$"),
        (b"", "", "no session description$"),
        (b"", "application/sdp", "no session description$"),
        (b"x", TYPE, "no session description$"),
        (multipart(part("application/sdp", b"\xff" * 9, f"{ENCODED}: base64")), TYPE, "no session"),
        (multipart(part("application/sdp", SDP, "Content-Encoding: gzip")), TYPE, "no session"),
        (nested(5), "multipart/mixed;boundary=n5", "no session"),
        (multipart(*[part("text/plain", b"x")] * MAX_PARTS, SDP_PART), TYPE, "no session"),
        (b"{}", "application/sdp", "no version 0"),
    ],
)
def test_a_body_without_a_description_has_one_reason(body: bytes, kind: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        described_in(message(body, kind))


@thorough
@given(
    st.lists(
        st.sampled_from(
            [
                b"--b1",
                b"--",
                b"\r\n",
                b"\n",
                BODY,
                SDP,
                b"c: multipart/mixed;boundary=b",
                b'"',
                b";",
                b":",
                ISUP,
            ]
        )
        | st.binary(max_size=9),
        max_size=30,
    ).map(b"".join)
)
def test_random_bodies_raise_only_value_errors(body: bytes) -> None:
    found = message(body[:8_000])
    has_unknown_body(found)
    with suppress(ValueError):
        described_in(found)


# The messages of a call


def kind(of: str) -> tuple[str, str]:
    return "Content-Type", of


def hold(sdp: bytes = SDP) -> bytes:
    return multipart(ISUP_PART, part("application/sdp", sdp + b"a=sendonly\r\n"))


def write_response_with(peer: ScriptedPeer, code: int, body: bytes) -> bytes:
    peer.respond(180)
    invite = peer.last("INVITE")
    headers = [
        ("Via", invite.vias[0]),
        ("From", invite.first("From")),
        ("To", f"{invite.first('To')};tag=bob"),
    ]
    headers += [("Call-ID", invite.call_id), ("CSeq", f"{invite.cseq} INVITE"), CONTACT, kind(TYPE)]
    return write_message(f"SIP/2.0 {code} x", headers, body)


def test_an_answer_without_a_description_after_early_media_keeps_that_audio() -> None:
    peer = ScriptedPeer()
    peer.respond(183, body=ANSWER)
    peer.deliver(write_response_with(peer, 200, multipart(ISUP_PART)))

    assert peer.call.state is CallState.ANSWERED
    assert peer.call.media == peer.call.early_media


def test_an_answer_in_a_part_of_ack_is_used() -> None:
    peer = ScriptedPeer().answered()
    peer.request("INVITE", cseq=200)
    peer.request("ACK", kind(TYPE), cseq=200, body=hold())

    assert peer.call.media is not None
    assert not peer.call.media.sends
