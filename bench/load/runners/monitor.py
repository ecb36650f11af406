"""The monitor of a run. It shows the progress, enforces the budget, and starts interim analyses,
for all processes.

Without a web UI, the progress is a line that is redrawn in the same place of a terminal. Elsewhere,
a line is printed from time to time.

Metrics are sent to an OpenTelemetry collector by a child process (`otel_exporter.py`). It runs at
low priority, so that the computations and waits of the SDK delay no session.
"""

import contextlib
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from typing import Any

import gevent
import msgspec
from gevent.queue import Full, Queue
from gevent.subprocess import DEVNULL, PIPE, Popen

from bench.base.clock import monotonic_ns
from bench.base.cpu import LOWERED, OtherPrograms
from bench.base.errors import UsageError
from bench.base.installation import KILLED_S, child_environment, python_command, tool_version
from bench.base.standard_streams import StatusLine, StatusPart, fitted
from bench.base.units import NS_PER_S
from bench.catalogue.pricing import dollars
from bench.files.sanitize import one_line
from bench.load.execution.progress import ProgressReport, over_budget
from bench.load.lifecycle import RunState
from bench.load.planning.run_plan import RunPlan
from bench.load.runners.abort_analyses import AbortAnalyses
from bench.load.runners.interim_analyses import InterimAnalyses
from bench.load.runners.live_totals import OK, LiveLatency, LiveTotals, TargetProgress
from bench.record.document import InterimAnalysesEntry
from bench.target.target import Target

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
    """The phase of a run, as the line shows it, with what is known of the remaining time and the
    planned sessions.

    `analyses` are the number of interim analyses that were made, and the planned number.
    `others_are_busy` is whether other programs use the machine's cores now.
    """

    phase: str
    elapsed_s: float
    left_s: float | None = None
    sessions: int | None = None
    budget_usd: float | None = None
    analyses: tuple[int, int] | None = None
    others_are_busy: bool = False


ENDINGS = {RunState.DRAINING: "finishing calls", RunState.CLOSING: "writing report"}


def phase(
    total: ProgressReport, state: RunState = RunState.RUNNING, *, warm_up: bool = False
) -> str:
    """Return the name of the current phase. `warm_up` is True during the warm-up."""
    if state in ENDINGS:
        return ENDINGS[state]
    if total.sessions_open or total.turns_succeeded or total.turns_failed:
        return "warm-up" if warm_up else "measuring"
    return "delayed" if total.waiting_s >= HELD_S else "connecting"


def left_s(
    elapsed_s: float, run_time_s: float | None, sessions: int | None, done: int, active: int
) -> float | None:
    """Return the remaining seconds, by the run time or the rate at which sessions end: the
    shorter; None if unknown.

    On average, half of an active session is over. While more sessions are active than ended, the
    rate is unknown: only the shortest have ended.
    """
    ends = [] if run_time_s is None else [run_time_s - elapsed_s]
    if sessions is not None and done and done >= active:
        over = done + active / 2
        ends.append((sessions - over) * elapsed_s / over)
    return max(0.0, min(ends)) if ends else None


def status_text(
    totals: LiveTotals, run_phase: RunPhase, width: int | None = None, *, colour: bool = False
) -> str:
    """Return the status line, with at most `width` columns; None means no limit."""
    return fitted(_parts(totals, run_phase), width, colour=colour)


# The parts, in the order of the line.


def _parts(totals: LiveTotals, run_phase: RunPhase) -> Iterator[StatusPart]:
    total = totals.total
    health = totals.health()
    if total.simulated:
        is_explained = bool(total.turns_succeeded or total.turns_failed)
        yield StatusPart(1, ("SIMULATED by rtbench simulate", "SIMULATED")[is_explained:], "sim")
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
        # rounded down, so that 100 % means all turns
        tenths = total.turns_succeeded * 1000 // ended
        share_text = f"{tenths // 10}.{tenths % 10} %" if total.turns_failed else "100 %"
        yield StatusPart(6, (f"turns {ended} ok {share_text}", f"{ended} ok {share_text}"))
    if total.throttled:
        yield StatusPart(4, (f"{total.throttled} throttled",), "bad")
    yield from _latencies(totals.latencies())
    yield from _money(total, run_phase.budget_usd)
    if health == OK:
        yield StatusPart(11, ("load generator OK",))
    elif health:
        yield StatusPart(
            2, (f"load generator {health}", f"load generator {totals.health(brief=True)}"), "bad"
        )
        if run_phase.others_are_busy:
            yield StatusPart(3, ("stop other programs now",), "bad")
    if run_phase.left_s is not None:
        yield StatusPart(9, (f"{clock(run_phase.left_s)} left",))


def _sessions(total: ProgressReport, planned: int | None) -> Iterator[StatusPart]:
    active = f"{total.sessions_open} active"
    finished = f"{total.sessions_over}"
    of_all = f"{finished} of {planned}" if planned is not None else finished
    yield StatusPart(8, (f"{active}, {of_all} finished", active))
    if blocked := total.calls_blocked:
        yield StatusPart(
            3, (f"{blocked} of {total.calls_offered} calls blocked", f"{blocked} blocked"), "bad"
        )
    if total.sessions_refused:
        yield StatusPart(3, (f"{total.sessions_refused} failed to connect",), "bad")
    if total.sessions_prevented:
        yield StatusPart(
            3, (f"{total.sessions_prevented} not made: a limit of this machine",), "bad"
        )
    if total.callers_backing_off:
        yield StatusPart(4, (f"{total.callers_backing_off} backing off",), "bad")


def _latencies(latencies: Iterable[LiveLatency]) -> Iterator[StatusPart]:
    """Yield one part of the line for each metric with enough sessions; the one with the most
    turns ranks highest.
    """
    groups = [list(group) for _, group in groupby(latencies, lambda latency: latency.name)]
    displayed = [group for group in groups if any(latency.p50_ms is not None for latency in group)]
    for position, group in enumerate(displayed):
        yield (_one if len(group) == 1 else _several)(11 + position if position else 5, group)


def _one(rank: int, latencies: list[LiveLatency]) -> StatusPart:
    (latency,) = latencies
    p50 = milliseconds(latency.p50_ms)
    p95 = milliseconds(latency.p95_ms)
    if latency.p95_ms is None:
        return StatusPart(rank, (_in_ms(f"{latency.name} p50 {p50}"),))
    return StatusPart(
        rank, (_in_ms(f"{latency.name} p50 {p50} p95 {p95}"), _in_ms(f"{latency.name} {p50}/{p95}"))
    )


def _several(rank: int, latencies: list[LiveLatency]) -> StatusPart:
    """Return a part with the p50 of several targets. It also contains their p95 if any of them
    has a p95.
    """
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
    forms = (
        f"{latencies[0].name} {quantile_names} {full_text}",
        f"{latencies[0].metric} {full_text}",
        full_text,
    )
    return StatusPart(rank, forms, shorter_forms=tuple(shorter_texts))


def _money(total: ProgressReport, budget_usd: float | None) -> Iterator[StatusPart]:
    rank = 10 if budget_usd is None else 7
    unpriced = f" ({total.unpriced} unpriced)" if total.unpriced else ""
    if total.usd or (budget_usd is not None and not total.unpriced):
        least = "at least " if total.kindless_usd else ""
        spent = f"{least}{dollars(total.usd)} USD{' simulated' if total.simulated else ''}"
        total_text = spent if budget_usd is None else f"{spent} of {dollars(budget_usd)}"
        yield StatusPart(rank, (total_text + unpriced, total_text, spent))
    elif total.unpriced:  # the cost is unknown, and 0.00 would be a value
        yield StatusPart(rank, (f"cost unknown{unpriced}", "cost unknown"))


def _in_ms(values: str) -> str:
    """Return a text of values with their unit; without it if the last value is infinite."""
    return values if values.endswith(FAILED) else f"{values} ms"


class TerminalView(StatusLine):
    """A view that shows the status line of a run on a stream."""

    _phase = ""
    _shown_ns = 0

    def show(self, totals: LiveTotals, run_phase: RunPhase, now_ns: int) -> None:
        """Draw the status line in a new phase; later, twice a second on a terminal, and every 10
        s elsewhere.
        """
        every_ns = REDRAW_NS if self.in_place else PLAIN_NS
        if (
            run_phase.phase == self._phase and now_ns < self._shown_ns + every_ns
        ) or not self.can_write():
            return
        self._phase = run_phase.phase
        self._shown_ns = now_ns
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


# The child process that exports metrics.

# The child gets lines through a queue of limited length, written by a greenlet of its own. If the
# child is slow or hangs, lines are dropped, and neither the memory of this process grows nor a
# session waits.
MAX_LINES = 1_000
"""The maximum number of lines that wait until the child process reads them. Further lines are
dropped."""
FLUSH_S = 10.0
"""The maximum time, in seconds, that the child process has to send the last metrics after the
run."""
NEEDED = (
    "opentelemetry",
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "opentelemetry.exporter.otlp",
    "opentelemetry.exporter.otlp.proto",
    "opentelemetry.exporter.otlp.proto.http",
)
"""The packages that send metrics, each after its parent: without the parent, the search for a
package is an error."""
BEHIND = "the process that sends metrics was too slow: some metrics were not sent"
CUT = (
    f"the process that sends metrics was still running {FLUSH_S:g} s after the run: the last"
    " metrics were not sent"
)


def check_installed() -> None:
    """Raise UsageError if the packages that send metrics are not installed."""
    if not all(map(find_spec, NEEDED)):
        raise UsageError(
            "--telemetry needs packages that are not installed: pip install 'rtbench[otel]'"
        )


class Telemetry:
    """The connection to the child process that exports the metrics of one run. `say` prints the
    child's messages.
    """

    def __init__(self, run_id: str, planned: RunPlan, say: Callable[[str], None]) -> None:
        self._say = say
        self._backlog = False
        self._lines: Queue[bytes | None] = Queue(MAX_LINES)
        self._child = Popen(
            python_command("bench.load.runners.otel_exporter"),
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=PIPE,
            env=child_environment(os.environ),
            start_new_session=True,  # Ctrl-C does not reach it
        )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._child.pid, LOWERED)
        self._writer, self._reader = gevent.spawn(self._write), gevent.spawn(self._read)
        targets = {target.label: attributes_of(target) for target in planned.targets}
        self.export(
            {
                "run_id": run_id,
                "scenario": planned.scenario,
                "version": tool_version(),
                "targets": targets,
            }
        )

    def export(self, message: Any) -> None:
        """Send a message to the child, in the format that `otel_exporter` describes."""
        if self._writer.dead:  # the child has ended, and has printed why
            return
        try:
            self._lines.put_nowait(msgspec.json.encode(message) + b"\n")
        except Full:
            if not self._backlog:
                self._backlog = True
                self._say(BEHIND)

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # the child has ended
            while (line := self._lines.get()) is not None:
                self._child.stdin.write(line)
                self._child.stdin.flush()
        with contextlib.suppress(OSError):
            self._child.stdin.close()

    def _read(self) -> None:
        for line in self._child.stderr:
            if text := line.decode(errors="replace").strip():
                self._say(f"telemetry: {one_line(text)}")

    def close(self) -> None:
        """Let the child process send the last metrics. Kill it if this takes longer than
        FLUSH_S.
        """
        with contextlib.suppress(Full), gevent.Timeout(FLUSH_S, Full):
            if not self._writer.dead:
                self._lines.put(None)
        with gevent.Timeout(FLUSH_S, False):
            self._child.wait()
        if self._child.poll() is None:
            self._child.kill()
            self._say(CUT)
            with gevent.Timeout(KILLED_S, False):
                self._child.wait()
        gevent.joinall([self._reader], timeout=1)
        gevent.killall([self._writer, self._reader])


def attributes_of(target: Target) -> dict[str, str]:
    """Return the attributes of a target's metrics. Their names are those of the OpenTelemetry
    conventions.
    """
    attributes = {
        "gen_ai.provider.name": (
            (target.known_service and target.known_service.telemetry_name) or target.service
        ),
        "gen_ai.request.model": target.model,
        "cloud.region": target.region,
        "server.address": target.host,
    }
    return {name: value for name, value in attributes.items() if value}


# The monitor.

OVER_S = 1.0
"""A tolerance in seconds. If a run ends at most this long before its planned end, it did not end
early."""
EXPORT_PERIOD_NS = 5 * NS_PER_S


class RunMonitor:
    """The monitor of a run, in the process that leads it. What the run does not have is None."""

    def __init__(
        self,
        planned: RunPlan,
        view: TerminalView | None,
        *,
        run_time_s: float | None,
        analyses: InterimAnalyses | None = None,
        aborts: AbortAnalyses | None = None,
        telemetry: Telemetry | None = None,
        others: OtherPrograms | None = None,
    ) -> None:
        self._planned = planned
        self._view = view
        self._run_time_s = run_time_s
        self._analyses = analyses
        self.aborts = aborts
        self._telemetry = telemetry
        self._others = others
        with_rtp = {target.label for target in planned.targets if target.dialect.has_track}
        self.totals = LiveTotals(
            planned.chunk_ms, [target.label for target in planned.targets], with_rtp
        )
        self._sessions = (
            None if planned.sessions is None else planned.sessions * len(planned.targets)
        )
        """The planned number of sessions with all targets together; None if there is no limit."""
        self._started_ns = self._exported_ns = monotonic_ns()
        self._targets: list[TargetProgress] = []
        self._targets_ns = 0

    def on_report(self, worker: int, report: ProgressReport) -> None:
        self.totals.add(worker, report, monotonic_ns())
        if self._telemetry is not None:
            self._telemetry.export((worker, report))

    def over_budget(self) -> str:
        """Return a notice if all processes together have spent the budget; otherwise ""."""
        total = self.totals.total
        return over_budget(self._planned.options.budget_usd, total.usd, total.kindless_usd)

    def poll(self, state: RunState = RunState.RUNNING) -> None:
        """Export the overload, start an interim analysis, and draw the status line, if due. Call
        this once a second.
        """
        now_ns = monotonic_ns()
        total = self.totals.total
        elapsed_s = self._elapsed_s
        if self._telemetry is not None and now_ns >= self._exported_ns + EXPORT_PERIOD_NS:
            self._exported_ns = now_ns
            self._telemetry.export(bool(self.totals.overload_text()))
        if self._analyses is not None and state is RunState.RUNNING:
            self._analyses.consider(
                total.pairs_done, total.turns_stamped, self.totals.overload_text()
            )
        if self.aborts is not None and state is RunState.RUNNING:
            self.aborts.consider(self._share_over, self.totals.overload_text())
        if self._view is None:
            return
        run_phase = RunPhase(
            phase(total, state, warm_up=elapsed_s < self._planned.warmup_s),
            elapsed_s,
            (
                None
                if state in ENDINGS
                else left_s(
                    elapsed_s,
                    self._run_time_s,
                    self._sessions,
                    total.sessions_over,
                    total.sessions_open,
                )
            ),
            self._sessions,
            self._planned.options.budget_usd,
            self._analyses.progress if self._analyses is not None else None,
            self._others is not None and state not in ENDINGS and self._others.are_busy(),
        )
        self._view.show(self.totals, run_phase, now_ns)

    def close(self) -> None:
        """Stop the interim analyses, because the complete data will decide the run. Send the
        last metrics.
        """
        for analyses in filter(None, (self._analyses, self.aborts)):
            analyses.end()
        if self._telemetry is not None:
            self._telemetry.close()

    def analyses_made(self, stop_reason: str) -> InterimAnalysesEntry | None:
        """Return the interim analyses that were made; None if the run has no plan. `stop_reason`
        is why it ended.
        """
        if self._analyses is None:
            return None
        made, _ = self._analyses.progress
        return {"made": made, "stopped": bool(stop_reason) and stop_reason == self._analyses.answer}

    @property
    def has_end(self) -> bool:
        """True if the run has a planned end: a run time, a number of sessions, or a budget."""
        return any((self._run_time_s, self._sessions, self._planned.options.budget_usd))

    @property
    def has_time_left(self) -> bool:
        """True if the run has a run time that is not over."""
        return self._run_time_s is not None and self._elapsed_s < self._run_time_s

    @property
    def _share_over(self) -> float:
        """The share of the run that is over, by the planned end that is nearest; 0 if it has
        none.
        """
        total = self.totals.total
        budget_usd = self._planned.options.budget_usd
        ends = (
            (self._elapsed_s, self._run_time_s),
            (total.sessions_over, self._sessions),
            (total.usd + total.kindless_usd, budget_usd),
        )
        return max((now / end for now, end in ends if end), default=0.0)

    @property
    def is_early(self) -> bool:
        """True if the run ended before its run time. If it has no run time: before all planned
        sessions were done.
        """
        if self._run_time_s is not None:
            return self._elapsed_s < self._run_time_s - OVER_S
        return self._sessions is not None and self.totals.total.sessions_over < self._sessions

    @property
    def targets(self) -> list[TargetProgress]:
        """The progress of each target. It is computed at most once a second, however often it is
        read.
        """
        now_ns = monotonic_ns()
        if now_ns >= self._targets_ns + NS_PER_S:
            self._targets = self.totals.targets(now_ns)
            self._targets_ns = now_ns
        return self._targets

    @property
    def _elapsed_s(self) -> float:
        return (monotonic_ns() - self._started_ns) / NS_PER_S
