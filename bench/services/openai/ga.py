"""The GA dialect of the Realtime API. The session is nested and has a type. Output parts have names with `output`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.services.openai.dialect import GA_NAME, RATED_FORMATS, WITHOUT_DETECTION, OpenAIDialect, tools
from bench.services.openai.events import GA_PARTS, MCP_APPROVAL_REQUEST, MCP_CALL, PREVIEW_PARTS
from bench.wire.audio import AudioFormat, AudioFormatName
from bench.wire.events import EventKind
from bench.wire.settings import ONLY_TRANSCRIPT, Keys, Output, SessionSettings, without_none

G711_TYPES: Mapping[AudioFormatName, str] = {"g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}


def ga_format(format: AudioFormat) -> dict[str, Any]:
    """Return the setting for an audio format in the notation of GA."""
    if format.is_pcm:
        return {"type": "audio/pcm", "rate": format.rate_hz}
    return {"type": G711_TYPES[format.name]}


STORED: Mapping[Keys, str] = {
    ("type",): "only realtime sessions are supported, and with `output: transcript` transcription sessions",
    ("output_modalities",): "use `output`",
    ("instructions",): "use `instructions`",
    ("tools",): "use `tools`",
    ("tool_choice",): "use `tool_choice`",
    ("audio", "input", "format"): "use `input_format`",
    ("audio", "output", "format"): "use `output_format`",
    ("max_output_tokens",): "use `max_output_tokens`",
    ("audio", "input", "turn_detection", "create_response"): "use `turn_detection`",
    ("audio", "input", "transcription", "model"): "use `input_transcription`",
}

OF_MCP: Mapping[str, EventKind] = MappingProxyType(
    {
        "mcp_list_tools.in_progress": EventKind.NOTED,
        "mcp_list_tools.completed": EventKind.MCP_LISTED,
        "mcp_list_tools.failed": EventKind.MCP_NOT_LISTED,
        "response.mcp_call_arguments.delta": EventKind.NOTED,
        "response.mcp_call_arguments.done": EventKind.MCP_CALL_DONE,
        "response.mcp_call.in_progress": EventKind.MCP_CALL_STARTED,
        "response.mcp_call.completed": EventKind.MCP_CALL_ENDED,
        "response.mcp_call.failed": EventKind.MCP_CALL_FAILED,
    }
)
"""The events of MCP servers, whose tools the service lists and calls itself (Realtime guide, "Realtime with tools")."""


class Ga(OpenAIDialect):
    """The dialect of Azure's path /openai/v1/realtime. It is also that of OpenAI if no version header is sent."""

    name = family = GA_NAME
    parts, other_kinds, own_kinds = GA_PARTS, PREVIEW_PARTS, OF_MCP
    item_kinds = MappingProxyType(
        {
            (EventKind.OUTPUT_ADDED, MCP_CALL): EventKind.MCP_CALL_ADDED,
            (EventKind.NOTED, MCP_APPROVAL_REQUEST): EventKind.MCP_APPROVAL,  # conversation.item.done
        }
    )
    input_formats = output_formats = RATED_FORMATS
    stored = STORED
    reply_part = "output_text"
    transcribers = WITHOUT_DETECTION

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        transcription, noise = settings.input_transcription, settings.noise_reduction
        audio_input = {
            "format": ga_format(self.input_format_for(settings)),
            "turn_detection": settings.detection_update,  # null disables it
        } | without_none(
            transcription=transcription.explicit if transcription else None,
            noise_reduction={"type": noise} if noise else None,
        )
        if settings.output == ONLY_TRANSCRIPT:
            return {"type": "transcription", "audio": {"input": audio_input}}
        audio_output = without_none(format=ga_format(self.output_format_for(settings)), voice=settings.voice)
        return without_none(
            type="realtime",
            **self.output(settings.output),
            instructions=settings.instructions,
            audio={"input": audio_input, "output": audio_output},
            max_output_tokens=settings.max_output_tokens,
            reasoning=settings.reasoning,
            truncation=settings.truncation,
            **tools(settings),
        )

    def output(self, output: Output) -> dict[str, Any]:
        return {"output_modalities": [output]}


GA = Ga()
