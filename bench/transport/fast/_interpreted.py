"""Read a socket in Python as `_compiled.pyx` does in C, whose docstrings have the details; a test compares the two."""

from __future__ import annotations

from typing import Any

from bench.clock import ANCILLARY_BYTES, arrival_ns, monotonic_ns
from bench.protocol.events import Event
from bench.transport.fast.frames import leading_texts as leading_texts
from bench.transport.loop import LoopWatch
from bench.transport.received import READ_BYTES, DeltaArrival, Read


class TemplateMatcher:
    """A matcher that matches nothing: without C each delta is decoded, like any other message."""

    count = 0
    due = ready = keeps_texts = False

    def add(self, event: Event, head: bytes, middle: bytes, tail: bytes, base64: bool) -> None:
        """Learn nothing."""

    def forget(self) -> None:
        """Forget nothing."""

    def match(self, data: bytes, at_ns: int, empty_ns: int, complete: bool) -> bool:
        """Leave the read to the general path."""
        return False

    def hand_out(self) -> list[DeltaArrival]:
        """Return no deltas."""
        return []


class SocketReader:
    """As in C."""

    def __init__(self, sock: Any, watch: LoopWatch, asked_ns: int) -> None:
        self._sock, self._fd, self._watch = sock, sock.fileno(), watch
        self.stamped_ns, self.drained_ns, self.drained, self.failure = 0, asked_ns, True, 0

    def close(self) -> None:
        """As in C: the socket itself knows that it is closed."""

    def read(self, polled_ns: int, polls: int | None, matcher: TemplateMatcher | None) -> Read:
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
        return Read(data, at_ns, empty_ns, kernel, self.drained)
