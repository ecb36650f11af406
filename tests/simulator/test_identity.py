"""The identity endpoint answers as App Service's does, or fails as it was told to."""

from __future__ import annotations

import json
from itertools import count

import pytest

from bench.errors import UsageError
from bench.simulator.identity import SLOW_S, Fault, Identity, TokenAnswer, parse_fault
from bench.simulator.tokens import TokenIssuer

SECRET = "header-secret"
RESOURCE = "https://cognitiveservices.azure.com"
TARGET = f"/msi/token?api-version=2019-08-01&resource={RESOURCE}"
NOW_S = 1_800_000_000.0


def endpoint(fault: Fault | None = None) -> Identity:
    secrets = count()
    return Identity(TokenIssuer(5, lambda: f"secret{next(secrets)}"), SECRET, fault)


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
    identity = endpoint(Fault("500", 2, 3))

    assert [ask(identity).status for _ in range(5)] == [200, 500, 500, 200, 200]


def test_garbage_is_no_json() -> None:
    said = ask(endpoint(Fault("garbage")))

    assert said.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(said.body)


def test_a_slow_answer_holds_a_token_that_is_fresh_when_it_comes() -> None:
    said = ask(endpoint(Fault("slow")))

    assert said.delay_s == SLOW_S
    assert json.loads(said.body)["expires_on"] == str(int(NOW_S + SLOW_S) + 5)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("500", Fault("500", 1, None)),
        ("slow:3", Fault("slow", 3, 3)),
        ("garbage:2-6", Fault("garbage", 2, 6)),
    ],
)
def test_a_fault_is_named_with_its_requests(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    "text", ["", "404", "500:", "500:0", "500:2-", "500:-6", "500:x", "500:2-6-7", ":2", "500:6-2"]
)
def test_a_fault_that_means_nothing_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="--identity-fault"):
        parse_fault(text)
