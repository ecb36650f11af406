"""Calls over WebRTC to an agent of another implementation, pipecat's SmallWebRTCTransport.

It needs other package versions than ours, so RTBENCH_WEBRTC_PYTHON names a Python that has
`pipecat-ai[webrtc]` and uvicorn.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS
from bench.catalogue.timeouts import Timeouts
from bench.protocols.rtp.rtp import CODECS
from bench.session.dial import Dialer
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.target.tokens import Keyring
from bench.transport.interface import ConnectTimings, Transport
from bench.wire.audio import AudioFormat, audible_position
from bench.wire.connection import ReceivedMessage, RtpMeasured
from bench.wire.dialect import BinaryMessage
from tests.simulator_process import GUARD_S

PYTHON = os.environ.get("RTBENCH_WEBRTC_PYTHON")
AGENT = Path(__file__).parents[2] / "clients" / "webrtc" / "pipecat_agent.py"
CALLS, FRAME_MS, SPEECH_FRAMES, TONE_FRAMES = 20, 20, 20, 25
"""The number of calls, and numbers of frames: of the caller's speech, and of each tone of the
agent at least."""
LIMITS = Timeouts(**dict.fromkeys(vars(Timeouts()), GUARD_S))
pytestmark = pytest.mark.skipif(
    PYTHON is None, reason="RTBENCH_WEBRTC_PYTHON names no Python with pipecat"
)


@pytest.fixture(scope="module")
def agent_url() -> Iterator[str]:
    with subprocess.Popen([str(PYTHON), str(AGENT)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/api/offer"
        finally:
            process.kill()


def tone_frames(call: Transport, audio: AudioFormat, speech_frames: int) -> int:
    """Speak, and be silent until a tone of the agent has ended. Return the number of audible
    frames.
    """
    wave = np.tile(np.repeat(np.array([8_000, -8_000], np.int16), 10), 24)[
        : audio.rate_hz * FRAME_MS // 1_000
    ]
    heard, silent, until_ns = 0, 0, monotonic_ns() + int(GUARD_S * 1_000) * NS_PER_MS

    def note(message: ReceivedMessage) -> bool:
        nonlocal heard, silent
        is_audible = audible_position(audio.decode(message.data)) is not None
        heard, silent = heard + is_audible, 0 if is_audible else silent + 1
        return False

    for number in range(int(GUARD_S * 1_000) // FRAME_MS):
        call.send(
            BinaryMessage(audio.encode(wave if number < speech_frames else np.zeros_like(wave)))
        )
        call.receive_until(monotonic_ns() + FRAME_MS * NS_PER_MS, note)
        assert call.closed is None
        if (heard >= TONE_FRAMES and silent >= 5) or monotonic_ns() > until_ns:
            break
    return heard


@pytest.mark.parametrize("codec", ["opus", "PCMU"])
def test_an_agent_of_another_implementation_greets_and_answers(agent_url: str, codec: str) -> None:
    (target,) = resolve_targets({}, ServiceOptions(url=agent_url, dialect="webrtc", codec=codec))
    dialer, audio = Dialer(target, Keyring([target])), CODECS[codec.upper()].audio
    for _ in range(CALLS // 2):
        phases = ConnectTimings()
        call = dialer.open(LIMITS, phases)
        greeting, answer = (tone_frames(call, audio, frames) for frames in (0, SPEECH_FRAMES))
        measured = call.network()
        call.close()

        assert min(greeting, answer) >= TONE_FRAMES
        assert isinstance(measured, RtpMeasured)
        assert measured.lost == 0
        order = [
            "connect_start",
            "dns_done",
            "tcp_done",
            "offer_answered",
            "ice_connected",
            "dtls_done",
            "opened",
        ]
        assert sorted(order, key=phases.instants.__getitem__) == order
