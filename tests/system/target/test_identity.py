"""One token from azure-identity: how its answers and errors are parsed, and its real code
against a local endpoint.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.files.sanitize import one_line
from bench.target.identity import SignInError, public_reason, read_token, sign_in_error
from bench.target.target import EntraSignIn
from bench.transport.interface import Proxy
from rtbench_simulator.serving.certificates import loopback_tls
from tests import forked
from tests.simulator_process import ROOT
from tests.system.end_to_end.proxies import running_proxy
from tests.target.identity_endpoint import HEADER, TOKEN, IdentityEndpoint, identity_endpoint

ENTRA = EntraSignIn("https://cognitiveservices.azure.com/.default")


# The parsing of answers.


@given(st.text())
def test_any_token_is_a_valid_header_value_or_an_error(secret: str) -> None:
    try:
        token = read_token(secret, int(time.time()) + 60, "Issuer")
    except SignInError:
        assert not secret or not all("!" <= character <= "~" for character in secret)
    else:
        assert token.bearer.header() == ("Authorization", f"Bearer {secret}")
        assert secret not in repr(token) or len(secret) < 8


def test_a_failed_powershell_is_not_said_to_be_slow() -> None:
    """Without a reason: azure-identity only logs it."""
    failed = "Failed to invoke PowerShell. Enable debug logging for additional information."
    slow = "Failed to invoke PowerShell.\nTo mitigate this issue, please refer"

    assert public_reason(failed, 200) == "PowerShell failed and stated no reason"
    assert public_reason(slow, 200) == "PowerShell did not answer within 30 s"


def test_a_reason_contains_no_response_and_no_token() -> None:
    jwt = "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.eyJhdWQiOiJodHRwczovL2NvZ25pdGl2ZX.c2lnbmF0dXJl"
    reason = public_reason(f'Unexpected response "{{"token": "x"}}", {jwt}\nContent: y', 200)

    assert reason == 'Unexpected response "{…}", *** {…}'


@pytest.mark.parametrize("before", [0, 190])
def test_a_truncated_error_contains_no_secret(monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "the-client-secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:pass/word@proxy:99999")
    entra = replace(ENTRA, proxy=Proxy("http", "p", 1, "ann", "word-of-pass"))
    parts = (
        "the-client-secret",
        "http://ann:pass/word@proxy:99999",
        "word-of-pass",
        "https://me:short@host/x",
    )

    for secret in parts:
        output = str(sign_in_error(entra, ValueError(f"{'x' * before} {secret}")))
        assert not any(word in output for word in ("the-clie", "pass/", "word-of-", "short")), (
            output
        )


CHAIN = """DefaultAzureCredential failed to retrieve a token from the included credentials.
Attempted credentials:
\tEnvironmentCredential: Environment variables are not fully configured.
Visit https://aka.ms/azsdk/python/identity/environmentcredential/troubleshoot to troubleshoot this issue.
\tManagedIdentityCredential: ManagedIdentityCredential authentication unavailable.
\tVisualStudioCodeCredential: VisualStudioCodeCredential requires the 'azure-identity-broker' package to be installed.
\tAzureCliCredential: {}
\tAzurePowerShellCredential: PowerShell is not installed
\tAzureDeveloperCliCredential: {}
To mitigate this issue, please refer to the troubleshooting guidelines here at https://aka.ms/x."""
NO_CLI, NO_AZD = (
    "Azure CLI not found on path",
    "Azure Developer CLI could not be found. Please visit https://aka.ms/azure-dev",
)


@pytest.mark.parametrize(
    ("cli", "azd", "expected"),
    [
        (
            "Please run 'az login' to set up an account",
            NO_AZD,
            (
                "(AzureCliCredential: Please run 'az login' to set up an account; not set up:"
                " Environment, ManagedIdentity, VisualStudioCode, AzurePowerShell,"
                " AzureDeveloperCli): sign in with `az login`, or set "
            ),
        ),
        (
            "Failed to invoke the Azure CLI",
            NO_AZD,
            (
                "(AzureCliCredential: the Azure CLI did not answer within 30 s; not set up:"
                " Environment, ManagedIdentity, VisualStudioCode, AzurePowerShell,"
                " AzureDeveloperCli): run `az account get-access-token` to see why"
            ),
        ),
        (
            NO_CLI,
            "Failed to invoke the Azure Developer CLI",
            (
                "(AzureDeveloperCliCredential: the Azure Developer CLI did not answer within 30 s;"
                " not set up: Environment, ManagedIdentity, VisualStudioCode, AzureCli,"
                " AzurePowerShell): run `azd auth token` to see "
            ),
        ),
        (
            "ERROR: AADSTS700024: Client assertion is not within its valid time range.",
            NO_AZD,
            (
                "(AzureCliCredential: ERROR: AADSTS700024: Client assertion is not within its valid"
                " time range; not set up: Environment, ManagedIdentity, VisualStudioCode,"
                " AzurePowerShell, AzureDeveloperCli): the token with which the job"
            ),
        ),
        (
            NO_CLI,
            "ERROR: AADSTS50034: The account could not be found",
            (
                "(AzureDeveloperCliCredential: ERROR: AADSTS50034: The account could not be found;"
                " not set up: Environment, ManagedIdentity, VisualStudioCode, AzureCli,"
                " AzurePowerShell): sign in"
            ),
        ),
        (
            NO_CLI,
            "Failed to invoke Azure Developer CLI",
            (
                "(AzureDeveloperCliCredential: the Azure Developer CLI failed and stated no reason;"
                " not set up: Environment, ManagedIdentity, VisualStudioCode, AzureCli,"
                " AzurePowerShell): run `azd auth token`"
            ),
        ),
        (
            NO_CLI,
            NO_AZD,
            (
                "(not set up: Environment, ManagedIdentity, VisualStudioCode, AzureCli,"
                " AzurePowerShell, AzureDeveloperCli): sign in with `az login`"
            ),
        ),
    ],
)
def test_the_reasons_of_a_chain_begin_with_its_credentials_that_are_set_up(
    cli: str, azd: str, expected: str
) -> None:
    error = str(sign_in_error(ENTRA, ValueError(CHAIN.format(cli, azd))))

    assert error.startswith(f"signing in through Entra ID failed {expected}")
    assert one_line(error) == error


# The real code of azure-identity, in a process that first patches the standard library.

PATCHED = """
from gevent import monkey
monkey.patch_all()
import logging, os, sys, time
import gevent
import http.client
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
logging.getLogger("urllib3").propagate = True
from bench.base.errors import RtbenchError
from bench.services.registry import DIALECTS
from bench.services.openai.dialect import GA
from bench.target.target import EntraSignIn, Target
from bench.target.tokens import Keyring

SCOPE = "https://cognitiveservices.azure.com/.default"
GUARD_S = 600.0
incidents = []

def target(kind="default", **more):
    way = EntraSignIn(SCOPE, kind, **more)
    return Target("127.0.0.1", 1, False, "/", GA, "azure", label="arm", auth=way)

def set_state(query):
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["PORT"]))
    connection.request("GET", "/state?" + query)
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
    """Run a program; check that it succeeds, and that its output contains no secret. Return the
    output.
    """
    ended = forked.run(
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


def test_a_failing_identity_endpoint_is_reported_without_secrets_and_recovered_from() -> None:
    with identity_endpoint("life=3") as endpoint:
        run_patched(
            """
one = target("managed_identity")
ring = keyring(one)
set_state("fault=quoting")
until(lambda: incidents)
for _ in range(3):
    ring.header(one, GUARD_S)  # the old token serves
def dead():
    try:
        return not ring.header(one, 0)
    except RtbenchError as error:
        return error
until(dead)
print(dead())
set_state("fault=none")
ring.header(one, GUARD_S)
until(lambda: "works again" in incidents[-1])
print(incidents)
assert not any("\\n" in text for text in incidents)
""",
            endpoint.environment,
        )


AUTHORITY_TOKEN = f"{TOKEN}-of-the-authority"


@contextmanager
def authority(context: ssl.SSLContext) -> Iterator[int]:
    """Run a sign-in host on loopback, with TLS, that accepts every assertion; yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps(
                {"access_token": AUTHORITY_TOKEN, "expires_in": 3_600, "token_type": "Bearer"}
            ).encode()
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def workload(folder: Path, **more: str) -> Mapping[str, str]:
    """Return the environment of a workload in a Kubernetes cluster."""
    assertion = folder / "assertion"
    assertion.write_text("an-assertion-of-the-cluster")
    known = IdentityEndpoint(1).environment
    environment = {
        name: value
        for name, value in known.items()
        if not name.startswith(("IDENTITY_", "AZURE_TOKEN_"))
    }
    tenant = {
        "AZURE_TENANT_ID": "a-tenant",
        "AZURE_CLIENT_ID": "a-client",
        "AZURE_FEDERATED_TOKEN_FILE": str(assertion),
    }
    return environment | tenant | more


@pytest.mark.parametrize(
    ("scheme", "expected"), [("http", "by the target"), ("socks5h", "by the environment")]
)
def test_a_sign_in_uses_the_given_proxy_and_certificate_authority(
    tmp_path: Path, scheme: str, expected: str
) -> None:
    ca = tmp_path / "ca.pem"
    with authority(loopback_tls(ca)) as port, running_proxy("ann", "a-password-of-hers") as proxy:
        url = proxy.url(scheme)
        explicit = expected == "by the target"
        run_patched(
            f"""
from pathlib import Path
from bench.target.network_path import parsed_proxy
proxy = parsed_proxy({url!r}, "--proxy") if {explicit} else None
one = target("workload_identity", authority="127.0.0.1:{port}", proxy=proxy, ca=Path({str(ca)!r}))
ring = keyring(one)
assert ring.header(one, 0)[1] == "Bearer " + {AUTHORITY_TOKEN!r}
""",
            {
                **workload(tmp_path),
                "NO_PROXY": "",
                "no_proxy": "",
                **({} if explicit else {"https_proxy": url}),
            },
        )

    assert [(asked.host, asked.port) for asked in proxy.asked] == [("127.0.0.1", port)]


def test_a_token_is_requested_from_the_azure_cli(tmp_path: Path) -> None:
    az = tmp_path / "az"
    token_json = json.dumps(
        {"accessToken": f"{TOKEN}-of-cli", "expires_on": int(time.time()) + 600}
    )
    az.write_text(
        "#!/bin/sh\ncase \"$*\" in *cognitiveservices.azure.com*'--tenant a-tenant'*) echo"
        f" '{token_json}';; esac\n"
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


def without_endpoint(path: str) -> dict[str, str]:
    """Return the environment of a machine without an identity endpoint, with this PATH."""
    environment = dict(IdentityEndpoint(1).environment)
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_TOKEN_CREDENTIALS"):
        del environment[name]
    return environment | {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9", "PATH": path}


ASSERTION = "ERROR: AADSTS700024: Client assertion is not within its valid time range."
NO_SUBSCRIPTION = "ERROR: No subscription found. Run 'az account set' to select a subscription."
UNREACHED = "ERROR: HTTPSConnectionPool(host='x', port=443): Max retries exceeded with url: /"


@pytest.mark.parametrize(
    ("printed", "status", "reason", "remedy"),
    [
        (ASSERTION, 1, ASSERTION.rstrip("."), f"--scope {ENTRA.scope}` in the first minutes"),
        ("ERROR: AADSTS50076: Use multi-factor", 1, "Use multi-factor", "multi-factor auth"),
        (NO_SUBSCRIPTION, 1, NO_SUBSCRIPTION.rstrip("."), "az account set --subscription NAME"),
        (UNREACHED, 1, "Max retries exceeded", "does not reach Microsoft Entra ID"),
        ("ERROR: Please run 'az login' to setup account.", 1, "setup account", "`az login`"),
        ("", 1, "the Azure CLI failed and stated no reason", "run `az account get-access-token`"),
    ],
)
def test_the_reason_that_the_azure_cli_prints_is_stated_with_its_remedy(
    tmp_path: Path, printed: str, status: int, reason: str, remedy: str
) -> None:
    """The `check_output` of gevent loses what a failed program prints."""
    az = tmp_path / "az"
    az.write_text(f'#!/bin/sh\necho "{printed}" >&2\nexit {status}\n')
    if not printed:
        az.write_text(f"#!/bin/sh\nexit {status}\n")
    az.chmod(0o755)
    environment = without_endpoint(f"{tmp_path}:/usr/bin:/bin")
    shown = run_patched(
        """
try:
    keyring(target("azure_cli"))
except RtbenchError as error:
    print("raised", error)
""",
        environment,
    )

    assert reason in shown
    assert remedy in shown.partition("): ")[2]


SLOW_CLI = "the Azure CLI did not answer within 1 s"
INTERRUPTED = """
def interrupted(limit_s, work):
    waiting, limit = gevent.getcurrent(), gevent.Timeout(GUARD_S)
    def interrupt():
        until(lambda: os.path.exists("{started}"))
        waiting.throw(limit)
    gevent.spawn(interrupt)
    with limit:
        return work()
tokens.with_timeout = interrupted
"""


@pytest.mark.parametrize(
    ("kind", "limit", "expected"),
    [
        ("azure_cli", "", f"failed ({SLOW_CLI}): run `az account get-access-token` to see why"),
        ("azure_cli", INTERRUPTED, f"failed ({SLOW_CLI}): run"),
        ("default", "", f"; AzureCliCredential: {SLOW_CLI}; not set up: "),
        ("default", INTERRUPTED, f"failed ({SLOW_CLI}): run"),
    ],
    ids=["its limit", "the total limit", "its limit in a chain", "the total limit in a chain"],
)
def test_an_azure_cli_that_does_not_answer_is_the_stated_cause(
    tmp_path: Path, kind: str, limit: str, expected: str
) -> None:
    started, az = tmp_path / "started", tmp_path / "az"
    az.write_text(f"#!/bin/sh\ntouch {started}\nexec sleep 600\n")
    az.chmod(0o755)
    environment = without_endpoint(f"{tmp_path}:/usr/bin:/bin")
    shown = run_patched(
        f"""
from bench.target import identity, tokens
identity.FETCH_LIMIT_S = 1 if {not limit} else 600
tokens.FETCH_LIMIT_S = GUARD_S
{limit.format(started=started)}
try:
    keyring(target({kind!r}))
except RtbenchError as error:
    print("raised", str(error).replace("within 600 s", "within 1 s"))
""",
        environment,
    )

    assert expected in shown.partition("raised")[2]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("default", "no response from the IMDS endpoint"),
        ("service_principal", "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"),
        ("workload_identity", "AZURE_FEDERATED_TOKEN_FILE"),
        ("azure_cli", "Azure CLI not found on path"),
    ],
)
def test_without_a_sign_in_one_line_has_the_attempts_and_a_remedy(kind: str, expected: str) -> None:
    environment = without_endpoint("/nowhere")
    shown = run_patched(
        f"""
try:
    keyring(target({kind!r}))
except RtbenchError as error:
    print(type(error).__name__, error)
""",
        environment,
    )
    (line,) = [line for line in shown.splitlines() if not line.startswith("DEBUG:")]

    assert line.startswith("UsageError signing in through Entra ID failed (")
    assert expected in line
