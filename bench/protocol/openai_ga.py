"""The GA dialect of the Realtime API. The session is nested and has a type. Output parts have names with `output`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.protocol.audio import AudioFormat, AudioFormatName
from bench.protocol.openai import GA_NAME, RATED_FORMATS, OpenAIDialect, tools
from bench.protocol.openai_events import GA_PARTS, PREVIEW_PARTS
from bench.protocol.settings import Keys, Output, SessionSettings, without_none

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


class Ga(OpenAIDialect):
    """The dialect of Azure's path /openai/v1/realtime. It is also that of OpenAI if no version header is sent."""

    name = family = GA_NAME
    parts, other_kinds = GA_PARTS, PREVIEW_PARTS
    input_formats = output_formats = RATED_FORMATS
    stored = STORED
    reply_part = "output_text"
    own_transcription = True

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        transcription, noise = settings.input_transcription, settings.noise_reduction
        audio_input = {
            "format": ga_format(self.input_format_for(settings)),
            "turn_detection": settings.detection_update,  # null disables it
        } | without_none(
            {
                "transcription": transcription.explicit if transcription else None,
                "noise_reduction": {"type": noise} if noise else None,
            }
        )
        if settings.only_transcribes:
            return {"type": "transcription", "audio": {"input": audio_input}}
        audio_output = without_none({"format": ga_format(self.output_format_for(settings)), "voice": settings.voice})
        return without_none(
            {
                "type": "realtime",
                **self.output(settings.output),
                "instructions": settings.instructions,
                "audio": {"input": audio_input, "output": audio_output},
                "max_output_tokens": settings.max_output_tokens,
                "reasoning": settings.reasoning,
                "truncation": settings.truncation,
                **tools(settings),
            }
        )

    def output(self, output: Output) -> dict[str, Any]:
        return {"output_modalities": [output]}


GA = Ga()
