"""Tokens look like Entra ID's, live as long as they say, and are told apart by number."""

from __future__ import annotations

import base64
import json
import secrets

from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.serving.handshake import TokenIssuer

NOW_S = 1_800_000_000.5


def claims(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_a_token_has_three_parts_and_the_claims_that_credentials_read() -> None:
    issued = TokenIssuer(60, secrets.token_urlsafe).issue("https://cognitiveservices.azure.com", NOW_S)

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

    issued = [tokens.issue("r", NOW_S) for _ in range(100)]

    assert [one.number for one in issued] == list(range(1, 101))
    assert len({one.token for one in issued}) == 100


def test_what_was_never_issued_is_dead() -> None:
    tokens = TokenIssuer(5, secrets.token_urlsafe)
    token = tokens.issue("r", NOW_S).token

    assert tokens.living(token + "x", NOW_S) is None
    assert TokenIssuer(5, secrets.token_urlsafe).living(token, NOW_S) is None


def test_a_token_is_not_printed() -> None:
    issued = TokenIssuer(5, secrets.token_urlsafe).issue("r", NOW_S)

    assert issued.token not in f"{issued!r} {issued!s} {issued}"
