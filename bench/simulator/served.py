"""Counts what a simulator did, and how late it was; says how it stands, on a terminal, and how it was, at its end."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from bench.live_line import LinePart, LiveLine, fitted
from bench.units import NS_PER_MS, NS_PER_S

STEP_NS = 100_000
STEPS = 10_000  # the last step holds everything from 1 s on
LATE_MS = 1.0
"""p99 from which on the truth log is not held against anybody: as much as a figure may be wrong."""
WARN_MS = 5.0
"""p99 from which on the simulator warns by itself: delays of 100 ms and more bear more than the measuring of errors."""


class LatenessCounts:
    """handed − due of every event that was sent, in steps of 0.1 ms."""

    def __init__(self) -> None:
        self._counts = [0] * (STEPS + 1)
        self.count = 0
        self.max_ns = 0

    def add(self, late_ns: int) -> None:
        self._counts[min(late_ns // STEP_NS, STEPS)] += 1
        self.count += 1
        if late_ns > self.max_ns:
            self.max_ns = late_ns

    def merge(self, other: LatenessCounts) -> None:
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]
        self.count += other.count
        self.max_ns = max(self.max_ns, other.max_ns)

    def quantile_ms(self, share: float) -> float:
        """The smallest bound under which at least `share` of the events lie; 0 without events."""
        wanted, seen = share * self.count, 0
        for step, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return (step + 1) * STEP_NS / NS_PER_MS
        return 0.0


@dataclass(frozen=True)
class Served:
    """What one process served. `struck`: faults; `cpu_s`: CPU time of the process since it listened."""

    sessions: int
    refused: int
    struck: int
    cpu_s: float
    lateness: LatenessCounts


def summary(parts: Sequence[Served]) -> str:
    """The last line of a simulator that served by so many processes."""
    lateness = LatenessCounts()
    for part in parts:
        lateness.merge(part.lateness)
    sessions, refused = sum(part.sessions for part in parts), sum(part.refused for part in parts)
    struck = sum(part.struck for part in parts)
    rare = "".join(f"{count} {what}, " for count, what in ((refused, "refused"), (struck, "faults")) if count)
    counts = f"{sessions} sessions, {rare}{lateness.count} events sent"
    p50_ms, p99_ms = lateness.quantile_ms(0.5), lateness.quantile_ms(0.99)
    worst_ms = max(part.lateness.quantile_ms(0.99) for part in parts)
    worst = f" (of {len(parts)} workers the latest: p99 ≤ {worst_ms:.1f} ms)" if len(parts) > 1 else ""
    warning = "WARN: the simulator was late, do not trust its delays: " if worst_ms > WARN_MS else ""
    figures = (
        f"handed − due: p50 ≤ {p50_ms:.1f} ms, p99 ≤ {p99_ms:.1f} ms{worst}, max {lateness.max_ns / NS_PER_MS:.1f} ms"
    )
    return f"SIMULATED: {counts}, {warning}{figures}"


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
