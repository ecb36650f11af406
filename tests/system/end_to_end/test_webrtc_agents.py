"""Calls over WebRTC to the simulated agent: how it ends them, and what is no such agent is named."""

from __future__ import annotations

from pathlib import Path

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S
from bench.catalogue.timeouts import Timeouts
from bench.session.dial import Dialer
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.target.tokens import Keyring
from bench.transport.interface import ConnectTimings
from tests.simulator_process import GUARD_S, running_simulator
from tests.system.end_to_end.locust_process import rtbench


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
