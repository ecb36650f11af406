"""The parts that dialects which differ little from OpenAI's dialects have in common."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.services.openai.dialect import OpenAIDialect
from bench.services.openai.preview import Preview
from bench.wire.dialect import Feature
from bench.wire.settings import SessionSettings, UnsupportedSetting

NO_MCP: Mapping[Feature, str] = MappingProxyType(
    {Feature.MCP: "which this tool supports only in the GA dialect: remove them, or use --dialect ga"}
)
UNKNOWN: Mapping[Feature, str] = MappingProxyType(
    {
        **dict.fromkeys(
            (Feature.IMAGE, Feature.OUT_OF_BAND),
            "which is undocumented for this service: remove it, or use another --dialect",
        ),
        **NO_MCP,
    }
)
"""MCP, and the features that are undocumented for these services, and that no client shows how to request."""


class ServerVadOnly(OpenAIDialect):
    """The dialect of services that have no turn detection except `server_vad`."""

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        refused, turn_detection = super().unsupported_setting(settings), settings.turn_detection
        if refused is not None or turn_detection is None or turn_detection.type == "server_vad":
            return refused
        problem = f"the {self.name} dialect does not support {turn_detection.type}: use server_vad"
        return UnsupportedSetting(("turn_detection", "type"), problem)


class ShelledFunctions(Preview):
    """A dialect that is like the preview, but has each function in a `function` object, as in chat completions."""

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        session = super().session(settings)
        if "tools" not in session:
            return session
        bare = ({key: value for key, value in tool.items() if key != "type"} for tool in session["tools"])
        return session | {"tools": [{"type": "function", "function": function} for function in bare]}
