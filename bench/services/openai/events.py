"""The decoder of OpenAI Realtime API server events, with the names of the preview and of GA. Pure.

A server message is one event, whatever its content. This module shortens every text of the service
that is stored (`bench.files.sanitize`), because all texts pass through this module.

The tokens of a response are in the `usage` of its `response.done`. Tokens without a kind count as
text, and are also counted separately. Cached tokens without a kind count as text only up to the
number of text tokens. An invalid number of tokens never counts as zero: an unreadable usage, or one
without a token for what was generated, does not mean that a response is free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from bench.catalogue.outcomes import PERMANENT, error_code
from bench.files.sanitize import slug
from bench.files.values import (
    MAX_ARGUMENTS_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    get_object,
    get_text,
    milliseconds_in,
    object_in,
    shortened_settings,
    string_in,
)
from bench.wire.dialect import NOT_JSON, Dialect, MessageKind, decode_again
from bench.wire.events import (
    AUDIO_DELTA,
    AUDIO_DONE,
    DELTAS,
    EMPTY,
    INPUT_DELTA,
    ITEM_RETRIEVED,
    OUTPUT_ADDED,
    RATE_LIMITS,
    RESPONSE_DONE,
    SPEECH_STARTED,
    TOKEN_KINDS,
    UNKNOWN,
    UNREAD,
    ErrorScope,
    EventKind,
    FunctionCall,
    McpItem,
    ServerEvent,
    ServiceFailure,
    TokenUsage,
    base64_bytes,
    rate_limits,
    text_characters,
    token_count,
)

SHARED_KINDS = {
    "session.created": EventKind.SESSION_CREATED,
    # some servers send only this event at the start
    "conversation.created": EventKind.SESSION_CREATED,
    "session.updated": EventKind.SESSION_UPDATED,
    "transcription_session.created": EventKind.SESSION_CREATED,
    "transcription_session.updated": EventKind.SESSION_UPDATED,
    "input_audio_buffer.speech_started": EventKind.SPEECH_STARTED,
    "input_audio_buffer.speech_stopped": EventKind.SPEECH_STOPPED,
    "input_audio_buffer.committed": EventKind.COMMITTED,
    "input_audio_buffer.timeout_triggered": EventKind.IDLE_TIMEOUT,
    "conversation.item.created": EventKind.ITEM_ADDED,
    "conversation.item.added": EventKind.ITEM_ADDED,
    "conversation.item.deleted": EventKind.ITEM_DELETED,
    "conversation.item.input_audio_transcription.completed": EventKind.INPUT_TRANSCRIBED,
    "conversation.item.input_audio_transcription.delta": EventKind.INPUT_DELTA,
    "conversation.item.input_audio_transcription.failed": EventKind.INPUT_NOT_TRANSCRIBED,
    "response.created": EventKind.RESPONSE_CREATED,
    "response.done": EventKind.RESPONSE_DONE,
    "response.output_item.added": EventKind.OUTPUT_ADDED,
    "response.output_item.done": EventKind.OUTPUT_DONE,
    "response.function_call_arguments.done": EventKind.CALL_DONE,
    "conversation.item.truncated": EventKind.TRUNCATED,
    "conversation.item.retrieved": EventKind.ITEM_RETRIEVED,
    "rate_limits.updated": EventKind.RATE_LIMITS,
    "error": EventKind.ERROR,
} | dict.fromkeys(
    (
        "conversation.item.done",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.cleared",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
    ),
    EventKind.NOTED,
)


def part_kinds(text: str, audio: str, transcript: str) -> dict[str, EventKind]:
    """Return the kinds of the events of a response's parts, by the beginnings of the names of
    three parts.
    """
    return {
        f"{text}.delta": EventKind.TEXT_DELTA,
        f"{text}.done": EventKind.TEXT_DONE,
        f"{audio}.delta": AUDIO_DELTA,
        f"{audio}.done": AUDIO_DONE,
        f"{transcript}.delta": EventKind.TRANSCRIPT_DELTA,
        f"{transcript}.done": EventKind.TRANSCRIPT_DONE,
    }


# The three families of events that GA renamed. If a server sends one with the name of the other
# dialect, every client of this dialect misreads it. So it is an error
# (`ServerEvent.other_dialect`), and not a missing sample.
PREVIEW_PARTS = part_kinds("response.text", "response.audio", "response.audio_transcript")
GA_PARTS = part_kinds(
    "response.output_text", "response.output_audio", "response.output_audio_transcript"
)
ACTIVE_RESPONSE = "conversation_already_has_active_response"
"""The code of the error that refuses a request while another response is in progress."""
_OF_ACTIVE_RESPONSE = re.compile(r"already has an active response", re.IGNORECASE)
"""The message of an error with this code, also of servers that omit the code."""
EFFECTS = dict.fromkeys(PERMANENT, ErrorScope.FATAL) | {
    "session_expired": ErrorScope.EXPIRED,
    "rate_limit_exceeded": ErrorScope.THROTTLED,
    "server_error": ErrorScope.TURN_FAILED,
    "inference_not_authorized_error": ErrorScope.TURN_FAILED,
    ACTIVE_RESPONSE: ErrorScope.UNANSWERED,
}
"""The effects of errors, by the code of the error. If an error has no code, its type is the key."""
REQUEST_KEY = "rtbench_request"
"""The key in a response's metadata under which the service returns the event id of the request."""
NO_COUNTS = (None,) * len(TOKEN_KINDS)
OF_KINDS = [f"{kind}_tokens" for kind in TOKEN_KINDS]
"""The counts of tokens of an object without counts, and the names of those of others."""
FUNCTION_CALL = "function_call"
"""The type of an item that calls a function."""
MCP_CALL = "mcp_call"
MCP_APPROVAL_REQUEST = "mcp_approval_request"
"""The types of the items that call an MCP server's tool, and that request the client's approval
of such a call."""
WITH_ERROR = frozenset({EventKind.ERROR, EventKind.INPUT_NOT_TRANSCRIBED})
OF_OUTPUT = frozenset(
    {EventKind.OUTPUT_ADDED, EventKind.OUTPUT_DONE, EventKind.CALL_ADDED, EventKind.CALL_DONE}
)
MODALITIES = ("output_modalities", "modalities")
"""The names of the setting for a session's output kinds, one of each dialect."""
IDLE_TIMEOUT = ("audio", "input", "turn_detection", "idle_timeout_ms")
"""The path of the setting for the caller's silence after which the service speaks."""
FILLERS = "interim_response"
"""Azure Voice Live's setting of which fillers are spoken, and when (azure-ai-voicelive,
`RequestSession`)."""
MAX_DURATION_CLOSE = (1001, "maximum duration")
"""(code, part of the reason) of a close at a session's maximum age. Azure sends
`session_expired` before it."""

Short = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARACTERS)]


class _Item(msgspec.Struct):
    """The decoded fields of an item. A function call has its own name and id, an item of an MCP
    server its label.
    """

    id: Short = ""
    type: Short = ""
    phase: Short | None = None
    name: Short | None = None
    call_id: Short | None = None
    server_label: Short | None = None
    error: Any = None


class _Wire(msgspec.Struct):
    """The decoded fields of a message, with the types that services use. msgspec skips all other
    fields.
    """

    type: Short = ""
    response_id: Short | None = None
    item_id: Short | None = None
    delta: msgspec.Raw = EMPTY
    item: _Item | None = None
    response: msgspec.Raw = EMPTY
    session: msgspec.Raw = EMPTY
    error: msgspec.Raw = EMPTY
    text: str | None = None
    transcript: str | None = None
    audio_start_ms: int | None = None
    audio_end_ms: int | None = None
    call_id: Short | None = None
    name: Short | None = None
    arguments: str | None = None


class _Names(msgspec.Struct):
    """The fields that must be text in every event. If they are not, the event is malformed."""

    type: str = ""
    response_id: str | None = None
    item_id: str | None = None


class _Limits(msgspec.Struct):
    """The only decoded field of `rate_limits.updated`, an event that arrives at most once per
    response.
    """

    rate_limits: Any = None


_decode_wire = msgspec.json.Decoder(_Wire).decode
_decode_names = msgspec.json.Decoder(_Names, strict=False).decode
_decode_limits = msgspec.json.Decoder(_Limits, strict=False).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def _loose(message: bytes) -> _Wire:
    """Decode a message with values of other types, which count as missing, or with long ids,
    which are cut.
    """
    names = _decode_names(message)
    fields = _decode_fields(message)

    def raw(name: str) -> msgspec.Raw:
        return fields.get(name, EMPTY)

    return _Wire(
        type=names.type[:MAX_ID_CHARACTERS],
        response_id=(names.response_id or "")[:MAX_ID_CHARACTERS],
        item_id=(names.item_id or "")[:MAX_ID_CHARACTERS],
        delta=raw("delta"),
        item=_Item(*(get_text(object_in(raw("item")), name) for name in _Item.__struct_fields__)),
        response=raw("response"),
        session=raw("session"),
        error=raw("error"),
        text=string_in(raw("text")),
        transcript=string_in(raw("transcript")),
        audio_start_ms=milliseconds_in(raw("audio_start_ms")),
        audio_end_ms=milliseconds_in(raw("audio_end_ms")),
        call_id=string_in(raw("call_id"))[:MAX_ID_CHARACTERS],
        name=string_in(raw("name"))[:MAX_ID_CHARACTERS],
        arguments=string_in(raw("arguments")),
    )


# Most messages are deltas of audio, so `decode` compares this kind first, and msgspec decodes only
# the few fields of `_Wire`. The payload stays as it is: its size follows from its length. A message
# of other types than documented is decoded a second time, field by field (`_loose`), so that one
# wrong field does not hide an event. All other events pass through `_described`.
class EventReader(Dialect):
    """The decoding half of a Realtime API dialect: mappings from the names of events to their
    kinds.

    `parts` is for the parts of a response, `other_kinds` for the other dialect's names of these,
    and `own_kinds` for others.
    """

    parts: Mapping[str, EventKind]
    other_kinds: Mapping[str, EventKind]
    own_kinds: Mapping[str, EventKind] = MappingProxyType({})
    item_kinds: Mapping[tuple[EventKind, str], EventKind] = MappingProxyType({})
    """A mapping from (kind of an event, type of its item) to the kind of the event, if it
    depends on the item."""

    def __init__(self) -> None:
        self.kinds: Mapping[str, EventKind] = {**SHARED_KINDS, **self.parts, **self.own_kinds}
        self._kind_of = self.kinds.get
        self._other_dialect = frozenset(
            name for name, kind in self.other_kinds.items() if kind in DELTAS
        )

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        """Return the event of a message. A message is always one event."""
        try:
            try:
                wire = _decode_wire(message)
            except msgspec.ValidationError:
                wire = _loose(message)
            kind = self._kind_of(wire.type)
            if kind is AUDIO_DELTA:  # first, because most messages are of this kind
                delta = _unescaped(wire.delta) if b"\\" in message else wire.delta
                size = base64_bytes(delta)
                return (
                    ServerEvent(
                        kind, wire.type, wire.response_id or "", wire.item_id or "", size, delta
                    ),
                )
            if kind in DELTAS:
                delta = wire.delta
                size = text_characters(delta)
                return (
                    ServerEvent(
                        kind, wire.type, wire.response_id or "", wire.item_id or "", size, delta
                    ),
                )
            if kind is INPUT_DELTA:
                text = string_in(wire.delta)[:MAX_TEXT_CHARACTERS]
                return (ServerEvent(kind, wire.type, item_id=wire.item_id or "", text=text),)
            if kind is None:  # an unknown name, or one of the other dialect
                kind = UNKNOWN
                other = wire.type in self._other_dialect
                return (
                    ServerEvent(
                        kind,
                        wire.type,
                        wire.response_id or "",
                        wire.item_id or "",
                        other_dialect=other,
                    ),
                )
            if kind is RATE_LIMITS:
                return (
                    ServerEvent(
                        kind, wire.type, limits=rate_limits(_decode_limits(message).rate_limits)
                    ),
                )
            if kind is ITEM_RETRIEVED:
                return (_retrieved(wire, _parts(_decode_object(message))),)
            if wire.item is not None:
                if kind is OUTPUT_ADDED and wire.item.type == FUNCTION_CALL:
                    kind = EventKind.CALL_ADDED
                else:
                    kind = self.item_kinds.get((kind, wire.item.type), kind)
            return (_described(kind, wire),)
        except NOT_JSON as error:
            return decode_again(self.decode, message, error)

    def without_audio(self, message: bytes) -> bytes:
        (event,) = self.decode(message)
        if self.message_kinds.get(event.name) is MessageKind.APPEND:
            fields = _decode_fields(message)
            return msgspec.json.encode(
                {name: value for name, value in fields.items() if name != "audio"}
            )
        if event.kind is ITEM_RETRIEVED:
            message_fields = _decode_object(message)
            for part in _parts(message_fields):
                part.pop("audio", None)
            return msgspec.json.encode(message_fields)
        # A log needs the ids of a delta for the replay. In a delta of the other dialect, audio may
        # be at a key that this dialect does not know.
        if event.kind is AUDIO_DELTA or event.other_dialect:
            return msgspec.json.encode(
                {"type": event.name, "response_id": event.response_id, "item_id": event.item_id}
            )
        return message

    def text_only(self, session: Mapping[str, Any]) -> str:
        outputs = {name: session.get(name) for name in MODALITIES}
        return next(
            (
                name
                for name, value in outputs.items()
                if isinstance(value, list) and "audio" not in value
            ),
            "",
        )

    def idle_timeout_ms(self, session: Mapping[str, Any]) -> int | None:
        """Return the idle timeout, which only GA has (`session.audio.input.turn_detection`)."""
        value: Any = session
        for key in IDLE_TIMEOUT:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def fills_waits(self, session: Mapping[str, Any]) -> bool:
        """Return whether the session speaks fillers, as only Azure Voice Live does, with the
        preview's names.
        """
        return isinstance(session.get(FILLERS), Mapping)


def _unescaped(raw: msgspec.Raw) -> msgspec.Raw:
    """Return a JSON string without unnecessary escapes. Some encoders escape `+` and `/` of
    base64.
    """
    value = msgspec.json.decode(raw) if len(raw) else None
    return msgspec.Raw(b'"' + value.encode() + b'"') if isinstance(value, str) else raw


def _described(kind: EventKind, wire: _Wire) -> ServerEvent:
    """Return an event that is not a delta, with its ids, its status and the object that it
    contains.
    """
    item = wire.item
    is_of_output = kind in OF_OUTPUT
    event = ServerEvent(
        kind,
        wire.type,
        wire.response_id or "",
        wire.item_id or (item.id if item is not None else ""),
        text=(wire.transcript or wire.text or "")[:MAX_TEXT_CHARACTERS],
        audio_ms=wire.audio_start_ms if kind is SPEECH_STARTED else wire.audio_end_ms,
        mcp=_mcp_item(item) if item is not None and item.server_label else None,
        phase=slug(item.phase) if is_of_output and item is not None and item.phase else "",
        calls=_call(wire) if is_of_output else (),
    )
    # most events have none of these objects
    if is_of_output or not (len(wire.response) or len(wire.session) or len(wire.error)):
        return event
    response = object_in(wire.response)
    session = {}
    if len(wire.session):
        session = shortened_settings(object_in(wire.session), len(wire.session))
    details = get_object(response, "status_details")
    error = object_in(wire.error) if kind in WITH_ERROR else details.get("error")
    is_done = kind is RESPONSE_DONE
    return msgspec.structs.replace(
        event,
        response_id=event.response_id or get_text(response, "id"),
        status=slug(get_text(response, "status")),
        reason=slug(get_text(details, "reason")),
        request=get_text(get_object(response, "metadata"), REQUEST_KEY),
        failure=failure_of(error) if error and isinstance(error, dict) else None,
        usage=_usage_of_response(response) if is_done else None,
        calls=_calls(response) if is_done else (),
        session=session or None,
        session_id=get_text(session, "id"),
    )


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of the item in a message."""
    content = get_object(message, "item").get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _retrieved(wire: _Wire, parts: Sequence[dict[str, Any]]) -> ServerEvent:
    """Return the event with the content of an item, as the service keeps it: the size of the
    audio, and the text.
    """
    sizes = [base64_bytes(msgspec.Raw(msgspec.json.encode(part.get("audio")))) for part in parts]
    texts = (
        get_text(part, name, MAX_TEXT_CHARACTERS)
        for part in parts
        for name in ("transcript", "text")
    )
    return ServerEvent(
        ITEM_RETRIEVED,
        wire.type,
        item_id=wire.item_id or (wire.item.id if wire.item else ""),
        payload_bytes=-1 if min(sizes, default=0) < 0 else sum(sizes),
        text=" ".join(filter(None, texts))[:MAX_TEXT_CHARACTERS],
    )


def _call(wire: _Wire) -> tuple[FunctionCall, ...]:
    """Return the function call in an item's event; an empty tuple if the item is of another
    kind.
    """
    item = wire.item or _Item()
    call_id = wire.call_id or item.call_id
    if not call_id:
        return ()
    return (
        FunctionCall(
            call_id, wire.name or item.name or "", (wire.arguments or "")[:MAX_ARGUMENTS_CHARACTERS]
        ),
    )


def _mcp_item(item: _Item) -> McpItem:
    """Return an item of an MCP server. Its error has a type, a message, and sometimes a code,
    which is a number.
    """
    error = item.error if isinstance(item.error, dict) else {}
    code = error.get("code")
    cause = f"{get_text(error, 'type')} {code if isinstance(code, int) else ''}".strip()
    message = get_text(error, "message", MAX_MESSAGE_CHARACTERS)
    return McpItem(
        item.server_label or "", item.name or "", ": ".join(filter(None, (cause, message)))
    )


def _calls(response: Mapping[str, Any]) -> tuple[FunctionCall, ...]:
    """Return the function calls in the output of a response that is done."""
    output = response.get("output")
    calls = []
    for item in output if isinstance(output, list) else ():
        if (
            isinstance(item, dict)
            and item.get("type") == FUNCTION_CALL
            and (call_id := get_text(item, "call_id"))
        ):
            name = get_text(item, "name")
            arguments = get_text(item, "arguments", MAX_ARGUMENTS_CHARACTERS)
            calls.append(FunctionCall(call_id, name, arguments))
    return tuple(calls)


def failure_of(error: Mapping[str, Any], id_name: str = "event_id") -> ServiceFailure:
    """Return an error that the service reported. `id_name` is the field that contains the
    client's id of a message.
    """
    kind, code = (slug(get_text(error, name)) for name in ("type", "code"))
    if not code and _OF_ACTIVE_RESPONSE.search(get_text(error, "message", MAX_MESSAGE_CHARACTERS)):
        code = ACTIVE_RESPONSE
    code = error_code(code, kind)
    effect = EFFECTS.get(code or kind, ErrorScope.NONE)
    return ServiceFailure(
        kind,
        code,
        get_text(error, "message", MAX_MESSAGE_CHARACTERS),
        get_text(error, id_name),
        effect,
    )


def _usage_of_response(response: Mapping[str, Any]) -> TokenUsage | None:
    """Return the tokens of a response. Of a complete one with output, 0 tokens of output are no
    count.
    """
    usage = usage_of(response.get("usage"))
    has_output = get_text(response, "status") == "completed" and response.get("output")
    is_counted = usage is None or usage.text_out or usage.audio_out
    return usage if is_counted or not has_output else UNREAD


def usage_of(usage: Any) -> TokenUsage | None:
    """Return the tokens of a response; None if no tokens are reported, `UNREAD` if the usage is
    unreadable.
    """
    if usage is None or usage == {}:
        return None
    try:
        return TokenUsage(**tokens_in(usage))
    except ValueError:
        return UNREAD


def tokens_in(usage: Any) -> dict[str, int]:
    """Return the fields of `bench.wire.events.TokenUsage`. Raise ValueError if one is invalid or
    missing.
    """
    input_details = _details(usage, "input_token_details") or _details(
        usage, "input_tokens_details"
    )
    output_details = _details(usage, "output_token_details") or _details(
        usage, "output_tokens_details"
    )
    no_tokens = 0 if _tokens(usage, "total_tokens") == 0 else None
    input_tokens, kindless_in = _by_kind(input_details, _tokens(usage, "input_tokens"), no_tokens)
    output_tokens, kindless_out = _by_kind(
        output_details, _tokens(usage, "output_tokens"), no_tokens
    )
    text_out, audio_out, _ = output_tokens
    cached = _tokens(input_details, "cached_tokens")
    cached_tokens = _cached(
        _details(input_details, "cached_tokens_details"), cached or 0, input_tokens
    )
    text_in, audio_in, image_in = input_tokens
    cached_text = cached_audio = cached_image = 0
    if any(cached_tokens):
        cached_text, cached_audio, cached_image = map(min, input_tokens, cached_tokens)
    return {
        "text_in": text_in,
        "audio_in": audio_in,
        "image_in": image_in,
        "cached_in": cached or sum(cached_tokens),
        "cached_text_in": cached_text,
        "cached_audio_in": cached_audio,
        "cached_image_in": cached_image,
        "cache_write_in": _tokens(input_details, "cache_write_tokens") or 0,
        "text_out": text_out,
        "audio_out": audio_out,
        "kindless_in": kindless_in,
        "kindless_out": kindless_out,
    }


def _details(parent: Any, name: str) -> Any:
    """Return the object with this name in the object `parent`; {} if it is missing."""
    if not isinstance(parent, dict):
        raise ValueError
    value = parent.get(name)
    return {} if value is None else value


def _tokens(parent: Any, name: str) -> int | None:
    """Return the number of tokens with this name; None if it is missing."""
    if not isinstance(parent, dict):
        raise ValueError
    return token_count(parent.get(name))


def _token_counts(details: Any) -> Sequence[int | None]:
    """Return the number of tokens of each of `TOKEN_KINDS`; None for a kind that is not
    reported.
    """
    if details == {}:
        return NO_COUNTS
    return [_tokens(details, name) for name in OF_KINDS]


def _by_kind(details: Any, *totals: int | None) -> tuple[list[int], int]:
    """Return (the tokens of each of `TOKEN_KINDS`, the number of tokens without a kind).

    Tokens without a kind are those of the first reported total that no kind contains. They count as
    text.
    """
    counts = _token_counts(details)
    total = next((tokens for tokens in totals if tokens is not None), None)
    if total is None and all(tokens is None for tokens in counts):
        raise ValueError
    known = [tokens or 0 for tokens in counts]
    kindless = max(0, (total or 0) - sum(known))
    known[0] += kindless
    return known, kindless


def _cached(details: Any, cached: int, input_tokens: list[int]) -> list[int]:
    """Return the number of cached tokens of each of `TOKEN_KINDS`.

    Without kinds they count as text up to the input's text tokens, then likewise as audio, and then
    as image.
    """
    counts = _token_counts(details)
    if any(tokens is not None for tokens in counts):
        return [tokens or 0 for tokens in counts]
    text = min(input_tokens[0], cached)
    audio = min(input_tokens[1], cached - text)
    return [text, audio, cached - text - audio]
