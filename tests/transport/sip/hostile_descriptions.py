"""Hostile descriptions and addresses in the answer of a peer: a call fails with the reason, or
it works.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.transport.sip.hostile_answers import BIDI
from tests.transport.sip.hostile_check import Expected, Goes, Refused
from tests.transport.sip.hostile_line import LOOPBACK, Behaviour, HostilePeer

GOES = Goes()
SAVP = "audio 4000 RTP/SAVP 0"


def answers(
    *headers: tuple[str, str], sdp: Callable[[HostilePeer], bytes] | None = None, **more: str
) -> Behaviour:
    def behave(peer: HostilePeer) -> None:
        peer.answer(*headers, body=None if sdp is None else sdp(peer), **more)

    return behave


def describes(audio: str = "", address: str = LOOPBACK, more: str = "") -> Behaviour:
    return answers(sdp=lambda peer: peer.sdp(audio, address, more))


CASES: dict[str, tuple[Behaviour, Expected]] = {
    "a server with direction marks in its name is escaped": (
        answers(("Server", BIDI), ("User-Agent", BIDI)),
        GOES,
    ),
    "an answer without a description ends the call": (
        answers(sdp=lambda peer: b""),
        Refused("connect_failed:media", "no session description"),
    ),
    "a description of 9,000 bytes ends the call": (
        describes(more="a=x\r\n" * 1_800),
        Refused("connect_failed:media", "too long"),
    ),
    "a description of 300 lines ends the call": (
        describes(more="a=x\r\n" * 300),
        Refused("connect_failed:media", "too long"),
    ),
    "a description with a line that is none ends the call": (
        answers(sdp=lambda peer: b"v=0\r\n\xff\xfe"),
        Refused("connect_failed:media", "a line of the session"),
    ),
    "a description that is no description ends the call": (
        answers(sdp=lambda peer: b"{}"),
        Refused("connect_failed:media", "no version"),
    ),
    "a description with an escape sequence ends the call": (
        describes(more="a=\x1b[2J\r\n"),
        Refused("connect_failed:media", "control character"),
    ),
    "a description without audio ends the call": (
        describes("video 4000 RTP/AVP 96"),
        Refused("connect_failed:media", "refuses the audio"),
    ),
    "a description with nine media ends the call": (
        describes(more="m=video 0 RTP/AVP 96\r\n" * 9),
        Refused("connect_failed:media", "too many media"),
    ),
    "audio at port 0 is refused audio": (
        describes("audio 0 RTP/AVP 0"),
        Refused("connect_failed:media", "refuses the audio"),
    ),
    "audio at port 99999 ends the call": (
        describes("audio 99999 RTP/AVP 0"),
        Refused("connect_failed:media"),
    ),
    "audio with 65 formats ends the call": (
        describes("audio 4000 RTP/AVP " + " ".join(str(number) for number in range(65))),
        Refused("connect_failed:media", "too many formats"),
    ),
    "a multicast address ends the call": (
        describes(address="239.1.2.3"),
        Refused("connect_failed:media", "the connection"),
    ),
    "a host name as the address of audio ends the call": (
        describes(address="evil.example"),
        Refused("connect_failed:media", "the connection"),
    ),
    "an address with a zone ends the call": (
        describes(address="fe80::1%" + "é" * 80),
        Refused("connect_failed:media", "the connection"),
    ),
    "an IPv6 address in an IPv4 call ends the call": (
        describes(address="::1"),
        Refused("connect_failed:media", "IPv6"),
    ),
    "a host name as the address of RTCP ends the call": (
        describes(more="a=rtcp:9 IN IP4 evil.example\r\n"),
        Refused("connect_failed:media", "the connection"),
    ),
    "a codec that was not offered ends the call": (
        describes("audio 4000 RTP/AVP 18"),
        Refused("connect_failed:media", "not offered"),
    ),
    "PCMU that is mapped to another codec ends the call": (
        describes("audio 4000 RTP/AVP 0", more="a=rtpmap:0 opus/48000/2\r\n"),
        Refused("connect_failed:media", "not offered"),
    ),
    "encrypted audio without a key ends the call": (
        describes(SAVP),
        Refused("connect_failed:media", "SRTP"),
    ),
    "a second medium changes nothing": (describes(more="m=video 4000 RTP/AVP 96\r\n"), GOES),
    "an answer that holds the call is an answer": (describes(more="a=inactive\r\n"), GOES),
    "an answer with the unspecified address is an answer": (describes(address="0.0.0.0"), GOES),
    "a frame duration of 99999 ms changes nothing": (
        describes(more="a=ptime:99999\r\na=maxptime:0\r\n"),
        GOES,
    ),
    "a port of RTCP that is 0 changes nothing": (describes(more="a=rtcp:0\r\n"), GOES),
    # Addresses
    "a contact that is no URI changes nothing": (
        lambda peer: peer.answer(contact="<sip:x:y:z>"),
        GOES,
    ),
    "a contact at port 0 changes nothing": (answers(contact=f"<sip:x@{LOOPBACK}:0>"), GOES),
    "a contact that is anything changes nothing": (answers(contact="*"), GOES),
    "a contact with a port of letters changes nothing": (
        answers(contact="<sip:x@h:99999999999>"),
        GOES,
    ),
    "routes that are no addresses change nothing": (
        answers(("Record-Route", "<>, <tel:1;lr>, ;;;")),
        GOES,
    ),
    "a strict route to the peer itself is followed": (
        lambda peer: peer.answer(("Record-Route", f"<sip:{LOOPBACK}:{peer.line.port}>")),
        GOES,
    ),
    "a session interval of 10^12 s changes nothing": (
        answers(("Session-Expires", "1" + "0" * 12)),
        GOES,
    ),
    "a session interval that is text changes nothing": (
        answers(("Session-Expires", "soon;;=;")),
        GOES,
    ),
}
