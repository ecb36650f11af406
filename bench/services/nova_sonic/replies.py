"""The decoder of one session of Amazon Nova Sonic: its events, and the replies that they belong to.
Pure.

Names and fields are those of "Handling output events with the bidirectional API" (Amazon Nova 2
Sonic). Content is in blocks, from `contentStart` to `contentEnd`. No event names a reply: the
service speaks one reply at a time, so the decoder numbers them. A reply begins with its first
planned text (SPECULATIVE) or audio, and has one block of audio or more. It ends with the block
whose `stopReason` is END_TURN or INTERRUPTED, or with the use of a tool. The texts that were spoken
(FINAL) follow the audio.

Observed by others (Pipecat's and LiveKit's clients): after a caller's interruption the audio ends
with END_TURN, and only a text `{ "interrupted" : true }` in a block that ends with INTERRUPTED
states the interruption. The caller's transcript arrives in parts, and no event ends it. Tokens
(`usageEvent`) have no reply, either: they belong to the open turn, else to the session.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.files.sanitize import slug
from bench.files.values import (
    MAX_ARGUMENTS_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    get_object,
    get_text,
    object_in,
)
from bench.services.replying import ReplyReader
from bench.wire.dialect import NOT_JSON, SIMULATOR_HEADER, SIMULATOR_VALUE
from bench.wire.events import (
    EMPTY,
    UNREAD,
    ErrorScope,
    EventKind,
    FunctionCall,
    ServerEvent,
    ServiceFailure,
    TokenUsage,
    base64_bytes,
    text_characters,
    token_count,
)
from bench.wire.service import CALL_FAILED, OPENED

AUDIO = "audioOutput"
TEXT = "textOutput"
CONTENT_START = "contentStart"
CONTENT_END = "contentEnd"
TOOL_USE = "toolUse"
USAGE = "usageEvent"
EXCEPTION = "exception"
NOTED = frozenset({"completionStart", "completionEnd"})
"""Known events that set no instant."""
TURN_DETECTED = "turn_detected"
UNCONNECTED = ("connect_failed", "timeout", "throttled")
THROTTLING = "throttlingException"
MAX_BLOCKS = 64
"""The maximum number of blocks that are known: late audio belongs to a block that has ended."""


class _Audio(msgspec.Struct, rename="camel"):
    content_id: str = ""
    content: msgspec.Raw = EMPTY


class _Event(msgspec.Struct, rename="camel"):
    """The decoded event. msgspec skips all others."""

    audio_output: _Audio | None = None
    text_output: msgspec.Raw = EMPTY
    content_start: msgspec.Raw = EMPTY
    content_end: msgspec.Raw = EMPTY
    tool_use: msgspec.Raw = EMPTY
    usage_event: msgspec.Raw = EMPTY


class _Wire(msgspec.Struct, rename="camel"):
    """The decoded fields of a message. Only `event` is from the service, the others are from the
    transport.
    """

    event: _Event | None = None
    opened: msgspec.Raw = EMPTY
    exception: msgspec.Raw = EMPTY
    type: str = ""
    error: msgspec.Raw = EMPTY


class _Names(msgspec.Struct):
    event: dict[str, msgspec.Raw] = {}


_decode_wire = msgspec.json.Decoder(_Wire).decode
_decode_names = msgspec.json.Decoder(_Names).decode
_decode_stage = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(slots=True)
class _Block:
    """A block of content: its type, its role, and its stage. `reply` is the number of the reply
    of its audio.
    """

    type: str = ""
    role: str = ""
    is_planned: bool = False
    reply: int = 0


# AWS's guide gives the order of blocks: the caller's words (FINAL), tools, the planned text
# (SPECULATIVE), the audio, and then the text that was spoken (FINAL). Blocks of a reply overlap,
# and the last one may come when the next reply has begun. So each block of audio remembers the
# number of its reply (`_Block.reply`), and late audio counts for that reply. The text that was
# spoken is not counted, because it repeats the planned one.
#
# No event states that the caller's transcript is complete. It is complete when the reply to it
# begins (`_begin`).
class NovaReader(ReplyReader):
    """The decoder of a Nova Sonic session."""

    __slots__ = (
        "_blocks",
        "_is_cleared",
        "_last",
    )

    def __init__(self) -> None:
        super().__init__()
        self._is_cleared = False
        """True if the service has reported an interruption since the last reply began."""
        self._blocks: dict[str, _Block] = {}
        self._last = _Block()
        """The block that began last, for events without the id of their block."""

    def _events(self, message: bytes) -> Iterator[ServerEvent]:
        wire = _decode_wire(message)
        event = wire.event
        if event is None:
            yield from _of_transport(wire)
            return
        if event.audio_output is not None:
            yield from self._audio(event.audio_output)
            return
        for raw, read in (
            (event.text_output, self._text),
            (event.content_start, self._started),
            (event.content_end, self._ended),
            (event.tool_use, self._called),
            (event.usage_event, self._used),
        ):
            if len(raw):
                yield from read(object_in(raw))
                return
        name = next(iter(_decode_names(message).event), "empty")
        kind = EventKind.NOTED if name in NOTED else EventKind.UNKNOWN
        yield ServerEvent(kind, name[:MAX_ID_CHARACTERS])

    # Replies.

    def _begin(self) -> Iterator[ServerEvent]:
        """Begin a reply with this content, unless one is in progress."""
        if not self._is_replying:
            yield from self._end_input()
            self._is_replying = True
            self._is_cleared = False
            self._replies += 1

    def _interrupted(self, name: str) -> Iterator[ServerEvent]:
        """Yield the interruption, which the service reports twice: by a text, and by the end of
        its block.
        """
        if self._is_cleared:
            yield ServerEvent(EventKind.NOTED, name)
            return
        self._is_cleared = True
        yield ServerEvent(EventKind.CLEARED, name)
        if self._is_replying:
            yield self._done(name, "cancelled", TURN_DETECTED)

    # Blocks.

    def _block_of(self, fields: Mapping[str, Any]) -> _Block:
        return self._blocks.get(get_text(fields, "contentId"), self._last)

    def _started(self, fields: Mapping[str, Any]) -> Iterator[ServerEvent]:
        stage = ""
        with contextlib.suppress(*NOT_JSON):
            more = _decode_stage(get_text(fields, "additionalModelFields", 1_000))
            stage = get_text(more, "generationStage")
        block = _Block(get_text(fields, "type"), get_text(fields, "role"), stage == "SPECULATIVE")
        self._last = block
        if len(self._blocks) >= MAX_BLOCKS:
            self._blocks.pop(next(iter(self._blocks)))
        self._blocks[get_text(fields, "contentId")] = block
        yield ServerEvent(EventKind.NOTED, CONTENT_START)

    def _ended(self, fields: Mapping[str, Any]) -> Iterator[ServerEvent]:
        block = self._block_of(fields)
        reason = get_text(fields, "stopReason")
        kind = get_text(fields, "type") or block.type
        if block.role == "USER":
            yield ServerEvent(EventKind.NOTED, CONTENT_END)
        elif reason == "INTERRUPTED":
            yield from self._interrupted(CONTENT_END)
        elif not self._is_replying or (kind == "AUDIO" and block.reply not in (0, self._replies)):
            yield ServerEvent(EventKind.NOTED, CONTENT_END)
        elif reason == "END_TURN":
            yield self._of_reply(EventKind.AUDIO_DONE, CONTENT_END)
            yield self._done(CONTENT_END, "completed")
        else:
            yield ServerEvent(EventKind.NOTED, CONTENT_END)

    def _audio(self, audio: _Audio) -> Iterator[ServerEvent]:
        block = self._blocks.get(audio.content_id, self._last)
        if block.reply and not (self._is_replying and block.reply == self._replies):
            late = f"reply-{block.reply}"  # the rest of a reply that has ended
            yield ServerEvent(EventKind.AUDIO_DELTA, AUDIO, late, late)
            return
        yield from self._begin()
        block.reply = self._replies
        reply_id = self._reply_id
        size = base64_bytes(audio.content)
        yield ServerEvent(EventKind.AUDIO_DELTA, AUDIO, reply_id, reply_id, size, audio.content)

    def _text(self, fields: Mapping[str, Any]) -> Iterator[ServerEvent]:
        block = self._block_of(fields)
        text = get_text(fields, "content", MAX_TEXT_CHARACTERS)
        role = get_text(fields, "role") or block.role
        if role == "USER":
            yield from self._heard_part(text)
        elif _is_interruption(text):
            yield from self._interrupted(TEXT)
        elif text and block.is_planned:
            yield from self._begin()
            self._said.add(text)
            payload = msgspec.Raw(msgspec.json.encode(text))
            yield self._of_reply(
                EventKind.TRANSCRIPT_DELTA,
                TEXT,
                payload_bytes=text_characters(payload),
                payload=payload,
            )
        else:
            yield ServerEvent(EventKind.NOTED, TEXT)

    # The caller.

    def _heard_part(self, text: str) -> Iterator[ServerEvent]:
        part = self._heard.add(f" {text}" if self._heard.begun else text) if text else ""
        yield ServerEvent(EventKind.INPUT_DELTA, TEXT, item_id=self._input_id, text=part)

    # Tools and tokens.

    def _called(self, fields: Mapping[str, Any]) -> Iterator[ServerEvent]:
        """Yield the function call of a reply, and its end. The service continues in another
        reply, which may be another call.
        """
        yield from self._begin()
        arguments = get_text(fields, "content", MAX_ARGUMENTS_CHARACTERS)
        call = FunctionCall(get_text(fields, "toolUseId"), get_text(fields, "toolName"), arguments)
        yield self._of_reply(EventKind.CALL_DONE, TOOL_USE, calls=(call,))
        yield self._done(TOOL_USE, "completed")

    def _used(self, fields: Mapping[str, Any]) -> Iterator[ServerEvent]:
        usage = usage_of(get_object(get_object(fields, "details"), "delta"))
        yield ServerEvent(EventKind.NOTED, USAGE, usage=usage)


def usage_of(delta: Mapping[str, Any]) -> TokenUsage:
    """Return the tokens since the event before."""
    counts = {}
    try:
        for side, suffix in (("input", "in"), ("output", "out")):
            tokens = get_object(delta, side)
            for kind, name in (("textTokens", "text"), ("speechTokens", "audio")):
                counts[f"{name}_{suffix}"] = token_count(tokens.get(kind)) or 0
            if not tokens:
                return UNREAD
    except ValueError:
        return UNREAD
    return TokenUsage(**counts)


def _is_interruption(text: str) -> bool:
    return text.replace(" ", "") == '{"interrupted":true}'


# Messages of the transport.


def _of_transport(wire: _Wire) -> Iterator[ServerEvent]:
    if wire.type == CALL_FAILED:
        yield _refused(object_in(wire.error))
    elif len(wire.opened):
        yield from _opened(get_object(object_in(wire.opened), "headers"))
    elif len(wire.exception):
        yield _failed(object_in(wire.exception))
    else:
        yield ServerEvent(EventKind.UNKNOWN, "empty")


def _opened(headers: Mapping[str, Any]) -> Iterator[ServerEvent]:
    session = {SIMULATOR_VALUE: True} if SIMULATOR_HEADER in headers else {}
    session_id = get_text(headers, "x-amzn-requestid")
    for kind in (EventKind.SESSION_CREATED, EventKind.SESSION_UPDATED):
        yield ServerEvent(kind, OPENED, session=session, session_id=session_id)


def _refused(error: Mapping[str, Any]) -> ServerEvent:
    kind = slug(get_text(error, "type"))
    failure = ServiceFailure(
        kind,
        slug(get_text(error, "code")) or "unknown",
        get_text(error, "message", MAX_MESSAGE_CHARACTERS),
        effect=ErrorScope.UNCONNECTED if kind in UNCONNECTED else ErrorScope.FATAL,
    )
    return ServerEvent(EventKind.ERROR, CALL_FAILED, failure=failure)


def _failed(fields: Mapping[str, Any]) -> ServerEvent:
    """Return the error. Each ends the stream."""
    name = get_text(fields, "type")
    code = slug(name) or "unknown"
    message = get_text(fields, "message", MAX_MESSAGE_CHARACTERS)
    effect = ErrorScope.THROTTLED if name == THROTTLING else ErrorScope.FATAL
    failure = ServiceFailure(code, code, message, effect=effect)
    return ServerEvent(EventKind.ERROR, EXCEPTION, failure=failure)
