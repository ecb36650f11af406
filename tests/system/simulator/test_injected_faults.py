"""Faults of the real process: it does not listen, it freezes, or leaves connections silent. See
also tests/faults.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from rtbench_simulator.ground_truth_log import read_truth
from tests.simulator.builders import CREATE
from tests.simulator.dialled import connect
from tests.simulator_process import GUARD_S, Ready, quick_simulator
from tests.system.simulator.talk import receive, turn

FREEZE_NS = 400_000_000
HOLE_NS = 1_000_000_000


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=GUARD_S).close()
    except ConnectionRefusedError:
        return False
    return True


def wait_until(accepting: bool, port: int) -> None:
    deadline = time.monotonic() + GUARD_S
    while accepts(port) is not accepting:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def receive_all(client: ClientConnection) -> None:
    while True:
        receive(client)


def faults(truth: Path) -> list[dict[str, Any]]:
    return [line for line in read_truth(truth) if line.get("direction") == "fault"]


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_the_fault_refused_closes_the_port(tmp_path: Path, workers: tuple[str, ...]) -> None:
    with quick_simulator(tmp_path, "--fault", "refused,during_s=0-", *workers) as ready:
        wait_until(False, ready.port)

    assert (ready.returncode, "Traceback" in ready.output) == (0, False)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_the_port_is_open_after_the_fault_refused(tmp_path: Path, workers: tuple[str, ...]) -> None:
    truth = tmp_path / "truth.jsonl"
    options = ("--fault", "refused,during_s=0-0.5", "--ground-truth", str(truth), *workers)
    with quick_simulator(tmp_path, *options) as ready:
        wait_until(True, ready.port)
        with connect(ready.urls["ga"]) as client:
            assert receive(client)["type"] == "session.created"

    assert {(line["type"], line["place"], line["session"]) for line in faults(truth)} == {
        ("refused", "tcp", None)
    }
    assert (ready.returncode, "Traceback" in ready.output) == (0, False)


def test_a_restart_ends_all_sessions_and_closes_the_port_temporarily(tmp_path: Path) -> None:
    codes = {"": 1001, ",code=1012": 1012, ",code=1006": None}
    with ExitStack() as stack:
        clients = list[tuple[ClientConnection, int | None]]()
        simulators = list[Ready]()
        for number, (code, received) in enumerate(codes.items()):
            truth = tmp_path / f"{number}.jsonl"
            # long after all clients are connected
            fault = ("--fault", f"restart,during_s=15-15.5{code}", "--ground-truth", str(truth))
            simulators.append(ready := stack.enter_context(quick_simulator(tmp_path, *fault)))
            for _ in range(2):
                clients.append((stack.enter_context(connect(ready.urls["ga"])), received))
        for client, received in clients:
            with pytest.raises(ConnectionClosed) as ended:
                receive_all(client)
            assert (ended.value.rcvd and ended.value.rcvd.code) == received
        for ready in simulators:
            wait_until(True, ready.port)
            with connect(ready.urls["ga"]) as client:
                assert receive(client)["type"] == "session.created"

    for number in range(len(codes)):
        server, *calls = faults(tmp_path / f"{number}.jsonl")
        assert (server["type"], server["place"], server["session"]) == ("restart", "tcp", None)
        assert [call["connection"] for call in calls] == [1, 2]
        assert None not in [call["session"] for call in calls]


def test_the_log_has_each_call_that_a_fault_of_the_server_strikes(tmp_path: Path) -> None:
    # long after all clients are connected
    times = {"half": "15", "drain": "15-15.5", "blackhole": "15-16"}
    truths = {name: tmp_path / f"{name}.jsonl" for name in times}
    with ExitStack() as stack:
        ready = {
            name: stack.enter_context(
                quick_simulator(
                    tmp_path,
                    *("--fault", f"{name},during_s={when}", "--ground-truth", str(truths[name])),
                )
            )
            for name, when in times.items()
        }
        halves = [stack.enter_context(connect(ready["half"].urls["ga"])) for _ in range(4)]
        told = stack.enter_context(connect(ready["drain"].urls["gemini"]))
        talking = stack.enter_context(connect(ready["blackhole"].urls["ga"]))
        while not faults(truths["blackhole"]):
            turn(talking, CREATE)
        turn(talking, CREATE)
        for client in halves[::2]:
            with pytest.raises(ConnectionClosed) as ended:
                receive_all(client)
            assert ended.value.rcvd is None
        for client in halves[1::2]:
            turn(client, CREATE)
        assert receive(told) == {"goAway": {"timeLeft": "0.5s"}}
        with pytest.raises(ConnectionClosed) as ended:
            receive_all(told)
        assert ended.value.rcvd
        assert ended.value.rcvd.code == 1001
        for simulator in ready.values():
            with connect(simulator.urls["ga"]) as client:
                assert receive(client)["type"] == "session.created"

    struck = {name: [line["connection"] for line in faults(truths[name])[1:]] for name in times}
    assert struck == {"half": [1, 3], "drain": [1], "blackhole": [1]}
    *_, hole = faults(truths["blackhole"])
    since_ns = [
        line["send_start_ns"] - hole["at_ns"]
        for line in read_truth(truths["blackhole"])
        if line.get("direction") == "out"
    ]
    assert min(since_ns) < 0 < max(since_ns)
    assert not any(0 < at_ns < HOLE_NS for at_ns in since_ns)


def test_a_freeze_delays_all_sessions(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    freeze = f"freeze,at=session,sessions=2,duration_s={FREEZE_NS / 1e9}"
    with (
        quick_simulator(
            tmp_path, "--fault", freeze, "--ground-truth", str(truth), "--speed", "1"
        ) as ready,
        connect(ready.urls["ga"]) as talking,
    ):
        receive(talking)
        talking.send(json.dumps(CREATE))
        while not receive(talking)["type"].endswith("audio.delta"):
            pass
        with connect(ready.urls["ga"]) as second:
            assert receive(second)["type"] == "session.created"
        while receive(talking)["type"] != "response.done":
            pass

    (fault,) = faults(truth)
    sent = [line for line in read_truth(truth) if line.get("direction") == "out"]
    (created,) = (line for line in sent if line["session"] == fault["session"])
    assert created["send_start_ns"] >= created["due_ns"] >= fault["at_ns"] + FREEZE_NS
    others = [
        line["send_start_ns"] - fault["at_ns"]
        for line in sent
        if line["session"] != fault["session"]
    ]
    assert not any(0 < since_ns < FREEZE_NS for since_ns in others)
    assert min(others) < 0 < max(others)
    # the delayed events were due when the process continued, unless they were due before
    assert not any(0 < line["due_ns"] - fault["at_ns"] < FREEZE_NS for line in sent)
