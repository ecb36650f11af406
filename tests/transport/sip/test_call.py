"""The beginning of a call: responses to INVITE, credentials, redirections, routes and forks (RFC
3261, RFC 3665).
"""

from __future__ import annotations

import pytest

from bench.protocols.sip.call_record import CallState
from bench.protocols.sip.digest import DigestLogin
from tests.transport.sip.scripted_peer import ScriptedPeer

LOGIN = DigestLogin("alice", "correct horse")
CHALLENGE = (
    "WWW-Authenticate",
    'Digest realm="a, b", nonce="n1", qop="auth,auth-int", algorithm=MD5, opaque="o"',
)


def test_a_phrase_with_a_control_character_is_shown_without_it() -> None:
    peer = ScriptedPeer()
    peer.respond(486, phrase="a\x1b[31m")

    assert peer.call.ending is not None
    assert peer.call.ending.text == "SIP 486 a\\x1b[31m"


def test_texts_of_the_peer_are_short_and_contain_no_control_characters() -> None:
    peer = ScriptedPeer()
    peer.respond(486, ("Reason", "x" * 500), phrase="a\u202eb ::error::" + "y" * 500)

    ending = peer.call.ending
    assert ending is not None
    assert ending.phrase.startswith("a\\u202eb :\\:error::")
    assert len(ending.phrase) < 100
    assert len(ending.reason) < 210


def test_a_second_challenge_means_that_the_password_is_wrong() -> None:
    peer = ScriptedPeer(login=LOGIN)
    peer.respond(401, CHALLENGE)
    peer.respond(401, (CHALLENGE[0], CHALLENGE[1].replace("n1", "n2")))

    assert peer.take() == ["INVITE", "ACK", "INVITE", "ACK"]
    assert peer.call.ending is not None
    assert (
        peer.call.ending.text == "SIP 401 Unauthorized (the peer refused the user or the password)"
    )


def test_a_stale_nonce_is_replaced() -> None:
    peer = ScriptedPeer(login=LOGIN)
    peer.respond(401, CHALLENGE)
    peer.respond(401, (CHALLENGE[0], CHALLENGE[1].replace("n1", "n2") + ", stale=TRUE"))

    assert 'nonce="n2"' in peer.last("INVITE").first("Authorization")
    assert peer.call.state is CallState.CALLING


def test_without_a_login_a_challenge_ends_the_call() -> None:
    peer = ScriptedPeer()
    peer.respond(401, CHALLENGE)

    assert peer.take() == ["INVITE", "ACK"]
    assert peer.call.ending is not None
    assert peer.call.ending.text == "SIP 401 Unauthorized"


def test_the_password_is_in_no_text_of_the_call() -> None:
    peer = ScriptedPeer(login=LOGIN)

    assert "correct horse" not in repr(peer.call.settings)
    assert "alice" not in repr(LOGIN)
    assert not any(b"correct horse" in message.data for message in peer.outgoing)


@pytest.mark.parametrize("interval_s", [None, 90])
def test_a_session_interval_that_is_too_small_is_increased(interval_s: int | None) -> None:
    peer = ScriptedPeer(session_interval_s=interval_s)
    peer.respond(422, ("Min-SE", "300"))

    assert (peer.last("INVITE").first("Session-Expires"), peer.last("INVITE").first("Min-SE")) == (
        "300",
        "300",
    )
    peer.respond(422, ("Min-SE", "200"))
    assert peer.call.ending is not None
    assert peer.call.ending.code == 422


def test_only_an_answered_challenge_is_a_login() -> None:
    """A longer session interval and a redirection make the caller send INVITE again, too."""
    peer = ScriptedPeer(login=LOGIN, session_interval_s=90)
    peer.respond(422, ("Min-SE", "300"))
    peer.respond(200)
    assert not peer.call.digest.has_answered

    peer = ScriptedPeer(login=LOGIN)
    peer.respond(401, CHALLENGE)
    assert peer.call.digest.has_answered


def test_an_extension_that_the_peer_requires_ends_the_call() -> None:
    peer = ScriptedPeer()
    peer.respond(421, ("Require", "100rel"))

    assert peer.call.ending is not None
    assert peer.call.ending.code == 421


@pytest.mark.parametrize(
    "changes",
    [{"headers": (("X", "a\r\nY: b"),)}, {"product": "a\nb"}, {"caller": "<sip:a@b>\r\nX: y"}],
)
def test_a_setting_that_would_begin_another_header_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="valid"):
        ScriptedPeer(**changes)


def test_a_provisional_response_after_the_final_one_is_ignored() -> None:
    peer = ScriptedPeer()
    peer.answer()
    peer.respond(180)

    assert peer.call.ringing_ns is None


def test_a_bye_before_the_answer_does_not_end_the_call() -> None:
    peer = ScriptedPeer()
    peer.respond(180)
    peer.request("BYE")
    peer.answer()

    assert peer.take() == ["INVITE", "200", "ACK"]
    assert peer.call.state is CallState.ANSWERED
