"""The beginning of a call: responses to INVITE, credentials, redirections, routes and forks (RFC 3261, RFC 3665)."""

from __future__ import annotations

import pytest

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.transport.sip.call import SipCall
from bench.transport.sip.call_record import CallState
from bench.transport.sip.digest import DigestLogin
from bench.transport.sip.messages import parse_message
from tests.transport.sip.scripted_peer import ANSWER, PEER_CONTACT, SOURCE, ScriptedPeer, call_settings, tokens

LOGIN = DigestLogin("alice", "correct horse")
CHALLENGE = ("WWW-Authenticate", 'Digest realm="a, b", nonce="n1", qop="auth,auth-int", algorithm=MD5, opaque="o"')


def test_a_basic_call_is_acknowledged_and_ended_with_bye() -> None:
    peer = ScriptedPeer()
    peer.respond(100)
    peer.respond(180)
    peer.answer()
    call = peer.call

    assert peer.take() == ["INVITE", "ACK"]
    assert call.state is CallState.ANSWERED
    assert call.media is not None
    assert (call.media.address, call.media.port, call.media.codec) == ("192.0.2.4", 50_000, "PCMU")
    assert call.media.send_event_payload_type == 101
    assert (call.ringing_ns, call.answered_ns) == (2 * NS_PER_MS, 3 * NS_PER_MS)

    peer.hang_up()
    assert peer.take() == ["BYE"]
    assert peer.last("BYE").uri == PEER_CONTACT
    assert call.state is CallState.ENDING
    peer.respond(200, to=peer.last("BYE"))
    assert call.state is CallState.ENDED
    assert call.ending is not None
    assert call.ending.by == "caller"


def test_an_invite_offers_both_codecs_and_telephone_events() -> None:
    invite = ScriptedPeer().last("INVITE")

    assert b"m=audio 40000 RTP/AVP 0 8 101\r\n" in invite.body
    assert b"a=rtpmap:101 telephone-event/8000\r\n" in invite.body
    assert invite.tokens("Supported") == ("timer", "100rel")
    assert "bye" in invite.tokens("Allow")


def test_the_ack_of_a_2xx_is_a_new_transaction_with_the_number_of_the_invite() -> None:
    peer = ScriptedPeer()
    peer.answer()
    invite, ack = peer.last("INVITE"), peer.last("ACK")

    assert ack.cseq == invite.cseq
    assert ack.via.branch != invite.via.branch
    assert ack.uri == PEER_CONTACT
    assert ack.callee.tag == "bob"


def test_a_repeated_2xx_gets_the_same_ack_again() -> None:
    peer = ScriptedPeer()
    peer.answer()
    peer.answer()

    assert peer.outgoing[-1] == peer.outgoing[-2]
    assert peer.take() == ["INVITE", "ACK", "ACK"]


@pytest.mark.parametrize(
    ("code", "headers", "retry_after_s"),
    [(486, [], None), (404, [], None), (603, [], None), (503, [("Retry-After", "120 (later);duration=60")], 120)],
)
def test_a_refusal_is_acknowledged_in_the_transaction_and_ends_the_call(
    code: int, headers: list[tuple[str, str]], retry_after_s: int | None
) -> None:
    peer = ScriptedPeer()
    peer.respond(100)
    peer.respond(code, ("Reason", 'Q.850;cause=17;text="busy"'), *headers)
    invite, ack = peer.last("INVITE"), peer.last("ACK")
    ending = peer.call.ending

    assert (ack.via.branch, ack.uri, ack.callee.tag) == (invite.via.branch, invite.uri, "bob")
    assert ending is not None
    assert (ending.by, ending.code, ending.retry_after_s) == ("peer", code, retry_after_s)
    assert ending.reason == 'Q.850;cause=17;text="busy"'
    peer.respond(code)
    assert peer.take()[-1] == "ACK"


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
    assert ending.phrase.startswith("a\\u202eb :\\:error:\\:")
    assert len(ending.phrase) < 100
    assert len(ending.reason) < 210


@pytest.mark.parametrize(
    ("code", "asked", "answered"),
    [(401, "WWW-Authenticate", "Authorization"), (407, "Proxy-Authenticate", "Proxy-Authorization")],
)
def test_a_challenge_is_answered_with_a_new_invite(code: int, asked: str, answered: str) -> None:
    peer = ScriptedPeer(login=LOGIN, address=SOURCE.host)
    first = peer.last("INVITE")
    peer.respond(code, (asked, CHALLENGE[1]))
    second = peer.last("INVITE")

    assert peer.take() == ["INVITE", "ACK", "INVITE"]
    assert second.cseq == first.cseq + 1
    assert (second.call_id, second.caller.tag, second.callee.tag) == (first.call_id, first.caller.tag, "")
    credentials = second.first(answered)
    assert 'realm="a, b"' in credentials
    assert "qop=auth, nc=00000001" in credentials
    assert 'opaque="o"' in credentials
    assert b"correct horse" not in peer.outgoing[-1].data

    peer.answer()
    assert peer.last("ACK").first(answered) == credentials
    peer.hang_up()
    assert "nc=00000002" in peer.last("BYE").first(answered)


def test_both_a_server_and_a_proxy_may_challenge() -> None:
    peer = ScriptedPeer(login=LOGIN)
    peer.respond(407, ("Proxy-Authenticate", 'Digest realm="proxy", nonce="p"'))
    peer.respond(401, CHALLENGE)
    last = peer.last("INVITE")

    assert 'realm="proxy"' in last.first("Proxy-Authorization")
    assert 'nonce="n1"' in last.first("Authorization")


def test_a_second_challenge_means_that_the_password_is_wrong() -> None:
    peer = ScriptedPeer(login=LOGIN)
    peer.respond(401, CHALLENGE)
    peer.respond(401, (CHALLENGE[0], CHALLENGE[1].replace("n1", "n2")))

    assert peer.take() == ["INVITE", "ACK", "INVITE", "ACK"]
    assert peer.call.ending is not None
    assert peer.call.ending.text == "SIP 401 Unauthorized (the peer refused the user or the password)"


def test_a_challenge_that_is_not_supported_is_named() -> None:
    peer = ScriptedPeer(login=LOGIN)
    peer.respond(401, (CHALLENGE[0], 'Digest realm="r", nonce="n", algorithm=MD4'))

    assert peer.call.ending is not None
    assert peer.call.ending.text == "SIP 401 Unauthorized (its kind of sign-in is not supported)"


def test_a_stale_nonce_is_replaced() -> None:
    peer = ScriptedPeer(login=LOGIN)
    peer.respond(401, CHALLENGE)
    peer.respond(401, (CHALLENGE[0], CHALLENGE[1].replace("n1", "n2") + ", stale=TRUE"))

    assert 'nonce="n2"' in peer.last("INVITE").first("Authorization")
    assert peer.call.state is CallState.CALLING


def test_nonces_that_are_always_stale_end_the_call() -> None:
    peer = ScriptedPeer(login=LOGIN)
    for number in range(20):
        if peer.call.ending is None:
            peer.respond(401, (CHALLENGE[0], CHALLENGE[1].replace("n1", f"n{number}") + ", stale=true"))

    assert peer.call.ending is not None
    assert peer.call.invites == 4


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


def test_early_media_is_known_before_the_answer() -> None:
    peer = ScriptedPeer()
    peer.respond(183, body=ANSWER)

    assert peer.call.early_media is not None
    assert peer.call.media is None
    peer.answer(body=b"")
    assert peer.call.media == peer.call.early_media


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (ANSWER.replace(b"RTP/AVP", b"RTP/SAVP"), "the peer requires SRTP"),
        (ANSWER.replace(b"50000", b"0"), "the peer refuses the audio"),
        (ANSWER.replace(b"AVP 0 101", b"AVP 18"), "the peer answers with a codec that was not offered"),
        (b"nonsense", "the session description has no version 0"),
        (b"v=1", "the session description has no version 0"),
        (b"", "the peer sent no session description"),
    ],
)
def test_an_unusable_answer_is_acknowledged_and_hung_up(body: bytes, cause: str) -> None:
    peer = ScriptedPeer()
    peer.answer(body=body)

    assert peer.take() == ["INVITE", "ACK", "BYE"]
    peer.respond(200, to=peer.last("BYE"))
    assert peer.call.ending is not None
    assert (peer.call.ending.by, peer.call.ending.cause) == ("caller", cause)


@pytest.mark.parametrize("interval_s", [None, 90])
def test_a_session_interval_that_is_too_small_is_increased(interval_s: int | None) -> None:
    peer = ScriptedPeer(session_interval_s=interval_s)
    peer.respond(422, ("Min-SE", "300"))

    assert (peer.last("INVITE").first("Session-Expires"), peer.last("INVITE").first("Min-SE")) == ("300", "300")
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


@pytest.mark.parametrize("uri", ["", "bob", "sip:", "http://x", "tel:+1555", "sip:a@b:99999", "sip:a@b\r\nX: y"])
def test_a_call_to_an_invalid_uri_is_an_error(uri: str) -> None:
    with pytest.raises(ValueError, match=r"valid|port"):
        SipCall(call_settings(request_uri=uri), tokens())


def test_a_response_that_belongs_to_no_request_is_counted() -> None:
    peer = ScriptedPeer()
    whole = peer.outgoing[0].data.partition(b"\r\n")[2]
    branch = peer.last("INVITE").via.branch.encode()
    peer.deliver(b"SIP/2.0 200 OK\r\n" + whole.replace(branch, b"z9hG4bKother"))
    peer.deliver(b"SIP/2.0 200 OK\r\n" + whole.replace(b"Via: ", b"Via: SIP/2.0/UDP x;branch=z9hG4bKx,", 1))
    peer.deliver(b"SIP/2.0 200 OK\r\n" + whole.replace(peer.call.call_id.encode(), b"another"))
    peer.deliver(b"\r\n\r\n")
    peer.deliver(b"garbage")

    assert peer.call.dropped == {"unmatched responses": 2, "other calls": 1, "malformed": 1}
    assert peer.call.state is CallState.CALLING


def test_over_tcp_messages_name_the_transport_and_are_not_repeated() -> None:
    peer = ScriptedPeer(transport="TCP")
    peer.wait(20 * NS_PER_S)

    assert peer.take() == ["INVITE"]
    message = parse_message(peer.outgoing[0].data)
    assert message.via.transport == "TCP"
    assert message.first("Contact").endswith(";transport=tcp>")
    assert peer.outgoing[0].transport == "TCP"


@pytest.mark.parametrize(
    "changes",
    [{"headers": (("X", "a\r\nY: b"),)}, {"product": "a\nb"}, {"caller": "<sip:a@b>\r\nX: y"}],
)
def test_a_setting_that_would_begin_another_header_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="valid"):
        ScriptedPeer(**changes)


def test_each_request_of_a_call_has_the_same_caller() -> None:
    caller = '"M\u00fcller, <7>" <sip:+15550123@example.com>'
    answered, cancelled = (ScriptedPeer(caller=caller) for _ in range(2))
    answered.answer()
    answered.hang_up()
    cancelled.respond(180)
    cancelled.hang_up()

    for peer, methods in ((answered, ("INVITE", "ACK", "BYE")), (cancelled, ("INVITE", "CANCEL"))):
        (value,) = {peer.last(method).first("From") for method in methods}
        assert value.startswith(f"{caller};tag=")


def test_additional_headers_are_in_the_invite() -> None:
    assert ScriptedPeer(headers=(("X-Account", "7"),)).last("INVITE").first("X-Account") == "7"


def test_the_instants_of_ringing_belong_to_the_last_invite() -> None:
    peer = ScriptedPeer(login=LOGIN)
    peer.respond(180)
    peer.respond(401, CHALLENGE)
    assert peer.call.ringing_ns is None

    peer.respond(180)
    assert peer.call.ringing_ns == 3 * NS_PER_MS


def test_a_response_with_another_number_than_its_request_is_ignored() -> None:
    peer = ScriptedPeer()
    whole = peer.outgoing[0].data.partition(b"\r\n")[2]
    peer.deliver(b"SIP/2.0 486 Busy\r\n" + whole.replace(b"CSeq: 1", b"CSeq: 2"))

    assert peer.call.dropped == {"unmatched responses": 1}
    assert peer.call.ending is None


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


def test_repeated_provisional_responses_do_not_change_the_instant_of_ringing() -> None:
    peer = ScriptedPeer()
    for code in (180, 183, 180, 183):
        peer.respond(code)

    assert peer.call.ringing_ns == NS_PER_MS


def test_a_repeated_challenge_of_the_first_invite_does_not_end_the_call() -> None:
    peer = ScriptedPeer(login=LOGIN)
    first = peer.last("INVITE")
    peer.respond(401, CHALLENGE)
    peer.respond(401, CHALLENGE, to=first)

    assert peer.take() == ["INVITE", "ACK", "INVITE", "ACK"]
    assert peer.call.ending is None
