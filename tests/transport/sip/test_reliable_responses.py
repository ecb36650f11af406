"""Reliable provisional responses (RFC 3262): PRACK, the audio that they agree, and what follows."""

from __future__ import annotations

import pytest

from bench.transport.sip.call_record import CallState
from bench.transport.sip.digest import DigestLogin
from tests.transport.sip.scripted_peer import ANSWER, SDP_TYPE, SOURCE, ScriptedPeer

RELIABLE = ("Require", "100rel")


def rseq(number: object) -> tuple[str, str]:
    return ("RSeq", str(number))


def test_a_reliable_response_is_acknowledged_by_prack_in_its_early_dialog() -> None:
    peer = ScriptedPeer()
    invite = peer.last("INVITE")
    peer.respond(180, RELIABLE, rseq(988789))

    prack = peer.last("PRACK")
    assert prack.first("RAck") == f"988789 {invite.cseq} INVITE"
    assert (prack.callee.tag, prack.cseq) == ("bob", invite.cseq + 1)
    assert prack.uri == "sip:bob@192.0.2.4"
    peer.respond(200, to=prack)
    peer.answer()
    peer.hang_up()
    assert peer.take() == ["INVITE", "PRACK", "ACK", "BYE"]
    assert peer.last("ACK").cseq == invite.cseq
    assert peer.last("BYE").cseq == invite.cseq + 2


def test_prack_is_repeated_until_it_is_answered() -> None:
    peer = ScriptedPeer()
    peer.respond(180, RELIABLE, rseq(1))
    peer.wait_s(2)
    assert peer.take().count("PRACK") == 3

    peer.respond(200, to=peer.last("PRACK"))
    peer.wait_s(5)
    assert "PRACK" not in peer.take()


@pytest.mark.parametrize(
    ("numbers", "acknowledged"),
    [
        ((5, 5, 5), [5]),
        ((5, 6, 7), [5, 6, 7]),
        ((5, 7, 6), [5, 6]),
        (("", "x", "-1", "1" * 30), []),
    ],
)
def test_repeated_and_early_reliable_responses_are_ignored(
    numbers: tuple[object, ...], acknowledged: list[int]
) -> None:
    peer = ScriptedPeer()
    for number in numbers:
        peer.respond(183, RELIABLE, rseq(number))

    pracks = [each for each in peer.parsed if getattr(each, "method", "") == "PRACK"]
    assert [int(each.first("RAck").split()[0]) for each in pracks] == acknowledged


def test_each_phone_that_rings_gets_its_own_prack() -> None:
    peer = ScriptedPeer()
    peer.respond(180, RELIABLE, rseq(1), tag="one")
    peer.respond(180, RELIABLE, rseq(8), tag="two")
    peer.answer(tag="two")

    assert peer.take() == ["INVITE", "PRACK", "PRACK", "ACK"]
    assert peer.call.state is CallState.ANSWERED


def test_an_answer_in_a_reliable_response_is_the_audio_of_the_call() -> None:
    peer = ScriptedPeer()
    peer.respond(183, RELIABLE, rseq(1), body=ANSWER)
    peer.respond(200, to=peer.last("PRACK"))
    peer.request("UPDATE", body=ANSWER.replace(b"audio 50000", b"audio 50040"))
    assert peer.take()[-1] == "200"
    peer.answer(body=b"")

    assert peer.call.media is not None
    assert peer.call.media.port == 50_040


def test_prack_answers_a_challenge() -> None:
    peer = ScriptedPeer(login=DigestLogin("alice", "secret"), address=SOURCE.host)
    peer.respond(180, RELIABLE, rseq(1))
    peer.respond(407, ("Proxy-Authenticate", 'Digest realm="r", nonce="n"'), to=peer.last("PRACK"))

    assert "Digest" in peer.last("PRACK").first("Proxy-Authorization")


def test_a_response_that_is_not_reliable_gets_no_prack() -> None:
    peer = ScriptedPeer()
    peer.respond(180, rseq(1))
    peer.respond(183, ("Supported", "100rel"), SDP_TYPE)

    assert peer.take() == ["INVITE"]


@pytest.mark.parametrize(
    ("code", "header", "named"),
    [
        (420, ("Unsupported", "timer, foo"), "Unsupported: timer, foo"),
        (421, ("Require", "sec-agree"), "Require: sec-agree"),
    ],
)
def test_a_refusal_because_of_an_extension_names_it(code: int, header: tuple[str, str], named: str) -> None:
    peer = ScriptedPeer()
    peer.respond(code, header)

    assert peer.call.ending is not None
    assert named in peer.call.ending.text
