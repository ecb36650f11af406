"""One token from azure-identity: what is read of its answers and errors, and its real code against a local endpoint."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.target.identity import SignInError, public_claims, read_token, shortened, sign_in_error
from bench.target.target import Entra
from tests.simulator_process import ROOT
from tests.target.identity_endpoint import HEADER, TOKEN, IdentityEndpoint, identity_endpoint

ENTRA = Entra("https://cognitiveservices.azure.com/.default")


# Reading what was answered.


@given(st.text())
def test_any_answer_is_a_token_that_fits_a_header_or_an_error(secret: str) -> None:
    try:
        token = read_token(secret, int(time.time()) + 60, "Issuer")
    except SignInError:
        assert not secret or not all("!" <= character <= "~" for character in secret)
    else:
        assert token.bearer.header() == ("Authorization", f"Bearer {secret}")
        assert secret not in repr(token) or len(secret) < 8


@given(st.text() | st.binary().map(lambda data: f"a.{base64.urlsafe_b64encode(data).decode()}.c"))
def test_claims_of_anything_are_texts(secret: str) -> None:
    assert all(isinstance(value, str) for value in public_claims(secret).values())


def test_claims_are_read_from_a_jwt() -> None:
    claims = {"aud": "x", "tid": "t", "oid": "o", "exp": 7, "name": "Somebody"}
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    assert public_claims(f"head.{part}.sign") == {"aud": "x", "tid": "t", "oid": "o", "exp": "7"}


CHAIN = """DefaultAzureCredential failed to retrieve a token from the included credentials.
Attempted credentials:
\tEnvironmentCredential: EnvironmentCredential authentication unavailable. Environment variables are not configured.
Visit https://aka.ms/azsdk/python/identity/environmentcredential/troubleshoot to troubleshoot this issue.
\tAzureCliCredential: Please run 'az login' to set up an account
To mitigate this issue, please refer to the troubleshooting guidelines here at https://aka.ms/azsdk/python."""


def test_of_a_chain_each_credential_and_its_reason_stand_in_one_line() -> None:
    assert str(sign_in_error(ENTRA, ValueError(CHAIN))) == (
        "signing in through Entra ID failed (EnvironmentCredential: Environment variables are not configured; "
        "AzureCliCredential: Please run 'az login' to set up an account): sign in with `az login`, or set "
        "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or use a key"
    )


@given(st.text())
def test_a_reason_is_one_short_line(text: str) -> None:
    assert len(shortened(text, 50)) <= 50
    assert "\n" not in shortened(text, 50)


def test_a_reason_holds_neither_an_answer_nor_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "the-client-secret")
    jwt = "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.eyJhdWQiOiJodHRwczovL2NvZ25pdGl2ZX.c2lnbmF0dXJl"
    said = shortened(f'Unexpected response "{{"token": "x"}}", the-client-secret, {jwt}\nContent: y', 200)

    assert said == 'Unexpected response "{…}", ***, *** {…}'


@pytest.mark.parametrize(
    ("words", "said"),
    [("None, None", "endpoint refused"), ("500, out of order", "endpoint refused: 500, out of order")],
)
def test_a_refusal_by_an_identity_endpoint_is_not_called_a_missing_one(words: str, said: str) -> None:
    text = "App Service managed identity configuration not found in environment. Token request error: (invalid_scope) "

    assert shortened(text + words, 200) == f"App Service managed identity {said}"


# Azure-identity's real code, in a process that patches the standard library first.

PATCHED = """
from gevent import monkey
monkey.patch_all()
import logging, os, sys, time
import gevent
import http.client
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
logging.getLogger("urllib3").propagate = True
from bench.errors import BenchError
from bench.protocol.dialects import Dialect
from bench.target.target import Entra, Target
from bench.target.tokens import Keyring

SCOPE = "https://cognitiveservices.azure.com/.default"
GUARD_S = 60.0
incidents = []

def target(kind="default", **more):
    way = Entra(SCOPE, kind, **more)
    return Target("arm", "127.0.0.1", 1, False, "/", Dialect.GA, "azure", way)

def told(query):
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["PORT"]))
    connection.request("GET", "/told?" + query)
    answer = __import__("json").loads(connection.getresponse().read())
    connection.close()
    return answer

def until(condition):
    limit = time.monotonic() + GUARD_S
    while not condition():
        assert time.monotonic() < limit, "it never came true"
        gevent.sleep(0.01)

def keyring(*targets):
    made = Keyring(targets, incident=lambda kind, text: incidents.append(text))
    made.open()
    return made
"""


def run_patched(program: str, environment: dict[str, str]) -> str:
    """What a program printed; it has ended well, and nothing secret is in it."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PATCHED + program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    assert TOKEN not in ended.stdout
    assert HEADER not in ended.stdout
    return ended.stdout


def test_azure_identity_gives_one_token_to_a_hundred_at_once_and_says_who_answered() -> None:
    with identity_endpoint("life=3600") as endpoint:
        shown = run_patched(
            """
one = target()
ring = keyring(one, target())
callers = [gevent.spawn(ring.header, one, 0) for _ in range(100)]
headers = {caller.get() for caller in callers}
assert len(headers) == 1, "several tokens"
assert told("")["asked"] == "1", told("")
answered = ring.answered_by(one)
assert 3500 < answered.seconds_left < 3601, answered.seconds_left
assert ring.hide(headers.pop()[1]) == "Bearer ***"
print(answered.credential, answered.scope, answered.claims)
""",
            endpoint.environment,
        )

    assert "ManagedIdentityCredential (AppServiceCredential) https://cognitiveservices.azure.com/.default" in shown
    assert "'tid': 'a-tenant'" in shown


def test_tokens_of_seconds_are_renewed_while_callers_never_wait() -> None:
    with identity_endpoint("life=5") as endpoint:
        run_patched(
            """
one = target("managed_identity")
ring = keyring(one)
seen = set()
while len(seen) < 3:
    seen.add(ring.header(one, 0)[1])
    gevent.sleep(0.005)
assert incidents == [], incidents
assert int(told("")["asked"]) <= len(seen) + 1
""",
            endpoint.environment,
        )


@pytest.mark.parametrize("fault", ["500", "400", "garbage", "newline", "ended", "quoting"])
def test_an_endpoint_that_fails_is_lived_through_and_told(fault: str) -> None:
    with identity_endpoint("life=3") as endpoint:
        run_patched(
            f"""
one = target("managed_identity")
ring = keyring(one)
told("fault={fault}")
until(lambda: incidents)
for _ in range(3):
    ring.header(one, GUARD_S)  # the old token serves
def dead():
    try:
        return not ring.header(one, 0)
    except BenchError as error:
        return error
until(dead)
print(dead())
told("fault=none")
ring.header(one, GUARD_S)
until(lambda: "works again" in incidents[-1])
print(incidents)
assert not any("\\n" in text for text in incidents)
""",
            endpoint.environment,
        )


def test_the_first_token_is_asked_for_again_where_the_endpoint_stumbles() -> None:
    with identity_endpoint("fault=500") as endpoint:
        run_patched(
            """
try:
    keyring(target("managed_identity"))
    raise AssertionError("there was a token")
except BenchError as error:
    assert "endpoint refused" in str(error), error
assert told("")["asked"] == "3", told("")
""",
            endpoint.environment,
        )


def test_an_endpoint_that_hangs_holds_nobody_up() -> None:
    with identity_endpoint("life=1000") as endpoint:
        run_patched(
            """
from bench.target import tokens
one = target("managed_identity")
ring = keyring(one)
told("fault=slow")
renewing = gevent.spawn(ring._sign_ins[one.auth]._renew)
until(lambda: told("")["asked"] == "2")
beats = 0
while beats < 20:
    ring.header(one, 0)
    gevent.sleep(0.01)
    beats += 1
assert not renewing.ready()
renewing.kill()
""",
            endpoint.environment,
        )


def test_the_azure_cli_is_asked_for_a_token(tmp_path: Path) -> None:
    az = tmp_path / "az"
    told = json.dumps({"accessToken": f"{TOKEN}-of-cli", "expires_on": int(time.time()) + 600})
    az.write_text(
        f"#!/bin/sh\ncase \"$*\" in *cognitiveservices.azure.com*'--tenant a-tenant'*) echo '{told}';; esac\n"
    )
    az.chmod(0o755)
    environment = {
        **IdentityEndpoint(1).environment,
        "AZURE_TOKEN_CREDENTIALS": "",
        "PATH": f"{tmp_path}:/usr/bin:/bin",
    }
    shown = run_patched(
        """
one = target("azure_cli", tenant_id="a-tenant")
ring = keyring(one)
assert ring.header(one, 0)[1].endswith("-of-cli")
print(ring.answered_by(one).credential)
""",
        environment,
    )

    assert "AzureCliCredential" in shown


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("default", "no response from the IMDS endpoint"),
        ("service_principal", "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"),
        ("workload_identity", "AZURE_FEDERATED_TOKEN_FILE"),
        ("azure_cli", "Azure CLI not found on path"),
    ],
)
def test_where_nobody_is_signed_in_one_line_says_what_was_tried_and_what_to_do(kind: str, said: str) -> None:
    environment = IdentityEndpoint(1).environment
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_TOKEN_CREDENTIALS"):
        del environment[name]
    environment |= {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9", "PATH": "/nowhere"}
    shown = run_patched(
        f"""
try:
    keyring(target({kind!r}))
except BenchError as error:
    print(type(error).__name__, error)
""",
        environment,
    )
    (line,) = [line for line in shown.splitlines() if not line.startswith("DEBUG:")]

    assert line.startswith("UsageError signing in through Entra ID failed (")
    assert said in line
