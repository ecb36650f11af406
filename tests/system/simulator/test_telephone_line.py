"""The telephone line of the simulator's process refuses calls, lets them ring, and lets callers sign in."""

from __future__ import annotations

import base64
import json
import os
import resource
from pathlib import Path

import pytest

from bench.errors import ConnectError
from bench.simulator.ground_truth_log import read_truth
from bench.timeouts import Timeouts
from bench.transport.interface import ConnectTimings, NetworkPath
from bench.transport.sip.telephone import TelephoneCall, open_call
from bench.transport.tls import tls_context
from tests.simulator_process import GUARD_S, Ready, quick_simulator

KEY = "secret-of-this-test"
ENOUGH, SOON = Timeouts(tcp=GUARD_S, upgrade=GUARD_S), Timeouts(tcp=GUARD_S, upgrade=0.2)


def dial(ready: Ready, *headers: tuple[str, str], limits: Timeouts = ENOUGH) -> TelephoneCall:
    return open_call(ready.urls["agent_sip"], headers, None, limits, ConnectTimings(), NetworkPath())


@pytest.mark.parametrize(
    ("fault", "outcome", "detail", "headers"),
    [
        ("sip", "connect_failed:486", "SIP 486 Busy Here", {}),
        ("sip,status=603", "connect_failed:603", "SIP 603 Decline", {}),
        ("sip,status=503,retry_after_s=3", "throttled:handshake", "SIP 503 Service Unavailable", {"retry-after": "3"}),
        ("throttled", "throttled:handshake", "SIP 503 Service Unavailable", {"retry-after": "2"}),
        ("forbidden", "connect_failed:403", "SIP 403 Forbidden", {}),
    ],
)
def test_a_fault_refuses_a_call_and_is_in_the_truth(
    tmp_path: Path, fault: str, outcome: str, detail: str, headers: dict[str, str]
) -> None:
    truth = tmp_path / "truth.jsonl"
    options = ("--fault", fault, "--ground-truth", str(truth))
    with quick_simulator(tmp_path, *options) as ready, pytest.raises(ConnectError) as caught:
        dial(ready)

    assert (caught.value.outcome, caught.value.detail, caught.value.headers) == (outcome, detail, headers)
    assert "0 sessions, 1 refused, 1 faults" in ready.output
    assert [line.get("direction") for line in read_truth(truth)].count("refused") == 1


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_the_line_is_called_over_tcp_and_tls_too(tmp_path: Path, transport: str) -> None:
    with quick_simulator(tmp_path, *(["--tls"] if transport == "tls" else [])) as ready:
        url = f"{ready.urls['agent_sip']};transport={transport}"
        context = tls_context(ready.ca) if transport == "tls" else None
        for _ in range(2):
            open_call(url, (), context, ENOUGH, ConnectTimings(), NetworkPath()).close()

    assert "SIMULATED: 2 sessions" in ready.output


def test_a_fault_of_one_session_leaves_the_next_call(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--fault", "sip,sessions=1") as ready:
        with pytest.raises(ConnectError):
            dial(ready)
        dial(ready).close()

    assert "1 sessions, 1 refused" in ready.output


def test_a_hanging_upgrade_is_a_telephone_that_only_rings(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--fault", "hang,at=upgrade") as ready, pytest.raises(ConnectError) as caught:
        dial(ready, limits=SOON)

    assert caught.value.outcome == "timeout:upgrade"
    assert "it only rang" in caught.value.detail


def test_a_process_that_can_open_no_further_socket_refuses_calls(tmp_path: Path) -> None:
    with quick_simulator(tmp_path) as ready:
        (pid,) = ready.pids
        _, most = limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir(f"/proc/{pid}/fd")))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, most))
        with pytest.raises(ConnectError) as caught:
            dial(ready)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        dial(ready).close()

    assert (caught.value.outcome, caught.value.headers) == ("throttled:handshake", {"retry-after": "1"})
    assert "Traceback" not in ready.output


def test_with_a_key_a_caller_signs_in_as_agent(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--key", KEY, "--ground-truth", str(truth)) as ready:
        with pytest.raises(ConnectError) as caught:
            dial(ready)
        login = base64.b64encode(f"agent:{KEY}".encode()).decode()
        dial(ready, ("Authorization", f"Basic {login}")).close()

    assert caught.value.outcome == "connect_failed:401"
    assert KEY not in truth.read_text() + ready.output + json.dumps(caught.value.headers)
