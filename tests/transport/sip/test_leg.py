"""Requests in the dialog, from both sides: changes of the audio, glare, refreshes and requests
that are refused.
"""

from __future__ import annotations

import pytest

from bench.protocols.sip.call_record import CallState
from tests.transport.sip.scripted_peer import ANSWER, ScriptedPeer

NO_ACK = "the peer sent no ACK of the response to its INVITE"
OTHER_CODEC = "the peer answers with a codec that was not offered"

HOLD = ANSWER.replace(b"m=audio 50000", b"m=audio 50010") + b"a=sendonly\n"


def test_without_the_ack_of_a_2xx_the_call_is_hung_up() -> None:
    peer = ScriptedPeer().answered()
    peer.request("INVITE", body=HOLD)
    peer.wait_s(33)

    assert peer.take()[-1] == "BYE"
    peer.respond(200, to=peer.last("BYE"))
    assert peer.call.ending is not None
    assert (peer.call.ending.by, peer.call.ending.cause) == ("caller", NO_ACK)


def test_an_invite_without_an_offer_gets_an_offer_and_its_answer_is_in_the_ack() -> None:
    peer = ScriptedPeer().answered()
    peer.request("INVITE", cseq=200)
    assert b"m=audio 40000 RTP/AVP 0 8 101" in peer.last_response.body

    peer.request("UPDATE", body=HOLD, cseq=201)
    assert peer.take() == ["200", "491"]
    peer.request("ACK", body=HOLD, cseq=200)
    assert peer.call.media is not None
    assert peer.call.media.port == 50_010


@pytest.mark.parametrize(
    ("method", "headers", "body", "code"),
    [
        ("OPTIONS", [], b"", 200),
        ("INFO", [], b"", 200),
        ("INFO", [("Info-Package", "dtmf")], b"x", 469),
        ("INFO", [("Content-Type", "application/dtmf-relay")], b"Signal=1", 415),
        ("NOTIFY", [("Event", "refer")], b"", 481),
        ("MESSAGE", [], b"", 405),
        ("REFER", [("Refer-To", "<sip:c@d>")], b"", 405),
        ("PRACK", [], b"", 405),
        ("DANCE", [], b"", 501),
        ("UPDATE", [], b"", 200),
        ("UPDATE", [("Require", "timer, 100rel")], b"", 420),
        ("UPDATE", [("Content-Type", "text/plain")], b"x", 415),
        ("UPDATE", [("Session-Expires", "60"), ("Supported", "timer")], b"", 422),
        ("CANCEL", [], b"", 481),
    ],
)
def test_each_request_gets_the_response_of_the_standard(
    method: str, headers: list[tuple[str, str]], body: bytes, code: int
) -> None:
    peer = ScriptedPeer().answered()
    peer.request(method, *headers, body=body)

    assert peer.take() == [str(code)]
    assert peer.call.state is CallState.ANSWERED
    response = peer.last_response
    if code == 405:
        assert "BYE" in response.first("Allow")
    if code == 420:
        assert response.first("Unsupported") == "100rel"
    if code == 422:
        assert response.first("Min-SE") == "90"


def test_a_request_with_an_old_number_is_refused() -> None:
    peer = ScriptedPeer().answered()
    peer.request("OPTIONS", cseq=50)
    peer.request("OPTIONS", cseq=49)

    assert peer.take() == ["200", "500"]


def test_a_flood_of_requests_is_limited_and_bye_still_ends_the_call() -> None:
    peer = ScriptedPeer().answered()
    for _ in range(1_005):
        peer.request("OPTIONS")
    codes = peer.take()

    assert (codes.count("200"), codes.count("503")) == (1_000, 5)
    assert peer.call.dropped["requests"] == 5
    peer.request("BYE")
    assert peer.call.state is CallState.ENDED
    assert len(peer.call._transactions._servers) <= 64


def test_a_repeated_2xx_to_a_new_invite_gets_the_same_ack() -> None:
    peer = ScriptedPeer().answered(("Session-Expires", "100;refresher=uac"))
    peer.wait_s(50.2)
    peer.respond(100)
    peer.answer()
    peer.answer()

    assert peer.take() == ["INVITE", "ACK", "ACK"]
    assert peer.outgoing[-1] == peer.outgoing[-2]


def test_after_an_ack_without_the_answer_to_an_offer_the_call_goes_on_with_its_audio() -> None:
    peer = ScriptedPeer().answered()
    media = peer.call.media
    peer.request("INVITE", cseq=200)
    peer.request("ACK", cseq=200)

    assert peer.take() == ["200"]
    assert (peer.call.state, peer.call.media) == (CallState.ANSWERED, media)
    peer.request("INVITE", body=HOLD, cseq=201)
    assert peer.take() == ["200"]


def test_an_ack_with_an_answer_that_cannot_be_used_ends_the_call() -> None:
    peer = ScriptedPeer().answered()
    peer.request("INVITE", cseq=200)
    peer.request("ACK", cseq=200, body=ANSWER.replace(b"AVP 0 101", b"AVP 18"))

    assert peer.take() == ["200", "BYE"]
    peer.respond(200, to=peer.last("BYE"))
    assert peer.call.ending is not None
    assert peer.call.ending.text == f"this tool hung up: {OTHER_CODEC}"


def test_an_ack_that_comes_after_bye_changes_nothing() -> None:
    peer = ScriptedPeer().answered()
    peer.request("INVITE", cseq=200)
    peer.hang_up()
    media = peer.call.media
    peer.request("ACK", cseq=200, body=HOLD)

    assert peer.take() == ["200", "BYE"]
    assert peer.call.media == media


def test_a_cancel_of_an_invite_that_was_answered_has_no_effect() -> None:
    peer = ScriptedPeer().answered()
    peer.request("INVITE", cseq=200, body=HOLD, branch="same")
    peer.request("CANCEL", cseq=200, branch="same")

    assert peer.take() == ["200", "200"]
    assert peer.last_response.cseq_method == "CANCEL"


def test_an_offer_in_an_early_dialog_is_refused() -> None:
    peer = ScriptedPeer()
    peer.respond(183)
    peer.request("UPDATE", body=HOLD)
    peer.request("UPDATE")

    assert peer.take() == ["INVITE", "491", "200"]


@pytest.mark.parametrize(
    ("method", "code"), [("INVITE", 482), ("OPTIONS", 200), ("INFO", 481), ("REFER", 405)]
)
def test_a_request_before_any_dialog_gets_the_response_of_the_standard(
    method: str, code: int
) -> None:
    peer = ScriptedPeer()
    data = peer.outgoing[0].data
    to = peer.parsed[0].first("To").encode()
    whole = data.partition(b"\r\n\r\n")[0].replace(b"From: ", b"From: <sip:x@y>;tag=z\r\nX-From: ")
    whole = whole.replace(b"INVITE", method.encode()).replace(b"Content-Length", b"X-Length")
    assert to in whole
    peer.deliver(whole.replace(b"branch=", b"branch=other") + b"\r\n\r\n")

    assert peer.take() == ["INVITE", str(code)]


def test_a_bye_ends_the_repetition_of_an_answer_without_an_ack() -> None:
    peer = ScriptedPeer().answered()
    peer.request("INVITE", body=HOLD)
    peer.request("BYE")
    peer.take()
    peer.wait_s(40)

    assert peer.take() == []
