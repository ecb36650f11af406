"""Plans whose events are due next, of all connections: one heap, and one timer of the loop, for the whole server.

A timer for each connection would cost a handle and a round of the loop for each event. So all that is due at one look
at the clock is sent in one round, and what comes in is read between two rounds.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from bench.clock import monotonic_ns
from bench.units import NS_PER_S


class Sender(Protocol):
    def send_due(self, now_ns: int) -> None:
        """Send what is due, and plan what is next."""


Who = TypeVar("Who")


class Timetable(Generic[Who]):
    """Holds who is due when; each stands in it once. Pure."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Who]] = []
        self._due_ns: dict[Who, int] = {}  # entries of the heap that say otherwise have been replaced
        self._planned = 0

    def plan(self, who: Who, due_ns: int | None) -> None:
        """Instead of what was planned before; None: nothing is."""
        if due_ns is None:
            self._due_ns.pop(who, None)
        elif self._due_ns.get(who) != due_ns:
            self._due_ns[who] = due_ns
            self._planned += 1
            heapq.heappush(self._heap, (due_ns, self._planned, who))

    def next_due_ns(self) -> int | None:
        """When to look again. Somebody may then have been taken off, and nobody be due."""
        return self._heap[0][0] if self._heap else None

    def take(self, now_ns: int) -> Iterator[Who]:
        """Yield who is due, by the instants; one who is planned again meanwhile, and due too, comes again."""
        heap, due = self._heap, self._due_ns
        while heap and heap[0][0] <= now_ns:
            due_ns, _, who = heapq.heappop(heap)
            if due.get(who) == due_ns:
                del due[who]
                yield who


class Alarm:
    """Wakes the senders of a timetable by one timer on `loop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timetable: Timetable[Sender] = Timetable()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._ringing = False

    def plan(self, sender: Sender, due_ns: int | None) -> None:
        self._timetable.plan(sender, due_ns)
        if not self._ringing:
            self._set()

    def _ring(self) -> None:
        self._timer = None
        self._ringing = True
        now_ns = monotonic_ns()
        try:
            for sender in self._timetable.take(now_ns):
                sender.send_due(now_ns)
        finally:  # what one of them raises is reported by the loop, and does not silence the others
            self._ringing = False
            self._set()

    def _set(self) -> None:
        due_ns = self._timetable.next_due_ns()
        if due_ns is None or (self._timer is not None and self._timer_ns <= due_ns):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = due_ns
        self._timer = self._loop.call_at(due_ns / NS_PER_S, self._ring)
