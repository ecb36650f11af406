"""What a script sets on a session and its responses, and what its messages hold, in words of no dialect.

Settings that this tool does not know (`extra`) are merged into the update of a session; what it goes by cannot be set
so. Each dialect has its own names for what the harness relies on (which audio it sends, who ends a turn, what a reply
is); `extra` that named it otherwise would be measured as something that it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from bench.protocol.audio import AudioFormatName

Keys = tuple[str, ...]
Output = Literal["audio", "text"]
Effort = Literal["minimal", "low", "medium", "high", "xhigh"]
TokenCap = int | Literal["inf"]
"""The longest answer, in tokens; `inf`: as long as the model can make it."""


FULL_DUPLEX: Literal["full_duplex"] = "full_duplex"
DetectorName = Literal[
    "server_vad",
    "semantic_vad",
    "azure_semantic_vad",
    "azure_semantic_vad_en",
    "azure_semantic_vad_multilingual",
    "full_duplex",
]
"""Detectors by name: with azure in it Azure Voice Live's; `full_duplex` is GPT-Live, which never stops listening."""
MessageRole = Literal["system", "assistant", "user"]
NoiseReduction = Literal["near_field", "far_field", "azure_deep_noise_suppression"]
"""What is near to the microphone, or far from it; Azure Voice Live's own."""
EchoCancellation = Literal["server_echo_cancellation"]


class TurnDetection(msgspec.Struct, frozen=True, kw_only=True):
    """The service's voice activity detection. None leaves the service's default; `fields.py` says which has what."""

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

    @property
    def given(self) -> dict[str, Any]:
        """What is not left to the service."""
        return without_none(msgspec.structs.asdict(self))


class FunctionTool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call. `parameters`: JSON Schema of an object, its arguments."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}

    @property
    def required(self) -> tuple[str, ...]:
        """The arguments that a call must have."""
        names = self.parameters.get("required")
        return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that a script sends for a session; `bench/plan/script_keys.py` explains them. None keeps the default."""

    output: Output = "audio"
    instructions: str | None = None
    voice: str | dict[str, Any] | None = None
    max_output_tokens: TokenCap | None = None
    input_transcription: str | None = None
    temperature: float | None = None
    turn_detection: TurnDetection | None = None
    """None switches it off: turns are committed by the client."""
    input_format: AudioFormatName | None = None
    output_format: AudioFormatName | None = None
    model: str | None = None
    reasoning: dict[str, Any] | None = None
    """In the words of GA."""
    truncation: str | dict[str, Any] | None = None
    noise_reduction: NoiseReduction | None = None
    echo_cancellation: EchoCancellation | None = None
    interim_response: dict[str, Any] | None = None
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or the name of a function."""
    extra: dict[str, Any] = {}
    """Further settings in the words of the dialect, merged into the update last (`merged`)."""

    @property
    def service_responds(self) -> bool:
        """Whether the service starts responses by itself, which is its default where it detects turns."""
        return self.turn_detection is not None and self.turn_detection.create_response is not False


class ResponseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one request for a response asks for, beyond what its session says."""

    instructions: str | None = None
    output: Output | None = None
    max_output_tokens: TokenCap | None = None
    conversation: Literal["auto", "none"] | None = None
    """`none`: the response is out of band, it becomes no part of the conversation."""
    input: tuple[Message, ...] | None = None
    """What is answered, instead of the conversation; empty: nothing is."""
    metadata: dict[str, str] | None = None
    tool_choice: str | None = None

    @property
    def out_of_band(self) -> bool:
        """Whether the response stands beside the conversation, so that another one may be under way."""
        return self.conversation == "none"


def without_none(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


class UnsupportedSetting(NamedTuple):
    """A setting that a dialect cannot say: its keys below a script's `session`, and a sentence with a remedy."""

    setting: tuple[str, ...]
    problem: str


def merged(settings: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with `extra` in them: mappings merge key by key, anything else replaces what is there."""
    both = dict(settings)
    for key, value in extra.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both


def conflict(
    settings: Mapping[str, Any], extra: Mapping[str, Any], kept: Mapping[Keys, str]
) -> UnsupportedSetting | None:
    """Where `extra` sets what this tool goes by, with what to do instead; None where it does not.

    `settings`: the update without `extra`. What is switched off there cannot be refined, for that would switch it on.
    """
    for path, remedy in kept.items():
        place = _meeting(settings, extra, path)
        if place is not None:
            return UnsupportedSetting(place, f"must not set {'.'.join(place)}, which this tool relies on: {remedy}")
    return None


def undone(
    settings: Mapping[str, Any], extra: Mapping[str, Any], kept: Mapping[Keys, str]
) -> UnsupportedSetting | None:
    """Why `extra` cannot be merged, with what to do; None where it can. Arguments as of `conflict`."""
    found = conflict(settings, extra, kept)
    return None if found is None else UnsupportedSetting(("extra", *found.setting), f"extra {found.problem}")


def _meeting(settings: Any, extra: Any, path: Keys) -> Keys | None:
    """How far down the path `extra` takes the place of what is at its end; None where it leaves that as it is."""
    for depth, key in enumerate(path):
        if not isinstance(extra, Mapping) or not isinstance(settings, Mapping):
            return path[:depth]
        if key not in extra:
            return None
        settings, extra = settings.get(key), extra[key]
    return path


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that goes with a message. `url`: all of it, as a data URL; `width`, `height`: in pixels.

    `digest`: SHA-256 of its file, hex.
    """

    url: str
    width: int
    height: int
    digest: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message: words, and perhaps an image. Only a user's has one."""

    role: MessageRole
    text: str
    image: Image | None = None


class FunctionOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What a function returned that the service called, by the call's id."""

    call_id: str
    output: str
