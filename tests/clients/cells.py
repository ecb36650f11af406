"""The one table of clients: which version was tried last, and the outcome of each client at each
step.

Tests and `make clients` use the outcomes as parameters. A table of rtbench_simulator/README.md is
generated from them.
"""

from __future__ import annotations

from typing import NamedTuple

STEPS = {
    "connect": "the session is described",
    "text": "a typed turn is answered in text (frameworks, and Gemini Live: in audio)",
    "manual audio": "audio that the client commits is answered in audio",
    "VAD": "speech that the service hears itself is answered",
    "interruption": "the caller speaks into a reply, which is cancelled and cut",
    "function call": "a function is called, its output answered",
    "cancel": "the client cancels a reply",
    "invalid event": "an unknown event is an error, and the session goes on",
}
"""The steps. The value of a step is the condition for which the step passes."""

PASS, NOT_TRIED = "pass", "–"
NOT_OF_FRAMEWORKS = ("manual audio", "cancel", "invalid event")
NOT_OF_GEMINI = ("cancel", "invalid event")


class Client(NamedTuple):
    """A client.

    `tried` is the version of its first package that passed `make clients` last. `packages` are what
    pip or npm installs. `not_tried` are the steps that it does not have, or that its caller does
    not try.
    """

    name: str
    tried: str
    packages: tuple[str, ...]
    dialects: tuple[str, ...]
    not_tried: tuple[str, ...] = ()

    @property
    def is_node(self) -> bool:
        return "(Node)" in self.name

    def outcome(self, step: str) -> str:
        return NOT_TRIED if step in self.not_tried else PASS


OPENAI_DIALECTS = ("Azure GA", "Azure preview", "OpenAI GA", "OpenAI preview")
CLIENTS = (
    Client("openai (Python)", "3.57.0", ("openai[realtime]",), OPENAI_DIALECTS),
    Client("openai (Node)", "7.59.0", ("openai", "ws@8"), ("Azure GA", "OpenAI GA")),
    Client("openai-agents", "0.24.0", ("openai-agents",), ("OpenAI GA",), NOT_OF_FRAMEWORKS),
    Client(
        "@openai/agents-realtime (Node)",
        "0.20.0",
        ("@openai/agents-realtime", "zod@4"),
        ("OpenAI GA",),
        NOT_OF_FRAMEWORKS,
    ),
    Client(
        "LiveKit",
        "1.8.9",
        ("livekit-agents", "livekit-plugins-openai"),
        ("OpenAI GA",),
        ("invalid event",),
    ),
    Client(
        "pipecat",
        "1.14.0",
        ("pipecat-ai[openai,google]",),
        ("OpenAI GA", "Gemini Live"),
        NOT_OF_FRAMEWORKS,
    ),
    Client("google-genai", "3.6.1", ("google-genai",), ("Gemini Live",), NOT_OF_GEMINI),
    Client("@google/genai (Node)", "3.3.0", ("@google/genai",), ("Gemini Live",), NOT_OF_GEMINI),
    Client("azure-ai-voicelive", "1.3.1", ("azure-ai-voicelive[aiohttp]",), ("Voice Live",)),
    Client(
        "@azure/ai-voicelive (Node)",
        "1.1.0",
        ("@azure/ai-voicelive", "@azure/core-auth"),
        ("Voice Live",),
    ),
)
IN_TESTS = ("openai (Python)", "azure-ai-voicelive")
"""The clients that tests try, too: their packages can be installed with our pinned packages."""
