"""How a client of each dialect says things: preview (flat session, `modalities`) and GA (nested session, `type`).

Every function returns one ready WebSocket text message. Shapes: the Realtime API's client events. `event_id` comes back
only in an `error` that the event caused, so it tells which turn an error belongs to.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import msgspec

Output = Literal["audio", "text"]


class Dialect(Enum):
    """How a service spells its events."""

    GA = "ga"
    PREVIEW = "preview"

    @property
    def other(self) -> Dialect:
        return Dialect.PREVIEW if self is Dialect.GA else Dialect.GA


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a script sets on a session. None leaves the service's default.

    Turn detection is switched off always: these turns are committed by the client.
    """

    output: Output = "audio"
    instructions: str | None = None
    voice: str | None = None
    max_output_tokens: int | None = None
    input_transcription: str | None = None
    """Model (on Azure GA: deployment) that transcribes the caller's audio."""
    temperature: float | None = None
    """Preview only; GA has no such setting."""


class ResponseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one `response.create` asks for, beyond what its session says."""

    instructions: str | None = None
    output: Output | None = None
    max_output_tokens: int | None = None


def session_update(dialect: Dialect, settings: SessionSettings, event_id: str) -> bytes:
    session = _preview_session(settings) if dialect is Dialect.PREVIEW else _ga_session(settings)
    return _message("session.update", event_id, session=session)


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


def _preview_session(settings: SessionSettings) -> dict[str, Any]:
    transcription = settings.input_transcription
    return _without_none(
        {
            "modalities": _modalities(settings.output),
            "instructions": settings.instructions,
            "voice": settings.voice,
            "input_audio_format": "pcm16",
            "output_audio_format": "pcm16",
            "input_audio_transcription": {"model": transcription} if transcription else None,
            "temperature": settings.temperature,
            "max_response_output_tokens": settings.max_output_tokens,
        }
    ) | {"turn_detection": None}


def _ga_session(settings: SessionSettings) -> dict[str, Any]:
    pcm = {"type": "audio/pcm", "rate": 24_000}
    transcription = settings.input_transcription
    heard = {"format": pcm, "turn_detection": None} | (
        {"transcription": {"model": transcription}} if transcription else {}
    )
    return _without_none(
        {
            "type": "realtime",
            "output_modalities": [settings.output],
            "instructions": settings.instructions,
            "audio": {"input": heard, "output": _without_none({"format": pcm, "voice": settings.voice})},
            "max_output_tokens": settings.max_output_tokens,
        }
    )


def _modalities(output: Output | None) -> list[str] | None:
    """Preview cannot speak without text beside it: the choice is text alone, or both."""
    if output is None:
        return None
    return ["text"] if output == "text" else ["audio", "text"]


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _message(type_: str, event_id: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"type": type_, "event_id": event_id} | fields)
