"""The preview dialect of the Realtime API. The session is flat. The parts of a response have
their original names.
"""

# Several compatible services have the names of the preview. Their dialects derive from this one,
# and override only what differs.

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.services.openai.dialect import (
    PREVIEW_NAME,
    RATED_FORMATS,
    WITHOUT_DETECTION,
    OpenAIDialect,
    tools,
)
from bench.services.openai.events import GA_PARTS, PREVIEW_PARTS
from bench.wire.audio import PCM16
from bench.wire.dialect import Feature, MessageKind
from bench.wire.settings import ONLY_TRANSCRIPT, Output, SessionSettings, without_none

TRANSCRIPTION_SESSION = "transcription_session"
"""The prefix of the names of the events about a session that only transcribes."""
TRANSCRIPTION_UPDATE = f"{TRANSCRIPTION_SESSION}.update"


class Preview(OpenAIDialect):
    """The dialect of Azure's api-versions 2024-10-01-preview and 2025-04-01-preview, and of
    OpenAI's `realtime=v1`.
    """

    name = family = PREVIEW_NAME
    names_requests = True
    parts = PREVIEW_PARTS
    other_kinds = GA_PARTS
    input_formats = RATED_FORMATS
    stored = {  # noqa: RUF012 - as in its base
        ("modalities",): "use `output`",
        ("instructions",): "use `instructions`",
        ("tools",): "use `tools`",
        ("tool_choice",): "use `tool_choice`",
        ("input_audio_format",): "use `input_format`",
        ("input_audio_sampling_rate",): "use `input_format`, which sets the rate",
        ("output_audio_format",): "use `output_format`",
        ("max_response_output_tokens",): "use `max_output_tokens`",
        ("turn_detection", "create_response"): "use `turn_detection`",
        ("input_audio_transcription", "model"): "use `input_transcription`",
    }
    reply_part = "text"
    transcribers = WITHOUT_DETECTION
    message_kinds = MappingProxyType(
        {**OpenAIDialect.message_kinds, TRANSCRIPTION_UPDATE: MessageKind.SET_UP}
    )
    missing_features: Mapping[Feature, str] = MappingProxyType(
        {
            Feature.IMAGE: "which only the GA dialect supports: remove it, or use --dialect ga",
            Feature.MCP: "which only the GA dialect supports: remove them, or use --dialect ga",
        }
    )

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        transcription = settings.input_transcription
        noise = settings.noise_reduction
        if settings.output == ONLY_TRANSCRIPT:
            heard = without_none(
                input_audio_format=self.formats(settings)["input_audio_format"],
                input_audio_transcription=transcription.explicit if transcription else None,
                input_audio_noise_reduction={"type": noise} if noise else None,
            )
            return heard | {"turn_detection": settings.detection_update}
        return without_none(
            **self.output(settings.output),
            instructions=settings.instructions,
            voice=settings.voice,
            **self.formats(settings),
            input_audio_transcription=transcription.explicit if transcription else None,
            input_audio_noise_reduction={"type": noise} if noise else None,
            temperature=settings.temperature,
            max_response_output_tokens=settings.max_output_tokens,
            **tools(settings),
        ) | {"turn_detection": settings.detection_update}

    def session_family(self, settings: SessionSettings) -> str:
        return (
            TRANSCRIPTION_SESSION
            if settings.output == ONLY_TRANSCRIPT
            else super().session_family(settings)
        )

    def formats(self, settings: SessionSettings) -> dict[str, Any]:
        """Return the settings for audio formats. OpenAI has no key for a rate, so that of its
        own PCM is left out.
        """
        input_format = self.input_format_for(settings)
        output_format = self.output_format_for(settings)
        rate_hz = (
            input_format.rate_hz if input_format.is_pcm and input_format is not PCM16 else None
        )
        name = "pcm16" if input_format.is_pcm else input_format.name
        return {
            "input_audio_format": name,
            "output_audio_format": output_format.name,
        } | without_none(input_audio_sampling_rate=rate_hz)

    def output(self, output: Output) -> dict[str, Any]:
        """Return the setting for the output kinds: text only, or both, because audio always has
        a text.
        """
        return {"modalities": ["text"] if output == "text" else ["audio", "text"]}


PREVIEW = Preview()


class ShelledFunctions(Preview):
    """A dialect that is like the preview, but has each function in a `function` object, as in
    chat completions.
    """

    names_requests = False  # undocumented for these services

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        session = super().session(settings)
        if "tools" not in session:
            return session
        bare = (
            {key: value for key, value in tool.items() if key != "type"}
            for tool in session["tools"]
        )
        return session | {
            "tools": [{"type": "function", "function": function} for function in bare]
        }
