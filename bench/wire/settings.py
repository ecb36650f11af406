"""The settings of a session and its responses, and the content of messages, independent of
dialects.

Settings that this tool does not know (`extra`) are merged into the update of the session, but
cannot replace one on which this tool relies: which audio is sent, what ends a turn, what a reply
contains. Otherwise the measurement would be wrong. Each dialect has its own names for these
settings. A dialect declares the keys of `session` that only it has (`Dialect.setting_keys`).
`bench.plan.script_keys` has the keys of all services.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

from bench.catalogue.turn_detection import DetectorName
from bench.files.validation import (
    Boolean,
    Choice,
    Converted,
    Field,
    Integer,
    Number,
    OneOrMore,
    Schema,
    String,
    StructOf,
    Validator,
    either,
    one_of_tables,
)
from bench.files.yaml_file import LocatedValue
from bench.wire.audio import AudioFormatName

Keys = tuple[str, ...]
Output = Literal["audio", "text", "transcript"]
"""The output of a session: audio or text replies, or only transcripts of the caller's speech."""
ONLY_TRANSCRIPT: Literal["transcript"] = "transcript"
Effort = Literal["minimal", "low", "medium", "high", "xhigh"]
TokenCap = int | Literal["inf"]
"""The maximum length of a response, in tokens. `inf` allows the maximum length of the model."""

FULL_DUPLEX: Literal["full_duplex"] = "full_duplex"
MessageRole = Literal["system", "assistant", "user"]
NoiseReduction = Literal["near_field", "far_field", "azure_deep_noise_suppression"]
"""The types of noise reduction: for a near microphone, for a far microphone, and that of Azure
Voice Live."""
EchoCancellation = Literal["server_echo_cancellation"]


class PartialSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of which a field is None if the service's default is used."""

    @property
    def explicit(self) -> dict[str, Any]:
        """The settings that the script sets, without those for which the service's default is
        used.
        """
        return without_none(**msgspec.structs.asdict(self))


class TurnDetection(PartialSettings, frozen=True, kw_only=True):
    """The service's VAD; None means the service's default. `plan/script_keys.py` has the options
    of each type.
    """

    type: DetectorName = "server_vad"
    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    idle_timeout_ms: int | None = None
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    speech_duration_ms: int | None = None
    remove_filler_words: bool | None = None
    languages: list[str] | None = None
    end_of_utterance_detection: dict[str, Any] | None = None
    auto_truncate: bool | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


class InputTranscription(PartialSettings, frozen=True, kw_only=True):
    """How the service transcribes the caller's audio. None means the service's default.

    The fields are those of `AudioTranscription` in the SDK `openai` 3.57. On Azure GA, `model` is a
    deployment.
    """

    model: str
    language: str | None = None
    languages: list[str] | None = None
    delay: Effort | None = None
    keywords: list[str] | None = None
    prompt: str | None = None


class FunctionTool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call. `parameters` is the JSON Schema of its arguments,
    which form an object.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}

    @property
    def required(self) -> tuple[str, ...]:
        """The required arguments of a call."""
        names = self.parameters.get("required")
        return (
            tuple(name for name in names if isinstance(name, str))
            if isinstance(names, list)
            else ()
        )


class McpServer(msgspec.Struct, frozen=True, kw_only=True):
    """An MCP server whose tools the service calls itself, by a `url`, `connector_id` or
    `tunnel_id`. None: the default.

    `authorization_env` names the variable of the token. With `approve`, the client approves calls
    if asked.
    """

    label: str
    url: str | None = None
    connector_id: str | None = None
    tunnel_id: str | None = None
    description: str | None = None
    allowed_tools: list[str] | None = None
    require_approval: Literal["always", "never"] | None = None
    approve: bool = False
    authorization_env: str | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image, as a data URL, with its size in pixels, and the SHA-256 of its file in hex."""

    url: str
    width: int
    height: int
    digest: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a conversation. It has a text. A message of a user may also have an image."""

    role: MessageRole
    text: str
    image: Image | None = None


OF_RESPONSES = ("create_response", "interrupt_response")
"""The keys of turn detection that are about responses."""
REPLY_SETTINGS = (
    "instructions",
    "voice",
    "max_output_tokens",
    "temperature",
    "output_format",
    "reasoning",
    "truncation",
    "interim_response",
    "tool_choice",
)
"""The settings of a session that have no effect if it only transcribes."""


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that a script sends for a session; None means the default.
    `plan/script_keys.py` explains them.
    """

    output: Output = "audio"
    instructions: str | None = None
    voice: str | dict[str, Any] | None = None
    max_output_tokens: TokenCap | None = None
    input_transcription: InputTranscription | None = None
    temperature: float | None = None
    turn_detection: TurnDetection | None = None
    """The service's turn detection. None disables it, so that the client commits turns."""
    input_format: AudioFormatName | None = None
    output_format: AudioFormatName | None = None
    model: str | None = None
    reasoning: dict[str, Any] | None = None
    """The reasoning settings, in the format of GA."""
    truncation: str | dict[str, Any] | None = None
    noise_reduction: NoiseReduction | None = None
    echo_cancellation: EchoCancellation | None = None
    interim_response: dict[str, Any] | None = None
    tools: tuple[FunctionTool, ...] = ()
    mcp_servers: tuple[McpServer, ...] = ()
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or the name of a function."""
    delegation: dict[str, Any] | None = None
    """The executor of the session's tasks (`Dialect.has_tasks`), in the service's format."""
    history: tuple[Message, ...] = ()
    """The conversation before the session, if it is a setting of the session
    (`Dialect.with_history`)."""
    extra: dict[str, Any] = {}
    """Additional settings in the dialect's format, which are merged into the update last
    (`merged`)."""

    @property
    def service_responds(self) -> bool:
        """True if the service starts responses, which is the default with turn detection."""
        detection = self.turn_detection
        return (
            detection is not None
            and detection.create_response is not False
            and self.output != ONLY_TRANSCRIPT
        )

    @property
    def detection_update(self) -> dict[str, Any] | None:
        """The explicit settings of turn detection; None if it is off. A session without
        responses has none of them.
        """
        if self.turn_detection is None:
            return None
        explicit = self.turn_detection.explicit
        if self.output != ONLY_TRANSCRIPT:
            return explicit
        return {name: value for name, value in explicit.items() if name not in OF_RESPONSES}


class ResponseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one response. They are used in place of the session's settings."""

    instructions: str | None = None
    output: Output | None = None
    max_output_tokens: TokenCap | None = None
    conversation: Literal["auto", "none"] | None = None
    """If it is `none`, the response is out of band and does not become part of the conversation."""
    input: tuple[Message, ...] | None = None
    """The input of the response, in place of the conversation. If `input` is empty, the response
    has no input."""
    metadata: dict[str, str] | None = None
    tool_choice: str | None = None

    @property
    def out_of_band(self) -> bool:
        """True if the response is outside of the conversation, so that another one may be in
        progress.
        """
        return self.conversation == "none"


def without_none(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


class UnsupportedSetting(NamedTuple):
    """An unsupported setting: its path below a script's `session`, and the reason, a sentence
    with a remedy.
    """

    setting: tuple[str, ...]
    reason: str


NOT_COMPARED = frozenset({"instructions", "tools", "tool_choice", "prompt", "keywords", "include"})
"""Texts, and settings that services write in many forms: what a service confirms of them may
differ."""


def comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an update without those that are not compared with its
    confirmation.
    """
    return {
        word: comparable(value) if isinstance(value, Mapping) else value
        for word, value in settings.items()
        if word not in NOT_COMPARED
    }


def merged(settings: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings merged with `extra`: mappings key by key; any other value of `extra`
    replaces the old.
    """
    result = dict(settings)
    for key, value in extra.items():
        old = result.get(key)
        result[key] = (
            merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return result


# `extra` lets users set what this tool does not know. The danger is a setting that changes what is
# measured: a format, who ends turns, which model answers. Each dialect lists the paths of such
# settings (`stored`). A path in `extra` that replaces one of them, or a table around it, is refused
# with the key of scripts that sets it.
def conflict(
    settings: Mapping[str, Any], extra: Mapping[str, Any], stored: Mapping[Keys, str]
) -> UnsupportedSetting | None:
    """Return the first setting in `extra`, with a remedy, that conflicts with one on which this
    tool relies, or None.

    `settings` is the update without `extra`. If it disables a setting, details of it in `extra`
    would enable it.
    """
    for path, remedy in stored.items():
        keys = _meeting(settings, extra, path)
        if keys is not None:
            return UnsupportedSetting(
                keys, f"must not set {'.'.join(keys)}, which this tool relies on: {remedy}"
            )
    return None


# A setting that a service does not have is refused by its name, and never sent. A service may end
# the session because of an unknown key, or may ignore it, and then the run measures something else
# than its script states.
def foreign_setting(
    settings: SessionSettings, known: Collection[str], title: str
) -> UnsupportedSetting | None:
    """Return the first setting that differs from its default and is not `known` to the service
    with this title.
    """
    unset = SessionSettings()
    for name in settings.__struct_fields__:
        if name not in known and getattr(settings, name) != getattr(unset, name):
            return UnsupportedSetting((name,), f"{name} is not a setting of {title}: remove it")
    return None


def undone(
    settings: Mapping[str, Any], extra: Mapping[str, Any], stored: Mapping[Keys, str]
) -> UnsupportedSetting | None:
    """Return why, with the remedy, `extra` cannot be merged into `settings`, as in `conflict`;
    None if it can.
    """
    unsupported = conflict(settings, extra, stored)
    return unsupported and UnsupportedSetting(
        ("extra", *unsupported.setting), f"extra {unsupported.reason}"
    )


def _meeting(settings: Any, extra: Any, path: Keys) -> Keys | None:
    """Return the first part of `path` at which `extra` replaces the value there; None if it does
    not.
    """
    for depth, key in enumerate(path):
        if not isinstance(extra, Mapping) or not isinstance(settings, Mapping):
            return path[:depth]
        if key not in extra:
            return None
        settings = settings.get(key)
        extra = extra[key]
    return path


def text_at(path: Keys, settings: object) -> str | None:
    """Return the text at a path of settings; None if there is none."""
    for key in path:
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return settings if isinstance(settings, str) and settings else None


class FunctionOutput(msgspec.Struct, frozen=True, kw_only=True):
    """The output of a call of the function `name`, or the result of a task (`is_task`)."""

    call_id: str
    name: str = ""
    output: str
    is_task: bool = False


@dataclass(frozen=True, eq=False)
class SettingKeys:
    """The keys of `session` that only one service has.

    `detection` has keys by type of turn detection, `detectors` more such types, and `voices` types
    of voices.
    """

    session: Mapping[str, Field[Any]] = field(default_factory=dict)
    detection: Mapping[str, Mapping[str, Field[Any]]] = field(default_factory=dict)
    detectors: Mapping[str, StructOf[TurnDetection]] = field(default_factory=dict)
    voices: Mapping[str, Mapping[str, Field[Any]]] = field(default_factory=dict)


NO_KEYS = SettingKeys()


def texts(
    shape: Validator[str] = String(),  # noqa: B008  # a shape is frozen
) -> Validator[list[str]]:
    """Return a validator that accepts one text or a list of texts. The value becomes a list, as
    services require.
    """
    return Converted(OneOrMore(shape), lambda _, texts: list(texts))


@dataclass(frozen=True)
class TypedMapValidator(Validator[dict[str, Any]]):
    """A validator of a table whose `type` determines its other keys. The values stay unchanged."""

    fields: Mapping[str, Mapping[str, Field[Any]]]

    def read(self, value: LocatedValue) -> dict[str, Any]:
        content = value.content()
        if not isinstance(content, dict) or "type" not in content:
            raise value.refuse(f"needs `type`: {either(self.fields)}")
        return self._tables[Choice(tuple(self.fields)).read(content["type"])].read(value)

    def schema(self) -> Schema:
        return one_of_tables("type", {name: table.schema() for name, table in self._tables.items()})

    @property
    def _tables(self) -> dict[str, StructOf[dict[str, Any]]]:
        types = {
            name: {"type": Field(Choice((name,)), "The type.", required=True)}
            for name in self.fields
        }
        return {name: StructOf({**types[name], **more}, dict) for name, more in self.fields.items()}


DETECTION_FIELDS: dict[str, Field[Any]] = {
    "create_response": Field(
        Boolean(), "Whether the service answers by itself when it has detected the end of speech."
    ),
    "interrupt_response": Field(Boolean(), "Whether speech stops an answer in progress."),
}
LEVEL_FIELDS: dict[str, Field[Any]] = {
    "threshold": Field(
        Number(0, 1), "The service's confidence from which it takes sound for speech."
    ),
    "prefix_padding_ms": Field(
        Integer(0, 5_000), "Audio before the start of speech that is included, in ms."
    ),
    "silence_duration_ms": Field(Integer(0, 10_000), "Silence that ends a turn, in ms."),
}


def detector(name: str, note: str, more: Mapping[str, Field[Any]]) -> StructOf[TurnDetection]:
    """Return the table of a type of turn detection."""
    return StructOf({"type": Field(Choice((name,)), note, required=True), **more}, TurnDetection)
