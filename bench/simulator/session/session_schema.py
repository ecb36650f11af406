"""The settings of a session and of a response.create in preview and in GA, including tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.services.openai.dialect import FORMATS
from bench.simulator.profile import EFFORTS
from bench.simulator.server_events import GA_FORMATS, Json, RejectedError
from bench.simulator.session import checks
from bench.simulator.session.checks import CheckTable, EventPath, Nullable, SettingCheck
from bench.wire.audio import ALL_FORMATS, AudioFormat, AudioFormatName

function_name: SettingCheck = checks.short(64, "[a-zA-Z0-9_-]+")

FUNCTION = checks.shape(
    {
        "type": checks.choice("function"),
        "name": function_name,
        "description": checks.text,
        "parameters": checks.free_object,
    },
    "name",
    type="function",
)
TOOLS = checks.array(checks.by_type({"function": FUNCTION}, default="function"))
MCP_SERVER = checks.shape(
    {
        "type": checks.anything,
        "server_label": checks.text,
        **dict.fromkeys(("server_url", "connector_id", "server_description", "authorization"), checks.text),
        "headers": checks.strings_by_name,
        "allowed_tools": checks.choice_or(checks.anything),
        "require_approval": checks.choice_or(checks.anything, "always", "never"),
        **dict.fromkeys(("tunnel_id", "defer_loading", "allowed_callers"), checks.not_simulated),
    },
    "server_label",
)
_GA_TOOLS = checks.array(checks.by_type({"function": FUNCTION, "mcp": MCP_SERVER}, default="function"))


def ga_tools(value: Any, event_path: EventPath) -> list[Any]:
    """Check the tools of a GA session. An MCP server has a label of its own, and either a URL or a connector."""
    tools: list[Any] = _GA_TOOLS(value, event_path)
    labels = set[str]()
    for number, tool in enumerate(tools):
        if tool["type"] != "mcp":
            continue
        path = event_path.entry(number).path
        if tool["server_label"] in labels:
            raise RejectedError("invalid_value", f"Duplicate server_label in '{path}'.", f"{path}.server_label")
        if ("server_url" in tool) is ("connector_id" in tool):
            raise RejectedError("invalid_value", f"'{path}' needs either 'server_url' or 'connector_id'.", path)
        labels.add(tool["server_label"])
    return tools


CHOSEN_FUNCTION = checks.shape({"type": checks.anything, "name": checks.text}, "name")
TOOL_CHOICE = checks.choice_or(checks.by_type({"function": CHOSEN_FUNCTION}), "auto", "none", "required")


def token_cap(max_tokens: int) -> SettingCheck:
    """Return a check of a token limit: at most `max_tokens`, or "inf"."""
    return lambda value, event_path: value if value == "inf" else checks.whole(1, max_tokens)(value, event_path)


PREVIEW_CAP, GA_CAP = token_cap(4096), token_cap(32_000)  # gpt-realtime-2's; other GA models accept 4096

truncation = checks.choice_or(
    checks.shape(
        {
            "type": checks.choice("retention_ratio"),
            "retention_ratio": checks.number(0, 1),
            "token_limits": {"post_instructions": checks.whole(0, 1 << 40)},
        },
        "type",
        "retention_ratio",
    ),
    "auto",
    "disabled",
)
reasoning = checks.shape({"effort": checks.choice(*EFFORTS)})


def modalities(*supported: list[str]) -> SettingCheck:
    """Return a check of the modalities of a response, which must be one of the lists `supported`."""

    def check(value: Any, event_path: EventPath) -> Any:
        if value not in supported:
            names = " and ".join(map(str, supported))
            problem = f"Invalid modalities: {value}. Supported are: {names}."
            raise RejectedError("invalid_value", problem, event_path.path)
        return value

    return check


PREVIEW_MODALITIES = modalities(["text"], ["audio", "text"], ["text", "audio"])
GA_MODALITIES = modalities(["text"], ["audio"])


def format_check(names: Sequence[AudioFormatName]) -> SettingCheck:
    """Return a check of a GA audio format, which must be one of `names`.

    If the client omits the type or the rate, the first format that matches is used.
    """
    spelled = [GA_FORMATS[name] for name in names]
    rates = [format["rate"] for format in spelled if "rate" in format]
    keys: CheckTable = {"type": checks.anything, "rate": checks.one_of_whole(rates, min(rates), max(rates))}
    return checks.by_type(
        {
            format["type"]: checks.shape(keys if "rate" in format else {"type": checks.anything}, **format)
            for format in reversed(spelled)
        },
        default=spelled[0]["type"],
    )


def format_of(spelled: Json) -> AudioFormat:
    """Return the audio format for the format object of a GA session."""
    return next(ALL_FORMATS[name] for name, each in GA_FORMATS.items() if each == spelled)


# Input


def turn_detection(*, ga: bool) -> SettingCheck:
    """Return a check of turn detection that adds the defaults of the type.

    A null means manual turns. In dialects other than GA, {"type": "none"} also means manual turns.
    """
    server: Json = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
    server |= {"idle_timeout_ms": None} if ga else {}
    defaults = (server, {"type": "semantic_vad", "eagerness": "auto"})
    response_flags: Json = {"create_response": True, "interrupt_response": True}
    kinds = {default["type"]: detector(TURN_DETECTION_KEYS, default | response_flags) for default in defaults}
    detectors = checks.by_type(kinds, default="server_vad")
    if ga:
        return Nullable(detectors)
    return Nullable(lambda value, event_path: None if value == {"type": "none"} else detectors(value, event_path))


def detector(keys: CheckTable, default: Json) -> SettingCheck:
    return checks.shape(dict.fromkeys(keys, checks.unknown) | {key: keys[key] for key in default}, **default)


TURN_DETECTION_KEYS: dict[str, SettingCheck] = {
    "type": checks.anything,
    "threshold": checks.number(0, 1),
    "prefix_padding_ms": checks.whole(0, 60_000),
    "silence_duration_ms": checks.whole(0, 60_000),
    "idle_timeout_ms": Nullable(checks.whole(5_000, 30_000)),
    "eagerness": checks.choice("low", "medium", "high", "auto"),
    "create_response": checks.flag,
    "interrupt_response": checks.flag,
}

OLDER_TRANSCRIBERS = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")


PREVIEW_TRANSCRIBER = checks.shape(
    {"model": checks.choice(*OLDER_TRANSCRIBERS), "language": checks.text, "prompt": checks.text}
)
NOISE_KINDS = checks.choice("near_field", "far_field")


def ga_hearing(transcriber: SettingCheck, format: SettingCheck) -> CheckTable:
    """Return the input settings of a GA session. `transcriber`: the check of the transcription model's name."""
    transcription = {
        "model": transcriber,
        "language": checks.text,
        "languages": checks.array(checks.text),
        "keywords": checks.array(checks.text),
        "prompt": checks.text,
        "delay": checks.choice(*EFFORTS),
    }
    return {
        "format": format,
        "transcription": Nullable(checks.shape(transcription)),
        "noise_reduction": Nullable(checks.shape({"type": NOISE_KINDS, "strength": checks.number(0, 1)})),
        "turn_detection": turn_detection(ga=True),
    }


PREVIEW_HEARING: CheckTable = {
    "input_audio_format": checks.choice(*FORMATS),
    "input_audio_transcription": Nullable(PREVIEW_TRANSCRIBER),
    "input_audio_noise_reduction": Nullable(checks.shape({"type": NOISE_KINDS})),
    "turn_detection": turn_detection(ga=False),
}


# Tables

PREVIEW_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse")
GA_VOICES = (*PREVIEW_VOICES, "marin", "cedar")
GA_VOICE = checks.choice_or(checks.shape({"id": checks.text}, "id"), *GA_VOICES)  # a name, or {id} of a custom voice

TYPED_KEYS = ("model", "client_secret")  # in the SDK's preview types, which some clients send complete, with nulls
PREVIEW_SESSION: CheckTable = {
    **PREVIEW_HEARING,
    "modalities": PREVIEW_MODALITIES,
    "instructions": checks.text,
    "voice": checks.choice(*PREVIEW_VOICES),
    "speed": checks.number(0.25, 1.5),
    "output_audio_format": checks.choice(*FORMATS),
    **dict.fromkeys(TYPED_KEYS, checks.unknown),
    "tools": TOOLS,
    "tool_choice": TOOL_CHOICE,
    "temperature": checks.number(0.6, 1.2),
    "max_response_output_tokens": PREVIEW_CAP,
    "tracing": checks.not_simulated,
}


def ga_session_table(transcriber: SettingCheck, format: SettingCheck) -> CheckTable:
    """Return the settings of a GA session. `transcriber`: the check of the transcription model's name."""
    return {
        "type": checks.choice("realtime"),
        "output_modalities": GA_MODALITIES,
        "instructions": checks.text,
        "audio": {
            "input": ga_hearing(transcriber, format),
            "output": {"format": format, "voice": GA_VOICE, "speed": checks.number(0.25, 1.5)},
        },
        "max_output_tokens": GA_CAP,
        "model": checks.ignored,
        "client_secret": checks.unknown,
        "truncation": truncation,
        "tools": ga_tools,
        "tool_choice": TOOL_CHOICE,
        "tracing": checks.not_simulated,
        "prompt": checks.not_simulated,
        "include": checks.not_simulated,
        "parallel_tool_calls": checks.flag,
        "reasoning": reasoning,
    }


def ga_transcription_table(transcriber: SettingCheck, format: SettingCheck) -> CheckTable:
    """Return the settings of a GA session that only transcribes."""
    return {
        "type": checks.choice("transcription"),
        "audio": {"input": ga_hearing(transcriber, format)},
        "include": checks.not_simulated,
    }


PREVIEW_TRANSCRIPTION: CheckTable = {
    **PREVIEW_HEARING,
    "input_audio_transcription": PREVIEW_TRANSCRIBER,  # cannot be switched off: the session does nothing else
    "include": checks.not_simulated,
    "modalities": PREVIEW_MODALITIES,
    "client_secret": checks.unknown,
}

_RESPONSE: CheckTable = {
    "instructions": checks.text,
    "conversation": checks.choice("auto", "none"),
    "metadata": Nullable(checks.strings_by_name),
    "input": checks.array(checks.anything),  # items, which are checked when they are read
}
OF_BOTH = ("modalities", "voice", "output_audio_format", "tools", "tool_choice", "temperature")
PREVIEW_RESPONSE: CheckTable = {
    **_RESPONSE,
    **{key: PREVIEW_SESSION[key] for key in OF_BOTH},
    **dict.fromkeys(("max_output_tokens", "max_response_output_tokens"), PREVIEW_CAP),
}
# Legacy Azure clients, and clients of Voice Live, send these keys.
TOLERATED_RESPONSE_KEYS = ("commit", "cancel_previous", "append_input_items", "input_items")


def ga_response_table(session: CheckTable, format: SettingCheck) -> CheckTable:
    shared_keys = ("output_modalities", "tool_choice", "max_output_tokens", "prompt", "parallel_tool_calls")
    spoken: CheckTable = {"format": format, "voice": GA_VOICE}
    shared = {key: session[key] for key in (*shared_keys, "reasoning")}
    return {**_RESPONSE, **shared, "tools": TOOLS, "audio": {"output": spoken}}
