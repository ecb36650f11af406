"""Says what may be written into a session and a response.create, tools included, in preview and in GA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.protocol.audio import AudioFormat, AudioFormatName
from bench.protocol.openai import FORMATS, RATED_FORMATS
from bench.protocol.openai_ga import ga_format
from bench.simulator.profile import EFFORTS
from bench.simulator.session.checks import (
    CheckTable,
    EventPlace,
    Nullable,
    SettingCheck,
    accepted,
    anything,
    array,
    by_type,
    choice,
    choice_or,
    flag,
    free_object,
    not_simulated,
    number,
    one_of_whole,
    shape,
    short,
    strings_by_name,
    text,
    whole,
)
from bench.simulator.wire import Json, RejectedError

function_name: SettingCheck = short(64, "[a-zA-Z0-9_-]+")

FUNCTION = shape(
    {"type": choice("function"), "name": function_name, "description": text, "parameters": free_object},
    "name",
    type="function",
)
TOOLS = array(by_type({"function": FUNCTION}, default="function"))
CHOSEN_FUNCTION = shape({"type": anything, "name": text}, "name")
TOOL_CHOICE = choice_or(by_type({"function": CHOSEN_FUNCTION}), "auto", "none", "required")


SOME_TOKENS = whole(0, 1 << 40)


def token_cap(most: int) -> SettingCheck:
    """At most so many tokens, or as many as there are."""
    return lambda value, place: value if value == "inf" else whole(1, most)(value, place)


PREVIEW_CAP, GA_CAP = token_cap(4096), token_cap(32_000)  # that of gpt-realtime-2; other models of GA take 4096

truncation = choice_or(
    shape(
        {
            "type": choice("retention_ratio"),
            "retention_ratio": number(0, 1),
            "token_limits": {"post_instructions": SOME_TOKENS},
        },
        "type",
        "retention_ratio",
    ),
    "auto",
    "disabled",
)
reasoning = shape({"effort": choice(*EFFORTS)})


def modalities(*supported: list[str]) -> SettingCheck:
    """What a response is made of: one of these lists."""

    def check(value: Any, place: EventPlace) -> Any:
        if value not in supported:
            names = " and ".join(map(str, supported))
            problem = f"Invalid modalities: {value}. Supported are: {names}."
            raise RejectedError("invalid_value", problem, place.path)
        return value

    return check


PREVIEW_MODALITIES = modalities(["text"], ["audio", "text"], ["text", "audio"])
GA_MODALITIES = modalities(["text"], ["audio"])


def format_check(names: Sequence[AudioFormatName]) -> SettingCheck:
    """A format of GA, one of these; without a type or a rate the first one that has it."""
    spelled = [ga_format(RATED_FORMATS[name]) for name in names]
    rates = [format["rate"] for format in spelled if "rate" in format]
    keys: CheckTable = {"type": anything, "rate": one_of_whole(rates, min(rates), max(rates))}
    return by_type(
        {
            format["type"]: shape(keys if "rate" in format else {"type": anything}, **format)
            for format in reversed(spelled)
        },
        default=spelled[0]["type"],
    )


def format_of(spelled: Json) -> AudioFormat:
    """The format that a session of GA tells."""
    return next(format for format in RATED_FORMATS.values() if ga_format(format) == spelled)


def voice_name(value: Any, place: EventPlace) -> Any:
    """A GA voice: a name, or {id} of a custom one."""
    return (shape({"id": text}, "id") if isinstance(value, dict) else GA_VOICE)(value, place)


# Hearing


def turn_detection(*, ga: bool) -> SettingCheck:
    """Fills in the defaults of the type; None, and Azure's {"type": "none"}, mean manual turns."""
    server: Json = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
    server |= {"idle_timeout_ms": None} if ga else {}
    semantic: Json = {"type": "semantic_vad", "eagerness": "auto"}
    both: Json = {"create_response": True, "interrupt_response": True}

    def check(value: Any, place: EventPlace) -> Any:
        return None if not ga and value == {"type": "none"} else detectors(value, place)

    def detector(default: Json) -> SettingCheck:
        keys = {key: TURN_DETECTION_KEYS[key] for key in default}

        def check_keys(value: Json, place: EventPlace) -> Json:
            of_the_other_type = [key for key in TURN_DETECTION_KEYS if value.get(key) is None]
            return accepted(keys, default, value, place, ignored=of_the_other_type)

        return check_keys

    kinds = {"server_vad": detector(server | both), "semantic_vad": detector(semantic | both)}
    detectors = by_type(kinds, default="server_vad")
    return Nullable(check)


TURN_DETECTION_KEYS: dict[str, SettingCheck] = {
    "type": anything,
    "threshold": number(0, 1),
    "prefix_padding_ms": whole(0, 60_000),
    "silence_duration_ms": whole(0, 60_000),
    "idle_timeout_ms": Nullable(whole(5_000, 30_000)),
    "eagerness": choice("low", "medium", "high", "auto"),
    "create_response": flag,
    "interrupt_response": flag,
}

OLDER_TRANSCRIBERS = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")
TRANSCRIBERS = (
    *OLDER_TRANSCRIBERS,
    "gpt-4o-mini-transcribe-2025-03-20",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-4o-transcribe-diarize",
    "gpt-transcribe",
    "gpt-live-transcribe",
    "gpt-realtime-whisper",
)


def ga_transcriber(model: SettingCheck) -> SettingCheck:
    """How the caller's words are written down; null: not at all."""
    keys = {
        "model": model,
        "language": text,
        "languages": array(text),
        "keywords": array(text),
        "prompt": text,
        "delay": choice("minimal", "low", "medium", "high", "xhigh"),
    }
    return Nullable(shape(keys))


PREVIEW_TRANSCRIBER = shape({"model": choice(*OLDER_TRANSCRIBERS), "language": text, "prompt": text})
NOISE_KINDS = choice("near_field", "far_field")


def ga_hearing(transcriber: SettingCheck, format: SettingCheck) -> CheckTable:
    """What may be said of a GA session's input; `transcriber` checks the name of the model."""
    return {
        "format": format,
        "transcription": ga_transcriber(transcriber),
        "noise_reduction": Nullable(shape({"type": NOISE_KINDS, "strength": number(0, 1)})),
        "turn_detection": turn_detection(ga=True),
    }


PREVIEW_HEARING: CheckTable = {
    "input_audio_format": choice(*FORMATS),
    "input_audio_transcription": Nullable(PREVIEW_TRANSCRIBER),
    "input_audio_noise_reduction": Nullable(shape({"type": NOISE_KINDS})),
    "turn_detection": turn_detection(ga=False),
}


# Tables

PREVIEW_VOICE = choice("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse")
GA_VOICE = choice("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")

PREVIEW_SESSION: CheckTable = {
    **PREVIEW_HEARING,
    "modalities": PREVIEW_MODALITIES,
    "instructions": text,
    "voice": PREVIEW_VOICE,
    "speed": number(0.25, 1.5),
    "output_audio_format": choice(*FORMATS),
    "tools": TOOLS,
    "tool_choice": TOOL_CHOICE,
    "temperature": number(0.6, 1.2),
    "max_response_output_tokens": PREVIEW_CAP,
    "tracing": not_simulated,
}


def ga_session_table(transcriber: SettingCheck, format: SettingCheck) -> CheckTable:
    """What may be said of a GA session; `transcriber` checks the name of the model that writes the caller's words."""
    return {
        "type": choice("realtime"),
        "output_modalities": GA_MODALITIES,
        "instructions": text,
        "audio": {
            "input": ga_hearing(transcriber, format),
            "output": {"format": format, "voice": voice_name, "speed": number(0.25, 1.5)},
        },
        "max_output_tokens": GA_CAP,
        "truncation": truncation,
        "tools": TOOLS,
        "tool_choice": TOOL_CHOICE,
        "tracing": not_simulated,
        "prompt": not_simulated,
        "include": not_simulated,
        "parallel_tool_calls": flag,
        "reasoning": reasoning,
    }


OPENAI_TRANSCRIBER = choice(*TRANSCRIBERS)
AZURE_TRANSCRIBER = short(64)  # there a deployment is named


def ga_transcription_table(transcriber: SettingCheck, format: SettingCheck) -> CheckTable:
    """What may be said of a GA session that writes down what it hears, and answers nothing."""
    return {
        "type": choice("transcription"),
        "audio": {"input": ga_hearing(transcriber, format)},
        "include": not_simulated,
    }


PREVIEW_TRANSCRIPTION: CheckTable = {
    **PREVIEW_HEARING,
    "input_audio_transcription": PREVIEW_TRANSCRIBER,  # it cannot be put out: there would be nothing left to do
    "include": not_simulated,
    "modalities": PREVIEW_MODALITIES,
}

_RESPONSE: CheckTable = {
    "instructions": text,
    "conversation": choice("auto", "none"),
    "metadata": Nullable(strings_by_name),
    "input": array(anything),  # items, which are checked where they are read
}
PREVIEW_RESPONSE: CheckTable = {
    **_RESPONSE,
    "modalities": PREVIEW_MODALITIES,
    "voice": PREVIEW_VOICE,
    "output_audio_format": choice(*FORMATS),
    "tools": TOOLS,
    "tool_choice": TOOL_CHOICE,
    "temperature": number(0.6, 1.2),
    "max_output_tokens": PREVIEW_CAP,
    "max_response_output_tokens": PREVIEW_CAP,
}


def ga_response_table(format: SettingCheck) -> CheckTable:
    """What a response.create of GA may say."""
    return {
        **_RESPONSE,
        "output_modalities": GA_MODALITIES,
        "audio": {"output": {"format": format, "voice": voice_name}},
        "tools": TOOLS,
        "tool_choice": TOOL_CHOICE,
        "max_output_tokens": GA_CAP,
        "prompt": not_simulated,
        "parallel_tool_calls": flag,
        "reasoning": reasoning,
    }
