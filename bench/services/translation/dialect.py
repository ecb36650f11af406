"""The dialect of Realtime translation: OpenAI's `/v1/realtime/translations`, Azure's
`/openai/v1/realtime/translations`.

The names and fields are those of the client and server events in openai-python 3.57
(`types/realtime/realtime_translation_*`). The service interprets: audio, including silence, is sent
continuously, and translated audio and text return while the speaker still speaks. There are no
turns, and nothing to request, commit or cancel. LiteLLM 1.110 has the path of Azure, which needs no
api-version (`llms/azure/realtime/handler.py`).

The transcript of the session is the translation: its deltas count as the text of the caller's
speech. So `transcript_lag` is how far the translated text is behind the speaker. No event marks the
end of a text.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.base.units import NS_PER_S
from bench.files.values import (
    MAX_ID_CHARACTERS,
    get_text,
    object_in,
    shortened_settings,
    string_in,
)
from bench.services.azure import ROLES
from bench.services.full_duplex import FullDuplexDialect, OpenAIWire
from bench.services.openai.events import MAX_DURATION_CLOSE, failure_of
from bench.wire.audio import PCM16
from bench.wire.dialect import (
    NOT_JSON,
    AwaitedEvent,
    ClientMessage,
    Feature,
    MessageKind,
    decode_again,
)
from bench.wire.events import (
    EMPTY,
    ErrorScope,
    EventKind,
    ServerEvent,
    ServiceFailure,
    base64_bytes,
    text_characters,
)
from bench.wire.service import Route
from bench.wire.settings import (
    Keys,
    SessionSettings,
    UnsupportedSetting,
    merged,
    undone,
    without_none,
)

UPDATE = "session.update"
APPEND = "session.input_audio_buffer.append"
CLOSE = "session.close"
CREATED = "session.created"
UPDATED = "session.updated"
CLOSED = "session.closed"
ERROR = "error"
AUDIO_DELTA = "session.output_audio.delta"
TRANSCRIPT_DELTA = "session.output_transcript.delta"
SOURCE_DELTA = "session.input_transcript.delta"
"""A part of the speaker's own words, in the source language. It sets no instant."""
STORED: Mapping[Keys, str] = MappingProxyType(
    {
        ("audio", "input", "transcription", "model"): "use `input_transcription`",
        ("audio", "input", "noise_reduction", "type"): "use `noise_reduction`",
    }
)
MAX_SESSION_S = 1_000_000.0


class _Wire(OpenAIWire):
    """The decoded fields of an event."""

    sample_rate: msgspec.Raw = EMPTY
    channels: msgspec.Raw = EMPTY


_decode_wire = msgspec.json.Decoder(_Wire).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Translation(FullDuplexDialect):
    """An interpreter, which speaks while it listens."""

    name = "translation"
    title = "Realtime translation"
    settings = frozenset(
        {
            "output",
            "turn_detection",
            "input_format",
            "output_format",
            "input_transcription",
            "noise_reduction",
            "extra",
        }
    )
    only_duplex = "the service translates the whole stream, and has no turns"
    also_missing = (Feature.INTERRUPTION, Feature.SOUND, Feature.HISTORY)
    pauses = interprets = True
    expiry = MAX_DURATION_CLOSE
    message_kinds = MappingProxyType(
        {
            UPDATE: MessageKind.SET_UP,
            APPEND: MessageKind.APPEND,
            CLOSE: MessageKind.CLOSE,
        }
    )

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        source = settings.input_transcription
        if source is not None and source.explicit.keys() != {"model"}:
            problem = "input_transcription must be the name of a model: this service has no options"
            return UnsupportedSetting(("input_transcription",), problem)
        return undone(_session(settings), settings.extra, STORED)

    # Sent messages.

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        return (
            AwaitedEvent(EventKind.SESSION_CREATED, CREATED),
            _message(
                MessageKind.SET_UP,
                UPDATE,
                event_id,
                session=merged(_session(settings), settings.extra),
            ),
            AwaitedEvent(EventKind.SESSION_UPDATED, UPDATED),
        )

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        if event["type"] == CLOSE:
            return "ends the session, which this tool does after the last step"
        return ""

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        encoded = base64.b64encode(audio).decode("ascii")
        return _message(MessageKind.APPEND, APPEND, event_id, audio=encoded)

    def close(self, event_id: str) -> ClientMessage:
        return _message(MessageKind.CLOSE, CLOSE, event_id)

    # Received messages.

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        try:
            return _events(_decode_wire(message))
        except NOT_JSON as error:
            return decode_again(self.decode, message, error)

    def without_audio(self, message: bytes) -> bytes:
        event, *_ = self.decode(message)
        if event.kind is not EventKind.AUDIO_DELTA and event.name not in (AUDIO_DELTA, APPEND):
            return message
        fields = _decode_fields(message)
        return msgspec.json.encode(
            {name: value for name, value in fields.items() if name not in ("audio", "delta")}
        )


def _session(settings: SessionSettings) -> dict[str, Any]:
    """Return the settings of an update. The language of the translation is in `extra`."""
    source = settings.input_transcription
    noise = settings.noise_reduction
    heard = without_none(
        transcription=None if source is None else source.explicit,
        noise_reduction=None if noise is None else {"type": noise},
    )
    return {"audio": {"input": heard}}


def _message(kind: MessageKind, name: str, event_id: str, **fields: Any) -> ClientMessage:
    return ClientMessage(
        kind, name, msgspec.json.encode({"type": name, "event_id": event_id} | fields)
    )


def _events(wire: _Wire) -> Sequence[ServerEvent]:
    name = wire.type[:MAX_ID_CHARACTERS]
    match name:
        case "session.output_audio.delta":
            return _sound(wire)
        case "session.output_transcript.delta":
            return _text(wire)
        case "session.created" | "session.updated":
            return _described(name, wire)
        case "session.closed":
            billed_ns = _billed_ns(object_in(wire.usage))
            return (ServerEvent(EventKind.SESSION_CLOSED, name, billed_ns=billed_ns),)
        case "error":
            return (ServerEvent(EventKind.ERROR, name, failure=failure_of(object_in(wire.error))),)
    return (ServerEvent(EventKind.NOTED if name == SOURCE_DELTA else EventKind.UNKNOWN, name),)


def _sound(wire: _Wire) -> Sequence[ServerEvent]:
    """Return the event of translated audio. Fail if it has another rate than every instant
    assumes.
    """
    for field, raw, known in (
        ("sample_rate", wire.sample_rate, PCM16.rate_hz),
        ("channels", wire.channels, 1),
    ):
        if bytes(raw) not in (b"", b"null", b"%d" % known):
            reported = bytes(raw).decode(errors="replace")[:20]
            text = f"the {field} of the translated audio is {reported}, not {known}"
            failure = ServiceFailure("audio_format", "audio_format", text, effect=ErrorScope.FATAL)
            return (ServerEvent(EventKind.ERROR, AUDIO_DELTA, failure=failure),)
    size = base64_bytes(wire.delta)
    sound = ServerEvent(EventKind.AUDIO_DELTA, AUDIO_DELTA, payload_bytes=size, payload=wire.delta)
    return (sound,)


# The transcript of the translation counts twice. As the words of the reply it has the instants of a
# reply, and as the transcript of the caller's speech it has a lag behind the speaker, which is what
# users of an interpreter feel.
def _text(wire: _Wire) -> Sequence[ServerEvent]:
    """Return the events of translated text: words of the reply, and of the caller's speech."""
    words = string_in(wire.delta)
    spoken = ServerEvent(
        EventKind.TRANSCRIPT_DELTA,
        TRANSCRIPT_DELTA,
        payload_bytes=text_characters(wire.delta),
        payload=wire.delta,
    )
    if not words:
        return (spoken,)
    return (
        spoken,
        ServerEvent(EventKind.INPUT_DELTA, TRANSCRIPT_DELTA, text=words),
    )


def _described(name: str, wire: _Wire) -> Sequence[ServerEvent]:
    session = shortened_settings(object_in(wire.session), len(wire.session)) or None
    kind = EventKind.SESSION_CREATED if name == CREATED else EventKind.SESSION_UPDATED
    return (ServerEvent(kind, name, session=session, session_id=get_text(session or {}, "id")),)


def _billed_ns(usage: Mapping[str, Any]) -> int | None:
    """Return the billed audio; None if the service does not report it. LiteLLM reads this field,
    which the types of the SDK do not have.
    """
    seconds: Any = usage.get("input_seconds")
    valid = (
        isinstance(seconds, int | float)
        and not isinstance(seconds, bool)
        and 0 <= seconds < MAX_SESSION_S
    )
    return round(seconds * NS_PER_S) if valid else None


TRANSLATION = Translation()
ROUTES: Mapping[str, Route] = {
    "openai": Route("/v1/realtime/translations", TRANSLATION, needs=("model",)),
    "azure": Route(
        "/openai/v1/realtime/translations",
        TRANSLATION,
        title=TRANSLATION.title,
        needs=("model",),
        versions=(),
        roles=ROLES,
    ),
}
