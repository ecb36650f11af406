"""Clients of other services hold a conversation with the simulated ones: spoken and interrupted.

They need other package versions than ours, so RTBENCH_VOICE_AGENTS_PYTHON names a Python that has
deepgram-sdk, and vllm-omni without its dependencies, with pybase64 and websockets.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.simulator_process import AUDIO, GUARD_S, patient_simulator

PYTHON = os.environ.get("RTBENCH_VOICE_AGENTS_PYTHON")
PROGRAMS = Path(__file__).parents[2] / "clients" / "voice_agents"


@pytest.mark.skipif(
    PYTHON is None, reason="RTBENCH_VOICE_AGENTS_PYTHON names no Python with the clients"
)
@pytest.mark.parametrize("program", ["by_deepgram_sdk.py", "by_vllm_omni.py"])
def test_a_foreign_client_holds_a_conversation(program: str, tmp_path: Path) -> None:
    with patient_simulator(tmp_path) as simulator:
        command = [
            str(PYTHON),
            str(PROGRAMS / program),
            str(simulator.port),
            str(AUDIO / "late_parcel.wav"),
        ]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=GUARD_S, check=False
        )

    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]
