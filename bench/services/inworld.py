"""Inworld's Realtime API: its dialect, and its service."""

from typing import Any

from bench.services.openai.dialect import UNKNOWN, Ga
from bench.wire.service import BASIC, Route, Service
from bench.wire.settings import Output


class Inworld(Ga):
    """Like GA, but audio always has text (pipecat 1.14.0, `services/inworld/realtime`; Mastra's
    adapter).
    """

    name = "inworld"
    names_requests = False  # undocumented
    transcribers = ()
    missing_features = UNKNOWN

    def output(self, output: Output) -> dict[str, Any]:
        return {"output_modalities": ["text"] if output == "text" else ["audio", "text"]}


INWORLD = Inworld()
PATH = "/api/v1/realtime/session"
SERVICE = Service(
    "inworld",
    "Inworld",
    INWORLD,
    f"wss://api.inworld.ai{PATH}?key={{uuid}}&protocol=realtime",
    hosts=("api.inworld.ai",),
    routes=(Route(PATH, INWORLD, is_unique=True),),
    key_header=BASIC,
    api_key_env="INWORLD_API_KEY",
)
