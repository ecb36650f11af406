"""`rtbench doctor` in a process of its own, against simulators that let it in and that refuse it in each way."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tests.simulator_process import ROOT, Ready, quick_simulator
from tests.system.end_to_end.locust_process import rtbench
from tests.system.end_to_end.proxies import running_proxy
from tests.target.identity_endpoint import HEADER, TOKEN, identity_endpoint
from tests.transport.test_certificates import write_client

KEY = "a-key-that-nobody-may-see"


def doctor(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return rtbench("doctor", *arguments, cwd=ROOT, **{"KEY": KEY} | environment)


def findings(shown: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    """What `--json` says of its one target, by name."""
    assert shown.stderr == "", shown.stderr
    (target,) = json.loads(shown.stdout)["targets"]
    return by_name(target)


def by_name(target: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in target["findings"]}


def states(found: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: finding["result"] for name, finding in found.items()}


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("simulator"), "--key", KEY) as ready:
        yield ready


@pytest.mark.parametrize("dialect", ["ga", "preview"])
def test_a_service_that_lets_us_in_is_looked_at_to_a_turn(simulator: Ready, dialect: str) -> None:
    shown = doctor("--url", simulator.urls[dialect], "--api-key-env", "KEY")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert max(map(len, shown.stdout.splitlines())) <= 100
    said = " ".join(shown.stdout.split())
    for part in ("open files", "kernel timestamps", "wall clock", "a key of 25 characters, in the header api-key",
                 "SIMULATED: HTTP 101 in", "apim-request-id", "ends in 60 min", "voice alloy",
                 "pass turn ttfa", "audio out; $", f"{dialect} dialect"):  # fmt: skip
        assert part in said
    assert "failed" not in said
    assert "\x1b" not in shown.stdout


def test_an_agent_is_heard_to_greet_and_to_answer(simulator: Ready) -> None:
    found = findings(doctor("--url", simulator.urls["agent_pcm"], "--dialect", "pcm", "--json", "--api-key-env", "KEY"))

    assert {found[name]["result"] for name in ("upgrade", "greeting", "turn")} == {"pass"}
    assert found["turn"]["message"].startswith("answered: voice_to_voice ")


def test_the_turn_can_be_left_out(simulator: Ready) -> None:
    found = findings(doctor("--url", simulator.urls["ga"], "--api-key-env", "KEY", "--no-turn", "--json"))

    assert found["session"]["result"] == "pass"
    assert found["turn"]["result"] == "skipped"


def test_the_document_has_the_machine_and_every_target(simulator: Ready) -> None:
    shown = doctor("--url", simulator.urls["ga"], "--api-key-env", "KEY", "--json")
    told: dict[str, Any] = json.loads(shown.stdout)

    assert (told["schema"], told["result"]) == (3, "pass")
    assert {finding["name"] for finding in told["machine"]} >= {
        "open files",
        "kernel timestamps",
        "clock",
        "processors",
    }
    assert told["targets"][0]["dialect"] == "ga"
    assert all(
        set(finding) == {"name", "result", "message", "remedy"}
        for finding in (*told["machine"], *told["targets"][0]["findings"])
    )


REFUSALS = {
    "api_version": ("preview", "upgrade", "this api-version is not known here"),
    "not_realtime": ("ga", "upgrade", "is not of a realtime model"),
    "bad_key": ("ga", "upgrade", "wrong key"),
    "missing_role": ("ga", "upgrade", "az role assignment create"),
    "forbidden": ("ga", "upgrade", "network rules"),
    "no_deployment": ("ga", "upgrade", "az cognitiveservices account deployment list"),
    "throttled": ("ga", "upgrade", "asks to wait 2 s"),
    "internal": ("ga", "upgrade", "out of order"),
    "unavailable": ("ga", "upgrade", "asks to wait 2 s"),
    "invalid_api_key": ("openai", "session", "OpenAI does not know the key"),
    "beta_api_shape_disabled": ("openai", "session", "--dialect ga"),
    "missing_model": ("openai", "session", "names no model"),
    "invalid_model": ("openai", "session", "no realtime model"),
    "model_not_found": ("openai", "session", "no such model"),
}


def test_each_way_of_refusing_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "targets.yaml"
    with ExitStack() as open_simulators:
        entries = ["targets:"]
        for refusal, (dialect, _, _) in REFUSALS.items():
            ready = open_simulators.enter_context(quick_simulator(tmp_path, "--key", KEY, "--fault", refusal))
            entries.append(f"  {refusal}: {{url: '{ready.urls[dialect]}', api_key_env: KEY}}")
        file.write_text("\n".join(entries))
        shown = doctor("--target-file", file, "--targets", ",".join(REFUSALS), "--json")
    told = {target["name"]: by_name(target) for target in json.loads(shown.stdout)["targets"]}

    assert (shown.returncode, shown.stderr) == (1, "")
    assert KEY not in shown.stdout
    for refusal, (_, finding, remedy) in REFUSALS.items():
        found = told[refusal]
        assert (refusal, found[finding]["result"], found["turn"]["result"]) == (refusal, "fail", "skipped")
        assert remedy in found[finding]["remedy"], refusal


def test_a_session_that_ends_before_its_turn_does_is_explained(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, more="max_session_s: 0.01\n") as ready:
        shown = doctor("--url", ready.urls["ga"], "--json")
    (failed,) = (finding for finding in findings(shown).values() if finding["result"] == "fail")

    assert shown.returncode == 1
    assert failed["name"] in ("session", "turn")
    assert (
        failed["message"].partition("expired: ")[2].startswith("session_expired: Your session hit the maximum duration")
    )
    assert "too short for a turn" in failed["remedy"]


def test_an_unknown_path_is_explained(simulator: Ready) -> None:
    url = f"ws://127.0.0.1:{simulator.port}/elsewhere"
    found = findings(doctor("--url", url, "--api-key-env", "KEY", "--json"))

    assert "there is no path /elsewhere" in found["upgrade"]["remedy"]


@contextmanager
def cutting_service() -> Iterator[str]:
    """The URL of a service that closes with as much of the key as its reason has room for, and tells its region."""

    def region(_: ServerConnection, __: Request, response: Response) -> None:
        response.headers["x-ms-region"] = "Cutland"

    def refuse(connection: ServerConnection) -> None:
        assert connection.request is not None
        said = f"no such key in any of the resources of this region: {connection.request.headers['authorization']}"
        connection.close(1008, said[:100])

    with serve(refuse, "127.0.0.1", 0, process_response=region) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/v1/realtime?model=x"
        server.shutdown()


def test_a_key_that_the_service_cuts_is_shown_no_more_than_a_whole_one() -> None:
    key = "0123456789abcdef" * 6
    with cutting_service() as url:
        shown = doctor("--url", url, "--api-key-env", "KEY", "--json", KEY=key)

    assert key[:8] not in shown.stdout
    assert "***; x-ms-region Cutland" in findings(shown)["session"]["message"]


# The way there.


def test_a_private_authority_is_named_until_it_is_trusted(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--key", KEY, "--tls") as ready:
        arguments = ["--url", ready.urls["ga"], "--api-key-env", "KEY", "--no-turn", "--json"]
        distrusted = findings(doctor(*arguments))
        trusted = findings(doctor(*arguments, "--ca-file", str(ready.ca)))

    assert distrusted["tls"]["result"] == "fail"
    assert "by rtbench simulator CA" in distrusted["tls"]["message"]
    assert "--ca-file FILE" in distrusted["tls"]["remedy"]
    assert states(distrusted)["upgrade"] == "skipped"
    assert trusted["tls"]["message"].startswith("TLSv1.")
    assert "days left; for localhost" in trusted["certificate"]["message"]
    assert "failed" not in states(trusted).values()


def test_a_port_where_nobody_listens_skips_what_is_behind_it() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        shown = doctor("--url", f"ws://127.0.0.1:{held.getsockname()[1]}/openai/v1/realtime?model=x", "--json")
    found = states(findings(shown))

    assert shown.returncode == 1
    assert (found["tcp"], found["tls"], found["upgrade"], found["turn"]) == ("fail", "skipped", "skipped", "skipped")


def test_a_name_that_does_not_exist_is_a_failure_of_dns() -> None:
    found = findings(doctor("--url", "wss://nowhere.invalid/openai/v1/realtime?model=x", "--proxy", "none", "--json"))

    assert found["dns"]["result"] == "fail"
    assert found["dns"]["remedy"]
    assert found["upgrade"]["message"] == "needs dns"


def test_a_proxy_that_opens_a_tunnel_is_shown_without_its_password(simulator: Ready) -> None:
    with running_proxy("someone", "password-of-proxy") as proxy:
        arguments = ["--url", simulator.urls["ga"], "--api-key-env", "KEY", "--proxy", proxy.url("socks5h")]
        shown = doctor(*arguments, "--no-turn", "--json")
    found = findings(shown)

    assert shown.returncode == 0
    assert found["proxy"]["message"].startswith(f"socks5://127.0.0.1:{proxy.port}: a tunnel to 127.0.0.1:")
    assert "to the proxy" in found["round trip"]["message"]
    assert len(proxy.asked) == 2  # the look at the way, and the session
    assert "password-of-proxy" not in shown.stdout


# Signing in.


def test_who_gave_the_token_is_said_and_the_token_is_not(tmp_path: Path) -> None:
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
        r"ManagedIdentityCredential \(AppServiceCredential\) gave a token that lives \d min, for https://",
        found["sign-in"]["message"],
    )
    assert found["session"]["result"] == "pass"
    assert "eyJ" not in shown.stdout


def test_a_token_of_somebody_else_is_explained(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--token-lifetime", "300") as ready, identity_endpoint("life=3600") as endpoint:
        arguments = ["--url", ready.urls["ga"], "--auth", "managed_identity", "--json"]
        shown = doctor(*arguments, **endpoint.environment)

    assert (
        "the token is refused (the token is for https://cognitiveservices.azure.com)"
        in (findings(shown)["upgrade"]["remedy"])
    )
    assert TOKEN not in shown.stdout
    assert HEADER not in shown.stdout


def test_a_sign_in_that_fails_says_what_to_do_and_the_way_is_looked_at_all_the_same(simulator: Ready) -> None:
    with identity_endpoint("fault=400") as endpoint:
        arguments = ["--url", simulator.urls["ga"], "--auth", "managed_identity", "--json"]
        shown = doctor(*arguments, **endpoint.environment)
    found = findings(shown)

    assert (shown.returncode, found["sign-in"]["result"]) == (1, "fail")
    assert "assign a managed identity" in found["sign-in"]["remedy"]
    assert found["tcp"]["result"] == "pass"
    assert found["upgrade"]["message"] == "needs sign-in"


def test_a_client_certificate_that_cannot_be_used_is_told_beside_the_other_targets(tmp_path: Path) -> None:
    own, other = write_client(tmp_path / "own"), write_client(tmp_path / "other")
    file = tmp_path / "targets.yaml"
    with quick_simulator(tmp_path, "--tls") as ready:
        keys = f"url: '{ready.urls['ga']}', ca_file: '{ready.ca}'"
        certificates = f"client_cert: '{own.certificate}', client_key: '{other.key}'"
        file.write_text(f"targets: {{odd: {{{keys}, {certificates}}}, good: {{{keys}}}}}")
        shown = doctor("--target-file", file, "--targets", "odd,good", "--no-turn", "--json")
    odd, good = map(by_name, json.loads(shown.stdout)["targets"])

    assert (shown.returncode, shown.stderr) == (1, "")
    assert "the key is another certificate's" in odd["tls"]["message"]
    assert odd["upgrade"]["message"] == "needs tls"
    assert good["session"]["result"] == "pass"


@pytest.mark.parametrize("offline", [(), ("--offline",)])
def test_where_no_service_is_named_the_machine_is_looked_at(offline: tuple[str, ...]) -> None:
    shown, document = doctor(*offline), json.loads(doctor(*offline, "--json").stdout)

    assert shown.returncode == 0, shown.stderr
    assert "processors" in shown.stdout
    assert "AZURE_OPENAI_ENDPOINT" in shown.stdout
    assert (document["result"], document["targets"]) == ("pass", [])
    assert "processors" in {finding["name"] for finding in document["machine"]}


def test_offline_a_mistake_in_the_targets_of_this_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "targets.yaml").write_text("targets: {a: {endpointt: x}}", encoding="utf-8")
    shown = rtbench("doctor", "--offline", cwd=tmp_path)

    assert (shown.returncode, "targets.yaml:1:15: a has an unknown key 'endpointt'" in shown.stderr) == (2, True)
