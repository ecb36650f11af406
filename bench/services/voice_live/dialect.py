"""Azure Voice Live: its dialect, and its path at Azure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.catalogue.pricing import Billing
from bench.services.openai.dialect import VOICE_LIVE_NAME
from bench.services.openai.events import FILLERS
from bench.services.openai.preview import Preview
from bench.services.openai.variants import NO_MCP
from bench.services.voice_live.keys import SETTING_KEYS
from bench.wire.audio import G711_ALAW, G711_ULAW, PCM16, PCM16_8K, PCM16_16K, AudioFormatName, by_name
from bench.wire.dialect import Feature
from bench.wire.events import EventKind
from bench.wire.service import Route
from bench.wire.settings import SessionSettings, without_none

OF_VOICE_LIVE = dict.fromkeys(
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
    EventKind.NOTED,
)
SPOKEN_FORMATS: Mapping[AudioFormatName, str] = {PCM16_8K.name: "pcm16_8000hz", PCM16_16K.name: "pcm16_16000hz"}
"""The names of output formats that contain the rate. All other output formats have their usual names."""


class VoiceLive(Preview):
    """Azure Voice Live, at the path /voice-live/realtime. It has the preview's events and flat session, and additional
    ones.

    The source of names and fields is azure-ai-voicelive 1.3.1 (`RequestSession`, `ServerEventType`), api-version
    2026-07-15.
    """

    name = family = VOICE_LIVE_NAME
    transcribers, billing, setting_keys = (), Billing.TIERS, SETTING_KEYS
    own_kinds = OF_VOICE_LIVE
    input_formats = output_formats = by_name(PCM16, PCM16_8K, PCM16_16K, G711_ULAW, G711_ALAW)
    missing_features = MappingProxyType(
        {Feature.OUT_OF_BAND: "which Voice Live does not support: remove `conversation: none` and `input`", **NO_MCP}
    )
    stored = {**Preview.stored, ("avatar",): "an avatar's video is not measured"}  # noqa: RUF012 - as in its base

    def formats(self, settings: SessionSettings) -> dict[str, Any]:
        format_name = self.output_format_for(settings).name
        return super().formats(settings) | {"output_audio_format": SPOKEN_FORMATS.get(format_name, format_name)}

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        echo = settings.echo_cancellation
        return super().session(settings) | without_none(
            {
                "input_audio_echo_cancellation": None if echo is None else {"type": echo},
                "reasoning_effort": None if settings.reasoning is None else settings.reasoning["effort"],
                FILLERS: settings.interim_response,
            }
        )


VOICE_LIVE = VoiceLive()
VERSIONS = ("2026-07-15", "2026-06-01-preview", "2026-04-10", "2025-10-01", "2025-05-01-preview")
VOICE_LIVE_ROUTE = Route(
    "/voice-live/realtime",
    VOICE_LIVE,
    title="Voice Live",
    needs=("model", "agent-name", "agent_id"),
    versions=VERSIONS,
    scope="https://ai.azure.com/.default",  # that of Voice Live's own client (azure-ai-voicelive 1.3.1)
    roles=("Cognitive Services User", "Cognitive Services OpenAI User"),
    other_hosts={".openai.azure.com": ".services.ai.azure.com"},
    is_unique=True,
)
