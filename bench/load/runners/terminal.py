"""The live view of a run without a web UI.

On a terminal, it is a line that is redrawn in the same place. Elsewhere, a line is printed from time to time.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from bench.base.standard_streams import StatusLine, StatusPart, fitted
from bench.catalogue.pricing import dollars
from bench.files.sanitize import one_line
from bench.load.execution.progress import ProgressReport
from bench.load.lifecycle import RunState
from bench.load.runners.live_totals import OK, LiveLatency, LiveTotals

FAILED = "∞"
"""The text of a quantile that lies among failed turns, which have infinite latency."""
UNKNOWN = "–"


def milliseconds(value_ms: float | None) -> str:
    if value_ms is None:
        return UNKNOWN
    if math.isinf(value_ms):
        return FAILED
    return f"{value_ms:.0f}" if value_ms >= 10 else f"{value_ms:.1f}"


def clock(seconds: float) -> str:
    """Return a duration as a clock shows it, such as 00:42 or 1:02:03."""
    minutes, remainder_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{remainder_s:02}" if hours else f"{minutes:02}:{remainder_s:02}"


MAX_TARGETS = 4
"""The maximum number of targets for which the line shows separate values."""
HELD_S = 1.0
"""The minimum delay of starts, in seconds, from which the line shows the delay."""
REDRAW_NS = 500_000_000
PLAIN_NS = 10_000_000_000


@dataclass(frozen=True)
class RunPhase:
    """The phase of a run, as the line shows it, with what is known of the remaining time and the planned sessions.

    `analyses` are the number of interim analyses that were made, and the planned number.
    """

    phase: str
    elapsed_s: float
    left_s: float | None = None
    sessions: int | None = None
    budget_usd: float | None = None
    analyses: tuple[int, int] | None = None


ENDINGS = {RunState.DRAINING: "finishing calls", RunState.CLOSING: "writing report"}


def phase(total: ProgressReport, state: RunState = RunState.RUNNING, *, warm_up: bool = False) -> str:
    """Return the name of the current phase. `warm_up` is True during the warm-up."""
    if state in ENDINGS:
        return ENDINGS[state]
    if total.sessions_open or total.turns_succeeded or total.turns_failed:
        return "warm-up" if warm_up else "measuring"
    return "delayed" if total.waiting_s >= HELD_S else "connecting"


def left_s(elapsed_s: float, run_time_s: float | None, sessions: int | None, done: int) -> float | None:
    """Return the remaining seconds, by the run time or the rate at which sessions end: the shorter; None if unknown."""
    ends = [] if run_time_s is None else [run_time_s - elapsed_s]
    if sessions is not None and done:
        ends.append((sessions - done) * elapsed_s / done)
    return max(0.0, min(ends)) if ends else None


def status_text(totals: LiveTotals, run_phase: RunPhase, width: int | None = None, *, colour: bool = False) -> str:
    """Return the status line, with at most `width` columns; None means no limit."""
    return fitted(_parts(totals, run_phase), width, colour=colour)


# The parts, in the order of the line.


def _parts(totals: LiveTotals, run_phase: RunPhase) -> Iterator[StatusPart]:
    total, health = totals.total, totals.health()
    if total.simulated:
        yield StatusPart(1, ("SIMULATED",), "sim")
    yield StatusPart(0, (f"{run_phase.phase} {clock(run_phase.elapsed_s)}",))
    if total.waiting_s >= HELD_S:
        yield StatusPart(7, (f"starts delayed {clock(total.waiting_s)}",))
    yield from _sessions(total, run_phase.sessions)
    if run_phase.analyses is not None:
        made, planned = run_phase.analyses
        yield StatusPart(9, (f"interim analysis {made}/{planned}",))
    if total.tokenless:
        yield StatusPart(4, (f"{total.tokenless} waiting for sign-in",), "bad")
    if ended := total.turns_succeeded + total.turns_failed:
        tenths = total.turns_succeeded * 1000 // ended  # rounded down, so that 100 % means all turns
        share_text = f"{tenths // 10}.{tenths % 10} %" if total.turns_failed else "100 %"
        yield StatusPart(6, (f"turns {ended} ok {share_text}", f"{ended} ok {share_text}"))
    if total.throttled:
        yield StatusPart(4, (f"{total.throttled} throttled",), "bad")
    yield from _latencies(totals.latencies())
    yield from _money(total, run_phase.budget_usd)
    if health == OK:
        yield StatusPart(11, ("load generator OK",))
    elif health:
        yield StatusPart(2, (f"load generator {health}", f"load generator {totals.health(brief=True)}"), "bad")
    if run_phase.left_s is not None:
        yield StatusPart(9, (f"{clock(run_phase.left_s)} left",))


def _sessions(total: ProgressReport, planned: int | None) -> Iterator[StatusPart]:
    active, finished = f"{total.sessions_open} active", f"{total.sessions_over}"
    of_all = f"{finished} of {planned}" if planned is not None else finished
    yield StatusPart(8, (f"{active}, {of_all} finished", active))
    if blocked := total.calls_blocked:
        yield StatusPart(3, (f"{blocked} of {total.calls_offered} calls blocked", f"{blocked} blocked"), "bad")
    if total.sessions_refused:
        yield StatusPart(3, (f"{total.sessions_refused} failed to connect",), "bad")
    if total.callers_backing_off:
        yield StatusPart(4, (f"{total.callers_backing_off} backing off",), "bad")


def _latencies(latencies: Iterable[LiveLatency]) -> Iterator[StatusPart]:
    """Yield one part of the line for each metric with enough sessions; the one with the most turns ranks highest."""
    groups = [list(group) for _, group in groupby(latencies, lambda latency: latency.name)]
    displayed = [group for group in groups if any(latency.p50_ms is not None for latency in group)]
    for position, group in enumerate(displayed):
        yield (_one if len(group) == 1 else _several)(11 + position if position else 5, group)


def _one(rank: int, latencies: list[LiveLatency]) -> StatusPart:
    (latency,) = latencies
    p50, p95 = milliseconds(latency.p50_ms), milliseconds(latency.p95_ms)
    if latency.p95_ms is None:
        return StatusPart(rank, (_in_ms(f"{latency.name} p50 {p50}"),))
    return StatusPart(rank, (_in_ms(f"{latency.name} p50 {p50} p95 {p95}"), _in_ms(f"{latency.name} {p50}/{p95}")))


def _several(rank: int, latencies: list[LiveLatency]) -> StatusPart:
    """Return a part with the p50 of several targets. It also contains their p95 if any of them has a p95."""
    both = any(latency.p95_ms is not None for latency in latencies)
    texts = [
        re.sub(r"[^!-~]", "_", latency.target)
        + f" {milliseconds(latency.p50_ms)}"
        + (f"/{milliseconds(latency.p95_ms)}" if both else "")
        for latency in latencies
    ]
    full_text, *shorter_texts = (
        _in_ms(", ".join(texts[:count]) + (f" +{len(texts) - count}" if len(texts) > count else ""))
        for count in range(min(MAX_TARGETS, len(texts)), 0, -1)
    )
    quantile_names = "p50/p95" if both else "p50"
    forms = f"{latencies[0].name} {quantile_names} {full_text}", f"{latencies[0].metric} {full_text}", full_text
    return StatusPart(rank, forms, shorter_forms=tuple(shorter_texts))


def _money(total: ProgressReport, budget_usd: float | None) -> Iterator[StatusPart]:
    rank, unpriced = (10 if budget_usd is None else 7), f" ({total.unpriced} unpriced)" if total.unpriced else ""
    if total.usd or (budget_usd is not None and not total.unpriced):
        spent = f"{dollars(total.usd)} USD"
        total_text = spent if budget_usd is None else f"{spent} of {dollars(budget_usd)}"
        yield StatusPart(rank, (total_text + unpriced, total_text, spent))
    elif total.unpriced:  # the cost is unknown, and 0.00 would be a value
        yield StatusPart(rank, (f"cost unknown{unpriced}", "cost unknown"))


def _in_ms(values: str) -> str:
    """Return a text of values with their unit; without it if the last value is infinite."""
    return values if values.endswith(FAILED) else f"{values} ms"


class TerminalView(StatusLine):
    """A view that shows the status line of a run on a stream."""

    _phase, _shown_ns = "", 0

    def show(self, totals: LiveTotals, run_phase: RunPhase, now_ns: int) -> None:
        """Draw the status line in a new phase; later, twice a second on a terminal, and every 10 s elsewhere."""
        every_ns = REDRAW_NS if self.in_place else PLAIN_NS
        if (run_phase.phase == self._phase and now_ns < self._shown_ns + every_ns) or not self.can_write():
            return
        self._phase, self._shown_ns = run_phase.phase, now_ns
        if self.in_place:
            self.draw(status_text(totals, run_phase, self.width, colour=self.colour))
        else:
            self.write(f"rtbench: {status_text(totals, run_phase)}\n")

    def say(self, text: str) -> None:
        """Print a line that stays on the screen, above the status line."""
        self.write(f"rtbench: {one_line(text)}\n")


def print_log_in(view: TerminalView) -> None:
    """Print Locust's log with the progress of the run, and not Locust's tables."""
    logging.getLogger("locust.stats_logger").disabled = True
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
            handler.setStream(view)
