"""Clients of other services hold a conversation with the simulated ones: spoken and interrupted.

They need other package versions than ours, so RTBENCH_VOICE_AGENTS_PYTHON names a Python that has
deepgram-sdk, elevenlabs, pipecat-ai, and vllm-omni without its dependencies, with pybase64 and websockets. As the SDK of
AWS needs Python 3.12, RTBENCH_AWS_PYTHON names one that has aws-sdk-bedrock-runtime and awscrt, and
RTBENCH_AWS_NODE a folder in which npm has installed @aws-sdk/client-bedrock-runtime, and
RTBENCH_FOUNDRY_NODE one with @azure/ai-projects, RTBENCH_FOUNDRY_PYTHON a Python with
azure-ai-projects and websockets, RTBENCH_ASSEMBLYAI_NODE a folder with @memberjunction/ai-assemblyai and ws.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.simulator_process import AUDIO, GUARD_S, patient_simulator

PYTHON = os.environ.get("RTBENCH_VOICE_AGENTS_PYTHON")
WORDS = AUDIO / "late_parcel.wav"
PROGRAMS = Path(__file__).parents[2] / "clients" / "voice_agents"


def check_conversation(*command: object) -> None:
    """Run a client, and assert that it holds its conversation."""
    ended = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=GUARD_S, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]


@pytest.mark.skipif(
    PYTHON is None, reason="RTBENCH_VOICE_AGENTS_PYTHON names no Python with the clients"
)
@pytest.mark.parametrize(
    "program",
    ["by_deepgram_sdk.py", "by_elevenlabs_sdk.py", "by_pipecat_ultravox.py", "by_vllm_omni.py"],
)
def test_a_foreign_client_holds_a_conversation(program: str, tmp_path: Path) -> None:
    with patient_simulator(tmp_path) as simulator:
        check_conversation(PYTHON, PROGRAMS / program, simulator.port, WORDS)


FOUNDRY_PYTHON = os.environ.get("RTBENCH_FOUNDRY_PYTHON")
FOUNDRY_NODE = os.environ.get("RTBENCH_FOUNDRY_NODE")


@pytest.mark.skipif(FOUNDRY_PYTHON is None, reason="RTBENCH_FOUNDRY_PYTHON names no Python")
def test_the_sdk_of_foundry_for_python_holds_a_conversation(tmp_path: Path) -> None:
    program = PROGRAMS / "by_azure_ai_projects.py"
    with patient_simulator(tmp_path, "--tls", "--key", SECRET) as simulator:
        check_conversation(FOUNDRY_PYTHON, program, simulator.port, WORDS, simulator.ca, SECRET)


@pytest.mark.skipif(FOUNDRY_NODE is None, reason="RTBENCH_FOUNDRY_NODE names no folder")
def test_the_sdk_of_foundry_for_javascript_holds_a_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = in_folder(FOUNDRY_NODE, "by_azure_ai_projects.mjs")
    with patient_simulator(tmp_path, "--tls", "--key", SECRET) as simulator:
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(simulator.ca))
        check_conversation("node", program, simulator.port, SECRET)


AWS_PYTHON = os.environ.get("RTBENCH_AWS_PYTHON")
AWS_NODE = os.environ.get("RTBENCH_AWS_NODE")
ASSEMBLYAI_NODE = os.environ.get("RTBENCH_ASSEMBLYAI_NODE")
SECRET = "a-secret-access-key"


@pytest.mark.skipif(AWS_PYTHON is None, reason="RTBENCH_AWS_PYTHON names no Python with the SDK")
def test_the_sdk_of_aws_for_python_holds_a_conversation(tmp_path: Path) -> None:
    program = PROGRAMS / "by_bedrock_sdk.py"
    with patient_simulator(tmp_path, "--tls", "--key", SECRET) as simulator:
        check_conversation(AWS_PYTHON, program, simulator.port, WORDS, simulator.ca, SECRET)


def in_folder(folder: str | None, name: str) -> Path:
    """Return a copy of a program in a folder. Node looks for packages next to it."""
    program = Path(str(folder)) / name
    program.write_text((PROGRAMS / name).read_text())
    return program


@pytest.mark.skipif(AWS_NODE is None, reason="RTBENCH_AWS_NODE names no folder with the SDK")
def test_the_sdk_of_aws_for_javascript_holds_a_conversation(tmp_path: Path) -> None:
    program = in_folder(AWS_NODE, "by_bedrock_sdk.mjs")
    with patient_simulator(tmp_path, "--key", SECRET) as simulator:
        check_conversation("node", program, simulator.port, WORDS, SECRET)


@pytest.mark.skipif(ASSEMBLYAI_NODE is None, reason="RTBENCH_ASSEMBLYAI_NODE names no folder")
def test_a_client_of_assemblyai_holds_a_conversation(tmp_path: Path) -> None:
    program = in_folder(ASSEMBLYAI_NODE, "by_memberjunction.mjs")
    with patient_simulator(tmp_path) as simulator:
        check_conversation("node", program, simulator.port, WORDS)
