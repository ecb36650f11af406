"""The decoder of one session of Gemini Live: its messages, and the replies and transcripts that
they belong to. Pure.

Names and fields are those of `LiveServerMessage` in google-genai 3.6. A message has one or more of
these fields, and no type. It names no reply: the service speaks one reply at a time. So the decoder
numbers them. A reply begins with its first content, and ends with `generationComplete`,
`interrupted` or a function call. After the first two, the service sends `turnComplete`, which it
delays until the reply could have been played. The tokens are in the message that has
`turnComplete`.

The transcripts of the caller and of the reply arrive in parts, usually without `finished`. Then
they are complete when the reply ends, and no instant is known for their ends.
"""

import binascii
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bench.files.sanitize import slug
from bench.files.values import (
    MAX_ARGUMENTS_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    get_text,
    object_in,
    shortened_settings,
    string_in,
)
from bench.services.replying import ReplyReader, Transcript
from bench.wire.events import (
    EMPTY,
    UNREAD,
    ErrorScope,
    EventKind,
    FunctionCall,
    ServerEvent,
    ServiceFailure,
    TokenUsage,
    audio_payload,
    base64_bytes,
    text_characters,
    token_count,
)

SETUP_COMPLETE = "setupComplete"
CONTENT = "serverContent"
MODEL_TURN = "serverContent.modelTurn"
INTERRUPTED = "serverContent.interrupted"
GENERATED = "serverContent.generationComplete"
TURN_COMPLETE = "serverContent.turnComplete"
WAITING = "serverContent.waitingForInput"
STATUS = "serverContent.interactionStatus"
USAGE = "usageMetadata"
INPUT_TEXT = "serverContent.inputTranscription"
INTERIM_TEXT = "serverContent.interimInputTranscription"
OUTPUT_TEXT = "serverContent.outputTranscription"
TOOL_CALL = "toolCall"
TOOL_CALL_CANCELLATION = "toolCallCancellation"
GO_AWAY = "goAway"
RESUMPTION = "sessionResumptionUpdate"
VOICE_ACTIVITY = "voiceActivity"
VAD_SIGNAL = "voiceActivityDetectionSignal"
ERROR = "error"
TURN_DETECTED = "turn_detected"
"""The reason of a reply that was cancelled because the service has detected the caller's speech."""
VOICE_ACTIVITIES = {
    "ACTIVITY_START": EventKind.SPEECH_STARTED,
    "ACTIVITY_END": EventKind.SPEECH_STOPPED,
}
COMPLETE = ("", "TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT")
"""The values of `turnCompleteReason` after which a reply is complete."""
FAILED = ("MALFORMED_FUNCTION_CALL", "RESPONSE_REJECTED", "MAX_REGENERATION_REACHED")
"""The values of `turnCompleteReason` after which a reply has failed. All others state what the
service has filtered."""
RATE_HZ = 24_000
"""The rate of the service's audio."""
MAX_CALLS = 1_000
"""The maximum number of function calls that are read of one message."""
MAX_ENDED = 2
"""The maximum number of replies whose `turnComplete` is awaited. If there are more, the service
omits it."""
_RATE = re.compile(r"rate=(\d+)")
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s", re.ASCII)


class _Blob(msgspec.Struct, rename="camel"):
    data: msgspec.Raw = EMPTY
    mime_type: str = ""


class _Part(msgspec.Struct, rename="camel"):
    inline_data: _Blob | None = None
    text: msgspec.Raw = EMPTY
    thought: bool = False


class _ModelTurn(msgspec.Struct):
    parts: list[_Part] = []


class _Transcription(msgspec.Struct):
    text: msgspec.Raw = EMPTY
    finished: bool = False


class _Content(msgspec.Struct, rename="camel"):
    model_turn: _ModelTurn | None = None
    output_transcription: _Transcription | None = None
    input_transcription: _Transcription | None = None
    interim_input_transcription: _Transcription | None = None
    interrupted: bool = False
    generation_complete: bool = False
    turn_complete: bool = False
    turn_complete_reason: str = ""
    waiting_for_input: bool = False
    interaction_status: str = ""


class _Wire(msgspec.Struct, rename="camel"):
    """The decoded fields of a message. msgspec skips all other fields."""

    server_content: _Content | None = None
    setup_complete: msgspec.Raw = EMPTY
    tool_call: msgspec.Raw = EMPTY
    tool_call_cancellation: msgspec.Raw = EMPTY
    usage_metadata: msgspec.Raw = EMPTY
    go_away: msgspec.Raw = EMPTY
    session_resumption_update: msgspec.Raw = EMPTY
    voice_activity: msgspec.Raw = EMPTY
    voice_activity_detection_signal: msgspec.Raw = EMPTY
    error: msgspec.Raw = EMPTY


_decode_wire = msgspec.json.Decoder(_Wire).decode
_decode_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


# Two ends follow each other: `generationComplete` (or `interrupted`), and `turnComplete`. "When
# model assumes realtime playback there will be delay between generation_complete and turn_complete
# that is caused by model waiting for playback to finish" (google-genai, `LiveServerContent`). So a
# reply ends for us with the first one: the second one is no instant of the service's work. It is
# awaited only to give the tokens to their reply, which are in the same message (`_ended`,
# `_completed`). The next reply may begin before it.
#
# Parts of one message are read in a fixed order: what the caller said, the interruption, the
# content, then the ends. An interruption comes before content, because content in the same message
# belongs to the next reply.
class SessionReader(ReplyReader):
    __slots__ = (
        "_calling",
        "_completed",
        "_ended",
        "_is_cleared",
    )

    def __init__(self) -> None:
        super().__init__(_StrippedTranscript(), _StrippedTranscript())
        self._ended: deque[str] = deque(maxlen=MAX_ENDED)
        """The ids of the replies that have ended, and whose `turnComplete` has not arrived."""
        self._completed = ""
        """The id of the reply whose `turnComplete` is in the message that is read; "" if it has
        none."""
        self._is_cleared = False
        """True if the service has interrupted the playback of a reply since the last reply
        began."""
        self._calling = ""
        """The id of the reply that called functions; "" if none did since the last content."""

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        return super().decode(message) or (ServerEvent(EventKind.NOTED, CONTENT),)

    def _events(self, message: bytes) -> Iterator[ServerEvent]:
        wire = _decode_wire(message)
        known = False
        self._completed = ""
        if wire.server_content is not None:
            known = True
            yield from self._of_content(wire.server_content)
        for raw, read in (
            (wire.setup_complete, _set_up),
            (wire.tool_call, self._called),
            (wire.tool_call_cancellation, self._cancelled_calls),
            (wire.usage_metadata, self._used),
            (wire.go_away, _going_away),
            (wire.session_resumption_update, _resumption),
            (wire.voice_activity, _voice_activity),
            (wire.voice_activity_detection_signal, _vad_signal),
            (wire.error, _failed),
        ):
            if len(raw):
                known = True
                yield from read(object_in(raw), len(raw))
        if not known:
            yield ServerEvent(
                EventKind.UNKNOWN, next(iter(_decode_names(message)), "empty")[:MAX_ID_CHARACTERS]
            )

    # Replies.

    def _begin(self) -> str:
        """Return the id of the reply in progress, which begins with this content if there is
        none.
        """
        if not self._is_replying:
            self._is_replying = True
            self._is_cleared = False
            self._calling = ""
            self._replies += 1
        return self._reply_id

    def _end(self, name: str, status: str, reason: str = "") -> Iterator[ServerEvent]:
        yield from self._end_input()
        yield self._done(name, status, reason)

    def _of_content(self, content: _Content) -> Iterator[ServerEvent]:
        yield from self._transcripts_of_input(content)
        if content.interrupted:
            yield ServerEvent(EventKind.CLEARED, INTERRUPTED)
            self._is_cleared = True
            if self._is_replying:
                self._ended.append(self._reply_id)
                yield from self._end(INTERRUPTED, "cancelled", TURN_DETECTED)
        if content.model_turn is not None:
            yield from self._of_parts(content.model_turn.parts)
        if content.output_transcription is not None:
            yield from self._transcript_of_output(content.output_transcription)
        if content.generation_complete:
            yield from self._generated(GENERATED)
        if content.turn_complete:
            yield from self._turn_completed(content.turn_complete_reason)
        if content.waiting_for_input:
            yield ServerEvent(EventKind.NOTED, WAITING)
        if content.interaction_status:
            status = slug(content.interaction_status.lower())
            yield ServerEvent(EventKind.NOTED, f"{STATUS}:{status}")

    def _turn_completed(self, reason: str) -> Iterator[ServerEvent]:
        """Yield the end of the reply in progress, unless `turnComplete` is that of the reply before
        it.

        `reason` states why the service ended the turn; "" if the reply is complete.
        """
        if not self._ended:
            if not (self._is_replying or self._is_cleared or self._calling):
                self._begin()  # a reply without content
            if reason in COMPLETE:
                yield from self._generated(TURN_COMPLETE)
            elif self._is_replying:
                self._ended.append(self._reply_id)
                yield from self._end(
                    TURN_COMPLETE,
                    "failed" if reason in FAILED else "incomplete",
                    slug(reason.lower()),
                )
        if self._ended:
            self._completed = self._ended.popleft()
        if not self._is_replying:
            yield from self._end_input()
        yield ServerEvent(EventKind.NOTED, TURN_COMPLETE)

    def _generated(self, name: str) -> Iterator[ServerEvent]:
        if self._is_replying:
            self._ended.append(self._reply_id)
            yield self._of_reply(EventKind.AUDIO_DONE, name)
            yield from self._end(name, "completed")

    def _of_parts(self, parts: Sequence[_Part]) -> Iterator[ServerEvent]:
        blobs = [part.inline_data for part in parts if part.inline_data is not None]
        if unread := next(
            (
                blob.mime_type or "data without a type"
                for blob in blobs
                if not _is_readable(blob.mime_type)
            ),
            None,
        ):
            detail = (
                f"the service sends {unread[:MAX_ID_CHARACTERS]}, but only PCM of {RATE_HZ} Hz is"
                " expected"
            )
            failure = ServiceFailure("media_type", "media_type", detail, effect=ErrorScope.FATAL)
            # marked, so that a log of the message leaves its audio out
            yield ServerEvent(EventKind.ERROR, MODEL_TURN, failure=failure, other_dialect=True)
            return
        sounds = [blob.data for blob in blobs]
        for part in parts:
            if len(part.text) and not part.thought:
                self._said.add(string_in(part.text))
                yield self._delta(
                    EventKind.TEXT_DELTA, MODEL_TURN, text_characters(part.text), part.text
                )
        if sounds:
            payload = sounds[0] if len(sounds) == 1 else _joined(sounds)
            yield self._delta(EventKind.AUDIO_DELTA, MODEL_TURN, base64_bytes(payload), payload)
        elif not any(len(part.text) and not part.thought for part in parts):
            yield ServerEvent(EventKind.NOTED, MODEL_TURN)

    def _delta(self, kind: EventKind, name: str, size: int, payload: msgspec.Raw) -> ServerEvent:
        reply_id = self._begin()
        return ServerEvent(kind, name, reply_id, reply_id, size, payload)

    # Transcripts.

    def _transcript_of_output(self, transcription: _Transcription) -> Iterator[ServerEvent]:
        size = text_characters(transcription.text)
        if not self._is_replying and self._ended:
            # the rest of the transcript of a reply that has ended
            yield ServerEvent(EventKind.NOTED, OUTPUT_TEXT)
            return
        if size:
            self._said.add(string_in(transcription.text))
            yield self._delta(EventKind.TRANSCRIPT_DELTA, OUTPUT_TEXT, size, transcription.text)
        if transcription.finished and self._is_replying:
            yield self._of_reply(EventKind.TRANSCRIPT_DONE, OUTPUT_TEXT, text=self._said.take())
        elif not size:
            yield ServerEvent(EventKind.NOTED, OUTPUT_TEXT)

    def _transcripts_of_input(self, content: _Content) -> Iterator[ServerEvent]:
        if (interim := content.interim_input_transcription) is not None:
            is_first = not self._heard.begun and text_characters(interim.text)
            if is_first:  # later ones replace it
                self._heard.begun = True
                yield ServerEvent(
                    EventKind.INPUT_DELTA,
                    INTERIM_TEXT,
                    item_id=self._input_id,
                    text=string_in(interim.text)[:MAX_TEXT_CHARACTERS],
                )
            else:
                yield ServerEvent(EventKind.NOTED, INTERIM_TEXT)
        if (transcription := content.input_transcription) is not None:
            if text_characters(transcription.text):
                text = self._heard.add(string_in(transcription.text))
                yield ServerEvent(
                    EventKind.INPUT_DELTA, INPUT_TEXT, item_id=self._input_id, text=text
                )
            else:
                yield ServerEvent(EventKind.NOTED, INPUT_TEXT)
            if transcription.finished:
                yield from self._end_input(INPUT_TEXT)

    # Other messages.

    def _called(self, fields: Mapping[str, Any], _: int) -> Iterator[ServerEvent]:
        """Yield the function calls of a reply, and its end. The service continues in another
        reply.
        """
        found = fields.get("functionCalls")
        calls = tuple(map(_call, found[:MAX_CALLS])) if isinstance(found, list) else ()
        reply_id = self._begin()
        if calls:
            yield self._of_reply(EventKind.CALL_DONE, TOOL_CALL, calls=calls)
        yield from self._end(TOOL_CALL, "completed")
        self._calling = reply_id

    def _cancelled_calls(self, fields: Mapping[str, Any], _: int) -> Iterator[ServerEvent]:
        if self._calling:
            reply_id = self._calling
            self._calling = ""
            yield self._of_reply(
                EventKind.RESPONSE_DONE,
                TOOL_CALL_CANCELLATION,
                reply_id,
                status="cancelled",
                reason=TURN_DETECTED,
            )
        else:
            yield ServerEvent(EventKind.NOTED, TOOL_CALL_CANCELLATION)

    def _used(self, fields: Mapping[str, Any], _: int) -> Iterator[ServerEvent]:
        reply_id = self._completed or (self._reply_id if self._replies else "")
        yield ServerEvent(EventKind.NOTED, USAGE, reply_id, usage=usage_of(fields))


class _StrippedTranscript(Transcript):
    """A text without the space at its ends, because each part has that of its words."""

    __slots__ = ()

    def take(self) -> str:
        return super().take().strip()


def _is_readable(mime_type: str) -> bool:
    rate = _RATE.search(mime_type)
    return mime_type.startswith("audio/pcm") and (rate is None or int(rate[1][:9]) == RATE_HZ)


def _joined(sounds: Sequence[msgspec.Raw]) -> msgspec.Raw:
    """Return the audio of several parts as one payload; the first unreadable one if there is
    one.
    """
    pieces = list(map(audio_payload, sounds))
    unreadable = next(
        (raw for raw, piece in zip(sounds, pieces, strict=True) if piece is None), None
    )
    if unreadable is not None:
        return unreadable
    return msgspec.Raw(
        b'"' + binascii.b2a_base64(b"".join(filter(None, pieces)), newline=False) + b'"'
    )


def _set_up(fields: dict[str, Any], size: int) -> Iterator[ServerEvent]:
    session = shortened_settings(fields, size) or None
    for kind in (EventKind.SESSION_CREATED, EventKind.SESSION_UPDATED):
        yield ServerEvent(
            kind, SETUP_COMPLETE, session=session, session_id=get_text(fields, "sessionId")
        )


def _call(value: Any) -> FunctionCall:
    fields = value if isinstance(value, dict) else {}
    arguments = msgspec.json.encode(fields.get("args", {})).decode()[:MAX_ARGUMENTS_CHARACTERS]
    return FunctionCall(
        get_text(fields, "id") or get_text(fields, "name"), get_text(fields, "name"), arguments
    )


def _going_away(fields: Mapping[str, Any], _: int) -> Iterator[ServerEvent]:
    yield ServerEvent(EventKind.GOING_AWAY, GO_AWAY)


def _resumption(fields: Mapping[str, Any], _: int) -> Iterator[ServerEvent]:
    handle = (
        get_text(fields, "newHandle", MAX_MESSAGE_CHARACTERS)
        if fields.get("resumable") is True
        else ""
    )
    yield ServerEvent(EventKind.RESUMABLE if handle else EventKind.NOTED, RESUMPTION, text=handle)


def _voice_activity(fields: Mapping[str, Any], _: int) -> Iterator[ServerEvent]:
    kind = VOICE_ACTIVITIES.get(get_text(fields, "voiceActivityType"), EventKind.NOTED)
    seconds = _SECONDS.fullmatch(get_text(fields, "audioOffset"))
    yield ServerEvent(
        kind, VOICE_ACTIVITY, audio_ms=round(float(seconds[1]) * 1_000) if seconds else None
    )


def _vad_signal(fields: Mapping[str, Any], _: int) -> Iterator[ServerEvent]:
    yield ServerEvent(EventKind.NOTED, VAD_SIGNAL)


def _failed(fields: Mapping[str, Any], _: int) -> Iterator[ServerEvent]:
    code = slug(get_text(fields, "status")) or "unknown"
    message = get_text(fields, "message", MAX_MESSAGE_CHARACTERS)
    failure = ServiceFailure(code, code, message, effect=ErrorScope.FATAL)
    yield ServerEvent(EventKind.ERROR, ERROR, failure=failure)


# Tokens.

KIND_OF_MODALITY = {"AUDIO": "audio", "IMAGE": "image", "VIDEO": "image"}
"""The kinds of tokens by modality. Those of all other modalities are text."""


def usage_of(fields: Mapping[str, Any]) -> TokenUsage:
    """Return the tokens of a reply; `UNREAD` if they are unreadable. Thoughts are output text."""
    try:
        read, kindless_in = _by_kind(fields, "promptTokenCount", "promptTokensDetails")
        cached, _ = _by_kind(fields, "cachedContentTokenCount", "cacheTokensDetails")
        # Vertex AI has the second name
        names = (
            ("responseTokenCount", "responseTokensDetails"),
            ("candidatesTokenCount", "candidatesTokensDetails"),
        )
        written, kindless_out = _by_kind(fields, *(names[0] if names[0][0] in fields else names[1]))
        of_tools, thoughts = (
            token_count(fields.get(name)) or 0
            for name in ("toolUsePromptTokenCount", "thoughtsTokenCount")
        )
    except ValueError:
        return UNREAD
    return TokenUsage(
        text_in=read["text"] + of_tools,
        audio_in=read["audio"],
        image_in=read["image"],
        cached_in=sum(cached.values()),
        cached_text_in=min(cached["text"], read["text"]),
        cached_audio_in=min(cached["audio"], read["audio"]),
        cached_image_in=min(cached["image"], read["image"]),
        text_out=written["text"] + written["image"] + thoughts,
        audio_out=written["audio"],
        kindless_in=kindless_in,
        kindless_out=kindless_out,
    )


def _by_kind(fields: Mapping[str, Any], total: str, details: str) -> tuple[dict[str, int], int]:
    """Return (the tokens of each kind, the number of tokens without a kind). Raise ValueError.

    Tokens that the details leave out are text. If there are no details, the kind of all tokens is
    unknown.
    """
    counts = {"text": 0, "audio": 0, "image": 0}
    entries = fields.get(details) or []
    if not isinstance(entries, list):
        raise ValueError
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError
        counts[KIND_OF_MODALITY.get(get_text(entry, "modality"), "text")] += (
            token_count(entry.get("tokenCount")) or 0
        )
    rest = max(0, (token_count(fields.get(total)) or 0) - sum(counts.values()))
    counts["text"] += rest
    return counts, 0 if entries else rest
