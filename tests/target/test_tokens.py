"""The keyring.

Tokens are renewed in time, are shared by targets that have the same sign-in, and are never
displayed.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.catalogue.causes import ConnectError
from bench.services.openai.dialect import GA
from bench.target import tokens
from bench.target.identity import SignInError, Token
from bench.target.target import Auth, Credential, EntraSignIn, Target
from bench.target.tokens import MAX_SESSION_NS, Keyring, NoteIncident, ignore
from bench.transport.interface import CallKey, CallKeyKind, NetworkPath, Proxy
from bench.wire.dialect import secret_placeholder
from bench.wire.service import WEBRTC
from tests.simulator_process import GUARD_S

SCOPE = "https://cognitiveservices.azure.com/.default"
ENTRA = EntraSignIn(SCOPE)


def build_target(auth: Auth, **more: Any) -> Target:
    address: Any = ("127.0.0.1", 1, False, "/openai/v1/realtime?model=x", GA, "azure")
    return Target(*address, label="arm", auth=auth, **more)


TARGET = build_target(ENTRA)


class Issuer:
    """An issuer that counts its requests. It issues tokens that are valid for `life_s`.

    If `problem` is set, it fails.
    """

    def __init__(self, life_s: float = 3_600.0) -> None:
        self.life_s, self.asked, self.problem, self.secret = life_s, 0, "", ""
        self.hangs = threading.Event()
        """An event. While it is cleared, all requests wait."""
        self.hangs.set()

    def __call__(self, way: EntraSignIn, retries: int) -> Token:
        self.asked += 1
        self.hangs.wait(GUARD_S)
        if self.problem:
            raise SignInError(self.problem)
        secret = self.secret or f"secret-token-{self.asked}"
        expires_ns = monotonic_ns() + int(self.life_s * NS_PER_S)
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
    monkeypatch.setattr(tokens, "MIN_PAUSE_S", 0.02)
    monkeypatch.setattr(tokens, "MARGIN_S", 0.05)


class Opening:
    """A factory of keyrings. All of its keyrings are closed at the end of the test."""

    def __init__(self) -> None:
        self.keyrings: list[Keyring] = []

    def __call__(self, *targets: Target, fetch: Issuer, incident: NoteIncident = ignore) -> Keyring:
        keyring = Keyring(targets, fetch=fetch, incident=incident)
        self.keyrings.append(keyring)
        keyring.open()
        return keyring


@pytest.fixture
def open_keyring() -> Iterator[Opening]:
    opening = Opening()
    yield opening
    for keyring in opening.keyrings:
        keyring.close()


# A keyring with a fake issuer.


def test_the_tokens_of_mcp_servers_replace_their_placeholders_and_are_redacted() -> None:
    secret = 'to"ken\\of-docs'
    keyring = Keyring(
        [], mcp_tokens=[Credential("DOCS", secret), Credential("CRM", "token-of-crm")]
    )
    settings = {
        "a": secret_placeholder("DOCS"),
        "b": secret_placeholder("CRM"),
        "c": secret_placeholder("OTHER"),
    }

    filled = keyring.fill(json.dumps(settings).encode())
    assert json.loads(filled) == {"a": secret, "b": "token-of-crm", "c": "{secret:OTHER}"}
    assert keyring.redact(f"{secret} and token-of-crm") == "*** and ***"
    assert "token-of" not in repr(vars(keyring))


def test_a_target_with_a_key_or_without_auth_needs_no_sign_in(open_keyring: Opening) -> None:
    issuer = Issuer()
    key = build_target(Credential("api-key", "a-key-of-ours"))
    keyring = open_keyring(key, build_target(None), fetch=issuer)

    assert keyring.header(key, 0) == ("api-key", "a-key-of-ours")
    assert keyring.header(build_target(None), 0) is None
    assert keyring.answered_by(key) is None
    assert issuer.asked == 0


def test_a_token_is_renewed_before_it_ends(open_keyring: Opening) -> None:
    issuer = Issuer(life_s=0.4)
    keyring = open_keyring(TARGET, fetch=issuer)
    first = keyring.header(TARGET, GUARD_S)

    until(lambda: keyring.header(TARGET, GUARD_S) != first)


def test_each_failed_renewal_and_the_recovery_are_reported_once(
    open_keyring: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_OUTAGE_BACKOFF_S", 0.02)
    issuer, incidents = Issuer(life_s=0.3), Incidents()
    open_keyring(TARGET, fetch=issuer, incident=incidents)
    issuer.problem = "the endpoint is down"
    until(lambda: len(incidents) >= 3)
    issuer.problem = ""
    until(lambda: "works again" in incidents[-1][1])

    assert {kind for kind, _ in incidents} == {"auth_refresh"}
    again = [text for _, text in incidents if "works again" in text]
    assert again == [f"signing in through Entra ID works again after {len(incidents) - 1} failures"]
    assert all(text.startswith("the endpoint is down (") for _, text in incidents[:-1])


def test_the_pause_after_failures_doubles_and_leaves_time_before_the_token_ends(
    open_keyring: Opening,
) -> None:
    keyring = open_keyring(TARGET, fetch=Issuer(life_s=1_000))
    sign_in = keyring._renewers[ENTRA]
    pauses = []
    for sign_in._failures in range(1, 12):
        pauses.append(sign_in._pause_s())

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]


def test_without_a_valid_token_a_waiting_call_fails_with_the_reason(open_keyring: Opening) -> None:
    issuer = Issuer(life_s=0.2)
    keyring = open_keyring(TARGET, fetch=issuer)
    issuer.problem = "the endpoint is down"
    until(
        lambda: (
            keyring._renewers[ENTRA]._living() is None and keyring._renewers[ENTRA]._failures > 0
        )
    )

    with pytest.raises(ConnectError) as caught:
        keyring.header(TARGET, 0.05)
    assert (caught.value.outcome, caught.value.detail) == (
        "connect_failed:token",
        "the endpoint is down",
    )


def test_a_waiting_call_gets_the_next_token(
    open_keyring: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_OUTAGE_BACKOFF_S", 0.02)
    issuer = Issuer(life_s=0.2)
    keyring = open_keyring(TARGET, fetch=issuer)
    issuer.problem = "the endpoint is down"
    until(lambda: keyring._renewers[ENTRA]._living() is None)
    got: list[tuple[str, str] | None] = []
    waiting = threading.Thread(target=lambda: got.append(keyring.header(TARGET, GUARD_S)))
    waiting.start()
    until(lambda: keyring.waiter_count == 1)
    issuer.life_s, issuer.problem = 1_000.0, ""
    waiting.join(GUARD_S)

    assert keyring.waiter_count == 0
    assert got == [("Authorization", f"Bearer secret-token-{issuer.asked}")]


def test_a_renewal_that_hangs_is_a_failure(
    open_keyring: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "FETCH_LIMIT_S", 0.2)
    monkeypatch.setattr(tokens, "MAX_OUTAGE_BACKOFF_S", 0.02)
    issuer, incidents = Issuer(life_s=0.3), Incidents()
    keyring = open_keyring(TARGET, fetch=issuer, incident=incidents)
    issuer.hangs.clear()
    until(lambda: len(incidents) >= 2)
    issuer.hangs.set()
    until(lambda: "works again" in incidents[-1][1])

    assert "no answer within 0.2 s" in incidents[0][1]
    assert keyring.header(TARGET, GUARD_S) is not None


def test_a_first_token_that_never_comes_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "FETCH_LIMIT_S", 0.05)
    issuer = Issuer()
    issuer.hangs.clear()

    with pytest.raises(UsageError, match=r"no answer within 0\.05 s.*az login"):
        Keyring([TARGET], fetch=issuer).open()
    issuer.hangs.set()


def test_a_call_without_a_token_has_the_time_since_the_last_request(open_keyring: Opening) -> None:
    issuer = Issuer(life_s=0.2)
    keyring = open_keyring(TARGET, fetch=issuer)
    sign_in = keyring._renewers[ENTRA]
    issuer.hangs.clear()
    until(lambda: sign_in._living() is None and issuer.asked > 1)

    with pytest.raises(
        ConnectError, match="no token was received; the next one was requested 0 s ago"
    ):
        keyring.header(TARGET, 0.01)
    issuer.hangs.set()


def test_an_error_in_the_incident_callback_does_not_end_renewals(
    open_keyring: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_OUTAGE_BACKOFF_S", 0.02)

    def broken(kind: str, text: str) -> None:
        raise BrokenPipeError

    issuer = Issuer(life_s=0.1)
    keyring = open_keyring(TARGET, fetch=issuer, incident=broken)
    issuer.problem = "the endpoint is down"
    until(lambda: issuer.asked >= 3)
    issuer.problem = ""

    assert keyring.header(TARGET, GUARD_S) is not None


def renewing(before: set[threading.Thread]) -> set[threading.Thread]:
    return {one for one in set(threading.enumerate()) - before if one.name == "rtbench-sign-in"}


def test_a_refused_sign_in_ends_the_other_renewals() -> None:
    class RefusesSecondToken(Issuer):
        def __call__(self, way: EntraSignIn, retries: int) -> Token:
            if self.asked:
                raise SignInError("no")
            return super().__call__(way, retries)

    before = set(threading.enumerate())
    other = build_target(EntraSignIn("https://ai.azure.com/.default"))
    with pytest.raises(UsageError, match="no"):
        Keyring([TARGET, other], fetch=RefusesSecondToken(life_s=0.1)).open()

    until(lambda: not renewing(before))


def test_a_closed_keyring_requests_no_tokens(open_keyring: Opening) -> None:
    before = set(threading.enumerate())
    issuer = Issuer(life_s=0.1)
    keyring = open_keyring(TARGET, fetch=issuer)
    began = renewing(before)
    until(lambda: issuer.asked > 2)
    keyring.close()

    assert len(began) == 1
    until(lambda: not renewing(before))


# Removal of secrets.


def test_each_secret_of_each_target_is_hidden(open_keyring: Opening) -> None:
    proxy = Proxy("http", "proxy.test", 8080, "someone", "password-of-proxy")
    target = build_target(
        Credential("api-key", "the-key-itself"),
        headers=(("X-Team", "team header-secret"), ("User-Agent", "rtbench/1")),
        secrets=(Credential("X-Team", "header-secret"),),
        network_path=NetworkPath(proxy=proxy),
    )
    keyring = open_keyring(target, TARGET, fetch=Issuer())
    in_base64 = base64.b64encode(b"someone:password-of-proxy").decode()
    text = (
        f"the-key-itself, team header-secret, password-of-proxy, {in_base64}, secret-token-1,"
        " rtbench/1"
    )

    assert keyring.redact(text) == "***, team ***, ***, ***, ***, rtbench/1"


def test_each_spelling_of_proxy_credentials_is_hidden() -> None:
    with_password = build_target(
        None, network_path=NetworkPath(proxy=Proxy("http", "p", 1, "ann", "p@ss/word:x"))
    )
    by_token = build_target(
        None, network_path=NetworkPath(proxy=Proxy("http", "p", 1, "a-token-as-user"))
    )
    keyring = Keyring([with_password, by_token])
    basic = base64.b64encode(b"a-token-as-user:").decode()

    assert (
        keyring.redact(f"p@ss/word:x, p%40ss%2Fword%3Ax, a-token-as-user, {basic}")
        == "***, ***, ***, ***"
    )


KEY = "sk-a-key-that-nobody-may-see"


@pytest.mark.parametrize(
    "quoted", [f"{KEY}: bad {KEY}!", f"bad {KEY[:12]}"], ids=["complete", "truncated"]
)
def test_a_key_that_the_refusal_of_a_key_for_calls_quotes_is_hidden(
    monkeypatch: pytest.MonkeyPatch, quoted: str
) -> None:
    """The text that a refusal becomes ends with a bracket, so a truncated key is no longer at
    its end.
    """

    def refuse(*_: object) -> CallKey:
        raise ConnectError("connect_failed:401", f"HTTP 401: {quoted}")

    monkeypatch.setattr(
        tokens, "CALL_KEYS", {WEBRTC: CallKeyKind("ephemeral key", "check the key", refuse)}
    )
    path = NetworkPath(offer="ephemeral")
    target = build_target(Credential("api-key", KEY), link=WEBRTC, network_path=path)

    with pytest.raises(UsageError) as caught:
        Keyring([target]).open()
    assert str(caught.value).startswith(
        "no ephemeral key for calls over WebRTC (connect_failed:401: HTTP 401: "
    )
    assert KEY[:8] not in str(caught.value)


@pytest.mark.parametrize(
    ("end_s", "left_s"),
    [
        (lambda now_s: None, None),
        (lambda now_s: now_s * 1_000, None),  # in milliseconds
        (lambda now_s: 2**63 - 1, None),
        (lambda now_s: 1e30, None),
        (lambda now_s: now_s + 600.5, 600),
        (lambda now_s: int(now_s) + 7_200, 7_200),
    ],
    ids=["none", "milliseconds", "a large integer", "a large number", "a fraction", "two hours"],
)
def test_a_key_whose_end_is_not_plausible_is_renewed_as_one_without_an_end(
    monkeypatch: pytest.MonkeyPatch, end_s: Callable[[float], float | None], left_s: float | None
) -> None:
    issued = [0]

    def issue(*_: object) -> CallKey:
        issued[0] += 1
        return CallKey(f"ek-{issued[0]}", end_s(utc_ns() / NS_PER_S))

    monkeypatch.setattr(
        tokens, "CALL_KEYS", {WEBRTC: CallKeyKind("ephemeral key", "check the key", issue)}
    )
    monkeypatch.setattr(tokens, "MIN_KEY_LIFE_S", 0.1)
    target = build_target(None, link=WEBRTC, network_path=NetworkPath(offer="ephemeral"))
    keyring = Keyring([target])
    keyring.open()
    try:
        left = keyring.call_key_seconds_left(target)
        assert (
            left is None if left_s is None else left is not None and left_s - 5 < left < left_s + 2
        )
        if left_s is None:
            until(lambda: issued[0] > 1)
    finally:
        keyring.close()


def test_the_pause_before_a_renewal_is_one_that_a_timer_can_wait_for(open_keyring: Opening) -> None:
    keyring = open_keyring(TARGET, fetch=Issuer(life_s=1e25))

    assert keyring._renewers[ENTRA]._pause_s() < threading.TIMEOUT_MAX


@pytest.mark.parametrize(
    "url", ["http://ann:pass@proxy:1/", "wss://token@host", "http://a:b@c@proxy"]
)
def test_user_info_of_urls_is_hidden(url: str) -> None:
    host = url.rpartition("@")[2]

    assert (
        Keyring([TARGET]).redact(f"cannot use '{url}' (a@b)")
        == f"cannot use '{url.partition(':')[0]}://***@{host}' (a@b)"
    )


def test_with_a_sign_in_passwords_of_environment_proxies_are_hidden(
    open_keyring: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://ann:no/url:at%20all@proxy")
    keyring = open_keyring(TARGET, fetch=Issuer())

    assert (
        keyring.redact("Failed to parse: no/url:at%20all, no/url:at all")
        == "Failed to parse: ***, ***"
    )


def test_each_token_that_a_session_may_have_used_is_hidden(
    open_keyring: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer(life_s=1_000)
    keyring = open_keyring(TARGET, fetch=issuer)
    sign_in = keyring._renewers[ENTRA]
    for _ in range(50):
        issuer.life_s += 1
        sign_in._renew()

    text = " ".join(f"secret-token-{number}" for number in range(issuer.asked, 0, -1))
    assert "secret-token" not in keyring.redact(text)

    later_ns = monotonic_ns() + MAX_SESSION_NS + 2_000 * NS_PER_S
    monkeypatch.setattr(tokens, "monotonic_ns", lambda: later_ns)
    issuer.life_s = 10_000
    sign_in._renew()
    assert len(sign_in.tokens) == 1


@given(st.text(max_size=40))
def test_a_text_without_secrets_is_unchanged(text: str) -> None:
    assume("://" not in text)
    keyring = Keyring([build_target(Credential("api-key", "\0-no-text-of-hypothesis-has-this"))])

    assert keyring.redact(text) == text
