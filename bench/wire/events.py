"""The kinds and fields of a realtime service's events, the same for every dialect. A dialect's
`decode` creates them.

An unreadable message is also an event (`EventKind.MALFORMED`). An event with an unknown name is
`EventKind.UNKNOWN`.

The payload of a delta stays raw JSON. This module does not decode its audio to count bytes: the
number of audio bytes follows from the length and the padding of the base64 text. Code that needs
the samples decodes them (`audio_payload`).

A service reports its rate limits in an event and in the headers of its handshake. Only the message
of an error contains a wait ("Please try again in 6.232s"). All this is only advice: unreadable
values are ignored, and raise no error.
"""

from __future__ import annotations

import binascii
import math
import operator
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from bench.base.compiled import compiled_module
from bench.base.units import NS_PER_S
from bench.files.values import MAX_ID_CHARACTERS

_COMPILED = compiled_module("bench.wire._audible")


class EventKind(Enum):
    """The kind of an event, the same for every dialect."""

    __hash__ = object.__hash__  # Enum's own is a Python function, and every event looks up a kind

    SESSION_CREATED = auto()
    SESSION_UPDATED = auto()
    SESSION_CLOSED = auto()
    """The service has ended the session, and reports its billable duration."""
    GOING_AWAY = auto()
    """The service announces that it will close the connection, because of the age of the
    session."""
    RESUMABLE = auto()
    """The service sends a handle (`text`) with which another session can continue this one."""
    PAUSED = auto()
    """The service is in standby: it does not listen, except for speech that wakes it up."""
    RESUMED = auto()
    """The service listens again after standby."""
    SPEECH_STARTED = auto()
    SPEECH_STOPPED = auto()
    COMMITTED = auto()
    IDLE_TIMEOUT = auto()
    """The service commits the audio because the caller was silent for too long."""
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
    MCP_LISTED = auto()
    """The service has the list of an MCP server's tools, which the model may call from now on."""
    MCP_NOT_LISTED = auto()
    """The service could not get the list of an MCP server's tools."""
    MCP_CALL_ADDED = auto()
    """An item of a response starts, and the item is a call of an MCP server's tool. The service
    executes the call."""
    MCP_CALL_DONE = auto()
    """The arguments of an MCP call are complete."""
    MCP_APPROVAL = auto()
    """The service executes an MCP call only if the client approves it. `item_id` is the id of
    the request."""
    MCP_CALL_STARTED = auto()
    """The service executes an MCP call."""
    MCP_CALL_ENDED = auto()
    """An MCP call has succeeded."""
    MCP_CALL_FAILED = auto()
    """An MCP call has failed."""
    TASK_ADDED = auto()
    """A task begins, and the service may speak meanwhile. If the event has a call, the client does
    the task, otherwise the service."""
    WORK_STARTED = auto()
    """The service starts a response for a task. It speaks about the result, and not the response
    itself."""
    WORK_DONE = auto()
    """The service has ended a response for a task."""
    RESULT_ACCEPTED = auto()
    """The service has the result of a task, or its beginning: what it says from now on may be the
    answer."""
    TRUNCATED = auto()
    """The service has truncated one of its items at the playback position that the client sent."""
    CLEARED = auto()
    """The client must drop the audio that was not played yet, because the service has detected
    its caller's speech."""
    MARKED = auto()
    """The client must report when all audio before this position, which is named `text`, was
    played."""
    ITEM_RETRIEVED = auto()
    """The service returns the content that it keeps of an item, because the client has retrieved
    the item."""
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
    """The service reports the rest of its rate limits, of the session or of all sessions, never
    of a turn."""
    ERROR = auto()
    NOTED = auto()
    """A known event for which no instant is recorded. Examples are the end of a part and an
    acknowledgement."""
    UNKNOWN = auto()
    MALFORMED = auto()


# The kinds with which every event is compared: a global name is found ten times as fast as a member
# of an enumeration (CPython 3.11).
AUDIO_DELTA = EventKind.AUDIO_DELTA
AUDIO_DONE = EventKind.AUDIO_DONE
COMMITTED = EventKind.COMMITTED
IDLE_TIMEOUT = EventKind.IDLE_TIMEOUT
INPUT_DELTA = EventKind.INPUT_DELTA
ITEM_ADDED = EventKind.ITEM_ADDED
ITEM_DELETED = EventKind.ITEM_DELETED
ITEM_RETRIEVED = EventKind.ITEM_RETRIEVED
MCP_APPROVAL = EventKind.MCP_APPROVAL
NOTED = EventKind.NOTED
OUTPUT_ADDED = EventKind.OUTPUT_ADDED
OUTPUT_DONE = EventKind.OUTPUT_DONE
RATE_LIMITS = EventKind.RATE_LIMITS
RESPONSE_CREATED = EventKind.RESPONSE_CREATED
RESPONSE_DONE = EventKind.RESPONSE_DONE
SPEECH_STARTED = EventKind.SPEECH_STARTED
TASK_ADDED = EventKind.TASK_ADDED
TRANSCRIPT_DELTA = EventKind.TRANSCRIPT_DELTA
TRUNCATED = EventKind.TRUNCATED
UNKNOWN = EventKind.UNKNOWN

QUOTE, PADDING = b'"='
EMPTY = msgspec.Raw()
COMMENTARY = "commentary"
ANSWER = "final_answer"
"""The phases of an item, if the service reports one: before the answer, and the answer itself."""
DELTAS = frozenset({EventKind.TEXT_DELTA, EventKind.AUDIO_DELTA, EventKind.TRANSCRIPT_DELTA})
WITH_AUDIO = frozenset({EventKind.AUDIO_DELTA, EventKind.ITEM_RETRIEVED})
TOKEN_KINDS = ("text", "audio", "image")
"""The kinds of input tokens. Cached tokens without a kind are assigned in this order. No output
is an image."""


# Sums of tokens become costs, so what is unknown must survive each sum: `unread` counts, and
# `kindless_…` grow with it. A total of 0 with `unread` is no total.
class TokenUsage(msgspec.Struct, frozen=True):
    """The tokens of responses. Input tokens include the cached ones, and those written into the
    cache.

    Tokens whose kind the service did not report count as text. `kindless_in` and `kindless_out` are
    the number of these tokens that may be audio.
    """

    text_in: int = 0
    audio_in: int = 0
    cached_in: int = 0
    cached_text_in: int = 0
    cached_audio_in: int = 0
    text_out: int = 0
    audio_out: int = 0
    image_in: int = 0
    cached_image_in: int = 0
    cache_write_in: int = 0
    kindless_in: int = 0
    kindless_out: int = 0
    unread: int = 0
    """The number of responses with an unreadable usage. If it is not 0, the total is unknown."""

    @property
    def input(self) -> int:
        """The number of input tokens, including cached tokens."""
        return self.text_in + self.audio_in + self.image_in

    @property
    def as_audio(self) -> TokenUsage:
        """The same tokens if those without a kind are audio."""
        if not (self.kindless_in or self.kindless_out):
            return self
        text_in = self.text_in - self.kindless_in
        cached_text_in = min(self.cached_text_in, text_in)
        return msgspec.structs.replace(
            self,
            text_in=text_in,
            audio_in=self.audio_in + self.kindless_in,
            cached_text_in=cached_text_in,
            cached_audio_in=self.cached_audio_in + self.cached_text_in - cached_text_in,
            text_out=self.text_out - self.kindless_out,
            audio_out=self.audio_out + self.kindless_out,
        )

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(*map(operator.add, astuple(self), astuple(other)))


UNREAD = TokenUsage(unread=1)
"""The usage of a response whose reported usage is unreadable."""
MANY_TOKENS = 2**40
"""A number of tokens from which numbers are invalid, because a turn's sum would not fit its
column."""


def token_count(value: Any) -> int | None:
    """Return a reported number of tokens; None if it is missing. Raise ValueError if it is
    unreadable.
    """
    if isinstance(value, float) and value.is_integer():  # JSON has only one kind of number
        value = int(value)
    if value is None or (
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MANY_TOKENS
    ):
        return value
    raise ValueError


# Services send errors of very different weight under one name. What an error ends decides the
# outcome of a turn, so each dialect must say so. It is told apart by code and not by text, wherever
# the service has codes.
class ErrorScope(Enum):
    """The effect of an error, the same for every dialect."""

    NONE = auto()
    """The error ends neither the session nor a turn. If it names a client message, that message
    has failed."""
    EXPIRED = auto()
    """The session has reached its maximum age and has ended."""
    FATAL = auto()
    """The session has ended, or will not start."""
    UNCONNECTED = auto()
    """The call of the session was not connected. The error's type and code are the outcome."""
    THROTTLED = auto()
    """A limit was reached. The open turn has ended."""
    TURN_FAILED = auto()
    """The open turn has ended, even if the error names none of the turn's messages."""
    UNANSWERED = auto()
    """A VAD has committed speech while a response was in progress. The service starts no
    response to this speech."""


class ServiceFailure(msgspec.Struct, frozen=True):
    """An error, or the failure of a response. `event_id` is the id of the client message that
    caused the error.
    """

    type: str = ""
    code: str = ""
    message: str = ""
    event_id: str = ""
    effect: ErrorScope = ErrorScope.NONE

    @property
    def cause(self) -> str:
        """The code of the error. If it has no code, its type; "" if it has neither."""
        return self.code or self.type

    @property
    def detail(self) -> str:
        """The cause of the error, and the message that the service sent with it."""
        words = ": ".join(filter(None, (self.cause, self.message)))
        return words or "the error has neither a code nor a message"


class FunctionCall(msgspec.Struct, frozen=True):
    """A call of a client's function, or a task for the client, which names none (`is_task`).

    `arguments` is the JSON text that the model wrote; "" until it is complete.
    """

    call_id: str
    name: str = ""
    arguments: str = ""
    is_task: bool = False


class McpItem(msgspec.Struct, frozen=True):
    """An item of an MCP server: the list of its tools, a call, or the request to approve a call.

    `server` is its label. `tool` is the called tool, and `error` the error of a failed call; "" if
    there is none.
    """

    server: str
    tool: str = ""
    error: str = ""


class PlayoutPosition(NamedTuple):
    """The position of a delta in the caller's playout queue, which plays one delta after the other.

    `delay_ns` is the time from the arrival of the delta to its playback, while the delta waits for
    earlier audio. `uncertainty_ns` is the uncertainty of the playback time, which follows from the
    timestamps. `uneven_ns` is the largest difference between the delays of this delta and of the
    deltas near it, some of which arrived late.
    """

    delay_ns: int
    uncertainty_ns: int
    uneven_ns: int


class StrippedAudio(msgspec.Struct, frozen=True):
    """The facts about an audio payload that was removed, or about an item that ends.

    `audible` is the start of a sound, which may be before this payload. If replies are detected in
    the audio, it is 0 if a sound continues. `until` is the position after the last sample of the
    sound, which may also be before this payload. `error_ns` is the uncertainty of the sound's
    start. `end_error_ns` is that of the end of the last sound, which may become known only with a
    later payload without sound; while the sound may continue, it is that of audio that stops here.
    `place` is set for the first payload of a reply, if the caller's line plays all received audio.
    `tones` is the number of tones that ended or became certain: ring tones, beeps and the like.
    `pending` is the start of a sound that is not certain yet; None if there is none. `form` is the
    `base64_form` of a payload that could not be decoded.
    """

    audible: int | None = None
    until: int | None = None
    error_ns: int = 0
    place: PlayoutPosition | None = None
    tones: int = 0
    pending: int | None = None
    end_error_ns: int = 0
    form: str = ""


# One struct for all kinds, and no class for each kind: a delta is made for each message, the fields
# of other kinds cost nothing there, and a log can be read without knowledge of the kinds. A decoder
# leaves unknown what the service did not send. It never fills a field from another event.
class ServerEvent(msgspec.Struct, frozen=True):
    """One server event. A field has its default if events of this kind do not have the field.

    - `name` is "" if the service did not report the event, but other events imply it.
    - `payload_bytes` is the size of the payload. For audio, it is the decoded bytes of a delta or
      of a retrieved item (-1 if the audio is not base64). For another delta, it is the number of
      characters of its JSON text.
    - `payload` is the content of a delta as raw JSON. Audio is a base64 string.
    - `text` is the complete text or transcript, if the event has it.
    - `audio_ms` is the position of the start or end of speech on the session's clock of input
      audio; None if it is not reported.
    - `other_dialect` is True if the name of the event belongs to another dialect. All clients of
      this dialect misread such an event.
    - `request` is the client's id of the request that a response answers, if the service reports
      the id.
    - `phase` is the phase of a response's item, `COMMENTARY` or `ANSWER`; "" if the service does
      not report it.
    - `calls` is the function call of the event. If a response is done, it is all function calls of
      the response.
    - `session` is the session as the service describes it. `session_id` is the service's id of the
      session.
    - `mcp` is the item of the event, if it is an item of an MCP server.
    - `pending` is the number of responses for tasks that the service has not ended: those in
      progress, and those that must still start.
    - `billed_ns` is the billable duration of a session that has ended. `paused_ns` is the part of
      it in standby.
    - `status` is how a response ended: "completed", "cancelled", "incomplete" or "failed". `reason`
      is why it ended. Both become parts of outcomes, so they are single words. The codes of
      `failure` are single words too.
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
    mcp: McpItem | None = None
    pending: int = 0
    billed_ns: int | None = None
    paused_ns: int | None = None


# The size of audio is needed for each delta: the player must know how long it lasts. Decoding it
# would cost more than all other work on the delta. Four characters are three bytes (RFC 4648 §4),
# so the length of the text is enough. Texts that are no base64 of this form get −1, and fail their
# session later.
def base64_bytes(raw: msgspec.Raw) -> int:
    """Return the decoded length of a base64 JSON string (RFC 4648 §4), from its length; -1 if it
    is invalid.
    """
    text = memoryview(raw)
    characters = len(text) - 2
    if characters <= 2 and text.tobytes() in (b"", b"null"):
        return 0
    if text[0] != QUOTE or characters % 4:
        return -1
    return characters // 4 * 3 - (text[-2] == PADDING) - (text[-3] == PADDING) if characters else 0


def binary_payload(audio: bytes) -> msgspec.Raw:
    """Return the payload of a binary message of audio."""
    return msgspec.Raw(b'"' + binascii.b2a_base64(audio, newline=False) + b'"')


_ANY_BASE64 = re.compile("[A-Za-z0-9+/_-]+={0,2}")


def audio_payload(raw: msgspec.Raw) -> bytes | None:
    """Return the decoded audio of a delta's payload; None if the payload is not base64."""
    if _COMPILED is not None and (count := base64_bytes(raw)) > 0:
        content: bytes | None = _COMPILED.base64_content(raw, count)
        return content
    try:
        audio = binascii.a2b_base64(memoryview(raw)[1:-1], strict_mode=True)
    except (ValueError, binascii.Error):
        return None
    # otherwise binascii has ignored padding
    return audio if len(audio) == max(0, base64_bytes(raw)) else None


def base64_form(raw: msgspec.Raw | StrippedAudio) -> str:
    """Return what makes a payload another form of base64 than that of RFC 4648 §4; "" if it is
    none.
    """
    if isinstance(raw, StrippedAudio):
        return raw.form
    json = bytes(raw).decode("latin-1")
    text = json[1:-1] if json.startswith('"') else ""
    bare = "".join(text.replace("\\n", "").replace("\\r", "").split())
    if not _ANY_BASE64.fullmatch(bare):
        return ""
    forms = {
        "line breaks": bare != text,
        "no padding": len(bare) % 4 != 0,
        "the alphabet of URLs": "-" in bare or "_" in bare,
    }
    return " and ".join(form for form, has_it in forms.items() if has_it)


def delta_text(payload: msgspec.Raw | StrippedAudio) -> str:
    """Return the text of a delta; "" if the delta has no text."""
    try:
        return (
            msgspec.json.decode(payload, type=str)
            if isinstance(payload, msgspec.Raw) and len(payload)
            else ""
        )
    except msgspec.MsgspecError:
        return ""


def text_characters(raw: msgspec.Raw) -> int:
    """Return the number of characters of a JSON string on the wire, with its escapes; 0 if it is
    not a string.
    """
    text = memoryview(raw)
    return len(text) - 2 if len(text) > 2 and text[0] == QUOTE else 0


# Rate limits.

# A wait that a service asks for comes in four forms: a header in milliseconds, in seconds, or as a
# date, and a sentence in an error. The first that is readable counts.
MAX_WAIT_S = 1e9
"""The maximum wait in seconds. A longer one is ignored: it is an error, and might not fit its
column."""
RECEIVED_HEADER = "x-rtbench-received"
"""Our own header of a refusal: its arrival, by this machine's wall clock, as an HTTP date. A stored
refusal has it only if its `retry-after` is a date, and it has no `date`."""
MAX_NUMBER = 2**53
"""The largest integer that is exact in every JSON notation."""
LIMITED = ("requests", "tokens")
UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
"""The units of durations such as "1m26.4s", in seconds. Longer names begin with the same
letters."""

_NUMBER = r"\d{1,12}(?:\.\d{1,12})?"
_UNIT = r"(?:ms|milliseconds?|d(?:ays?)?|h(?:ours?)?|m(?:inutes?)?|s(?:econds?)?)(?![a-z])"
_LENGTH = rf"(?:{_NUMBER} ?{_UNIT} ?)+"
_FLAGS = re.IGNORECASE | re.ASCII
_parts = re.compile(rf"({_NUMBER}) ?({_UNIT})", _FLAGS).findall
_length = re.compile(_LENGTH, _FLAGS).fullmatch
_asked = re.compile(rf"(?:try again|retry) (?:in|after) ({_LENGTH})", _FLAGS).search


class RateLimit(msgspec.Struct, frozen=True):
    """A limit, such as `requests` or `tokens`, its rest, and the seconds until its reset; None
    if unknown.
    """

    name: str
    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


def rate_limits(value: object) -> tuple[RateLimit, ...]:
    """Return the entries of `rate_limits` in the event `rate_limits.updated`. Entries without a
    name are ignored.
    """
    entries = (
        [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
    )
    return tuple(
        RateLimit(
            name[:MAX_ID_CHARACTERS],
            _count(entry.get("limit")),
            _count(entry.get("remaining")),
            _seconds(entry.get("reset_seconds")),
        )
        for entry in entries
        if isinstance(name := entry.get("name"), str)
    )


def limits_in(headers: Mapping[str, str]) -> tuple[RateLimit, ...]:
    """Return the limits in a handshake's headers:
    `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`.
    """
    limits = []
    for name in LIMITED:
        limit, remaining, reset = (
            headers.get(f"x-ratelimit-{field}-{name}") for field in ("limit", "remaining", "reset")
        )
        if limit is not None or remaining is not None:
            limits.append(RateLimit(name, _count(limit), _count(remaining), _seconds(reset)))
    return tuple(limits)


def wait_in(message: str) -> int | None:
    """Return the wait, in ns, in an error message ("Please try again in 250ms", "… in 1m26.4s"),
    or None.
    """
    match = _asked(message)
    return None if match is None else _ns(_length_s(match[1]))


def wait_of(headers: Mapping[str, str]) -> int | None:
    """Return the wait, in ns, in the headers of a refusal; None if there is none.

    It is `retry-after-ms`, or `retry-after` (RFC 9110 §10.2.3). A date is relative to the `date` of
    the response, because clocks of hosts differ, or else to RECEIVED_HEADER.
    """
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return _ns(ms / 1_000)
    retry_after = headers.get("retry-after")
    if (seconds := _number(retry_after)) is not None:
        return _ns(seconds)
    until_s = _date_s(retry_after)
    now_s = _date_s(headers.get("date"))
    if now_s is None:
        now_s = _date_s(headers.get(RECEIVED_HEADER))
    return None if until_s is None or now_s is None else _ns(max(0.0, until_s - now_s))


def with_arrival(headers: Mapping[str, str], now_s: float) -> Mapping[str, str]:
    """Return the headers of a refusal, with RECEIVED_HEADER if their wait depends on this
    machine's wall clock.
    """
    if _date_s(headers.get("retry-after")) is None or _date_s(headers.get("date")) is not None:
        return headers
    from email.utils import formatdate

    return {**headers, RECEIVED_HEADER: formatdate(now_s, usegmt=True)}


def _length_s(text: str) -> float:
    units = (
        (number, "ms" if unit.lower().startswith(("ms", "milli")) else unit[0].lower())
        for number, unit in _parts(text)
    )
    return math.fsum(float(number) * UNITS_S[unit] for number, unit in units)


def _ns(seconds: float) -> int | None:
    return round(seconds * NS_PER_S) if 0 <= seconds <= MAX_WAIT_S else None


def _seconds(value: object) -> float | None:
    """Return the seconds of a number, or of a duration such as "6m0s"; None for any other value."""
    if isinstance(value, str) and _length(value.strip()):
        return _length_s(value)
    return _number(value)


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None or abs(number) > MAX_NUMBER else int(number)


def _number(value: object) -> float | None:
    """Return `value` if it is a finite number, or a string with such a number; None for any
    other value.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    # numbers of Python, but not of JSON or HTTP
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _date_s(text: str | None) -> float | None:
    """Return an HTTP date (GMT if it has no zone, RFC 9110 §5.6.7) in seconds since 1970; None
    if it is invalid.
    """
    from email.utils import mktime_tz, parsedate_tz

    try:
        parsed = parsedate_tz(text) if text else None
        return None if parsed is None else float(mktime_tz((*parsed[:9], parsed[9] or 0)))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
