"""Says what may be written into a session and a response.create, per dialect, and how a service opens the session."""

from __future__ import annotations

from typing import Any

from bench.protocol.audio import AudioFormatName
from bench.protocol.openai_ga import GA_FORMATS
from bench.protocol.simulated import SIMULATOR_MARK
from bench.simulator.checks import (
    Check,
    CheckTable,
    Nullable,
    anything,
    choice,
    flag,
    merged,
    missing,
    number,
    objects,
    rejected_type,
    settings_object,
    strings_by_name,
    text,
    whole,
)
from bench.simulator.profile import EFFORTS
from bench.simulator.wire import Json, RejectedError

INSTRUCTIONS = (
    "You are a helpful, witty and friendly voice assistant. Talk quickly, and answer in the language of the user."
)
PCM = GA_FORMATS["pcm16"]["type"]
FORMAT_OF: dict[str, AudioFormatName] = {ga["type"]: name for name, ga in GA_FORMATS.items()}  # GA type → preview name


def token_cap(most: int) -> Check:
    """At most so many tokens, or as many as there are."""
    return lambda value, path: value if value == "inf" else number(1, most)(value, path)


PREVIEW_CAP, GA_CAP = token_cap(4096), token_cap(32_000)  # that of gpt-realtime-2; other models of GA take 4096


def tools(value: Any, path: str) -> list[Json]:
    """Tools with their type; a function needs a name."""
    typed = []
    for place, tool in enumerate(objects(value, path)):
        where = f"{path}[{place}]"
        kind = choice("function", "mcp")(tool.get("type") or "function", f"{where}.type")
        if kind == "function":
            if tool.get("name") is None:
                raise missing(f"{where}.name")
            text(tool["name"], f"{where}.name")
        typed.append(tool | {"type": kind})
    return typed


def truncation(value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        return choice("auto", "disabled")(value, path)
    if value.get("retention_ratio") is None:
        raise missing(f"{path}.retention_ratio")
    return merged(RETENTION, {"type": "retention_ratio"}, value, path)


RETENTION: CheckTable = {
    "type": choice("retention_ratio"),
    "retention_ratio": number(0, 1),
    "token_limits": {"post_instructions": whole(0, 1 << 40)},
}


def reasoning(value: Any, path: str) -> Json:
    return merged({"effort": choice(*EFFORTS)}, {}, value, path)


def tool_choice(value: Any, path: str) -> Any:
    return value if isinstance(value, dict) else choice("auto", "none", "required")(value, path)


def voice_name(value: Any, path: str) -> Any:
    """A GA voice: a name, or {id} of a custom one."""
    return value if isinstance(value, dict) and set(value) == {"id"} else GA_VOICE(value, path)


def preview_modalities(value: Any, path: str) -> Any:
    if value not in (["text"], ["text", "audio"], ["audio", "text"]):
        raise RejectedError(
            "invalid_value", f"Invalid modalities: {value}. Supported are: ['text'] and ['audio', 'text'].", path
        )
    return value


def ga_modalities(value: Any, path: str) -> Any:
    if value not in (["text"], ["audio"]):
        raise RejectedError(
            "invalid_value", f"Invalid modalities: {value}. Supported are: ['text'] and ['audio'].", path
        )
    return value


def ga_format(value: Any, path: str) -> Json:
    if not isinstance(value, dict):
        raise rejected_type(path, "an object")
    default = dict(GA_FORMATS[FORMAT_OF[choice(*FORMAT_OF)(value.get("type") or PCM, f"{path}.type")]])
    known: CheckTable = {"type": choice(*FORMAT_OF), "rate": number(24_000, 24_000)}
    return merged({key: known[key] for key in default}, default, value, path)


def turn_detection(*, ga: bool) -> Check:
    """Fills in the defaults of the type; None, and Azure's {"type": "none"}, mean manual turns."""
    server: Json = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
    server |= {"idle_timeout_ms": None} if ga else {}
    semantic: Json = {"type": "semantic_vad", "eagerness": "auto"}
    both: Json = {"create_response": True, "interrupt_response": True}

    def check(value: Any, path: str) -> Json | None:
        if not ga and value == {"type": "none"}:
            return None
        if not isinstance(value, dict):
            raise rejected_type(path, "an object or null")
        kind = choice("server_vad", "semantic_vad")(value.get("type") or "server_vad", f"{path}.type")
        default = (server if kind == "server_vad" else semantic) | both
        of_the_other_type = [key for key in TURN_DETECTION_KEYS if value.get(key) is None]
        return merged({key: TURN_DETECTION_KEYS[key] for key in default}, default, value, path, of_the_other_type)

    return Nullable(check)


TURN_DETECTION_KEYS: dict[str, Check] = {
    "type": choice("server_vad", "semantic_vad"),
    "threshold": number(0, 1),
    "prefix_padding_ms": number(0, 60_000),
    "silence_duration_ms": number(0, 60_000),
    "idle_timeout_ms": Nullable(number(0, 600_000)),
    "eagerness": choice("low", "medium", "high", "auto"),
    "create_response": flag,
    "interrupt_response": flag,
}


# Tables

PREVIEW_VOICE = choice("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse")
GA_VOICE = choice("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")

PREVIEW_SESSION: CheckTable = {
    "modalities": preview_modalities,
    "instructions": text,
    "voice": PREVIEW_VOICE,
    "speed": number(0.25, 1.5),
    "input_audio_format": choice(*GA_FORMATS),
    "output_audio_format": choice(*GA_FORMATS),
    "input_audio_transcription": settings_object("model", "language", "prompt"),
    "input_audio_noise_reduction": settings_object("type"),
    "turn_detection": turn_detection(ga=False),
    "tools": tools,
    "tool_choice": tool_choice,
    "temperature": number(0.6, 1.2),
    "max_response_output_tokens": PREVIEW_CAP,
    "tracing": Nullable(anything),
}

GA_SESSION: CheckTable = {
    "type": choice("realtime"),
    "output_modalities": ga_modalities,
    "instructions": text,
    "audio": {
        "input": {
            "format": ga_format,
            "transcription": settings_object("model", "language", "prompt", "delay", "keywords", "languages"),
            "noise_reduction": settings_object("type", "strength"),
            "turn_detection": turn_detection(ga=True),
        },
        "output": {"format": ga_format, "voice": voice_name, "speed": number(0.25, 1.5)},
    },
    "max_output_tokens": GA_CAP,
    "truncation": Nullable(truncation),
    "tools": tools,
    "tool_choice": tool_choice,
    "tracing": Nullable(anything),
    "prompt": Nullable(anything),
    "include": Nullable(anything),
    "parallel_tool_calls": flag,
    "reasoning": Nullable(reasoning),
}

_RESPONSE: CheckTable = {
    "instructions": text,
    "tools": tools,
    "tool_choice": tool_choice,
    "conversation": choice("auto", "none"),
    "metadata": Nullable(strings_by_name),
    "input": objects,
}
PREVIEW_RESPONSE: CheckTable = {
    **_RESPONSE,
    "modalities": preview_modalities,
    "voice": PREVIEW_VOICE,
    "output_audio_format": choice(*GA_FORMATS),
    "temperature": number(0.6, 1.2),
    "max_output_tokens": PREVIEW_CAP,
    "max_response_output_tokens": PREVIEW_CAP,
}
GA_RESPONSE: CheckTable = {
    **_RESPONSE,
    "output_modalities": ga_modalities,
    "audio": {"output": {"format": ga_format, "voice": voice_name}},
    "max_output_tokens": GA_CAP,
    "prompt": Nullable(anything),
    "parallel_tool_calls": flag,
    "reasoning": Nullable(reasoning),
}


# The session as a service opens it


def preview_session(session_id: str, model: str, expires_at_s: int) -> Json:
    return {
        "id": session_id,
        "object": "realtime.session",
        SIMULATOR_MARK: True,
        "model": model,
        "expires_at": expires_at_s,
        "modalities": ["audio", "text"],
        "instructions": INSTRUCTIONS,
        "voice": "alloy",
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_transcription": None,
        "input_audio_noise_reduction": None,
        "turn_detection": turn_detection(ga=False)({"type": "server_vad"}, ""),
        "tools": [],
        "tool_choice": "auto",
        "temperature": 0.8,
        "max_response_output_tokens": "inf",
    }


def ga_session(session_id: str, model: str, expires_at_s: int) -> Json:
    pcm = GA_FORMATS["pcm16"]
    return {
        "type": "realtime",
        "object": "realtime.session",
        SIMULATOR_MARK: True,
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": INSTRUCTIONS,
        "audio": {
            "input": {
                "format": pcm,
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": turn_detection(ga=True)({"type": "server_vad"}, ""),
            },
            "output": {"format": pcm, "voice": "alloy", "speed": 1.0},
        },
        "max_output_tokens": "inf",
        "truncation": "auto",
        "tools": [],
        "tool_choice": "auto",
        "tracing": None,
        "prompt": None,
        "include": None,
        "expires_at": expires_at_s,
    }
