"""Google's SDK and pipecat hold a conversation with the simulated Gemini Live: typed, spoken, interrupted, a function.

They need other package versions than ours, so RTBENCH_GEMINI_PYTHON names a Python that has google-genai, soxr and
`pipecat-ai[google]`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.simulator_process import AUDIO, GUARD_S, patient_simulator

PYTHON = os.environ.get("RTBENCH_GEMINI_PYTHON")
PROGRAMS = Path(__file__).parents[2] / "clients" / "gemini"


@pytest.mark.skipif(PYTHON is None, reason="RTBENCH_GEMINI_PYTHON names no Python with the clients")
@pytest.mark.parametrize("program", ["by_google_genai.py", "by_pipecat.py"])
def test_a_foreign_client_holds_a_conversation(program: str, tmp_path: Path) -> None:
    with patient_simulator(tmp_path, "--tls", "--ca-out", str(tmp_path / "ca.pem")) as simulator:
        command = [str(PYTHON), str(PROGRAMS / program), str(simulator.port), str(AUDIO / "late_parcel.wav")]
        trust = os.environ | {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
        ended = subprocess.run(command, env=trust, capture_output=True, text=True, timeout=GUARD_S, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]
