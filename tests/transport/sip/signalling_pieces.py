"""Valid SIP messages, and pieces of them."""

from __future__ import annotations

from bench.protocols.sip.digest import DigestLogin
from tests.transport.sip.scripted_peer import ANSWER, ScriptedPeer

PIECES = [
    b"\r\n",
    b"\r\n\r\n",
    b":",
    b";",
    b"=",
    b'"',
    b"\\",
    b"<",
    b">",
    b",",
    b"@",
    b" ",
    b"\t",
    b"\x00",
    b"\xff",
    b"SIP/2.0",
    b"sip:",
    b"sips:",
    b"tel:",
    b"INVITE",
    b"ACK",
    b"BYE",
    b"CANCEL",
    b"UPDATE",
    b";tag=",
    b";branch=z9hG4bK",
    b"Via: ",
    b"To: ",
    b"CSeq: 1 INVITE",
    b"Content-Length: ",
    b"Require: 100rel",
    b"Session-Expires: 0;refresher=uac",
    b"Record-Route: <sip:x;lr>",
    b"Contact: *",
    b"WWW-Authenticate: Digest ",
    b"nonce=",
    b"q=nan",
    b"9" * 30,
    b"m=audio 1 RTP/AVP 0",
    b"a=rtpmap:",
    b"c=IN IP4 ",
    "٣".encode(),
]


LOGIN = DigestLogin("alice", "correct horse")


def valid_messages() -> list[bytes]:
    """Return messages of a peer that a call understands, in the order of a call."""
    found: list[bytes] = []

    class RecordedPeer(ScriptedPeer):
        def deliver(self, data: bytes) -> None:
            found.append(data)
            super().deliver(data)

    peer = RecordedPeer(login=LOGIN)
    peer.respond(401, ("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth,auth-int"'))
    peer.respond(302, ("Contact", '"B" <sip:b@c>;q=0.5'))
    peer.respond(422, ("Min-SE", "100"))
    peer.respond(183, ("Record-Route", "<sip:p;lr>, <sip:q;lr>"), body=ANSWER)
    peer.answer(("Session-Expires", "90;refresher=uac"), ("Allow", "UPDATE"))
    for method in ("INVITE", "ACK", "UPDATE", "OPTIONS", "INFO", "NOTIFY", "CANCEL", "BYE"):
        peer.request(method, ("Session-Expires", "90"), body=ANSWER if method == "INVITE" else b"")
    return found


VALID = valid_messages()
