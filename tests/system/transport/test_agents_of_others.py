"""Calls to agents of others that install in seconds, from Debian and npm, each as its own
documentation starts it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.record.folder import read_table
from tests.system.end_to_end.locust_process import ENDS_WELL, rtbench
from tools.peers.__main__ import write_script
from tools.peers.peers import PEERS, NotInstalledError, Peer, started
from tools.peers.relayed import called

NAMES = (
    "werift",
    "node-datachannel",
    "webrtcbin",
    "Janus EchoTest",
    "libwebrtc",
    "Chromium",
    "SIPp",
    "ffmpeg",
    "baresip",
    "Kamailio with rtpengine that transcodes",
)
QUICK = [peer for peer in PEERS if peer.name in NAMES]
RELAYED = [
    peer
    for peer in QUICK
    if peer.name in ("node-datachannel", "Kamailio with rtpengine that transcodes")
]
"""Agents with a marker on the first packet of an utterance, and on no packet."""
JITTER_MS = 40
"""The jitter of the path: less than the delay of the jitter buffer, so that only its standstills
make packets late, and no load of the host."""


@pytest.mark.parametrize("peer", QUICK, ids=[peer.name for peer in QUICK])
def test_an_agent_of_others_is_called_as_its_documentation_starts_it(
    peer: Peer, tmp_path: Path
) -> None:
    write_script(tmp_path, peer)
    try:
        with started(peer) as port:
            url = peer.url.format(port=port)
            result = rtbench(
                "run", "call.yaml", "--sessions", 1, *peer.options, "--url", url, cwd=tmp_path
            )
    except (NotInstalledError, subprocess.CalledProcessError) as error:
        pytest.skip(f"{peer.name}: {error}")

    assert result.returncode in ENDS_WELL, result.stderr
    (run,) = (tmp_path / "runs").iterdir()
    turns = read_table(run, "turns").to_pandas()
    assert set(turns["outcome"]) <= {"ok", "interrupted"}
    assert len(turns) == (2 if peer.is_echo else 3)
    (session,) = read_table(run, "sessions").to_pylist()
    assert session["rtp_expected"] > 0


@pytest.mark.parametrize("peer", RELAYED, ids=[peer.name for peer in RELAYED])
def test_behind_a_relay_with_jitter_the_lost_and_late_packets_are_those_of_its_log(
    peer: Peer,
) -> None:
    try:
        (call,), _ = called(peer, JITTER_MS, 1)
    except (NotInstalledError, subprocess.CalledProcessError) as error:
        pytest.skip(f"{peer.name}: {error}")

    assert call.true.expected > 100
    assert call.true.late > 0
    if not call.is_comparable:
        pytest.skip("the agent was stopped, and changed its clock: the host is too loaded")
    assert call.difference <= 1, call
