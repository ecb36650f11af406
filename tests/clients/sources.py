"""The programs of the clients, which tests and the benchmark run."""

from __future__ import annotations

import re
from pathlib import Path

from tests.clients.cells import BENCHMARK

FOLDER = Path(__file__).parent / "programs"
ADDRESS = "127.0.0.1:8765"
"""The address of the simulator in the text of each program. Tests replace the port."""

PROGRAMS = {
    "openai (Python)": "test",
    "azure-ai-voicelive": "test",
    "openai (Node)": BENCHMARK,
    "openai-agents": BENCHMARK,
    "@openai/agents (Node)": BENCHMARK,
    "LiveKit": BENCHMARK,
    "pipecat": BENCHMARK,
}
"""The clients that have a program. The value is the place that runs the program: a test or the benchmark."""


def source(name: str) -> str:
    """Return the text of a client's program."""
    (path,) = FOLDER.glob(re.sub(r"\W+", "_", name).strip("_").lower() + ".*")
    return path.read_text(encoding="utf-8")
