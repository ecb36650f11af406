"""The Python implementation of `_sending.pyx`. The docstrings of `_sending.pyx` have the
details.
"""

# `bench.transport.fast.sending` describes the schedule of a microphone. `PlainChunks` works between
# two wake-ups of its session: it sends what is due, and leaves all else. What it could not send
# completely is in `offered`, what the transport refused is in `refused`, and it sends nothing more
# until the session has taken them. Otherwise a later chunk would overtake an earlier one.

import os
from collections.abc import Callable, Sequence
from errno import EAGAIN, EINTR
from typing import Any

from bench.base.clock import monotonic_ns
from bench.transport import parser
from bench.wire.connection import SendReceipt, SentChunk
from bench.wire.dialect import ClientMessage, MessageKind


def masked_frame(payload: bytes, mask: bytes | None = None) -> bytes:
    return parser.masked_frame(payload, os.urandom(parser.MASK_BYTES) if mask is None else mask)


def send_at_once(fd: int, data: bytes) -> tuple[int, int, int]:
    """Send by `os.write`, which needs no object of the socket. Python ignores SIGPIPE."""
    before_ns = monotonic_ns()
    try:
        count = os.write(fd, data)
    except OSError as error:
        count = -(error.errno or 0)
    return before_ns, monotonic_ns() - before_ns, count


class Microphone:
    def __init__(self, silence_chunks: Sequence[ClientMessage] = ()) -> None:
        self._between = silence_chunks
        self._position = 0
        """The chunks that are recorded while no one speaks, and the index of the next one."""
        self._speech: list[ClientMessage] = []
        """Speech that is not recorded yet, in reverse order."""
        self._recorded_ns: int | None = None
        """The instant up to which the microphone has recorded; None while it is closed."""
        self.due_ns: int | None = None
        """The instant at which the next chunk is due; None while there is nothing to record."""

    def open(self, now_ns: int) -> None:
        self._recorded_ns = now_ns
        self._plan()

    def align(self, at_ns: int) -> None:
        if self._recorded_ns is not None and self.due_ns is not None:
            # by less than a chunk, so that a chunk begins at the instant
            self._recorded_ns += (at_ns - self._recorded_ns) % (self.due_ns - self._recorded_ns)
            self._plan()

    def speak(
        self, speech: Sequence[ClientMessage], silence_chunks: Sequence[ClientMessage]
    ) -> None:
        chunks = list(speech)
        if self._between:
            # the chunk of silence that is being recorded ends before the speech begins
            chunks = [self._between[self._position], *chunks]
            self._between = silence_chunks
            self._position = 0
        self._speech[:0] = reversed(chunks)
        self._plan()

    def stop_speech(self) -> None:
        self._speech.clear()
        self._plan()

    @property
    def speaking(self) -> bool:
        return bool(self._speech)

    def pop_due(self) -> tuple[ClientMessage, int]:
        due_ns = self.due_ns
        assert due_ns is not None, "nothing is recorded"
        # from its due instant, not from now, so that the schedule does not drift
        self._recorded_ns = due_ns
        chunk = self.next_chunk
        if self._speech:
            self._speech.pop()
        else:
            self._position = (self._position + 1) % len(self._between)
        self._plan()
        return chunk, due_ns

    @property
    def next_chunk(self) -> ClientMessage:
        return self._speech[-1] if self._speech else self._between[self._position]

    @property
    def is_last_of_speech(self) -> bool:
        return len(self._speech) == 1

    def _plan(self) -> None:
        if self._recorded_ns is None or not (self._speech or self._between):
            self.due_ns = None
            return
        duration_ns = self.next_chunk.duration_ns
        assert duration_ns is not None, "only audio is recorded"
        self.due_ns = self._recorded_ns + duration_ns


class PlainChunks:
    def __init__(
        self,
        microphone: Microphone,
        encode: Callable[[MessageKind, bytes], bytes] | None,
        sent: list[Any],
        most: int,
    ) -> None:
        self._microphone = microphone
        self._encode = encode
        self._sent = sent
        self._most = most
        self.offered: tuple[ClientMessage, int] | None = None
        self.refused: tuple[ClientMessage, SendReceipt, int] | None = None
        self.paused = False

    def _wait(self) -> int | None:
        """Return the result of `send` if no chunk may be sent now, else None."""
        microphone = self._microphone
        if self.paused or self.offered is not None or self.refused is not None:
            return 0
        if len(self._sent) >= self._most or microphone.due_ns is None:
            return 0
        if monotonic_ns() < microphone.due_ns:
            return microphone.due_ns
        # the session sends these, because it records their instants, or what follows the speech
        return 0 if microphone.next_chunk.instants or microphone.is_last_of_speech else None

    def _add(self, chunk: ClientMessage, due_ns: int, at_ns: int, wire_bytes: int) -> None:
        self._sent.append(
            SentChunk(at_ns, wire_bytes, chunk.audio_bytes, at_ns - due_ns, chunk.duration_ns or 0)
        )

    def send(
        self,
        fd: int,
        note_written: Callable[[int], None],
        keep: Callable[[int, bytes, int], None],
        encrypt: Callable[[bytes], bytes] | None = None,
    ) -> int:
        microphone = self._microphone
        while (wait_ns := self._wait()) is None:
            chunk = microphone.next_chunk
            data = (
                chunk.data if self._encode is None else self._encode(MessageKind.APPEND, chunk.data)
            )
            frame = masked_frame(data)
            wire = frame if encrypt is None else encrypt(frame)
            # recorded, whether or not the kernel takes it: a microphone does not wait
            _, due_ns = microphone.pop_due()
            before_ns, _, count = send_at_once(fd, wire)
            if count > 0:
                note_written(count)
            if count != len(wire):
                self.offered = chunk, due_ns
                keep(
                    len(frame),
                    wire[max(count, 0) :],
                    -count if count < 0 and -count not in (EAGAIN, EINTR) else 0,
                )
                return 0
            self._add(chunk, due_ns, before_ns, len(frame))
        return wait_ns

    def send_by(self, try_send: Callable[[bytes], SendReceipt | None]) -> int:
        while (wait_ns := self._wait()) is None:
            chunk, due_ns = self._microphone.pop_due()
            receipt = try_send(
                chunk.data if self._encode is None else self._encode(MessageKind.APPEND, chunk.data)
            )
            if receipt is None:
                self.offered = chunk, due_ns
                return 0
            if receipt.unsent:
                self.refused = chunk, receipt, due_ns
                return 0
            self._add(chunk, due_ns, receipt.handed.at_ns, receipt.wire_bytes)
        return wait_ns
