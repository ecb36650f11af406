"""The role of a Locust process in runs: what standalone processes, masters and workers have in
common.

A role passes Locust's events and signals to the lifecycle of the run, and executes the actions that
this returns. Long steps (drain, close) run one after another, each in a greenlet of its own,
because Locust may kill the greenlets in which it stops a run. All events that stop a run wait for
the same steps.
"""

# Locust fires its events in greenlets that it may kill, and omits some of them: after a signal,
# without users, or if the start failed. So no handler here does the work itself. It passes an event
# to the lifecycle (`bench.load.lifecycle`), which decides what follows, and each long step is a
# greenlet that waits for the step before it (`CurrentRun.then`). A handler only waits for the last
# step. If it is killed meanwhile, the steps continue, and the next handler waits for them. The
# start is such a step, too: if the number of users changes meanwhile, Locust kills its handler, and
# calls it again.

import mmap
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event

from bench.base.clock import utc_ns
from bench.base.cpu import niceness, set_niceness
from bench.base.errors import USAGE_STATUS, RtbenchError
from bench.base.stop_signals import stop_signals
from bench.load import lifecycle
from bench.load.execution.live_run import ABORT_WAIT_S, LiveRun, unwritable, warm_up
from bench.load.execution.pairs import WorkerSlot
from bench.load.execution.session_registry import LocustCallbacks
from bench.load.execution.target_state import TargetState
from bench.load.lifecycle import RunEvent, RunLifecycle, RunRefused, RunState, StopRequested
from bench.load.planning.run_options import Environment
from bench.load.planning.run_plan import (
    RunPlan,
    check_descriptors,
    check_meetings,
    check_ports,
    check_shares,
    named_simulator,
    plan_run,
)
from bench.load.planning.workload import drop_classes_without_tasks
from bench.load.runners.monitor import RunMonitor, TerminalView
from bench.record import folder as files
from bench.record.document import INTERRUPTED
from bench.record.spool import Spool
from bench.target.tokens import Keyring
from bench.transport.own_limits import limit_text

LOOK_S = 1.0
NOT_STARTED = "ready"
"""The state of Locust's runner before it has started a run."""
LONG_S = 2.0
RESERVE_BYTES = 128 << 20
"""The memory that is left for the sessions after the start of a run. Without it, the run does not
start.

It is reserved, and not used. A thread takes 8 MiB of it, and the report needs some after the
failure of a start, too.
"""


@dataclass
class CurrentRun:
    """The state of one run in this process."""

    lifecycle: RunLifecycle = field(default_factory=RunLifecycle)
    folder: Path | None = None
    """The run folder, in the process that made it, and in workers that record into it."""
    document: dict[str, Any] = field(default_factory=dict)
    """The content of run.json, in the process that made the folder."""
    monitor: RunMonitor | None = None
    """The monitor of the run, in the process that made the folder."""
    live: LiveRun | None = None
    """The sessions of the run, in processes with users: standalone processes and workers."""
    closing: ExitStack = field(default_factory=ExitStack)
    """What must be closed at the end of the run, in the process that made the folder."""
    summary: str = ""
    started: Event | None = None
    """An event that is set when the start has ended. A signal may end a run whose sessions are
    not ready yet."""
    last_step: gevent.Greenlet | None = None
    """The step of the run's end that was started last."""

    @property
    def state(self) -> RunState:
        return self.lifecycle.state

    @property
    def stop_reason(self) -> str:
        """`INTERRUPTED` if the user ended interim analyses early, or else "".

        Such a run gets no decision, because the user may have seen its values and ended it because
        of them.
        """
        is_early = (
            self.monitor is not None
            and "sequential_plan" in self.document
            and self.monitor.is_early
        )
        return INTERRUPTED if is_early else ""

    def then(self, step: Callable[[], None]) -> None:
        """Start a step of the run's end. The step begins when the start and all steps before it
        have ended.
        """
        before = self.last_step

        def take_step() -> None:
            if self.started is not None:
                self.started.wait()
            if before is not None:
                before.join()
            step()

        self.last_step = gevent.spawn(take_step)

    def wait_for_steps(self) -> None:
        if self.last_step is not None:
            self.last_step.get()

    def print_summary(self, parsed: Any) -> None:
        """Print the summary, if there is one. With `--json`, stdout contains only the JSON of
        Locust.
        """
        if self.summary:
            print(self.summary, file=sys.stderr if parsed.json else sys.stdout, flush=True)


class Workers:
    """The workers of a process that leads runs: none, so that it runs the sessions itself."""

    are_here = True
    """True if this process runs sessions."""

    @property
    def count(self) -> int:
        """The number of processes that run the sessions of the next run."""
        return 1

    @property
    def stop_reason(self) -> str:
        """The reason why the workers cannot continue the run; "" if they can."""
        return ""

    def open(self) -> None:
        """Wait for the workers before the first run. Raise UsageError if they are late."""

    def dismiss(self) -> None:
        """End the workers, because there will be no run."""

    def begin(self) -> None:
        """Forget the last run."""

    def advice(self) -> tuple[str, ...]:
        """Return the notices about the hosts of the workers."""
        return ()

    def hand_over(self, folder: Path, slot: WorkerSlot) -> bool:
        """Let the workers run the sessions. Return False if there are none."""
        return False

    def poll(self) -> None:
        """End the run if no worker has sessions left to run. This is called once a second."""

    def drain(self) -> None:
        """Let the workers end their sessions, and wait for their data."""

    def silent(self, folder: Path) -> int:
        """Return the number of workers that may have started, but sent no data."""
        return 0

    def record_idle(self, folder: Path) -> None:
        """Record that workers without data that have drained, or have ended on this host, opened no
        session: nothing of them is missing.
        """

    def notice(self) -> str:
        """Return a notice about the messages in the run; "" if there is none."""
        return ""


class ProcessRole(ABC):
    """The role of one process in runs. It determines how a run starts and ends, and who gets the
    progress.
    """

    _leads = True
    """True if this process decides when a run ends."""
    _all_drain = False
    """True if the end of a run waits for all sessions: all users are realtime users, without
    `--stop-timeout`."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.parsed: Any = environment.parsed_options
        self.runner: Any = environment.runner
        self._headless = not self._leads or bool(self.parsed.headless)
        self._ends_itself = self._headless or (self.parsed.autostart and self.parsed.autoquit >= 0)
        """True if the process ends with its run: it has no web UI, or has the options
        `--autostart --autoquit`."""
        self._view = TerminalView(sys.stderr, os.environ)
        self.workers = Workers()
        self.run = CurrentRun()
        self._starting: gevent.Greenlet | None = None
        """The step that starts a run, from its first call by Locust on."""
        self.longest_s = 0.0
        """The seconds to wait for open turns at the end of a run: `--stop-timeout`, or else the
        limit of the turns."""
        self._niceness = niceness()
        """The niceness of this process while no sessions run."""

    @property
    def live(self) -> LiveRun | None:
        return self.run.live

    def say(self, line: str) -> None:
        self._view.say(line)

    # What differs between a leader and a worker.

    @abstractmethod
    def open(self) -> None:
        """Prepare this process for runs. This is called when Locust has started. Raise
        RtbenchError if it fails.
        """

    @abstractmethod
    def _start(self) -> None:
        """Start a run. Raise RtbenchError if it cannot start, and OSError if the disk cannot be
        written.
        """

    @abstractmethod
    def _poll(self) -> None:
        """Check the progress of the run. This is called once a second until the run has ended."""

    @abstractmethod
    def _finish(self, folder: Path) -> None:
        """Process the run folder, after this process has written its data. This is the last step
        of a run.
        """

    def _ask_master(self, request: StopRequested | RunRefused) -> None:
        """Send a request to the master. The lifecycle of a leader makes no requests."""
        raise NotImplementedError

    # The plan of the run.

    def prepare(self) -> None:
        """Plan a run, and check that this process can execute it. Raise RtbenchError if it
        cannot.
        """
        for notice in drop_classes_without_tasks(self._environment):
            if self._leads:
                self.say(notice)
        self.planned = plan = self._plan()
        if self.parsed.headless:
            limit = plan.sessions if plan.load_model.arrivals is None else plan.concurrency.users
            check_shares(plan.concurrency, limit)
        plan.check_locust_entries()
        check_descriptors(plan.concurrency, plan.targets)
        check_meetings(plan.concurrency, plan.scripts)
        check_ports(plan.concurrency, plan.targets, plan.load_model.concurrency_option)
        files.make_parent(plan.options.runs_dir)
        self.longest_s = float(self.parsed.stop_timeout or plan.longest_turn_s)
        self._all_drain = (
            plan.user_classes == set(self._environment.user_classes)
            and not self.parsed.stop_timeout
        )
        if self._all_drain:
            # Users that a ramp-down stops also finish their turn.
            self._environment.stop_timeout = plan.longest_turn_s

    def _plan(self) -> RunPlan:
        return plan_run(self._environment, self._find_simulator)

    def _find_simulator(self, parsed: Any) -> str:
        """Return the address of the simulator of `--simulator`."""
        return named_simulator(parsed)

    @property
    def screen(self) -> TerminalView | None:
        """The view that shows the progress of the run; None if Locust shows the progress."""
        return self._view if self._ends_itself else None

    # Locust's events.

    def on_test_start(self, **_: Any) -> None:
        """Start a run, and wait until it has started, unless the last one runs by then."""
        while self._starting is not None and not self._starting.ready():
            self._starting.join()
        if self._starting is None or not (self._leads and self.run.state is RunState.RUNNING):
            self._starting = gevent.spawn(self._start_run)
        self._starting.get()

    def _start_run(self) -> None:
        if self._headless:
            events: dict[int, RunEvent] = {
                number: lifecycle.SignalReceived(number == signal.SIGHUP)
                for number in stop_signals()
            }
            events[lifecycle.SEARCH_SIGNAL] = StopRequested(lifecycle.SEARCH_ENDED)
            for number, event in events.items():
                # the handler can run between any two bytecodes
                signal.signal(number, lambda *_, event=event: gevent.spawn(self.apply, event))
        # with the web UI, the last run may still be in its report
        gevent.spawn(self._end_run).join()
        started = Event()
        self.run = CurrentRun(RunLifecycle(leads=self._leads), started=started)
        self._environment.process_exit_code = None
        try:
            with mmap.mmap(-1, RESERVE_BYTES):
                self._start()
        except Exception as error:
            self.apply(RunRefused(start_problem(error)))  # the run has no users yet
        else:
            gevent.spawn(self._poll_each_second, self.run)
        finally:
            started.set()

    def on_spawning_complete(self, **_: Any) -> None:
        """Count the users when Locust has created them. In a worker, some users may not exist
        yet, so wait for them.
        """
        live = self.run.live
        if live is None:
            return

        def count_users() -> None:
            if spawning := getattr(self.runner, "spawning_greenlet", None):
                spawning.join()
            user_counts = self.runner.user_classes_count
            live.expect_users(sum(user_counts[kind.__name__] for kind in self.planned.user_classes))

        gevent.spawn(count_users)

    def on_test_stopping(self, **_: Any) -> None:
        self.apply(lifecycle.UsersStopping(self.workers.stop_reason or self.run.stop_reason))
        self.run.wait_for_steps()

    def on_test_stop(self, **_: Any) -> None:
        self.apply(lifecycle.UsersStopped())
        self.run.wait_for_steps()

    def on_quitting(self, **_: Any) -> None:
        self.apply(lifecycle.ProcessQuitting())
        self._end_run()

    def on_quit(self, **_: Any) -> None:
        if self._ends_itself:
            self.run.print_summary(self.parsed)

    # The lifecycle.

    def apply(self, event: RunEvent) -> None:
        """Pass an event to the lifecycle of the run, and execute the actions that it returns.
        This never blocks.
        """
        for action in self.run.lifecycle.apply(event):
            match action:
                case lifecycle.Say(text):
                    self.say(text)
                case lifecycle.SetExitStatus(status):
                    self._environment.process_exit_code = status
                case lifecycle.AskMaster(request):
                    self._ask_master(request)
                case lifecycle.StopTest():
                    gevent.spawn(self._stop_test, self.run)
                case lifecycle.DrainSessions():
                    self.run.then(self._drain)
                case lifecycle.CloseRun():
                    self.run.then(self._close)

    def _stop_test(self, run: CurrentRun) -> None:
        """Make Locust stop the test, and end the run, even if Locust considers the test stopped
        and sends no event.
        """
        (self.runner.quit if self._headless else self.runner.stop)()
        if self.run is run:
            self._end_run()

    def _end_run(self, *, spent: bool = False) -> None:
        """End the run, even if Locust has omitted events. Return when the run has ended."""
        self.apply(lifecycle.UsersStopping(spent=spent))
        self.apply(lifecycle.UsersStopped())
        self.run.wait_for_steps()

    # The start.

    def _signed_in(self) -> Keyring | None:
        """Warm up a process with users, and fetch all tokens. Return None if the run ends
        meanwhile. Raise UsageError if a sign-in is refused.
        """

        def incident(kind: str, text: str) -> None:
            self.say(text)
            if self.run.live is not None:
                self.run.live.recorder.incident(kind, text)

        keyring = Keyring(
            self.planned.targets, mcp_tokens=self.planned.mcp_tokens, incident=incident
        )
        self.apply(lifecycle.SignInStarted())
        if self.workers.are_here:
            warm_up(self.planned)
        sign_in(keyring, self.say)
        if self.run.state is RunState.SIGNING_IN:
            return keyring
        keyring.close()
        return None

    def _go_live(
        self,
        folder: Path,
        slot: WorkerSlot,
        states: list[TargetState],
        keyring: Keyring,
        run_id: str = "",
    ) -> None:
        """Start the sessions of this process's users. The process gets the requested priority."""
        if self.planned.priority:
            set_niceness(self.planned.priority.niceness)
        callbacks = LocustCallbacks(
            self.run.lifecycle, self.apply, self._environment.events.request.fire
        )
        self.run.live = LiveRun(
            self.planned, slot, states, keyring, Spool(folder, slot.worker, run_id), callbacks
        )

    # During the run.

    def _poll_each_second(self, run: CurrentRun) -> None:
        gevent.sleep(LOOK_S)
        if self._leads and self.run is run and self.runner.state == NOT_STARTED:
            self._end_run()  # a visitor has stopped it during its start: Locust sends no event
        while self.run is run and run.lifecycle.state is not RunState.REPORTED:
            self._poll()
            gevent.sleep(LOOK_S)

    # The end.

    def _drain(self) -> None:
        self.run.document["stopping_utc_ns"] = utc_ns()
        live = self.run.live
        if self._leads and live is not None and live.active:
            is_single = live.active == 1
            sessions_text = (
                "1 open session finishes its turn"
                if is_single
                else f"{live.active} open sessions finish their turn"
            )
            self.say(f"ending: {sessions_text}; Ctrl-C abandons {'it' if is_single else 'them'}")
        self._name_report()
        self.workers.drain()
        # `--stop-timeout` ends turns by the user's wish. Without it, the turns have exceeded their
        # own limits.
        outcome = "unfinished" if self.parsed.stop_timeout else "timeout:turn"
        unfinished = 0 if live is None else live.drain(self.longest_s, outcome)
        if unfinished:
            self.say(
                f"cut {unfinished} sessions that were still open {self.longest_s:g} s after the"
                f" end: {outcome}"
            )
        if self._all_drain:
            self._environment.stop_timeout = ABORT_WAIT_S  # the remaining users have had their time

    def _name_report(self) -> None:
        """Print how an interrupted run is reported if it is killed before its report: those who
        stop it may not wait.
        """
        run = self.run
        if self._leads and run.folder is not None and run.lifecycle.reason == INTERRUPTED:
            self.say(
                f"if this process is killed before its report, run `rtbench report {run.folder}`"
            )

    def _close(self) -> None:
        failed = True
        try:
            if self.run.live is not None:
                self._close_live(self.run.live)
            if self.run.lifecycle.is_hurried or not self._view.in_place:
                self._name_report()  # again: progress was printed below it
            if self.run.folder is not None:
                self._finish(self.run.folder)
            failed = False
        finally:
            self._view.clear()
            self.apply(lifecycle.RunClosed(failed))
        if not self._ends_itself:
            self.run.print_summary(self.parsed)

    def _close_live(self, live: LiveRun) -> None:
        self._poll()
        self._view.clear()  # if closing fails, a message follows
        live.close()
        if niceness() < self._niceness:  # the report needs no priority
            set_niceness(self._niceness)
        if live.flusher.error:
            self._environment.process_exit_code = USAGE_STATUS


def start_problem(error: Exception) -> str:
    """Return a line on why a run could not start. Raise an error that is a bug of this tool
    again.
    """
    if (limit := limit_text(error, "the run could not start")) is not None:
        return limit
    if isinstance(error, RtbenchError):
        return str(error)
    if isinstance(error, OSError):
        return unwritable(error)
    raise error


def sign_in(keyring: Keyring, say: Callable[[str], None], long_s: float = LONG_S) -> None:
    """Fetch all tokens. If that takes `long_s` seconds, call `say`. Raise UsageError if a
    sign-in is refused.
    """
    notice = gevent.spawn_later(long_s, say, f"{lifecycle.SIGNING_IN} …")
    try:
        keyring.open()
    finally:
        notice.kill(block=False)
