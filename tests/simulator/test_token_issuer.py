"""The identity endpoint answers as that of App Service, or fails as configured."""

from __future__ import annotations

import base64
import json
import secrets
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.faults.kinds import read_line
from bench.simulator.serving.handshake import TokenIssuer
from bench.simulator.serving.token_issuer import IdentityEndpoint, TokenAnswer

SECRET = "header-secret"
RESOURCE = "https://cognitiveservices.azure.com"
TARGET = f"/msi/token?api-version=2019-08-01&resource={RESOURCE}"
NOW_S = 1_800_000_000.0


def endpoint(*faults: str) -> IdentityEndpoint:
    secrets = count()
    return IdentityEndpoint(
        TokenIssuer(5, lambda: f"secret{next(secrets)}"), SECRET, [read_line(fault) for fault in faults]
    )


def ask(identity: IdentityEndpoint, target: str = TARGET, secret: str = SECRET, method: str = "GET") -> TokenAnswer:
    return identity.answer(method, target, {"x-identity-header": secret}, NOW_S)


def test_a_token_comes_with_its_end_in_seconds_since_1970() -> None:
    said = ask(endpoint())

    fields = json.loads(said.body)
    assert (said.status, said.delay_s) == (200, 0)
    assert fields["access_token"].count(".") == 2
    assert (fields["expires_on"], fields["resource"], fields["token_type"]) == ("1800000005", RESOURCE, "Bearer")


@pytest.mark.parametrize(
    ("target", "secret", "method", "status"),
    [
        (TARGET, "another", "GET", 401),
        (TARGET, "", "GET", 401),
        (TARGET, "\xff", "GET", 401),
        ("/msi/token?api-version=2019-08-01", SECRET, "GET", 400),
        (f"/msi/token?api-version=2018-02-01&resource={RESOURCE}", SECRET, "GET", 400),
        ("/msi/token", SECRET, "GET", 400),
        ("/other", SECRET, "GET", 404),
        (TARGET, SECRET, "POST", 404),
        ("", "", "", 404),
    ],
)
def test_what_is_no_request_for_a_token_gets_none(target: str, secret: str, method: str, status: int) -> None:
    said = ask(endpoint(), target, secret, method)

    assert said.status == status
    assert "access_token" not in said.body
    assert SECRET not in said.body


def test_a_fault_strikes_only_the_requests_that_it_names() -> None:
    identity = endpoint("identity_500,requests=2-3", "failed")

    assert [ask(identity).status for _ in range(5)] == [200, 500, 500, 200, 200]


def test_garbage_is_no_json() -> None:
    said = ask(endpoint("identity_garbage"))

    assert said.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(said.body)


def test_a_slow_answer_holds_a_token_that_is_fresh_when_it_comes() -> None:
    said = ask(endpoint("identity_slow"))

    assert said.delay_s == 10
    assert json.loads(said.body)["expires_on"] == str(int(NOW_S) + 10 + 5)


def test_a_share_of_the_requests_is_drawn_by_the_seed() -> None:
    struck = [
        [ask(identity).status for _ in range(50)] for identity in (endpoint("identity_500,share=0.5") for _ in "12")
    ]

    assert struck[0] == struck[1]
    assert 10 < struck[0].count(500) < 40


# Tokens have the form of those of Entra ID, are valid for exactly the stated time, and differ by a number.


BETWEEN_SECONDS_S = 1_800_000_000.5


def claims(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_a_token_has_three_parts_and_the_claims_that_credentials_read() -> None:
    issued = TokenIssuer(60, secrets.token_urlsafe).issue("https://cognitiveservices.azure.com", BETWEEN_SECONDS_S)

    assert len(issued.token.split(".")) == 3
    assert {"aud", "exp", "oid", "tid"} <= set(claims(issued.token))
    assert claims(issued.token)["exp"] == issued.expires_s
    assert claims(issued.token)["aud"] == "https://cognitiveservices.azure.com"


@given(life_s=st.floats(0.5, 1e5), now_s=st.floats(1e9, 2e9), later=st.floats(0, 2))
def test_a_token_lives_until_the_second_that_it_names(life_s: float, now_s: float, later: float) -> None:
    tokens = TokenIssuer(life_s, secrets.token_urlsafe)
    issued = tokens.issue("r", now_s)
    then_s = now_s + later * life_s

    assert now_s + life_s <= issued.expires_s < now_s + life_s + 1
    assert tokens.living(issued.token, then_s) == (1 if then_s < issued.expires_s else None)


def test_tokens_of_one_instant_differ_and_count_up() -> None:
    tokens = TokenIssuer(5, secrets.token_urlsafe)

    issued = [tokens.issue("r", BETWEEN_SECONDS_S) for _ in range(100)]

    assert [one.number for one in issued] == list(range(1, 101))
    assert len({one.token for one in issued}) == 100


def test_a_token_is_not_printed() -> None:
    issued = TokenIssuer(5, secrets.token_urlsafe).issue("r", BETWEEN_SECONDS_S)

    assert issued.token not in f"{issued!r} {issued!s} {issued}"
