"""The set-up of a simulated Gemini Live session: its known fields, its refusals, and its meaning.
Pure.

The fields are those of `LiveClientSetup` in google-genai. The service refuses a message by closing
the connection.
"""

# The service parses JSON into protocol buffers, so an unknown name is an error with its path, and
# both spellings of a name are accepted (`mime_type`, `mimeType`). `SETUP` lists the fields of
# google-genai's types; the values of most of them are not checked, since nothing depends on them
# here.

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.wire.audio import PCM16_16K
from rtbench_simulator.server_events import Json
from rtbench_simulator.services.answering import RefusedError
from rtbench_simulator.session.effective import EffectiveTurnDetection, InputSettings

INVALID = 1007
POLICY = 1008
INTERNAL = 1011
BAD_ARGUMENT = "Request contains an invalid argument."
BAD_KEY = "API key not valid. Please pass a valid API key."
NO_QUOTA = "You exceeded your current quota, please check your plan and billing details."
EXPIRED = "Deadline expired before operation could complete."
SILENCE_MS = 500
"""The silence that ends speech if the client sets no other. An assumption."""
KnownFields = Mapping[str, Any]
"""The known fields of an object. The value is the known fields of the field's object; {} if they
are not checked."""


def _names(*names: str) -> KnownFields:
    return {name: {} for name in names}


SETUP: KnownFields = {
    "model": {},
    "generationConfig": _names(
        "responseModalities",
        "maxOutputTokens",
        "temperature",
        "thinkingConfig",
        "speechConfig",
        "topP",
        "topK",
        "seed",
        "mediaResolution",
        "enableAffectiveDialog",
        "candidateCount",
        "presencePenalty",
        "frequencyPenalty",
    ),
    "systemInstruction": _names("parts", "role"),
    "realtimeInputConfig": {
        "automaticActivityDetection": _names(
            "disabled",
            "startOfSpeechSensitivity",
            "endOfSpeechSensitivity",
            "prefixPaddingMs",
            "silenceDurationMs",
        ),
        **_names("activityHandling", "turnCoverage"),
    },
    "contextWindowCompression": {"triggerTokens": {}, "slidingWindow": _names("targetTokens")},
    **_names(
        "tools",
        "inputAudioTranscription",
        "outputAudioTranscription",
        "sessionResumption",
        "proactivity",
        "explicitVadSignal",
        "historyConfig",
        "safetySettings",
        "labels",
    ),
}
_MODEL = re.compile(
    r"(?:models/|(?:projects/[^/]+/locations/[^/]+/)?publishers/google/models/)"
    r"(gemini-[\w.-]*live[\w.-]*)"
)


OF_USERS = frozenset({"response", "parameters", "parametersJsonSchema", "labels", "args"})
"""The fields whose content has names of users."""


def in_camel_case(value: Any) -> Any:
    """Return a message with the names that the service uses. It also accepts those of the proto,
    as in mime_type.
    """
    if isinstance(value, list):
        return [in_camel_case(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {
        re.sub(r"_([a-z])", lambda found: found[1].upper(), name): inner
        for name, inner in value.items()
    }
    return {
        name: inner if name in OF_USERS else in_camel_case(inner) for name, inner in named.items()
    }


def unknown_name(name: str, where: str) -> RefusedError:
    return RefusedError(
        INVALID,
        f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot find field.",
    )


def check_fields(fields: Any, known: KnownFields, where: str) -> None:
    """Raise RefusedError if an object is none, or has an unknown field."""
    if not isinstance(fields, dict):
        raise RefusedError(INVALID, BAD_ARGUMENT)
    for name, value in fields.items():
        if name not in known:
            raise unknown_name(name, where)
        if known[name]:
            check_fields(value, known[name], f"{where}.{_snake(name)}")


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


@dataclass(frozen=True)
class SessionSetup:
    """The meaning of a set-up. `functions` are the declared functions, with their JSON Schema in
    `parameters`.
    """

    input: InputSettings
    audio: bool
    interrupts: bool
    transcribes_input: bool
    transcribes_output: bool
    functions: Sequence[Json]
    waits_for_history: bool
    reports_activity: bool
    resumes: bool

    @property
    def is_manual(self) -> bool:
        return self.input.detection is None


def read_setup(setup: Any) -> SessionSetup:
    """Return the meaning of a set-up. Raise RefusedError if the service refuses it."""
    check_fields(setup, SETUP, "setup")
    name = setup.get("model")
    if not isinstance(name, str) or _MODEL.fullmatch(name) is None:
        raise RefusedError(
            POLICY,
            f"{name} is not found for API version v1beta, or is not supported for"
            " bidiGenerateContent.",
        )
    modalities = setup.get("generationConfig", {}).get("responseModalities", ["AUDIO"])
    if modalities not in (["AUDIO"], ["TEXT"]):
        raise RefusedError(INVALID, BAD_ARGUMENT)
    config = setup.get("realtimeInputConfig", {})
    automatic = config.get("automaticActivityDetection", {})
    silence_ms = automatic.get("silenceDurationMs", SILENCE_MS)
    if (
        isinstance(silence_ms, bool)
        or not isinstance(silence_ms, int)
        or not 0 <= silence_ms <= 60_000
    ):
        raise RefusedError(INVALID, BAD_ARGUMENT)
    detection = EffectiveTurnDetection("server_vad", silence_duration_ms=silence_ms)
    return SessionSetup(
        InputSettings(PCM16_16K, None if automatic.get("disabled") else detection),
        audio=modalities == ["AUDIO"],
        interrupts=config.get("activityHandling") != "NO_INTERRUPTION",
        transcribes_input=setup.get("inputAudioTranscription") is not None,
        transcribes_output=setup.get("outputAudioTranscription") is not None,
        functions=list(_functions(setup.get("tools") or [])),
        waits_for_history=bool(
            (setup.get("historyConfig") or {}).get("initialHistoryInClientContent")
        ),
        reports_activity=bool(setup.get("explicitVadSignal")),
        resumes=setup.get("sessionResumption") is not None,
    )


def _functions(tools: Any) -> Sequence[Json]:
    found = []
    for tool in tools if isinstance(tools, list) else ():
        declarations = tool.get("functionDeclarations") if isinstance(tool, dict) else None
        for declaration in declarations if isinstance(declarations, list) else ():
            if not isinstance(declaration, dict) or not isinstance(declaration.get("name"), str):
                raise RefusedError(INVALID, BAD_ARGUMENT)
            schema = declaration.get("parametersJsonSchema", declaration.get("parameters"))
            found.append(
                {"type": "function", "name": declaration["name"], "parameters": _lower(schema)}
            )
    return found


def _lower(schema: Any) -> Any:
    """Return a schema with types in lower case, as JSON Schema has them; `parameters` may have
    them in upper case.
    """
    if isinstance(schema, list):
        return [_lower(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _lower(value)
        for name, value in schema.items()
    }
