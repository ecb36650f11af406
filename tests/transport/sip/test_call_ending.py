"""The end of a call: CANCEL, BYE, timeouts and retransmissions (RFC 3261 §9, §15, §17)."""

from __future__ import annotations

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.protocols.sip.call import SipCall
from bench.protocols.sip.call_record import CallState
from bench.protocols.sip.digest import DigestLogin
from bench.protocols.sip.messages import SipRequest, parse_message
from tests.transport.sip.scripted_peer import SOURCE, ScriptedPeer, call_settings, tokens

LOGIN = DigestLogin("alice", "correct horse")
CHALLENGE = ("WWW-Authenticate", 'Digest realm="r", nonce="n1", qop="auth"')


def instants_of(peer: ScriptedPeer, method: str, until_s: float) -> list[float]:
    """Return the seconds at which the call sends a method, if the peer is silent."""
    found = []
    while peer.call.next_ns <= until_s * NS_PER_S:
        before = len(peer.outgoing)
        peer.wait(peer.call.next_ns)
        sent = [parse_message(message.data) for message in peer.outgoing[before:]]
        found += [
            peer.now_ns / NS_PER_S
            for each in sent
            if isinstance(each, SipRequest) and each.method == method
        ]
    return found


def test_an_invite_without_a_response_is_repeated_until_timer_b_ends_the_call() -> None:
    peer = ScriptedPeer()

    assert instants_of(peer, "INVITE", 100) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert peer.now_ns == 32 * NS_PER_S
    assert peer.call.ending is not None
    assert (peer.call.ending.by, peer.call.ending.code) == ("timeout", None)
    assert peer.call.is_confirmed


def test_a_call_that_rings_for_too_long_is_cancelled() -> None:
    peer = ScriptedPeer(ring_timeout_ns=20 * NS_PER_S)
    peer.respond(180)
    peer.wait_s(30)
    assert "CANCEL" in peer.take()

    peer.respond(487)
    assert peer.call.ending is not None
    assert (peer.call.ending.by, peer.call.ending.code) == ("timeout", 487)


def test_a_cancel_waits_for_the_first_provisional_response() -> None:
    peer = ScriptedPeer()
    peer.hang_up()
    assert peer.take() == ["INVITE"]

    peer.respond(100)
    assert peer.take() == ["CANCEL"]
    peer.respond(180)
    assert peer.take() == []


def test_a_2xx_that_crosses_the_cancel_is_acknowledged_and_hung_up() -> None:
    peer = ScriptedPeer()
    peer.respond(180)
    peer.hang_up()
    peer.take()
    peer.answer()

    assert peer.take() == ["ACK", "BYE"]
    peer.respond(200, to=peer.last("CANCEL"))
    peer.respond(200, to=peer.last("BYE"))
    assert peer.call.ending is not None
    assert peer.call.ending.by == "caller"


def test_a_bye_may_be_challenged() -> None:
    peer = ScriptedPeer(login=LOGIN, address=SOURCE.host).answered()
    peer.hang_up()
    peer.respond(401, CHALLENGE, to=peer.last("BYE"))

    assert peer.take() == ["BYE", "BYE"]
    assert 'nonce="n1"' in peer.last("BYE").first("Authorization")
    peer.respond(401, CHALLENGE, to=peer.last("BYE"))
    assert peer.call.state is CallState.ENDED


def test_a_call_that_was_hung_up_before_its_start_ends_without_a_message() -> None:
    call = SipCall(call_settings(), tokens())
    call.hang_up(5)

    assert call.pop_messages() == []
    assert call.state is CallState.ENDED


def test_after_a_provisional_response_a_bye_is_repeated_every_4_seconds() -> None:
    peer = ScriptedPeer().answered()
    peer.now_ns = 999 * NS_PER_MS
    peer.hang_up()
    peer.respond(100, to=peer.last("BYE"))

    assert instants_of(peer, "BYE", 14) == [1.5, 5.5, 9.5, 13.5]


def test_while_this_side_hangs_up_other_requests_are_refused() -> None:
    peer = ScriptedPeer().answered()
    peer.hang_up()
    peer.request("OPTIONS")

    assert peer.take() == ["BYE", "481"]


def test_a_reinvite_that_only_rang_needs_no_response_after_the_end_of_the_call() -> None:
    peer = ScriptedPeer(session_interval_s=90)
    peer.answer(("Session-Expires", "90;refresher=uac"))
    peer.wait_s(45)
    assert peer.take()[-1] == "INVITE"
    peer.respond(180)
    peer.request("BYE")

    assert peer.call.is_confirmed
