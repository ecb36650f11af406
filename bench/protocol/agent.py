"""What the dialects have in common in which an agent is called: the harness is its caller, and the phone's provider.

The agent is the server. It speaks whenever it wants to, mostly first; what it has sent and was not played yet waits in
the caller's line (`bench.observe.playout`). Nothing says that a call is open but the connection itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bench.protocol.base import Act, Binary, ClientMessage
from bench.protocol.duplex import Duplex
from bench.protocol.events import Event, Kind
from bench.protocol.settings import SessionSettings, SettingsRefusal

CALL_ID = b"{uuid}"
"""What stands for the id of the call in what is sent."""
FRAME_MS = 20
"""How providers cut a call's audio."""
DIGITS = frozenset("0123456789*#ABCD")
"""The keys of a phone, with the four of ITU-T Q.23 that few have."""


class Agent(Duplex):
    """The part of a dialect that they share."""

    settings = frozenset({"turn_detection", "input_format", "output_format", "extra"})
    only_duplex = "an agent hears its caller all the time, and answers when it wants to"
    lacks_more = ()

    def refuses_own(self, settings: SessionSettings) -> SettingsRefusal | None:
        return None

    def refuses_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        if event["type"] == "dtmf" and event.get("digit") in DIGITS:
            return ""
        return "is nothing that a phone can say: press a key with {type: dtmf, digit: '5'}"


class NamedCall:
    """A `bench.protocol.base.CallWords` that names its call where its messages leave room for that."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id.encode()

    def written(self, act: Act, data: bytes) -> bytes:
        return data if isinstance(data, Binary) else data.replace(CALL_ID, self.call_id)

    def played(self, mark: str) -> ClientMessage | None:
        return None

    def goodbye(self) -> ClientMessage | None:
        return None


def malformed(error: Exception | str) -> tuple[Event]:
    """The one event of a message that cannot be read."""
    return (Event(Kind.MALFORMED, reason=str(error)[:200]),)


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
NO_TEXT = "a binary message came, where each is text"
