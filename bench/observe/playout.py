"""Follows what the caller's end of a line plays: what came, in its order, from when it came. Pure.

A provider of telephony puts all that an agent sends into one queue, plays it without a break, drops what is left of it
where the agent says so (`clear`), and tells the agent when a place that it has marked was played, or dropped with the
rest (Twilio, Media Streams, "mark" and "clear").
"""

from __future__ import annotations

from collections import deque

from bench.limits import LONGEST_HOLD_NS
from bench.units import NEVER_NS, NS_PER_S

MOST_MARKS = 1_000
"""Marks that may wait at a time: one for each word of minutes of speech."""


class Playout:
    """The queue of one line. `until_ns`: when all that came by now will have been played; 0 before anything came."""

    def __init__(self) -> None:
        self.until_ns = 0
        self.overflow: tuple[str, str] | None = None
        """The kind of which more waited than may, and in words how much."""
        self._waiting: deque[tuple[int, str]] = deque()
        self._played: deque[str] = deque()

    def play(self, at_ns: int, duration_ns: int) -> None:
        """Put audio behind the rest."""
        self.until_ns = max(self.until_ns, at_ns) + duration_ns
        if self.until_ns > at_ns + LONGEST_HOLD_NS:
            self.overflow = "audio", f"{LONGEST_HOLD_NS // NS_PER_S} s of audio wait to be played"

    def mark(self, at_ns: int, name: str) -> None:
        """Note a place behind all that came before."""
        self._pass(at_ns)
        self._waiting.append((max(at_ns, self.until_ns), name))
        if len(self._waiting) > MOST_MARKS:
            self.overflow = "marks", f"{MOST_MARKS} marks wait for what was not played yet"

    def clear(self, at_ns: int) -> None:
        """Drop what was not played by now; marks in it count as played."""
        self.until_ns = min(self.until_ns, at_ns)
        self._pass(NEVER_NS)

    @property
    def due_ns(self) -> int:
        """When the next mark was played."""
        if self._played:
            return 0
        return self._waiting[0][0] if self._waiting else NEVER_NS

    def played_by(self, now_ns: int) -> list[str]:
        """The marks that were played by now, each once."""
        self._pass(now_ns)
        played, self._played = self._played, deque()
        return list(played)

    def _pass(self, now_ns: int) -> None:
        while self._waiting and self._waiting[0][0] <= now_ns:
            self._played.append(self._waiting.popleft()[1])
