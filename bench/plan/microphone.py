"""The caller's microphone: what it has recorded and when that is due to be sent. Pure; whoever sends brings the clock.

A chunk is due when its last sample has been recorded, and every due instant follows from the one before, so nothing
drifts. A microphone that is open between turns records silence (or noise) there; one that is not records speech alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.plan.prepared import OutgoingMessage


class Microphone:
    """Says which chunk is due when. It is closed at first.

    `between`: what an open microphone records where nobody speaks, again and again.
    """

    def __init__(self, between: Sequence[OutgoingMessage] = ()) -> None:
        self._between, self._place = between, 0
        """What is recorded where nobody speaks, and the place in it of what comes next."""
        self._speech: list[OutgoingMessage] = []
        """Speech that is not recorded yet, the next chunk last."""
        self._recorded_ns: int | None = None
        """The instant up to which it has recorded; None while it is closed."""

    def open(self, now_ns: int) -> None:
        """Begin to record at this instant."""
        self._recorded_ns = now_ns

    def speak(self, speech: Sequence[OutgoingMessage], between: Sequence[OutgoingMessage]) -> None:
        """Record speech next; where the microphone is open already, after the chunk that is being recorded."""
        chunks = list(speech)
        if self._between:
            chunks = [self._between[self._place], *chunks]
            self._between, self._place = between, 0
        self._speech[:0] = reversed(chunks)

    def hush(self) -> None:
        """Drop the speech that is not recorded yet."""
        self._speech.clear()

    @property
    def speaking(self) -> bool:
        return bool(self._speech)

    @property
    def due_ns(self) -> int | None:
        """When the next chunk is due; None while nothing is recorded."""
        if self._recorded_ns is None:
            return None
        if self._speech:
            return self._recorded_ns + _length_ns(self._speech[-1])
        return self._recorded_ns + _length_ns(self._between[self._place]) if self._between else None

    def take(self) -> tuple[OutgoingMessage, int]:
        """Record the next chunk: (chunk, instant at which it is due)."""
        due_ns = self.due_ns
        assert due_ns is not None, "nothing is recorded"
        # from the instant that it was due, not from now: so nothing drifts
        self._recorded_ns = due_ns
        if self._speech:
            return self._speech.pop(), due_ns
        chunk = self._between[self._place]
        self._place = (self._place + 1) % len(self._between)
        return chunk, due_ns


def _length_ns(message: OutgoingMessage) -> int:
    assert message.duration_ns is not None, "only audio is recorded"
    return message.duration_ns
