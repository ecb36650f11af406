"""The effective session and what may be written into it, per dialect (protocol.md §4, and §2 for response.create).

A table maps a key to a check, or to a further table for a nested object. A check takes the value and its dotted path
and returns what is stored, or raises RejectedError. An update is merged into a copy: it is taken whole or not at all.
Keys that are tolerated but mean nothing are in no table: `merged` is told to drop them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bench.simulator.wire import Json, RejectedError

Check = Callable[[Any, str], Any]
Table = Mapping[str, "Check | Table"]

INSTRUCTIONS = (
    "You are a helpful, witty and friendly voice assistant. Talk quickly, and answer in the language of the user."
)
GA_FORMAT = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}  # preview name → GA type
FORMAT_OF = {ga: preview for preview, ga in GA_FORMAT.items()}


def rejected_value(path: str, value: object, supported: Collection[object]) -> RejectedError:
    names = ", ".join(f"'{name}'" for name in supported)
    return RejectedError("invalid_value", f"Invalid value: '{value}'. Supported values are: {names}.", path)


def rejected_type(path: str, wanted: str) -> RejectedError:
    return RejectedError("invalid_type", f"Invalid type for '{path}': expected {wanted}.", path)


def missing(path: str) -> RejectedError:
    return RejectedError("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def merged(table: Table, current: Json, update: Any, path: str, ignored: Collection[str] = ()) -> Json:
    """`current` with `update` merged in. Raises RejectedError; `current` is left as it was."""
    if not isinstance(update, dict):
        raise rejected_type(path, "an object")
    result = dict(current)
    for key, value in update.items():
        where = f"{path}.{key}"
        entry = table.get(key)
        if entry is None:
            if key in ignored:
                continue
            raise RejectedError("unknown_parameter", f"Unknown parameter: '{where}'.", where)
        result[key] = entry(value, where) if callable(entry) else merged(entry, result.get(key, {}), value, where)
    return result


# Checks


def text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise rejected_type(path, "a string")
    return value


def flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise rejected_type(path, "a boolean")
    return value


def anything(value: Any, path: str) -> Any:
    return value


def choice(*supported: str) -> Check:
    def check(value: Any, path: str) -> Any:
        if value not in supported:
            raise rejected_value(path, value, supported)
        return value

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any, path: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise rejected_type(path, "a number")
        if not low <= value <= high:
            raise RejectedError("invalid_value", f"Invalid value: {value}. Expected {low:g} to {high:g}.", path)
        return value

    return check


def nullable(check: Check) -> Check:
    return lambda value, path: None if value is None else check(value, path)


def objects(value: Any, path: str) -> list[Json]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise rejected_type(path, "an array of objects")
    return value


def strings_by_name(value: Any, path: str) -> Json:
    if not isinstance(value, dict) or not all(isinstance(entry, str) for entry in value.values()):
        raise rejected_type(path, "an object of strings")
    return value


def token_cap(value: Any, path: str) -> Any:
    return value if value == "inf" else number(1, 4096)(value, path)


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
    default = ga_format_object(FORMAT_OF[choice(*FORMAT_OF)(value.get("type"), f"{path}.type")])
    known: Table = {"type": choice(*FORMAT_OF), "rate": number(24_000, 24_000)}
    return merged({key: known[key] for key in default}, default, value, path)


def ga_format_object(name: str) -> Json:
    """GA's way to write the format that preview calls `name`."""
    return {"type": GA_FORMAT[name]} | ({"rate": 24_000} if name == "pcm16" else {})


def turn_detection(*, ga: bool) -> Check:
    """Fills in the defaults of the type; None, and Azure's {"type": "none"}, mean manual turns."""
    server: Json = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
    server |= {"idle_timeout_ms": None} if ga else {}
    semantic: Json = {"type": "semantic_vad", "eagerness": "auto"}
    both: Json = {"create_response": True, "interrupt_response": True}

    def check(value: Any, path: str) -> Json | None:
        if value is None or (not ga and value == {"type": "none"}):
            return None
        if not isinstance(value, dict):
            raise rejected_type(path, "an object or null")
        kind = choice("server_vad", "semantic_vad")(value.get("type", "server_vad"), f"{path}.type")
        default = (server if kind == "server_vad" else semantic) | both
        return merged({key: TURN_DETECTION_KEYS[key] for key in default}, default, value, path)

    return check


TURN_DETECTION_KEYS: dict[str, Check] = {
    "type": choice("server_vad", "semantic_vad"),
    "threshold": number(0, 1),
    "prefix_padding_ms": number(0, 60_000),
    "silence_duration_ms": number(0, 60_000),
    "idle_timeout_ms": nullable(number(0, 600_000)),
    "eagerness": choice("low", "medium", "high", "auto"),
    "create_response": flag,
    "interrupt_response": flag,
}


def settings_object(*keys: str) -> Check:
    """An object or null whose values are not looked into, e.g. noise reduction."""

    def check(value: Any, path: str) -> Any:
        return None if value is None else merged(dict.fromkeys(keys, anything), {}, value, path)

    return check


# Tables

PREVIEW_VOICE = choice("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse")
GA_VOICE = choice("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")

PREVIEW_SESSION: Table = {
    "modalities": preview_modalities,
    "instructions": text,
    "voice": PREVIEW_VOICE,
    "speed": number(0.25, 1.5),
    "input_audio_format": choice(*GA_FORMAT),
    "output_audio_format": choice(*GA_FORMAT),
    "input_audio_transcription": settings_object("model", "language", "prompt"),
    "input_audio_noise_reduction": settings_object("type"),
    "turn_detection": turn_detection(ga=False),
    "tools": objects,
    "tool_choice": tool_choice,
    "temperature": number(0.6, 1.2),
    "max_response_output_tokens": token_cap,
    "tracing": anything,
}

GA_SESSION: Table = {
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
    "max_output_tokens": token_cap,
    "truncation": anything,
    "tools": objects,
    "tool_choice": tool_choice,
    "tracing": anything,
    "prompt": anything,
    "include": anything,
    "parallel_tool_calls": flag,
    "reasoning": anything,
}

_RESPONSE: Table = {
    "instructions": text,
    "tools": objects,
    "tool_choice": tool_choice,
    "conversation": choice("auto", "none"),
    "metadata": nullable(strings_by_name),
    "input": objects,
    "max_output_tokens": token_cap,
}
PREVIEW_RESPONSE: Table = {
    **_RESPONSE,
    "modalities": preview_modalities,
    "voice": PREVIEW_VOICE,
    "output_audio_format": choice(*GA_FORMAT),
    "temperature": number(0.6, 1.2),
    "max_response_output_tokens": token_cap,
}
GA_RESPONSE: Table = {
    **_RESPONSE,
    "output_modalities": ga_modalities,
    "audio": {"output": {"format": ga_format, "voice": voice_name}},
    "prompt": anything,
    "parallel_tool_calls": flag,
    "reasoning": anything,
}


# The session as a service opens it


def preview_session(session_id: str, model: str, expires_at_s: int) -> Json:
    return {
        "id": session_id,
        "object": "realtime.session",
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
    pcm = ga_format_object("pcm16")
    return {
        "type": "realtime",
        "object": "realtime.session",
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


@dataclass(frozen=True)
class Output:
    """What one response gives out: text alone or audio with its transcript."""

    audio: bool
    format: str  # pcm16 | g711_ulaw | g711_alaw
    voice: Any
    instructions: str
    max_output_tokens: Any
    temperature: Any = None


def preview_output(session: Json, response: Json) -> Output:
    chosen = session | response
    return Output(
        audio="audio" in chosen["modalities"],
        format=chosen["output_audio_format"],
        voice=chosen["voice"],
        instructions=chosen["instructions"],
        max_output_tokens=response.get("max_output_tokens", chosen["max_response_output_tokens"]),
        temperature=chosen["temperature"],
    )


def ga_output(session: Json, response: Json) -> Output:
    chosen = session | response
    spoken = session["audio"]["output"] | response.get("audio", {}).get("output", {})
    return Output(
        audio=chosen["output_modalities"] == ["audio"],
        format=FORMAT_OF[spoken["format"]["type"]],
        voice=spoken["voice"],
        instructions=chosen["instructions"],
        max_output_tokens=chosen["max_output_tokens"],
    )
