"""Calls over WebRTC to the simulated agent: the values equal its ground truth, and what is no
such agent is named.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S
from bench.catalogue.timeouts import Timeouts
from bench.record.folder import read_table
from bench.session.dial import Dialer
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.target.tokens import Keyring
from bench.transport.interface import ConnectTimings
from tests.simulator_process import AUDIO, GUARD_S, QUICK, running_simulator
from tests.system.end_to_end.locust_process import ENDS_WELL, rtbench
from tests.telephone_truth import STOPPED, reply_starts

SCRIPT = f"""
session: {{turn_detection: full_duplex}}
steps:
  - wait_for: greeting
    name: greeting
  - audio: {AUDIO / "order_number.wav"}
    name: number
  - interrupt: {{audio: {AUDIO / "order_number.wav"}, after: 0.5}}
    name: again
"""
TARGETS = """
targets:
  opus: {{url: "{url}", dialect: webrtc}}
  narrow: {{url: "{url}", dialect: webrtc, codec: PCMA}}
"""
CALLS, TURNS = 3, 3


def test_the_first_audible_sample_is_that_of_the_ground_truth(tmp_path: Path) -> None:
    (tmp_path / "quick.yaml").write_text(QUICK, encoding="utf-8")
    (tmp_path / "call.yaml").write_text(SCRIPT, encoding="utf-8")
    options = (
        "--profile",
        str(tmp_path / "quick.yaml"),
        "--ground-truth",
        str(tmp_path / "truth.jsonl"),
    )
    with running_simulator(*options) as ready:
        (tmp_path / "targets.yaml").write_text(
            TARGETS.format(url=ready.urls["agent_webrtc"]), encoding="utf-8"
        )
        load = ("-u", 2 * CALLS, "--sessions", CALLS)
        result = rtbench(
            "run", "call.yaml", *load, "--targets", "opus,narrow", "--name", "calls", cwd=tmp_path
        )
        assert result.returncode in ENDS_WELL, result.stderr
    (run,) = (tmp_path / "runs").iterdir()
    turns = read_table(run, "turns").to_pandas()
    replies = [reply for reply in reply_starts(run, tmp_path / "truth.jsonl") if reply.has_truth]
    if not replies:
        pytest.skip(STOPPED)

    assert turns.groupby("target").size().to_dict() == {
        "opus": CALLS * TURNS,
        "narrow": CALLS * TURNS,
    }
    assert set(turns["outcome"]) == {"ok", "interrupted"}
    assert not [reply for reply in replies if reply.is_beyond_bound]


def test_an_agent_that_ends_the_call_closed_it_normally() -> None:
    with running_simulator() as ready:
        (target,) = resolve_targets(
            {}, ServiceOptions(url=ready.urls["agent_webrtc"], dialect="webrtc", codec="PCMU")
        )
        call = Dialer(target, Keyring([target])).open(Timeouts(upgrade=GUARD_S), ConnectTimings())
    call.receive_until(monotonic_ns() + int(GUARD_S * NS_PER_S), lambda message: False)

    assert call.closed is not None
    assert (call.closed.code, call.closed.ours) == (1000, False)
    call.close()


def test_the_doctor_calls_an_agent_or_states_why_it_cannot(tmp_path: Path) -> None:
    with running_simulator() as ready:
        url = ready.urls["agent_webrtc"]
        found, other = (
            rtbench("doctor", "--url", each, "--dialect", "webrtc", cwd=tmp_path).stdout.split()
            for each in (url, url.replace("webrtc", "pcm"))
        )

    assert {"candidates", "UDP", "DTLS", "OPUS", "answered:"} <= set(found)
    assert "check host and path, such as /api/offer" in " ".join(other)
