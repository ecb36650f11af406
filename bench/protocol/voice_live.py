"""The dialect of Azure Voice Live: the preview's events and flat session, with further ones of its own.

Names and fields: the client azure-ai-voicelive 1.3.1 (`RequestSession`, `ServerEventType`), api-version 2026-07-15.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.protocol.audio import G711_ALAW, G711_ULAW, PCM16, PCM16_8K, PCM16_16K, AudioFormatName, by_name
from bench.protocol.base import Feature
from bench.protocol.events import Kind
from bench.protocol.openai import VOICE_LIVE_NAME
from bench.protocol.openai_events import FILLERS, GA_PARTS, PREVIEW_PARTS
from bench.protocol.openai_preview import KEPT, Preview
from bench.protocol.settings import Keys, SessionSettings, without_none

OWN_KINDS = dict.fromkeys(
    (
        "warning",
        "session.avatar.connecting",
        "session.avatar.switch_to_speaking",
        "session.avatar.switch_to_idle",
        "response.animation_blendshapes.delta",
        "response.animation_blendshapes.done",
        "response.animation_viseme.delta",
        "response.animation_viseme.done",
        "response.audio_timestamp.delta",
        "response.audio_timestamp.done",
        "response.audio_transcript.annotation.added",
        "response.file_search_call.completed",
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.invocation.delta",
        "response.video.delta",
        "response.web_search_call.completed",
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "output_audio_buffer.cleared",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
    ),
    Kind.NOTED,
)
"""Events that are known, and mark no instant."""


FORMATS = by_name(PCM16, PCM16_8K, PCM16_16K, G711_ULAW, G711_ALAW)
SPOKEN_FORMATS: Mapping[AudioFormatName, str] = {PCM16_8K.name: "pcm16_8000hz", PCM16_16K.name: "pcm16_16000hz"}
"""How formats of answers are said whose rate stands in their name; the others are called as everywhere."""


class VoiceLive(Preview):
    """The dialect of Azure's path /voice-live/realtime."""

    input_formats = output_formats = FORMATS
    name = VOICE_LIVE_NAME
    lacks: Mapping[Feature, str] = MappingProxyType(
        {Feature.OUT_OF_BAND: "which Voice Live does not support: remove `conversation: none` and `input`"}
    )
    kept: Mapping[Keys, str] = {**KEPT, ("avatar",): "an avatar's video is not measured"}

    def formats(self, settings: SessionSettings) -> dict[str, Any]:
        spoken = self.speaks(settings).name
        return super().formats(settings) | {"output_audio_format": SPOKEN_FORMATS.get(spoken, spoken)}

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        echo = settings.echo_cancellation
        return super().session(settings) | without_none(
            {
                "input_audio_echo_cancellation": None if echo is None else {"type": echo},
                "reasoning_effort": None if settings.reasoning is None else settings.reasoning["effort"],
                FILLERS: settings.interim_response,
            }
        )


VOICE_LIVE = VoiceLive({**PREVIEW_PARTS, **OWN_KINDS}, others=GA_PARTS)
