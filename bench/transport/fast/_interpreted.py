"""Does in Python what `_compiled.pyx` does in C, whose docstrings say what that is; a test holds the two equal."""

from __future__ import annotations

from typing import Any

from bench.clock import ANCILLARY_BYTES, Arrival, arrival_ns, monotonic_ns
from bench.protocol.events import Event
from bench.transport.fast.frames import leading_texts as leading_texts
from bench.transport.loop import LoopWatch
from bench.transport.received import READ_BYTES, DeltaArrival, Read

ROOM, MANY, LONG_NS = 64, 32, 500_000_000
QUOTE, PADDING = b'"', ord("=")
PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\')


class Template:
    """As in C."""

    def __init__(self, event: Event, head: bytes, middle: bytes, tail: bytes, base64: bool) -> None:
        self.event, self._head, self._middle, self._tail, self._base64 = event, head, middle, tail, base64

    def payload_bytes(self, text: bytes) -> int:
        """As in C."""
        begin, end = len(self._head), len(text) - len(self._tail)
        if not text.startswith(self._head):
            return 0
        if self._middle:
            id_end = text.find(QUOTE, begin)
            if id_end < 0 or text[begin:id_end].translate(None, PLAIN) or not text.startswith(self._middle, id_end):
                return 0
            begin = id_end + len(self._middle)
        payload = text[begin:end]
        if begin > end or not text.endswith(self._tail) or payload.translate(None, PLAIN):
            return 0
        if not self._base64:
            return len(payload)
        if len(payload) % 4 or not payload:
            return 0
        return len(payload) // 4 * 3 - (payload[-1] == PADDING) - (payload[-2] == PADDING)


class TemplateMatcher:
    """As in C."""

    def __init__(self) -> None:
        self.due = self.ready = self.keeps_texts = False
        self._templates: list[Template] = []
        self._matched: list[DeltaArrival] = []
        self._first_ns = 0

    @property
    def count(self) -> int:
        """As in C."""
        return len(self._matched)

    def add(self, event: Event, head: bytes, middle: bytes, tail: bytes, base64: bool) -> None:
        """As in C."""
        self._templates.append(Template(event, head, middle, tail, base64))

    def forget(self) -> None:
        """As in C."""
        self._templates.clear()

    def match(self, data: bytes, at_ns: int, empty_ns: int, complete: bool) -> bool:
        """As in C."""
        if not data or not self._templates:
            return False
        now_ns = monotonic_ns()
        texts, taken = leading_texts(data, Arrival(at_ns))
        # any doubt leaves the read to whoever understands each message
        if taken < len(data) or self.count + len(texts) > ROOM:
            return False
        matched = []
        for text, _, wire_bytes in texts:
            for template in self._templates:
                if size := template.payload_bytes(text):
                    kept = text if self.keeps_texts else b""
                    one = DeltaArrival(template.event, at_ns, at_ns - empty_ns, now_ns - at_ns, size, wire_bytes, kept)
                    matched.append(one)
                    break
            else:
                return False
        if complete:
            matched[-1] = matched[-1]._replace(error_ns=0)  # its last byte ended a read that emptied the socket
        if not self._matched:
            self._first_ns = now_ns
        self._matched += matched
        self.due = self.keeps_texts or self.count >= MANY or now_ns - self._first_ns > LONG_NS
        return True

    def hand_out(self) -> list[DeltaArrival]:
        """As in C."""
        matched, self._matched, self.due = self._matched, [], False
        return matched


class SocketReader:
    """As in C."""

    def __init__(self, sock: Any, watch: LoopWatch, asked_ns: int) -> None:
        self._sock, self._fd, self._watch = sock, sock.fileno(), watch
        self.stamped_ns, self.drained_ns, self.drained, self.failure = 0, asked_ns, True, 0

    def close(self) -> None:
        """As in C: the socket itself knows that it is closed."""

    def read(self, polled_ns: int, polls: int | None, matcher: TemplateMatcher | None) -> Read | None:
        """As in C."""
        before_ns = monotonic_ns()  # before the call: the process may lose its core between it and a clock behind it
        try:
            data, ancillary, _, _ = self._sock.recvmsg(READ_BYTES, ANCILLARY_BYTES)
            stamp_ns = arrival_ns(ancillary)
        except (BlockingIOError, InterruptedError):
            self.drained, self.drained_ns = True, before_ns
            raise
        except OSError as error:
            data, stamp_ns, self.failure = b"", None, error.errno or 0
        # each stamp is brought to our clock by itself, which is good to some ns; what came later is not earlier
        at_ns = self.stamped_ns = max(self.stamped_ns, monotonic_ns() if stamp_ns is None else stamp_ns)
        if self.drained:
            self.drained_ns = max(self.drained_ns, polled_ns)  # that poll would have told of anything in it
        empty_ns = self.drained_ns
        if polls is not None:
            empty_ns = max(empty_ns, self._watch.empty_ns(self._fd, polls, at_ns))
        empty_ns = min(empty_ns, at_ns)
        self.drained = len(data) < READ_BYTES
        if self.drained:
            self.drained_ns = before_ns
        kernel = stamp_ns is not None
        if matcher is not None and matcher.ready and kernel and matcher.match(data, at_ns, empty_ns, self.drained):
            return None
        return Read(data, at_ns, empty_ns, kernel, self.drained)
