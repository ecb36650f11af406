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
"""A header of those responses while the simulator is late: its p99 lateness since it started to listen."""
SIMULATOR_VALUE = "rtbench_simulator"
"""A key of the simulator's session description that no service has and clients ignore. Its value is true."""
SESSION_PREFIX = "session-"
"""The prefix of the ids of client messages without which a session differs from its script."""
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
    """One encoded message to the service. `name` is its name in the dialect. `audio_bytes` counts its decoded audio.

    `duration_ns` is the duration of audio that is sent at the pace of a microphone, due at its last sample; None: sent
    at once. `instants` are the instants of speech (`bench.columns`) in it, each as ns before the recording of its last
    sample. `untracked` is the event id of a message outside of any turn, also if one is open; "" for all others. `item`
    is the item that the message truncates after `played_ms`, or retrieves.
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
    """An event that must arrive before the set-up continues. `name` is its name in the dialect."""

    kind: EventKind
    name: str


class Feature(Enum):
    """A feature of scripts that not every service has. The value is the predicate of a step in an error."""

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


CALL_ID = "{uuid}"
"""The placeholder of the id of the call, or connection, in messages, in a header and in a query."""


class CallCodec:
    """The call-specific parts of a session's messages: ids, numbers and times. It has state, unlike a dialect."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id

    def encode(self, act: MessageKind, data: bytes) -> bytes:
        """Return a message, encoded for all sessions, as this session sends it next."""
        if isinstance(data, BinaryMessage):
            return data
        return data.replace(CALL_ID.encode(), self.call_id.encode())

    def decode(self, events: Sequence[ServerEvent]) -> Sequence[ServerEvent]:
        """Return the events of a message as the call receives them: unknown ones if the message is for another call."""
        return events

    def acknowledge(self, mark: str) -> ClientMessage | None:
        """Return the report that all audio before this mark was played or dropped; None if no report is needed."""
        return None

    def goodbye(self) -> ClientMessage | None:
        """Return the last message before the connection is closed; None if there is none."""
        return None


class TelephonyProvider(NamedTuple):
    """A telephony provider's way to carry calls to an agent. A call is open as soon as its connection is.

    `words` returns the codec of one call by its id. `frame_ms` is the duration of each piece of the caller's audio;
    None if the script sets it. `headers` are headers of the upgrade in addition to the target's; `{uuid}` is the id of
    the call.
    """

    codec: Callable[[str], CallCodec]
    frame_ms: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Dialect:
    """The message format of one kind of service. A dialect has no state: one object serves all sessions.

    A service does not have a method that its dialect does not override, and scripts that need it are refused (`lacks`).
    `event_id` is the client's own id of a message. If the dialect has such ids, an error caused by the message returns
    it (`ServiceFailure.event_id`).
    """

    name: str
    """The name for users, as in `--dialect ga`."""
    provider: TelephonyProvider | None = None
    """The provider between the caller and an agent; None for a service without one."""
    has_turn_events = True
    """True if events name turns and responses. Otherwise audio is continuous, and replies are detected in it."""
    takes_requests = True
    """True if the client may request a response and type a turn. Otherwise the service decides when to speak."""
    input_formats: Mapping[AudioFormatName, AudioFormat]
    """The formats of the caller's audio, with their rates. The first is the service's default."""
    output_formats: Mapping[AudioFormatName, AudioFormat]
    """The formats of the service's audio. The first is the service's default."""
    message_kinds: Mapping[str, MessageKind]
    """Name of a client message on the wire → its kind."""
    missing_features: Mapping[Feature, str] = MappingProxyType({})
    """Feature that the service does not have → the rest of the error, with a remedy."""

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        """Return the first session setting that the dialect does not support; None if it supports all."""
        raise NotImplementedError

    def unknown_format(self, settings: SessionSettings, where: str = "") -> UnsupportedSetting | None:
        """Return the error for an audio format that the dialect lacks. `where` follows the list of its formats."""
        for key, name, formats in (
            ("input_format", settings.input_format, self.input_formats),
            ("output_format", settings.output_format, self.output_formats),
        ):
            if name is not None and name not in formats:
                return UnsupportedSetting((key,), f"{key} must be one of {', '.join(formats)}{where}, not {name}")
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
        """Return the conflict of a script's event with what this tool relies on, with a remedy; "" if there is none."""
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
        """Return the end of the caller's speech, if the service does not detect it."""
        raise NotImplementedError

    def clear(self, event_id: str) -> ClientMessage:
        """Return the message that deletes the appended audio that was not committed."""
        raise NotImplementedError

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        """Return the request of a response, if the service starts none."""
        raise NotImplementedError

    def function_call(self, call: FunctionCall, event_id: str) -> ClientMessage:
        """Return a function call that the service made in another session. The function's output must follow."""
        raise NotImplementedError

    def function_output(self, returned: FunctionOutput, event_id: str) -> ClientMessage:
        """Return the output of a function that the service called."""
        raise NotImplementedError

    def cancel(self, event_id: str) -> ClientMessage:
        """Return the message that cancels the response in progress."""
        raise NotImplementedError

    def truncate(self, item_id: str, audio_end_ms: int, event_id: str) -> ClientMessage:
        """Return the message that the caller has heard only this many ms of an item."""
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
        """Return a message of either side without its audio, for storage. It still decodes to events of the same kinds.

        Of an event with audio, or one that another dialect would read as audio, the ids remain. A message without audio
        is returned unchanged.
        """
        raise NotImplementedError

    # The session as the service describes it.

    def text_only(self, session: Mapping[str, Any]) -> str:
        """Return the setting by which a session is without audio; "" if it has audio."""
        return ""

    def idle_timeout_ms(self, session: Mapping[str, Any]) -> int | None:
        """Return the silence of the caller after which the service speaks; None if it never does."""
        return None

    def fillers(self, settings: SessionSettings) -> Mapping[str, Any] | None:
        """Return the settings that make a session speak fillers while its caller waits; None if it has none."""
        return None

    def fills_waits(self, session: Mapping[str, Any]) -> bool:
        """Return whether a session speaks fillers while its caller waits."""
        return False

    def is_expiry(self, code: int, reason: str) -> bool:
        """Return whether a close with this code and reason means that the session has reached its maximum age."""
        return False


def simulator_late_ms(headers: Mapping[str, str]) -> float:
    """Return the lateness that the simulator reports; 0 if it reports none, or no number."""
    try:
        return float(headers.get(SIMULATOR_LATE_HEADER) or 0)
    except ValueError:
        return 0.0


def is_simulated(headers: Mapping[str, str], session: Mapping[str, Any]) -> bool:
    """Return whether the response to an upgrade, or a session's description, is the simulator's."""
    return SIMULATOR_HEADER in headers or SIMULATOR_VALUE in session
