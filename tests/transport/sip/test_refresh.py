"""Refreshes of a session (RFC 4028), and INVITE and UPDATE of this side that the peer refuses
(RFC 3261 §14.1).
"""

from __future__ import annotations

import pytest

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.protocols.sip.call_record import CallState
from tests.transport.sip.scripted_peer import ANSWER, ScriptedPeer

FORGOTTEN = "the peer no longer knows the call"
NOT_REFRESHED = "the session was not refreshed in time"
UNANSWERED = "the peer did not answer a request in the call"

HOLD = ANSWER.replace(b"m=audio 50000", b"m=audio 50010") + b"a=sendonly\n"


def check_ended(peer: ScriptedPeer, code: int, cause: str) -> None:
    """Answer the caller's BYE, and assert that the caller ended the call for this cause."""
    peer.respond(code, to=peer.last("BYE"))
    assert peer.call.ending is not None
    assert (peer.call.ending.by, peer.call.ending.cause) == ("caller", cause)


# Session timer (RFC 4028)


def test_the_caller_refreshes_the_session_with_update_if_the_peer_allows_it() -> None:
    peer = ScriptedPeer(session_interval_s=100).answered(
        ("Session-Expires", "100;refresher=uac"), ("Allow", "INVITE, UPDATE, BYE")
    )
    peer.wait_s(50.2)
    assert peer.take() == ["UPDATE"]

    peer.respond(200, ("Session-Expires", "100;refresher=uac"), to=peer.last("UPDATE"))
    peer.wait_s(50.2)
    assert peer.take() == ["UPDATE"]


def test_a_session_timer_before_the_answer_is_never_due() -> None:
    """It would be due again and again, because only an answered call has a session to refresh."""
    peer = ScriptedPeer(ring_timeout_ns=1_000 * NS_PER_S)
    peer.respond(183)
    peer.request("UPDATE", ("Session-Expires", "90"))
    peer.now_ns += 50 * NS_PER_S
    peer.call.expire(peer.now_ns)

    assert peer.call.next_ns > peer.now_ns


def test_without_update_the_caller_refreshes_the_session_with_the_same_offer() -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "100;refresher=uac"))
    first, media = peer.last("INVITE").body, peer.call.media
    peer.wait_s(50.2)

    assert peer.take() == ["INVITE"]
    assert peer.last("INVITE").body == first
    peer.answer(("Session-Expires", "100;refresher=uac"))
    assert peer.take() == ["ACK"]
    assert peer.call.media is media


def test_a_session_that_the_peer_does_not_refresh_is_hung_up() -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "90;refresher=uas"))
    peer.wait_s(59)
    assert peer.take() == []
    peer.wait_s(1.2)

    assert peer.take() == ["BYE"]
    check_ended(peer, 200, NOT_REFRESHED)


def test_a_refresh_of_the_peer_extends_the_session() -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "90;refresher=uas"))
    peer.wait_s(45)
    peer.request("UPDATE", ("Session-Expires", "90;refresher=uac"), ("Supported", "timer"))
    response = peer.last_response
    assert response.first("Session-Expires") == "90;refresher=uac"
    assert response.first("Require") == "timer"
    peer.wait_s(45)

    assert peer.take() == ["200"]
    peer.wait_s(15.2)
    assert peer.take() == ["BYE"]


@pytest.mark.parametrize(
    ("code", "cause"), [(481, FORGOTTEN), (408, FORGOTTEN), (None, UNANSWERED)]
)
def test_a_refresh_that_the_peer_does_not_know_ends_the_call(code: int | None, cause: str) -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "1000;refresher=uac"))
    peer.wait_s(501)
    if code is None:
        peer.wait_s(33)
    else:
        peer.respond(code)

    assert peer.take()[-1] == "BYE"
    check_ended(peer, 481, cause)


# Glare (RFC 3261 §14.1)


def test_after_491_the_caller_waits_between_2_1_and_4_seconds() -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "100;refresher=uac"))
    peer.wait_s(50.2)
    peer.request("INVITE", body=HOLD, cseq=300, branch="glare")
    peer.request("ACK", cseq=300, branch="glare")
    assert peer.take() == ["INVITE", "491"]

    peer.respond(491)
    start_ns = peer.now_ns
    peer.wait(start_ns + 2_099 * NS_PER_MS)
    assert peer.take() == ["ACK"]
    peer.wait(start_ns + 4 * NS_PER_S)
    assert peer.take()[0] == "INVITE"


def test_glare_is_not_repeated_for_ever() -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "1000;refresher=uac"))
    peer.wait_s(501)
    invites = 0
    while peer.take()[-1:] == ["INVITE"]:
        invites += 1
        peer.respond(491)
        peer.wait_s(4)

    assert invites == 9
    assert peer.call.state is CallState.ANSWERED


def test_a_refresh_that_is_answered_without_audio_ends_the_call() -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "100;refresher=uac"))
    peer.wait_s(50.2)
    peer.answer(body=ANSWER.replace(b"50000", b"0"))

    assert peer.take() == ["INVITE", "ACK", "BYE"]
    check_ended(peer, 200, "the peer refuses the audio")


def test_a_refresh_that_is_answered_without_a_description_changes_nothing() -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "100;refresher=uac"))
    media = peer.call.media
    peer.wait_s(50.2)
    peer.answer(body=b"")

    assert peer.take() == ["INVITE", "ACK"]
    assert (peer.call.state, peer.call.media) == (CallState.ANSWERED, media)


def test_a_refresh_with_an_interval_that_is_too_small_is_repeated_with_a_larger_one() -> None:
    peer = ScriptedPeer(session_interval_s=90).answered(
        ("Session-Expires", "90;refresher=uac"), ("Allow", "UPDATE")
    )
    peer.wait_s(45.2)
    peer.respond(422, ("Min-SE", "400"), to=peer.last("UPDATE"))

    assert peer.take() == ["UPDATE", "UPDATE"]
    assert peer.last("UPDATE").first("Session-Expires") == "400"


def test_a_refresh_that_is_refused_leaves_the_call_until_it_expires() -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "90;refresher=uac"))
    peer.wait_s(45.2)
    peer.respond(488)
    assert peer.call.state is CallState.ANSWERED

    peer.wait_s(15)
    assert peer.take()[-1] == "BYE"


def test_a_refresh_that_is_due_during_another_request_is_sent_later() -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "100;refresher=uac"))
    leg = peer.call._answered
    assert leg is not None
    peer.wait_s(49)
    assert leg.send_update(peer.now_ns, "sendonly")
    assert not leg.send_update(peer.now_ns)
    peer.wait_s(2)
    peer.respond(488, to=peer.last("UPDATE"))
    assert "INVITE" not in peer.take()
    peer.wait_s(0.1)

    assert peer.take() == ["INVITE"]
