"""Defines the sessions of Azure Voice Live: the events of preview, and settings of its own (azure-ai-voicelive 1.3.1).

What its settings do beyond those of preview is not simulated, but for the words that a client is shown of them: its
semantic detectors end speech as `server_vad` does, its voices sound alike. Avatars, animation and timestamps of words
are not known here, and refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.protocol.audio import PCM16, PCM16_8K, PCM16_16K, AudioFormatName
from bench.protocol.dialects import SPOKEN_FORMATS
from bench.protocol.openai import FORMATS
from bench.simulator.session.check_tables import GA_VOICE, PREVIEW_CAP, TOOL_CHOICE, TOOLS
from bench.simulator.session.checks import (
    CheckTable,
    EventPlace,
    Nullable,
    SettingCheck,
    anything,
    array,
    by_type,
    choice,
    flag,
    not_simulated,
    number,
    one_of_whole,
    shape,
    short,
    some,
    strings_by_name,
    text,
    whole,
)
from bench.simulator.session.effective import (
    InputSettings,
    OutputSettings,
    SessionForm,
    flat_input,
    flat_output,
    flat_session,
)
from bench.simulator.wire import Json

PCM = {format.rate_hz: format for format in (PCM16_8K, PCM16_16K, PCM16)}
RATES_HZ = tuple(PCM)
RATED: dict[str, AudioFormatName] = {said: name for name, said in SPOKEN_FORMATS.items()}
KNOWN_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


# Voices

AZURE_VOICE: CheckTable = {
    "type": anything,
    "name": text,
    "temperature": number(0, 1),
    "prefer_locales": array(text),
    **dict.fromkeys(
        ("custom_lexicon_url", "custom_text_normalization_url", "locale", "style", "pitch", "rate", "volume"), text
    ),
}
PERSONAL: CheckTable = {**AZURE_VOICE, "model": text}
VOICES = by_type(
    {
        "openai": shape({"type": anything, "name": GA_VOICE}, "name"),
        "azure-standard": shape(AZURE_VOICE, "name"),
        "azure-custom": shape({**AZURE_VOICE, "endpoint_id": text}, "name", "endpoint_id"),
        "azure-personal": shape(PERSONAL, "name", "model"),
        "azure-realtime-native": shape({"type": anything, "name": text}, "name"),
    }
)


def voice(value: Any, place: EventPlace) -> Any:
    """A voice of OpenAI's by its name, or any as an object."""
    return (VOICES if isinstance(value, dict) else GA_VOICE)(value, place)


# Turns

END_OF_UTTERANCE = by_type(
    {
        f"semantic_detection_v1{variant}": shape(
            {
                "model": anything,
                "threshold_level": choice("low", "medium", "high", "default"),
                "timeout_ms": whole(0, 60_000),
            }
        )
        for variant in ("", "_en", "_multilingual")
    },
    key="model",
)
DETECTION_KEYS: dict[str, SettingCheck] = {
    "type": anything,
    "threshold": number(0, 1),
    "prefix_padding_ms": whole(0, 60_000),
    "silence_duration_ms": whole(0, 60_000),
    "speech_duration_ms": whole(0, 60_000),
    "remove_filler_words": flag,
    "languages": Nullable(array(text)),
    "end_of_utterance_detection": Nullable(END_OF_UTTERANCE),
    "eagerness": choice("low", "medium", "high", "auto"),
    "auto_truncate": flag,
    "create_response": flag,
    "interrupt_response": flag,
}
LEVELS: Json = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
ANSWERED: Json = {"auto_truncate": False, "create_response": True, "interrupt_response": True}
AZURE: Json = {"speech_duration_ms": 80, "remove_filler_words": False, "end_of_utterance_detection": None}
DETECTORS: dict[str, Json] = {
    "server_vad": {**LEVELS, "end_of_utterance_detection": None, **ANSWERED},
    "semantic_vad": {"eagerness": "auto", **ANSWERED},
    "azure_semantic_vad": {**LEVELS, **AZURE, "languages": None, **ANSWERED},
    "azure_semantic_vad_en": {**LEVELS, **AZURE, **ANSWERED},
    "azure_semantic_vad_multilingual": {**LEVELS, **AZURE, "languages": None, **ANSWERED},
}


NONE: dict[str, SettingCheck] = {"none": lambda value, place: None}
detection = by_type(
    {
        kind: shape({key: DETECTION_KEYS[key] for key in ("type", *default)}, type=kind, **default)
        for kind, default in DETECTORS.items()
    }
    | NONE
)


# Settings

TRANSCRIBER = shape(
    {"model": short(64), "language": text, "custom_speech": strings_by_name, "phrase_list": array(text)}, "model"
)
FILLERS: CheckTable = {
    "type": anything,
    "triggers": array(choice("latency", "tool")),
    "latency_threshold_ms": whole(0, 600_000),
}
LATE: Json = {"triggers": ["latency"], "latency_threshold_ms": 2_000}
FILLER_KINDS = by_type(
    {
        "static_interim_response": shape({**FILLERS, "texts": array(text)}, **LATE),
        "llm_interim_response": shape(
            {**FILLERS, "model": text, "instructions": text, "max_completion_tokens": whole(1, 1 << 31)}, **LATE
        ),
    }
)
SAID: CheckTable = {
    "modalities": some(choice("text", "audio")),
    "instructions": text,
    "voice": voice,
    "output_audio_format": choice(*FORMATS, *RATED),
    "tools": TOOLS,
    "tool_choice": TOOL_CHOICE,
    "temperature": number(0, 2),
    "reasoning_effort": choice(*KNOWN_EFFORTS),
    "interim_response": Nullable(FILLER_KINDS),
    "metadata": Nullable(strings_by_name),
}
SESSION: CheckTable = {
    **SAID,
    "input_audio_format": choice(*FORMATS),
    "input_audio_sampling_rate": one_of_whole(RATES_HZ),
    "turn_detection": Nullable(detection),
    "input_audio_noise_reduction": Nullable(
        shape({"type": choice("azure_deep_noise_suppression", "near_field", "far_field")}, "type")
    ),
    "input_audio_echo_cancellation": Nullable(
        shape(
            {
                "type": choice("server_echo_cancellation"),
                "reference_source": choice("server", "client"),
                "channels": whole(1, 2),
            },
            type="server_echo_cancellation",
        )
    ),
    "input_audio_transcription": Nullable(TRANSCRIBER),
    "parallel_tool_calls": flag,
    "max_response_output_tokens": PREVIEW_CAP,
    "include": not_simulated,
}
RESPONSE: CheckTable = {
    **SAID,
    "max_output_tokens": PREVIEW_CAP,
    **dict.fromkeys(("commit", "cancel_previous", "append_input_items", "input_items"), not_simulated),
}
UNSUPPORTED = ("animation", "avatar", "output_audio_timestamp_types")


def opened_session(session_id: str, model: str, expires_at_s: int) -> Json:
    """The session as the service opens it."""
    detection = {"type": "server_vad", **DETECTORS["server_vad"]}
    return flat_session(session_id, model, expires_at_s, detection) | {
        "input_audio_sampling_rate": 24_000,
        "input_audio_echo_cancellation": None,
        "interim_response": None,
    }


def heard(session: Json) -> InputSettings:
    """How the caller is heard."""
    format = session["input_audio_format"]
    return flat_input(session, PCM[session["input_audio_sampling_rate"]] if format == "pcm16" else FORMATS[format])


def spoken(session: Json, response: Json) -> OutputSettings:
    """What a response gives out."""
    output = flat_output(session, response)
    return replace(output, format=RATED.get(output.format, output.format), counts_images=True)


FORM = SessionForm(opened_session, SESSION, heard, spoken, RESPONSE, ignored=("model",), ignored_nulls=UNSUPPORTED)
