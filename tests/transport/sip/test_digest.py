"""Digest authentication against the examples of RFC 7616, and the challenges that are refused."""

from __future__ import annotations

import copy
import pickle

import pytest

from bench.protocols.sip.digest import (
    DigestClient,
    DigestLogin,
    challenges_of,
    digest_response,
    parse_challenge,
)
from bench.protocols.sip.messages import SipResponse, parse_message

MUFASA = DigestLogin("Mufasa", "Circle of Life")
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def challenged(*challenges: str) -> SipResponse:
    lines = "".join(f"WWW-Authenticate: {text}\r\n" for text in challenges)
    message = parse_message(
        "SIP/2.0 401 x\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo:"
        f" <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{lines}\r\n".encode(
            errors="surrogateescape"
        )
    )
    assert isinstance(message, SipResponse)
    return message


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_response_equals_the_example_of_the_standard(algorithm: str, expected: str) -> None:
    secret = MUFASA.secret_digest(algorithm, "http-auth@example.org")
    response = digest_response(
        secret, algorithm, "GET", "/dir/index.html", NONCE, "00000001", CNONCE, True
    )

    assert response == expected


def test_without_qop_the_response_is_that_of_rfc_2069() -> None:
    secret = DigestLogin("Mufasa", "Circle Of Life").secret_digest("MD5", "testrealm@host.com")
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"

    # The value is computed with `printf %s "HA1:nonce:HA2" | md5sum`.
    assert (
        digest_response(secret, "MD5", "GET", "/dir/index.html", nonce, "", "", False)
        == "670fd8c2df070c60b045671b8b24ff02"
    )


@pytest.mark.parametrize(
    "text",
    [
        'Basic realm="a"',
        'Digest realm="a", nonce="1", algorithm=MD5-sess',
        'Digest realm="a", nonce="1", qop="auth-int"',
        'Digest realm="a"',
        'Digest realm="a", nonce="',
        'Digest nonce="1", nonce="2"',
        "Digest",
        "",
    ],
)
def test_a_challenge_that_is_not_supported_is_ignored(text: str) -> None:
    assert challenges_of(challenged(text)) == []
    assert DigestClient(MUFASA).challenged(challenged(text)) is False


def test_a_challenge_with_many_quoted_values_is_read_quickly() -> None:
    """The parser of sipmessage needs exponential time for it, so it reads no challenges."""
    assert (
        parse_challenge(
            "Authorization", "Digest " + ", ".join(f'a{n}="x"' for n in range(200)) + " !"
        )
        is None
    )


def test_quotes_in_a_realm_are_escaped_in_the_answer() -> None:
    client = DigestClient(MUFASA)
    client.challenged(challenged(r'Digest realm="a \"b\" \\", nonce="1"'))
    ((_, answer),) = client.headers("INVITE", "sip:a@b", "c")

    assert r'realm="a \"b\" \\"' in answer
    assert "qop" not in answer


def test_a_login_shows_and_stores_no_secret() -> None:
    assert "Circle" not in repr(MUFASA)
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="pickled"):
            copied(MUFASA)
