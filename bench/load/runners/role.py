"""The role of a Locust process in runs: what is common to the roles standalone, master and worker.

It passes Locust's events and signals to the run's lifecycle, and executes the actions that the lifecycle returns. Long
steps (drain, close) run one after another, each in its own greenlet: Locust stops a run in greenlets that it may kill,
and several events may stop the same run at once. Each of them waits for the same steps.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import gevent

from bench.cpu import niceness, set_niceness
from bench.errors import USAGE_STATUS, RtbenchError
from bench.load import lifecycle
from bench.load.execution.live_run import ABORT_WAIT_S, LiveRun, unwritable
from bench.load.execution.pairs import WorkerSlot
from bench.load.execution.session_registry import LocustCallbacks
from bench.load.execution.target_state import TargetState
from bench.load.lifecycle import RunAction, RunEvent, RunLifecycle, RunState
from bench.load.planning.run_options import Environment
from bench.load.planning.run_plan import RunPlan, check_descriptors, check_shares, plan_run
from bench.load.runners.monitor import RunMonitor
from bench.load.runners.terminal import TerminalView
from bench.run import folder as files
from bench.run.spool import Spool
from bench.target.tokens import Keyring

LOOK_S, LONG_S = 1.0, 2.0


@dataclass
class CurrentRun:
    """The state of one run in this process."""

    lifecycle: RunLifecycle = field(default_factory=RunLifecycle)
    folder: Path | None = None
    """The run folder, in the process that made it and in a worker that records into it."""
    document: dict[str, Any] = field(default_factory=dict)
    """The content of run.json, in the process that made the folder."""
    monitor: RunMonitor | None = None
    """The run's monitor, in the process that made the folder."""
    live: LiveRun | None = None
    """The run's sessions, in a process with users: standalone, or a worker."""
    summary: str = ""
    last_step: gevent.Greenlet | None = None
    """The last step of the run's end that was started."""


class ProcessRole(ABC):
    """The role of one process in runs. It determines how a run starts and ends, and which process gets the progress."""

    _leads = True
    """True if this process decides when a run ends."""
    _all_drain = False
    """True if all users of this process only play sessions. The end of a run waits for these sessions."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._parsed: Any = environment.parsed_options
        self._runner: Any = environment.runner
        self._view = TerminalView(sys.stderr, os.environ)
        self._screen: TerminalView | None = None
        """The view of the run's progress; None if Locust shows the progress."""
        self._run = CurrentRun()
        self._longest_s = 0.0
        """The maximum wait for open turns in seconds: `--stop-timeout` if it is given, else the turns' own limits."""
        self._niceness = niceness()
        """The nice value of this process while no users play."""

    @property
    def live(self) -> LiveRun | None:
        return self._run.live

    @property
    def _state(self) -> RunState:
        return self._run.lifecycle.state

    def say(self, line: str) -> None:
        self._view.say(line)

    # The plan of the run.

    @abstractmethod
    def open(self) -> None:
        """Prepare for runs, after Locust has started. Raises RtbenchError."""

    def give_up(self) -> NoReturn:
        """End the process before any run, because the user must fix something."""
        sys.exit(USAGE_STATUS)

    def prepare(self) -> None:
        """Plan a run, and check that this process can play it. Raises RtbenchError."""
        self._planned = plan = self._plan()
        if self._parsed.headless:
            limit = plan.sessions if plan.load_model.arrivals is None else plan.concurrency.users
            check_shares(plan.concurrency, limit)
        check_descriptors(plan.concurrency)
        files.make_parent(plan.options.runs_dir)
        self._longest_s = float(self._parsed.stop_timeout or plan.longest_turn_s)
        self._all_drain = plan.user_classes == set(self._environment.user_classes) and not self._parsed.stop_timeout
        if self._all_drain:
            # Users that a ramp-down stops also finish their turn.
            self._environment.stop_timeout = plan.longest_turn_s

    def _plan(self) -> RunPlan:
        return plan_run(self._environment)

    def use_terminal(self) -> None:
        """If the process ends with its run, show the run's progress in place of Locust's tables, with Locust's log."""
        if not self._ends_itself:
            return
        self._screen = self._view
        logging.getLogger("locust.stats_logger").disabled = True
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
                handler.setStream(self._view)

    # Locust's events.

    def on_test_start(self, **_: Any) -> None:
        if self._headless:
            for number in (signal.SIGINT, signal.SIGTERM):  # the handler can run between any two bytecodes
                signal.signal(number, lambda *_: gevent.spawn(self._on_signal))
        gevent.spawn(self._end_run).join()  # with the web UI, the last run may still be in its report
        self._run = CurrentRun(RunLifecycle(leads=self._leads))
        self._environment.process_exit_code = None
        try:
            self._start()
        except RtbenchError as error:
            self._refuse_start(str(error))
        except OSError as error:
            self._refuse_start(unwritable(error))
        else:
            gevent.spawn(self._poll_each_second, self._run)

    def on_spawning_complete(self, **_: Any) -> None:
        """Count the users after Locust has spawned them.

        They may not run yet, and a worker may not have made its users yet.
        """
        live = self._run.live
        if live is None:
            return

        def count_users() -> None:
            if spawning := getattr(self._runner, "spawning_greenlet", None):
                spawning.join()
            user_counts = self._runner.user_classes_count
            live.expect_users(sum(user_counts[kind.__name__] for kind in self._planned.user_classes))

        gevent.spawn(count_users)

    def on_test_stopping(self, **_: Any) -> None:
        self.apply(lifecycle.UsersStopping(self._stop_reason()))
        self._run_steps()

    def on_test_stop(self, **_: Any) -> None:
        self.apply(lifecycle.UsersStopped())
        self._run_steps()

    def on_quitting(self, **_: Any) -> None:
        self.apply(lifecycle.ProcessQuitting())
        self._end_run()

    def on_quit(self, **_: Any) -> None:
        if self._run.summary and self._ends_itself:
            print(self._run.summary, flush=True)

    def _on_signal(self) -> None:
        self.apply(lifecycle.SignalReceived())

    def _stop_reason(self) -> str:
        """Return why Locust stops the test, if neither the run nor a signal is the reason; empty if unknown."""
        return ""

    # The lifecycle.

    def apply(self, event: RunEvent) -> None:
        """Pass an event to the run's lifecycle, and execute the resulting actions. This never blocks."""
        for action in self._run.lifecycle.apply(event):
            self._do(action)

    def _do(self, action: RunAction) -> None:
        match action:
            case lifecycle.Say(text):
                self.say(text)
            case lifecycle.SetExitStatus(status):
                self._environment.process_exit_code = status
            case lifecycle.StopTest():
                gevent.spawn(self._stop_test, self._run)
            case lifecycle.DrainSessions():
                self._then(self._drain)
            case lifecycle.CloseRun():
                self._then(self._close)

    def _stop_test(self, run: CurrentRun) -> None:
        """Make Locust stop the test. End the run also if Locust considers the test stopped and sends no event."""
        (self._runner.quit if self._headless else self._runner.stop)()
        if self._run is run:
            self._end_run()

    def _then(self, step: Callable[[], None]) -> None:
        """Start a step of the run's end. It waits for the steps before it."""
        before = self._run.last_step

        def take_step() -> None:
            if before is not None:
                before.join()
            step()

        self._run.last_step = gevent.spawn(take_step)

    def _run_steps(self) -> None:
        if self._run.last_step is not None:
            self._run.last_step.get()

    def _end_run(self, *, spent: bool = False) -> None:
        """End the run, even if Locust left out some of its events. Return when the run is over."""
        self.apply(lifecycle.UsersStopping(spent=spent))
        self.apply(lifecycle.UsersStopped())
        self._run_steps()

    # The start.

    @abstractmethod
    def _start(self) -> None:
        """Start a run. Raises RtbenchError, and OSError if the disk cannot be written."""

    def _refuse_start(self, problem: str) -> None:
        """End a run that cannot start, before it has users."""
        self.apply(lifecycle.RunRefused(problem))

    def _signed_in(self) -> Keyring | None:
        """Fetch all tokens; return None if the run ended meanwhile. Raises UsageError if a sign-in is refused."""
        keyring = Keyring(self._planned.targets, incident=self._incident)
        self.apply(lifecycle.SignInStarted())
        sign_in(keyring, self.say)
        if self._state is RunState.SIGNING_IN:
            return keyring
        keyring.close()
        return None

    def _incident(self, kind: str, text: str) -> None:
        self.say(text)
        if self._run.live is not None:
            self._run.live.recorder.incident(kind, text)

    def _go_live(
        self, folder: Path, slot: WorkerSlot, states: list[TargetState], keyring: Keyring, run_id: str = ""
    ) -> None:
        """Start the users' sessions, at the requested priority."""
        if self._planned.priority:
            set_niceness(self._planned.priority.niceness)
        callbacks = LocustCallbacks(self._run.lifecycle, self.apply, self._environment.events.request.fire)
        self._run.live = LiveRun(self._planned, slot, states, keyring, Spool(folder, slot.worker, run_id), callbacks)

    # During the run.

    @abstractmethod
    def _poll(self) -> None:
        """Check the progress of the run. Called each second until the run is over."""

    def _poll_each_second(self, run: CurrentRun) -> None:
        gevent.sleep(LOOK_S)
        while self._run is run and run.lifecycle.state is not RunState.REPORTED:
            self._poll()
            gevent.sleep(LOOK_S)

    # The end.

    def _drain(self) -> None:
        self._drain_sessions()
        if self._all_drain:
            self._environment.stop_timeout = ABORT_WAIT_S  # the remaining users have had their time

    def _drain_sessions(self) -> None:
        if self._run.live is None:
            return
        # `--stop-timeout` ends turns by the user's wish. Without it, the turns have exceeded their own limits.
        outcome = "unfinished" if self._parsed.stop_timeout else "timeout:turn"
        unfinished = self._run.live.drain(self._longest_s, outcome)
        if unfinished:
            self.say(f"cut {unfinished} sessions that were still open {self._longest_s:g} s after the end: {outcome}")

    def _close(self) -> None:
        failed = True
        try:
            self._close_run()
            failed = False
        finally:
            self._view.clear()
            self.apply(lifecycle.RunClosed(failed))
        if self._run.summary and not self._ends_itself:
            print(self._run.summary, flush=True)

    def _close_run(self) -> None:
        live = self._run.live
        if live is None:
            return
        self._poll()
        self._view.clear()  # if closing fails, a message follows
        live.close()
        if niceness() < self._niceness:  # the report needs no priority
            set_niceness(self._niceness)
        if live.flusher.error:
            self._environment.process_exit_code = USAGE_STATUS

    # Locust's mode.

    @property
    def _headless(self) -> bool:
        return bool(self._parsed.headless)

    @property
    def _ends_itself(self) -> bool:
        """True if the process ends with its run: without a web UI, or with `--autostart --autoquit`."""
        return self._headless or (self._parsed.autostart and self._parsed.autoquit >= 0)


def sign_in(keyring: Keyring, say: Callable[[str], None], long_s: float = LONG_S) -> None:
    """Fetch all tokens. Raises UsageError if one is refused.

    `say` gets a line if the sign-in takes longer than `long_s` seconds.
    """
    notice = gevent.spawn_later(long_s, say, f"{lifecycle.SIGNING_IN} …")
    try:
        keyring.open()
    finally:
        notice.kill(block=False)
