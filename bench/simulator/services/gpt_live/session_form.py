"""The settings of a GPT-Live session, as clients send them in session.start and session.update.

The keys follow the official SDK's `SessionConfig` and `SessionUpdateConfig` (`openai.types.live`). Tools other than
functions, and delegation to Decisions, are refused, because they are not simulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.simulator.profile import EFFORTS
from bench.simulator.responses.function_calls import tools_of
from bench.simulator.server_events import GA_FORMATS, Json, RejectedError
from bench.simulator.session import checks
from bench.simulator.session.checks import CheckTable, EventPath, Nullable, SettingCheck
from bench.simulator.session.session_schema import TOOL_CHOICE, function_name
from bench.wire.audio import G711_ALAW, G711_ULAW, PCM16, PCM16_16K, AudioFormat

CLIENT, RESPONSES = "client", "responses"
FORMATS: Mapping[AudioFormat, Json] = {
    format: GA_FORMATS[format.name] | {"rate": format.rate_hz} for format in (PCM16, PCM16_16K, G711_ULAW, G711_ALAW)
}
"""The audio formats, as the settings of a session name them."""
MAX_INPUT_ITEMS = 128
VOICE = "marin"


def _audio_format(value: Any, event_path: EventPath) -> Json:
    if value not in FORMATS.values():
        raise RejectedError("invalid_value", f"Invalid value of {event_path.path}.", event_path.path)
    return dict(value)


FUNCTION = checks.shape(
    {
        "type": checks.choice("function"),
        "name": function_name,
        "description": checks.text,
        "parameters": checks.free_object,
        "strict": checks.flag,
    },
    "name",
    "type",
)
BACKEND: CheckTable = {
    "model": checks.text,
    "instructions": checks.text,
    "tools": checks.array(checks.by_type({"function": FUNCTION})),
    "tool_choice": TOOL_CHOICE,
    "parallel_tool_calls": checks.flag,
    "reasoning": checks.shape(
        {
            "effort": checks.choice("none", *EFFORTS),
            "summary": checks.not_simulated,
            "context": checks.not_simulated,
            "mode": checks.not_simulated,
        }
    ),
    "max_output_tokens": checks.not_simulated,
    "service_tier": checks.not_simulated,
    "text": checks.not_simulated,
}
DEFAULT_BACKEND: Json = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
ACKNOWLEDGEMENT: CheckTable = {"type": checks.anything, "acknowledgement_delay_ms": checks.whole(0, 60_000)}
BACKEND_CONFIG = checks.shape(BACKEND, "model", **DEFAULT_BACKEND)
DELEGATIONS = {
    CLIENT: checks.shape(ACKNOWLEDGEMENT, "type"),
    RESPONSES: checks.shape({**ACKNOWLEDGEMENT, "responses": BACKEND_CONFIG}, "responses"),
}


def _message(*types: str) -> SettingCheck:
    """Return a check for messages of the text history. It accepts a text part of one of these types."""
    part = checks.shape({"type": checks.choice(*types), "text": checks.text}, "text")

    def content(value: Any, event_path: EventPath) -> list[Any]:
        parts: list[Any] = checks.array(part)(value, event_path)
        if len(parts) != 1:
            problem = f"Invalid '{event_path.path}'. Expected exactly one text part, but got {len(parts)}."
            raise RejectedError("invalid_value", problem, event_path.path)
        return parts

    keys: CheckTable = {
        "type": checks.choice("message"),
        "role": checks.anything,
        "content": content,
        "id": checks.text,
        "status": checks.choice("incomplete", "completed"),
    }
    return checks.shape(keys, "content")


MESSAGES = {"developer": _message("input_text"), "user": _message("input_text")}
HISTORY = checks.array(checks.by_type({**MESSAGES, "assistant": _message("text", "output_text")}, key="role"))


def _history(value: Any, event_path: EventPath) -> list[Any]:
    messages: list[Any] = HISTORY(value, event_path)
    if len(messages) > MAX_INPUT_ITEMS:
        problem = f"Invalid '{event_path.path}'. Expected at most {MAX_INPUT_ITEMS} messages, but got {len(messages)}."
        raise RejectedError("array_above_max_length", problem, event_path.path)
    return messages


VOICE_ID = checks.shape({"id": checks.text}, "id")


def _voice(value: Any, event_path: EventPath) -> Any:
    return VOICE_ID(value, event_path) if isinstance(value, dict) else checks.text(value, event_path)


SESSION: CheckTable = {
    "model": checks.short(512),
    "instructions": checks.text,
    "audio": {
        "format": _audio_format,
        "output": {"voice": _voice},
    },
    "delegation": Nullable(checks.by_type(DELEGATIONS)),
    "input": _history,
    "client": checks.not_simulated,
    "safety_identifier": checks.not_simulated,
    "store": checks.not_simulated,
    "triggers": checks.not_simulated,
}


def started(settings: Any, event_path: EventPath) -> Json:
    """Return the settings of a session that a client starts, with defaults. Raise RejectedError."""
    audio = {"format": FORMATS[PCM16], "output": {"voice": VOICE}}
    current: Json = {"delegation": None, "input": [], "store": False, "audio": audio}
    return _with_known_tool(checks.accepted(SESSION, current, settings, event_path, required=("model",)))


def updated(session: Json, update: Any, event_path: EventPath) -> Json:
    """Return the settings of a session after an update. Only settings of delegation can change. Raise RejectedError."""
    target = target_of(session)
    keys: CheckTable = {**ACKNOWLEDGEMENT, "type": checks.choice(target)}
    if target == RESPONSES:
        keys = {**keys, "responses": BACKEND}
    table: CheckTable = {"delegation": keys, "triggers": checks.not_simulated}
    current = session if session["delegation"] else session | {"delegation": {"type": CLIENT}}
    return _with_known_tool(checks.accepted(table, current, update, event_path))


def _with_known_tool(session: Json) -> Json:
    """Return the session. Raise RejectedError if its backend must call an unknown function."""
    if target_of(session) == RESPONSES:
        tools_of(session["delegation"]["responses"])
    return session


def target_of(session: Json) -> str:
    """Return who does the tasks that the session delegates: `client` or `responses`."""
    return str((session["delegation"] or {}).get("type", CLIENT))


def format_of(session: Json) -> AudioFormat:
    spelled = session["audio"]["format"]
    return next(format for format, each in FORMATS.items() if each == spelled)


# Input of the backend

TEXTS = checks.array(checks.shape({"type": checks.choice("input_text", "output_text"), "text": checks.text}, "text"))


def _text_or_parts(value: Any, event_path: EventPath) -> Any:
    return TEXTS(value, event_path) if isinstance(value, list) else checks.text(value, event_path)


ITEM: CheckTable = {"type": checks.anything, "id": checks.short(64), "status": checks.text}
OUTPUT_KEYS: CheckTable = {**ITEM, "call_id": checks.text, "output": _text_or_parts}
MESSAGE_KEYS: CheckTable = {
    **ITEM,
    "role": checks.choice("user", "assistant", "system", "developer"),
    "content": _text_or_parts,
}
BACKEND_ITEM = checks.by_type(
    {
        "function_call_output": checks.shape(OUTPUT_KEYS, "call_id", "output"),
        "message": checks.shape(MESSAGE_KEYS, "role", "content", type="message"),
    },
    default="message",
)
"""The check of an item that a client adds to the backend's conversation."""
