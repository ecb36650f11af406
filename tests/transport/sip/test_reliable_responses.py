"""Reliable provisional responses (RFC 3262): PRACK, the audio that they agree, and what follows."""

from __future__ import annotations

import pytest

from bench.protocols.sip.digest import DigestLogin
from tests.transport.sip.scripted_peer import SOURCE, ScriptedPeer

RELIABLE = ("Require", "100rel")


def rseq(number: object) -> tuple[str, str]:
    return ("RSeq", str(number))


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


def test_prack_answers_a_challenge() -> None:
    peer = ScriptedPeer(login=DigestLogin("alice", "secret"), address=SOURCE.host)
    peer.respond(180, RELIABLE, rseq(1))
    peer.respond(407, ("Proxy-Authenticate", 'Digest realm="r", nonce="n"'), to=peer.last("PRACK"))

    assert "Digest" in peer.last("PRACK").first("Proxy-Authorization")


@pytest.mark.parametrize(
    ("code", "header", "named"),
    [
        (420, ("Unsupported", "timer, foo"), "Unsupported: timer, foo"),
        (421, ("Require", "sec-agree"), "Require: sec-agree"),
    ],
)
def test_a_refusal_because_of_an_extension_names_it(
    code: int, header: tuple[str, str], named: str
) -> None:
    peer = ScriptedPeer()
    peer.respond(code, header)

    assert peer.call.ending is not None
    assert named in peer.call.ending.text
