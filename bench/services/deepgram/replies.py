"""The decoder of one session of Deepgram's Voice Agent: its messages, and the replies that they
belong to. Pure.

Names and fields are those of deepgram-sdk 7.17 (`agent/v1/types`). The agent's audio is in binary
messages. No message names a reply: the agent speaks one reply at a time. So the decoder numbers
them. A reply begins with its first audio or text, and ends with `AgentAudioDone`,
`UserStartedSpeaking` or a function call.

Observed by others (plivo's example deepgram-voiceagent, "Implementation Notes"): audio of an
interrupted reply may follow `UserStartedSpeaking`, the service returns each `FunctionCallResponse`,
and it sends `EndOfTurn`, which the SDK does not have. Audio of the words before a function call may
follow the call. Such late audio counts as messages only.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from bench.files.sanitize import slug
from bench.files.values import (
    MAX_ARGUMENTS_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    get_text,
    string_in,
)
from bench.services.replying import ReplyReader
from bench.wire.dialect import BinaryMessage
from bench.wire.events import (
    EMPTY,
    ErrorScope,
    EventKind,
    FunctionCall,
    ServerEvent,
    ServiceFailure,
    base64_bytes,
    binary_payload,
    text_characters,
)

WELCOME = "Welcome"
SETTINGS_APPLIED = "SettingsApplied"
AUDIO = "audio"
TEXT = "ConversationText"
USER_STARTED = "UserStartedSpeaking"
AUDIO_DONE = "AgentAudioDone"
STARTED_SPEAKING = "AgentStartedSpeaking"
CALL = "FunctionCallRequest"
CALL_RESULT = "FunctionCallResponse"
CALL_CANCELLED = "FunctionCallCancelled"
REFUSED = "InjectionRefused"
ERROR = "Error"
WARNING = "Warning"
THINKING = "AgentThinking"
END_OF_TURN = "EndOfTurn"
ENDING = "MAXIMUM_SESSION_LENGTH_APPROACHING"
ENDED = "MAXIMUM_SESSION_LENGTH_REACHED"
"""The codes of the warning and of the error about the age of a session (Deepgram, "Errors &
Warnings")."""
NOTED = frozenset(
    {
        STARTED_SPEAKING,
        THINKING,
        END_OF_TURN,
        "LatencyReport",
        "History",
        "PromptUpdated",
        "SpeakUpdated",
        "ThinkUpdated",
        "ListenUpdated",
        "FrustrationDetected",
    }
)
"""Known messages that set no instant."""
NEW_TURN = frozenset({STARTED_SPEAKING, THINKING, END_OF_TURN, CALL})
"""The messages after which audio does not belong to an interrupted reply, in addition to a text
of the user."""
TURN_DETECTED = "turn_detected"
MAX_CALLS = 1_000
"""The maximum number of function calls that are read of one message."""


class _Wire(msgspec.Struct):
    """The decoded fields of a message. `binary` is the audio of a binary message, in the form
    that logs use.
    """

    type: str = ""
    role: str = ""
    content: msgspec.Raw = EMPTY
    binary: msgspec.Raw = EMPTY
    functions: list[dict[str, Any]] = []
    code: str = ""
    description: str = ""
    message: str = ""
    request_id: str = ""


_decode_wire = msgspec.json.Decoder(_Wire).decode


# A session is in one of two states: a reply is in progress, or none is. Content begins a reply.
# `AgentAudioDone`, the caller's speech or a function call ends it. Audio may arrive after the end,
# because audio and events of the service have different paths. `_late` then states what ended the
# last reply. As long as it is set, audio is the rest of that reply, and begins no new one. It is
# reset by a message after which audio can only be that of a new reply.
class DeepgramReader(ReplyReader):
    """The decoder of a Deepgram session."""

    __slots__ = ("_calling", "_late")

    def __init__(self) -> None:
        super().__init__()
        self._late: Literal["", "interrupted", "calling", "called"] = ""
        """What ended the last reply, as long as audio may still be its rest."""
        self._calling = ""
        """The id of the reply that called functions; "" if none did since the last content."""

    def _events(self, message: bytes) -> Iterator[ServerEvent]:
        if isinstance(message, BinaryMessage):
            yield self._audio(binary_payload(message), len(message))
            return
        wire = _decode_wire(message)
        if len(wire.binary):
            yield self._audio(wire.binary, base64_bytes(wire.binary))
        else:
            yield from self._of_message(wire, wire.type[:MAX_ID_CHARACTERS])

    def _of_message(self, wire: _Wire, name: str) -> Iterator[ServerEvent]:
        if name in NEW_TURN or (name == TEXT and wire.role == "user"):
            self._late = ""
        if name in READERS:
            yield from READERS[name](self, wire)
        else:
            yield ServerEvent(EventKind.NOTED if name in NOTED else EventKind.UNKNOWN, name)

    # Replies.

    def _begin(self) -> str:
        """Return the id of the reply in progress, which begins with this content if there is
        none.
        """
        if not self._is_replying:
            self._is_replying = True
            self._calling = ""
            self._replies += 1
        return self._reply_id

    def _audio(self, payload: msgspec.Raw, size: int) -> ServerEvent:
        if self._late:
            return ServerEvent(EventKind.AUDIO_DELTA, AUDIO, self._reply_id, self._reply_id)
        reply_id = self._begin()
        return ServerEvent(EventKind.AUDIO_DELTA, AUDIO, reply_id, reply_id, size, payload)

    def _text(self, wire: _Wire) -> Iterator[ServerEvent]:
        size = text_characters(wire.content)
        if self._late == "called":  # the text of the answer
            self._late = ""
        if not size or self._late:
            yield ServerEvent(EventKind.NOTED, TEXT)
        elif wire.role == "user":
            self._inputs += 1
            text = string_in(wire.content)[:MAX_TEXT_CHARACTERS]
            yield ServerEvent(
                EventKind.INPUT_TRANSCRIBED, TEXT, item_id=f"input-{self._inputs}", text=text
            )
        else:
            reply_id = self._begin()
            self._said.add(string_in(wire.content))
            yield ServerEvent(
                EventKind.TRANSCRIPT_DELTA, TEXT, reply_id, reply_id, size, wire.content
            )

    def _interrupted(self, _: _Wire) -> Iterator[ServerEvent]:
        yield ServerEvent(EventKind.SPEECH_STARTED, USER_STARTED)
        if self._is_replying:
            self._late = "interrupted"
            yield self._done(USER_STARTED, "cancelled", TURN_DETECTED)

    def _audio_done(self, _: _Wire) -> Iterator[ServerEvent]:
        if self._is_replying:
            yield self._of_reply(EventKind.AUDIO_DONE, AUDIO_DONE)
            yield self._done(AUDIO_DONE, "completed")
        else:
            self._late = "" if self._late in ("calling", "called") else self._late
            yield ServerEvent(EventKind.NOTED, AUDIO_DONE)

    def _called(self, wire: _Wire) -> Iterator[ServerEvent]:
        """Yield the client's function calls of a reply, and its end. The service continues in
        another reply.
        """
        calls = tuple(
            _call(fields)
            for fields in wire.functions[:MAX_CALLS]
            if fields.get("client_side") is not False
        )
        if not calls:
            yield ServerEvent(EventKind.NOTED, CALL)
            return
        # the words before the call may still be spoken
        self._late = "calling" if self._is_replying else ""
        reply_id = self._begin()
        yield self._of_reply(EventKind.CALL_DONE, CALL, calls=calls)
        yield self._done(CALL, "completed")
        self._calling = reply_id

    def _returned(self, _: _Wire) -> Iterator[ServerEvent]:
        self._late = "called" if self._late == "calling" else self._late
        yield ServerEvent(EventKind.NOTED, CALL_RESULT)

    def _call_cancelled(self, _: _Wire) -> Iterator[ServerEvent]:
        reply_id = self._calling
        self._calling = ""
        if reply_id and not self._is_replying:
            yield self._done(CALL_CANCELLED, "cancelled", TURN_DETECTED, reply_id)
        else:
            yield ServerEvent(EventKind.NOTED, CALL_CANCELLED)


def _call(fields: Mapping[str, Any]) -> FunctionCall:
    arguments = get_text(fields, "arguments", MAX_ARGUMENTS_CHARACTERS)
    return FunctionCall(get_text(fields, "id"), get_text(fields, "name"), arguments)


def _welcome(_: DeepgramReader, wire: _Wire) -> Iterator[ServerEvent]:
    yield ServerEvent(
        EventKind.SESSION_CREATED, WELCOME, session_id=wire.request_id[:MAX_ID_CHARACTERS]
    )


def _applied(_: DeepgramReader, wire: _Wire) -> Iterator[ServerEvent]:
    yield ServerEvent(EventKind.SESSION_UPDATED, SETTINGS_APPLIED)


def _refused(_: DeepgramReader, wire: _Wire) -> Iterator[ServerEvent]:
    cause = "injection_refused"
    detail = wire.message[:MAX_MESSAGE_CHARACTERS]
    yield ServerEvent(
        EventKind.ERROR,
        REFUSED,
        failure=ServiceFailure(cause, cause, detail, effect=ErrorScope.TURN_FAILED),
    )


def _failed(_: DeepgramReader, wire: _Wire) -> Iterator[ServerEvent]:
    """Yield the error. According to Deepgram's page, each error ends the session."""
    code = slug(wire.code[:MAX_ID_CHARACTERS].lower()) or "unknown"
    detail = wire.description[:MAX_MESSAGE_CHARACTERS]
    effect = ErrorScope.EXPIRED if wire.code == ENDED else ErrorScope.FATAL
    yield ServerEvent(
        EventKind.ERROR, ERROR, failure=ServiceFailure(code, code, detail, effect=effect)
    )


def _warned(_: DeepgramReader, wire: _Wire) -> Iterator[ServerEvent]:
    yield ServerEvent(EventKind.GOING_AWAY if wire.code == ENDING else EventKind.NOTED, WARNING)


READERS: Mapping[str, Callable[[DeepgramReader, _Wire], Iterator[ServerEvent]]] = MappingProxyType(
    {
        WELCOME: _welcome,
        SETTINGS_APPLIED: _applied,
        TEXT: DeepgramReader._text,
        USER_STARTED: DeepgramReader._interrupted,
        AUDIO_DONE: DeepgramReader._audio_done,
        CALL: DeepgramReader._called,
        CALL_RESULT: DeepgramReader._returned,
        CALL_CANCELLED: DeepgramReader._call_cancelled,
        REFUSED: _refused,
        ERROR: _failed,
        WARNING: _warned,
    }
)
"""The functions that read messages, by their names."""
