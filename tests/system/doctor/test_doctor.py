"""`rtbench doctor` in its own process, against simulators that accept its session, and simulators
that refuse it in different ways.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulator_process import ROOT, Ready, quick_simulator
from tests.system.end_to_end.locust_process import rtbench
from tests.system.end_to_end.proxies import running_proxy

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


def test_an_unknown_reader_is_refused_before_any_check() -> None:
    shown = doctor(RTBENCH_READER="kqueue")

    assert (shown.returncode, shown.stdout) == (2, "")
    (line,) = shown.stderr.splitlines()
    assert "RTBENCH_READER=kqueue: it must be io_uring or epoll" in line


def test_an_accessible_service_is_checked_including_a_turn(simulator: Ready) -> None:
    shown = doctor("--url", simulator.urls["preview"], "--api-key-env", "KEY")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert max(map(len, shown.stdout.splitlines())) <= 100
    output = " ".join(shown.stdout.split())
    for part in (
        "open files",
        "kernel timestamps",
        "wall clock",
        "a key of 25 characters, in the header api-key",
        "SIMULATED: HTTP 101 in",
        "apim-request-id",
        "ends in at most 60 min",
        "voice alloy",
        "pass turn ttfa",
        "audio out; $",
        "preview dialect",
    ):
        assert part in output
    assert "failed" not in output
    assert "\x1b" not in shown.stdout


def test_the_media_of_a_telephone_call_are_checked(simulator: Ready) -> None:
    arguments = [
        "--url",
        simulator.urls["agent_sip"],
        "--json",
        "--auth",
        "basic",
        "--api-key-env",
        "LOGIN",
    ]
    found = findings(doctor(*arguments, LOGIN=f"agent:{KEY}"))

    passing = {"call", "authentication", "codec", "greeting", "turn", "media"}
    assert {name: found[name]["result"] for name in passing} == dict.fromkeys(passing, "pass")
    assert "accepted them" in found["authentication"]["message"]
    assert {"packets", "packets at agent", "media clock", "round trip"} <= found.keys()
    assert found.keys().isdisjoint(
        {"compression", "upgrade", "clock difference", "limits", "audio"}
    )


def test_the_audio_of_a_call_over_webrtc_is_checked(simulator: Ready) -> None:
    call = ("--transport", "webrtc", "--offer", "ephemeral", "--api-key-env", "KEY")
    shown = findings(doctor("--url", simulator.urls["openai"], *call, "--json"))

    passing = {"ephemeral key", "call", "candidates", "UDP", "DTLS", "codec"}
    assert {name: shown[name]["result"] for name in passing} == dict.fromkeys(passing, "pass")
    assert "missing or late" in shown["packets"]["message"]


def test_a_refusal_is_explained(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--key", KEY, "--fault", "missing_role") as ready:
        shown = doctor("--url", ready.urls["ga"], "--api-key-env", "KEY", "--json")
    found = findings(shown)

    assert shown.returncode == 1
    assert KEY not in shown.stdout
    assert (found["upgrade"]["result"], found["turn"]["result"]) == ("fail", "skipped")
    assert "az role assignment create" in found["upgrade"]["remedy"]


def test_a_working_proxy_is_shown_without_its_password(simulator: Ready) -> None:
    with running_proxy("someone", "password-of-proxy") as proxy:
        arguments = [
            "--url",
            simulator.urls["ga"],
            "--api-key-env",
            "KEY",
            "--proxy",
            proxy.url("socks5h"),
        ]
        shown = doctor(*arguments, "--no-turn", "--json")
    found = findings(shown)

    assert shown.returncode == 0
    assert found["proxy"]["message"].startswith(
        f"socks5://127.0.0.1:{proxy.port}: opened a tunnel to 127.0.0.1:"
    )
    assert "to the proxy" in found["round trip"]["message"]
    assert len(proxy.asked) == 2  # one request by the check of the route, and one by the session
    assert "password-of-proxy" not in shown.stdout
