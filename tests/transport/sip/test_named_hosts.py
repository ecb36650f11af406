"""The hosts of a call: headers and credentials reach only the hop that the user names."""

from __future__ import annotations

import pytest

from bench.protocols.sip.call_record import CallState
from bench.protocols.sip.digest import DigestLogin
from bench.protocols.sip.leg import MAX_ADDRESSES
from bench.protocols.sip.messages import SipRequest
from bench.wire.addresses import HostPort, is_loopback
from tests.transport.sip.scripted_peer import ANSWER, ScriptedPeer

LOGIN = DigestLogin("alice", "correct horse")
TOKEN = ("X-Token", "secret token")
DIGEST = 'Digest realm="r", nonce="n1", qop="auth"'
CHALLENGES = {401: ("WWW-Authenticate", DIGEST), 407: ("Proxy-Authenticate", DIGEST)}
AGENT = "sip:agent@127.0.0.1:5080"
LOCAL_ANSWER = ANSWER.replace(b"192.0.2.4", b"127.0.0.1")
SECRETS = (b"secret token", b"uthorization:")


def local_peer(**changes: object) -> ScriptedPeer:
    settings = {
        "request_uri": AGENT,
        "address": "127.0.0.1",
        "is_own": is_loopback,
        "login": LOGIN,
        "headers": (TOKEN,),
    }
    return ScriptedPeer(**(settings | changes))


def hops(peer: ScriptedPeer) -> set[tuple[str, int | None, str]]:
    """Return the host, the port and the transport of each message of the call."""
    return {(*message.hop, message.transport) for message in peer.outgoing}


def elsewhere(peer: ScriptedPeer) -> list[bytes]:
    """Return the messages that went to another hop than the named one."""
    return [
        each.data
        for each in peer.outgoing
        if (*each.hop, each.transport) != ("127.0.0.1", 5080, "UDP")
    ]


def assert_no_secret(messages: list[bytes]) -> None:
    assert not any(secret in data for data in messages for secret in SECRETS)


FOREIGN = [
    "<sip:x@10.9.9.77:5080>",
    "<sip:x@127.0.0.2:5080>",
    "<sip:x@127.0.0.1:5081>",
    "<sip:x@127.0.0.1>",
    "<sip:x@127.0.0.1:5080;maddr=127.0.0.2>",
    "<sip:x@127.0.0.1:5080;%6daddr=10.9.9.77>",
    "<sip:127.0.0.1:5080@evil.example>",
    "<sip:127.0.0.1%3A5080@evil.example>",
    "<sip:x@127.0.0.1.evil.example:5080>",
    "<sip:x@2130706433:5080>",
    "<sip:x@[::1]:5080>",
    "<sip:x@[::ffff:127.0.0.1]:5080>",
    "<sip:x@localhost:5080>",
    "<sips:x@evil.example>",
    "<sip:x@evil.example;transport=tcp>",
    "sip:x@evil.example",
    '"127.0.0.1" <sip:x@evil.example>;q=0.5, <tel:+15550100>;q=1',
]


@pytest.mark.parametrize("contact", FOREIGN)
def test_a_redirection_to_a_host_that_the_user_does_not_name_is_refused(contact: str) -> None:
    for code in (300, 302, 305, 380):
        peer = local_peer()
        peer.respond(code, ("Contact", contact))

        assert peer.take() == ["INVITE", "ACK"]
        assert hops(peer) == {("127.0.0.1", 5080, "UDP")}
        ending = peer.call.ending
        assert ending is not None
        assert ending.code == code
        assert "the call was redirected to " in ending.cause or "no valid Contact" in ending.cause


@pytest.mark.parametrize(
    "contact", ["<sip:new@127.0.0.1:5080>", "<sip:new@127.0.0.1:5080;lr?Diversion=%3Csip%3Aa%3E>"]
)
def test_a_redirection_to_the_named_hop_is_followed_with_all_headers(contact: str) -> None:
    peer = local_peer()
    peer.respond(302, ("Contact", contact))

    invite = peer.last("INVITE")
    assert invite.uri == contact.strip("<>").partition("?")[0]
    assert invite.first("X-Token") == TOKEN[1]
    assert invite.first("Diversion") == ""


@pytest.mark.parametrize("code", [401, 407])
def test_a_permitted_host_gets_neither_headers_nor_credentials_in_any_request(code: int) -> None:
    peer = local_peer(call_hosts=(HostPort("10.9.9.77", 5070),))
    peer.respond(401, CHALLENGES[401])
    peer.respond(302, ("Contact", "<sip:x@10.9.9.77:5070>"))
    invite = peer.last("INVITE")
    assert peer.outgoing[-1].hop == HostPort("10.9.9.77", 5070)
    peer.respond(180, to=invite)
    peer.respond(200, ("Contact", "<sip:x@10.9.9.77:5070>"), to=invite, body=LOCAL_ANSWER)
    peer.hang_up()
    peer.respond(code, CHALLENGES[code], to=peer.last("BYE"))

    assert [data.split()[0] for data in elsewhere(peer)] == [b"INVITE", b"ACK", b"BYE"]
    assert_no_secret(elsewhere(peer))


def test_a_redirection_through_the_proxy_withholds_headers_and_credentials_too() -> None:
    peer = local_peer(
        outbound_proxy="sip:127.0.0.1:5080;lr", call_hosts=(HostPort("other.example"),)
    )
    before = len(peer.outgoing)
    peer.respond(302, ("Contact", "<sip:x@other.example>"))
    assert peer.last("INVITE").uri == "sip:x@other.example"
    peer.respond(407, CHALLENGES[407])

    assert hops(peer) == {("127.0.0.1", 5080, "UDP")}
    assert_no_secret([each.data for each in peer.outgoing[before:]])
    assert peer.call.ending is not None
    assert "gets no headers and no credentials" in peer.call.ending.cause


@pytest.mark.parametrize(
    "header",
    [
        ("Contact", "<sip:x@127.0.0.2:5080>"),
        ("Contact", "<sip:x@127.0.0.1:5081>"),
        ("Contact", "<sip:x@127.0.0.1:5080;transport=tcp>"),
        ("Contact", "<sip:x@127.0.0.1:5080;maddr=127.0.0.3>"),
        ("Record-Route", "<sip:127.0.0.2:5080;lr>"),
        ("Record-Route", "<sip:127.0.0.2:5080>"),
    ],
)
@pytest.mark.parametrize("code", [401, 407])
def test_a_hop_of_the_dialog_that_the_user_does_not_name_gets_no_credentials(
    header: tuple[str, str], code: int
) -> None:
    peer = local_peer(session_interval_s=90)
    peer.respond(401, CHALLENGES[401])
    contact = [] if header[0] == "Contact" else [("Contact", "<sip:x@127.0.0.1:5080>")]
    peer.respond(200, header, *contact, ("Session-Expires", "90;refresher=uac"), body=LOCAL_ANSWER)
    peer.wait_s(50)  # a refresh by INVITE
    peer.respond(code, CHALLENGES[code], to=peer.last("INVITE"))
    peer.hang_up()
    peer.respond(code, CHALLENGES[code], to=peer.last("BYE"))

    methods = [data.split()[0] for data in elsewhere(peer)]
    assert methods[0] == b"ACK"
    assert methods.count(b"BYE") == 1
    assert_no_secret(elsewhere(peer))


def test_the_named_hop_answers_challenges_in_the_dialog_although_its_contact_is_elsewhere() -> None:
    peer = local_peer()
    peer.respond(
        200,
        ("Record-Route", "<sip:127.0.0.1:5080;lr>"),
        ("Contact", "<sip:x@127.0.0.9>"),
        body=LOCAL_ANSWER,
    )
    peer.hang_up()
    peer.respond(407, CHALLENGES[407], to=peer.last("BYE"))

    assert peer.outgoing[-1].hop == HostPort("127.0.0.1", 5080)
    assert "Digest" in peer.last("BYE").first("Proxy-Authorization")


@pytest.mark.parametrize(
    "header", [("Contact", "<sip:x@10.9.9.77>"), ("Record-Route", "<sip:evil.example;lr>")]
)
def test_a_call_to_this_machine_sends_no_request_to_another_machine(
    header: tuple[str, str],
) -> None:
    peer = local_peer()
    peer.respond(200, header, body=LOCAL_ANSWER)

    assert peer.take() == ["INVITE", "ACK", "BYE"]
    assert hops(peer) == {("127.0.0.1", 5080, "UDP")}
    assert "for its requests, but the called host is on this machine" in peer.call.media_problem


def test_a_call_over_tls_sends_nothing_over_a_weaker_transport() -> None:
    peer = ScriptedPeer(
        request_uri="sip:bob@biloxi.example;transport=tls", transport="TLS", headers=(TOKEN,)
    )
    peer.respond(200, ("Contact", "<sip:bob@biloxi.example;transport=tcp>"), body=ANSWER)
    peer.request("OPTIONS")
    peer.hang_up()
    assert {message.transport for message in peer.outgoing} == {"TLS"}

    peer = ScriptedPeer(
        request_uri="sip:bob@biloxi.example;transport=tls", transport="TLS", headers=(TOKEN,)
    )
    peer.respond(302, ("Contact", "<sip:bob@biloxi.example:5061;transport=udp>"))
    assert peer.call.ending is not None
    assert (
        peer.call.ending.cause
        == "the redirection leads from TLS to a transport that does not encrypt"
    )


@pytest.mark.parametrize(
    "body",
    [
        LOCAL_ANSWER.replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 10.9.9.77"),
        LOCAL_ANSWER + b"a=rtcp:53 IN IP4 10.9.9.53\r\n",
    ],
)
def test_a_call_to_this_machine_sends_no_audio_to_another_machine(body: bytes) -> None:
    peer = local_peer()
    peer.respond(200, ("Contact", "<sip:x@127.0.0.1:5080>"), body=body)
    assert peer.call.media is None
    assert "for its audio, but the called host is on this machine" in peer.call.media_problem

    peer = local_peer()
    peer.respond(200, ("Contact", "<sip:x@127.0.0.1:5080>"), body=LOCAL_ANSWER)
    agreed = peer.call.media
    peer.take()
    peer.request("UPDATE", body=body)
    peer.request("INVITE", body=body)
    assert peer.take() == ["488", "488"]
    assert peer.call.media is agreed

    permitted = local_peer(call_hosts=(HostPort("10.9.9.77", 5070), HostPort("10.9.9.53")))
    permitted.respond(200, ("Contact", "<sip:x@127.0.0.1:5080>"), body=body)
    assert permitted.call.media is not None


def test_the_audio_of_a_call_moves_to_no_more_addresses_than_the_limit() -> None:
    peer = ScriptedPeer()
    peer.answer()
    codes = []
    for number in range(20):
        peer.take()
        peer.request(
            "UPDATE", body=ANSWER.replace(b"audio 50000", b"audio %d" % (50_002 + 2 * number))
        )
        codes += peer.take()

    assert codes == ["200"] * (MAX_ADDRESSES // 2 - 1) + ["488"] * (21 - MAX_ADDRESSES // 2)
    assert peer.call.state is CallState.ANSWERED
    peer.request("UPDATE", body=ANSWER)
    assert peer.take() == ["200"]


def test_cancel_and_the_ack_of_a_refusal_have_no_headers_of_the_target() -> None:
    peer = local_peer()
    peer.respond(401, CHALLENGES[401])
    peer.respond(180)
    peer.hang_up()
    cancel, ack = peer.last("CANCEL"), peer.last("ACK")

    assert isinstance(cancel, SipRequest)
    for request in (cancel, ack):
        assert request.first("X-Token") == request.first("Authorization") == ""
