"""The outcome of each client at each step.

A test and a benchmark use these outcomes as parameters. A table of docs/simulator.md is generated from them.
"""

from __future__ import annotations

from typing import NamedTuple

STEPS = {
    "connect": "the session is described",
    "text": "a typed turn is answered in text (frameworks: in audio)",
    "manual audio": "audio that the client commits is answered in audio",
    "VAD": "speech that the service hears itself is answered",
    "interruption": "the caller speaks into a reply, which is cancelled and cut",
    "function call": "a function is called, its output answered",
    "cancel": "the client cancels a reply",
    "invalid event": "an unknown event is an error, and the session goes on",
}
"""The steps. The value of a step is the condition for which the step passes."""

PASS, NOT_TRIED = "pass", "–"
BENCHMARK = "benchmark"
"""The value of `where` for a client that needs other package versions than ours.

`benchmarks/frameworks.py` tests it.
"""


class ClientRow(NamedTuple):
    """A client with one dialect.

    `outcomes` contains each step that does not pass, with the reason. `where` is the program that tests the client.
    """

    client: str
    dialect: str
    where: str = "test"
    outcomes: dict[str, str] = {}  # noqa: RUF012

    def outcome(self, step: str) -> str:
        return self.outcomes.get(step, PASS)


def not_tried(*steps: str) -> dict[str, str]:
    return dict.fromkeys(steps, NOT_TRIED)


ROWS = (
    *(
        ClientRow("openai (Python)", dialect)
        for dialect in ("Azure GA", "Azure preview", "OpenAI GA", "OpenAI preview")
    ),
    ClientRow("azure-ai-voicelive", "Voice Live"),
    ClientRow("openai (Node)", "Azure GA", BENCHMARK),
    ClientRow("openai (Node)", "OpenAI GA", BENCHMARK),
    ClientRow("openai-agents", "OpenAI GA", BENCHMARK, not_tried("manual audio", "cancel", "invalid event")),
    ClientRow("@openai/agents (Node)", "OpenAI GA", BENCHMARK, not_tried(*list(STEPS)[2:])),
    ClientRow("LiveKit", "OpenAI GA", BENCHMARK, not_tried("invalid event")),
    ClientRow("pipecat", "OpenAI GA", BENCHMARK, not_tried(*list(STEPS)[2:])),
)
