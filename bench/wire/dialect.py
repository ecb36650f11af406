"""The base class of dialects. A dialect encodes client messages and decodes server events for one
kind of service.

Code that prepares, runs, or observes a session uses message kinds (`MessageKind`), event kinds
(`bench.wire.events`), and settings (`bench.wire.settings`). Only dialects (`bench.services`) know
their form.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from bench.catalogue.outcomes import NO_OWN
from bench.catalogue.pricing import Billing
from bench.catalogue.turn_detection import DetectorName
from bench.files.safe_io import json_problem, without_lone_surrogates
from bench.wire.audio import PCM16, AudioFormat, AudioFormatName, by_name, resolve_format
from bench.wire.events import EventKind, FunctionCall, ServerEvent
from bench.wire.settings import (
    NO_KEYS,
    FunctionOutput,
    Keys,
    Message,
    ResponseSettings,
    SessionSettings,
    UnsupportedSetting,
)

NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The errors of msgspec if a message is not valid JSON, or not of the required type."""

SaidItem = Message | FunctionCall | FunctionOutput
"""An item of a conversation that a client can send again."""
SIMULATOR_HEADER = "x-rtbench-simulator"
"""A header of every response of `rtbench simulate`. If a gateway answers the upgrade, the header
may be missing."""
SIMULATOR_LATE_HEADER = "x-rtbench-simulator-late-ms"
"""The header with the p99 lateness of the simulator since its start, in ms, while it is late."""
SIMULATOR_VALUE = "rtbench_simulator"
"""A key of the simulator's session description. Its value is true. No service has this key, and
clients ignore it."""
SESSION_PREFIX = "session-"
"""The prefix of the ids of set-up messages. If a set-up message fails, the session differs from
its script."""
SET_UP_ID = f"{SESSION_PREFIX}update"
"""The id that the client gives to the message that sets up a session."""
MESSAGE_ID = f"{SESSION_PREFIX}message"
"""The id that the client gives to a message outside of any turn."""


def is_session_event(event_id: str) -> bool:
    """Return whether a client event with this id belongs to the set-up or the end of a session."""
    return event_id.startswith(SESSION_PREFIX)


class MessageKind(Enum):
    """The effect of a client message, the same for every dialect."""

    __hash__ = object.__hash__  # Enum's own is a Python function

    SET_UP = auto()
    """Set up the session."""
    ITEM = auto()
    """Add an item other than audio to the conversation: text, an image, or a function output."""
    APPEND = auto()
    """Send a piece of the caller's audio."""
    COMMIT = auto()
    """End the caller's audio. The service then uses the sent audio as the caller's speech."""
    CLEAR = auto()
    """Delete the audio that was sent and not committed."""
    REQUEST = auto()
    """Request a response."""
    RAW = auto()
    """Send an event that the script has in the service's format, or a message of the telephony
    provider."""
    CANCEL = auto()
    """Cancel the response in progress."""
    TRUNCATE = auto()
    """Report the playback position at which the service must truncate an item."""
    RETRIEVE = auto()
    """Request the content of an item, as the service keeps it."""
    CLOSE = auto()
    """Ask the service to end the session and to report its billable duration."""


BINARY = "binary"
"""The key under which a log contains a binary message, in base64."""


class BinaryMessage(bytes):
    """Bytes of binary frames (RFC 6455 §5.6) or other media: audio, or received texts
    (`has_binary_texts`).
    """

    __slots__ = ()


NO_INSTANTS: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """One encoded message to the service. `name` is its name in the dialect.

    `audio_bytes` is the size of the decoded audio in the message. `duration_ns` is the duration of
    audio that is sent at the pace of a microphone; the message is due at its last sample. It is
    None if the message is sent at once. `instants` maps instants of speech
    (`bench.catalogue.columns`) in the message to their time before the recording of the last
    sample, in ns. `untracked` is the event id of a message that belongs to no turn, even if a turn
    is open. It is "" for all other messages. `item` is the item that the message retrieves, or
    truncates after `played_ms`.
    """

    kind: MessageKind
    name: str
    data: bytes = field(repr=False)
    duration_ns: int | None = None
    audio_bytes: int = 0
    instants: Mapping[str, int] = field(default_factory=lambda: NO_INSTANTS)
    untracked: str = ""
    item: str = ""
    played_ms: int = 0


class AwaitedEvent(NamedTuple):
    """An event that must arrive before the client continues the set-up. `name` is its name in
    the dialect.
    """

    kind: EventKind
    name: str


class Feature(Enum):
    """A feature that not every service has. The value is a predicate, which follows a step's
    name in an error.
    """

    IMAGE = "has an image"
    OUT_OF_BAND = "requests a response outside the conversation, or to an input of its own"
    TYPED = "is a text turn"
    ASKED = "requests an answer without new input"
    MESSAGE = "adds a message to the conversation"
    INTERRUPTION = "interrupts a reply"
    CUT = "stops a reply without speech, or checks what is retained of it"
    SOUND = "plays a sound"
    CUE = "waits for a share of a reply, or for a text in it"
    EXPECTATION = "expects an event"
    HISTORY = "begins with a history"
    PIPELINED = "sends before the service has greeted (`pipelined`)"
    MCP = "declares MCP servers (`mcp_servers`)"
    RENEWAL = "continues in another session (`renew_after`)"
    FUNCTIONS = "declares functions (`tools`)"
    REPLY = "sets what the reply must be or say"


def secret_placeholder(variable: str) -> str:
    """Return the placeholder of a secret, which `bench.target.tokens.Keyring.fill` inserts when
    it is sent.
    """
    return f"{{secret:{variable}}}"


CALL_ID = "{uuid}"
"""The placeholder for the id of the call, or of the connection. It occurs in messages, in a
header and in a query."""

OTHER_STREAM = " of another stream"
"""The suffix of an event's name in counts. It is added if the event names no stream, or the
stream of another call."""


# Messages are encoded once for all sessions, before the load begins. What differs by call is a
# placeholder of the same message, which the codec replaces when it is sent. If each session encoded
# its messages, that time would lie between an instant of the script and the send.
class CallCodec:
    """The converter for what differs by call in messages: ids, numbers and times. Unlike a
    dialect, it has state.
    """

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.answers: list[ClientMessage] = []
        """The messages that the call must send at once, because of decoded ones."""

    def encode(self, kind: MessageKind, data: bytes) -> bytes:
        """Return a message that was encoded for all sessions with the ids, numbers and times of
        this one.
        """
        if isinstance(data, BinaryMessage):
            return data
        return data.replace(CALL_ID.encode(), self.call_id.encode())

    def decode(self, events: Sequence[ServerEvent]) -> Sequence[ServerEvent]:
        """Return the events as this call receives them. Those of another call become unknown
        events.
        """
        return events

    def acknowledge(self, mark: ServerEvent) -> ClientMessage | None:
        """Return the message that all audio before this mark was played or dropped; None if none
        is needed.
        """
        return None

    def goodbye(self) -> ClientMessage | None:
        """Return the last message that is sent before the connection is closed; None if no such
        message is needed.
        """
        return None


Decode = Callable[[bytes], Sequence[ServerEvent]]
"""A function that returns the events of a message."""


class TurnSource(Enum):
    """The source from which the timeline learns of turns and replies."""

    __hash__ = object.__hash__

    EVENTS = auto()
    """Events name turns and responses. The audio is in them, or is a track whose parts the codec of
    the call gives to responses. The client may request responses."""
    REPLIES = auto()
    """As EVENTS, but the service need not report its caller's speech, and reports neither
    commits nor new responses."""
    SOUND = auto()
    """The audio is continuous, and the service decides when to speak. No event names turns and
    replies: they are detected in the audio."""


SOUND = TurnSource.SOUND


class Peer(Enum):
    """The kind of server at the other end of a connection."""

    SERVICE = auto()
    """A realtime service: it announces its sessions, has a query of its own, requires a key, and
    bills the client."""
    AGENT = auto()
    """An application that answers a call, as it does behind a telephony provider. A call is open as
    soon as its connection is open, and the agent may pause its audio while it is silent."""


# A dialect answers three questions: what to send (`setup_messages` to `close`), what a message
# means (`decode`), and what the service is like (the attributes). The kernel asks for an attribute,
# and never for a name. So a new service changes no code outside of its own file.
#
# A dialect has no state. What differs between calls is in a `CallCodec`. What depends on earlier
# messages of a session is in a decoder (`session_decoder`). A replay makes the same objects, and so
# gets the same events.
class Dialect:
    """The message format of one kind of service. A dialect has no state: one object serves all
    sessions.

    If a dialect does not override a method, its service does not have that function, and scripts
    that need it are refused (`missing_features`). `event_id` is the id that the client gives to a
    message. If a message causes an error, and the dialect has such ids, the error contains the id
    of the message (`ServiceFailure.event_id`).
    """

    name: str
    """The name for users, as in `--dialect ga`."""
    turn_source = TurnSource.EVENTS
    """The source of turns and replies."""
    peer = Peer.SERVICE
    """The kind of server."""
    content: Mapping[str, Any] | None = None
    """The content of the user's file that describes the dialect; None if the name is enough."""
    announced_by: Sequence[EventKind] = (EventKind.SESSION_CREATED, EventKind.SESSION_UPDATED)
    """The events that open a session, in their order. The last one makes the session ready. () if
    it is ready as soon as its connection is open."""
    has_track = False
    """True if the audio is a track of packets in addition to the messages, as in a telephone
    call."""
    has_binary_texts = True
    """True if a received binary message is a text. Otherwise it is audio, or not permitted."""
    binary_sound: ServerEvent | None = None
    """The event of a binary message that is nothing but audio, without its payload; None if
    there are none."""
    transcribers: tuple[str, ...] = ()
    """Models that detect no turns, for sessions that only transcribe; () if the dialect has no
    such sessions."""
    codec: Callable[[str], CallCodec] | None = None
    """A function that returns the codec of the call with an id; None if the messages of all calls
    are the same."""
    session_decoder: Callable[[], Decode] | None = None
    """A function that returns the decoder of one session, if messages depend on earlier ones. It
    gets them all, in their order. `decode` is then for a message alone."""
    resumption: Callable[[str], Mapping[str, Any]] | None = None
    """A function that returns the settings with which a session continues another one, from the
    service's handle."""
    speech_opening: ClientMessage | None = None
    """The message before the caller's speech, if the client ends the speech; None if none is
    needed."""
    frame_ms: int | None = None
    """The duration of each piece of the caller's audio; None if the script sets it."""
    has_extra_in_offer = False
    """True if `extra` of a script contains further members of the offer in JSON that places the
    call."""
    upgrade_headers: tuple[tuple[str, str], ...] = ()
    """Headers of the upgrade, in addition to the target's headers. In them, `{uuid}` is the id
    of the call."""
    billing = Billing.MODELS
    """The way in which the service bills its sessions."""
    prepaid_s = 0.0
    """The duration that the creation of a session bills, and that its minutes include."""
    setting_keys = NO_KEYS
    """The keys of a script's `session` that only this service has."""
    remedies = NO_OWN
    """The remedies for outcomes that only such a service has."""
    expiry: tuple[int, str] | None = None
    """(code, part of the reason) of a close after which the session has reached its maximum age;
    None if unknown."""
    takes_response_settings = True
    """True if a turn may have settings of its own for its responses."""
    only_detection: DetectorName | None = None
    """The only turn detection of the service, if it always detects turns; None if the client may
    commit them."""
    names_requests = False
    """True if requests carry their event id as metadata, which the service may return with the
    response."""
    has_requests = True
    """False if each input requests its response, and the client cannot request one otherwise."""
    continues_calls = False
    """True if the service continues a reply by itself as soon as it has the outputs of all
    called functions."""
    usage_follows = False
    """True if the tokens of a reply are reported after its end."""
    has_history_in_settings = False
    """True if the set-up of a session contains its history, so that no messages follow for it."""
    has_tasks = False
    """True if the service may do tasks, or have its client do them, while it continues to speak."""
    backend_model: Keys = ()
    """The path of the model that does these tasks, in the settings of a session; () if the service
    has none."""
    pauses = False
    """True if the service may stop sending while it is silent, although its audio is continuous."""
    interprets = False
    """True if the service speaks the caller's words while it listens, as an interpreter does. The
    text of its speech is that of the caller's."""
    input_formats: Mapping[AudioFormatName, AudioFormat] = MappingProxyType(by_name(PCM16))
    """The formats of the caller's audio, with their rates. The first is the service's default."""
    output_formats: Mapping[AudioFormatName, AudioFormat] = MappingProxyType(by_name(PCM16))
    """The formats of the service's audio. The first is the service's default."""
    message_kinds: Mapping[str, MessageKind]
    """A mapping from the name of a client message in this dialect to the kind of the message."""
    missing_features: Mapping[Feature, str] = MappingProxyType({})
    """A mapping from each feature that the service lacks to the end of its error message, which
    contains a remedy."""

    def with_history(
        self, settings: SessionSettings, history: Sequence[Message]
    ) -> tuple[SessionSettings, Sequence[Message]]:
        """Return (the settings of a session with this history, the messages that the client must
        send).
        """
        if not self.has_history_in_settings:
            return settings, history
        return (
            msgspec.structs.replace(settings, history=tuple(history)) if history else settings
        ), ()

    def missing_features_of(self, settings: SessionSettings) -> Mapping[Feature, str]:
        """Return `missing_features`, with the features that a session with these settings lacks."""
        return self.missing_features

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        """Return the first session setting that the dialect does not support; None if it
        supports all settings.
        """
        raise NotImplementedError

    def unknown_format(
        self, settings: SessionSettings, suffix: str = ""
    ) -> UnsupportedSetting | None:
        """Return the error for a format of the session that the dialect lacks; None if it has
        both.
        """
        for key, name, formats in (
            ("input_format", settings.input_format, self.input_formats),
            ("output_format", settings.output_format, self.output_formats),
        ):
            if name is not None and name not in formats:
                return UnsupportedSetting(
                    (key,), f"{key} must be one of {', '.join(formats)}{suffix}, not {name}"
                )
        return None

    def input_format_for(self, settings: SessionSettings) -> AudioFormat:
        """Return the format of the caller's audio."""
        return resolve_format(self.input_formats, settings.input_format)

    def output_format_for(self, settings: SessionSettings) -> AudioFormat:
        """Return the format of the service's audio."""
        return resolve_format(self.output_formats, settings.output_format)

    # Sent messages.

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        """Return the steps of a session's set-up: messages to send and events to wait for, in their
        sequence.

        The last step is to wait for the last event of `announced_by`, after which the session is
        ready.
        """
        raise NotImplementedError

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        """Return why, with a remedy, an event conflicts with a setting on which this tool
        relies; "" if not.
        """
        return ""

    def message(self, message: Message, event_id: str) -> ClientMessage:
        """Return the client message that adds a message to the conversation, without requesting
        a response.
        """
        raise NotImplementedError

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        """Return the message for an event as a script contains it. If the event has no id, it
        gets `event_id`.
        """
        return ClientMessage(
            MessageKind.RAW, event["type"], msgspec.json.encode({"event_id": event_id, **event})
        )

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        """Return the message with a piece of the caller's speech. `audio` is in the session's
        input format.
        """
        raise NotImplementedError

    def commit(self, event_id: str) -> ClientMessage | None:
        """Return the message that ends the caller's speech, if the service does not detect its end.

        Return None if the request for the response also ends the speech.
        """
        raise NotImplementedError

    def typed_input(
        self,
        message: Message,
        request: ClientMessage | None,
        settings: SessionSettings,
        prefix: str,
    ) -> tuple[Sequence[ClientMessage], ClientMessage | None]:
        """Return (the messages before the request, the request) of a typed turn. `prefix` begins
        the ids of both.
        """
        return (self.message(message, f"{prefix}item"),), request

    def clear(self, event_id: str) -> ClientMessage | None:
        """Return the message that deletes the appended audio that was not committed; None if
        there is none.
        """
        raise NotImplementedError

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        """Return the message that requests a response. It is needed if the service does not
        start responses itself.
        """
        raise NotImplementedError

    def function_call(self, call: FunctionCall, event_id: str) -> ClientMessage:
        """Return the message that repeats a function call of another session. The function's
        output must follow.
        """
        raise NotImplementedError

    def function_output(self, result: FunctionOutput, event_id: str) -> ClientMessage:
        """Return the message with the output of a function that the service called."""
        raise NotImplementedError

    def mcp_approval(self, request_id: str, event_id: str) -> ClientMessage:
        """Return the message that approves an MCP call, which the service has requested with the
        item `request_id`.
        """
        raise NotImplementedError

    def cancel(self, event_id: str) -> ClientMessage:
        """Return the message that cancels the response in progress."""
        raise NotImplementedError

    def truncate(self, item_id: str, audio_end_ms: int, event_id: str) -> ClientMessage:
        """Return the message that truncates an item. `audio_end_ms` is how much of the item the
        caller has heard.
        """
        raise NotImplementedError

    def retrieve(self, item_id: str, event_id: str) -> ClientMessage:
        """Return the message that requests the content of an item, as the service keeps it."""
        raise NotImplementedError

    def close(self, event_id: str) -> ClientMessage | None:
        """Return the message after which the service reports the billable duration; None if it
        needs none.
        """
        return None

    # Received messages.

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        """Return the events in one message, of which at most one has audio; an empty sequence if it
        has none.

        Never raise an error: an unreadable message is one event of `EventKind.MALFORMED`.
        """
        raise NotImplementedError

    def without_audio(self, message: bytes) -> bytes:
        """Return a message without its audio, for storage. The message is from the client or the
        service.

        The result still decodes to events of the same kinds. If an event has audio, or if another
        dialect would find audio in it, only the ids of the event remain. A message without audio is
        returned unchanged.
        """
        raise NotImplementedError

    # The session as the service describes it.

    def text_only(self, session: Mapping[str, Any]) -> str:
        """Return the name of the setting that makes a session text-only; "" if the session has
        audio.
        """
        return ""

    def idle_timeout_ms(self, session: Mapping[str, Any]) -> int | None:
        """Return the caller's silence, in ms, after which the service speaks; None if it never
        does.
        """
        return None

    def fillers(self, settings: SessionSettings) -> Mapping[str, Any] | None:
        """Return the settings that make a service speak fillers while its caller waits; None if
        there are none.
        """
        return None

    def fills_waits(self, session: Mapping[str, Any]) -> bool:
        """Return whether a session speaks fillers while its caller waits."""
        return False


def protocol_fact(dialect: Dialect) -> dict[str, Any]:
    """Return what a file stores so that a dialect can be made again, besides its name."""
    return {} if dialect.content is None else {"protocol": dialect.content}


def decoder_of(dialect: Dialect) -> Decode:
    """Return the function that decodes the messages of one session."""
    return dialect.decode if dialect.session_decoder is None else dialect.session_decoder()


def simulator_late_ms(headers: Mapping[str, str]) -> float:
    """Return the lateness in ms that the simulator reports; 0 if the header is missing or is not
    a number.
    """
    try:
        return float(headers.get(SIMULATOR_LATE_HEADER) or 0)
    except ValueError:
        return 0.0


def is_simulated(headers: Mapping[str, str], session: Mapping[str, Any]) -> bool:
    """Return whether the server is the simulator, by the upgrade's headers and the description
    of the session.
    """
    return SIMULATOR_HEADER in headers or SIMULATOR_VALUE in session


def decode_again(
    decode: Callable[[bytes], Sequence[ServerEvent]], message: bytes, error: Exception
) -> Sequence[ServerEvent]:
    """Return the events of a message that `decode` could not read because of `error`, one of
    `NOT_JSON`.

    U+FFFD replaces lone surrogates in any part of the message.
    """
    whole = without_lone_surrogates(message)
    if whole != message:
        return decode(whole)
    return (ServerEvent(EventKind.MALFORMED, reason=json_problem(message, error)[:200]),)
