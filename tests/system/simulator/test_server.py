"""The real process of the simulator: sockets, TLS, refusals, bursts, and a truth log that agrees
with the client's data.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from bench.base.clock import monotonic_ns
from bench.base.errors import UsageError
from rtbench.cli.simulate import simulate
from rtbench_simulator.ground_truth_log import read_truth
from tests.simulator.builders import append
from tests.simulator.dialled import connect
from tests.simulator_process import quick_simulator, running_simulator
from tests.system.simulator.talk import receive, turn

KEY = "secret-of-this-test"


def test_the_certificate_authority_exists_only_while_the_simulator_runs(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--tls") as ready:
        assert ready.ca is not None
        assert ready.ca.is_file()
    assert not ready.ca.parent.exists()


def test_the_truth_log_has_the_events_that_the_client_received(tmp_path: Path) -> None:
    truth_file = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--ground-truth", str(truth_file), "--seed", "9") as ready:
        with connect(ready.urls["ga"], max_size=None) as client:
            created = receive(client)
            seen = turn(
                client,
                append(200),
                append(200),
                {"type": "input_audio_buffer.commit", "event_id": "my_commit"},
                {"type": "response.create"},
            )
        session_id = created["session"]["id"]
        response_id = seen[-1]["response"]["id"]

    head, *lines, end = read_truth(truth_file)
    sent = [
        line
        for line in lines
        if line["direction"] == "out" and line["type"] != "rate_limits.updated"
    ]
    received = [line for line in lines if line["direction"] == "in"]
    assert head == {"schema": 4, "simulated": True, "profile": "quick", "seed": 9}
    assert {line["session"] for line in lines} == {session_id}
    assert [line["type"] for line in sent] == [event["type"] for event in [created, *seen]]
    assert all(line["send_start_ns"] >= line["due_ns"] for line in sent)
    assert [
        line["audio_bytes"] for line in sent if line["type"] == "response.output_audio.delta"
    ] == [
        len(event["delta"]) * 3 // 4
        for event in seen
        if event["type"] == "response.output_audio.delta"
    ]
    assert {line["response"] for line in sent if line["type"].startswith("response.")} == {
        response_id
    }
    assert [(line["type"], line["event_id"], line["response"]) for line in received] == [
        ("input_audio_buffer.append", None, None),
        ("input_audio_buffer.append", None, None),
        ("input_audio_buffer.commit", "my_commit", None),
        ("response.create", None, response_id),
    ]
    assert [(line["from_byte"], line["to_byte"]) for line in received[:2]] == [
        (0, 9600),
        (9600, 19_200),
    ]
    assert (end["direction"], end["sessions"], end["events"]) == (
        "end",
        1,
        len(lines) - len(received),
    )
    assert received[-1]["at_ns"] < next(
        line["due_ns"] for line in sent if line["response"] == response_id
    )
    assert ready.returncode == 0
    assert "SIMULATED: 1 sessions" in ready.output


def test_the_truth_log_has_the_earliest_possible_arrival_of_a_message(
    tmp_path: Path,
) -> None:
    truth_file = tmp_path / "truth.jsonl"
    with (
        quick_simulator(tmp_path, "--ground-truth", str(truth_file)) as ready,
        connect(ready.urls["ga"], max_size=None) as client,
    ):
        receive(client)
        os.kill(ready.pid, signal.SIGSTOP)
        while Path(f"/proc/{ready.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            pass
        first_ns = monotonic_ns()
        client.send(json.dumps({"type": "input_audio_buffer.clear"}))
        second_ns = monotonic_ns()
        client.send(json.dumps({"type": "response.create"}))
        os.kill(ready.pid, signal.SIGCONT)
        while receive(client)["type"] != "response.done":
            pass

    first, second = (line for line in read_truth(truth_file) if line.get("direction") == "in")
    assert first["earliest_ns"] < first_ns < second_ns < first["at_ns"]
    assert second_ns < second["earliest_ns"] == second["at_ns"]


def test_sigint_closes_open_sessions_with_going_away(tmp_path: Path) -> None:
    with quick_simulator(tmp_path) as ready, connect(ready.urls["ga"]) as client:
        receive(client)
        ready.stop()
        with pytest.raises(ConnectionClosed):
            receive(client)

    assert ready.returncode == 0
    assert client.protocol.close_rcvd is not None
    assert client.protocol.close_rcvd.code == CloseCode.GOING_AWAY


def test_the_ready_output_says_simulated_and_does_not_contain_the_key(tmp_path: Path) -> None:
    with running_simulator("--key", KEY) as ready:
        pass

    machine_readable = next(line for line in ready.output.splitlines() if line.startswith("READY "))
    assert json.loads(machine_readable.removeprefix("READY "))["urls"] == ready.urls
    assert ready.output.startswith("SIMULATED")
    assert KEY not in ready.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key": ""}, "the key is empty"),
        ({"profile": Path("no-such-profile.yaml")}, "no such file"),
        ({"ground_truth": Path("no-such-folder/truth.jsonl"), "port": 0}, "cannot be written"),
        ({"host": "192.0.2.1", "port": 0}, "cannot listen"),
        (
            {"port": 0, "fault": ["nonesuch"]},
            "--fault nonesuch: kind must be refused, reset, .*throttled",
        ),
        ({"port": 0, "fault": ["identity_500"]}, "the fault identity_500 needs --token-lifetime"),
        ({"port": 0, "fault": ["tls_alert"]}, "the fault tls_alert needs --tls"),
    ],
)
def test_invalid_options_of_the_simulator_are_a_usage_error(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        simulate(**options)
