"""What the dialects of the OpenAI Realtime API share: the preview's and GA's (`openai_preview.py`, `openai_ga.py`).

Names and fields: the Realtime API's client and server events, in the spelling of the preview (api-versions
2024-10-01-preview, 2025-04-01-preview) and of GA. A server event is one event, whatever it says.

Every text of the service that is kept is cut here (`lengths.py`): there is no other way in.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import msgspec

from bench.plain import word
from bench.protocol.audio import (
    G711_ALAW,
    G711_ULAW,
    PCM16,
    PCM16_8K,
    PCM16_16K,
    PCM16_48K,
    AudioFormat,
    AudioFormatName,
    by_name,
    chosen,
)
from bench.protocol.base import Act, Awaited, ClientMessage, Feature, SettingsRefusal
from bench.protocol.events import (
    DELTAS,
    EMPTY,
    UNREAD,
    Effect,
    Event,
    Failure,
    FunctionCall,
    Kind,
    Usage,
    base64_bytes,
    text_characters,
)
from bench.protocol.extra import Keys, conflict, merged, undone
from bench.protocol.lengths import LONGEST_ARGUMENTS, LONGEST_ID, LONGEST_TEXT, LONGEST_WORDS, shortened
from bench.protocol.limits import rate_limits
from bench.protocol.loose import milliseconds_in, object_in, part_of, string_in, text_of
from bench.protocol.messages import FunctionOutput, Message
from bench.protocol.settings import FULL_DUPLEX, Output, ResponseSettings, SessionSettings, TurnDetection, without_none
from bench.protocol.tokens import UnreadableError, tokens_in

FORMATS = by_name(PCM16, G711_ULAW, G711_ALAW)
"""What OpenAI takes and gives."""
RATED_FORMATS: Mapping[AudioFormatName, AudioFormat] = {**FORMATS, **by_name(PCM16_8K, PCM16_16K, PCM16_48K)}
"""What can be said where a format has its rate beside it: OpenAI's own formats, and those of servers like it."""
NAMES = {
    Act.SET_UP: "session.update",
    Act.ITEM: "conversation.item.create",
    Act.APPEND: "input_audio_buffer.append",
    Act.COMMIT: "input_audio_buffer.commit",
    Act.CLEAR: "input_audio_buffer.clear",
    Act.REQUEST: "response.create",
    Act.CANCEL: "response.cancel",
    Act.TRUNCATE: "conversation.item.truncate",
    Act.RETRIEVE: "conversation.item.retrieve",
}
SHARED_KINDS = {
    "session.created": Kind.SESSION_CREATED,
    "conversation.created": Kind.SESSION_CREATED,  # some servers greet with it alone
    "session.updated": Kind.SESSION_UPDATED,
    "input_audio_buffer.speech_started": Kind.SPEECH_STARTED,
    "input_audio_buffer.speech_stopped": Kind.SPEECH_STOPPED,
    "input_audio_buffer.committed": Kind.COMMITTED,
    "input_audio_buffer.timeout_triggered": Kind.IDLE_TIMEOUT,
    "conversation.item.created": Kind.ITEM_ADDED,
    "conversation.item.added": Kind.ITEM_ADDED,
    "conversation.item.deleted": Kind.ITEM_DELETED,
    "conversation.item.input_audio_transcription.completed": Kind.INPUT_TRANSCRIBED,
    "conversation.item.input_audio_transcription.failed": Kind.INPUT_NOT_TRANSCRIBED,
    "response.created": Kind.RESPONSE_CREATED,
    "response.done": Kind.RESPONSE_DONE,
    "response.output_item.added": Kind.OUTPUT_ADDED,
    "response.output_item.done": Kind.OUTPUT_DONE,
    "response.function_call_arguments.done": Kind.CALL_DONE,
    "conversation.item.truncated": Kind.TRUNCATED,
    "conversation.item.retrieved": Kind.ITEM_RETRIEVED,
    "rate_limits.updated": Kind.RATE_LIMITS,
    "error": Kind.ERROR,
} | dict.fromkeys(
    (
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.cleared",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
    ),
    Kind.NOTED,
)


def part_kinds(text: str, audio: str, transcript: str) -> dict[str, Kind]:
    """The kinds of the events that a response's parts come in, by name; the arguments: how their names begin."""
    return {
        f"{text}.delta": Kind.TEXT_DELTA,
        f"{text}.done": Kind.TEXT_DONE,
        f"{audio}.delta": Kind.AUDIO_DELTA,
        f"{audio}.done": Kind.AUDIO_DONE,
        f"{transcript}.delta": Kind.TRANSCRIPT_DELTA,
        f"{transcript}.done": Kind.TRANSCRIPT_DONE,
    }


# The three families that GA renamed. A server that sends one in the spelling of the other dialect is misread by every
# client of this one, so it is an error (`Event.foreign`) and never a missing sample.
PREVIEW_PARTS = part_kinds("response.text", "response.audio", "response.audio_transcript")
GA_PARTS = part_kinds("response.output_text", "response.output_audio", "response.output_audio_transcript")
EFFECTS = {
    "session_expired": Effect.EXPIRED,
    "beta_api_shape_disabled": Effect.FATAL,
    "invalid_api_key": Effect.FATAL,
    "missing_model": Effect.FATAL,
    "invalid_model": Effect.FATAL,
    "model_not_found": Effect.FATAL,
    "rate_limit_exceeded": Effect.THROTTLED,
    "insufficient_quota": Effect.THROTTLED,
    "server_error": Effect.TURN_FAILED,
    "inference_not_authorized_error": Effect.TURN_FAILED,
    "conversation_already_has_active_response": Effect.UNANSWERED,
}
"""What an error comes to, by its code or, where it has none, by its type."""
REQUEST_KEY = "rtbench_request"
"""The key of a response's metadata under which the service gives back the event id of the request that it answers."""
FUNCTION_CALL = "function_call"
"""The type of an item that calls a function."""
OF_OUTPUT = frozenset({Kind.OUTPUT_ADDED, Kind.OUTPUT_DONE, Kind.CALL_ADDED, Kind.CALL_DONE})
TOOL_CHOICES = ("auto", "none", "required")
"""What may stand for a choice of functions; anything else is the name of one."""
MODALITIES = ("output_modalities", "modalities")
"""What a session's kinds of output are called, in either dialect."""
IDLE_TIMEOUT = ("audio", "input", "turn_detection", "idle_timeout_ms")
"""Where a session says after how much silence it speaks up by itself."""
FILLERS = "interim_response"
"""The setting by which Azure Voice Live speaks fillers: when, and which (azure-ai-voicelive, `RequestSession`)."""
GA_NAME, PREVIEW_NAME, VOICE_LIVE_NAME, GPT_LIVE_NAME = "ga", "preview", "voice-live", "gpt-live"
TITLES = {GA_NAME: "GA", PREVIEW_NAME: "preview", VOICE_LIVE_NAME: "Voice Live", GPT_LIVE_NAME: "GPT-Live"}


class Owned(NamedTuple):
    """A setting that not every dialect has.

    `keys`: below a script's `session`; `owners`: the names of the dialects that have it; `holds`: of which values that
    is true, where it is not true of all; `called`: what such a value is called.
    """

    keys: tuple[str, ...]
    owners: tuple[str, ...]
    called: str
    holds: Callable[[Any], bool] = lambda value: True


OWNED = (
    Owned(("temperature",), (PREVIEW_NAME, VOICE_LIVE_NAME), "temperature"),
    Owned(("turn_detection", "idle_timeout_ms"), (GA_NAME,), "idle_timeout_ms"),
    Owned(("reasoning",), (GA_NAME, VOICE_LIVE_NAME), "reasoning"),
    Owned(("truncation",), (GA_NAME,), "truncation"),
    Owned(("model",), (GPT_LIVE_NAME,), "model"),
    Owned(("turn_detection", "type"), (GPT_LIVE_NAME,), FULL_DUPLEX, lambda name: name == FULL_DUPLEX),
    Owned(
        ("turn_detection", "type"), (VOICE_LIVE_NAME,), "Azure's semantic VAD", lambda name: name.startswith("azure_")
    ),
    Owned(("turn_detection", "auto_truncate"), (VOICE_LIVE_NAME,), "auto_truncate"),
    Owned(("turn_detection", "end_of_utterance_detection"), (VOICE_LIVE_NAME,), "end_of_utterance_detection"),
    Owned(("voice",), (VOICE_LIVE_NAME,), "a voice as a table", lambda voice: isinstance(voice, Mapping)),
    Owned(
        ("noise_reduction",), (VOICE_LIVE_NAME,), "Azure's noise suppression", lambda name: name.startswith("azure_")
    ),
    Owned(("echo_cancellation",), (VOICE_LIVE_NAME,), "echo_cancellation"),
    Owned((FILLERS,), (VOICE_LIVE_NAME,), FILLERS),
)
LONGEST_SESSION = (1001, "maximum duration")
"""The close of a session that was as long as one may be: its code, and what is in its reason."""


Short = Annotated[str, msgspec.Meta(max_length=LONGEST_ID)]


class _Item(msgspec.Struct):
    """What is looked at of an item; a call of a function has a name and an id of its own."""

    id: Short = ""
    type: Short = ""
    phase: Short | None = None
    name: Short | None = None
    call_id: Short | None = None


class _Wire(msgspec.Struct):
    """The fields that are looked at, of the types that services give them; msgspec skips the others unread."""

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


class _LooseWire(msgspec.Struct):
    """The same fields of a message in which some are of other types, or names and ids too long to be kept whole."""

    type: str = ""
    response_id: str | None = None
    item_id: str | None = None
    delta: msgspec.Raw = EMPTY
    item: msgspec.Raw = EMPTY
    response: msgspec.Raw = EMPTY
    session: msgspec.Raw = EMPTY
    error: msgspec.Raw = EMPTY
    text: msgspec.Raw = EMPTY
    transcript: msgspec.Raw = EMPTY
    audio_start_ms: msgspec.Raw = EMPTY
    audio_end_ms: msgspec.Raw = EMPTY
    call_id: msgspec.Raw = EMPTY
    name: msgspec.Raw = EMPTY
    arguments: msgspec.Raw = EMPTY

    def read(self) -> _Wire:
        """As the fields are read that are what they should be; the others are as if they were missing."""
        return _Wire(
            self.type[:LONGEST_ID],
            (self.response_id or "")[:LONGEST_ID],
            (self.item_id or "")[:LONGEST_ID],
            self.delta,
            _Item(*(text_of(object_in(self.item), field) for field in _Item.__struct_fields__)),
            self.response,
            self.session,
            self.error,
            string_in(self.text),
            string_in(self.transcript),
            milliseconds_in(self.audio_start_ms),
            milliseconds_in(self.audio_end_ms),
            string_in(self.call_id)[:LONGEST_ID],
            string_in(self.name)[:LONGEST_ID],
            string_in(self.arguments),
        )


class _Limits(msgspec.Struct):
    """The one field of `rate_limits.updated`, which comes once a response at most."""

    rate_limits: Any = None


_decode_wire = msgspec.json.Decoder(_Wire).decode
_decode_loose = msgspec.json.Decoder(_LooseWire, strict=False).decode
_decode_limits = msgspec.json.Decoder(_Limits, strict=False).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class OpenAI(ABC):
    """What a `bench.protocol.base.Dialect` of the Realtime API is, but for its name and what differs.

    `parts`: the kinds of the events of a response's parts, by name; `others`: the same of the other dialect; `names`:
    what a client's messages are called.
    """

    input_formats: Mapping[AudioFormatName, AudioFormat] = FORMATS
    output_formats: Mapping[AudioFormatName, AudioFormat] = FORMATS
    lacks: Mapping[Feature, str] = MappingProxyType({})
    duplex = False

    def __init__(self, parts: Mapping[str, Kind], others: Mapping[str, Kind], names: Mapping[Act, str] = NAMES) -> None:
        self.kinds: Mapping[str, Kind] = {**SHARED_KINDS, **parts}
        self._kind_of = self.kinds.get
        self._names = names
        self.acts: Mapping[str, Act] = {name: act for act, name in names.items()}
        self._foreign = frozenset(name for name, kind in others.items() if kind in DELTAS)

    # What differs.

    @property
    @abstractmethod
    def reply_part(self) -> str:
        """The type of a part of text in a message of the assistant's."""

    @property
    @abstractmethod
    def kept(self) -> Mapping[Keys, str]:
        """Where in an update this tool's own settings stand → what to do instead of setting them by `extra`."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What users call it."""

    @property
    def family(self) -> str:
        """The name of the dialect whose settings it has."""
        return self.name

    @abstractmethod
    def session(self, settings: SessionSettings) -> dict[str, Any]:
        """The `session` of a session.update, without `extra`."""

    @abstractmethod
    def output(self, output: Output) -> dict[str, Any]:
        """How a session or response says what it gives out."""

    # What a session says.

    def refuses(self, settings: SessionSettings) -> SettingsRefusal | None:
        """Formats and settings that the dialect has not, and further ones that would undo what this tool goes by."""
        return (
            self._unknown_format(settings)
            or self._lacks(settings)
            or undone(self.session(settings), settings.extra, self.kept)
        )

    def _unknown_format(self, settings: SessionSettings) -> SettingsRefusal | None:
        for setting, name, formats in (
            ("input_format", settings.input_format, self.input_formats),
            ("output_format", settings.output_format, self.output_formats),
        ):
            if name is not None and name not in formats:
                return SettingsRefusal(
                    (setting,), f"{setting} must be one of {', '.join(formats)} in the {self.name} dialect, not {name}"
                )
        return None

    def hears(self, settings: SessionSettings) -> AudioFormat:
        """The format of the caller's audio."""
        return chosen(self.input_formats, settings.input_format)

    def speaks(self, settings: SessionSettings) -> AudioFormat:
        """The format of the service's audio."""
        return chosen(self.output_formats, settings.output_format)

    def _lacks(self, settings: SessionSettings) -> SettingsRefusal | None:
        owned = next((owned for owned in OWNED if self.family not in owned.owners and _is_set(settings, owned)), None)
        if owned is None:
            return None
        owner = owned.owners[0]
        problem = f"{owned.called} is a setting of the {TITLES[owner]} dialect, {TITLES[self.family]} has none"
        return SettingsRefusal(owned.keys, f"{problem}: remove it, or use --dialect {owner}")

    def refuses_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        """An update of the session may repeat what the first one said, and set what this tool does not go by."""
        session = event.get("session")
        if self.acts.get(event["type"]) is not Act.SET_UP or not isinstance(session, Mapping):
            return ""
        said = self.session(settings)
        others = {key: value for key, value in session.items() if said.get(key) != value}
        conflicting = conflict(said, others, self.kept)
        if conflicting is None:
            return ""
        path, remedy = conflicting
        return f"must not set {'.'.join(path)}, which this tool relies on: {remedy}"

    def set_up(self, settings: SessionSettings, event_id: str) -> tuple[ClientMessage | Awaited, ...]:
        """The service greets, is told the settings, and has taken them."""
        return (
            Awaited(Kind.SESSION_CREATED, "session.created"),
            self._message(Act.SET_UP, event_id, session=merged(self.session(settings), settings.extra)),
            Awaited(Kind.SESSION_UPDATED, "session.updated"),
        )

    def message(self, message: Message, event_id: str) -> ClientMessage:
        return self._message(Act.ITEM, event_id, item=self._item(message))

    def _item(self, message: Message) -> dict[str, Any]:
        kind = self.reply_part if message.role == "assistant" else "input_text"
        content = [{"type": kind, "text": message.text}]
        if message.image is not None:
            content.append({"type": "input_image", "image_url": message.image.url})
        return {"type": "message", "role": message.role, "content": content}

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        return ClientMessage(Act.RAW, event["type"], msgspec.json.encode({"event_id": event_id, **event}))

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        return self._message(Act.APPEND, event_id, audio=base64.b64encode(audio).decode("ascii"))

    def commit(self, event_id: str) -> ClientMessage:
        return self._message(Act.COMMIT, event_id)

    def clear(self, event_id: str) -> ClientMessage:
        return self._message(Act.CLEAR, event_id)

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        response = without_none(
            {
                "instructions": settings.instructions,
                **(self.output(settings.output) if settings.output else {}),
                "max_output_tokens": settings.max_output_tokens,
                "conversation": settings.conversation,
                "input": None if settings.input is None else [self._item(message) for message in settings.input],
                "metadata": _metadata(settings, event_id),
                "tool_choice": chosen_tool(settings.tool_choice),
            }
        )
        return self._message(Act.REQUEST, event_id, **({"response": response} if response else {}))

    def function_call(self, call: FunctionCall, event_id: str) -> ClientMessage:
        item = {"type": FUNCTION_CALL, "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
        return self._message(Act.ITEM, event_id, item=item)

    def function_output(self, returned: FunctionOutput, event_id: str) -> ClientMessage:
        item = {"type": "function_call_output", "call_id": returned.call_id, "output": returned.output}
        return self._message(Act.ITEM, event_id, item=item)

    def cancel(self, event_id: str) -> ClientMessage:
        return self._message(Act.CANCEL, event_id)

    def truncate(self, item_id: str, audio_end_ms: int, event_id: str) -> ClientMessage:
        return self._message(Act.TRUNCATE, event_id, item_id=item_id, content_index=0, audio_end_ms=audio_end_ms)

    def retrieve(self, item_id: str, event_id: str) -> ClientMessage:
        return self._message(Act.RETRIEVE, event_id, item_id=item_id)

    def _message(self, act: Act, event_id: str, **fields: Any) -> ClientMessage:
        name = self._names[act]
        return ClientMessage(act, name, msgspec.json.encode({"type": name, "event_id": event_id} | fields))

    # How the service is read.

    def decode(self, message: bytes) -> tuple[Event, ...]:
        """The one event of a message."""
        try:
            try:
                wire = _decode_wire(message)
            except msgspec.ValidationError:
                wire = _decode_loose(message).read()
            kind = self._kind_of(wire.type)
            if kind is Kind.AUDIO_DELTA:  # first, for it is most of the traffic
                delta = _unescaped(wire.delta) if b"\\" in message else wire.delta
                size = base64_bytes(delta)
                return (Event(kind, wire.type, wire.response_id or "", wire.item_id or "", size, delta),)
            if kind in DELTAS:
                delta = wire.delta
                size = text_characters(delta)
                return (Event(kind, wire.type, wire.response_id or "", wire.item_id or "", size, delta),)
            if kind is None:
                return (self._unexpected(wire),)
            if kind is Kind.RATE_LIMITS:
                return (Event(kind, wire.type, limits=rate_limits(_decode_limits(message).rate_limits)),)
            if kind is Kind.ITEM_RETRIEVED:
                return (_retrieved(wire, _parts(_decode_object(message))),)
            if kind is Kind.OUTPUT_ADDED and wire.item is not None and wire.item.type == FUNCTION_CALL:
                kind = Kind.CALL_ADDED
            return (_described(kind, wire),)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return (Event(Kind.MALFORMED, reason=str(error)[:200]),)

    def _unexpected(self, wire: _Wire) -> Event:
        """An event of no known name, or one in the other dialect's spelling."""
        foreign = wire.type in self._foreign
        return Event(Kind.UNKNOWN, wire.type, wire.response_id or "", wire.item_id or "", foreign=foreign)

    def without_audio(self, message: bytes) -> bytes:
        (event,) = self.decode(message)
        if self.acts.get(event.name) is Act.APPEND:
            fields = _decode_fields(message)
            return msgspec.json.encode({name: value for name, value in fields.items() if name != "audio"})
        if event.kind is Kind.ITEM_RETRIEVED:
            whole = _decode_object(message)
            for part in _parts(whole):
                part.pop("audio", None)
            return msgspec.json.encode(whole)
        if event.kind is Kind.AUDIO_DELTA or event.foreign:
            return msgspec.json.encode({"type": event.name, "response_id": event.response_id, "item_id": event.item_id})
        return message

    def text_only(self, session: Mapping[str, Any]) -> str:
        outputs = {name: session.get(name) for name in MODALITIES}
        return next((name for name, value in outputs.items() if isinstance(value, list) and "audio" not in value), "")

    def idle_timeout_ms(self, session: Mapping[str, Any]) -> int | None:
        """Only GA has it (`session.audio.input.turn_detection`)."""
        value: Any = session
        for key in IDLE_TIMEOUT:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def fillers(self, settings: SessionSettings) -> Mapping[str, Any] | None:
        """Only Azure Voice Live has any; a client that speaks preview asks for them by `extra`."""
        asked = merged(self.session(settings), settings.extra).get(FILLERS)
        return asked if isinstance(asked, Mapping) else None

    def fills_waits(self, session: Mapping[str, Any]) -> bool:
        """Only Azure Voice Live does, which has the preview's names."""
        return isinstance(session.get(FILLERS), Mapping)

    def is_expiry(self, code: int, reason: str) -> bool:
        """OpenAI closes so; Azure sends an error before (`session_expired`)."""
        closed, words = LONGEST_SESSION
        return code == closed and words in reason


def _metadata(settings: ResponseSettings, event_id: str) -> dict[str, str] | None:
    """The metadata of a request; of one out of band with our own word, by which its response is known."""
    if not settings.out_of_band:
        return settings.metadata
    return (settings.metadata or {}) | {REQUEST_KEY: event_id}


def tools(settings: SessionSettings) -> dict[str, Any]:
    """The functions that a session declares, and which of them it may call; nothing where it declares none."""
    if not settings.tools:
        return {}
    declared = [{"type": "function"} | msgspec.to_builtins(tool) for tool in settings.tools]
    return without_none({"tools": declared, "tool_choice": chosen_tool(settings.tool_choice)})


def chosen_tool(choice: str | None) -> str | dict[str, str] | None:
    """The `tool_choice` of a session or response."""
    return choice if choice is None or choice in TOOL_CHOICES else {"type": "function", "name": choice}


def noise_reduction(settings: SessionSettings) -> dict[str, str] | None:
    """What a session says of noise behind the caller."""
    return None if settings.noise_reduction is None else {"type": settings.noise_reduction}


def _is_set(settings: SessionSettings, owned: Owned) -> bool:
    """Whether a setting is not left to the service, and is one that not every dialect has."""
    value: Any = settings
    for key in owned.keys:
        value = getattr(value, key, None)
    return value is not None and owned.holds(value)


def detection(wanted: TurnDetection | None) -> dict[str, Any] | None:
    """The `turn_detection` of a session: null switches it off."""
    return None if wanted is None else wanted.given


def _unescaped(raw: msgspec.Raw) -> msgspec.Raw:
    """A JSON string without escapes, where it needs none: some encoders write `+` and `/` of base64 as escapes."""
    value = msgspec.json.decode(raw) if len(raw) else None
    return msgspec.Raw(b'"' + value.encode() + b'"') if isinstance(value, str) else raw


def _described(kind: Kind, wire: _Wire) -> Event:
    """An event that is no delta: ids, status and whatever object it carries."""
    event = Event(
        kind,
        wire.type,
        wire.response_id or "",
        wire.item_id or (wire.item.id if wire.item else ""),
        text=(wire.transcript or wire.text or "")[:LONGEST_TEXT],
        audio_ms=wire.audio_start_ms if kind is Kind.SPEECH_STARTED else wire.audio_end_ms,
    )
    if kind in OF_OUTPUT:
        return msgspec.structs.replace(event, phase=word((wire.item and wire.item.phase) or ""), calls=_call(wire))
    if not (len(wire.response) or len(wire.session) or len(wire.error)):  # as of most events, and quicker to see
        return event
    response, session = object_in(wire.response), shortened(object_in(wire.session), len(wire.session)) or None
    details = part_of(response, "status_details")
    return msgspec.structs.replace(
        event,
        response_id=event.response_id or text_of(response, "id"),
        status=word(text_of(response, "status")),
        reason=word(text_of(details, "reason")),
        request=text_of(part_of(response, "metadata"), REQUEST_KEY),
        failure=_failure(object_in(wire.error) if kind is Kind.ERROR else part_of(details, "error")),
        usage=_usage(response.get("usage")) if kind is Kind.RESPONSE_DONE else None,
        calls=tuple(_calls(response)) if kind is Kind.RESPONSE_DONE else (),
        session=session,
        session_id=text_of(session or {}, "id"),
    )


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of the item that a message shows."""
    content = part_of(message, "item").get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _retrieved(wire: _Wire, parts: Sequence[dict[str, Any]]) -> Event:
    """What the service keeps of an item: how much audio, and which words."""
    sizes = [base64_bytes(msgspec.Raw(msgspec.json.encode(part.get("audio")))) for part in parts]
    words = (text_of(part, name, LONGEST_TEXT) for part in parts for name in ("transcript", "text"))
    return Event(
        Kind.ITEM_RETRIEVED,
        wire.type,
        item_id=wire.item_id or (wire.item.id if wire.item else ""),
        payload_bytes=-1 if min(sizes, default=0) < 0 else sum(sizes),
        text=" ".join(filter(None, words))[:LONGEST_TEXT],
    )


def _call(wire: _Wire) -> tuple[FunctionCall, ...]:
    """The function call that an event of an item is of; none where it is of another item."""
    item = wire.item or _Item()
    call_id = wire.call_id or item.call_id
    if not call_id:
        return ()
    return (FunctionCall(call_id, wire.name or item.name or "", (wire.arguments or "")[:LONGEST_ARGUMENTS]),)


def _calls(response: Mapping[str, Any]) -> Iterator[FunctionCall]:
    """The function calls in the output of a response that is done."""
    output = response.get("output")
    for item in output if isinstance(output, list) else ():
        if isinstance(item, dict) and item.get("type") == FUNCTION_CALL and (call_id := text_of(item, "call_id")):
            yield FunctionCall(call_id, text_of(item, "name"), text_of(item, "arguments", LONGEST_ARGUMENTS))


def failure_of(error: Mapping[str, Any], id_name: str = "event_id") -> Failure:
    """An error as the service tells it. `id_name`: where it gives back the client's own id of a message."""
    kind, code = (word(text_of(error, name)) for name in ("type", "code"))
    effect = EFFECTS.get(code or kind, Effect.NONE)
    return Failure(kind, code, text_of(error, "message", LONGEST_WORDS), text_of(error, id_name), effect)


def _failure(error: Mapping[str, Any]) -> Failure | None:
    return failure_of(error) if error else None


def _usage(usage: Any) -> Usage | None:
    """The tokens of a response; None where none are told, `UNREAD` where they cannot be read."""
    if usage is None or usage == {}:
        return None
    try:
        return Usage(**tokens_in(usage))
    except UnreadableError:
        return UNREAD
