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

from bench.protocol.audio import AudioFormat, AudioFormatName, chosen
from bench.protocol.events import EventKind, FunctionCall, ServerEvent
from bench.protocol.settings import FunctionOutput, Message, ResponseSettings, SessionSettings, UnsupportedSetting

SaidItem = Message | FunctionCall | FunctionOutput
"""An item of a conversation, as a client can say it again."""
SIMULATOR_HEADER = "x-rtbench-simulator"
"""A header of every answer of `rtbench simulate`; a gateway on the way may answer the upgrade by itself."""
SIMULATOR_LATE_HEADER = "x-rtbench-simulator-late-ms"
"""A header of those answers while it is late: by how much at p99, since it listens."""
SIMULATOR_MARK = "rtbench_simulator"
"""A key of the session that no service has, and clients pass over; its value is true."""
SESSION_PREFIX = "session-"
"""How the client's ids of those messages begin without which a session is not what its script says."""
SET_UP_ID = f"{SESSION_PREFIX}update"
"""The client's id of the message that sets a session up."""
MESSAGE_ID = f"{SESSION_PREFIX}message"
"""The client's id of a message that is no turn's."""


class MessageKind(Enum):
    """What a client message does, in words that hold for every dialect."""

    __hash__ = object.__hash__  # Enum's own is a function in Python

    SET_UP = auto()
    """Say what the session is to be."""
    ITEM = auto()
    """Add an item to the conversation that is no audio: words as text, an image, what a function returned."""
    APPEND = auto()
    """Hand over a piece of the caller's audio."""
    COMMIT = auto()
    """End the caller's audio: what was handed over is what the caller said."""
    CLEAR = auto()
    """Take back the audio that was handed over and not committed."""
    REQUEST = auto()
    """Ask for a response."""
    RAW = auto()
    """Whatever the script says in the words of the service, or the line in its own."""
    CANCEL = auto()
    """Have the response under way end."""
    TRUNCATE = auto()
    """Say up to where an item of the service's was heard."""
    RETRIEVE = auto()
    """Ask what the service keeps of an item."""


BINARY = "binary"
"""The key under which a log has a binary message, in base64."""


class BinaryMessage(bytes):
    """Audio as bytes, not text. A WebSocket sends it in binary frames (RFC 6455 §5.6), another transport as media."""

    __slots__ = ()


NO_INSTANTS: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """One message to the service, encoded. `name`: what its dialect calls it. `audio_bytes`: decoded audio inside.

    `duration_ns`: of audio that is sent as a microphone records it, due when its last sample is; None: sent at once.
    `instants`: of speech (`bench.run.folder`) inside it, each as ns before its last sample was recorded.
    `untracked`: the event id of a message that is no turn's, although one may be under way; "" of all others. `item`:
    that a message is about which truncates one, after so many ms that were heard, or retrieves it.
    """

    act: MessageKind
    name: str
    data: bytes = field(repr=False)
    duration_ns: int | None = None
    audio_bytes: int = 0
    instants: Mapping[str, int] = field(default_factory=lambda: NO_INSTANTS)
    untracked: str = ""
    item: str = ""
    played_ms: int = 0


class AwaitedEvent(NamedTuple):
    """An event that must have come before the session is set up any further. `name`: what its dialect calls it."""

    kind: EventKind
    name: str


class Feature(Enum):
    """What a script may ask for that not every service has. The value: how an error says that a step asks for it."""

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
"""What stands for the id of the call, or connection, in what is sent, in a header and in a query."""


class CallCodec:
    """What one session says in its own name: its ids, numbers and times. It has a memory, as no dialect has."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id

    def written(self, act: MessageKind, data: bytes) -> bytes:
        """A message that was encoded for all sessions, as this one sends it next."""
        if isinstance(data, BinaryMessage):
            return data
        return data.replace(CALL_ID.encode(), self.call_id.encode())

    def heard(self, events: Sequence[ServerEvent]) -> Sequence[ServerEvent]:
        """The events of a message, as the call takes them: unknown ones where the message is not for this call."""
        return events

    def played(self, mark: str) -> ClientMessage | None:
        """Say that all that came before this mark was played, or dropped; None where nobody is to know."""
        return None

    def goodbye(self) -> ClientMessage | None:
        """What is said before the connection is closed; None where nothing is."""
        return None


class TelephonyProvider(NamedTuple):
    """How a provider of telephony carries calls to an agent, which says of none that it is open: its connection is.

    `words`: what one call says in its own name, by its id. `frame_ms`: how long each piece of the caller's audio is;
    None where that is for the script to say. `headers`: what the upgrade has beside a target's own headers; `{uuid}` is
    the id of the call.
    """

    words: Callable[[str], CallCodec]
    frame_ms: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Dialect:
    """How one kind of service spells its messages. A dialect has no state: one object serves every session.

    What it does not override its service has not, and scripts that want it are refused (`lacks`). `event_id` is the
    client's own id of a message; an error that comes of the message gives it back (`Failure.event_id`), where the
    dialect has such ids.
    """

    name: str
    """What users call it, as in `--dialect ga`."""
    provider: TelephonyProvider | None = None
    """What stands between the caller and an agent; None of a service that is called as it is."""
    has_turn_events = True
    """Whether events name turns and responses; else audio comes all the time, and replies are found in it."""
    takes_requests = True
    """Whether the client may ask for a response, and type a turn; else the service decides when to speak."""
    input_formats: Mapping[AudioFormatName, AudioFormat]
    """The formats of the caller's audio, with their rates; the first is the service's own."""
    output_formats: Mapping[AudioFormatName, AudioFormat]
    """The same of the service's audio."""
    message_kinds: Mapping[str, MessageKind]
    """Name of a client message on the wire → what it does."""
    lacks: Mapping[Feature, str] = MappingProxyType({})
    """What it cannot ask for → how an error goes on, with what to do."""

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        """The first of a session's settings that it cannot say; None where it can say all of them."""
        raise NotImplementedError

    def unknown_format(self, settings: SessionSettings, where: str = "") -> UnsupportedSetting | None:
        """Refuse an audio format that it has not; `where`: said of the formats that it has."""
        for key, name, formats in (
            ("input_format", settings.input_format, self.input_formats),
            ("output_format", settings.output_format, self.output_formats),
        ):
            if name is not None and name not in formats:
                return UnsupportedSetting((key,), f"{key} must be one of {', '.join(formats)}{where}, not {name}")
        return None

    def input_format_for(self, settings: SessionSettings) -> AudioFormat:
        """The format of the caller's audio."""
        return chosen(self.input_formats, settings.input_format)

    def output_format_for(self, settings: SessionSettings) -> AudioFormat:
        """The format of the service's audio."""
        return chosen(self.output_formats, settings.output_format)

    # What a session says.

    def set_up(self, settings: SessionSettings, event_id: str) -> Sequence[ClientMessage | AwaitedEvent]:
        """What opens a session, in its order: messages to send, and events to wait for before going on.

        The last one is an event of `Kind.SESSION_UPDATED`, from which on the session is ready.
        """
        raise NotImplementedError

    def refuses_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        """How an event that a script writes would undo what this tool goes by, with a remedy; "" where it would not."""
        return ""

    def message(self, message: Message, event_id: str) -> ClientMessage:
        """A message that joins the conversation; it asks for no response."""
        raise NotImplementedError

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        """An event as a script writes it; one without an id gets this one."""
        return ClientMessage(MessageKind.RAW, event["type"], msgspec.json.encode({"event_id": event_id, **event}))

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        """A piece of what the caller says aloud, in the session's input format."""
        raise NotImplementedError

    def commit(self, event_id: str) -> ClientMessage:
        """The end of what the caller says aloud, where the service does not find it by itself."""
        raise NotImplementedError

    def clear(self, event_id: str) -> ClientMessage:
        """The audio that was appended and not committed is to be forgotten."""
        raise NotImplementedError

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        """The wish for a response, where the service does not start one by itself."""
        raise NotImplementedError

    def function_call(self, call: FunctionCall, event_id: str) -> ClientMessage:
        """A call that the service made in another session; what the function returned is to follow."""
        raise NotImplementedError

    def function_output(self, returned: FunctionOutput, event_id: str) -> ClientMessage:
        """What the function returned that the service called."""
        raise NotImplementedError

    def cancel(self, event_id: str) -> ClientMessage:
        """The response under way is to end."""
        raise NotImplementedError

    def truncate(self, item_id: str, audio_end_ms: int, event_id: str) -> ClientMessage:
        """Say that the caller has heard no more than so many ms of an item of the service's."""
        raise NotImplementedError

    def retrieve(self, item_id: str, event_id: str) -> ClientMessage:
        """The service is to show what it keeps of an item."""
        raise NotImplementedError

    # How the service is read.

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        """The events in one message, at most one of them with audio; none where it tells nothing.

        Never raises: what cannot be read is one event of `Kind.MALFORMED`.
        """
        raise NotImplementedError

    def without_audio(self, message: bytes) -> bytes:
        """A message of either side as it may be kept: without its audio, and still read as events of the same kinds.

        Of an event with audio, or of one that another dialect would read as audio, what tells whose it is remains.
        A message without audio is handed back as it is.
        """
        raise NotImplementedError

    # How a session is read, as the service describes it.

    def text_only(self, session: Mapping[str, Any]) -> str:
        """The setting by which a session is without audio; "" where it has audio."""
        return ""

    def idle_timeout_ms(self, session: Mapping[str, Any]) -> int | None:
        """After how much silence a session speaks up by itself; None where never."""
        return None

    def fillers(self, settings: SessionSettings) -> Mapping[str, Any] | None:
        """How a session is asked to speak fillers while its caller waits; None where it is not."""
        return None

    def fills_waits(self, session: Mapping[str, Any]) -> bool:
        """Whether a session speaks fillers while its caller waits."""
        return False

    def is_expiry(self, code: int, reason: str) -> bool:
        """Whether a close with this code and reason says that the session has lasted as long as one may."""
        return False


def simulator_late_ms(headers: Mapping[str, str]) -> float:
    """How late the simulator says it was; 0 where it does not, or in no number."""
    try:
        return float(headers.get(SIMULATOR_LATE_HEADER) or 0)
    except ValueError:
        return 0.0


def is_simulated(headers: Mapping[str, str], session: Mapping[str, Any]) -> bool:
    """Whether the answer to an upgrade, or a session as the service describes it, is the simulator's."""
    return SIMULATOR_HEADER in headers or SIMULATOR_MARK in session
