"""How a client of each dialect says things: preview (flat session, `modalities`) and GA (nested session, `type`).

Every function returns one ready WebSocket text message. Shapes: the Realtime API's client events. `event_id` comes back
only in an `error` that the event caused, so it tells which turn an error belongs to.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import msgspec

from bench.protocol.extra import KEPT_OF_GA, KEPT_OF_PREVIEW, Keys, conflict, merged

Output = Literal["audio", "text"]
AudioFormatName = Literal["pcm16", "g711_ulaw", "g711_alaw"]
GA_FORMATS: dict[AudioFormatName, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}


class Dialect(Enum):
    """How a service spells its events."""

    __hash__ = object.__hash__  # Enum's own is a function in Python, and a dialect is looked up at every event

    GA = "ga"
    PREVIEW = "preview"

    @property
    def other(self) -> Dialect:
        return Dialect.PREVIEW if self is Dialect.GA else Dialect.GA


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
        return _without_none(msgspec.structs.asdict(self))


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a script sets on a session. None leaves the service's default."""

    output: Output = "audio"
    instructions: str | None = None
    voice: str | None = None
    max_output_tokens: int | None = None
    input_transcription: str | None = None
    """Model (on Azure GA: deployment) that transcribes the caller's audio."""
    temperature: float | None = None
    """Preview only; GA has no such setting."""
    turn_detection: TurnDetection | None = None
    """None switches it off: turns are committed by the client."""
    input_format: AudioFormatName = "pcm16"
    output_format: AudioFormatName = "pcm16"
    extra: dict[str, Any] = {}
    """Further settings in the words of the dialect, merged into the update last (`bench.protocol.extra`)."""


class ResponseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one `response.create` asks for, beyond what its session says."""

    instructions: str | None = None
    output: Output | None = None
    max_output_tokens: int | None = None


def session_update(dialect: Dialect, settings: SessionSettings, event_id: str) -> bytes:
    session = merged(_known_session(dialect, settings), settings.extra)
    return _message("session.update", event_id, session=session)


def extra_conflict(dialect: Dialect, settings: SessionSettings) -> tuple[Keys, str] | None:
    """(where `extra` sets what this tool goes by, what to do instead); None where it sets nothing of the kind."""
    kept = KEPT_OF_PREVIEW if dialect is Dialect.PREVIEW else KEPT_OF_GA
    return conflict(_known_session(dialect, settings), settings.extra, kept)


def text_item(text: str, event_id: str) -> bytes:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return _message("conversation.item.create", event_id, item=item)


def append_audio(audio_base64: str, event_id: str) -> bytes:
    return _message("input_audio_buffer.append", event_id, audio=audio_base64)


def commit_audio(event_id: str) -> bytes:
    return _message("input_audio_buffer.commit", event_id)


def clear_audio(event_id: str) -> bytes:
    return _message("input_audio_buffer.clear", event_id)


def create_response(dialect: Dialect, settings: ResponseSettings, event_id: str) -> bytes:
    response = _without_none(
        {
            "instructions": settings.instructions,
            "modalities": _modalities(settings.output) if dialect is Dialect.PREVIEW else None,
            "output_modalities": [settings.output] if dialect is Dialect.GA and settings.output else None,
            "max_output_tokens": settings.max_output_tokens,
        }
    )
    return _message("response.create", event_id, **({"response": response} if response else {}))


def _known_session(dialect: Dialect, settings: SessionSettings) -> dict[str, Any]:
    """The session of an update, without `extra`."""
    return _preview_session(settings) if dialect is Dialect.PREVIEW else _ga_session(settings)


def _preview_session(settings: SessionSettings) -> dict[str, Any]:
    transcription = settings.input_transcription
    return _without_none(
        {
            "modalities": _modalities(settings.output),
            "instructions": settings.instructions,
            "voice": settings.voice,
            "input_audio_format": settings.input_format,
            "output_audio_format": settings.output_format,
            "input_audio_transcription": {"model": transcription} if transcription else None,
            "temperature": settings.temperature,
            "max_response_output_tokens": settings.max_output_tokens,
        }
    ) | {"turn_detection": _detection(settings.turn_detection)}


def _ga_session(settings: SessionSettings) -> dict[str, Any]:
    transcription = settings.input_transcription
    heard = {
        "format": GA_FORMATS[settings.input_format],
        "turn_detection": _detection(settings.turn_detection),
    } | ({"transcription": {"model": transcription}} if transcription else {})
    spoken = _without_none({"format": GA_FORMATS[settings.output_format], "voice": settings.voice})
    return _without_none(
        {
            "type": "realtime",
            "output_modalities": [settings.output],
            "instructions": settings.instructions,
            "audio": {"input": heard, "output": spoken},
            "max_output_tokens": settings.max_output_tokens,
        }
    )


def _detection(wanted: TurnDetection | None) -> dict[str, Any] | None:
    return None if wanted is None else wanted.given


def _modalities(output: Output | None) -> list[str] | None:
    """Preview cannot speak without text beside it: the choice is text alone, or both."""
    if output is None:
        return None
    return ["text"] if output == "text" else ["audio", "text"]


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _message(type_: str, event_id: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"type": type_, "event_id": event_id} | fields)
