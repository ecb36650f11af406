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

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.files.values import (
    MAX_ID_CHARACTERS,
    object_in,
    string_in,
)
from bench.services.azure import ROLES
from bench.services.full_duplex import (
    AUDIO_DELTA,
    CLOSE,
    TRANSCRIPT_DELTA,
    OpenAIDuplexDialect,
    OpenAIWire,
    client_message,
    described,
    reported_ns,
)
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
CREATED = "session.created"
UPDATED = "session.updated"
SOURCE_DELTA = "session.input_transcript.delta"
"""A part of the speaker's own words, in the source language. It sets no instant."""
STORED: Mapping[Keys, str] = MappingProxyType(
    {
        ("audio", "input", "transcription", "model"): "use `input_transcription`",
        ("audio", "input", "noise_reduction", "type"): "use `noise_reduction`",
    }
)


class _Wire(OpenAIWire):
    """The decoded fields of an event."""

    sample_rate: msgspec.Raw = EMPTY
    channels: msgspec.Raw = EMPTY


_decode_wire = msgspec.json.Decoder(_Wire).decode


class Translation(OpenAIDuplexDialect):
    """An interpreter, which speaks while it listens."""

    name = "translation"
    title = "Realtime translation"
    append_name = APPEND
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
            client_message(
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

    # Received messages.

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        try:
            return _events(_decode_wire(message))
        except NOT_JSON as error:
            return decode_again(self.decode, message, error)


def _session(settings: SessionSettings) -> dict[str, Any]:
    """Return the settings of an update. The language of the translation is in `extra`."""
    source = settings.input_transcription
    noise = settings.noise_reduction
    heard = without_none(
        transcription=None if source is None else source.explicit,
        noise_reduction=None if noise is None else {"type": noise},
    )
    return {"audio": {"input": heard}}


def _events(wire: _Wire) -> Sequence[ServerEvent]:
    name = wire.type[:MAX_ID_CHARACTERS]
    match name:
        case "session.output_audio.delta":
            return _sound(wire)
        case "session.output_transcript.delta":
            return _text(wire)
        case "session.created" | "session.updated":
            kind = EventKind.SESSION_CREATED if name == CREATED else EventKind.SESSION_UPDATED
            return (described(kind, name, wire),)
        case "session.closed":
            # the types of the SDK do not have this field, which LiteLLM reads
            billed_ns = reported_ns(object_in(wire.usage).get("input_seconds"))
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
