"""The events of GPT-Live, and the decoder of one session. Pure.

Names and fields are those of the Live API's server events in openai-python 3.51 to 3.57
(`types/live`).

The service hands tasks to a backend, whose responses it does not speak. Its events are nested in
`response.event`. A task names its response at most, and a client's request none, so the decoder
counts the responses that must still start, and knows those that have started and ended. Repeated
events of a response are only noted.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from bench.files.sanitize import slug
from bench.files.values import (
    MAX_ARGUMENTS_CHARACTERS,
    MAX_ID_CHARACTERS,
    get_object,
    get_text,
    object_in,
    string_in,
)
from bench.services.full_duplex import (
    AUDIO_DELTA,
    CLOSED,
    ERROR,
    TRANSCRIPT_DELTA,
    OpenAIWire,
    described,
    reported_ns,
)
from bench.services.openai.events import failure_of, usage_of
from bench.wire.dialect import NOT_JSON, decode_again
from bench.wire.events import (
    EMPTY,
    ErrorScope,
    EventKind,
    FunctionCall,
    ServerEvent,
    ServiceFailure,
    base64_bytes,
    text_characters,
)

STARTED = "session.started"
PAUSED = "session.paused"
RESUMED = "session.resumed"
DELEGATED = "session.delegation.created"
COMMENTARY_ACCEPTED = "session.commentary.appended"
BACKEND_EVENT = "response.event"
NOTED = frozenset(
    {
        "session.updated",
        "session.input_audio.muted",
        "session.input_audio.unmuted",
        "session.input_transcript.delta",
        "session.output_audio.fixture.playing",
        "session.output_audio.fixture.played",
        "session.instructions.appended",
        "session.thinking.appended",
        "session.usage.updated",
        "decision.event",
        "decision.item.created",
        "decision.item.deleted",
        "info",
    }
)
"""Known events that set no instant."""
BACKEND_ENDS = ("response.completed", "response.failed", "response.incomplete")
CLIENT = "client"
BACKEND = "responses"
"""The executors of delegated tasks. The default is the client."""
ASKED_TO_CLOSE = "close_requested"
EXPIRED = "expired"


class Wire(OpenAIWire):
    """The decoded fields of an event."""

    reason: msgspec.Raw = EMPTY
    delegation: msgspec.Raw = EMPTY
    event: msgspec.Raw = EMPTY
    client_event_id: msgspec.Raw = EMPTY


class _BackendWire(msgspec.Struct):
    """The decoded fields of a backend's event."""

    type: str = ""
    response: msgspec.Raw = EMPTY
    item: msgspec.Raw = EMPTY


_decode_wire = msgspec.json.Decoder(Wire).decode
_decode_backend = msgspec.json.Decoder(_BackendWire).decode


# `session.started` is the answer to the first message and describes the session, so it stands for
# both events of the other dialects: created and updated (`_started`). The end of the session has
# the seconds to pay for (`_closed`): without it, they are unknown, and not zero.
def _started(wire: Wire) -> Sequence[ServerEvent]:
    kinds = (EventKind.SESSION_CREATED, EventKind.SESSION_UPDATED)
    return tuple(described(kind, STARTED, wire) for kind in kinds)


def _closed(wire: Wire) -> Sequence[ServerEvent]:
    """Return the event for the end of a session, which the client requested or the service
    caused.
    """
    reason = slug(string_in(wire.reason)[:MAX_ID_CHARACTERS]) or "unknown"
    billed_ns, paused_ns = (
        reported_ns(object_in(wire.usage).get(name)) for name in ("seconds", "paused_seconds")
    )
    closed = ServerEvent(EventKind.SESSION_CLOSED, CLOSED, billed_ns=billed_ns, paused_ns=paused_ns)
    if reason == ASKED_TO_CLOSE:
        return (closed,)
    effect = ErrorScope.EXPIRED if reason == EXPIRED else ErrorScope.FATAL
    failure = ServiceFailure(
        "session_closed", reason, f"the service closed the session: {reason}", effect=effect
    )
    return closed, ServerEvent(EventKind.ERROR, CLOSED, failure=failure)


def _accepted(wire: Wire) -> Sequence[ServerEvent]:
    return (
        ServerEvent(
            EventKind.RESULT_ACCEPTED, COMMENTARY_ACCEPTED, request=string_in(wire.client_event_id)
        ),
    )


def _error(wire: Wire) -> Sequence[ServerEvent]:
    return (
        ServerEvent(
            EventKind.ERROR, ERROR, failure=failure_of(object_in(wire.error), "client_event_id")
        ),
    )


DECODERS: Mapping[str, Callable[[Wire], Sequence[ServerEvent]]] = MappingProxyType(
    {
        STARTED: _started,
        PAUSED: lambda wire: (ServerEvent(EventKind.PAUSED, PAUSED),),
        RESUMED: lambda wire: (ServerEvent(EventKind.RESUMED, RESUMED),),
        CLOSED: _closed,
        COMMENTARY_ACCEPTED: _accepted,
        ERROR: _error,
    }
)


class LiveReader:
    """The decoder of one session. `decode` gets its messages in the order of their arrival."""

    __slots__ = ("_ended", "_owed", "_started")

    decoders = DECODERS
    """The functions that decode rare events, by the names of the events."""

    def __init__(self) -> None:
        self._owed = 0
        """The number of responses of the backend that must still start."""
        self._started: set[str] = set()
        self._ended: set[str] = set()

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        """Return the events of a message."""
        try:
            wire = _decode_wire(message)
            name = wire.type[:MAX_ID_CHARACTERS]
            # deltas first: they are nearly all messages
            if name == AUDIO_DELTA:
                size = base64_bytes(wire.delta)
                return (
                    ServerEvent(
                        EventKind.AUDIO_DELTA, name, payload_bytes=size, payload=wire.delta
                    ),
                )
            if name == TRANSCRIPT_DELTA:
                size = text_characters(wire.delta)
                return (
                    ServerEvent(
                        EventKind.TRANSCRIPT_DELTA, name, payload_bytes=size, payload=wire.delta
                    ),
                )
            if name == DELEGATED:
                return (self._delegated(wire),)
            if name == BACKEND_EVENT:
                return (self._backend_event(wire),)
            if decode := self.decoders.get(name):
                return decode(wire)
            return (ServerEvent(EventKind.NOTED if name in NOTED else EventKind.UNKNOWN, name),)
        except NOT_JSON as error:
            return decode_again(self.decode, message, error)

    @property
    def _pending(self) -> int:
        return self._owed + len(self._started) - len(self._ended)

    def _delegated(self, wire: Wire) -> ServerEvent:
        """Return the event for a delegated task. A task for the client is a function call without
        a name.
        """
        delegation = object_in(wire.delegation)
        target = slug(get_text(delegation, "target"))
        if target not in (CLIENT, BACKEND):
            text = (
                f"the service delegated a task to {target or 'an unknown backend'}, whose tokens"
                " and results it does not report"
            )
            failure = ServiceFailure("delegation", "delegation", text, effect=ErrorScope.FATAL)
            return ServerEvent(EventKind.ERROR, DELEGATED, failure=failure)
        calls: tuple[FunctionCall, ...] = ()
        if target == CLIENT:
            calls = (FunctionCall(get_text(delegation, "id"), is_task=True),)
        elif get_text(delegation, "response_id") not in self._started:
            self._owed += 1
        return ServerEvent(EventKind.TASK_ADDED, DELEGATED, calls=calls, pending=self._pending)

    def _backend_event(self, wire: Wire) -> ServerEvent:
        """Return the client's event for an event of the backend."""
        nested = _decode_backend(wire.event) if len(wire.event) else _BackendWire()
        name = f"{BACKEND_EVENT}:{nested.type}"[:MAX_ID_CHARACTERS]
        item = object_in(nested.item)
        kind = get_text(item, "type")
        if nested.type == "response.output_item.added" and kind == "message":
            return ServerEvent(EventKind.RESULT_ACCEPTED, name)
        if nested.type == "response.output_item.done" and kind == "function_call":
            arguments = get_text(item, "arguments", MAX_ARGUMENTS_CHARACTERS)
            call = FunctionCall(get_text(item, "call_id"), get_text(item, "name"), arguments)
            return ServerEvent(EventKind.CALL_DONE, name, calls=(call,))
        response = object_in(nested.response)
        response_id = get_text(response, "id")
        if nested.type == "response.created" and response_id not in self._started:
            self._start(response_id)
            return ServerEvent(EventKind.WORK_STARTED, name, pending=self._pending)
        if nested.type not in BACKEND_ENDS or response_id in self._ended:
            return ServerEvent(EventKind.NOTED, name)
        self._start(response_id)  # its start may be unreported
        self._ended.add(response_id)
        error = get_object(response, "error")
        return ServerEvent(
            EventKind.WORK_DONE,
            name,
            status=nested.type.removeprefix("response."),
            reason=slug(get_text(get_object(response, "incomplete_details"), "reason")),
            failure=failure_of(error) if error else None,
            usage=usage_of(response.get("usage")),
            pending=self._pending,
        )

    def _start(self, response_id: str) -> None:
        if response_id not in self._started:
            self._owed = max(0, self._owed - 1)
            self._started.add(response_id)
