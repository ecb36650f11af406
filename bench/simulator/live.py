"""Shows on a terminal how a simulator stands while it serves."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from bench.live_line import LinePart, LiveLine, fitted
from bench.simulator.lateness import WARN_MS
from bench.units import NS_PER_S

REDRAW_NS = 500_000_000


@dataclass(frozen=True)
class Standing:
    """How one process stands. `open`: sessions that are; the others count since it listens, as does the lateness."""

    open: int
    sessions: int
    responses: int
    events: int
    late_p99_ms: float


class LiveView:
    """Draws the sum of all processes, where the line is due."""

    def __init__(self, line: LiveLine) -> None:
        self._line = line
        self._standings: dict[int, Standing] = {}
        self._events, self._shown_ns = 0, 0

    def told(self, worker: int, standing: Standing, now_ns: int) -> None:
        """Take the standing of the process of that number. `now_ns`: CLOCK_MONOTONIC."""
        self._standings[worker] = standing
        since_ns = now_ns - self._shown_ns
        if since_ns < REDRAW_NS or not self._line.takes():
            return
        events = sum(each.events for each in self._standings.values())
        per_s = (events - self._events) * NS_PER_S / since_ns if self._shown_ns else 0.0
        self._events, self._shown_ns = events, now_ns
        parts = live_parts(self._standings.values(), per_s)
        self._line.draw([fitted(parts, self._line.width, colour=self._line.colour)])


def live_parts(standings: Collection[Standing], events_per_s: float) -> Iterator[LinePart]:
    """The line. Of several processes the latest one counts, as in the last line of a simulator."""
    sessions, open_ = sum(each.sessions for each in standings), sum(each.open for each in standings)
    responses = sum(each.responses for each in standings)
    late_ms = max(each.late_p99_ms for each in standings)
    yield LinePart(3, ("SIMULATED",), "sim")
    yield LinePart(1, (f"{open_} open of {sessions} sessions", f"{open_} open"))
    yield LinePart(4, (f"{responses} responses",))
    yield LinePart(2, (f"{events_per_s:.0f} events/s",))
    if any(each.events for each in standings):
        late = f"p99 ≤ {late_ms:.1f} ms"
        yield LinePart(0, (f"handed − due {late}", f"late {late}"), "bad" if late_ms > WARN_MS else "")
