"""The messages in the data of a connection.

Other code uses the fast path only through this module.
"""

# Nearly all data are complete messages in one frame, and most of these are deltas of the reply in
# progress. A delta is either matched with a template, or decoded like other messages. Two deltas of
# one kind and one response differ only in the event id and the payload. The first such delta is
# decoded, and becomes the template for others. A message matches the template if it differs only in
# the event id and the payload, and both are plain JSON strings. Then it is the same event with
# another id and payload. It is counted with its timestamp and its lengths. If a read contains any
# other message, the complete read is decoded. The work for each event is done in C. `SocketReader`
# passes a read to a `Sieve` before the read becomes a Python object. With TLS, a `Decrypter` is
# between `SocketReader` and `Sieve`.

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from bench.base.compiled import compiled_module, twin
from bench.transport.interface import DeltaListener
from bench.transport.parser import SocketRead, missing_bytes
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage
from bench.wire.events import EMPTY, EventKind, ServerEvent

if TYPE_CHECKING:
    from bench.transport.fast._compiled import (
        Decrypter,
        Sieve,
        SocketReader,
        TemplateMatcher,
        leading_messages,
    )
else:
    _TWIN = twin("bench.transport.fast._compiled", "bench.transport.fast._interpreted")
    Decrypter = _TWIN.Decrypter
    Sieve = _TWIN.Sieve
    SocketReader = _TWIN.SocketReader
    TemplateMatcher = _TWIN.TemplateMatcher
    leading_messages = _TWIN.leading_messages
# without a compiler, deltas are decoded like other messages: slower, with the same results
COMPILED = compiled_module("bench.transport.fast._compiled") is not None

OnMessages = Callable[[list[ReceivedMessage]], bool]
"""A handler of messages. It must not block. It returns True if the listener must act."""

__all__ = [
    "COMPILED",
    "Decrypter",
    "MessageReader",
    "Sieve",
    "SocketReader",
    "TemplateMatcher",
    "leading_messages",
]

_EVENT_ID = re.compile(rb'(.*?"event_id"\s*:\s*")[^"\\]*(".*)', re.DOTALL)
_KEY = re.compile(rb'"(?:delta|[dD]ata|payload|text)"\s*:\s*"$')
_END = re.compile(rb'"[\s}\]]*')
UNIQUE_BYTES = 64
"""The maximum number of bytes by which a payload is searched in its message."""
MAX_TEMPLATES = 32
"""The maximum number of templates: enough for two templates per open item, and a few of complete
items."""


class MessageReader(TemplateMatcher):
    """The reader of one connection's messages.

    It passes matched deltas to the listener of the reply, several at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._reply: DeltaListener | None = None
        self._on_messages: OnMessages | None = None
        self._plain = False
        self._parts: list[bytes] = []  # parts of a text frame that continues in the next read
        self._missing = 0  # number of bytes of that frame that are missing
        self._learned: dict[EventKind, tuple[str, str]] = {}
        self._known = 0
        """The number of templates that were learned since all templates were last forgotten."""

    def expect(self, *, plain: bool) -> None:
        """Set whether the next frame starts an uncompressed message.

        If it does not, websockets' protocol object gets all data.
        """
        self._plain = plain
        self._note_ready()

    def begin(self, reply: DeltaListener | None, on_messages: OnMessages | None = None) -> None:
        """Match deltas from now on, and pass them to `reply`. Pass other messages to `on_messages`,
        if their read has only complete messages.

        If `reply` is None, match no deltas. Without a reply that has begun, forget the templates.
        """
        self._reply = reply
        self._on_messages = on_messages
        self.wakes = False
        if self._learned and (reply is None or not reply.has_begun):  # the next one has other ids
            self._forget()
        self._note_ready()

    def _forget(self) -> None:
        self._learned.clear()
        self._known = 0
        self.forget()

    def end(self) -> None:
        """Pass on what was consumed, then release the listeners, because they may hold a
        reference to this connection.
        """
        try:
            self.pass_on_consumed()
        finally:
            self._reply = self._on_messages = None
            self.ready = self.consumes_messages = False

    def add_template(
        self,
        message: bytes,
        event: ServerEvent,
        *,
        is_sound: bool = False,
        keeps_text: bool = False,
    ) -> None:
        """Learn a template: from now on, deltas that are like `event` match.

        `event` must be the only event of `message`. If `is_sound` is True, matched deltas contain
        their audio. If the event of a sound has no payload, the message is nothing but audio. If
        `keeps_text` is True, they contain their messages.
        """
        ids = event.response_id, event.item_id
        # Deltas of one kind and item differ only in the event id and the payload, so one template
        # is enough.
        if self._learned.get(event.kind) == ids:
            return
        if self._known == MAX_TEMPLATES:  # every message is compared with each
            self._forget()
        self._learned[event.kind] = ids
        self._known += 1
        is_binary = isinstance(message, BinaryMessage)
        is_only_audio = is_sound and is_binary and event.payload is EMPTY
        template_parts = (b"", b"", b"") if is_only_audio else _around(message, event.payload)
        if template_parts is not None:
            template = msgspec.structs.replace(event, payload=EMPTY, payload_bytes=0)
            is_base64 = event.kind is EventKind.AUDIO_DELTA and not is_only_audio
            self.add(template, *template_parts, is_base64, is_binary, is_sound, keeps_text)

    def pass_on_consumed(self) -> None:
        """Pass the matched deltas, then the messages of consumed reads, to their listeners. This
        must happen before a later message is passed on.
        """
        if self.count and self._reply is not None:
            self.wakes = self._reply.on_deltas(self.pop_deltas())
        if self.consumed and self._on_messages is not None:
            self.wakes = self._on_messages(self.pop_messages()) or self.wakes

    def read(self, read: SocketRead) -> list[ReceivedMessage] | SocketRead:
        """Return the messages that a read completes, without matched deltas.

        If the read has data other than frames of complete messages, return the read. Its data then
        begins with the start of a frame that earlier reads left over.
        """
        complete_read = self._joined(read) if self._missing else read  # most reads end with a frame
        if complete_read is None:
            return []
        data, timestamp_ns, empty_ns, kernel, complete = complete_read
        # Without a kernel timestamp the read is decoded, and counted there.
        if (
            self._reply is not None
            and self._plain
            and kernel
            and self.match(data, timestamp_ns, empty_ns, complete)
        ):
            if self.due:
                self.pass_on_consumed()
            messages: list[ReceivedMessage] | SocketRead = []
        else:
            # matched deltas came before this read, and the timeline needs the order of arrival
            self.pass_on_consumed()
            messages = self._whole(complete_read)
        self._note_ready()
        return messages

    def messages(self, read: SocketRead) -> list[ReceivedMessage] | SocketRead:
        """Do the same as `read`, but match no deltas. This is for code that does not listen in
        the event loop.
        """
        complete_read = self._joined(read) if self._missing else read
        return [] if complete_read is None else self._whole(complete_read)

    def take_begun(self) -> bytes:
        """Return the stored parts of a frame, joined, and clear them. The reader then waits for
        no further parts.
        """
        start = b"".join(self._parts)
        self._parts = []
        self._missing = 0
        return start

    def _note_ready(self) -> None:
        starts_message = self._plain and not self._missing
        self.ready = starts_message and self._reply is not None
        self.consumes_messages = starts_message and self._on_messages is not None

    def _joined(self, read: SocketRead) -> SocketRead | None:
        """Put the bytes that earlier reads left over before the bytes of this read.

        Return None while the frame that they start is incomplete.
        """
        if not read.data:  # the peer has closed: the start of the frame stays for `take_begun`
            return read
        self._parts.append(read.data)
        self._missing -= len(read.data)
        return None if self._missing > 0 else read._replace(data=self.take_begun())

    def _whole(self, read: SocketRead) -> list[ReceivedMessage] | SocketRead:
        """Return the messages of a read that has only frames of complete messages. Return any other
        read unchanged.

        The messages are the same as those of websockets' protocol object, in a fifth of the time.
        The last frame may continue in the next read. Its parts are stored and joined once. The
        protocol object would copy all earlier parts for each new part.
        """
        if not read.data or not self._plain:
            return read
        messages, frames_size = leading_messages(read)
        if frames_size < len(read.data):
            start = read.data[frames_size:]
            missing = missing_bytes(start)
            if not missing:
                return read
            self._parts = [start]
            self._missing = missing
        return messages


def _around(message: bytes, payload: object) -> tuple[bytes, bytes, bytes] | None:
    """Return three parts of a message: before the event id, between event id and payload, and after
    the payload.

    Return None if the message does not have the usual form. If it has no event id, the first part
    is everything before the payload, and the second part is empty.
    """
    if not isinstance(payload, msgspec.Raw):
        return None
    text = bytes(payload)  # JSON, with its quotes
    start = text[:UNIQUE_BYTES]  # the search for a long text would take longer
    at = message.find(start)
    end = at + len(text) - 1
    # No other place of `start` is within the payload, because `start` begins with a quote.
    if (
        not text.startswith(b'"')
        or text.find(b'"', 1) != len(text) - 1  # `count` takes a hundred times as long
        or not message.startswith(text, at)
        or message.find(start, end) >= 0  # the payload may be any of them
    ):
        return None
    head = message[: at + 1]
    tail = message[end:]
    if not _KEY.search(head):
        return None
    with_id = _EVENT_ID.fullmatch(head)
    return (head, b"", tail) if with_id is None else (with_id[1], with_id[2], tail)
