"""The table in rtbench_simulator/README.md agrees with the results of tests and `make clients`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rtbench.cli.simulate import client_snippets
from tests.clients.cells import CLIENTS, IN_TESTS, STEPS, Client
from tests.clients.connect import CONNECT
from tests.clients.sources import ADDRESS, caller, source
from tests.clients.steps import PLAYED
from tests.simulator_process import Ready
from tools import clients
from tools.client_table import PAGE, sections, written
from tools.clients import Simulators, line_of, of_steps, outcomes_of, tried, with_newest
from tools.made_page import SECTION

NAMES = [client.name for client in CLIENTS]


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert written(page) == page, "run `make schema`"
    assert all(SECTION.format(name, text) in page for name, text in sections().items())


def test_each_step_and_each_dialect_of_a_client_that_tests_try_is_tested() -> None:
    in_tests = [client for client in CLIENTS if client.name in IN_TESTS]

    assert list(PLAYED) == list(STEPS)
    assert {(client.name, dialect) for client in in_tests for dialect in client.dialects} == set(
        CONNECT
    )
    assert not any(client.not_tried for client in in_tests)


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_each_client_has_a_program_for_its_steps(client: Client) -> None:
    text = caller(client.name)

    assert (text is None) is (client.name in IN_TESTS)
    assert {"connect", "text", "VAD", "interruption"}.isdisjoint(client.not_tried)


def test_the_lines_are_read_without_a_package_that_only_developers_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)

    assert client_snippets()


@pytest.mark.parametrize("name", NAMES)
def test_each_program_of_the_page_has_the_lines_that_the_simulator_prints(name: str) -> None:
    (snippet,) = [snippet for snippet in client_snippets() if snippet.name == name]
    program = without_breaks(source(name))

    scheme = "wss" if snippet.secure else "ws"
    for line in snippet.lines(f"{scheme}://{ADDRESS}", "any"):
        assert without_breaks(line) in program


def without_breaks(code: str) -> str:
    """Return the code without white space, and without the commas before a closing parenthesis."""
    return "".join(code.split()).replace(",)", ")")


def test_a_line_states_the_change_of_a_version_and_each_problem() -> None:
    client = CLIENTS[0]._replace(name="an SDK", tried="1.2")

    assert line_of(client, "1.2", []) == "an SDK (1.2, unchanged): passed"
    assert (
        line_of(client, "2.0", ["GA, VAD: no audio"])
        == "an SDK (1.2 → 2.0): FAILED\n    GA, VAD: no audio"
    )


def test_npm_installs_the_newest_version_unless_another_is_demanded() -> None:
    assert with_newest(["@scope/name", "name", "ws@8"]) == [
        "@scope/name@latest",
        "name@latest",
        "ws@8",
    ]


@pytest.mark.parametrize(
    ("status", "text", "has_outcomes"),
    [
        (0, 'a log\n{"text": "pass"}\n', True),
        (1, '{"text": "pass"}', False),
        (0, "", False),
        (0, "[]", False),
    ],
)
def test_a_program_that_failed_or_printed_nothing_has_no_outcomes(
    status: int, text: str, has_outcomes: bool
) -> None:
    outcomes = outcomes_of(subprocess.CompletedProcess([], status, text, ""))

    assert outcomes == (json.loads(text.splitlines()[-1]) if has_outcomes else None)


NO_SIMULATORS = Simulators(*[Ready(0, [], port, {}, None, None, lambda: None) for port in (1, 2)])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file", "npm"), "npm is not installed"),
        (
            subprocess.CalledProcessError(1, "npm", stderr="a\nnot found: x@latest\n"),
            "not found: x@latest",
        ),
    ],
)
def test_a_client_that_cannot_be_installed_has_failed(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(clients, "in_node", refuse)
    monkeypatch.setattr(clients, "FOLDER", tmp_path)
    newest, problems = tried(next(client for client in CLIENTS if client.is_node), NO_SIMULATORS)

    assert newest == "unknown"
    assert len(problems) == 1
    assert problems[0].endswith(words)


def test_each_step_that_differs_from_the_table_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcomes = dict.fromkeys(STEPS, "pass") | {"VAD": "no audio"}
    del outcomes["cancel"]
    printed = subprocess.CompletedProcess([], 0, json.dumps(outcomes), "")
    monkeypatch.setattr(clients, "started", lambda *_: printed)
    client = next(client for client in CLIENTS if client.name == "LiveKit")

    assert list(of_steps(client, ["python"], tmp_path, NO_SIMULATORS)) == [
        "OpenAI GA, VAD: no audio",
        "OpenAI GA, cancel: –",
        "OpenAI GA, invalid event: pass",
    ]
