"""Hostile peers of an answered call: floods of requests, refused requests, and ends of the call
that never end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.protocols.sip.leg_requests import MAX_REQUESTS
from bench.protocols.sip.messages import SipRequest
from tests.attack.cases import by_name, hostile_cases, plain
from tests.transport.sip.hostile_check import TABLE, header
from tests.transport.sip.hostile_line import LOOPBACK, Behaviour, HostilePeer

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


def sends(make: Callable[[HostilePeer], bytes], times: int = 1, *, ends: bool = False) -> Behaviour:
    """Return the behaviour that sends messages. They end the call, or the call answers a request
    after them.
    """

    def behave(peer: HostilePeer) -> None:
        peer.answer()
        for _ in range(times):
            peer.send(make(peer))
        if not ends:
            peer.synchronize()

    return behave


def raw(data: str, times: int = 1) -> Behaviour:
    return sends(lambda _: data.encode("latin-1"), times)


def each_byte(times: int) -> Behaviour:
    return sends(lambda _: bytes(range(256)), times)


def requests(
    method: str,
    *headers: str,
    times: int = 1,
    ends: bool = False,
    is_late: bool = False,
    is_of_invite: bool = False,
    **options: Any,
) -> Behaviour:
    """Return the behaviour that sends requests: of the transaction of INVITE, or after another
    request, if they are.
    """

    def make(peer: HostilePeer) -> bytes:
        if is_late:
            peer.synchronize()
        branch = peer.invite.via.branch if is_of_invite else ""
        return peer.request(method, *map(header, headers), branch=branch, **options)

    return sends(make, times, ends=ends)


def responds(code: int, times: int = 1, branch: str = "z9hG4bK", tag: str = "bad") -> Behaviour:
    return sends(
        lambda peer: peer.response(code, tag=tag).replace(b"z9hG4bK", branch.encode(), 1), times
    )


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


def answers_bye(code: int, *headers: str) -> Behaviour:
    def behave(peer: HostilePeer) -> None:
        peer.answer()
        while True:
            peer.send(peer.response(code, *map(header, headers), to=hang_up_of(peer)))

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


VERBS = by_name(asks, offers, raw, each_byte, requests, responds, with_via, answers_bye) | plain(
    more_requests_than_a_call_answers,
    too_many_requests_and_then_bye,
    invites_without_an_acknowledgement,
    an_invite_without_an_offer_and_a_bad_answer,
    an_answer_of_another_codec_and_then_silence,
    requests_from_another_port,
    bye_when_bye_arrives,
    never_answers_bye,
    closes_its_ports,
)
CASES = hostile_cases(TABLE, "requests", VERBS)
