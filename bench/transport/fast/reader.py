"""Reads messages from what a connection brings: the one doorway to the fast path.

Nearly all that comes are whole text frames, most of them deltas of the reply under way, and a delta comes in one of two
ways: matched, or as a message that somebody understands. Two deltas of one kind and one response differ in the id of
the event and in the payload. Once one was understood, a message that has all other bytes in common with it, whose id
and payload are plain JSON strings, says the same but for them: it is counted with its stamp and its lengths. A read
that holds anything else is left to whoever understands messages. What is done for each event is done in C: a `Sieve`
gets a read of the `SocketReader` before it is an object of Python's. Over TLS a `Decrypter` stands between the two.
"""

from __future__ import annotations

import re

import msgspec

from bench.protocol.events import EMPTY, EventKind, ServerEvent
from bench.transport.fast.frames import missing_bytes
from bench.transport.interface import DeltaListener
from bench.transport.received import ReceivedMessage, SocketRead

try:  # without a compiler deltas are not matched, but decoded like other messages: slower, with the same results
    from bench.transport.fast._compiled import Decrypter, Sieve, SocketReader, TemplateMatcher, leading_texts

    COMPILED = True
except ModuleNotFoundError as missing:
    if missing.name != "bench.transport.fast._compiled":  # as in `bench.protocol.audio`
        raise
    from bench.transport.fast._interpreted import (  # type: ignore[assignment]
        Decrypter,
        Sieve,
        SocketReader,
        TemplateMatcher,
        leading_texts,
    )

    COMPILED = False

__all__ = ["COMPILED", "Decrypter", "MessageReader", "Sieve", "SocketReader", "TemplateMatcher", "leading_texts"]

_EVENT_ID = re.compile(rb'(.*?"event_id"\s*:\s*")[^"\\]*(".*)', re.DOTALL)
_KEY = re.compile(rb'"delta"\s*:\s*"$')
_END = re.compile(rb'"\s*\}\s*')
MOST_KNOWN = 32
"""How many deltas are known at a time: two of each item that is under way, and few of items that are whole."""


class MessageReader(TemplateMatcher):
    """Reads the messages of one connection; deltas that match go to whoever listens to the reply, several at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._reply: DeltaListener | None = None
        self._plain = False
        self._parts: list[bytes] = []  # of a text frame that goes on in the next read
        self._missing = 0  # bytes of it
        self._learned: dict[EventKind, tuple[str, str]] = {}
        self._known = 0
        """How many deltas were learned since all were forgotten."""

    def expect(self, *, plain: bool) -> None:
        """`plain`: the next frame begins a message, and is as it was sent; else all is for websockets' protocol."""
        self._plain = plain
        self._note_ready()

    def begin(self, reply: DeltaListener | None) -> None:
        """Match deltas for whoever listens to a reply from now on; None: to none, so what was learned is forgotten."""
        self._reply = reply
        if reply is None and self._learned:  # the ids of the next reply are others
            self._forget()
        self._note_ready()

    def _forget(self) -> None:
        self._learned.clear()
        self._known = 0
        self.forget()

    def end(self) -> None:
        """Hand on what was matched, and let go of whoever listened, who may hold this connection."""
        try:
            self.hand_on()
        finally:
            self._reply, self.ready = None, False

    def learn(self, message: bytes, event: ServerEvent) -> None:
        """Match deltas like this one from now on; `message` is all that it came in."""
        ids = event.response_id, event.item_id
        # deltas of one kind and item are alike but for the event's id and the payload: one template is enough
        if self._learned.get(event.kind) == ids:
            return
        if self._known == MOST_KNOWN:  # each is tried at every message
            self._forget()
        self._learned[event.kind] = ids
        self._known += 1
        around = _around(message, event.payload)
        if around is not None:
            like_it = msgspec.structs.replace(event, payload=EMPTY, payload_bytes=0)
            self.add(like_it, *around, event.kind is EventKind.AUDIO_DELTA)

    def hand_on(self) -> None:
        """Hand on the deltas that were matched: before anything that came later is."""
        if self.count and self._reply is not None:
            self._reply.take_deltas(self.hand_out())

    def read(self, read: SocketRead) -> list[ReceivedMessage] | SocketRead:
        """The messages that a read completes, but for deltas that match; the read itself where it holds anything else.

        What was kept of a frame that went on in it stands before it then.
        """
        whole = self._joined(read) if self._missing else read  # mostly a read ends with a frame
        if whole is None:
            return []
        data, stamp_ns, empty_ns, kernel, complete = whole
        # without the kernel's stamp it goes the other way, where such are counted
        if self._reply is not None and self._plain and kernel and self.match(data, stamp_ns, empty_ns, complete):
            if self.due:
                self.hand_on()
            came: list[ReceivedMessage] | SocketRead = []
        else:
            self.hand_on()  # what was matched came before this read, and the timeline takes all in its order
            came = self._texts(whole)
        self._note_ready()
        return came

    def messages(self, read: SocketRead) -> list[ReceivedMessage] | SocketRead:
        """As `read`, without matching: for whoever does not listen in the event loop."""
        whole = self._joined(read) if self._missing else read
        return [] if whole is None else self._texts(whole)

    def take_begun(self) -> bytes:
        """Take what was kept of a frame that went on: there is no more of it, or it is whole."""
        begun = b"".join(self._parts)
        self._parts, self._missing = [], 0
        return begun

    def _note_ready(self) -> None:
        self.ready = self._reply is not None and self._plain and not self._missing

    def _joined(self, read: SocketRead) -> SocketRead | None:
        """A read, with what was kept of the frame that goes on in it; None while that still goes on."""
        if not read.data:  # the peer has gone: what was kept stays for `take_begun`
            return read
        self._parts.append(read.data)
        self._missing -= len(read.data)
        return None if self._missing > 0 else read._replace(data=self.take_begun())

    def _texts(self, read: SocketRead) -> list[ReceivedMessage] | SocketRead:
        """The messages of a read that holds nothing but text frames of new messages; else the read.

        As websockets' protocol finds them, in a fifth of the time. The last frame may go on in the next read: kept in
        parts and joined once, for who gives the protocol part after part has it copy what came before each time.
        """
        if not read.data or not self._plain:
            return read
        texts, taken = leading_texts(read)
        if taken < len(read.data):
            begun = read.data[taken:]
            missing = missing_bytes(begun)
            if not missing:
                return read
            self._parts, self._missing = [begun], missing
        return texts


def _around(message: bytes, payload: object) -> tuple[bytes, bytes, bytes] | None:
    """The bytes before the event's id, between that and the payload, and after it; None of an unusual message.

    Without an id all that stands before the payload is before it, and nothing between.
    """
    if not isinstance(payload, msgspec.Raw):
        return None
    end = message.rfind(b'"')  # services write the payload last; of others each delta is understood, which is slower
    begin = end - len(memoryview(payload)) + 2  # the payload is JSON, with its quotes
    head, tail = message[:begin], message[end:]
    if message.find(b'"', begin) != end or not _KEY.search(head) or not _END.fullmatch(tail):
        return None
    with_id = _EVENT_ID.fullmatch(head)
    return (head, b"", tail) if with_id is None else (with_id[1], with_id[2], tail)
