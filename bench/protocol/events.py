"""One neutral vocabulary for what a realtime service says, whatever its dialect.

`decode` turns one WebSocket text message into an `Event`. It never raises: what cannot be read is an event too
(`Kind.MALFORMED`), and a name that nobody knows is `Kind.UNKNOWN`. Names and fields: the Realtime API's server events,
in the spelling of the preview (api-versions 2024-10-01-preview, 2025-04-01-preview) and of GA.

The payload of a delta is kept as raw JSON, for its audio is never decoded here: the number of audio bytes follows from
the length of the base64 text and its padding. Whoever wants the samples decodes them (`audio_payload`).

Everything else that is a text is cut here (`lengths.py`): there is no other way in.
"""

from __future__ import annotations

import binascii
from enum import Enum, auto
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from bench.plain import word
from bench.protocol.dialects import Dialect
from bench.protocol.lengths import LONGEST_ID, LONGEST_TEXT, LONGEST_WORDS, shortened
from bench.protocol.limits import RateLimit, rate_limits
from bench.protocol.tokens import UnreadableError, tokens_in


class Kind(Enum):
    """What an event is, in words that hold for every dialect."""

    __hash__ = object.__hash__  # as that of `Dialect`

    SESSION_CREATED = auto()
    SESSION_UPDATED = auto()
    SPEECH_STARTED = auto()
    SPEECH_STOPPED = auto()
    COMMITTED = auto()
    IDLE_TIMEOUT = auto()
    """The caller was silent for so long that the service commits by itself."""
    ITEM_ADDED = auto()
    INPUT_TRANSCRIBED = auto()
    INPUT_NOT_TRANSCRIBED = auto()
    RESPONSE_CREATED = auto()
    TEXT_DELTA = auto()
    AUDIO_DELTA = auto()
    TRANSCRIPT_DELTA = auto()
    TEXT_DONE = auto()
    AUDIO_DONE = auto()
    TRANSCRIPT_DONE = auto()
    RESPONSE_DONE = auto()
    RATE_LIMITS = auto()
    """Of the session, or of all sessions together: never a turn's."""
    ERROR = auto()
    NOTED = auto()
    """Known, and without an instant of its own: closing parts, acknowledgements."""
    UNKNOWN = auto()
    MALFORMED = auto()


SHARED_NAMES = {
    "session.created": Kind.SESSION_CREATED,
    "session.updated": Kind.SESSION_UPDATED,
    "input_audio_buffer.speech_started": Kind.SPEECH_STARTED,
    "input_audio_buffer.speech_stopped": Kind.SPEECH_STOPPED,
    "input_audio_buffer.committed": Kind.COMMITTED,
    "input_audio_buffer.timeout_triggered": Kind.IDLE_TIMEOUT,
    "conversation.item.created": Kind.ITEM_ADDED,
    "conversation.item.added": Kind.ITEM_ADDED,
    "conversation.item.input_audio_transcription.completed": Kind.INPUT_TRANSCRIBED,
    "conversation.item.input_audio_transcription.failed": Kind.INPUT_NOT_TRANSCRIBED,
    "response.created": Kind.RESPONSE_CREATED,
    "response.done": Kind.RESPONSE_DONE,
    "rate_limits.updated": Kind.RATE_LIMITS,
    "error": Kind.ERROR,
} | dict.fromkeys(
    (
        "conversation.created",
        "conversation.item.done",
        "conversation.item.deleted",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.cleared",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    ),
    Kind.NOTED,
)

# The three families that GA renamed. A server that sends one in the spelling of the other dialect is misread by every
# client of this one, so it is an error (`Event.foreign`) and never a missing sample.
RENAMED = {
    Dialect.PREVIEW: {
        "response.text.delta": Kind.TEXT_DELTA,
        "response.text.done": Kind.TEXT_DONE,
        "response.audio.delta": Kind.AUDIO_DELTA,
        "response.audio.done": Kind.AUDIO_DONE,
        "response.audio_transcript.delta": Kind.TRANSCRIPT_DELTA,
        "response.audio_transcript.done": Kind.TRANSCRIPT_DONE,
    },
    Dialect.GA: {
        "response.output_text.delta": Kind.TEXT_DELTA,
        "response.output_text.done": Kind.TEXT_DONE,
        "response.output_audio.delta": Kind.AUDIO_DELTA,
        "response.output_audio.done": Kind.AUDIO_DONE,
        "response.output_audio_transcript.delta": Kind.TRANSCRIPT_DELTA,
        "response.output_audio_transcript.done": Kind.TRANSCRIPT_DONE,
    },
}
KINDS = {dialect: SHARED_NAMES | names for dialect, names in RENAMED.items()}
QUOTE, PADDING = b'"='
EMPTY = msgspec.Raw()
DELTAS = frozenset({Kind.TEXT_DELTA, Kind.AUDIO_DELTA, Kind.TRANSCRIPT_DELTA})


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one response, or of several together; cached ones are a part of the input."""

    text_in: int = 0
    audio_in: int = 0
    cached_in: int = 0
    cached_text_in: int = 0
    cached_audio_in: int = 0
    text_out: int = 0
    audio_out: int = 0
    unread: int = 0
    """Responses whose tokens were told and cannot be read: they are in no other number, so nobody knows the sum."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(mine + more for mine, more in zip(astuple(self), astuple(other), strict=True)))


UNREAD = Usage(unread=1)
"""Of a response whose tokens were told and cannot be read."""


class Failure(msgspec.Struct, frozen=True):
    """An `error` event, or the error inside a failed response. `event_id` names the client event it answers."""

    type: str = ""
    code: str = ""
    message: str = ""
    event_id: str = ""


class Silhouette(msgspec.Struct, frozen=True):
    """What is left of an audio payload that was cut: the sample at which it becomes audible, None where it does not."""

    audible: int | None = None


class Event(msgspec.Struct, frozen=True):
    """One server event. Fields that its kind does not have keep their defaults.

    `payload_bytes`: decoded audio bytes of an audio delta (-1: not base64), characters of JSON text of another delta.
    `payload`: what a delta carries, as raw JSON. `text`: the whole of a text or transcript, where the event has it.
    `audio_ms`: where speech began or stopped, on the session's clock of input audio; None where the event does not say.
    `session`, `usage`, `limits`, `failure`, `status`, `reason`: only where the event carries them. The last two become
    parts of outcomes, and so are words, as the codes of `failure` are.
    """

    kind: Kind
    name: str = ""
    response_id: str = ""
    item_id: str = ""
    payload_bytes: int = 0
    payload: msgspec.Raw | Silhouette = EMPTY
    text: str = ""
    audio_ms: int | None = None
    foreign: bool = False
    status: str = ""
    reason: str = ""
    failure: Failure | None = None
    usage: Usage | None = None
    limits: tuple[RateLimit, ...] = ()
    session: dict[str, Any] | None = None

    @property
    def session_id(self) -> str:
        """Of the service's session; empty where the event does not say."""
        return _text(self.session or {}, "id")


Short = Annotated[str, msgspec.Meta(max_length=LONGEST_ID)]


class _Wire(msgspec.Struct):
    """The fields that are looked at; msgspec skips the others without building them."""

    type: Short = ""
    response_id: Short | None = None
    item_id: Short | None = None
    delta: msgspec.Raw = msgspec.Raw()
    item: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()
    session: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()
    transcript: msgspec.Raw = msgspec.Raw()
    audio_start_ms: msgspec.Raw = msgspec.Raw()
    audio_end_ms: msgspec.Raw = msgspec.Raw()


class _LongWire(_Wire):
    """The same of a message whose name or ids are too long to be kept whole: they were checked in passing."""

    type: str = ""
    response_id: str | None = None
    item_id: str | None = None


class _Limits(msgspec.Struct):
    """The one field of `rate_limits.updated`, which comes once a response at most."""

    rate_limits: Any = None


_decode_wire = msgspec.json.Decoder(_Wire, strict=False).decode
_decode_long = msgspec.json.Decoder(_LongWire, strict=False).decode
_decode_limits = msgspec.json.Decoder(_Limits, strict=False).decode


def decode(message: bytes, dialect: Dialect) -> Event:
    """The event in one text message. Never raises; unreadable messages are `Kind.MALFORMED` with the reason."""
    try:
        try:
            wire = _decode_wire(message)
        except msgspec.ValidationError:
            wire = _cut(_decode_long(message))
        kind = KINDS[dialect].get(wire.type)
        if kind is Kind.AUDIO_DELTA:  # first, for it is most of the traffic
            delta = _unescaped(wire.delta) if b"\\" in message else wire.delta
            return Event(kind, wire.type, wire.response_id or "", wire.item_id or "", base64_bytes(delta), delta)
        if kind in DELTAS:
            delta = wire.delta
            return Event(kind, wire.type, wire.response_id or "", wire.item_id or "", text_characters(delta), delta)
        if kind is None:
            return _unexpected(wire, dialect)
        if kind is Kind.RATE_LIMITS:
            return Event(kind, wire.type, limits=rate_limits(_decode_limits(message).rate_limits))
        return _described(kind, wire)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Event(Kind.MALFORMED, reason=str(error)[:200])


def _cut(wire: _LongWire) -> _Wire:
    for name in ("type", "response_id", "item_id"):
        setattr(wire, name, (getattr(wire, name) or "")[:LONGEST_ID])
    return wire


def base64_bytes(raw: msgspec.Raw) -> int:
    """Decoded length of a JSON string of base64 (RFC 4648 §4), from length and padding; -1 where it cannot be one."""
    text = memoryview(raw)
    characters = len(text) - 2
    if characters <= 2 and text.tobytes() in (b"", b"null"):
        return 0
    if text[0] != QUOTE or characters % 4:
        return -1
    return characters // 4 * 3 - (text[-2] == PADDING) - (text[-3] == PADDING) if characters else 0


def audio_payload(raw: msgspec.Raw) -> bytes | None:
    """The decoded audio of a delta's payload; None where it is no base64."""
    try:
        return binascii.a2b_base64(memoryview(raw)[1:-1], strict_mode=True)
    except (ValueError, binascii.Error):
        return None


def _unescaped(raw: msgspec.Raw) -> msgspec.Raw:
    """A JSON string without escapes, where it needs none: some encoders write `+` and `/` of base64 as escapes."""
    value = msgspec.json.decode(raw) if len(raw) else None
    return msgspec.Raw(b'"' + value.encode() + b'"') if isinstance(value, str) else raw


def text_characters(raw: msgspec.Raw) -> int:
    """Length of a JSON string as it stands on the wire, escapes and all; 0 for anything else."""
    text = memoryview(raw)
    return len(text) - 2 if len(text) > 2 and text[0] == QUOTE else 0


def _unexpected(wire: _Wire, dialect: Dialect) -> Event:
    """An event of no known name, or one in the other dialect's spelling."""
    other = RENAMED[dialect.other].get(wire.type)
    foreign = other in DELTAS
    return Event(Kind.UNKNOWN, wire.type, wire.response_id or "", wire.item_id or "", foreign=foreign)


def _described(kind: Kind, wire: _Wire) -> Event:
    """An event that is no delta: ids, status and whatever object it carries."""
    response = _object(wire.response)
    details = _part(response, "status_details")
    return Event(
        kind,
        wire.type,
        wire.response_id or _text(response, "id"),
        wire.item_id or _text(_object(wire.item), "id"),
        text=(_string(wire.transcript) or _string(wire.text))[:LONGEST_TEXT],
        audio_ms=_milliseconds(wire.audio_start_ms if kind is Kind.SPEECH_STARTED else wire.audio_end_ms),
        status=word(_text(response, "status")),
        reason=word(_text(details, "reason")),
        failure=_failure(_object(wire.error) if kind is Kind.ERROR else _part(details, "error")),
        usage=_usage(response.get("usage")) if kind is Kind.RESPONSE_DONE else None,
        session=shortened(_object(wire.session), len(wire.session)) or None,
    )


def _object(raw: msgspec.Raw) -> dict[str, Any]:
    value = msgspec.json.decode(raw) if len(raw) else None
    return value if isinstance(value, dict) else {}


def _string(raw: msgspec.Raw) -> str:
    value = msgspec.json.decode(raw) if len(raw) else None
    return value if isinstance(value, str) else ""


def _milliseconds(raw: msgspec.Raw) -> int | None:
    value = msgspec.json.decode(raw) if len(raw) else None
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _part(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _text(parent: dict[str, Any], name: str, longest: int = LONGEST_ID) -> str:
    value = parent.get(name)
    return value[:longest] if isinstance(value, str) else ""


def _failure(error: dict[str, Any]) -> Failure | None:
    if not error:
        return None
    kind, code = (word(_text(error, name)) for name in ("type", "code"))
    return Failure(kind, code, _text(error, "message", LONGEST_WORDS), _text(error, "event_id"))


def _usage(told: Any) -> Usage | None:
    """The tokens of a response; None where none are told, `UNREAD` where they cannot be read."""
    if told is None or told == {}:
        return None
    try:
        return Usage(**tokens_in(told))
    except UnreadableError:
        return UNREAD
