"""The dialect of GPT-Live: OpenAI's `/v1/live/sessions`, Azure's `/openai/v1/live/sessions`.

The names and fields are those of the Live API's client and server events in openai-python 3.51 to
3.57 (`types/live`). Audio, including silence, is sent continuously in both directions. There is
nothing to request, commit, cancel or truncate.

The model hands a task over (a *delegation*) and continues to speak meanwhile:

- To the client, by default. The event does not contain the task. The client sends the result as
  commentary, which the model speaks.
- To a backend of the service, a model of the Responses API (`delegation: {type: responses, …}`).
  The backend's events are nested in `response.event`. It calls the client's functions. After their
  outputs the client must request the next response, but not while any call of the session is
  unanswered (`function_call_outputs_required`). The tokens of the backend are billed in addition to
  the minutes of the session.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.catalogue.pricing import Billing
from bench.files.sanitize import slug
from bench.files.validation import Choice, Converted, Field, Integer, JsonObject, OrStruct, String
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
    CLOSE,
    CLOSED,
    ERROR,
    TRANSCRIPT_DELTA,
    OpenAIDuplexDialect,
    OpenAIWire,
    client_message,
    described,
    reported_ns,
)
from bench.services.openai.dialect import GPT_LIVE_NAME, ga_format, tool_choice
from bench.services.openai.events import MAX_DURATION_CLOSE, failure_of, usage_of
from bench.wire.audio import G711_ALAW, G711_ULAW, PCM16, PCM16_16K, by_name
from bench.wire.dialect import NOT_JSON, AwaitedEvent, ClientMessage, MessageKind, decode_again
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
from bench.wire.service import Route
from bench.wire.settings import (
    FunctionOutput,
    Keys,
    Message,
    ResponseSettings,
    SessionSettings,
    SettingKeys,
    TypedMapValidator,
    UnsupportedSetting,
    backend_model,
    merged,
    undone,
    without_none,
)

FIRST_MODEL = "gpt-live-1"
START = "session.start"
APPEND = "session.input_audio.append"
STARTED = "session.started"
DELEGATED = "session.delegation.created"
COMMENTARY = "session.commentary.append"
COMMENTARY_ACCEPTED = "session.commentary.appended"
BACKEND_ITEM = "response.item.create"
BACKEND_REQUEST = "response.create"
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
BACKEND_KINDS: Mapping[str, EventKind] = MappingProxyType(
    {"response.created": EventKind.BACKEND_STARTED}
    | dict.fromkeys(
        ("response.completed", "response.failed", "response.incomplete"), EventKind.BACKEND_DONE
    )
)
"""The backend's events that contain a response. Two others contain an item: a call, or a
message."""
CLIENT = "client"
BACKEND = "responses"
"""The executors of delegated tasks. The default is the client."""
ASKED_TO_CLOSE = "close_requested"
EXPIRED = "expired"
STORED: Mapping[Keys, str] = MappingProxyType(
    {
        ("model",): "use `model`",
        ("instructions",): "use `instructions`",
        ("audio", "format"): "use `input_format`",
        ("input",): "use `history`",
        ("delegation",): "use `delegation`",
        ("store",): "this tool cannot fork sessions, and so needs no stored one",
        ("triggers",): "the tokens of that backend are not reported, so their cost is unknown",
    }
)
MAX_HISTORY = 128
"""The maximum number of messages before the start of a session."""
ROLES = {"system": "developer"}
"""A mapping from the role of a message in a script to GPT-Live's role, if the names differ."""
ACKNOWLEDGEMENT: dict[str, Any] = {
    "acknowledgement_delay_ms": Field(
        Integer(0, 600_000), "The delay of an automatic filler, in ms."
    )
}
DELEGATION = Converted(
    OrStruct(
        Choice(("client",)),
        TypedMapValidator(
            {
                "client": ACKNOWLEDGEMENT,
                "responses": {
                    "responses": Field(
                        JsonObject(),
                        "The backend: its `model`, `instructions` and so on, in the service's"
                        " format.",
                    ),
                    **ACKNOWLEDGEMENT,
                },
            }
        ),
    ),
    lambda _, value: {"type": value} if isinstance(value, str) else value,
)
SETTING_KEYS = SettingKeys(
    {
        "model": Field(
            String(), "The model that answers, if it is a setting of the session. GPT-Live only."
        ),
        "delegation": Field(
            DELEGATION,
            "Who does the tasks that GPT-Live delegates: client (the default), or a table with a"
            " `type`.",
        ),
    }
)
"""The keys of a script's `session` that only GPT-Live has."""


# `session.started` is the answer to the first message and describes the session, so it stands for
# both events of the other dialects: created and updated (`_started`). The end of the session has
# the seconds to pay for (`_closed`): without it, they are unknown, and not zero.
#
# Two things are refused rather than measured wrongly: a backend whose tokens the service does not
# report, and settings of it in `extra` (`STORED`), because the cost of such a session would be
# unknown.
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


class GptLive(OpenAIDuplexDialect):
    """GPT-Live, a model that listens while it speaks."""

    name = GPT_LIVE_NAME
    title = "GPT-Live"
    append_name = APPEND
    settings = frozenset(
        {
            "output",
            "instructions",
            "voice",
            "turn_detection",
            "input_format",
            "output_format",
            "model",
            "extra",
            "delegation",
            "tools",
            "tool_choice",
            "history",
        }
    )
    only_duplex = "GPT-Live decides by itself when to speak, and does not accept commits"
    has_history_in_settings = True
    delegates = True
    billing = Billing.BACKEND
    expiry = MAX_DURATION_CLOSE
    setting_keys = SETTING_KEYS
    input_formats = output_formats = by_name(PCM16, PCM16_16K, G711_ULAW, G711_ALAW)
    message_kinds = MappingProxyType(
        {
            START: MessageKind.SET_UP,
            APPEND: MessageKind.APPEND,
            COMMENTARY: MessageKind.ITEM,
            BACKEND_ITEM: MessageKind.ITEM,
            BACKEND_REQUEST: MessageKind.REQUEST,
            CLOSE: MessageKind.CLOSE,
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.decoders = DECODERS
        """The functions that decode rare events, by the names of the events."""

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if not (settings.voice is None or isinstance(settings.voice, str)):
            return UnsupportedSetting(("voice",), "voice must be the name of a GPT-Live voice")
        if settings.tool_choice is not None and not _is_backed(settings):
            problem = (
                f"tool_choice needs `delegation: {{type: {BACKEND}}}`: a task for the client names"
                " no function"
            )
            return UnsupportedSetting(("tool_choice",), problem)
        if _is_backed(settings) and backend_model(settings.delegation) is None:
            problem = (
                f"names no model of the backend: `delegation: {{type: {BACKEND}, {BACKEND}:"
                " {model: NAME}}`"
            )
            return UnsupportedSetting(("delegation",), f"delegation {problem}")
        if (count := len(settings.history)) > MAX_HISTORY:
            problem = f"the history has {count} messages: GPT-Live accepts at most {MAX_HISTORY}"
            return UnsupportedSetting(("history",), problem)
        return undone(self._session(settings), settings.extra, STORED)

    # Sent messages.

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        """Return the set-up. The client sends the first message."""
        start = client_message(
            MessageKind.SET_UP,
            START,
            event_id,
            session=merged(self._session(settings), settings.extra),
        )
        return start, AwaitedEvent(EventKind.SESSION_UPDATED, STARTED)

    def _session(self, settings: SessionSettings) -> dict[str, Any]:
        voice = {"output": {"voice": settings.voice}} if settings.voice else {}
        format = self.input_format_for(settings)
        return without_none(
            model=settings.model or FIRST_MODEL,
            instructions=settings.instructions,
            audio={"format": ga_format(format) | {"rate": format.rate_hz}, **voice},
            delegation=_delegation(settings),
            input=[_history_message(message) for message in settings.history] or None,
        )

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        if event["type"] == START:
            return "starts another session"
        session = event.get("session")
        delegation = session.get("delegation") if isinstance(session, Mapping) else None
        if isinstance(delegation, Mapping) and delegation.get("type") not in (CLIENT, BACKEND):
            return (
                f"must not delegate to {delegation.get('type')}: the tokens of that backend are not"
                " reported"
            )
        if event["type"] == CLOSE:
            return "ends the session, which this tool does after the last step"
        return ""

    def function_output(self, result: FunctionOutput, event_id: str) -> ClientMessage:
        if result.of_delegation:
            fields = {"content": result.output, "delegation_id": result.call_id}
            return client_message(MessageKind.ITEM, COMMENTARY, event_id, **fields)
        item = {"type": "function_call_output", "call_id": result.call_id, "output": result.output}
        return client_message(MessageKind.ITEM, BACKEND_ITEM, event_id, item=item)

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        """Return the request of the backend's next response."""
        return client_message(MessageKind.REQUEST, BACKEND_REQUEST, event_id)

    # Received messages.

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
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
            if decode := self.decoders.get(name):
                return decode(wire)
            return (ServerEvent(EventKind.NOTED if name in NOTED else EventKind.UNKNOWN, name),)
        except NOT_JSON as error:
            return decode_again(self.decode, message, error)


def _is_backed(settings: SessionSettings) -> bool:
    return settings.delegation is not None and settings.delegation.get("type") == BACKEND


def _delegation(settings: SessionSettings) -> dict[str, Any] | None:
    """Return the `delegation` of a session. The script's functions are the backend's tools."""
    if not _is_backed(settings):
        return settings.delegation
    tools = [{"type": "function"} | msgspec.to_builtins(tool) for tool in settings.tools]
    backend = {"tools": tools or None, "tool_choice": tool_choice(settings.tool_choice)}
    return merged({BACKEND: without_none(**backend)}, settings.delegation or {})


def _history_message(message: Message) -> dict[str, Any]:
    kind = "output_text" if message.role == "assistant" else "input_text"
    role = ROLES.get(message.role, message.role)
    return {"type": "message", "role": role, "content": [{"type": kind, "text": message.text}]}


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


def _delegated(wire: Wire) -> Sequence[ServerEvent]:
    """Return the event for a delegated task. A task for the client is a function call without a
    name.
    """
    delegation = object_in(wire.delegation)
    task_id = get_text(delegation, "id")
    target = slug(get_text(delegation, "target"))
    if target == CLIENT:
        return (
            ServerEvent(
                EventKind.DELEGATED, DELEGATED, calls=(FunctionCall(task_id, of_delegation=True),)
            ),
        )
    if target == BACKEND:
        response_id = get_text(delegation, "response_id")
        return (ServerEvent(EventKind.DELEGATED, DELEGATED, backend_response_id=response_id),)
    text = (
        f"the service delegated a task to {target or 'an unknown backend'}, whose tokens and"
        " results it does not report"
    )
    failure = ServiceFailure("delegation", "delegation", text, effect=ErrorScope.FATAL)
    return (ServerEvent(EventKind.ERROR, DELEGATED, failure=failure),)


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


def _backend_event(wire: Wire) -> Sequence[ServerEvent]:
    """Return the client's event for an event of the backend."""
    nested = _decode_backend(wire.event) if len(wire.event) else _BackendWire()
    name = f"{BACKEND_EVENT}:{nested.type}"[:MAX_ID_CHARACTERS]
    if nested.type == "response.output_item.added":
        is_message = get_text(object_in(nested.item), "type") == "message"
        return (ServerEvent(EventKind.RESULT_ACCEPTED if is_message else EventKind.NOTED, name),)
    if nested.type == "response.output_item.done":
        item = object_in(nested.item)
        if get_text(item, "type") != "function_call":
            return (ServerEvent(EventKind.NOTED, name),)
        arguments = get_text(item, "arguments", MAX_ARGUMENTS_CHARACTERS)
        call = FunctionCall(get_text(item, "call_id"), get_text(item, "name"), arguments)
        return (ServerEvent(EventKind.CALL_DONE, name, calls=(call,)),)
    kind = BACKEND_KINDS.get(nested.type, EventKind.NOTED)
    if kind is EventKind.NOTED:
        return (ServerEvent(kind, name),)
    response = object_in(nested.response)
    details = get_object(response, "incomplete_details")
    error = get_object(response, "error")
    event = ServerEvent(
        kind,
        name,
        backend_response_id=get_text(response, "id"),
        status=nested.type.removeprefix("response."),
        reason=slug(get_text(details, "reason")),
        failure=failure_of(error) if error else None,
        usage=usage_of(response.get("usage")) if kind is EventKind.BACKEND_DONE else None,
    )
    return (event,)


DECODERS: Mapping[str, Callable[[Wire], Sequence[ServerEvent]]] = MappingProxyType(
    {
        STARTED: _started,
        CLOSED: _closed,
        DELEGATED: _delegated,
        COMMENTARY_ACCEPTED: _accepted,
        BACKEND_EVENT: _backend_event,
        ERROR: _error,
    }
)
GPT_LIVE = GptLive()
ROUTES: Mapping[str, Route] = {
    "openai": Route("/v1/live/sessions", GPT_LIVE),
    "azure": Route("/openai/v1/live/sessions", GPT_LIVE, title=GPT_LIVE.title),
}
