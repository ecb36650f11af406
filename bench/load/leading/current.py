"""The run under way in this process: how it is looked after, drained, closed and reported."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gevent
from locust.runners import MasterRunner, WorkerRunner

from bench.clock import monotonic_ns
from bench.errors import USAGE_STATUS
from bench.load.leading.closing import close_run, holds_rows
from bench.load.leading.lifeline import is_cut
from bench.load.leading.view import View
from bench.load.leading.watch import Watch
from bench.load.playing.live import LiveRun
from bench.load.playing.pacer import SECOND_NS
from bench.load.playing.standing import Standing
from bench.run.part import parts

WORKERS_CLOSE_S = 30.0
LOOK_S = 1.0
DRAIN, STANDING = "rtbench_drain", "rtbench_standing"
DRAINING, REPORTING = "draining", "reporting"
INTERRUPTED = "interrupted"


@dataclass
class Current:
    """What a run made in this process, and how far its end is."""

    environment: Any
    view: View
    folder: Path | None = None
    """Of the process that made it; a worker only writes into it."""
    document: dict[str, Any] = field(default_factory=dict)
    watch: Watch | None = None
    """Of the process that made the folder."""
    live: LiveRun | None = None
    """Wherever users run: alone, or in a worker."""
    lifeline: Path | None = None
    """Of a worker: the folder that its master holds while it lives."""
    looking: gevent.Greenlet | None = None
    signing_in: bool = False
    """Whether it waits for its first tokens, before anything else is there."""
    stopped: str = ""
    ending: str = ""
    """Which part of its end it has come to."""
    hurried: bool = False
    reported: bool = False
    summary: str = ""

    # While it goes on.

    def look_on(self) -> None:
        """See each second how it stands, until it is over."""
        self.looking = gevent.spawn(self._look_on)

    def _look_on(self) -> None:
        while True:
            gevent.sleep(LOOK_S)
            self._look()

    def _look(self) -> None:
        if self.watch is not None:
            if self.live is not None:
                self.watch.heard(0, self.live.standing(), self.live.held_s())
            self._keep_budget(self.watch)
            if not self.ending:
                self.watch.keep_looks()
            self.watch.show(self.ending)
        elif self.lifeline is not None and is_cut(self.lifeline):
            self._leave(self.lifeline)
        elif self.live is not None:
            told = {"standing": asdict(self.live.standing()), "held_s": self.live.held_s()}
            self._runner.send_message(STANDING, told | {"worker": self._runner.worker_index})

    def _leave(self, folder: Path) -> None:
        """A worker without a master ends, and abandons what is in flight: it costs money that nobody counts."""
        self.hurried = True
        if not self.ending:
            self.ending = DRAINING
            where = f"what was recorded is in {folder}: rtbench report {folder}" if folder.exists() else f"{folder} too"
            self.view.say(f"worker {self._runner.worker_index} ends, for its master is gone; {where}")
            self.environment.process_exit_code = USAGE_STATUS
            gevent.spawn(self._runner.quit)

    def heard(self, told: Any) -> None:
        """What a worker has told."""
        if self.watch is not None:
            self.watch.heard(int(told["worker"]), Standing(**told["standing"]), told["held_s"])
            self._keep_budget(self.watch)

    def _keep_budget(self, watch: Watch) -> None:
        if not self.ending:
            watch.keep_budget()

    # Its end.

    def drain(self, longest_s: float) -> None:
        """No new turns; wait for those in flight, `longest_s` at most."""
        if not self.ending and not self.stopped and self._is_cut_short:
            self.stopped = INTERRUPTED
        self.ending = self.ending or DRAINING
        if self.folder is not None and isinstance(self._runner, MasterRunner):
            self._drain_workers(self.folder, longest_s)
        elif self.live is not None and not self.live.closed:
            self._drain_own(self.live, longest_s)

    @property
    def _is_cut_short(self) -> bool:
        """Whether somebody ends a run that is to be decided, by a signal or in the web UI, and not its own length.

        Whoever does may have seen figures, so it decides less than a run that ends by itself.
        """
        return self.watch is not None and "decision_plan" in self.document and self.watch.is_early

    def _drain_own(self, live: LiveRun, longest_s: float) -> None:
        live.ending = True
        if live.active and not isinstance(self._runner, WorkerRunner):
            self.view.say(f"ending: {live.active} open sessions finish their turn; Ctrl-C abandons them")
        live.drain(longest_s, lambda: self.hurried)

    def _drain_workers(self, folder: Path, longest_s: float) -> None:
        """Tell the workers, and wait until each has written its last row."""
        if not any(part.unfinished for part in parts(folder)):
            return
        self._runner.send_message(DRAIN, {})
        until_ns = monotonic_ns() + int((longest_s + WORKERS_CLOSE_S) * SECOND_NS)
        while any(part.unfinished for part in parts(folder)) and monotonic_ns() < until_ns:
            gevent.sleep(0.1)

    def finish(self) -> None:
        """Close what this process recorded; whoever made the folder closes the run. Does it once."""
        if self.live is not None and not self.live.closed:
            self._look()
            self.view.clear()  # who cannot close has something to say
            self.live.close()
            if self.live.problem:
                self.environment.process_exit_code = USAGE_STATUS
        if self.folder is not None and not self.reported:
            self.reported, self.ending = True, REPORTING
            self._look()
            self._report(self.folder)
        if self.looking is not None:
            self.looking.kill(block=False)
        self.view.clear()

    def _report(self, folder: Path) -> None:
        if self.watch is not None:
            self.watch.end_looks()
        self._tell_of_holds()
        self._tell_of_absent(folder)
        closed = close_run(folder, self.document, self.stopped or "its time was over, or its users were stopped")
        self.summary = closed.summary
        if closed.problem:
            self._tell_of_problem(folder, closed.problem)
        if closed.status == USAGE_STATUS or self.environment.process_exit_code is None:
            self.environment.process_exit_code = closed.status

    def _tell_of_problem(self, folder: Path, problem: str) -> None:
        if not folder.exists():
            self.view.say(f"{folder} is gone: there is nothing to report")
            return
        self.view.say(problem)
        recorded = f"what was recorded is in {folder}; when that is mended: rtbench report {folder}"
        self.view.say(recorded if holds_rows(folder) else f"no row of a turn or session was saved in {folder}")

    def _tell_of_holds(self) -> None:
        held_s = self.watch.held_s if self.watch is not None else {}
        if held_s:
            longest = ", ".join(f"{label} {seconds:.1f} s" for label, seconds in held_s.items())
            self.view.say(f"starts were held back, as the service asked: {longest} in all")
            self.document["holds"] = held_s

    def _tell_of_absent(self, folder: Path) -> None:
        """Workers that came to nothing, unless the reason is said already: the run is not what was asked for."""
        workers = int(self.document["workers"])
        absent = workers - sum(part.begun for part in parts(folder))
        if absent and self.environment.process_exit_code != USAGE_STATUS:
            self.view.say(f"the run ended before {absent} of its {workers} workers had begun: they opened no session")
            self.environment.process_exit_code = USAGE_STATUS

    @property
    def _runner(self) -> Any:
        return self.environment.runner
