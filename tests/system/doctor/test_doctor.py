"""`rtbench doctor` in its own process, against simulators that accept its session, and simulators that refuse it in
different ways.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulator_process import ROOT, Ready, quick_simulator
from tests.system.end_to_end.locust_process import rtbench
from tests.system.end_to_end.proxies import running_proxy
from tests.target.identity_endpoint import identity_endpoint

KEY = "a-key-that-nobody-may-see"


def doctor(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return rtbench("doctor", *arguments, cwd=ROOT, **{"KEY": KEY} | environment)


def findings(shown: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    """Return the findings that `--json` prints about the only target, by name."""
    assert shown.stderr == "", shown.stderr
    (target,) = json.loads(shown.stdout)["targets"]
    return {finding["name"]: finding for finding in target["findings"]}


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("simulator"), "--key", KEY) as ready:
        yield ready


def test_an_accessible_service_is_checked_including_a_turn(simulator: Ready) -> None:
    shown = doctor("--url", simulator.urls["preview"], "--api-key-env", "KEY")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert max(map(len, shown.stdout.splitlines())) <= 100
    output = " ".join(shown.stdout.split())
    for part in ("open files", "kernel timestamps", "wall clock", "a key of 25 characters, in the header api-key",
                 "SIMULATED: HTTP 101 in", "apim-request-id", "ends in at most 60 min", "voice alloy",
                 "pass turn ttfa", "audio out; $", "preview dialect"):  # fmt: skip
        assert part in output
    assert "failed" not in output
    assert "\x1b" not in shown.stdout


def test_the_greeting_and_the_answer_of_an_agent_are_checked(simulator: Ready) -> None:
    found = findings(doctor("--url", simulator.urls["agent_pcm"], "--dialect", "pcm", "--json", "--api-key-env", "KEY"))

    assert {found[name]["result"] for name in ("upgrade", "greeting", "turn")} == {"pass"}
    assert found["turn"]["message"].startswith("answered: voice_to_voice ")


def test_the_media_of_a_telephone_call_are_checked(simulator: Ready) -> None:
    arguments = ["--url", simulator.urls["agent_sip"], "--json", "--auth", "basic", "--api-key-env", "LOGIN"]
    found = findings(doctor(*arguments, LOGIN=f"agent:{KEY}"))

    passing = {"call", "authentication", "codec", "greeting", "turn", "media"}
    assert {name: found[name]["result"] for name in passing} == dict.fromkeys(passing, "pass")
    assert "accepted them" in found["authentication"]["message"]
    assert {"packets", "packets at agent", "media clock", "round trip"} <= found.keys()
    assert found.keys().isdisjoint({"compression", "upgrade", "clock difference", "limits", "audio"})


def test_a_refusal_is_explained(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--key", KEY, "--fault", "missing_role") as ready:
        shown = doctor("--url", ready.urls["ga"], "--api-key-env", "KEY", "--json")
    found = findings(shown)

    assert shown.returncode == 1
    assert KEY not in shown.stdout
    assert (found["upgrade"]["result"], found["turn"]["result"]) == ("fail", "skipped")
    assert "az role assignment create" in found["upgrade"]["remedy"]


# The route.


def test_a_working_proxy_is_shown_without_its_password(simulator: Ready) -> None:
    with running_proxy("someone", "password-of-proxy") as proxy:
        arguments = ["--url", simulator.urls["ga"], "--api-key-env", "KEY", "--proxy", proxy.url("socks5h")]
        shown = doctor(*arguments, "--no-turn", "--json")
    found = findings(shown)

    assert shown.returncode == 0
    assert found["proxy"]["message"].startswith(f"socks5://127.0.0.1:{proxy.port}: opened a tunnel to 127.0.0.1:")
    assert "to the proxy" in found["round trip"]["message"]
    assert len(proxy.asked) == 2  # one request by the check of the route, and one by the session
    assert "password-of-proxy" not in shown.stdout


# Signing in.


def test_the_source_of_a_token_is_printed_without_the_token(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--token-lifetime", "300") as ready:
        assert ready.identity is not None
        environment = {
            "IDENTITY_ENDPOINT": ready.identity["endpoint"],
            "IDENTITY_HEADER": ready.identity["header"],
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        }
        shown = doctor("--url", ready.urls["ga"], "--auth", "entra", "--no-turn", "--json", **environment)
    found = findings(shown)

    assert shown.returncode == 0
    assert re.match(
        r"ManagedIdentityCredential \(AppServiceCredential\) issued a token that is valid for \d min, for " r"https://",
        found["sign-in"]["message"],
    )
    assert found["session"]["result"] == "pass"
    assert "eyJ" not in shown.stdout


def test_a_failed_sign_in_has_a_remedy_and_the_network_is_checked(simulator: Ready) -> None:
    with identity_endpoint("fault=400") as endpoint:
        arguments = ["--url", simulator.urls["ga"], "--auth", "managed_identity", "--json"]
        shown = doctor(*arguments, **endpoint.environment)
    found = findings(shown)

    assert (shown.returncode, found["sign-in"]["result"]) == (1, "fail")
    assert "assign a managed identity" in found["sign-in"]["remedy"]
    assert found["tcp"]["result"] == "pass"
    assert found["upgrade"]["message"] == "needs sign-in"


@pytest.mark.parametrize("offline", [(), ("--offline",)])
def test_without_a_service_the_machine_is_checked(offline: tuple[str, ...]) -> None:
    shown, document = doctor(*offline), json.loads(doctor(*offline, "--json").stdout)

    assert shown.returncode == 0, shown.stderr
    assert "processors" in shown.stdout
    assert "AZURE_OPENAI_ENDPOINT" in shown.stdout
    assert (document["result"], document["targets"]) == ("pass", [])
    assert "processors" in {finding["name"] for finding in document["machine"]}


def test_offline_an_error_in_targets_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "targets.yaml").write_text("targets: {a: {endpointt: x}}", encoding="utf-8")
    shown = rtbench("doctor", "--offline", cwd=tmp_path)

    assert (shown.returncode, "targets.yaml:1:15: a has an unknown key 'endpointt'" in shown.stderr) == (2, True)
