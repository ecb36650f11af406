"""Credentials that the simulator accepts and refuses."""

from __future__ import annotations

import pytest

from bench.protocols.sip import answer_plan
from bench.protocols.sip.answer_plan import LoginCheck, LoginDemand
from bench.protocols.sip.digest import DigestLogin, digest_response
from bench.protocols.sip.messages import SipRequest, parse_message
from tests.transport.sip.scripted_peer import tokens

DEMAND = LoginDemand(DigestLogin("alice", "correct horse"))


def request(*credentials: str) -> SipRequest:
    lines = "".join(f"Authorization: {text}\r\n" for text in credentials)
    message = parse_message(
        "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom:"
        f" <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{lines}\r\n".encode()
    )
    assert isinstance(message, SipRequest)
    return message


def credentials(nonce: str, count: str = "00000001", **changes: str) -> str:
    secret = DEMAND.login.secret_digest("MD5", "simulator")
    values = {
        "username": "alice",
        "realm": "simulator",
        "nonce": nonce,
        "uri": "sip:a@b",
        "response": digest_response(secret, "MD5", "INVITE", "sip:a@b", nonce, count, "c", True),
        "qop": "auth",
        "nc": count,
        "cnonce": "c",
    } | changes
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in values.items())


def new_nonce(check: LoginCheck) -> str:
    challenge = check.challenge(DEMAND, request())
    assert challenge is not None
    return challenge[1].partition('nonce="')[2].partition('"')[0]


def test_each_count_of_a_nonce_is_accepted_once() -> None:
    check = LoginCheck(tokens())
    nonce = new_nonce(check)

    assert check.challenge(DEMAND, request(credentials(nonce))) is None
    assert check.challenge(DEMAND, request(credentials(nonce, "00000003"))) is None
    for count in ("00000001", "00000003", "00000002"):
        challenge = check.challenge(DEMAND, request(credentials(nonce, count)))
        assert challenge is not None
        assert "stale=true" in challenge[1]


@pytest.mark.parametrize("count", ["", "xyz", "00000000", "-1"])
def test_a_count_that_is_not_positive_is_stale(count: str) -> None:
    check = LoginCheck(tokens())
    challenge = check.challenge(DEMAND, request(credentials(new_nonce(check), count)))

    assert challenge is not None
    assert "stale=true" in challenge[1]


@pytest.mark.parametrize("text", ['Digest username="', "Basic YTpi", "Digest", "x"])
def test_credentials_that_cannot_be_read_are_skipped(text: str) -> None:
    check = LoginCheck(tokens())

    assert check.challenge(DEMAND, request(text, credentials(new_nonce(check)))) is None


def test_the_number_of_nonces_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_plan, "MAX_NONCES", 5)
    check = LoginCheck(tokens())
    first = new_nonce(check)
    for _ in range(5):
        new_nonce(check)

    challenge = check.challenge(DEMAND, request(credentials(first)))
    assert challenge is not None
    assert "stale=true" in challenge[1]
    assert len(check._counts) == 5
