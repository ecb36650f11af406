"""One neutral vocabulary for what a realtime service says, whatever its dialect. A dialect's `decode` makes the events.

What cannot be read is an event, too (`Kind.MALFORMED`), and a name that nobody knows is `Kind.UNKNOWN`.

The payload of a delta is kept as raw JSON, for its audio is never decoded here: the number of audio bytes follows from
the length of the base64 text and its padding. Whoever wants the samples decodes them (`audio_payload`).
"""

from __future__ import annotations

import binascii
from enum import Enum, auto
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from bench.protocol.rate_limits import RateLimit


class EventKind(Enum):
    """What an event is, in words that hold for every dialect."""

    __hash__ = object.__hash__  # Enum's own is a function in Python, and a kind is looked up at every event

    SESSION_CREATED = auto()
    SESSION_UPDATED = auto()
    SPEECH_STARTED = auto()
    SPEECH_STOPPED = auto()
    COMMITTED = auto()
    IDLE_TIMEOUT = auto()
    """The caller was silent for so long that the service commits by itself."""
    ITEM_ADDED = auto()
    ITEM_DELETED = auto()
    """The client took an item out of the conversation."""
    OUTPUT_ADDED = auto()
    """An item of a response begins: a message, or a step of reasoning."""
    OUTPUT_DONE = auto()
    """An item of a response is whole."""
    CALL_ADDED = auto()
    """An item of a response begins that calls a function."""
    CALL_DONE = auto()
    """The arguments of a function call are whole."""
    TRUNCATED = auto()
    """The service has cut an item of its own where the client said that it was heard to."""
    CLEARED = auto()
    """What was not played yet is to be dropped: the service has noticed that its caller speaks."""
    MARKED = auto()
    """The service is to be told when all that came before was played; `text` is what it calls that place."""
    ITEM_RETRIEVED = auto()
    """What the service keeps of an item that the client asked for."""
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
    """What the session, or all sessions together, may still use: never a turn's."""
    ERROR = auto()
    NOTED = auto()
    """Known, and without an instant of its own: closing parts, acknowledgements."""
    UNKNOWN = auto()
    MALFORMED = auto()


QUOTE, PADDING = b'"='
EMPTY = msgspec.Raw()
COMMENTARY, ANSWER = "commentary", "final_answer"
"""What an item is, where the service tells: said on the way, or the answer."""
DELTAS = frozenset({EventKind.TEXT_DELTA, EventKind.AUDIO_DELTA, EventKind.TRANSCRIPT_DELTA})
WITH_AUDIO = frozenset({EventKind.AUDIO_DELTA, EventKind.ITEM_RETRIEVED})
TOKEN_KINDS = ("text", "audio", "image")
"""The kinds of input, in the order in which cached tokens without a kind are taken for them; no output is an image."""


class TokenUsage(msgspec.Struct, frozen=True):
    """Tokens of one response, or of several together; cached ones are a part of the input."""

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
    """Responses whose tokens were told and cannot be read: they are in no other number, so nobody knows the sum."""

    @property
    def input(self) -> int:
        """All tokens that were read, the cached ones among them."""
        return self.text_in + self.audio_in + self.image_in

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(*(mine + more for mine, more in zip(astuple(self), astuple(other), strict=True)))


UNREAD = TokenUsage(unread=1)
"""The usage of a response whose tokens were told and cannot be read."""


class ErrorScope(Enum):
    """What an error comes to, in words that hold for every dialect."""

    NONE = auto()
    """Ends nothing by itself; what it answers, where it names a message of the client, has failed."""
    EXPIRED = auto()
    """The session has lasted as long as one may, and is over."""
    FATAL = auto()
    """The session is over, or does not begin."""
    THROTTLED = auto()
    """A limit was reached; the turn under way is over."""
    TURN_FAILED = auto()
    """The turn under way is over, whether or not the error names a message of it."""
    UNANSWERED = auto()
    """A VAD has committed speech while a response was under way, and starts none for it."""


class ServiceFailure(msgspec.Struct, frozen=True):
    """An error, or what a failed response failed of. `event_id` names the client message that it answers."""

    type: str = ""
    code: str = ""
    message: str = ""
    event_id: str = ""
    effect: ErrorScope = ErrorScope.NONE

    @property
    def cause(self) -> str:
        """Its code, or else its type; "" where it has neither."""
        return self.code or self.type

    @property
    def detail(self) -> str:
        """What it is, in the service's words."""
        cause = self.cause or "unknown"
        return f"{cause}: {self.message}" if self.message else cause


class FunctionCall(msgspec.Struct, frozen=True):
    """A call of a function of the client's. `arguments`: JSON, as the model wrote it; "" until they are whole."""

    call_id: str
    name: str = ""
    arguments: str = ""


class PlayoutPosition(NamedTuple):
    """Where a delta stands in the line of a caller, who hears one after the other.

    `waits_ns`: how long what came before it is still played when it comes. `error_ns`: how far off the instant at
    which it is heard may be by the stamps; `uneven_ns`: how far apart deltas near it are in that, for some came late.
    """

    waits_ns: int
    error_ns: int
    uneven_ns: int


class StrippedAudio(msgspec.Struct, frozen=True):
    """What is left of an audio payload that was cut: the sample at which it becomes audible, None where it does not.

    Where replies are found in the audio, that is where sound begins, which may be before this payload, or 0 if it goes
    on; `until`: the sample behind the last one of it, which may be before this payload, too, and `error_ns` how far its
    begin can be off. `place`: of the first payload of a reply to a caller whose line plays all that comes.
    """

    audible: int | None = None
    until: int | None = None
    error_ns: int = 0
    place: PlayoutPosition | None = None


class ServerEvent(msgspec.Struct, frozen=True):
    """One server event. Fields that its kind does not have keep their defaults.

    `payload_bytes`: decoded bytes of audio, of a delta or of an item that was retrieved (-1: not base64); characters of
    JSON text of another delta.
    `payload`: what a delta carries, as raw JSON; audio is a string of base64.
    `text`: the whole of a text or transcript, where the event has it.
    `audio_ms`: where speech began or stopped, on the session's clock of input audio; None where the event does not say.
    `foreign`: it is in the spelling of another dialect, which every client of this one misreads.
    `request`: of a response, the client's id of the request that it answers, where it says so.
    `phase`: what an item of a response is, `COMMENTARY` or `ANSWER`; "" where the service does not say.
    `calls`: the function call that an event is of; of a response that is done all of its calls.
    `session`, `session_id`: the session in the service's own words, and the service's id of it.
    `status`: how a response ended, "completed", "cancelled", "incomplete" or "failed"; `reason`: why. Both become parts
    of outcomes, and so are words, as the codes of `failure` are.
    """

    kind: EventKind
    name: str = ""
    response_id: str = ""
    item_id: str = ""
    payload_bytes: int = 0
    payload: msgspec.Raw | StrippedAudio = EMPTY
    text: str = ""
    audio_ms: int | None = None
    foreign: bool = False
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
        audio = binascii.a2b_base64(memoryview(raw)[1:-1], strict_mode=True)
    except (ValueError, binascii.Error):
        return None
    return audio if len(audio) == max(0, base64_bytes(raw)) else None  # else binascii has overlooked some padding


def said(payload: msgspec.Raw | StrippedAudio) -> str:
    """The text of a delta; "" where it is none."""
    try:
        return msgspec.json.decode(payload, type=str) if isinstance(payload, msgspec.Raw) and len(payload) else ""
    except msgspec.MsgspecError:
        return ""


def text_characters(raw: msgspec.Raw) -> int:
    """Length of a JSON string as it stands on the wire, escapes and all; 0 for anything else."""
    text = memoryview(raw)
    return len(text) - 2 if len(text) > 2 and text[0] == QUOTE else 0
