"""Faults of the simulator on the data channel of a call, and the outcome of each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.session.dial import Dialer
from bench.target.tokens import Keyring
from rtbench_simulator.ground_truth_log import read_truth
from tests.helpers import build_script, resolve_target, say
from tests.played_session import played, short_at
from tests.simulator_process import quick_simulator

FAULTS = {
    "reset,at=first_delta": "closed:reset",
    "close,at=first_delta": "closed:1000",
    "session_expired,at=settings": "session_expired",
    "hang,at=response": "timeout:first_delta",
    "hang,at=first_delta,duration_s=0.3": "ok",
    "bad_json,at=done": "protocol_error:json",
    "drop,at=session": "timeout:session",
    "binary,at=first_delta": "ok",
    "oversized,at=done,mib=1.5": "protocol_error:too_large",
    "failed,at=response": "failed:server_error",
    "drip,at=done": "connect_failed:400",
    "reset,at=upgrade": "connect_failed:400",
    "reset": "connect_failed:400",
}
"""The outcome of the first turn, or of the session if it has none."""


@pytest.mark.parametrize(("fault", "outcome"), FAULTS.items())
def test_each_fault_of_a_call_has_its_outcome(tmp_path: Path, fault: str, outcome: str) -> None:
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--fault", fault, "--ground-truth", str(truth)) as ready:
        target = resolve_target(
            {},
            url=ready.urls["openai"],
            transport="webrtc",
            codec="PCMU",
            max_message_mib=1,
            api_key_env=None,
        )
        limits = (
            short_at(outcome.partition(":")[2]) if outcome.startswith("timeout") else short_at(())
        )
        script = build_script(say("one"), say("two"), dialect=target.dialect, limits=limits)
        session, turns = played(Dialer(target, Keyring([target])), script, tmp_path / "run")

    struck = {line["type"] for line in read_truth(truth) if line.get("direction") == "fault"}
    assert (turns[0] if turns else session).outcome == outcome
    assert struck == ({fault.partition(",")[0]} if outcome != "connect_failed:400" else set())
    assert "Traceback" not in ready.output
