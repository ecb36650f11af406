"""The kinds and fields of a realtime service's events, the same for every dialect. A dialect's `decode` creates them.

An unreadable message is also an event (`EventKind.MALFORMED`). An event with an unknown name is `EventKind.UNKNOWN`.

The payload of a delta stays raw JSON. Its audio is never decoded in this module: the number of audio bytes follows from
the length of the base64 text and its padding. Code that needs the samples decodes them (`audio_payload`).
"""

from __future__ import annotations

import binascii
from enum import Enum, auto
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from bench.protocol.rate_limits import RateLimit


class EventKind(Enum):
    """The kind of an event, the same for every dialect."""

    __hash__ = object.__hash__  # Enum's own is a Python function, and every event looks up a kind

    SESSION_CREATED = auto()
    SESSION_UPDATED = auto()
    SPEECH_STARTED = auto()
    SPEECH_STOPPED = auto()
    COMMITTED = auto()
    IDLE_TIMEOUT = auto()
    """The service commits because the caller was silent for too long."""
    ITEM_ADDED = auto()
    ITEM_DELETED = auto()
    """The client removed an item from the conversation."""
    OUTPUT_ADDED = auto()
    """An item of a response starts: a message, or a step of reasoning."""
    OUTPUT_DONE = auto()
    """An item of a response is complete."""
    CALL_ADDED = auto()
    """An item of a response starts, and the item is a function call."""
    CALL_DONE = auto()
    """The arguments of a function call are complete."""
    TRUNCATED = auto()
    """The service has truncated one of its items at the playback position that the client sent."""
    CLEARED = auto()
    """The client must drop the audio that was not played yet, because the service has detected its caller's speech."""
    MARKED = auto()
    """The client must report when all earlier audio was played. `text` is the service's name of that position."""
    ITEM_RETRIEVED = auto()
    """The content that the service keeps of an item that the client retrieved."""
    INPUT_DELTA = auto()
    """A part of the transcript of the caller's audio. `text` is the part."""
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
    """The remaining limits of the session or of all sessions together, never of a turn."""
    ERROR = auto()
    NOTED = auto()
    """A known event for which no instant is recorded, such as the end of a part or an acknowledgement."""
    UNKNOWN = auto()
    MALFORMED = auto()


QUOTE, PADDING = b'"='
EMPTY = msgspec.Raw()
COMMENTARY, ANSWER = "commentary", "final_answer"
"""The phase of an item, if the service reports it: commentary before the answer, or the answer."""
DELTAS = frozenset({EventKind.TEXT_DELTA, EventKind.AUDIO_DELTA, EventKind.TRANSCRIPT_DELTA})
WITH_AUDIO = frozenset({EventKind.AUDIO_DELTA, EventKind.ITEM_RETRIEVED})
TOKEN_KINDS = ("text", "audio", "image")
"""The kinds of input tokens.

Cached tokens without a kind are assigned in this order. No output token is an image token.
"""


class TokenUsage(msgspec.Struct, frozen=True):
    """The tokens of one or several responses. Cached tokens are a part of the input."""

    text_in: int = 0
    audio_in: int = 0
    cached_in: int = 0
    cached_text_in: int = 0
    cached_audio_in: int = 0
    text_out: int = 0
    audio_out: int = 0
    image_in: int = 0
    cached_image_in: int = 0
    unread: int = 0
    """The number of responses with an unreadable usage.

    No other field includes the tokens of these responses, so the sum is unknown if there are any.
    """

    @property
    def input(self) -> int:
        """The number of input tokens, including cached ones."""
        return self.text_in + self.audio_in + self.image_in

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(*(mine + more for mine, more in zip(astuple(self), astuple(other), strict=True)))


UNREAD = TokenUsage(unread=1)
"""The usage of a response with an unreadable usage."""


class ErrorScope(Enum):
    """The effect of an error, the same for every dialect."""

    NONE = auto()
    """The error ends neither the session nor a turn. A client message that it names has failed."""
    EXPIRED = auto()
    """The session has reached its maximum age and has ended."""
    FATAL = auto()
    """The session has ended, or does not start."""
    THROTTLED = auto()
    """A limit was reached. The open turn has ended."""
    TURN_FAILED = auto()
    """The open turn has ended, even if the error names none of the turn's messages."""
    UNANSWERED = auto()
    """A VAD has committed speech while a response was in progress, and starts no response for it."""


class ServiceFailure(msgspec.Struct, frozen=True):
    """An error, or the failure of a response. `event_id` is the id of the client message that caused it."""

    type: str = ""
    code: str = ""
    message: str = ""
    event_id: str = ""
    effect: ErrorScope = ErrorScope.NONE

    @property
    def cause(self) -> str:
        """The error's code, or otherwise its type; "" if it has neither."""
        return self.code or self.type

    @property
    def detail(self) -> str:
        """The cause and the service's message."""
        cause = self.cause or "unknown"
        return f"{cause}: {self.message}" if self.message else cause


class FunctionCall(msgspec.Struct, frozen=True):
    """A call of a client's function. `arguments` is JSON as the model wrote it; "" until it is complete."""

    call_id: str
    name: str = ""
    arguments: str = ""


class PlayoutPosition(NamedTuple):
    """The position of a delta in the caller's playout queue, which plays one delta after the other.

    `delay_ns` is the time from the arrival of the delta to its playback. The delta waits for earlier audio.
    `uncertainty_ns` is the uncertainty of its playback time, from the timestamps. `uneven_ns` is the largest difference
    between the delays of the deltas near it. Some of these came late.
    """

    delay_ns: int
    uncertainty_ns: int
    uneven_ns: int


class StrippedAudio(msgspec.Struct, frozen=True):
    """The facts that remain of a stripped audio payload. `audible` is the first audible sample; None if there is none.

    If replies are detected in the audio, `audible` is the start of a sound, which may be before this payload; it is 0
    if the sound continues. `until` is the sample after the sound's last one, which may also be before this payload.
    `error_ns` is the uncertainty of the sound's start. `place` is set for the first payload of a reply, if the caller's
    line plays all received audio.
    """

    audible: int | None = None
    until: int | None = None
    error_ns: int = 0
    place: PlayoutPosition | None = None


class ServerEvent(msgspec.Struct, frozen=True):
    """One server event. Fields that its kind does not have keep their defaults.

    - `payload_bytes`: the size of the payload. For audio, the decoded bytes of a delta or a retrieved item (-1 if it is
      not base64). For another delta, the characters of its JSON text.
    - `payload`: the content of a delta as raw JSON; audio is a base64 string.
    - `text`: the complete text or transcript, if the event has it.
    - `audio_ms`: the position of the start or end of speech on the session's clock of input audio; None if not
      reported.
    - `other_dialect`: True if the event has the name of another dialect, which all clients of this dialect misread.
    - `request`: the client's id of the request that a response answers, if it is reported.
    - `phase`: the phase of a response's item, `COMMENTARY` or `ANSWER`; "" if the service does not report it.
    - `calls`: the function call of an event. For a response that is done, all its function calls.
    - `session`, `session_id`: the session as the service describes it, and the service's id of the session.
    - `status`: how a response ended: "completed", "cancelled", "incomplete" or "failed". `reason` is the reason. Both
      become parts of outcomes, so they are single words, as are the codes of `failure`.
    """

    kind: EventKind
    name: str = ""
    response_id: str = ""
    item_id: str = ""
    payload_bytes: int = 0
    payload: msgspec.Raw | StrippedAudio = EMPTY
    text: str = ""
    audio_ms: int | None = None
    other_dialect: bool = False
    status: str = ""
    reason: str = ""
    request: str = ""
    failure: ServiceFailure | None = None
    usage: TokenUsage | None = None
    limits: tuple[RateLimit, ...] = ()
    session: dict[str, Any] | None = None
    session_id: str = ""
    phase: str = ""
    calls: tuple[FunctionCall, ...] = ()


def base64_bytes(raw: msgspec.Raw) -> int:
    """Return the decoded length of a base64 JSON string (RFC 4648 §4), from its length and padding; -1 if invalid."""
    text = memoryview(raw)
    characters = len(text) - 2
    if characters <= 2 and text.tobytes() in (b"", b"null"):
        return 0
    if text[0] != QUOTE or characters % 4:
        return -1
    return characters // 4 * 3 - (text[-2] == PADDING) - (text[-3] == PADDING) if characters else 0


def audio_payload(raw: msgspec.Raw) -> bytes | None:
    """Return the decoded audio of a delta's payload; None if it is not base64."""
    try:
        audio = binascii.a2b_base64(memoryview(raw)[1:-1], strict_mode=True)
    except (ValueError, binascii.Error):
        return None
    return audio if len(audio) == max(0, base64_bytes(raw)) else None  # otherwise binascii has ignored padding


def delta_text(payload: msgspec.Raw | StrippedAudio) -> str:
    """Return the text of a delta; "" if it has none."""
    try:
        return msgspec.json.decode(payload, type=str) if isinstance(payload, msgspec.Raw) and len(payload) else ""
    except msgspec.MsgspecError:
        return ""


def text_characters(raw: msgspec.Raw) -> int:
    """Return the length of a JSON string on the wire, with its escapes; 0 for any other value."""
    text = memoryview(raw)
    return len(text) - 2 if len(text) > 2 and text[0] == QUOTE else 0
