"""Calls over WebRTC between networks that only coturn connects: the values equal the simulator's
ground truth.

The caller, the relay and the agent are network namespaces. The relay has an address in both
networks and forwards no packets. Only a connection for the offer passes it, as a load balancer
does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.base.units import NS_PER_S
from bench.record.folder import read_table
from tests import hosts
from tests.coturn import LOGIN, NEEDS_COTURN, running_coturn
from tests.examples import some
from tests.simulator_process import AUDIO, GUARD_S, POLL_S, QUICK
from tests.system.end_to_end.locust_process import ENDS_WELL
from tests.telephone_truth import STOPPED, reply_starts

pytestmark = [
    NEEDS_COTURN,
    pytest.mark.skipif(not hosts.available(), reason="needs root and network namespaces"),
]
CALLER, RELAY_OF_CALLER, RELAY_OF_AGENT, AGENT = (
    "10.213.79.2",
    "10.213.79.1",
    "10.213.80.1",
    "10.213.80.2",
)
PORT = 8_443
SCRIPT = f"""
session: {{turn_detection: full_duplex}}
steps:
  - wait_for: greeting
    name: greeting
  - audio: {AUDIO / "order_number.wav"}
    name: number
"""
TARGETS = f"""
targets:
  relayed:
    url: "https://localhost:{PORT}/agent/webrtc"
    dialect: webrtc
    codec: PCMU
    resolve: {RELAY_OF_CALLER}
    ca_file: ca.pem
    call_hosts: [{AGENT}]
    turn_server: "turn:{RELAY_OF_CALLER}:3478?transport={{transport}}"
    turn_login_env: TURN_LOGIN
"""
FORWARD = f"""
import socket, threading
def copy(source, sink):
    while data := source.recv(65536):
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)
listener = socket.create_server(("{RELAY_OF_CALLER}", {PORT}))
while True:
    client, _ = listener.accept()
    agent = socket.create_connection(("{AGENT}", {PORT}))
    for pair in ((client, agent), (agent, client)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


class Networks:
    """The namespaces `caller`, `relay` and `agent`."""

    def __init__(self) -> None:
        self._prefix = f"rtt{os.getpid()}"

    def inside(self, name: str, *command: str) -> list[str]:
        return ["ip", "netns", "exec", f"{self._prefix}{name}", *command]

    def open(self) -> None:
        spaces = [f"{self._prefix}{name}" for name in ("caller", "relay", "agent")]
        for space in spaces:
            hosts.run("ip", "netns", "add", space)
            hosts.run("ip", "-n", space, "link", "set", "lo", "up")
        for space, own, other in (
            (spaces[0], CALLER, RELAY_OF_CALLER),
            (spaces[2], AGENT, RELAY_OF_AGENT),
        ):
            device = "to" + space[-5:]
            hosts.run(
                "ip",
                "-n",
                spaces[1],
                "link",
                "add",
                device,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                space,
            )
            for where, name, address in ((spaces[1], device, other), (space, "eth0", own)):
                hosts.run("ip", "-n", where, "addr", "add", f"{address}/24", "dev", name)
                hosts.run("ip", "-n", where, "link", "set", name, "up")

    def close(self) -> None:
        for name in ("caller", "relay", "agent"):
            subprocess.run(
                ["ip", "netns", "del", f"{self._prefix}{name}"], capture_output=True, check=False
            )


@contextmanager
def networks() -> Iterator[Networks]:
    made = Networks()
    try:
        made.open()
        yield made
    finally:
        made.close()


@contextmanager
def started(command: Sequence[str], folder: Path) -> Iterator[None]:
    with (folder / "others.log").open("ab") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("transport", some(["tcp", "udp"], 1))
def test_the_values_of_relayed_calls_are_those_of_the_ground_truth(
    tmp_path: Path, transport: str
) -> None:
    for name, text in (
        ("quick", QUICK),
        ("call", SCRIPT),
        ("targets", TARGETS.format(transport=transport)),
    ):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    tool = [sys.executable, "-m", "rtbench.cli.app"]
    simulate = [
        *tool,
        "simulate",
        "--host",
        AGENT,
        "--port",
        str(PORT),
        "--tls",
        "--ca-out",
        "ca.pem",
        "--key",
        "a-long-key",
        "--profile",
        "quick.yaml",
        "--ground-truth",
        "truth.jsonl",
        "--ready-file",
        "ready.json",
    ]
    call = [
        *tool,
        "run",
        "call.yaml",
        "-u",
        "2",
        "--sessions",
        "2",
        "--targets",
        "relayed",
        "--name",
        "calls",
        "--yes",
    ]
    with networks() as made:
        turn = running_coturn(
            tmp_path,
            host=RELAY_OF_CALLER,
            relay_host=RELAY_OF_AGENT,
            prefix=made.inside("relay"),
            port=3_478,
        )
        forward = started(made.inside("relay", sys.executable, "-c", FORWARD), tmp_path)
        with turn, forward, started(made.inside("agent", *simulate), tmp_path):
            until_s = time.monotonic() + GUARD_S
            while not (tmp_path / "ready.json").exists() and time.monotonic() < until_s:
                time.sleep(POLL_S)
            environment = os.environ | {"TURN_LOGIN": LOGIN, "KEY": "a-long-key"}
            direct = subprocess.run(
                made.inside("caller", "ip", "route", "get", AGENT), capture_output=True, check=False
            )
            result = subprocess.run(
                made.inside("caller", *call, "--api-key-env", "KEY"),
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=GUARD_S,
                check=False,
            )

    assert direct.returncode != 0, "there is no direct way"
    assert result.returncode in ENDS_WELL, result.stdout + result.stderr
    (run,) = (tmp_path / "runs").iterdir()
    turns, sessions = (read_table(run, name).to_pandas() for name in ("turns", "sessions"))
    replies = [reply for reply in reply_starts(run, tmp_path / "truth.jsonl") if reply.has_truth]
    if not replies:
        pytest.skip(STOPPED)
    path_rtt_ns = int(sessions["relay_path_rtt_ns"].max())

    assert set(turns["outcome"]) == {"ok"}
    assert (sessions["relay_rtt_ns"] > 0).all()
    assert (sessions["relay_allocated_at_ns"] < sessions["offer_answered_at_ns"]).all()
    assert path_rtt_ns < NS_PER_S
    assert not [each for each in replies if abs(each.error_ns) > each.bound_ns + path_rtt_ns]
    assert not any(
        LOGIN.partition(":")[2].encode() in file.read_bytes()
        for file in run.rglob("*")
        if file.is_file()
    )
