"""Takes the deltas of a reply that goes on by their form, without understanding each of them anew.

Two deltas of one kind and one response differ in the id of the event and in the payload. Once one was understood, a
message that has all other bytes in common with it, whose id and payload are plain JSON strings, says the same but for
them: it is counted with its stamp and its lengths. A read that holds anything else is left to whoever understands
messages. The work is done in C (`compiled.py`); where there was no compiler, nothing is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from bench.protocol.events import EMPTY, Event, Kind
from bench.transport.compiled import DeltaTaker

_EVENT_ID = re.compile(rb'(.*?"event_id"\s*:\s*")[^"\\]*(".*)', re.DOTALL)
_KEY = re.compile(rb'"delta"\s*:\s*"$')
_END = re.compile(rb'"\s*\}\s*')


class DeltaReader(DeltaTaker):
    """Takes the deltas of one session's reply under way; `hand_on` is called when they are to be handed out.

    `ready`: the next byte begins a message, so that what is read now may be taken. `patient`: nothing but the reply's
    end is awaited, so the socket may be looked at every few milliseconds only.
    """

    def __init__(self, hand_on: Callable[[], None]) -> None:
        super().__init__()
        self.hand_on, self.ready, self.patient = hand_on, False, False
        self._known: dict[Kind, tuple[str, str]] = {}

    def learn_from(self, message: bytes, event: Event) -> None:
        """Take deltas like this one from now on; `message` is all that it came in."""
        ids = event.response_id, event.item_id
        if self._known.get(event.kind) == ids:
            return
        self._known[event.kind] = ids
        around = _around(message, event.payload)
        if around is not None:
            like_it = msgspec.structs.replace(event, payload=EMPTY, payload_bytes=0)
            self.learn(like_it, *around, event.kind is Kind.AUDIO_DELTA)

    def close(self) -> None:
        """Let go of whoever deltas are handed to, so that nothing is left of a session that is over."""
        self.hand_on = lambda: None

    def forget(self) -> None:
        """Take no deltas any more, until others were learned from."""
        if self._known:
            self._known.clear()
            super().forget()


def _around(message: bytes, payload: object) -> tuple[bytes, bytes, bytes] | None:
    """The bytes before the event's id, between that and the payload, and after it; None of an unusual message.

    Without an id all that stands before the payload is before it, and nothing between.
    """
    if not isinstance(payload, msgspec.Raw):
        return None
    end = message.rfind(b'"')
    begin = end - len(memoryview(payload)) + 2
    head, tail = message[:begin], message[end:]
    if message.find(b'"', begin) != end or not _KEY.search(head) or not _END.fullmatch(tail):
        return None
    with_id = _EVENT_ID.fullmatch(head)
    return (head, b"", tail) if with_id is None else (with_id[1], with_id[2], tail)
