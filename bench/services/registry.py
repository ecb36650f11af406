"""The table of dialects by the names that users type, and the dialects that differ little from OpenAI's dialects.

Each dialect of this module is GA or preview, with the differences of its service. The sources of the differences are
the vendor's reference, and the adapters and SDKs that the docstring of the class names. docs/targets.md states how each
dialect was tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.services.agents.dialects import ACS, PCM, TWILIO
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.services.openai.dialect import VOICE_LIVE_NAME, OpenAIDialect
from bench.services.openai.events import FILLERS
from bench.services.openai.ga import GA, OF_MCP, Ga
from bench.services.openai.preview import PREVIEW, Preview
from bench.services.telephone.dialect import TELEPHONE
from bench.wire.audio import (
    G711_ALAW,
    G711_ULAW,
    PCM16,
    PCM16_8K,
    PCM16_16K,
    PCM16_48K,
    AudioFormat,
    AudioFormatName,
    by_name,
)
from bench.wire.dialect import Dialect, Feature
from bench.wire.events import EventKind
from bench.wire.settings import Output, SessionSettings, UnsupportedSetting, without_none

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
"""The features that are undocumented for these services, for which no client shows how to request them either; and MCP.
"""


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
    own_transcription = False
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


class ServerVadOnly(OpenAIDialect):
    """The dialect of services that have no turn detection except `server_vad`."""

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        refused, turn_detection = super().unsupported_setting(settings), settings.turn_detection
        if refused is not None or turn_detection is None or turn_detection.type == "server_vad":
            return refused
        problem = f"the {self.name} dialect does not support {turn_detection.type}: use server_vad"
        return UnsupportedSetting(("turn_detection", "type"), problem)


class Xai(ServerVadOnly, Ga):
    """xAI's Grok Voice Agent. It is like GA, but voice and turn detection are at the top level of the session.

    The service ignores these two settings at the positions that they have in GA (xAI's voice guide; livekit-plugins-xai
    1.8.9, `_wrap_session_update`; pipecat 1.14.0, `services/xai/realtime/events.py`).
    """

    name = "xai"
    own_transcription = False
    own_kinds = dict(OF_MCP) | {
        **dict.fromkeys(("conversation.item.input_audio_transcription.updated", "ping"), EventKind.NOTED),
        "response.text.delta": EventKind.TEXT_DELTA,  # text has either name
        "response.text.done": EventKind.TEXT_DONE,
    }
    missing_features = UNKNOWN
    stored = {  # noqa: RUF012 - as in its bases
        ("turn_detection", "create_response") if keys[-1:] == ("create_response",) else keys: remedy
        for keys, remedy in Ga.stored.items()
    }

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        session = super().session(settings)
        session["turn_detection"] = session["audio"]["input"].pop("turn_detection")
        if settings.voice is not None:
            session["voice"] = session["audio"]["output"].pop("voice")
        return session


class Inworld(Ga):
    """Inworld's Realtime API. It is like GA, but audio output always includes text.

    The sources are pipecat 1.14.0 (`services/inworld/realtime`) and Mastra's adapter.
    """

    name = "inworld"
    own_transcription = False
    missing_features = UNKNOWN

    def output(self, output: Output) -> dict[str, Any]:
        return {"output_modalities": ["text"] if output == "text" else ["audio", "text"]}


class ShelledFunctions(Preview):
    """A dialect that is like the preview, but has each function in a `function` object, as in chat completions."""

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        session = super().session(settings)
        if "tools" not in session:
            return session
        bare = ({key: value for key, value in tool.items() if key != "type"} for tool in session["tools"])
        return session | {"tools": [{"type": "function", "function": function} for function in bare]}


class Qwen(ShelledFunctions):
    """Alibaba's Qwen-Omni-Realtime (DashScope). It has the preview's names. Each function is in a `function` object.

    By default, the caller's audio has 16 kHz and replies have 24 kHz; both formats are then the word `pcm`. For other
    rates, the formats are in `audio.input.format` and `audio.output.format` (dashscope 2.0.2, `AudioFormatConfig`).
    """

    name = "qwen"
    own_transcription = False
    own_kinds = dict.fromkeys(("conversation.item.input_audio_transcription.text", "session.finished"), EventKind.NOTED)
    missing_features = UNKNOWN
    input_formats = by_name(PCM16_16K, PCM16_8K, PCM16, PCM16_48K)
    output_formats = by_name(PCM16, PCM16_8K, PCM16_16K, PCM16_48K)
    stored = {**Preview.stored, ("audio",): "use `input_format` and `output_format`"}  # noqa: RUF012

    def formats(self, settings: SessionSettings) -> dict[str, Any]:
        input_format, output_format = self.input_format_for(settings), self.output_format_for(settings)
        if (input_format, output_format) == (PCM16_16K, PCM16):
            return {"input_audio_format": "pcm", "output_audio_format": "pcm"}
        return {"audio": {"input": _pcm_format(input_format), "output": _pcm_format(output_format)}}


class Glm(ServerVadOnly, Preview):
    """Zhipu's GLM-Realtime. It has the preview's names, and also `beta_fields`.

    If the type of turn detection is `client_vad`, the client ends turns. The input formats `pcm16` and `pcm24` have 16
    and 24 kHz. The format of replies is `pcm`, with 24 kHz (MetaGLM/glm-realtime-sdk).
    """

    name = "glm"
    own_transcription = False
    own_kinds = dict.fromkeys(("heartbeat", "response.function_call.simple_browser"), EventKind.NOTED)
    missing_features = UNKNOWN
    input_formats = by_name(PCM16_16K, PCM16)
    output_formats = by_name(PCM16)
    stored = {**Preview.stored, ("beta_fields", "chat_mode"): "only calls with audio are supported"}  # noqa: RUF012

    def formats(self, settings: SessionSettings) -> dict[str, Any]:
        rate = self.input_format_for(settings).rate_hz // 1_000
        return {"input_audio_format": f"pcm{rate}", "output_audio_format": "pcm"}

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        session = super().session(settings)
        session["turn_detection"] = session["turn_detection"] or {"type": "client_vad"}
        return session | {"beta_fields": {"chat_mode": "audio"}}


class StepFun(ServerVadOnly, ShelledFunctions):
    """StepFun's Realtime API. It is like the preview, with 24 kHz PCM only.

    Each function is in a `function` object. Replies are always audio. The source is livekit-plugins-stepfun.
    """

    name = "stepfun"
    own_transcription = False
    missing_features = UNKNOWN
    input_formats = by_name(PCM16)
    output_formats = by_name(PCM16)

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if settings.output == "text":
            return UnsupportedSetting(
                ("output",), "output must be audio in the stepfun dialect, whose replies are always audio"
            )
        return super().unsupported_setting(settings)


def _pcm_format(format: AudioFormat) -> dict[str, Any]:
    return {"format": {"type": "pcm", "sample_rate": format.rate_hz}}


VOICE_LIVE, XAI, INWORLD, QWEN, GLM, STEPFUN = VoiceLive(), Xai(), Inworld(), Qwen(), Glm(), StepFun()
API_VERSIONS = {
    PREVIEW.name: ("2024-10-01-preview", "2025-04-01-preview"),
    VOICE_LIVE.name: ("2026-07-15", "2026-06-01-preview", "2026-04-10", "2025-10-01", "2025-05-01-preview"),
}
"""The api-versions of Azure's addresses of a dialect, by its name. The first one is the default."""
DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (GA, PREVIEW, VOICE_LIVE, GPT_LIVE, XAI, INWORLD, QWEN, GLM, STEPFUN, ACS, TWILIO, PCM, TELEPHONE)
}
