"""The Python implementation of `_compiled.pyx`. The docstrings of `_compiled.pyx` have the details.

A test compares the two implementations.
"""

import ssl
from typing import Any

from bench.base.clock import ANCILLARY_BYTES, arrival_ns, monotonic_ns
from bench.transport.loop_monitor import LoopMonitor
from bench.transport.parser import READ_BYTES, SocketRead
from bench.transport.parser import leading_messages as leading_messages
from bench.wire.connection import MatchedDelta, ReceivedMessage
from bench.wire.events import ServerEvent

RECORD_HEADER = 5
RECORD_BYTES = 16_384
"""The size of a TLS record's header, and the maximum size of its content, in bytes (RFC 8446
§5.1)."""


class Sieve:
    due = wakes = False

    def consume(self, read: SocketRead) -> SocketRead | None:
        return read

    def pass_on_consumed(self) -> None:
        """Do nothing, because this sieve stores no deltas."""


class TemplateMatcher(Sieve):
    """A matcher that matches nothing. Without C, each delta is decoded like any other message."""

    count = 0
    ready = keeps_texts = consumes_messages = False

    def __init__(self) -> None:
        self.consumed: list[ReceivedMessage] = []

    def consume(self, read: SocketRead) -> SocketRead | None:
        if self.consumes_messages:
            messages, size = leading_messages(read)
            if messages and size == len(read.data):
                self.consumed += messages
                self.due = True
                return None
        return read

    def pop_messages(self) -> list[ReceivedMessage]:
        messages = self.consumed
        self.consumed = []
        self.due = False
        return messages

    def add(
        self,
        event: ServerEvent,
        head: bytes,
        middle: bytes,
        tail: bytes,
        base64: bool,
        binary: bool,
        is_sound: bool,
        keeps_text: bool,
    ) -> None:
        """Learn nothing."""

    def forget(self) -> None:
        """Do nothing."""

    def match(self, data: bytes, at_ns: int, empty_ns: int, complete: bool) -> bool:
        """Return False: the general path handles the read."""
        return False

    def pop_deltas(self) -> list[MatchedDelta]:
        return []


class Decrypter(Sieve):
    def __init__(
        self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self.matcher = Sieve()
        self.heard = self.ended = False
        self.error: ssl.SSLError | None = None
        self._early = self._header = b""
        self._missing = 0
        self._last: SocketRead | None = None

    def shake_hands(self, data: bytes) -> None:
        self._feed(data)
        try:
            self._tls.do_handshake()
        finally:
            self._early = self._incoming.read()

    def consume(self, read: SocketRead) -> SocketRead | None:
        data = b"" if self.ended else self._opened(read.data)
        remainder = None
        complete = read.is_complete and not self._header
        if data:
            self.heard = True
            remainder = self.matcher.consume(read._replace(data=data, is_complete=complete))
            self.due = self.matcher.due
        self.wakes = self.ended or bool(self._outgoing.pending)
        if self.wakes:
            self._last = read._replace(data=b"", is_complete=complete)
        return remainder

    def pass_on_consumed(self) -> None:
        self.matcher.pass_on_consumed()
        self.due = self.matcher.due
        self.wakes = self.wakes or self.matcher.wakes

    def end(self) -> SocketRead:
        assert self._last is not None, "no read wakes"
        return self._last

    def _opened(self, data: bytes) -> bytes:
        parts = []
        self._feed(data)
        try:
            while self._incoming.pending:
                parts.append(self._tls.read(RECORD_BYTES))
                if not parts[-1]:
                    self.ended = True
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.ended = True
            self.error = error.with_traceback(None)
        finally:
            self._early = self._incoming.read()
        self.ended = self.ended or not data
        return b"".join(parts)

    def _feed(self, data: bytes) -> None:
        self._incoming.write(self._early + data)
        self._count_records(data)

    def _count_records(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if len(self._header) < RECORD_HEADER:
                step = min(RECORD_HEADER - len(self._header), len(data) - at)
                self._header = self._header + data[at : at + step]
                at = at + step
                if len(self._header) < RECORD_HEADER:
                    break
                self._missing = int.from_bytes(self._header[3:])
            step = min(self._missing, len(data) - at)
            self._missing = self._missing - step
            at = at + step
            if not self._missing:
                self._header = b""


class SocketReader:
    def __init__(self, sock: Any, watch: LoopMonitor, asked_ns: int) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._watch = watch
        self.stamped_ns = 0
        self.drained_ns = asked_ns
        self.drained = True
        self.failure = 0

    def close(self) -> None:
        """Do nothing: the socket itself knows that it is closed."""

    def read(self, polled_ns: int, polls: int | None, sieve: Sieve | None) -> SocketRead | None:
        # before the call: the process may lose its core between the call and a later clock reading
        before_ns = monotonic_ns()
        try:
            data, ancillary, _, _ = self._sock.recvmsg(READ_BYTES, ANCILLARY_BYTES)
            stamp_ns = arrival_ns(ancillary)
        except (BlockingIOError, InterruptedError):
            self.drained = True
            self.drained_ns = before_ns
            raise
        except OSError as error:
            data = b""
            stamp_ns = None
            self.failure = error.errno or 0
        # Each conversion of a timestamp to our clock has an error of some ns. Later bytes must not
        # be earlier.
        at_ns = self.stamped_ns = max(
            self.stamped_ns, monotonic_ns() if stamp_ns is None else stamp_ns
        )
        if self.drained:
            # that poll would have reported any bytes in it
            self.drained_ns = max(self.drained_ns, polled_ns)
        empty_ns = self.drained_ns
        if polls is not None:
            empty_ns = max(empty_ns, self._watch.empty_ns(self._fd, polls, at_ns))
        empty_ns = min(empty_ns, at_ns)
        self.drained = len(data) < READ_BYTES
        if self.drained:
            self.drained_ns = before_ns
        kernel = stamp_ns is not None
        socket_read = SocketRead(data, at_ns, empty_ns, kernel, self.drained)
        return socket_read if sieve is None else sieve.consume(socket_read)
