"""What dialects have in common in which audio comes whenever the service speaks, and nothing says what it answers.

There are no responses to ask for, no turns to commit, and no items to cut: whoever speaks is heard.
`bench.observe.reply_detector` finds turns in the audio alone. What such a dialect has no words for is refused before a
session begins (`lacks`).

In most of them an agent is called: it is the server, and the harness its caller and the phone's provider. It speaks
whenever it wants to, mostly first; what it has sent and was not played yet waits in the caller's line (`Playout`).
Nothing says that a call is open but the connection itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import msgspec

from bench.protocol.audio import AudioFormat, AudioFormatName, chosen
from bench.protocol.base import Act, BinaryMessage, ClientMessage, Feature, Provider
from bench.protocol.events import Event, FunctionCall, Kind
from bench.protocol.settings import (
    FULL_DUPLEX,
    FunctionOutput,
    Message,
    ResponseSettings,
    SessionSettings,
    SettingsRefusal,
    TurnDetection,
)

UNSPEAKABLE = (
    *(Feature.IMAGE, Feature.OUT_OF_BAND, Feature.ASKED, Feature.MESSAGE, Feature.EXPECTATION, Feature.HISTORY),
    *(Feature.PIPELINED, Feature.RENEWAL, Feature.CUT),
)
"""What none of them can be asked for."""


class Duplex(ABC):
    """The part of a `bench.protocol.base.Dialect` that they share.

    `title`: what users know it by; `settings`: those of a session that it has words for; `only_duplex`: why its turn
    detection is what it is; `lacks_more`: what it cannot be asked for beside the others; `one_format`: whether audio is
    of one format both ways.
    """

    name: str
    title: ClassVar[str]
    settings: ClassVar[frozenset[str]]
    only_duplex: ClassVar[str]
    lacks_more: ClassVar[tuple[Feature, ...]] = (Feature.INTERRUPTION, Feature.SOUND)
    one_format: ClassVar[bool] = True
    has_turn_events = takes_requests = False
    provider: Provider | None = None
    input_formats: Mapping[AudioFormatName, AudioFormat]
    output_formats: Mapping[AudioFormatName, AudioFormat]

    @property
    def lacks(self) -> Mapping[Feature, str]:
        not_here = f"which {self.title} does not support"
        wanted = dict.fromkeys((*UNSPEAKABLE, *self.lacks_more), f"{not_here}: remove it")
        return MappingProxyType(wanted | {Feature.TYPED: f"{not_here}: use a recording instead (`audio`)"})

    def refuses(self, settings: SessionSettings) -> SettingsRefusal | None:
        if settings.turn_detection != TurnDetection(type=FULL_DUPLEX):
            return SettingsRefusal(("turn_detection",), f"turn_detection must be {FULL_DUPLEX}: {self.only_duplex}")
        if settings.output == "text":
            return SettingsRefusal(("output",), f"output must be audio: {self.title} speaks")
        unset = SessionSettings()
        names = (name for name in settings.__struct_fields__ if name not in self.settings)
        if (
            foreign := next((name for name in names if getattr(settings, name) != getattr(unset, name)), None)
        ) is not None:
            return SettingsRefusal((foreign,), f"{foreign} is no setting of {self.title}: remove it")
        return self._unfit_format(settings) or self.refuses_own(settings)

    def _unfit_format(self, settings: SessionSettings) -> SettingsRefusal | None:
        for key, name in (("input_format", settings.input_format), ("output_format", settings.output_format)):
            if name is not None and name not in self.input_formats:
                return SettingsRefusal((key,), f"{key} must be one of {', '.join(self.input_formats)}, not {name}")
        if not self.one_format or self.hears(settings) is self.speaks(settings):
            return None
        return SettingsRefusal(
            ("output_format",), f"output_format must be input_format: {self.title} has one for both ways"
        )

    @abstractmethod
    def refuses_own(self, settings: SessionSettings) -> SettingsRefusal | None:
        """The first of the settings that this one cannot say, beyond what holds for all of them."""

    def hears(self, settings: SessionSettings) -> AudioFormat:
        return chosen(self.input_formats, settings.input_format)

    def speaks(self, settings: SessionSettings) -> AudioFormat:
        return chosen(self.output_formats, settings.output_format)

    # What it has no words for.

    def message(self, message: Message, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def commit(self, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def clear(self, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def function_call(self, call: FunctionCall, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def function_output(self, returned: FunctionOutput, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def cancel(self, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def truncate(self, item_id: str, audio_end_ms: int, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def retrieve(self, item_id: str, event_id: str) -> ClientMessage:
        raise NotImplementedError

    # What it is never told.

    def text_only(self, session: Mapping[str, Any]) -> str:
        return ""

    def idle_timeout_ms(self, session: Mapping[str, Any]) -> int | None:
        return None

    def fillers(self, settings: SessionSettings) -> Mapping[str, Any] | None:
        return None

    def fills_waits(self, session: Mapping[str, Any]) -> bool:
        return False

    def is_expiry(self, code: int, reason: str) -> bool:
        return False


CALL_ID = b"{uuid}"
"""What stands for the id of the call in what is sent."""
OTHER_STREAM = " of another stream"
"""What follows the name of a message that names another call's stream, or none, where it is counted."""
FRAME_MS = 20
"""How providers cut a call's audio."""
DIGITS = frozenset("0123456789*#ABCD")
"""The keys of a phone, with the four of ITU-T Q.23 that few have."""
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Agent(Duplex):
    """The part of a dialect that they share.

    `audio_in`: the objects of a text message in which audio is, and the names that it has there.
    """

    audio_in: ClassVar[tuple[frozenset[str], frozenset[str]]]
    settings = frozenset({"turn_detection", "input_format", "output_format", "extra"})
    only_duplex = "an agent hears its caller all the time, and answers when it wants to"
    lacks_more = ()

    @property
    def lacks(self) -> Mapping[Feature, str]:
        untold = "which an agent does not report: give `after`, in seconds"
        return MappingProxyType({**super().lacks, Feature.CUE: untold})

    def refuses_own(self, settings: SessionSettings) -> SettingsRefusal | None:
        return None

    @abstractmethod
    def read_text(self, message: bytes) -> Event:
        """The event of a text message. Raises one of UNREADABLE."""

    def read_binary(self, message: BinaryMessage) -> Event:
        """The event of a binary message."""
        return Event(Kind.MALFORMED, reason="a binary message came, but only text is expected")

    def decode(self, message: bytes) -> Sequence[Event]:
        try:
            return (self.read_binary(message) if isinstance(message, BinaryMessage) else self.read_text(message),)
        except UNREADABLE as error:
            return (Event(Kind.MALFORMED, reason=str(error)[:200]),)

    def without_audio(self, message: bytes) -> bytes:
        objects, names = self.audio_in
        fields = _decode_fields(message)
        holding = [name for name in fields if name in objects and bytes(fields[name]).startswith(b"{")]
        for name in holding:
            kept = {inner: value for inner, value in _decode_fields(fields[name]).items() if inner not in names}
            fields[name] = msgspec.Raw(msgspec.json.encode(kept))
        return msgspec.json.encode(fields) if holding else message

    def refuses_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        if event["type"] == "dtmf" and event.get("digit") in DIGITS:
            return ""
        return "is no event of a phone call: press a key with {type: dtmf, digit: '5'}"


class NamedCall:
    """A `bench.protocol.base.CallWords` that names its call where its messages leave room for that."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id.encode()

    def written(self, act: Act, data: bytes) -> bytes:
        return data if isinstance(data, BinaryMessage) else data.replace(CALL_ID, self.call_id)

    def heard(self, events: Sequence[Event]) -> Sequence[Event]:
        return events

    def played(self, mark: str) -> ClientMessage | None:
        return None

    def goodbye(self) -> ClientMessage | None:
        return None
