"""Every peer of the benchmark runs two sessions against the simulator, and all peers receive the
same bytes.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.simulator_process import QUICK
from tools.benchmarks.peers.figures import errors, unequal
from tools.benchmarks.peers.play import PEERS, Load, Played, play

NEEDED = ("openai", "picows", "uvloop", "websocket")
LOAD = Load(sessions=2, turns=2, ramp_s=1.0)
GUARD_S = 300.0  # a limit only against a hang

pytestmark = [
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="reads /proc and pins processes to cores"
    ),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED),
        reason=f"needs {', '.join(NEEDED)}",
    ),
]


def test_all_benchmark_clients_do_the_same_work(tmp_path: Path) -> None:
    received = {}
    for number, peer in enumerate(PEERS):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        played = play(
            peer, LOAD, scratch, profile=QUICK + "rate_limits_updated: none\n", limit_s=GUARD_S
        )
        assert isinstance(played, Played), f"{peer.name}: {played}"
        assert unequal(played.report, played.truth, LOAD.sessions, LOAD.turns) is None, peer.name
        assert errors(played.report, played.truth, 0, 1 << 62).min() > -1, (
            f"{peer.name} heard what was not yet said"
        )
        received[peer.name] = played.truth.done_bytes()

    ours = {size for name, size in received.items() if name.startswith("rtbench")}
    (others,) = set(received.values()) - ours or ours
    assert len(ours) == 1, received
    assert 0 <= ours.pop() - others < others / 1_000, (
        "only the names of requests, which the service returns"
    )
