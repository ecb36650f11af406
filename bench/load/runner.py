"""Locust from start to stop: which of its events makes what of a run.

    init             options and scripts are checked; what the user can mend ends the process with one line and status 2
    test_start       a run folder; a LiveRun wherever users run (alone, or in each worker)
    test_stopping    drain: no new turns, those in flight end by their own limits
    test_stop        the folder is closed and reported, in a child process
    quitting         the same, for an end that skips test_stop, and before Locust decides on its exit code
    quit             our summary, after Locust's own tables

A master makes the folder and hands it to its workers with Locust's options; workers on one host write into its spool.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from gevent.lock import RLock
from locust import events
from locust.runners import MasterRunner, WorkerRunner

from bench.clock import monotonic_ns, utc_ns
from bench.errors import USAGE_STATUS, BenchError, UsageError
from bench.load.closing import close_run, unfinished_workers
from bench.load.live import ALL_DONE, LiveRun
from bench.load.options import Options, add_options
from bench.load.plays import (
    MANY_SESSIONS,
    Play,
    Plays,
    check_cost,
    check_descriptors,
    check_port,
    check_shares,
    loaded_parts,
    longest_turn_s,
    prepared_plays,
    script_facts,
    script_notices,
    target_facts,
)
from bench.load.tasks import SessionTask
from bench.run import folder as files
from bench.run.provenance import opening_document
from bench.target.endpoint import resolve_target

WORKERS_START_NS, WORKERS_CLOSE_S = 10_000_000_000, 30.0
SEVERAL = "bench"
"""The scenario's name where there are several."""
DRAIN, STOP, DONE, REFUSED = "rtbench_drain", "rtbench_stop", "rtbench_done", "rtbench_refused"


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
    except BenchError as error:
        _say(str(error))
        _dismiss_workers(environment)
        sys.exit(USAGE_STATUS)
    listen = environment.events
    listen.test_start.add_listener(runs.on_test_start)
    listen.test_stopping.add_listener(runs.on_test_stopping)
    listen.test_stop.add_listener(runs.on_test_stop)
    listen.quitting.add_listener(runs.on_quitting)
    listen.quit.add_listener(runs.on_quit)


events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(_on_init)


@dataclass
class Current:
    """The run under way in this process: what it made, and how far its end is."""

    folder: Path | None = None
    """Of the process that made it; a worker only writes into it."""
    document: dict[str, Any] = field(default_factory=dict)
    live: LiveRun | None = None
    workers_done: set[str] = field(default_factory=set)
    stopped: str = ""
    ending: bool = False
    hurried: bool = False
    reported: bool = False
    summary: str = ""


class Runs:
    """The runs of one Locust process, one after another."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._current = Current()
        self._ran = False
        self._plays: Plays = {}
        self._closing = RLock()
        self._listen_to_peers()

    @property
    def live(self) -> LiveRun | None:
        return self._current.live

    @property
    def session_pause_s(self) -> float:
        return self._options.session_pause_s

    # What is to be run.

    def prepare(self) -> None:
        """Read the scripts, resolve the target, prepare what is sent. Raises BenchError for what the user can mend."""
        parsed = self._environment.parsed_options
        self._options = options = Options.of(parsed)
        parts = loaded_parts(self._environment.user_classes, self._environment)
        self._target = resolve_target(
            os.environ,
            url=options.url,
            dialect=options.dialect,
            api_key_env=options.api_key_env,
            ca=options.ca,
        )
        self._plays = prepared_plays(parts, self._target.dialect)
        users, processes = int(parsed.num_users or 1), max(1, int(parsed.processes or 1))
        self._sessions = check_cost(self._target, users, options.sessions, yes=options.yes)
        if parsed.headless:
            check_shares(users, self._sessions, processes)
        check_descriptors(users, processes)
        files.make_parent(options.runs)
        realtime = {user_class for user_class, _ in self._plays}
        if realtime == set(self._environment.user_classes) and not self._environment.stop_timeout:
            # users that a ramp-down stops finish their turn, too
            self._environment.stop_timeout = longest_turn_s(self._plays.values())

    def play_of(self, user_class: type, task: SessionTask) -> Play:
        return self._plays[user_class, task]

    # Locust's events.

    def on_test_start(self, **_: Any) -> None:
        if self._headless:
            signal.signal(signal.SIGINT, self._on_interrupt)
        self._current = Current()
        self._environment.process_exit_code = None
        try:
            if isinstance(self._runner, WorkerRunner):
                self._start_worker()
            else:
                self._start_run()
        except (BenchError, OSError) as error:
            self._refuse(str(error))

    def on_test_stopping(self, **_: Any) -> None:
        self._drain()

    def on_test_stop(self, **_: Any) -> None:
        self._finish()
        if isinstance(self._runner, WorkerRunner):
            self._environment.stop_timeout = 0  # a worker sleeps for so long before it is ready again
        if self._current.summary and not self._headless:
            print(self._current.summary, flush=True)

    def on_quitting(self, **_: Any) -> None:
        self._drain()
        self._finish()

    def on_quit(self, **_: Any) -> None:
        if self._current.summary and self._headless:
            print(self._current.summary, flush=True)

    # Start.

    def _start_run(self) -> None:
        if self._ran or not self._headless:  # a later run of the same process may have other options
            self.prepare()
        self._ran = True
        began = utc_ns()
        scenarios = sorted({play.scenario for play in self._plays.values()})
        scenario = scenarios[0] if len(scenarios) == 1 else SEVERAL
        folder = files.create(self._options.runs, scenario, began)
        notices = self._notices()
        self._current.document = opening_document(
            folder.name,
            scenario,
            began,
            vars(self._environment.parsed_options) | {"url": self._target.public_url if self._options.url else None},
            [target_facts(self._target)],
            script_facts(self._plays.values()),
            self._worker_count,
            notices,
        )
        files.write_document(folder, self._current.document)
        self._current.folder = folder
        for notice in notices:
            _say(notice)
        if isinstance(self._runner, MasterRunner):
            self._environment.parsed_options.rtbench_run = {
                "folder": str(folder.resolve()),
                "began_utc_ns": began,
                "workers": self._worker_count,
                "host": socket.gethostname(),
                "load": self._load(),
            }
        else:
            self._current.live = self._live(folder, 0, 1, began)

    def _notices(self) -> list[str]:
        capped = self._sessions is not None and self._options.sessions is None
        cap = f"no more than {MANY_SESSIONS} sessions are opened, for they may cost money: --yes lifts that"
        return [*self._target.notices, *([cap] if capped else []), *script_notices(self._plays.values())]

    def _start_worker(self) -> None:
        handed = self._environment.parsed_options.rtbench_run
        folder = Path(handed["folder"])
        if handed["host"] != socket.gethostname() or not folder.is_dir():
            raise UsageError(f"this worker cannot see the run folder {folder}: run workers on the master's host")
        self.prepare()
        if handed["load"] != self._load():
            raise UsageError("this worker has other scripts or another target than its master: it takes no part")
        workers, began = int(handed["workers"]), int(handed["began_utc_ns"])
        self._current.live = self._live(folder, self._runner.worker_index, workers, began)

    def _load(self) -> dict[str, str]:
        """What a run plays, and where: the same in all of its processes."""
        scripts = {play.script.name: play.script.digest for play in self._plays.values()}
        return scripts | {"target": self._target.public_url}

    def _live(self, folder: Path, worker: int, workers: int, began_utc_ns: int) -> LiveRun:
        options = self._options
        per_minute = self._target.connects_per_min if options.connect_rate is None else options.connect_rate
        return LiveRun(
            folder,
            worker,
            workers,
            began_utc_ns,
            self._target,
            options,
            sessions=_share(self._sessions, worker, workers),
            per_minute=per_minute / workers if per_minute else None,
            fire=self._environment.events.request.fire,
            stop=self._request_stop,
        )

    def _refuse(self, problem: str) -> None:
        """A run that cannot start: one line, status 2, and no users."""
        _say(problem)
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
                _say(f"the run ends early: {reason}")
            gevent.spawn(self._runner.quit if self._headless else self._runner.stop)

    def refuse(self, problem: str) -> None:
        """A user asks for what cannot be done: one line, however many do, and the run ends in order with status 2."""
        if isinstance(self._runner, WorkerRunner):
            self._runner.send_message(REFUSED, {"problem": problem})
        elif self._environment.process_exit_code != USAGE_STATUS:
            self._environment.process_exit_code = USAGE_STATUS
            if self._current.stopped or self._current.ending:
                _say(problem)
            else:
                self._request_stop(problem)

    def _listen_to_peers(self) -> None:
        runner = self._runner
        if isinstance(runner, MasterRunner):
            runner.register_message(STOP, self._on_worker_stop)
            runner.register_message(DONE, self._on_worker_done)
            runner.register_message(REFUSED, self._on_worker_refused)
        elif isinstance(runner, WorkerRunner):
            runner.register_message(DRAIN, self._on_master_drain, concurrent=True)

    def _on_worker_stop(self, msg: Any, **_: Any) -> None:
        self._request_stop(str(msg.data["reason"]))

    def _on_worker_refused(self, msg: Any, **_: Any) -> None:
        self.refuse(str(msg.data["problem"]))

    def _on_worker_done(self, msg: Any, **_: Any) -> None:
        self._current.workers_done.add(msg.node_id)
        if len(self._current.workers_done) >= self._worker_count:
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
            current.ending = True
            current.stopped = current.stopped or "interrupted"
            gevent.spawn(self._runner.quit)

    def _drain(self) -> None:
        with self._closing:
            self._current.ending = True
            live = self._current.live
            if self._current.folder is not None and isinstance(self._runner, MasterRunner):
                self._drain_workers(self._current.folder)
            elif live is not None and not live.closed:
                self._drain_own(live)

    @property
    def _longest_s(self) -> float:
        """How long turns in flight are waited for: `--stop-timeout` where it is given, else their own limits."""
        given = self._environment.parsed_options.stop_timeout
        return float(given) if given else longest_turn_s(self._plays.values())

    def _drain_own(self, live: LiveRun) -> None:
        live.ending = True
        if live.active and not isinstance(self._runner, WorkerRunner):
            _say(f"ending: {live.active} open sessions finish their turn; Ctrl-C abandons them")
        live.drain(self._longest_s, lambda: self._current.hurried)

    def _drain_workers(self, folder: Path) -> None:
        """Tell the workers, and wait until each has flushed its last row."""
        if not unfinished_workers(folder):
            return
        self._runner.send_message(DRAIN, {})
        until_ns = monotonic_ns() + int((self._longest_s + WORKERS_CLOSE_S) * 1e9)
        while unfinished_workers(folder) and monotonic_ns() < until_ns:
            gevent.sleep(0.1)

    def _finish(self) -> None:
        """Close what this process recorded; whoever made the folder closes the run. Does it once."""
        with self._closing:
            current = self._current
            if current.live is not None and not current.live.closed:
                current.live.close()
                if current.live.problem:
                    self._environment.process_exit_code = USAGE_STATUS
            if current.folder is not None and not current.reported:
                current.reported = True
                self._report(current, current.folder)

    def _report(self, current: Current, folder: Path) -> None:
        closed = close_run(folder, current.document, current.stopped or "its time was over, or its users were stopped")
        current.summary = closed.summary
        if closed.problem:
            _say(closed.problem)
            _say(f"what was recorded is in {folder}; when that is mended: rtbench report {folder}")
        if closed.status == USAGE_STATUS or self._environment.process_exit_code is None:
            self._environment.process_exit_code = closed.status

    # What Locust is.

    @property
    def _runner(self) -> Any:
        return self._environment.runner

    @property
    def _headless(self) -> bool:
        return bool(self._environment.parsed_options.headless) or isinstance(self._runner, WorkerRunner)

    @property
    def _worker_count(self) -> int:
        return int(self._runner.worker_count) if isinstance(self._runner, MasterRunner) else 1


def _share(sessions: int | None, worker: int, workers: int) -> int | None:
    """This worker's part of `--sessions`."""
    if sessions is None:
        return None
    return sessions // workers + (worker % workers < sessions % workers)


def _say(line: str) -> None:
    print(f"rtbench: {line}", file=sys.stderr, flush=True)
