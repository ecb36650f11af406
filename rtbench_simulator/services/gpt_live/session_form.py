"""The settings of a GPT-Live session, as clients send them in session.start and session.update.

The keys follow the official SDK's `SessionConfig` and `SessionUpdateConfig` (`openai.types.live`).
Tools other than functions, and delegation to Decisions, are refused, because they are not
simulated.
"""

from collections.abc import Mapping
from typing import Any

from bench.base.errors import INVALID_VALUE
from bench.files.validation import Converted, KindOf, OrNull, OrStruct, Validator
from bench.files.yaml_file import LocatedValue
from bench.wire.audio import G711_ALAW, G711_ULAW, PCM16, PCM16_16K, AudioFormat
from rtbench_simulator.profile import EFFORTS
from rtbench_simulator.responses.function_calls import tools_of
from rtbench_simulator.server_events import GA_FORMATS, Json
from rtbench_simulator.session import checks
from rtbench_simulator.session.checks import EventValue, SettingTable
from rtbench_simulator.session.session_schema import FUNCTION_KEYS, TOOL_CHOICE

CLIENT = "client"
RESPONSES = "responses"
FORMATS: Mapping[AudioFormat, Json] = {
    format: GA_FORMATS[format.name] | {"rate": format.rate_hz}
    for format in (PCM16, PCM16_16K, G711_ULAW, G711_ALAW)
}
"""The audio formats, as the settings of a session name them."""
MAX_INPUT_ITEMS = 128
VOICE = "marin"


def _audio_format(value: LocatedValue, read: Any) -> Json:
    if read not in FORMATS.values():
        raise value.type_error(f"one of {list(FORMATS.values())}", code=INVALID_VALUE)
    return dict(read)


FUNCTION = checks.object_of({**FUNCTION_KEYS, "strict": checks.FLAG}, "name", "type")
BACKEND: SettingTable = {
    "model": checks.TEXT,
    "instructions": checks.TEXT,
    "tools": checks.array(KindOf({"function": FUNCTION})),
    "tool_choice": TOOL_CHOICE,
    "parallel_tool_calls": checks.FLAG,
    "reasoning": checks.object_of(
        {
            "effort": checks.choice("none", *EFFORTS),
            "summary": checks.NOT_SIMULATED,
            "context": checks.NOT_SIMULATED,
            "mode": checks.NOT_SIMULATED,
        }
    ),
    "max_output_tokens": checks.NOT_SIMULATED,
    "service_tier": checks.NOT_SIMULATED,
    "text": checks.NOT_SIMULATED,
}
DEFAULT_BACKEND: Json = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
ACKNOWLEDGEMENT: SettingTable = {
    "type": checks.ANYTHING,
    "acknowledgement_delay_ms": checks.whole(0, 60_000),
}
BACKEND_CONFIG = checks.object_of(BACKEND, "model", **DEFAULT_BACKEND)
DELEGATIONS = {
    CLIENT: checks.object_of(ACKNOWLEDGEMENT, "type"),
    RESPONSES: checks.object_of({**ACKNOWLEDGEMENT, "responses": BACKEND_CONFIG}, "responses"),
}


def _one_part(value: LocatedValue, parts: list[Any]) -> list[Any]:
    if len(parts) != 1:
        raise value.refuse(f"must have exactly one text part, not {len(parts)}")
    return parts


def _message(*types: str) -> Validator[Json]:
    """Return a validator of messages of the text history. It accepts a text part of one of these
    types.
    """
    part = checks.object_of({"type": checks.choice(*types), "text": checks.TEXT}, "text")
    keys: SettingTable = {
        "type": checks.choice("message"),
        "role": checks.ANYTHING,
        "content": Converted(checks.array(part), _one_part),
        "id": checks.TEXT,
        "status": checks.choice("incomplete", "completed"),
    }
    return checks.object_of(keys, "content")


MESSAGES = {"developer": _message("input_text"), "user": _message("input_text")}
HISTORY = checks.array(
    KindOf({**MESSAGES, "assistant": _message("text", "output_text")}, key="role")
)


def _bounded(value: LocatedValue, messages: list[Any]) -> list[Any]:
    if len(messages) > MAX_INPUT_ITEMS:
        raise value.refuse(
            f"must have at most {MAX_INPUT_ITEMS} messages", "array_above_max_length"
        )
    return messages


OUTPUT: SettingTable = {"voice": OrStruct(checks.TEXT, checks.object_of({"id": checks.TEXT}, "id"))}
SESSION: SettingTable = {
    "model": checks.short(512),
    "instructions": checks.TEXT,
    "audio": {"format": Converted(checks.ANYTHING, _audio_format), "output": OUTPUT},
    "delegation": OrNull(KindOf(DELEGATIONS)),
    "input": Converted(HISTORY, _bounded),
    "client": checks.NOT_SIMULATED,
    "safety_identifier": checks.NOT_SIMULATED,
    "store": checks.NOT_SIMULATED,
    "triggers": checks.NOT_SIMULATED,
}


DEFAULT_SESSION: Json = {
    "delegation": None,
    "input": [],
    "store": False,
    "audio": {"format": FORMATS[PCM16], "output": {"voice": VOICE}},
}


def _started(table: SettingTable, default: Json) -> Validator[Json]:
    settings = checks.settings_of(table, "model")
    return Converted(settings, lambda value, read: _with_known_tool(settings.merged(default, read)))


STARTED = _started(SESSION, DEFAULT_SESSION)
"""The validator of the settings of a session that a client starts. It adds defaults."""
OFFERED = _started(
    {
        **SESSION,
        "audio": {"output": OUTPUT},
        "idle_timeout_s": checks.whole(1, 1 << 20),
        "wake_policy": checks.object_of(
            {"type": checks.choice("speech"), "vad_threshold": checks.number(0, 1)}, "type"
        ),
    },
    DEFAULT_SESSION | {"audio": {"output": {"voice": VOICE}}},
)
"""The same for settings in the offer of a call, which have no format (`MediaSessionConfig` of
the SDK)."""


# Audio, voice, and history are fixed when the session starts, so their keys are unknown to an
# update.
def updated(session: Json, update: EventValue) -> Json:
    """Return the settings of a session after an update. Only settings of delegation can change.
    Raise RejectedError.
    """
    target = target_of(session)
    keys: SettingTable = {**ACKNOWLEDGEMENT, "type": checks.choice(target)}
    if target == RESPONSES:
        keys = {**keys, "responses": BACKEND}
    table: SettingTable = {"delegation": keys, "triggers": checks.NOT_SIMULATED}
    current = session if session["delegation"] else session | {"delegation": {"type": CLIENT}}
    settings = checks.settings_of(table)
    return _with_known_tool(settings.merged(current, settings.read(update)))


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

TEXTS = checks.array(
    checks.object_of(
        {"type": checks.choice("input_text", "output_text"), "text": checks.TEXT}, "text"
    )
)


TEXT_OR_PARTS: Validator[Any] = Converted(
    checks.ANYTHING,
    lambda value, read: (TEXTS if isinstance(read, list) else checks.TEXT).read(value),
)
ITEM: SettingTable = {"type": checks.ANYTHING, "id": checks.short(64), "status": checks.TEXT}
OUTPUT_KEYS: SettingTable = {**ITEM, "call_id": checks.TEXT, "output": TEXT_OR_PARTS}
MESSAGE_KEYS: SettingTable = {
    **ITEM,
    "role": checks.choice("user", "assistant", "system", "developer"),
    "content": TEXT_OR_PARTS,
}
BACKEND_ITEM = KindOf(
    {
        "function_call_output": checks.object_of(OUTPUT_KEYS, "call_id", "output"),
        "message": checks.object_of(MESSAGE_KEYS, "role", "content", type="message"),
    },
    default="message",
)
"""The check of an item that a client adds to the backend's conversation."""
