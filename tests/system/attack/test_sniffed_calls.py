"""Hostile telephones, and a sniffer that sees where each packet goes. They have a network
namespace of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from bench.wire.addresses import is_loopback
from rtbench.locust_run import without_proxies
from tests.examples import trials
from tests.simulator_process import GUARD_S
from tests.system.attack.sniffed_calls import NAMED, PORT, ROOT

SHARE = 6
"""Each SHARE-th behaviour is tried. With EXAMPLES=all, all are."""


def sniffed() -> dict[str, Any]:
    isolated = ["unshare", "--map-root-user", "--net"]
    if sys.platform != "linux" or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("needs network namespaces")
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not create network namespaces")
    command = [
        *isolated,
        sys.executable,
        "-m",
        "tests.system.attack.sniffed_calls",
        str(trials(SHARE, 1)),
    ]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=without_proxies(os.environ),
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_hostile_telephones_lead_no_secret_and_no_packet_to_hosts_that_the_user_does_not_name() -> (
    None
):
    found = sniffed()
    packets = [(host, port, kind) for host, port, kind, _ in found["packets"]]

    assert found["status"] in (1, 3, 4), found["output"]
    assert "Traceback" not in found["output"]
    assert found["dropped"] == 0
    assert (NAMED, PORT, "INVITE with a secret") in packets
    assert [
        each for each in packets if each[2].endswith("secret") and each[:2] != (NAMED, PORT)
    ] == []
    assert [each for each in packets if not is_loopback(each[0])] == []
    # the dialog and the audio of a call may use other ports of this machine
    elsewhere = {kind for host, port, kind in packets if (host, port) != (NAMED, PORT)}
    assert elsewhere <= {"ACK", "BYE", "PRACK", "response", "TCP", "RTP", "RTCP"}
