"""The settings of a session and of a response.create in preview and in GA, including tools."""

# The tables are what the services document and their SDKs declare; a key that neither names is
# refused. A table of another service is made from these by replacing keys
# (`rtbench_simulator.services`), so a difference between two services is a line there.
#
# `turn_detection` shows the defaults of its type in the session object. A key of the other type is
# `UNKNOWN` in it, such as `eagerness` in `server_vad`.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.base.errors import INVALID_VALUE
from bench.files.validation import Converted, KindOf, OrKeyword, OrNull, OrStruct, Validator, either
from bench.files.yaml_file import LocatedValue
from bench.services.openai.dialect import FORMATS
from bench.wire.audio import ALL_FORMATS, AudioFormat, AudioFormatName
from rtbench_simulator.profile import EFFORTS
from rtbench_simulator.server_events import GA_FORMATS, Json, RejectedError
from rtbench_simulator.session import checks
from rtbench_simulator.session.checks import SettingTable

FUNCTION_NAME = checks.short(64, "[a-zA-Z0-9_-]+")

FUNCTION_KEYS: SettingTable = {
    "type": checks.choice("function"),
    "name": FUNCTION_NAME,
    "description": checks.TEXT,
    "parameters": checks.OBJECT,
}
FUNCTION = checks.object_of(FUNCTION_KEYS, "name", type="function")
TOOLS = checks.array(KindOf({"function": FUNCTION}, default="function"))
MCP_ADDRESSES = "server_url", "connector_id", "tunnel_id"
"""The keys of which an MCP server needs one (`RealtimeToolsConfigUnionParam` of openai 3.57)."""
MCP_SERVER = checks.object_of(
    {
        "type": checks.ANYTHING,
        "server_label": checks.TEXT,
        **dict.fromkeys((*MCP_ADDRESSES, "server_description", "authorization"), checks.TEXT),
        "headers": checks.TEXTS_BY_NAME,
        "allowed_tools": OrStruct(checks.array(checks.ANYTHING), checks.OBJECT),
        "require_approval": checks.choice_or(checks.ANYTHING, "always", "never"),
        **dict.fromkeys(("defer_loading", "allowed_callers"), checks.NOT_SIMULATED),
    },
    "server_label",
)


def _of_session(value: LocatedValue, server: Json) -> Json:
    """Return an MCP server of a response. Only its label has an effect: it selects a server of
    the session.
    """
    checks.note(value)
    return server


def _distinct_servers(value: LocatedValue, tools: list[Any]) -> list[Any]:
    """Return the tools of a session. An MCP server has a label of its own, and one address."""
    labels = set[str]()
    for number, tool in enumerate(tools):
        if tool["type"] != "mcp":
            continue
        path = f"{value.name}[{number}]"
        if tool["server_label"] in labels:
            raise RejectedError(
                "invalid_value", f"Duplicate server_label in '{path}'.", f"{path}.server_label"
            )
        if sum(key in tool for key in MCP_ADDRESSES) != 1:
            problem = f"'{path}' needs exactly one of {', '.join(map(repr, MCP_ADDRESSES))}."
            raise RejectedError("invalid_value", problem, path)
        labels.add(tool["server_label"])
    return tools


def tools_with(server: Validator[Json]) -> tuple[Validator[Any], Validator[Any]]:
    """Return the checks of the tools of a session, and of a response, with MCP servers."""
    of_session, of_response = (
        Converted(
            checks.array(KindOf({"function": FUNCTION, "mcp": each}, default="function")),
            _distinct_servers,
        )
        for each in (server, Converted(server, _of_session))
    )
    return of_session, of_response


GA_TOOLS, GA_RESPONSE_TOOLS = tools_with(MCP_SERVER)
CHOSEN_FUNCTION = checks.object_of({"type": checks.ANYTHING, "name": checks.TEXT}, "name")
CHOSEN_SERVER = checks.object_of(
    {"type": checks.ANYTHING, "server_label": checks.TEXT, "name": checks.TEXT}, "server_label"
)
TOOL_CHOICES = "auto", "none", "required"
TOOL_CHOICE = checks.choice_or(KindOf({"function": CHOSEN_FUNCTION}), *TOOL_CHOICES)
GA_TOOL_CHOICE = checks.choice_or(
    KindOf({"function": CHOSEN_FUNCTION, "mcp": CHOSEN_SERVER}), *TOOL_CHOICES
)


# Token limits. That of GA is gpt-realtime-2's; other GA models accept 4096.
PREVIEW_CAP, GA_CAP = (
    OrKeyword(checks.whole(1, max_tokens), "inf") for max_tokens in (4096, 32_000)
)

TRUNCATION = checks.choice_or(
    checks.object_of(
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
REASONING = checks.object_of({"effort": checks.choice(*EFFORTS)})


def modalities(*supported: list[str]) -> Validator[Any]:
    """Return a validator of the modalities of a response, which must be one of the lists
    `supported`.
    """

    def check(value: LocatedValue, read: Any) -> Any:
        if read not in supported:
            raise value.type_error(either(map(str, supported)), code=INVALID_VALUE)
        return read

    return Converted(checks.ANYTHING, check)


PREVIEW_MODALITIES = modalities(["text"], ["audio", "text"], ["text", "audio"])
GA_MODALITIES = modalities(["text"], ["audio"])


def format_check(names: Sequence[AudioFormatName]) -> Validator[Any]:
    """Return a check of a GA audio format, which must be one of `names`.

    If the client omits the type or the rate, the first format that matches is used.
    """
    spelled = [GA_FORMATS[name] for name in names]
    rates = [format["rate"] for format in spelled if "rate" in format]
    keys: SettingTable = {
        "type": checks.ANYTHING,
        "rate": checks.whole(min(rates), max(rates), rates),
    }
    return KindOf(
        {
            format["type"]: checks.object_of(
                keys if "rate" in format else {"type": checks.ANYTHING}, **format
            )
            for format in reversed(spelled)
        },
        default=spelled[0]["type"],
    )


def format_of(spelled: Json) -> AudioFormat:
    """Return the audio format for the format object of a GA session."""
    return next(ALL_FORMATS[name] for name, each in GA_FORMATS.items() if each == spelled)


# Input


def turn_detection(*, ga: bool, further: str = "") -> Validator[Any]:
    """Return a check of turn detection that adds the defaults of the type.

    A null means manual turns. In dialects other than GA, {"type": "none"} also means manual turns.
    `further` is a type without settings of its own.
    """
    server: Json = {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,
    }
    server |= {"idle_timeout_ms": None} if ga else {}
    defaults = [server, {"type": "semantic_vad", "eagerness": "auto"}]
    defaults += [{"type": further}] if further else []
    response_flags: Json = {"create_response": True, "interrupt_response": True}
    kinds: dict[str, Validator[Any]] = {
        default["type"]: detector(TURN_DETECTION_KEYS, default | response_flags)
        for default in defaults
    }
    return OrNull(KindOf(kinds if ga else kinds | NO_DETECTION, default="server_vad"))


NO_DETECTION: dict[str, Validator[Any]] = {
    "none": Converted(checks.object_of({"type": checks.ANYTHING}), lambda value, read: None)
}


def detector(keys: SettingTable, default: Json) -> Validator[Any]:
    return checks.object_of(
        dict.fromkeys(keys, checks.UNKNOWN) | {key: keys[key] for key in default}, **default
    )


TURN_DETECTION_KEYS = {
    "type": checks.ANYTHING,
    "threshold": checks.number(0, 1),
    "prefix_padding_ms": checks.whole(0, 60_000),
    "silence_duration_ms": checks.whole(0, 60_000),
    "idle_timeout_ms": OrNull(checks.whole(5_000, 30_000)),
    "eagerness": checks.choice("low", "medium", "high", "auto"),
    "create_response": checks.FLAG,
    "interrupt_response": checks.FLAG,
}

OLDER_TRANSCRIBERS = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")


PREVIEW_TRANSCRIBER = checks.object_of(
    {"model": checks.choice(*OLDER_TRANSCRIBERS), "language": checks.TEXT, "prompt": checks.TEXT}
)
NOISE_KINDS = checks.choice("near_field", "far_field")


def ga_hearing(transcriber: Validator[Any], format: Validator[Any]) -> SettingTable:
    """Return the input settings of a GA session. `transcriber`: the check of the transcription
    model's name.
    """
    transcription = {
        "model": transcriber,
        "language": checks.TEXT,
        "languages": checks.array(checks.TEXT),
        "keywords": checks.array(checks.TEXT),
        "prompt": checks.TEXT,
        "delay": checks.choice(*EFFORTS),
    }
    return {
        "format": format,
        "transcription": OrNull(checks.object_of(transcription)),
        "noise_reduction": OrNull(
            checks.object_of({"type": NOISE_KINDS, "strength": checks.number(0, 1)})
        ),
        "turn_detection": turn_detection(ga=True),
    }


PREVIEW_HEARING: SettingTable = {
    "input_audio_format": checks.choice(*FORMATS),
    "input_audio_transcription": OrNull(PREVIEW_TRANSCRIBER),
    "input_audio_noise_reduction": OrNull(checks.object_of({"type": NOISE_KINDS})),
    "turn_detection": turn_detection(ga=False),
}


# Tables

PREVIEW_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse")
GA_VOICES = (*PREVIEW_VOICES, "marin", "cedar")
GA_VOICE = checks.choice_or(
    checks.object_of({"id": checks.TEXT}, "id"), *GA_VOICES
)  # a name, or {id} of a custom voice

# in the SDK's preview types, which some clients send complete, with nulls
TYPED_KEYS = ("model", "client_secret")
PREVIEW_SESSION: SettingTable = {
    **PREVIEW_HEARING,
    "modalities": PREVIEW_MODALITIES,
    "instructions": checks.TEXT,
    "voice": checks.choice(*PREVIEW_VOICES),
    "speed": checks.number(0.25, 1.5),
    "output_audio_format": checks.choice(*FORMATS),
    **dict.fromkeys(TYPED_KEYS, checks.UNKNOWN),
    "tools": TOOLS,
    "tool_choice": TOOL_CHOICE,
    "temperature": checks.number(0.6, 1.2),
    "max_response_output_tokens": PREVIEW_CAP,
    "tracing": checks.NOT_SIMULATED,
}


def ga_session_table(transcriber: Validator[Any], format: Validator[Any]) -> SettingTable:
    """Return the settings of a GA session. `transcriber`: the check of the transcription model's
    name.
    """
    return {
        "type": checks.choice("realtime"),
        "output_modalities": GA_MODALITIES,
        "instructions": checks.TEXT,
        "audio": {
            "input": ga_hearing(transcriber, format),
            "output": {"format": format, "voice": GA_VOICE, "speed": checks.number(0.25, 1.5)},
        },
        "max_output_tokens": GA_CAP,
        "model": checks.IGNORED,
        "client_secret": checks.UNKNOWN,
        "truncation": TRUNCATION,
        "tools": GA_TOOLS,
        "tool_choice": GA_TOOL_CHOICE,
        "tracing": checks.NOT_SIMULATED,
        "prompt": checks.NOT_SIMULATED,
        "include": checks.NOT_SIMULATED,
        "parallel_tool_calls": checks.FLAG,
        "reasoning": REASONING,
    }


PREVIEW_TRANSCRIPTION: SettingTable = {
    **PREVIEW_HEARING,
    # cannot be switched off: the session does nothing else
    "input_audio_transcription": PREVIEW_TRANSCRIBER,
    "include": checks.NOT_SIMULATED,
    "modalities": PREVIEW_MODALITIES,
    "client_secret": checks.UNKNOWN,
}

_RESPONSE: SettingTable = {
    "instructions": checks.TEXT,
    "conversation": checks.choice("auto", "none"),
    "metadata": OrNull(checks.TEXTS_BY_NAME),
    "input": checks.array(checks.LATER),  # items
}
OF_BOTH = ("modalities", "voice", "output_audio_format", "tools", "tool_choice", "temperature")
PREVIEW_RESPONSE: SettingTable = {
    **_RESPONSE,
    **{key: PREVIEW_SESSION[key] for key in OF_BOTH},
    **dict.fromkeys(("max_output_tokens", "max_response_output_tokens"), PREVIEW_CAP),
}
# Legacy Azure clients, and clients of Voice Live, send these keys.
TOLERATED_RESPONSE_KEYS = ("commit", "cancel_previous", "append_input_items", "input_items")


def ga_response_table(session: SettingTable, format: Validator[Any]) -> SettingTable:
    shared_keys = (
        "output_modalities",
        "tool_choice",
        "max_output_tokens",
        "prompt",
        "parallel_tool_calls",
    )
    spoken: SettingTable = {"format": format, "voice": GA_VOICE}
    shared = {key: session[key] for key in (*shared_keys, "reasoning")}
    return {**_RESPONSE, **shared, "tools": GA_RESPONSE_TOOLS, "audio": {"output": spoken}}
