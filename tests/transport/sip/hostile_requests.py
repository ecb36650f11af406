"""Hostile peers of an answered call: floods of requests, refused requests, and ends of the call
that never end.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.protocols.sip.leg_requests import MAX_REQUESTS
from bench.protocols.sip.messages import SipRequest
from tests.transport.sip.hostile_answers import BIDI
from tests.transport.sip.hostile_check import Cases, Ends, Goes, cases, header
from tests.transport.sip.hostile_line import LOOPBACK, Behaviour, HostilePeer

GOES, ENDS = Goes(), Ends(1000, "the peer hung up")
FLOOD = 300


def asks(method: str, code: int, *headers: str, body: str = "", times: int = 1) -> Behaviour:
    """Return the behaviour that sends requests, each after the response with this code."""

    def behave(peer: HostilePeer) -> None:
        peer.answer()
        for _ in range(times):
            peer.ask(code, method, *map(header, headers), body=body.encode("latin-1"))

    return behave


def offers(
    method: str,
    code: int,
    *,
    audio: str = "",
    address: str = LOOPBACK,
    more: str = "",
    body: str | None = None,
    times: int = 1,
) -> Behaviour:
    def behave(peer: HostilePeer) -> None:
        peer.answer()
        for _ in range(times):
            sdp = peer.sdp(audio, address, more) if body is None else body.encode("latin-1")
            peer.ask(code, method, body=sdp)

    return behave


def sends(data: str, times: int = 1) -> Behaviour:
    return after_answer(*[lambda peer: data.encode("latin-1")] * times)


def after_answer(*make: Callable[[HostilePeer], bytes], ends: bool = False) -> Behaviour:
    """Return the behaviour that sends messages. They end the call, or the call answers a request
    after them.
    """

    def behave(peer: HostilePeer) -> None:
        peer.answer()
        for each in make:
            peer.send(each(peer))
        if not ends:
            peer.synchronize()

    return behave


def more_requests_than_a_call_answers(peer: HostilePeer) -> None:
    peer.answer()
    for _ in range(MAX_REQUESTS):
        peer.ask(200, "OPTIONS")
    for _ in range(3):
        peer.ask(503, "OPTIONS")


def too_many_requests_and_then_bye(peer: HostilePeer) -> None:
    more_requests_than_a_call_answers(peer)
    peer.ask(200, "BYE")


def invites_without_an_acknowledgement(peer: HostilePeer) -> None:
    """Send offers without acknowledging their answers. Only an offer of the call itself is open
    until its answer.
    """
    peer.answer()
    for _ in range(FLOOD):
        data = peer.request("INVITE", body=peer.sdp())
        peer.send(data)
        peer.wait_for(200, lambda data=data: peer.send(data))  # type: ignore[misc]


def an_invite_without_an_offer_and_a_bad_answer(peer: HostilePeer) -> None:
    peer.answer()
    data = peer.request("INVITE")
    peer.send(data)
    peer.wait_for(200, lambda: peer.send(data))
    peer.send(peer.request("ACK", cseq=peer.cseq, branch="z9hG4bKx", body=b"v=0"))


def an_answer_of_another_codec_and_then_silence(peer: HostilePeer) -> None:
    """Answer an offer with a codec that was not offered, and never answer the BYE after it."""
    peer.answer()
    data = peer.request("INVITE")
    peer.send(data)
    peer.wait_for(200, lambda: peer.send(data))
    ack = peer.request(
        "ACK", cseq=peer.cseq, branch="z9hG4bKx", body=peer.sdp("audio 4000 RTP/AVP 18")
    )
    peer.wait_for("BYE", lambda: peer.send(ack))


def a_flood_of_byes(peer: HostilePeer) -> None:
    peer.answer()
    for _ in range(FLOOD):
        peer.send(peer.request("BYE"))


def requests_from_another_port(peer: HostilePeer) -> None:
    """Send a request from a port that is not in its Via. The response goes to the port in Via."""
    peer.answer()
    data = peer.request("OPTIONS")
    peer.stranger.sendto(data, peer.source)
    peer.wait_for(200, lambda: peer.stranger.sendto(data, peer.source))


def with_via(value: str) -> Behaviour:
    """Return the behaviour that sends requests in no dialog. {} in the value of Via is a port."""

    def behave(peer: HostilePeer) -> None:
        peer.answer()
        for number in range(FLOOD):
            data = peer.request("OPTIONS", own_tag="other")
            via = f"Via: {value.replace('{}', str(1 + number))};branch=z9hG4bKx{number}\r\n"
            peer.send(
                data[: data.index(b"Via: ")] + via.encode() + data[data.index(b"Max-Forwards") :]
            )
        peer.synchronize()

    return behave


def bye_when_bye_arrives(peer: HostilePeer) -> None:
    peer.answer()
    bye = hang_up_of(peer)
    peer.send(peer.request("BYE"))
    peer.send(peer.response(200, to=bye))


def hang_up_of(peer: HostilePeer) -> SipRequest:
    """Send frames until the call is hung up. Return its BYE."""
    while True:
        peer.frame(b"\x2a" * 160)
        found = peer.poll(0.01)
        if isinstance(found, SipRequest) and found.method == "BYE":
            return found


def answers_bye_with(code: int, *headers: tuple[str, str]) -> Behaviour:
    def behave(peer: HostilePeer) -> None:
        peer.answer()
        while True:
            peer.send(peer.response(code, *headers, to=hang_up_of(peer)))

    return behave


def never_answers_bye(peer: HostilePeer) -> None:
    peer.answer()
    while True:
        hang_up_of(peer)


def closes_its_ports(peer: HostilePeer) -> None:
    """After the answer, nothing hears the media of the call."""
    peer.answer()
    peer.rtcp.close()
    while True:
        for _ in range(3):
            peer.frame(b"\x2a" * 160)
        message = peer.poll(0.01)
        if isinstance(message, SipRequest) and message.method == "BYE":
            return


CASES: Cases = {
    **cases("requests", {"asks": asks, "offers": offers, "sends": sends}),
    "a flood of OPTIONS is answered up to a limit": (more_requests_than_a_call_answers, GOES),
    "a call that received too many requests still ends with BYE": (
        too_many_requests_and_then_bye,
        ENDS,
    ),
    "a flood of INVITE without an acknowledgement is answered": (
        invites_without_an_acknowledgement,
        GOES,
    ),
    "60 required extensions are refused": (
        asks("OPTIONS", 420, "Require: " + ",".join(f"x{number}" for number in range(60))),
        GOES,
    ),
    "a bad answer in ACK ends the call": (an_invite_without_an_offer_and_a_bad_answer, Ends(1000)),
    "a call that this side ends is over before the peer answers BYE": (
        an_answer_of_another_codec_and_then_silence,
        Ends(1000, "this tool hung up: the peer answers with a codec"),
    ),
    "a flood of BYE ends the call once": (a_flood_of_byes, ENDS),
    "BYE with direction marks in its reason is escaped": (
        after_answer(
            lambda peer: peer.request("BYE", ("Reason", BIDI), ("Warning", BIDI)), ends=True
        ),
        Ends(1000, "\\u202e"),
    ),
    "BYE with an escape sequence in its reason is escaped": (
        after_answer(lambda peer: peer.request("BYE", ("Reason", "\x1b[2J")), ends=True),
        Ends(1000, "\\x1b[2J"),
    ),
    "BYE with the tag of another peer is refused": (
        after_answer(lambda peer: peer.request("BYE", tag="other")),
        GOES,
    ),
    "BYE to another tag is refused": (
        after_answer(lambda peer: peer.request("BYE", own_tag="other")),
        GOES,
    ),
    "BYE with an old CSeq is refused": (
        after_answer(
            lambda peer: peer.request("OPTIONS"), lambda peer: peer.request("BYE", cseq=1)
        ),
        GOES,
    ),
    "CANCEL of an answered call is refused": (
        after_answer(lambda peer: peer.request("CANCEL", cseq=1, branch=peer.invite.via.branch)),
        GOES,
    ),
    "ACK without a reason is ignored": (
        after_answer(*[lambda peer: peer.request("ACK")] * FLOOD),
        GOES,
    ),
    "responses to nothing are ignored": (
        after_answer(
            *[lambda peer: peer.response(200).replace(b"z9hG4bK", b"z9hG4bKx", 1)] * FLOOD
        ),
        GOES,
    ),
    "a late refusal of an answered call is ignored": (
        after_answer(lambda peer: peer.response(486)),
        GOES,
    ),
    "a late provisional response is ignored": (
        after_answer(lambda peer: peer.response(180, tag="new")),
        GOES,
    ),
    "random bytes on the port of SIP are ignored": (
        after_answer(*[lambda peer: bytes(range(256))] * FLOOD),
        GOES,
    ),
    "a request from another port is answered": (requests_from_another_port, GOES),
    "requests with an unknown transport are ignored": (
        with_via("SIP/2.0/CARRIER-PIGEON 127.0.0.1"),
        GOES,
    ),
    "requests that name TCP, which they did not use, cost a bounded number of connections": (
        with_via("SIP/2.0/TCP 127.0.0.1:{}"),
        GOES,
    ),
    "requests that name many ports are answered at a bounded number of them": (
        with_via("SIP/2.0/UDP 127.0.0.1:{}"),
        GOES,
    ),
    "requests that name a host name are answered at their source": (
        with_via("SIP/2.0/UDP evil.invalid:{}"),
        GOES,
    ),
    "both sides may hang up at the same time": (bye_when_bye_arrives, GOES),
    "a call whose BYE is never answered is closed": (never_answers_bye, GOES),
    "a call whose BYE is challenged again and again is closed": (
        answers_bye_with(401, ("WWW-Authenticate", 'Digest realm="r", nonce="n"')),
        GOES,
    ),
    "a call whose BYE is redirected is closed": (
        answers_bye_with(302, ("Contact", "<sip:evil.example>")),
        GOES,
    ),
    "a call whose BYE is refused is closed": (answers_bye_with(500), GOES),
    "a call whose BYE is only tried is closed": (answers_bye_with(100), GOES),
    "a peer whose ports are closed ends no call": (closes_its_ports, GOES),
    "an answer with a session timer of 10 years is an answer": (
        lambda peer: peer.answer(("Session-Expires", "315360000;refresher=uas")),
        GOES,
    ),
    "an answer with a contact of the unspecified address is an answer": (
        lambda peer: peer.answer(contact=f"<sip:x@0.0.0.0:{peer.line.port}>"),
        GOES,
    ),
}
