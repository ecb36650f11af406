"""What the dialects have in common in which an agent is called: the harness is its caller, and the phone's provider.

The agent is the server. It speaks whenever it wants to, mostly first; what it has sent and was not played yet waits in
the caller's line (`Playout`). Nothing says that a call is open but the connection itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import msgspec

from bench.protocol.base import Act, Binary, ClientMessage, Feature
from bench.protocol.duplex import Duplex
from bench.protocol.events import Event, Kind
from bench.protocol.settings import SessionSettings, SettingsRefusal

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

    def read_binary(self, message: Binary) -> Event:
        """The event of a binary message."""
        return Event(Kind.MALFORMED, reason="a binary message came, but only text is expected")

    def decode(self, message: bytes) -> Sequence[Event]:
        try:
            return (self.read_binary(message) if isinstance(message, Binary) else self.read_text(message),)
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
        return data if isinstance(data, Binary) else data.replace(CALL_ID, self.call_id)

    def heard(self, events: Sequence[Event]) -> Sequence[Event]:
        return events

    def played(self, mark: str) -> ClientMessage | None:
        return None

    def goodbye(self) -> ClientMessage | None:
        return None
