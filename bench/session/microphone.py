"""The caller's microphone: the schedule of audio chunks.

A chunk is due when its last sample has been recorded. Each due instant follows from the one before, so there is no
drift. A microphone that is open between turns records silence (or noise) there; any other records only speech.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.wire.dialect import ClientMessage


class Microphone:
    """The schedule of audio chunks. While no one speaks, an open microphone loops `silence_chunks`."""

    def __init__(self, silence_chunks: Sequence[ClientMessage] = ()) -> None:
        self._between, self._position = silence_chunks, 0
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
        """Delay an open microphone by less than a chunk, so that a chunk begins at an instant in the future."""
        if self._recorded_ns is not None and self.due_ns is not None:
            self._recorded_ns += (at_ns - self._recorded_ns) % (self.due_ns - self._recorded_ns)
            self._plan()

    def speak(self, speech: Sequence[ClientMessage], silence_chunks: Sequence[ClientMessage]) -> None:
        """Record speech next; if the microphone is already open, after the chunk in progress."""
        chunks = list(speech)
        if self._between:
            chunks = [self._between[self._position], *chunks]
            self._between, self._position = silence_chunks, 0
        self._speech[:0] = reversed(chunks)
        self._plan()

    def stop_speech(self) -> None:
        self._speech.clear()
        self._plan()

    @property
    def speaking(self) -> bool:
        return bool(self._speech)

    def pop_due(self) -> tuple[ClientMessage, int]:
        """Record the next chunk. Return (chunk, instant at which it is due)."""
        due_ns = self.due_ns
        assert due_ns is not None, "nothing is recorded"
        # from its due instant, not from now, so that the schedule does not drift
        self._recorded_ns = due_ns
        if self._speech:
            chunk = self._speech.pop()
        else:
            chunk = self._between[self._position]
            self._position = (self._position + 1) % len(self._between)
        self._plan()
        return chunk, due_ns

    def _plan(self) -> None:
        if self._recorded_ns is None or not (self._speech or self._between):
            self.due_ns = None
            return
        chunk = self._speech[-1] if self._speech else self._between[self._position]
        assert chunk.duration_ns is not None, "only audio is recorded"
        self.due_ns = self._recorded_ns + chunk.duration_ns
