"""The keyring: tokens that are renewed in time, shared by targets that sign in alike, and shown nowhere."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.clock import monotonic_ns
from bench.errors import ConnectError, UsageError
from bench.protocol.dialects import Dialect
from bench.target import tokens
from bench.target.credentials import Credential
from bench.target.identity import SECOND_NS, SignInError, Token
from bench.target.target import Auth, Entra, Proxy, Target, Way
from bench.target.tokens import REMEMBERED, Incident, Keyring, ignore

SCOPE = "https://cognitiveservices.azure.com/.default"
ENTRA = Entra(SCOPE)
GUARD_S = 60.0  # against a hang; nothing is measured by it


def build_target(auth: Auth, **more: object) -> Target:
    return Target("arm", "127.0.0.1", 1, False, "/openai/v1/realtime?model=x", Dialect.GA, "azure", auth, **more)  # type: ignore[arg-type]


TARGET = build_target(ENTRA)


class Issuer:
    """Hands out tokens of so many seconds, or fails; counts what it was asked."""

    def __init__(self, life_s: float = 3_600.0) -> None:
        self.life_s, self.asked, self.problem, self.secret = life_s, 0, "", ""

    def __call__(self, way: Entra, retries: int) -> Token:
        self.asked += 1
        if self.problem:
            raise SignInError(self.problem)
        secret = self.secret or f"secret-token-{self.asked}"
        expires_ns = monotonic_ns() + int(self.life_s * SECOND_NS)
        return Token(Credential("Authorization", secret, "Bearer"), expires_ns, "Issuer")


class Incidents(list[tuple[str, str]]):
    def __call__(self, kind: str, text: str) -> None:
        self.append((kind, text))


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + GUARD_S
    while not condition():
        assert time.monotonic() < limit, "it never came true"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "SHORTEST_PAUSE_S", 0.02)
    monkeypatch.setattr(tokens, "MARGIN_S", 0.05)


class Opening:
    """Opens keyrings, and closes them at the end of the test."""

    def __init__(self) -> None:
        self.keyrings: list[Keyring] = []

    def __call__(self, *targets: Target, fetch: Issuer, incident: Incident = ignore) -> Keyring:
        keyring = Keyring(targets, fetch=fetch, incident=incident)
        self.keyrings.append(keyring)
        keyring.open()
        return keyring


@pytest.fixture
def opened() -> Iterator[Opening]:
    opening = Opening()
    yield opening
    for keyring in opening.keyrings:
        keyring.close()


# A keyring with an issuer of our own.


def test_a_key_and_no_key_need_no_sign_in(opened: Opening) -> None:
    issuer = Issuer()
    key = build_target(Credential("api-key", "a-key-of-ours"))
    keyring = opened(key, build_target(None), fetch=issuer)

    assert keyring.header(key, 0) == ("api-key", "a-key-of-ours")
    assert keyring.header(build_target(None), 0) is None
    assert keyring.answered_by(key) is None
    assert issuer.asked == 0


def test_targets_that_sign_in_alike_share_a_token_and_others_do_not(opened: Opening) -> None:
    issuer = Issuer()
    other = build_target(Entra("https://ai.azure.com/.default"))
    keyring = opened(TARGET, build_target(Entra(SCOPE)), other, fetch=issuer)

    assert issuer.asked == 2
    assert keyring.header(TARGET, 0) == keyring.header(build_target(Entra(SCOPE)), 0) != keyring.header(other, 0)


def test_a_first_token_that_does_not_come_is_a_usage_error_of_one_line() -> None:
    issuer = Issuer()
    issuer.problem = "nobody is signed in"

    with pytest.raises(UsageError, match="nobody is signed in"):
        Keyring([TARGET], fetch=issuer).open()


def test_a_token_is_renewed_before_it_ends(opened: Opening) -> None:
    issuer = Issuer(life_s=0.4)
    keyring = opened(TARGET, fetch=issuer)
    first = keyring.header(TARGET, GUARD_S)

    until(lambda: keyring.header(TARGET, GUARD_S) != first)


def test_a_long_life_is_left_in_peace(opened: Opening) -> None:
    issuer = Issuer(life_s=1e9)
    keyring = opened(TARGET, fetch=issuer)
    sign_in = keyring._sign_ins[ENTRA]

    assert sign_in._pause_s() == pytest.approx(5e8, rel=0.01)


def test_the_same_token_again_is_asked_for_again_when_half_of_its_rest_has_passed(opened: Opening) -> None:
    issuer = Issuer(life_s=0.3)
    issuer.secret = "the-same-token-for-ever"
    keyring = opened(TARGET, fetch=issuer)

    until(lambda: issuer.asked >= 4)
    assert len(keyring._tokens) == 1


def test_what_fails_is_told_once_each_and_once_when_it_works_again(
    opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LONGEST_OUTAGE_BACKOFF_S", 0.02)
    issuer, incidents = Issuer(life_s=0.3), Incidents()
    opened(TARGET, fetch=issuer, incident=incidents)
    issuer.problem = "the endpoint is down"
    until(lambda: len(incidents) >= 3)
    issuer.problem = ""
    until(lambda: "works again" in incidents[-1][1])

    assert {kind for kind, _ in incidents} == {"token_refresh"}
    again = [text for _, text in incidents if "works again" in text]
    assert again == [f"signing in through Entra ID works again after {len(incidents) - 1} failures"]
    assert all(text.startswith("the endpoint is down (") for _, text in incidents[:-1])


def test_the_pause_after_failures_doubles_and_leaves_time_before_the_token_ends(opened: Opening) -> None:
    keyring = opened(TARGET, fetch=Issuer(life_s=1_000))
    sign_in = keyring._sign_ins[ENTRA]
    pauses = []
    for sign_in._failures in range(1, 12):
        pauses.append(sign_in._pause_s())

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]


def test_while_no_token_lives_who_waits_gets_the_reason_when_the_limit_is_over(opened: Opening) -> None:
    issuer = Issuer(life_s=0.2)
    keyring = opened(TARGET, fetch=issuer)
    issuer.problem = "the endpoint is down"
    until(lambda: keyring._sign_ins[ENTRA]._living() is None and keyring._sign_ins[ENTRA]._failures > 0)

    with pytest.raises(ConnectError) as caught:
        keyring.header(TARGET, 0.05)
    assert (caught.value.outcome, caught.value.detail) == ("refused:token", "the endpoint is down")


def test_who_waits_gets_the_token_that_comes(opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LONGEST_OUTAGE_BACKOFF_S", 0.02)
    issuer = Issuer(life_s=0.2)
    keyring = opened(TARGET, fetch=issuer)
    issuer.problem = "the endpoint is down"
    until(lambda: keyring._sign_ins[ENTRA]._living() is None)
    got: list[tuple[str, str] | None] = []
    waiting = threading.Thread(target=lambda: got.append(keyring.header(TARGET, GUARD_S)))
    waiting.start()
    issuer.life_s, issuer.problem = 1_000.0, ""
    waiting.join(GUARD_S)

    assert got == [("Authorization", f"Bearer secret-token-{issuer.asked}")]


def test_a_closed_keyring_asks_no_more(opened: Opening) -> None:
    before = set(threading.enumerate())
    issuer = Issuer(life_s=0.1)
    keyring = opened(TARGET, fetch=issuer)
    renewing = set(threading.enumerate()) - before
    until(lambda: issuer.asked > 2)
    keyring.close()

    assert len(renewing) == 1
    until(lambda: not renewing & set(threading.enumerate()))


# Hiding.


def test_every_secret_of_every_target_is_taken_out_of_texts(opened: Opening) -> None:
    proxy = Proxy("http", "proxy.test", 8080, "someone", "password-of-proxy")
    target = build_target(
        Credential("api-key", "the-key-itself"),
        headers=(("X-Team", "header-secret"), ("User-Agent", "rtbench/1")),
        secret_headers=frozenset({"x-team"}),
        way=Way(proxy=proxy),
    )
    keyring = opened(target, TARGET, fetch=Issuer())
    in_base64 = base64.b64encode(b"someone:password-of-proxy").decode()
    text = f"the-key-itself, header-secret, password-of-proxy, {in_base64}, secret-token-1, rtbench/1"

    assert keyring.hide(text) == "***, ***, ***, ***, ***, rtbench/1"


def test_old_tokens_are_hidden_as_well_and_not_more_than_the_last_ones_are_kept(opened: Opening) -> None:
    issuer = Issuer(life_s=1_000)
    keyring = opened(TARGET, fetch=issuer)
    for _ in range(REMEMBERED + 5):
        issuer.life_s += 1
        keyring._sign_ins[ENTRA]._renew()

    assert keyring.hide(f"secret-token-{issuer.asked} secret-token-{issuer.asked - 5}x") == "*** ***x"
    assert len(keyring._tokens) == REMEMBERED


@given(st.text(max_size=40))
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    keyring = Keyring([build_target(Credential("api-key", "\0-no-text-of-hypothesis-has-this"))])

    assert keyring.hide(text) == text
