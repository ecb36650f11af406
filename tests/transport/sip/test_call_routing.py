"""The destinations of a call: redirections, proxies, recorded routes and several answers (RFC 3261 §8.1.3.4, §12.2)."""

from __future__ import annotations

import pytest

from bench.transport.interface import HostPort
from bench.transport.sip.call_record import CallState
from bench.transport.sip.digest import DigestLogin
from tests.transport.sip.scripted_peer import ANSWER, PEER_CONTACT, ScriptedPeer

LOGIN = DigestLogin("alice", "correct horse")
CHALLENGE = ("WWW-Authenticate", 'Digest realm="r", nonce="n1", qop="auth"')


def test_a_redirection_is_followed_to_the_contact_with_the_highest_q() -> None:
    peer = ScriptedPeer(call_hosts=(HostPort("c.example"), HostPort("d.example", 5080)))
    peer.respond(302, ("Contact", '"B, b" <sip:low@c.example>;q=0.1, <sip:high@d.example:5080;transport=tcp>;q=0.9'))

    assert peer.take() == ["INVITE", "ACK", "INVITE"]
    assert peer.last("INVITE").uri == "sip:high@d.example:5080;transport=tcp"
    assert peer.outgoing[-1][1:] == (HostPort("d.example", 5080), "TCP")
    assert peer.last("INVITE").callee.uri == "sip:bob@biloxi.example"


def test_a_loop_of_redirections_ends_the_call() -> None:
    peer = ScriptedPeer(call_hosts=(HostPort("c.example"),))
    peer.respond(302, ("Contact", "<sip:bob@c.example>"))
    peer.respond(302, ("Contact", "<sip:bob@BILOXI.example.:5060>"))

    assert peer.call.ending is not None
    assert (peer.call.ending.code, peer.call.ending.cause) == (302, "the redirection is a loop")


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
    assert "redirected to other.example:5060, which gets no headers and no credentials" in peer.call.ending.cause


@pytest.mark.parametrize(
    ("proxy", "uri", "routes"),
    [
        ("sip:proxy.example;lr", "sip:bob@biloxi.example", ("<sip:proxy.example;lr>",)),
        ("sip:proxy.example", "sip:proxy.example", ("<sip:bob@biloxi.example>",)),
    ],
)
def test_an_outbound_proxy_gets_the_invite(proxy: str, uri: str, routes: tuple[str, ...]) -> None:
    peer = ScriptedPeer(outbound_proxy=proxy)
    invite = peer.last("INVITE")

    assert (invite.uri, invite.entries("Route")) == (uri, routes)
    assert peer.outgoing[0].to == HostPort("proxy.example")


@pytest.mark.parametrize(
    ("host", "hop"),
    [
        ("edge1:5060", HostPort("edge1", 5060)),
        ("pbx_1", HostPort("pbx_1")),
        ("e5f3a9c81b2d", HostPort("e5f3a9c81b2d")),
        ("my_edge.internal.", HostPort("my_edge.internal.")),
        ("[2001:db8::7%25eth0]:5070", HostPort("[2001:db8::7]", 5070)),
        ("b\u00fccher.example", HostPort("xn--bcher-kva.example")),
    ],
)
def test_requests_follow_each_host_name_that_is_used_in_practice(host: str, hop: HostPort) -> None:
    recorded, direct = ScriptedPeer(), ScriptedPeer()
    recorded.answer(("Record-Route", f"<sip:m\u00fcller@{host};lr;x=;self=1>"))
    direct.respond(200, ("Contact", f"<sip:*72#@{host}>"), body=ANSWER)
    for peer in (recorded, direct):
        peer.hang_up()
        assert peer.take() == ["INVITE", "ACK", "BYE"]
        assert [message.to for message in peer.outgoing[1:]] == [hop, hop]

    assert recorded.last("ACK").entries("Route") == (f"<sip:m\u00fcller@{host};lr;x=;self=1>",)
    assert direct.last("BYE").uri == f"sip:*72#@{host}"


def test_a_redirection_may_lead_to_each_host_name_that_is_used_in_practice() -> None:
    peer = ScriptedPeer(call_hosts=(HostPort("pbx_1"),))
    peer.respond(302, ("Contact", "<sip:#100@pbx_1?Subject=a@b>"))

    assert (peer.last("INVITE").uri, peer.outgoing[-1].to) == ("sip:#100@pbx_1", HostPort("pbx_1"))


def test_requests_in_the_dialog_follow_the_recorded_route_in_reverse() -> None:
    peer = ScriptedPeer()
    recorded = ("Record-Route", "<sip:p2.example:5070;lr>, <sip:p1.example;lr;x=a+b>")
    peer.answer(recorded)
    peer.hang_up()
    bye = peer.last("BYE")

    assert bye.uri == PEER_CONTACT
    assert bye.entries("Route") == ("<sip:p1.example;lr;x=a+b>", "<sip:p2.example:5070;lr>")
    assert peer.outgoing[-1].to == HostPort("p1.example")
    assert peer.last("ACK").entries("Route") == bye.entries("Route")


def test_a_strict_router_gets_its_uri_as_request_uri() -> None:
    peer = ScriptedPeer()
    peer.answer(("Record-Route", "<sip:p2.example;lr>, <sip:strict.example>"))

    ack = peer.last("ACK")
    assert ack.uri == "sip:strict.example"
    assert ack.entries("Route") == ("<sip:p2.example;lr>", f"<{PEER_CONTACT}>")


def test_an_invalid_recorded_route_and_contact_are_replaced_by_the_called_uri() -> None:
    peer = ScriptedPeer()
    invite = peer.last("INVITE")
    peer.respond(200, ("Record-Route", "<http://p>"), ("Contact", "<nothing>"), to=invite, body=ANSWER)

    assert peer.last("ACK").uri == "sip:bob@biloxi.example"


def test_the_first_of_several_answers_has_the_call_and_the_others_are_hung_up() -> None:
    peer = ScriptedPeer()
    peer.respond(180, tag="one")
    peer.respond(180, tag="two")
    peer.answer(tag="two")
    peer.answer(tag="one")

    assert peer.take() == ["INVITE", "ACK", "ACK", "BYE"]
    assert peer.last("BYE").callee.tag == "one"
    peer.respond(200, to=peer.last("BYE"))
    assert peer.call.state is CallState.ANSWERED


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


@pytest.mark.parametrize("contact", ["*", "<mailto:a@b>", "<sip:a@b;maddr=%20>", "<sip:a@b>;q=x", ""])
def test_a_redirection_without_a_valid_contact_ends_the_call(contact: str) -> None:
    peer = ScriptedPeer()
    peer.respond(302, ("Contact", contact))

    assert peer.call.ending is not None
    assert peer.call.ending.cause == "the redirection has no valid Contact"


def test_a_contact_that_prefers_nothing_comes_last() -> None:
    peer = ScriptedPeer(call_hosts=(HostPort("b"),))
    peer.respond(300, ("Contact", "<sip:nan@b>;q=nan, <sip:some@b>;q=0.1, <sip:over@b>;q=7"))

    assert peer.last("INVITE").uri == "sip:some@b"
