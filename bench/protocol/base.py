"""The base class of dialects. A dialect encodes a client's messages for one kind of service and decodes its events.

Code that prepares, runs, or observes a session uses message kinds (`MessageKind`), event kinds
(`bench.protocol.events`), and settings (`bench.protocol.settings`). Only a dialect knows their form on the wire. A new
dialect is one file in this folder and one row of the table in `dialects.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from bench.protocol.audio import AudioFormat, AudioFormatName, resolve_format
from bench.protocol.events import EventKind, FunctionCall, ServerEvent
from bench.protocol.settings import FunctionOutput, Message, ResponseSettings, SessionSettings, UnsupportedSetting

SaidItem = Message | FunctionCall | FunctionOutput
"""An item of a conversation that a client can send again."""
SIMULATOR_HEADER = "x-rtbench-simulator"
"""A header of every response of `rtbench simulate`. A gateway on the path may answer the upgrade without it."""
SIMULATOR_LATE_HEADER = "x-rtbench-simulator-late-ms"
"""A header of the simulator's responses while the simulator is late. Its value is the p99 lateness since it started."""
SIMULATOR_VALUE = "rtbench_simulator"
"""A key of the simulator's session description. No service has this key, and clients ignore it. Its value is true."""
SESSION_PREFIX = "session-"
"""The prefix of the ids of set-up messages. If one of these messages fails, the session differs from its script."""
SET_UP_ID = f"{SESSION_PREFIX}update"
"""The client's id of the message that sets up a session."""
MESSAGE_ID = f"{SESSION_PREFIX}message"
"""The client's id of a message outside of any turn."""


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
    """End the caller's audio: the sent audio is the caller's speech."""
    CLEAR = auto()
    """Delete the audio that was sent and not committed."""
    REQUEST = auto()
    """Request a response."""
    RAW = auto()
    """Send an event that the script contains in the service's format, or a message of the telephony provider."""
    CANCEL = auto()
    """Cancel the response in progress."""
    TRUNCATE = auto()
    """Report the playback position at which the service must truncate an item."""
    RETRIEVE = auto()
    """Request the content that the service keeps of an item."""


BINARY = "binary"
"""The key of a binary message in a log, in base64."""


class BinaryMessage(bytes):
    """Audio as bytes, not text. A WebSocket sends it in binary frames (RFC 6455 §5.6), another transport as media."""

    __slots__ = ()


NO_INSTANTS: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """One encoded message to the service. `name` is its name in the dialect.

    `audio_bytes` is the size of the decoded audio in the message. `duration_ns` is the duration of audio that is sent
    at the pace of a microphone; the message is due at its last sample. It is None if the message is sent at once.
    `instants` are the instants of speech (`bench.columns`) in the message, each as the time in ns before the recording
    of the last sample. `untracked` is the event id of a message that belongs to no turn, even if a turn is open; "" for
    all other messages. `item` is the item that the message retrieves, or truncates after `played_ms`.
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
    """An event that must arrive before the client continues the set-up. `name` is its name in the dialect."""

    kind: EventKind
    name: str


class Feature(Enum):
    """A feature of scripts that not every service has.

    The value is the predicate of a sentence about a step, in an error.
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
    RENEWAL = "continues in another session (`renew_after`)"
    FUNCTIONS = "declares functions (`tools`)"
    REPLY = "sets what the reply must be or say"


CALL_ID = "{uuid}"
"""The placeholder for the id of the call, or connection. It occurs in messages, in a header and in a query."""


class CallCodec:
    """The call-specific parts of a session's messages: ids, numbers and times. It has state, unlike a dialect."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id

    def encode(self, kind: MessageKind, data: bytes) -> bytes:
        """Return a message in the form in which this session sends it next.

        `data` is the message, encoded for all sessions.
        """
        if isinstance(data, BinaryMessage):
            return data
        return data.replace(CALL_ID.encode(), self.call_id.encode())

    def decode(self, events: Sequence[ServerEvent]) -> Sequence[ServerEvent]:
        """Return the events of a message for this call.

        If the message is for another call, its events become unknown ones.
        """
        return events

    def acknowledge(self, mark: str) -> ClientMessage | None:
        """Return the report that all audio before this mark was played or dropped; None if no report is needed."""
        return None

    def goodbye(self) -> ClientMessage | None:
        """Return the last message before the connection is closed; None if there is none."""
        return None


class TelephonyProvider(NamedTuple):
    """The telephony provider between the caller and an agent. A call is open as soon as its connection is open.

    `codec` returns the codec of one call, from the id of the call. `frame_ms` is the duration of each piece of the
    caller's audio; None if the script sets it. `headers` are headers of the upgrade in addition to the target's
    headers; `{uuid}` in them is the id of the call.
    """

    codec: Callable[[str], CallCodec]
    frame_ms: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Dialect:
    """The message format of one kind of service. A dialect has no state: one object serves all sessions.

    If a dialect does not override a method, its service does not have that function, and scripts that need it are
    refused (`missing_features`). `event_id` is the client's own id of a message. If the dialect has such ids, an error
    that the message causes contains the id (`ServiceFailure.event_id`).
    """

    name: str
    """The name for users, as in `--dialect ga`."""
    provider: TelephonyProvider | None = None
    """The provider between the caller and an agent; None for a service without one."""
    has_turn_events = True
    """True if events name turns and responses. Otherwise audio is continuous, and replies are detected in it."""
    takes_requests = True
    """True if the client may request responses and send a turn as text. Otherwise the service decides when to speak."""
    input_formats: Mapping[AudioFormatName, AudioFormat]
    """The formats of the caller's audio, with their rates. The first is the service's default."""
    output_formats: Mapping[AudioFormatName, AudioFormat]
    """The formats of the service's audio. The first is the service's default."""
    message_kinds: Mapping[str, MessageKind]
    """A mapping from the name of a client message in this dialect to the kind of the message."""
    missing_features: Mapping[Feature, str] = MappingProxyType({})
    """A mapping from each feature that the service lacks to the rest of the error message, with a remedy."""

    def missing_features_of(self, settings: SessionSettings) -> Mapping[Feature, str]:
        """Return `missing_features`, with the features that a session with these settings lacks."""
        return self.missing_features

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        """Return the first session setting that the dialect does not support; None if it supports all."""
        raise NotImplementedError

    def unknown_format(self, settings: SessionSettings, suffix: str = "") -> UnsupportedSetting | None:
        """Return the error for an audio format that the dialect lacks. `suffix` follows the list of its formats."""
        for key, name, formats in (
            ("input_format", settings.input_format, self.input_formats),
            ("output_format", settings.output_format, self.output_formats),
        ):
            if name is not None and name not in formats:
                return UnsupportedSetting((key,), f"{key} must be one of {', '.join(formats)}{suffix}, not {name}")
        return None

    def input_format_for(self, settings: SessionSettings) -> AudioFormat:
        """Return the format of the caller's audio."""
        return resolve_format(self.input_formats, settings.input_format)

    def output_format_for(self, settings: SessionSettings) -> AudioFormat:
        """Return the format of the service's audio."""
        return resolve_format(self.output_formats, settings.output_format)

    # Sent messages.

    def setup_messages(self, settings: SessionSettings, event_id: str) -> Sequence[ClientMessage | AwaitedEvent]:
        """Return the set-up of a session, in order: messages to send, and events to wait for.

        The last one is an event of `EventKind.SESSION_UPDATED`, after which the session is ready.
        """
        raise NotImplementedError

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        """Return the conflict between a script's event and a setting on which this tool relies; "" if there is none.

        The text contains a remedy.
        """
        return ""

    def message(self, message: Message, event_id: str) -> ClientMessage:
        """Return a message that joins the conversation and requests no response."""
        raise NotImplementedError

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        """Return an event as a script contains it. If it has no id, it gets `event_id`."""
        return ClientMessage(MessageKind.RAW, event["type"], msgspec.json.encode({"event_id": event_id, **event}))

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        """Return a piece of the caller's speech, in the session's input format."""
        raise NotImplementedError

    def commit(self, event_id: str) -> ClientMessage:
        """Return the message that ends the caller's speech. It is needed if the service does not detect the end."""
        raise NotImplementedError

    def clear(self, event_id: str) -> ClientMessage:
        """Return the message that deletes the appended audio that was not committed."""
        raise NotImplementedError

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        """Return the request of a response. It is needed if the service does not start responses itself."""
        raise NotImplementedError

    def function_call(self, call: FunctionCall, event_id: str) -> ClientMessage:
        """Return a function call that the service made in another session. The function's output must follow."""
        raise NotImplementedError

    def function_output(self, result: FunctionOutput, event_id: str) -> ClientMessage:
        """Return the output of a function that the service called."""
        raise NotImplementedError

    def cancel(self, event_id: str) -> ClientMessage:
        """Return the message that cancels the response in progress."""
        raise NotImplementedError

    def truncate(self, item_id: str, audio_end_ms: int, event_id: str) -> ClientMessage:
        """Return the message that reports how many ms of an item the caller has heard, and truncates the item there."""
        raise NotImplementedError

    def retrieve(self, item_id: str, event_id: str) -> ClientMessage:
        """Return the request of the content that the service keeps of an item."""
        raise NotImplementedError

    # Received messages.

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        """Return the events in one message, at most one of them with audio; none if the message has no event.

        Never raise: an unreadable message is one event of `EventKind.MALFORMED`.
        """
        raise NotImplementedError

    def without_audio(self, message: bytes) -> bytes:
        """Return a message of the client or the service without its audio, for storage.

        The result still decodes to events of the same kinds. If an event has audio, or if another dialect would find
        audio in it, only its ids remain. A message without audio is returned unchanged.
        """
        raise NotImplementedError

    # The session as the service describes it.

    def text_only(self, session: Mapping[str, Any]) -> str:
        """Return the name of the setting that makes a session text-only; "" if the session has audio."""
        return ""

    def idle_timeout_ms(self, session: Mapping[str, Any]) -> int | None:
        """Return the silence of the caller, in ms, after which the service speaks; None if the service never does."""
        return None

    def fillers(self, settings: SessionSettings) -> Mapping[str, Any] | None:
        """Return the settings that make a service speak fillers while its caller waits; None if there are none."""
        return None

    def fills_waits(self, session: Mapping[str, Any]) -> bool:
        """Return whether a session speaks fillers while its caller waits."""
        return False

    def is_expiry(self, code: int, reason: str) -> bool:
        """Return whether a close with this code and reason means that the session has reached its maximum age."""
        return False


def simulator_late_ms(headers: Mapping[str, str]) -> float:
    """Return the lateness in ms that the simulator reports; 0 if the header is missing or is not a number."""
    try:
        return float(headers.get(SIMULATOR_LATE_HEADER) or 0)
    except ValueError:
        return 0.0


def is_simulated(headers: Mapping[str, str], session: Mapping[str, Any]) -> bool:
    """Return whether the simulator sent the response to an upgrade, or the session's description."""
    return SIMULATOR_HEADER in headers or SIMULATOR_VALUE in session
