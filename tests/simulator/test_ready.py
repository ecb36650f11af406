"""The addresses that `rtbench simulate` prints when it listens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtbench.cli.simulate import _announce, exposed
from rtbench_simulator.profile import Profile, quiet_profile, usual_profile
from rtbench_simulator.ready import ready_document
from rtbench_simulator.serving.credentials import Authenticator, TokenIssuer
from rtbench_simulator.serving.server import listen


def test_the_start_up_list_has_every_address(capsys: pytest.CaptureFixture[str]) -> None:
    document = ready_document("127.0.0.1", 8765, None, None, [1], "quiet")
    _announce(document, quiet_profile(), 1, None)
    listed, _, _ = capsys.readouterr().out.partition("READY")

    assert [url for url in document.urls.values() if str(url) not in listed] == []
    assert "GPT-Live       ws://127.0.0.1:8765/v1/live/sessions\n" in listed
    assert "transcription  ws://127.0.0.1:8765/v1/realtime?intent=transcription\n" in listed


@pytest.mark.parametrize(
    ("profile", "origin"),
    [
        (
            usual_profile(),
            (
                "profile gpt-realtime, seed 3. It has the published latencies, missing replies and"
                " cut-ins"
            ),
        ),
        (quiet_profile(), "profile quiet, seed 3. Its delays are assumptions"),
    ],
)
def test_the_first_line_names_the_profile_and_the_origin_of_its_values(
    profile: Profile, origin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _announce(ready_document("127.0.0.1", 8765, None, None, [1], profile.name), profile, 3, None)

    assert origin in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_ready_line_has_json_unless_a_person_reads_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    is_terminal: bool,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    document = ready_document("127.0.0.1", 8765, None, None, [1], "quiet")
    _announce(document, quiet_profile(), 1, tmp_path / "ready.json")
    line = capsys.readouterr().out.splitlines()[-1]

    assert json.loads((tmp_path / "ready.json").read_text())["port"] == 8765
    assert line.startswith("READY ")
    assert (line == "READY on port 8765") == is_terminal
    assert is_terminal or json.loads(line.removeprefix("READY "))["port"] == 8765


@pytest.mark.parametrize(
    ("ca", "pids", "telephones"),
    [
        (None, [1], {"agent_sip": "sip:agent@127.0.0.1:8765"}),
        (
            Path("ca.pem"),
            [1],
            {"agent_sip": "sip:agent@127.0.0.1:8765", "agent_sips": "sips:agent@127.0.0.1:8765"},
        ),
        (Path("ca.pem"), [1, 2], {}),
    ],
)
def test_only_telephones_that_answer_are_listed(
    ca: Path | None, pids: list[int], telephones: dict[str, str]
) -> None:
    urls = ready_document("127.0.0.1", 8765, ca, None, pids, "quiet").urls

    assert {name: url for name, url in urls.items() if name.startswith("agent_sip")} == telephones


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "127.0.0.9"])
def test_a_simulator_on_loopback_needs_no_key(host: str) -> None:
    with listen(host, 0) as listener:
        assert exposed(listener.getsockname()[0], Authenticator(), 1) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "", "0"])
def test_a_simulator_that_others_can_reach_without_a_key_says_so(host: str) -> None:
    with listen(host, 0) as listener:
        address = listener.getsockname()[0]
    tokens = TokenIssuer(60, lambda: "secret")

    assert exposed(address, Authenticator(), 1).startswith(
        f"everyone who reaches {address} may open sessions and tele"
    )
    # several workers have no telephone
    assert "may open sessions: " in exposed(address, Authenticator(), 2)
    assert "may open telephone calls: " in exposed(address, Authenticator(None, tokens), 1)
    assert exposed(address, Authenticator("key"), 1) == ""


@pytest.mark.parametrize(
    "address", ["::", "192.168.1.5", "10.9.9.1", "2001:db8::1", "fe80::1%eth0"]
)
def test_an_address_of_a_network_is_no_loopback_address(address: str) -> None:
    assert exposed(address, Authenticator(), 1)
