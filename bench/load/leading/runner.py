"""Locust from start to stop: which of its events makes what of a run.

    init             options and scripts are checked; what the user can mend ends the process with one line and status 2
    test_start       signed in; a run folder; a LiveRun wherever users run (alone, or in each worker)
    test_stopping    drain: no new turns, those in flight end by their own limits
    test_stop        the folder is closed and reported, in a child process
    quitting         the same, for an end that skips test_stop, and before Locust decides on its exit code
    quit             our summary, after all that Locust prints

A master makes the folder and hands it to its workers with Locust's options; workers on one host write into its spool,
and tell their master each second how they stand.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import gevent
from gevent.lock import RLock
from locust import events
from locust.runners import MasterRunner, WorkerRunner

from bench.clock import monotonic_ns, utc_ns
from bench.errors import USAGE_STATUS, BenchError, UsageError
from bench.load.leading import lifeline
from bench.load.leading.current import DRAIN, DRAINING, INTERRUPTED, STANDING, Current
from bench.load.leading.looks import Looks
from bench.load.leading.sign_in import never_begun, sign_in
from bench.load.leading.view import View
from bench.load.leading.watch import Watch
from bench.load.leading.web_ui import guard, open_words
from bench.load.planning.decision import MOST_PAIRS, Plan, check_two, decision_plan, plan_words, scripts_of
from bench.load.planning.options import Options, add_options, stay_on_loopback
from bench.load.planning.planned import planned
from bench.load.planning.plays import check_descriptors, check_port, check_shares
from bench.load.playing.arm import Arm, arms_of
from bench.load.playing.live import ALL_DONE, LiveRun
from bench.load.playing.pacer import SECOND_NS
from bench.load.playing.spending import Spending
from bench.load.playing.upkeep import unwritable
from bench.run import folder as files
from bench.run import spool
from bench.target.tokens import Keyring, closed_on_failure

WORKERS_START_NS = 10 * SECOND_NS
STOP, DONE, REFUSED = "rtbench_stop", "rtbench_done", "rtbench_refused"
TABLES = "locust.stats_logger"
"""Locust's logger for its tables of statistics."""


def _dismiss_workers(environment: Any) -> None:
    """The processes of `--processes` are there already; without a word they would wait a minute for their master."""
    runner, processes = environment.runner, environment.parsed_options.processes
    if isinstance(runner, MasterRunner) and processes:
        until_ns = monotonic_ns() + WORKERS_START_NS
        while len(runner.clients.all) < processes and monotonic_ns() < until_ns:
            gevent.sleep(0.05)
        runner.quit()


def _on_init(environment: Any, **_: Any) -> None:
    runs = Runs(environment)
    environment.rtbench = runs
    try:
        if not isinstance(environment.runner, WorkerRunner):  # a worker is told by its master what to do
            runs.prepare()
            if not environment.parsed_options.headless:  # the web UI starts after this
                check_port(environment.parsed_options.web_host, environment.parsed_options.web_port)
        if environment.web_ui is not None:
            guard(environment.web_ui, vars(environment.parsed_options), runs.check)
            if opened := open_words(environment.web_ui):
                runs.say(opened)
    except BenchError as error:
        runs.say(str(error))
        _dismiss_workers(environment)
        sys.exit(USAGE_STATUS)
    runs.take_the_screen()
    listen = environment.events
    listen.test_start.add_listener(runs.on_test_start)
    listen.test_stopping.add_listener(runs.on_test_stopping)
    listen.test_stop.add_listener(runs.on_test_stop)
    listen.quitting.add_listener(runs.on_quitting)
    listen.quit.add_listener(runs.on_quit)


events.init_command_line_parser.add_listener(add_options)
events.init_command_line_parser.add_listener(stay_on_loopback)
events.init.add_listener(_on_init)


class Runs:
    """The runs of one Locust process, one after another."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._view = View(sys.stderr, os.environ)
        self._current = Current(environment, self._view)
        self._workers_done: set[str] = set()
        self._ran = False
        self._decision: Plan | None = None
        self._longest_s = 0.0
        """How long turns in flight are waited for: `--stop-timeout` where it is given, else their own limits."""
        self._closing = RLock()
        self._listen_to_peers()

    @property
    def live(self) -> LiveRun | None:
        return self._current.live

    @property
    def session_pause_s(self) -> float:
        return self._planned.options.session_pause_s

    def say(self, line: str) -> None:
        """A notice, on the screen."""
        self._view.say(line)

    # What is to be run.

    def prepare(self) -> None:
        """Plan a run, and see that this process can do it. Raises BenchError for what the user can mend."""
        parsed = self._environment.parsed_options
        self._planned = plan = planned(self._environment)
        self._decision = None
        if plan.options.until_decided and not isinstance(self._runner, WorkerRunner):
            self._decision = decision_plan(plan.options, plan.sessions or MOST_PAIRS, scripts_of(plan.plays))
        users, processes = int(parsed.num_users or 1), max(1, int(parsed.processes or 1))
        if parsed.headless:
            check_shares(users, plan.sessions, processes)
        check_descriptors(users, len(plan.targets), processes)
        files.make_parent(plan.options.runs)
        self._longest_s = float(parsed.stop_timeout or plan.longest_turn_s)
        if plan.user_classes == set(self._environment.user_classes) and not self._environment.stop_timeout:
            # users that a ramp-down stops finish their turn, too
            self._environment.stop_timeout = plan.longest_turn_s

    def check(self, parsed: Any) -> None:
        """Raises UsageError for options that cannot be, of a run with the targets of this process."""
        if Options.of(parsed).until_decided:
            check_two(self._planned.targets)

    def take_the_screen(self) -> None:
        """Without a web UI the view shows how a run goes: Locust prints no tables, and its log does not run into it."""
        if self._shows_tables:
            return
        logging.getLogger(TABLES).disabled = True
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
                handler.setStream(self._view)

    # Locust's events.

    def on_test_start(self, **_: Any) -> None:
        if self._headless:
            signal.signal(signal.SIGINT, self._on_interrupt)
        self._current = Current(self._environment, self._view)
        self._workers_done = set()
        self._environment.process_exit_code = None
        try:
            if isinstance(self._runner, WorkerRunner):
                self._start_worker()
            else:
                self._start_run()
        except BenchError as error:
            self._refuse(str(error))
        except OSError as error:
            self._refuse(unwritable(error))
        else:
            self._current.look_on()

    def on_test_stopping(self, **_: Any) -> None:
        self._drain()

    def on_test_stop(self, **_: Any) -> None:
        self._finish()
        if isinstance(self._runner, WorkerRunner):
            self._environment.stop_timeout = 0  # a worker sleeps for so long before it is ready again
        if self._current.summary and not self._headless:
            print(self._current.summary, flush=True)

    def on_quitting(self, **_: Any) -> None:
        if self._current.signing_in:
            self._current.signing_in = False
            self._current.ending = DRAINING
            self.say(never_begun(self._current.stopped))
            self._environment.process_exit_code = USAGE_STATUS
        self._drain()
        self._finish()

    def on_quit(self, **_: Any) -> None:
        if self._current.summary and self._headless:
            print(self._current.summary, flush=True)

    # Start.

    def _start_run(self) -> None:
        self._environment.parsed_options.rtbench_run = None  # what workers get where this comes to nothing
        if self._ran or not self._headless:  # a later run of the same process may have other options
            self.prepare()
        self._ran = True
        keyring = self._signed_in()  # before there is a folder, so that a refusal leaves none
        if self._current.ending:
            keyring.close()
            return
        with closed_on_failure(keyring):
            self._begin(keyring)

    def _begin(self, keyring: Keyring) -> None:
        began, began_ns = utc_ns(), monotonic_ns()
        arms = self._arms(keyring, 0, 1, began_ns)
        folder = files.create(self._planned.options.runs, self._planned.scenario, began)
        settings = vars(self._environment.parsed_options)
        self._current.document = self._planned.opening_document(folder.name, began, settings, self._worker_count)
        if self._decision is not None:
            self._current.document["decision_plan"] = dict(self._decision)
        files.write_document(folder, self._current.document)
        self._current.folder = folder
        for notice in self._planned.notices:
            self.say(notice)
        if self._decision is not None:
            for line in (plan_words(self._decision), *self._decision.get("notices", ())):
                self.say(line)
        self._current.watch = self._new_watch(folder)
        if isinstance(self._runner, MasterRunner):
            lifeline.hold(folder)
            keyring.close()  # its workers sign in themselves
            self._hand_out(folder, began, began_ns)
        else:
            self._current.live = self._live(folder, 0, 1, began, began_ns, keyring, arms, self._planned.warmup_s)

    def _signed_in(self) -> Keyring:
        """Every token there; raises UsageError where one is refused."""
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

    def _new_watch(self, folder: Path) -> Watch:
        options, plan = self._environment.parsed_options, self._decision
        return Watch(
            self._planned,
            None if self._shows_tables else self._view,
            run_time_s=options.run_time or None,
            wanted=lambda: int(self._runner.target_user_count or 0),
            stop=self._request_stop,
            looks=None if plan is None else Looks(folder, plan, stop=self._request_stop, say=self.say),
        )

    def _hand_out(self, folder: Path, began: int, began_ns: int) -> None:
        self._environment.parsed_options.rtbench_run = {
            "folder": str(folder.resolve()),
            "began_utc_ns": began,
            "began_ns": began_ns,  # of CLOCK_MONOTONIC: workers are on this host
            "workers": self._worker_count,
            "warmup_s": self._planned.warmup_s,
            "host": socket.gethostname(),
            "identity": self._planned.identity,
        }

    def _start_worker(self) -> None:
        handed = self._environment.parsed_options.rtbench_run
        if handed is None:
            return  # its master could not start the run, and has said so
        folder = Path(handed["folder"])
        spool.check_reach(folder, handed["host"])
        self.prepare()
        if handed["identity"] != self._planned.identity:
            raise UsageError("this worker has other scripts or other targets than its master: it takes no part")
        workers, began, began_ns = (int(handed[name]) for name in ("workers", "began_utc_ns", "began_ns"))
        try:
            keyring = self._signed_in()
            if not spool.is_kept(folder):  # the run is over
                keyring.close()
                return
            with closed_on_failure(keyring):
                self._current.lifeline = folder
                worker = self._runner.worker_index
                arms = self._arms(keyring, worker, workers, began_ns)
                warmup_s = float(handed["warmup_s"])
                self._current.live = self._live(folder, worker, workers, began, began_ns, keyring, arms, warmup_s)
        except UsageError as error:  # its master could: without this worker the run is not what was asked for
            self.refuse(str(error))

    def _arms(self, keyring: Keyring, worker: int, workers: int, began_ns: int) -> list[Arm]:
        plan = self._planned
        return arms_of(plan.targets, plan.plays, keyring, plan.options.connect_rate, worker, workers, began_ns)

    def _live(
        self,
        folder: Path,
        worker: int,
        workers: int,
        began_utc_ns: int,
        began_ns: int,
        keyring: Keyring,
        arms: list[Arm],
        warmup_s: float,
    ) -> LiveRun:
        plan = self._planned
        return LiveRun(
            spool.spool_of(folder, worker),
            workers,
            began_utc_ns,
            began_ns,
            arms,
            plan.options,
            keyring,
            Spending(plan.prices.models, {target.label: target.terms for target in plan.targets}),
            sessions=_share(plan.sessions, worker, workers),
            warmup_s=warmup_s,
            fire=self._environment.events.request.fire,
            stop=self._request_stop,
            refuse=self.refuse,
        )

    def _refuse(self, problem: str) -> None:
        """A run that cannot start: one line, status 2, and no users."""
        self.say(problem)
        self._environment.process_exit_code = USAGE_STATUS
        gevent.spawn(self._runner.quit if self._headless else self._runner.stop)

    # Stop.

    def _request_stop(self, reason: str) -> None:
        """A LiveRun has a reason to end the test; it is called from within a session, so it must not block."""
        if isinstance(self._runner, WorkerRunner):
            self._runner.send_message(DONE if reason == ALL_DONE else STOP, {"reason": reason})
        elif not self._current.stopped:
            self._current.stopped = reason
            if reason != ALL_DONE:
                self.say(f"the run ends early: {reason}")
            if not self._current.ending:  # else somebody ends it already, and waits for the last sessions
                gevent.spawn(self._runner.quit if self._headless else self._runner.stop)

    def refuse(self, problem: str) -> None:
        """A user asks for what cannot be done: one line, however many do, and the run ends in order with status 2."""
        if isinstance(self._runner, WorkerRunner):
            self._runner.send_message(REFUSED, {"problem": problem})
        elif self._environment.process_exit_code != USAGE_STATUS:
            self._environment.process_exit_code = USAGE_STATUS
            if self._current.stopped or self._current.ending:
                self.say(problem)
            else:
                self._request_stop(problem)

    def _listen_to_peers(self) -> None:
        runner = self._runner
        if isinstance(runner, MasterRunner):
            runner.register_message(STOP, self._on_worker_stop)
            runner.register_message(DONE, self._on_worker_done)
            runner.register_message(REFUSED, self._on_worker_refused)
            runner.register_message(STANDING, lambda msg, **_: self._current.heard(msg.data))
        elif isinstance(runner, WorkerRunner):
            runner.register_message(DRAIN, self._on_master_drain, concurrent=True)

    def _on_worker_stop(self, msg: Any, **_: Any) -> None:
        self._request_stop(str(msg.data["reason"]))

    def _on_worker_refused(self, msg: Any, **_: Any) -> None:
        self.refuse(str(msg.data["problem"]))

    def _on_worker_done(self, msg: Any, **_: Any) -> None:
        self._workers_done.add(msg.node_id)
        if len(self._workers_done) >= self._worker_count:
            self._request_stop(ALL_DONE)

    def _on_master_drain(self, **_: Any) -> None:
        self._drain()
        self._finish()

    def _on_interrupt(self, *_: Any) -> None:
        """Ctrl-C ends the run in order; a second one abandons what is in flight. Called between two bytecodes."""
        current = self._current
        if current.ending:
            current.hurried = True
        else:
            current.ending = DRAINING
            current.stopped = current.stopped or INTERRUPTED
            gevent.spawn(self._runner.quit)

    def _drain(self) -> None:
        with self._closing:
            self._current.drain(self._longest_s)

    def _finish(self) -> None:
        with self._closing:
            self._current.finish()

    # What Locust is.

    @property
    def _runner(self) -> Any:
        return self._environment.runner

    @property
    def _headless(self) -> bool:
        return bool(self._environment.parsed_options.headless) or isinstance(self._runner, WorkerRunner)

    @property
    def _shows_tables(self) -> bool:
        """Whether how a run goes is Locust's to show."""
        options = self._environment.parsed_options
        return not self._headless or bool(options.locust_tables)

    @property
    def _worker_count(self) -> int:
        return int(self._runner.worker_count) if isinstance(self._runner, MasterRunner) else 1


def _share(sessions: int | None, worker: int, workers: int) -> int | None:
    """This worker's part of `--sessions`."""
    if sessions is None:
        return None
    return sessions // workers + (worker % workers < sessions % workers)
