"""The monitor of a run. It shows the progress, enforces the budget, and starts interim analyses, for all processes.

Metrics are sent to an OpenTelemetry collector by a child process (`otel_exporter.py`). It runs at low priority, so that
the computations and waits of the SDK delay no session.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import gevent
import msgspec
from gevent.queue import Full, Queue
from gevent.subprocess import DEVNULL, PIPE, Popen

from bench.base.clock import monotonic_ns
from bench.base.cpu import LOWERED
from bench.base.errors import UsageError
from bench.base.installation import KILLED_S, child_environment, python_command, tool_version
from bench.base.units import NS_PER_S
from bench.files.sanitize import one_line
from bench.load.execution.progress import ProgressReport, over_budget
from bench.load.lifecycle import RunState
from bench.load.planning.run_plan import RunPlan
from bench.load.runners.interim_analyses import InterimAnalyses
from bench.load.runners.live_totals import LiveTotals, TargetProgress
from bench.load.runners.terminal import ENDINGS, RunPhase, TerminalView, left_s, phase
from bench.record.document import InterimAnalysesEntry
from bench.target.target import Target

MAX_LINES = 1_000
"""The maximum number of lines that wait until the child process reads them. Further lines are dropped."""
FLUSH_S = 10.0
"""The maximum time, in seconds, that the child process has to send the last metrics after the run."""
NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
BEHIND = "the process that sends metrics was too slow: some metrics were not sent"
CUT = f"the process that sends metrics was still running {FLUSH_S:g} s after the run: the last metrics were not sent"


def check_installed() -> None:
    """Raise UsageError if the packages that send metrics are not installed."""
    try:
        installed = all(map(find_spec, NEEDED))
    except ModuleNotFoundError:  # the parent package is not installed
        installed = False
    if not installed:
        raise UsageError("--telemetry needs packages that are not installed: pip install 'rtbench[otel]'")


class Telemetry:
    """The connection to the child process that exports the metrics of one run. `say` prints the child's messages."""

    def __init__(self, run_id: str, planned: RunPlan, say: Callable[[str], None]) -> None:
        self._say, self._backlog = say, False
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
        self.export({"run_id": run_id, "scenario": planned.scenario, "version": tool_version(), "targets": targets})

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
        """Let the child process send the last metrics. Kill it if this takes longer than FLUSH_S."""
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
    """Return the attributes of a target's metrics. Their names are those of the OpenTelemetry conventions."""
    attributes = {
        "gen_ai.provider.name": (target.known_service and target.known_service.telemetry_name) or target.service,
        "gen_ai.request.model": target.model,
        "cloud.region": target.region,
        "server.address": target.host,
    }
    return {name: value for name, value in attributes.items() if value}


OVER_S = 1.0
"""A tolerance in seconds. If a run ends at most this long before its planned end, it did not end early."""
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
        telemetry: Telemetry | None = None,
    ) -> None:
        self._planned, self._view, self._run_time_s = planned, view, run_time_s
        self._analyses, self._telemetry = analyses, telemetry
        self.totals = LiveTotals(planned.chunk_ms, [target.label for target in planned.targets])
        self._sessions = None if planned.sessions is None else planned.sessions * len(planned.targets)
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
        return over_budget(self._planned.options.budget_usd, self.totals.total.usd)

    def poll(self, state: RunState = RunState.RUNNING) -> None:
        """Export the overload, start an interim analysis, and draw the status line, if due. Call this once a second."""
        now_ns, total, elapsed_s = monotonic_ns(), self.totals.total, self._elapsed_s
        if self._telemetry is not None and now_ns >= self._exported_ns + EXPORT_PERIOD_NS:
            self._exported_ns = now_ns
            self._telemetry.export(bool(self.totals.overload_text()))
        if self._analyses is not None and state is RunState.RUNNING:
            self._analyses.consider(total.pairs_done, total.turns_stamped, self.totals.overload_text())
        if self._view is None:
            return
        run_phase = RunPhase(
            phase(total, state, warm_up=elapsed_s < self._planned.warmup_s),
            elapsed_s,
            None if state in ENDINGS else left_s(elapsed_s, self._run_time_s, self._sessions, total.sessions_over),
            self._sessions,
            self._planned.options.budget_usd,
            self._analyses.progress if self._analyses is not None else None,
        )
        self._view.show(self.totals, run_phase, now_ns)

    def close(self) -> None:
        """Stop the interim analyses, because the complete data will decide the run. Send the last metrics."""
        if self._analyses is not None:
            self._analyses.end()
        if self._telemetry is not None:
            self._telemetry.close()

    def analyses_made(self, stop_reason: str) -> InterimAnalysesEntry | None:
        """Return the interim analyses that were made; None if the run has no plan. `stop_reason` is why it ended."""
        if self._analyses is None:
            return None
        made, _ = self._analyses.progress
        return {"made": made, "stopped": bool(stop_reason) and stop_reason == self._analyses.answer}

    @property
    def is_early(self) -> bool:
        """True if the run ended before its run time. If it has no run time: before all planned sessions were done."""
        if self._run_time_s is not None:
            return self._elapsed_s < self._run_time_s - OVER_S
        return self._sessions is not None and self.totals.total.sessions_over < self._sessions

    @property
    def targets(self) -> list[TargetProgress]:
        """The progress of each target. It is computed at most once a second, however often it is read."""
        now_ns = monotonic_ns()
        if now_ns >= self._targets_ns + NS_PER_S:
            self._targets, self._targets_ns = self.totals.targets(now_ns), now_ns
        return self._targets

    @property
    def _elapsed_s(self) -> float:
        return (monotonic_ns() - self._started_ns) / NS_PER_S
