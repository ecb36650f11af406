"""The identity endpoint answers as the endpoint of App Service does, or fails as configured."""

from __future__ import annotations

import base64
import json
import secrets
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench_simulator.faults.kinds import read_line
from rtbench_simulator.serving.credentials import TokenIssuer
from rtbench_simulator.serving.token_issuer import IdentityEndpoint, TokenAnswer

SECRET = "header-secret"
RESOURCE = "https://cognitiveservices.azure.com"
TARGET = f"/msi/token?api-version=2019-08-01&resource={RESOURCE}"
NOW_S = 1_800_000_000.0


def endpoint(*faults: str) -> IdentityEndpoint:
    secrets = count()
    return IdentityEndpoint(
        TokenIssuer(5, lambda: f"secret{next(secrets)}"),
        SECRET,
        [read_line(fault) for fault in faults],
    )


def ask(
    identity: IdentityEndpoint, target: str = TARGET, secret: str = SECRET, method: str = "GET"
) -> TokenAnswer:
    return identity.answer(method, target, {"x-identity-header": secret}, NOW_S)


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
def test_an_invalid_request_gets_no_token(
    target: str, secret: str, method: str, status: int
) -> None:
    response = ask(endpoint(), target, secret, method)

    assert response.status == status
    assert "access_token" not in response.body
    assert SECRET not in response.body


def test_a_fault_affects_only_the_given_requests() -> None:
    identity = endpoint("identity_500,requests=2-3", "failed")

    assert [ask(identity).status for _ in range(5)] == [200, 500, 500, 200, 200]


def test_the_fault_garbage_returns_invalid_json() -> None:
    response = ask(endpoint("identity_garbage"))

    assert response.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(response.body)


def test_a_share_of_requests_depends_only_on_the_seed() -> None:
    struck = [
        [ask(identity).status for _ in range(50)]
        for identity in (endpoint("identity_500,share=0.5") for _ in "12")
    ]

    assert struck[0] == struck[1]
    assert 10 < struck[0].count(500) < 40


# Tokens have the form of Entra ID's tokens, are valid for exactly the stated time, and each has a
# different number.


BETWEEN_SECONDS_S = 1_800_000_000.5


def claims(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_a_token_is_a_jwt_with_the_claims_of_credentials() -> None:
    issued = TokenIssuer(60, secrets.token_urlsafe).issue(
        "https://cognitiveservices.azure.com", BETWEEN_SECONDS_S
    )

    assert len(issued.token.split(".")) == 3
    assert {"aud", "exp", "oid", "tid"} <= set(claims(issued.token))
    assert claims(issued.token)["exp"] == issued.expires_s
    assert claims(issued.token)["aud"] == "https://cognitiveservices.azure.com"


@given(life_s=st.floats(0.5, 1e5), now_s=st.floats(1e9, 2e9), later=st.floats(0, 2))
def test_a_token_is_valid_until_its_stated_expiry(
    life_s: float, now_s: float, later: float
) -> None:
    tokens = TokenIssuer(life_s, secrets.token_urlsafe)
    issued = tokens.issue("r", now_s)
    then_s = now_s + later * life_s

    assert now_s + life_s <= issued.expires_s < now_s + life_s + 1
    assert tokens.valid_token(issued.token, then_s) == (1 if then_s < issued.expires_s else None)


def test_a_token_is_not_printed() -> None:
    issued = TokenIssuer(5, secrets.token_urlsafe).issue("r", BETWEEN_SECONDS_S)

    assert issued.token not in f"{issued!r} {issued!s} {issued}"
