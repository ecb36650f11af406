"""The end of a call: CANCEL, BYE, timeouts and retransmissions (RFC 3261 §9, §15, §17)."""

from __future__ import annotations

import pytest

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.catalogue.outcomes import NOT_REFRESHED
from bench.transport.sip.call import SipCall
from bench.transport.sip.call_record import CallState
from bench.transport.sip.digest import DigestLogin
from bench.transport.sip.messages import SipRequest, parse_message
from tests.transport.sip.scripted_peer import ANSWER, SOURCE, ScriptedPeer, call_settings, tokens

LOGIN = DigestLogin("alice", "correct horse")
CHALLENGE = ("WWW-Authenticate", 'Digest realm="r", nonce="n1", qop="auth"')


def instants_of(peer: ScriptedPeer, method: str, until_s: float) -> list[float]:
    """Return the seconds at which the call sends a method, if the peer is silent."""
    found = []
    while peer.call.next_ns <= until_s * NS_PER_S:
        before = len(peer.outgoing)
        peer.wait(peer.call.next_ns)
        sent = [parse_message(message.data) for message in peer.outgoing[before:]]
        found += [peer.now_ns / NS_PER_S for each in sent if isinstance(each, SipRequest) and each.method == method]
    return found


def test_an_invite_without_a_response_is_repeated_until_timer_b_ends_the_call() -> None:
    peer = ScriptedPeer()

    assert instants_of(peer, "INVITE", 100) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert peer.now_ns == 32 * NS_PER_S
    assert peer.call.ending is not None
    assert (peer.call.ending.by, peer.call.ending.code) == ("timeout", None)
    assert peer.call.is_confirmed


def test_over_tcp_an_invite_without_a_response_times_out_too() -> None:
    peer = ScriptedPeer(transport="TCP")

    assert instants_of(peer, "INVITE", 100) == []
    assert peer.now_ns == 32 * NS_PER_S
    assert peer.call.state is CallState.ENDED


def test_a_provisional_response_stops_the_repetition() -> None:
    peer = ScriptedPeer()
    peer.respond(100)

    assert instants_of(peer, "INVITE", 100) == []


def test_a_call_that_rings_for_too_long_is_cancelled() -> None:
    peer = ScriptedPeer(ring_timeout_ns=20 * NS_PER_S)
    peer.respond(180)
    peer.wait_s(30)
    assert "CANCEL" in peer.take()

    peer.respond(487)
    assert peer.call.ending is not None
    assert (peer.call.ending.by, peer.call.ending.code) == ("timeout", 487)


def test_a_bye_without_a_response_is_repeated_until_timer_f_ends_the_call() -> None:
    peer = ScriptedPeer().answered()
    peer.now_ns = 999 * NS_PER_MS
    peer.hang_up()

    expected = [1.5, 2.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5, 32.5]
    assert instants_of(peer, "BYE", 100) == expected
    assert peer.call.ending is not None
    assert peer.call.ending.by == "caller"
    assert peer.call.ended_ns == 33 * NS_PER_S


def test_a_cancel_belongs_to_the_transaction_of_the_invite() -> None:
    peer = ScriptedPeer(outbound_proxy="sip:proxy.example;lr")
    peer.respond(180)
    peer.hang_up()
    invite, cancel = peer.last("INVITE"), peer.last("CANCEL")

    assert peer.take() == ["INVITE", "CANCEL"]
    assert (cancel.uri, cancel.via.branch, cancel.cseq) == (invite.uri, invite.via.branch, invite.cseq)
    assert (cancel.callee.tag, cancel.entries("Route")) == ("", invite.entries("Route"))
    peer.respond(200, to=cancel)
    assert peer.call.state is CallState.ENDING
    peer.respond(487)
    assert peer.take() == ["ACK"]
    assert peer.call.ending is not None
    assert (peer.call.ending.by, peer.call.ending.code) == ("caller", 487)


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


def test_a_cancelled_call_does_not_follow_a_redirection() -> None:
    peer = ScriptedPeer()
    peer.respond(180)
    peer.hang_up()
    peer.respond(302, ("Contact", "<sip:c@d.example>"))

    assert peer.call.state is CallState.ENDED
    assert peer.take().count("INVITE") == 1


def test_without_a_final_response_a_cancelled_call_ends_after_64_t1() -> None:
    peer = ScriptedPeer()
    peer.respond(180)
    peer.hang_up()
    peer.respond(200, to=peer.last("CANCEL"))
    start_ns = peer.now_ns
    peer.wait_s(40)

    assert peer.call.ended_ns == start_ns - NS_PER_MS + 32 * NS_PER_S
    peer.answer()  # the 2xx is late, and the peer must not stay in a call
    assert peer.take()[-2:] == ["ACK", "BYE"]
    peer.wait_s(200)
    assert peer.call.next_ns == NEVER_NS


def test_a_bye_of_the_peer_is_answered_and_ends_the_call() -> None:
    peer = ScriptedPeer().answered()
    peer.request("BYE", ("Reason", 'SIP;cause=200;text="done"'))

    assert peer.take() == ["200"]
    assert peer.call.ending is not None
    assert (peer.call.ending.by, peer.call.ending.reason) == ("peer", 'SIP;cause=200;text="done"')
    peer.request("BYE", cseq=101, branch="peer101BYE")
    assert peer.take() == ["200"]


def test_two_byes_that_cross_are_both_answered() -> None:
    peer = ScriptedPeer().answered()
    peer.hang_up()
    peer.request("BYE")

    assert peer.take() == ["BYE", "200"]
    peer.respond(481, to=peer.last("BYE"))
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


def test_a_failed_transport_ends_the_call() -> None:
    peer = ScriptedPeer().answered()
    peer.call.transport_failed(7, "the peer closed the SIP connection")

    assert peer.call.ending is not None
    assert peer.call.ending.by == "transport"


def test_a_transport_that_fails_after_this_side_hung_up_is_not_the_cause_of_the_end() -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "90;refresher=uas"))
    peer.wait_s(60.2)
    assert peer.take() == ["BYE"]
    assert peer.call.hang_up_cause == NOT_REFRESHED
    peer.call.transport_failed(peer.now_ns, "the peer closed the SIP connection")

    assert peer.call.ending is not None
    assert (peer.call.ending.by, peer.call.ending.cause) == ("caller", NOT_REFRESHED)


@pytest.mark.parametrize("code", [408, 481])
def test_a_repeated_final_response_does_not_change_the_ending(code: int) -> None:
    peer = ScriptedPeer()
    peer.respond(code)
    ending = peer.call.ending
    peer.respond(code)
    peer.answer(body=ANSWER)

    assert peer.call.ending == ending
    assert peer.call.state is CallState.ENDED


def test_hanging_up_twice_sends_one_bye() -> None:
    peer = ScriptedPeer().answered()
    peer.hang_up()
    peer.hang_up()

    assert peer.take() == ["BYE"]


def test_a_provisional_response_to_bye_does_not_end_the_call() -> None:
    peer = ScriptedPeer().answered()
    peer.hang_up()
    peer.respond(100, to=peer.last("BYE"))
    assert peer.call.state is CallState.ENDING

    peer.wait_s(33)
    assert peer.call.state is CallState.ENDED


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


def test_after_a_failed_transport_nothing_is_sent() -> None:
    peer = ScriptedPeer().answered()
    peer.hang_up()
    peer.call.transport_failed(peer.now_ns, "the peer closed the SIP connection")

    assert peer.call.is_confirmed
    assert peer.call.pop_messages() == []


def test_a_reinvite_that_only_rang_needs_no_response_after_the_end_of_the_call() -> None:
    peer = ScriptedPeer(session_interval_s=90)
    peer.answer(("Session-Expires", "90;refresher=uac"))
    peer.wait_s(45)
    assert peer.take()[-1] == "INVITE"
    peer.respond(180)
    peer.request("BYE")

    assert peer.call.is_confirmed
