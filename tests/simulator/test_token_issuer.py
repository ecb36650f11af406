"""The identity endpoint answers as App Service's does, or fails as it was told to."""

from __future__ import annotations

import json
from itertools import count

import pytest

from bench.simulator.faults.kinds import read_line
from bench.simulator.serving.handshake import TokenIssuer
from bench.simulator.serving.token_issuer import Identity, TokenAnswer

SECRET = "header-secret"
RESOURCE = "https://cognitiveservices.azure.com"
TARGET = f"/msi/token?api-version=2019-08-01&resource={RESOURCE}"
NOW_S = 1_800_000_000.0


def endpoint(*faults: str) -> Identity:
    secrets = count()
    return Identity(TokenIssuer(5, lambda: f"secret{next(secrets)}"), SECRET, [read_line(fault) for fault in faults])


def ask(identity: Identity, target: str = TARGET, secret: str = SECRET, method: str = "GET") -> TokenAnswer:
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
