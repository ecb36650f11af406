"""The destinations of a call: redirections, proxies, recorded routes and several answers (RFC
3261 §8.1.3.4, §12.2).
"""

from __future__ import annotations

from bench.protocols.sip.call_record import CallState
from bench.protocols.sip.digest import DigestLogin
from bench.wire.addresses import HostPort
from tests.transport.sip.scripted_peer import ANSWER, PEER_CONTACT, ScriptedPeer

LOGIN = DigestLogin("alice", "correct horse")
CHALLENGE = ("WWW-Authenticate", 'Digest realm="r", nonce="n1", qop="auth"')


def test_more_than_five_redirections_end_the_call() -> None:
    peer = ScriptedPeer()
    for number in range(6):
        peer.respond(302, ("Contact", f"<sip:bob{number}@biloxi.example>"))

    assert peer.call.invites == 6
    assert peer.call.ending is not None
    assert peer.call.ending.cause == "the call was redirected more than 5 times"


def test_a_host_that_a_redirection_names_gets_no_credentials() -> None:
    peer = ScriptedPeer(login=LOGIN, call_hosts=(HostPort("other.example"),))
    peer.respond(401, CHALLENGE)
    peer.respond(302, ("Contact", "<sip:bob@other.example>"))
    assert peer.last("INVITE").first("Authorization") == ""

    peer.respond(401, CHALLENGE)
    assert peer.call.ending is not None
    assert (
        "redirected to other.example:5060, which gets no headers and no credentials"
        in peer.call.ending.cause
    )


def test_a_strict_router_gets_its_uri_as_request_uri() -> None:
    peer = ScriptedPeer()
    peer.answer(("Record-Route", "<sip:p2.example;lr>, <sip:strict.example>"))

    ack = peer.last("ACK")
    assert ack.uri == "sip:strict.example"
    assert ack.entries("Route") == ("<sip:p2.example;lr>", f"<{PEER_CONTACT}>")


def test_an_invalid_recorded_route_and_contact_are_replaced_by_the_called_uri() -> None:
    peer = ScriptedPeer()
    invite = peer.last("INVITE")
    peer.respond(
        200, ("Record-Route", "<http://p>"), ("Contact", "<nothing>"), to=invite, body=ANSWER
    )

    assert peer.last("ACK").uri == "sip:bob@biloxi.example"


def test_more_answers_than_the_limit_are_counted() -> None:
    peer = ScriptedPeer()
    for number in range(12):
        peer.answer(tag=f"fork{number}")

    sent = peer.take()
    assert (sent.count("ACK"), sent.count("BYE")) == (10, 9)
    assert peer.call.dropped == {"forks": 2}


def test_an_answer_takes_the_place_of_an_early_dialog_if_there_are_too_many() -> None:
    peer = ScriptedPeer()
    for number in range(12):
        peer.respond(180, tag=f"ringing{number}")
    peer.answer(tag="late")

    assert peer.call.state is CallState.ANSWERED
    assert peer.last("ACK").callee.tag == "late"


def test_a_redirection_never_leads_from_sips_to_sip() -> None:
    peer = ScriptedPeer(request_uri="sips:bob@biloxi.example", transport="TLS")
    assert peer.last("INVITE").first("Contact").startswith("<sips:")
    peer.respond(302, ("Contact", "<sip:bob@c.example>"))

    assert peer.call.ending is not None
    assert peer.call.ending.cause == "the redirection leads from sips to sip"
