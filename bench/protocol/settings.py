"""What a script sets on a session and on its responses, in words that hold for every dialect."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bench.protocol.audio import AudioFormatName
from bench.protocol.messages import Message

Output = Literal["audio", "text"]
Effort = Literal["minimal", "low", "medium", "high", "xhigh"]
TokenCap = int | Literal["inf"]
"""The longest answer, in tokens; `inf`: as long as the model can make it."""


class TurnDetection(msgspec.Struct, frozen=True, kw_only=True):
    """The service's voice activity detection. None leaves the service's default."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: float | None = None
    """Server VAD only, 0 to 1; so are the padding, the silence and the idle timeout."""
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    idle_timeout_ms: int | None = None
    """GA only: the service speaks up by itself after so much silence."""
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    """Semantic VAD only."""
    create_response: bool | None = None
    interrupt_response: bool | None = None

    @property
    def service_responds(self) -> bool:
        """Whether the service starts the response by itself, which is its default."""
        return self.create_response is not False

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
    """What a script sets on a session. None leaves the service's default."""

    output: Output = "audio"
    instructions: str | None = None
    voice: str | None = None
    max_output_tokens: TokenCap | None = None
    input_transcription: str | None = None
    """Model (on Azure GA: deployment) that transcribes the caller's audio."""
    temperature: float | None = None
    """Preview only; GA has no such setting."""
    turn_detection: TurnDetection | None = None
    """None switches it off: turns are committed by the client."""
    input_format: AudioFormatName | None = None
    """None: the service's own."""
    output_format: AudioFormatName | None = None
    reasoning: dict[str, Any] | None = None
    """GA only: the effort of a model that reasons, in the words of the dialect."""
    truncation: str | dict[str, Any] | None = None
    """GA only: what is dropped of a conversation that grows too long, in the words of the dialect."""
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or the name of a function."""
    extra: dict[str, Any] = {}
    """Further settings in the words of the dialect, merged into the update last (`bench.protocol.extra`)."""


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
