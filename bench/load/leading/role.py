"""What a Locust process does in runs, whatever its role: alone, a master or a worker."""

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
from gevent.lock import RLock

from bench.cpu import niceness, set_niceness
from bench.errors import INTERRUPTED_STATUS, USAGE_STATUS, RtbenchError, UsageError
from bench.load.leading.monitor import Monitor
from bench.load.leading.terminal import TerminalView
from bench.load.planning.planned import Planned, check_descriptors, check_shares, planned
from bench.load.planning.run_options import Environment
from bench.load.playing.arm import Arm
from bench.load.playing.live import CUT_S, LiveRun, unwritable
from bench.load.playing.pairs import WorkerSlot
from bench.load.playing.sessions import Driver
from bench.run import folder as files
from bench.run.document import INTERRUPTED
from bench.run.spool import Spool
from bench.target.tokens import Keyring

LOOK_S = 1.0
DRAINING, REPORTING = "draining", "reporting"
TABLES = "locust.stats_logger"
"""Locust's logger for its tables of statistics."""


@dataclass
class RunState:
    """The state of the run in this process."""

    folder: Path | None = None
    """Run folder of the process that made it, and of a worker that records into it."""
    document: dict[str, Any] = field(default_factory=dict)
    """run.json, in the process that made the folder."""
    monitor: Monitor | None = None
    """In the process that made the folder."""
    live: LiveRun | None = None
    """Wherever users run: alone, or in a worker."""
    looking: gevent.Greenlet | None = None
    signing_in: bool = False
    """Whether the run waits for its first tokens, before anything else is there."""
    stopped: str = ""
    """Why the run ends, where somebody gave a reason."""
    ending: str = ""
    """Which part of its end it has come to: "", DRAINING, REPORTING."""
    hurried: bool = False
    """Whether turns in flight are abandoned."""
    reported: bool = False
    """Whether its close came to its end."""
    summary: str = ""


class ProcessRole(ABC):
    """The part of one process in runs: its role says how a run starts and ends, and who hears how it goes."""

    _all_drain = False
    """Whether every user of this process plays sessions, which the end of a run waits for, and nothing else."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._parsed: Any = environment.parsed_options
        self._runner: Any = environment.runner
        self._view = TerminalView(sys.stderr, os.environ)
        self._screen: TerminalView | None = None
        """Shows how a run goes; None where that is Locust's to show."""
        self._current = RunState()
        self._longest_s = 0.0
        """How long turns in flight are waited for: `--stop-timeout` where it is given, else their own limits."""
        self._closing = RLock()
        self._niceness = niceness()
        """Nice value of this process outside of the time in which users play."""

    @property
    def live(self) -> LiveRun | None:
        return self._current.live

    def say(self, line: str) -> None:
        """Show a notice on the screen."""
        self._view.say(line)

    # What is to be run.

    @abstractmethod
    def open(self) -> None:
        """Get ready for runs, once Locust has started. Raises RtbenchError for what the user can mend."""

    def give_up(self) -> NoReturn:
        """End the process before any run, for the user must mend something."""
        sys.exit(USAGE_STATUS)

    def prepare(self) -> None:
        """Plan a run, and see that this process can do it. Raises RtbenchError for what the user can mend."""
        self._planned = plan = self._plan()
        if self._parsed.headless:
            check_shares(
                plan.concurrency, plan.sessions if plan.load_model.arrivals is None else plan.concurrency.users
            )
        check_descriptors(plan.concurrency)
        files.make_parent(plan.options.runs_dir)
        self._longest_s = float(self._parsed.stop_timeout or plan.longest_turn_s)
        self._all_drain = plan.user_classes == set(self._environment.user_classes) and not self._parsed.stop_timeout
        if self._all_drain:
            # users that a ramp-down stops finish their turn, too
            self._environment.stop_timeout = plan.longest_turn_s

    def _plan(self) -> Planned:
        return planned(self._environment)

    def take_the_screen(self) -> None:
        """Where a run is all there is, the view shows how it goes: Locust prints no tables, its log keeps clear."""
        if not self._ends_itself:
            return
        self._screen = self._view
        logging.getLogger(TABLES).disabled = True
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
                handler.setStream(self._view)

    # Locust's events.

    def on_test_start(self, **_: Any) -> None:
        if self._headless:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._on_interrupt)
        self._current = RunState()
        self._environment.process_exit_code = None
        try:
            self._start()
        except RtbenchError as error:
            self._refuse_start(str(error))
        except OSError as error:
            self._refuse_start(unwritable(error))
        else:
            self._current.looking = gevent.spawn(_each_second, self._look)

    def on_spawning_complete(self, **_: Any) -> None:
        """Locust says that all users are there. They may have yet to run, and those of a worker yet to be made."""
        if self._current.live is not None:
            gevent.spawn(self._count_users, self._current.live)

    def _count_users(self, live: LiveRun) -> None:
        if making := getattr(self._runner, "spawning_greenlet", None):
            making.join()
        there = self._runner.user_classes_count
        live.expect_users(sum(there[kind.__name__] for kind in self._planned.user_classes))

    def on_test_stopping(self, **_: Any) -> None:
        _own(self._drain)

    def on_test_stop(self, **_: Any) -> None:
        _own(self._finish)
        if self._current.summary and not self._ends_itself:
            print(self._current.summary, flush=True)

    def on_quitting(self, **_: Any) -> None:
        if self._current.signing_in:
            self._current.signing_in = False
            self._current.ending = DRAINING
            self.say(never_begun(self._current.stopped))
            interrupted = self._current.stopped == INTERRUPTED
            self._environment.process_exit_code = INTERRUPTED_STATUS if interrupted else USAGE_STATUS
        _own(self._drain)
        _own(self._finish)

    def on_quit(self, **_: Any) -> None:
        if self._current.summary and self._ends_itself:
            print(self._current.summary, flush=True)

    # Start.

    @abstractmethod
    def _start(self) -> None:
        """Begin a run. Raises RtbenchError for what the user can mend, OSError where the disk takes nothing."""

    def _refuse_start(self, problem: str) -> None:
        """End a run that cannot start: one line, status 2, and no users."""
        self.say(problem)
        self._environment.process_exit_code = USAGE_STATUS
        self._end_test()

    def _signed_in(self) -> Keyring:
        """Fetch every token. Raises UsageError where one is refused."""
        keyring = Keyring(self._planned.targets, incident=self._incident)
        self._current.signing_in = True  # and so it stays where the end of the run cuts this
        try:
            sign_in(keyring, self.say)
        except UsageError:
            self._current.signing_in = False
            raise
        self._current.signing_in = False
        return keyring

    def _incident(self, kind: str, text: str) -> None:
        self.say(text)
        if self._current.live is not None:
            self._current.live.incident(kind, text)

    def _go_live(self, folder: Path, slot: WorkerSlot, arms: list[Arm], keyring: Keyring, run_id: str = "") -> None:
        """Let users play, at the priority that the run asks for."""
        if self._planned.priority:
            set_niceness(self._planned.priority.niceness)
        driver = Driver(self.request_stop, self.refuse, self._environment.events.request.fire)
        self._current.live = LiveRun(self._planned, slot, arms, keyring, Spool(folder, slot.worker, run_id), driver)

    # While it goes on.

    @abstractmethod
    def _look(self) -> None:
        """See how the run stands, each second until it is over."""

    # Stop.

    @abstractmethod
    def request_stop(self, reason: str) -> None:
        """End the test, for a reason that a run has. Called from within a session, so it must not block."""

    @abstractmethod
    def refuse(self, problem: str) -> None:
        """End the run in order with status 2, as a user asks for what cannot be done: one line, however many do."""

    def _end_test(self) -> None:
        gevent.spawn(self._runner.quit if self._headless else self._runner.stop)

    def _on_interrupt(self, *_: Any) -> None:
        """End the run in order at SIGINT (Ctrl-C) or SIGTERM; at a second one abandon what is in flight.

        Called between two bytecodes.
        """
        current = self._current
        if current.ending:
            current.hurried = True
        else:
            current.ending = DRAINING
            current.stopped = current.stopped or INTERRUPTED
            gevent.spawn(self._runner.quit)

    def _drain(self) -> None:
        """Begin no new turns, and wait for those in flight."""
        with self._closing:
            self._current.ending = self._current.ending or DRAINING
            self._drain_sessions()
            if self._all_drain:
                self._environment.stop_timeout = CUT_S  # who is left has had its time

    def _drain_sessions(self) -> None:
        live = self._current.live
        if live is not None and not live.closed:
            live.sessions.ending = True
            own = not self._parsed.stop_timeout  # else turns are cut as somebody wants it
            outcome = "timeout:turn" if own else "unfinished"
            cut = live.drain(self._longest_s, lambda: self._current.hurried, outcome)
            if cut:
                self.say(f"{cut} sessions went on for {self._longest_s:g} s after the end, and were cut: {outcome}")

    def _finish(self) -> None:
        """Close what this process recorded, once."""
        with self._closing:
            self._close_live()
            if self._current.looking is not None:
                self._current.looking.kill(block=False)
            self._view.clear()

    def _close_live(self) -> None:
        live = self._current.live
        if live is not None and not live.closed:
            self._look()
            self._view.clear()  # who cannot close has something to say
            live.close()
            if niceness() < self._niceness:  # what reports the run has no need of priority
                set_niceness(self._niceness)
            if live.problem:
                self._environment.process_exit_code = USAGE_STATUS

    # What Locust is.

    @property
    def _headless(self) -> bool:
        return bool(self._parsed.headless)

    @property
    def _ends_itself(self) -> bool:
        """Whether the process ends with its run: without a web UI, or where `--autostart --autoquit` says so."""
        return self._headless or (self._parsed.autostart and self._parsed.autoquit >= 0)


def _each_second(look: Callable[[], None]) -> None:
    while True:
        gevent.sleep(LOOK_S)
        look()


def _own(part: Callable[[], None]) -> None:
    """Do a part of the end in a greenlet of its own, and wait for it: it goes on where the one that asked is killed.

    Locust ends a run in greenlets that its own quit kills. Whoever asks then waits for what was begun, by a lock.
    """
    gevent.spawn(part).get()


LONG_S = 2.0
SIGNING_IN = "signing in through Microsoft Entra ID"


def sign_in(keyring: Keyring, say: Callable[[str], None], long_s: float = LONG_S) -> None:
    """Fetch every token. Raises UsageError where one is refused. `say` gets a line if it takes longer than `long_s`."""
    word = gevent.spawn_later(long_s, say, f"{SIGNING_IN} …")
    try:
        keyring.open()
    finally:
        word.kill(block=False)


def never_begun(stopped: str) -> str:
    """The words of a run that was over before all was signed in. `stopped`: why, "" where its time was over."""
    why = stopped or "its time was over, or it was stopped,"
    return f"the run never began: {why} while it was still {SIGNING_IN}; no session was opened"
