"""If a user makes a mistake, any command prints one line, ends with status 2, and does not
change existing files.
"""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

import pytest

from tests.system.end_to_end.locust_process import rtbench, run_locust, write_scenario
from tests.transport.certificates import write_client
from tools.peers.agents.ports import free_port

NOWHERE = "--url ws://127.0.0.1:1/openai/v1/realtime?model=x"
VARIANT = "variants: {marin: {session: {voice: marin}}}"
TARGETS = (
    f"targets: {{east: {{url: 'ws://127.0.0.1:1/v1/realtime?model=x', {VARIANT}}}, west: {{url:"
    " 'ws://127.0.0.1:1/v1/realtime?model=x'}}"
)
REFUSED = {
    f"probe {NOWHERE} --save-audio earlier": "--save-audio earlier exists; choose another name",
    f"probe {NOWHERE} --event-log earlier": "--event-log earlier exists; choose another name",
    "probe --target-file targets.yaml --targets east.marin --voice alloy": (
        "--voice and the variant east.marin both set voice"
    ),
    "probe --target-file targets.yaml --targets east,west": (
        "a probe calls one target, but 2 are selected: east, west; name one with --targets"
    ),
    "probe --target-file targets.yaml --targets east,": (
        "--targets must be names of targets.yaml, separated by commas, as in west,east"
    ),
    "probe --target-file targets.yaml --targets north": "north",
    "probe": "AZURE_OPENAI_ENDPOINT",
    "probe --url http://127.0.0.1/": "",
    "probe --text x --audio x.wav": "--audio",
    "probe --manual-commit": "--manual-commit",
    "probe --record-audio": "--record-audio",
    f"probe {NOWHERE} --audio nowhere.wav": "nowhere.wav",
    f"probe {NOWHERE} --text=": "text must not be empty",
    f"probe {NOWHERE} --save-audio nowhere/reply.wav": "nowhere",
    f"probe {NOWHERE} --event-log .": "--event-log",
    f"probe {NOWHERE} --event-log a --save-audio a": "",
    "probe --url wss://127.0.0.1:1/v1/realtime?model=x --client-cert own/certificate.pem "
    "--client-key other/key.pem": ("the key belongs to another certificate"),
    f"probe {NOWHERE} --proxy ftp://127.0.0.1:1": "--proxy must begin with",
    "runs replay nowhere.jsonl": "nowhere.jsonl",
    "runs replay earlier": "earlier",
    "doctor --auth entra": "",
    "doctor --url http://127.0.0.1/": "",
    "doctor --targets a,": "--targets",
    "merge . -o merged": "",
    f"capacity scenario.py -o found --thresholds ttfa:med<5s --from 4 --to 4 {NOWHERE}": (
        "script.yaml:3"
    ),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_client(tmp_path / "own")
    write_client(tmp_path / "other")
    write_scenario(tmp_path, script="session: {output: audio}\nsteps:\n  - {shout: Hello}\n")
    (tmp_path / "targets.yaml").write_text(TARGETS)
    (tmp_path / "earlier").write_text("of worth")
    return tmp_path


@pytest.mark.parametrize("line", REFUSED)
def test_usage_errors_are_one_line_and_keep_existing_files(line: str, place: Path) -> None:
    shown = rtbench(*shlex.split(line), cwd=place)

    assert (shown.returncode, shown.stdout) == (2, "")
    (output,) = [
        output
        for output in shown.stderr.splitlines()
        if "does not determine the dialect" not in output
    ]
    assert output.startswith("rtbench: ")
    assert REFUSED[line] in output
    assert (place / "earlier").read_text() == "of worth"


RUNS_REFUSED = {
    "AZURE_OPENAI_ENDPOINT": "",
    "--runs-dir": f"{NOWHERE} --runs-dir /proc/nowhere",
    "--users 9 contradicts --max-concurrent 3": (
        f"{NOWHERE} --arrival-rate 1/s --max-concurrent 3 -u 9"
    ),
    "--upload must begin with https://": (
        f"{NOWHERE} -u 1 --upload http://files.example.org/?sig=a-signature"
    ),
    "--thresholds needs --until-decided, a threshold with `abort: true`": (
        "--target-file TARGETS --targets east --sessions 20 --thresholds LIMITS"
    ),
    "cannot be tested before": (
        "--target-file TARGETS --targets east,west --until-decided --sessions 20"
    ),
    "the master cannot listen: Address already in use": (
        f"{NOWHERE} --master --master-bind-port TAKEN"
    ),
    "only 0 of 2 expected workers connected within 1 s": (
        f"{NOWHERE} --master --master-bind-port FREE --expect-workers 2 --expect-workers-max-wait 1"
    ),
}


@pytest.mark.parametrize("expected", RUNS_REFUSED)
def test_usage_errors_of_locust_are_one_line_and_leave_no_run(
    expected: str, tmp_path: Path
) -> None:
    (tmp_path / "targets.yaml").write_text(TARGETS)
    (tmp_path / "ci.yaml").write_text("ttfa: p(95)<800\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        there = {
            "TARGETS": tmp_path / "targets.yaml",
            "LIMITS": tmp_path / "ci.yaml",
            "TAKEN": taken.getsockname()[1],
            "FREE": free_port(),
        }
        options = [str(there.get(word, word)) for word in RUNS_REFUSED[expected].split()]
        ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *options)

    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("rtbench:")]
    assert expected in line
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr + ended.stdout
    assert "a-signature" not in ended.stderr + ended.stdout
    assert not list(tmp_path.glob("runs/*"))
