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

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent
from gevent.lock import RLock
from locust import events
from locust.runners import MasterRunner, WorkerRunner

from bench.clock import monotonic_ns, utc_ns
from bench.errors import BenchError, UsageError
from bench.load.live import LiveRun, Play, script_facts, target_facts
from bench.load.options import Options, add_options
from bench.plan.frames import PreparedScript, prepare
from bench.plan.script import load_script
from bench.run import folder as files
from bench.run.provenance import opening_document
from bench.target.endpoint import Target, resolve_target

INVALID_STATUS, USAGE_STATUS = 4, 2
MANY_SESSIONS = 20
SPARE_DESCRIPTORS = 128
WORKERS_CLOSE_S = 30.0
SEVERAL = "bench"
"""The scenario's name where there are several."""
DRAIN, STOP, DONE = "rtbench_drain", "rtbench_stop", "rtbench_done"
ALL_DONE = "all sessions are done"


def _on_init(environment: Any, **_: Any) -> None:
    runs = Runs(environment)
    environment.rtbench = runs
    try:
        runs.prepare()
    except BenchError as error:
        _say(str(error))
        sys.exit(USAGE_STATUS)
    listen = environment.events
    listen.test_start.add_listener(runs.on_test_start)
    listen.test_stopping.add_listener(runs.on_test_stopping)
    listen.test_stop.add_listener(runs.on_test_stop)
    listen.quitting.add_listener(runs.on_quitting)
    listen.quit.add_listener(runs.on_quit)


events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(_on_init)


class Runs:
    """The runs of one Locust process, one after another."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self.live: LiveRun | None = None
        self._plays: dict[str, Play] = {}
        self._folder: Path | None = None
        self._stopped = ""
        self._summary = ""
        self._interrupted = self._hurried = self._stopping = self._reported = False
        self._workers_done: set[str] = set()
        self._closing = RLock()
        self._listen_to_peers()

    # What is to be run.

    def prepare(self) -> None:
        """Resolve the target and prepare every script. Raises BenchError for what the user can mend."""
        self._options = Options.of(self._environment.parsed_options)
        options = self._options
        self._target = resolve_target(
            os.environ,
            url=options.url,
            dialect=options.dialect,
            api_key_env=options.api_key_env,
            ca=options.ca,
        )
        self._plays = self._prepared_plays(self._target)
        self._check_size()

    def _prepared_plays(self, target: Target) -> dict[str, Play]:
        prepared: dict[Path, PreparedScript] = {}
        plays = {}
        for user in self._environment.user_classes:
            if (path := getattr(user, "script_path", None)) is None:
                continue  # a user of plain Locust in the same file
            script_path = path()
            if script_path not in prepared:
                prepared[script_path] = prepare(load_script(script_path), target.dialect)
            plays[user.__name__] = Play(user.scenario_name(), prepared[script_path])
        return plays

    def _check_size(self) -> None:
        """Refuse what would surprise: a large load on someone else's host, or more users than descriptors."""
        parsed, options = self._environment.parsed_options, self._options
        users = int(parsed.num_users or 1)
        if max(users, options.sessions or 0) > MANY_SESSIONS and not self._target.loopback and not options.yes:
            raise UsageError(
                f"this opens more than {MANY_SESSIONS} sessions to {self._target.host}, which may cost money: "
                "add --yes if that is meant"
            )
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        processes = max(1, int(parsed.processes or 1))
        needed = -(-users // processes) + SPARE_DESCRIPTORS
        if soft < needed <= hard or hard == resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
        elif needed > hard:
            raise UsageError(
                f"{users} users need {needed} file descriptors in a process, and the limit is {hard}: "
                "raise it with `ulimit -n`, or spread the users with --processes"
            )

    def play_of(self, user_class: type) -> Play:
        return self._plays[user_class.__name__]

    # Locust's events.

    def on_test_start(self, **_: Any) -> None:
        if self._headless:
            signal.signal(signal.SIGINT, self._on_interrupt)
        self._stopped = self._summary = ""
        self._interrupted = self._hurried = self._stopping = self._reported = False
        self._workers_done.clear()
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
        if self._summary and not self._headless:
            print(self._summary, flush=True)

    def on_quitting(self, **_: Any) -> None:
        self._drain()
        self._finish()

    def on_quit(self, **_: Any) -> None:
        if self._summary and self._headless:
            print(self._summary, flush=True)

    # Start.

    def _start_run(self) -> None:
        if self._folder is not None or not self._headless:  # a later run of the same process may have other options
            self.prepare()
        began = utc_ns()
        scenarios = sorted({play.scenario for play in self._plays.values()})
        scenario = scenarios[0] if len(scenarios) == 1 else SEVERAL
        self._folder = files.create(self._options.runs, scenario, began)
        self._document = opening_document(
            self._folder.name,
            scenario,
            began,
            vars(self._environment.parsed_options) | {"url": self._target.public_url if self._options.url else None},
            [target_facts(self._target)],
            script_facts(self._plays),
            self._worker_count,
            self._target.notices,
        )
        files.write_document(self._folder, self._document)
        for notice in self._target.notices:
            _say(notice)
        if isinstance(self._runner, MasterRunner):
            self._environment.parsed_options.rtbench_run = {
                "folder": str(self._folder.resolve()),
                "began_utc_ns": began,
                "workers": self._worker_count,
                "host": socket.gethostname(),
            }
        else:
            self.live = self._live(self._folder, 0, 1, began)

    def _start_worker(self) -> None:
        handed = self._environment.parsed_options.rtbench_run
        folder = Path(handed["folder"])
        if handed["host"] != socket.gethostname() or not folder.is_dir():
            raise UsageError(f"this worker cannot see the run folder {folder}: run workers on the master's host")
        self.prepare()
        self.live = self._live(folder, self._runner.worker_index, int(handed["workers"]), int(handed["began_utc_ns"]))

    def _live(self, folder: Path, worker: int, workers: int, began_utc_ns: int) -> LiveRun:
        options = self._options
        per_minute = self._target.default_connect_rate_per_min if options.connect_rate is None else options.connect_rate
        return LiveRun(
            folder,
            worker,
            began_utc_ns,
            self._target,
            sessions=_share(options.sessions, worker, workers),
            per_minute=per_minute / workers if per_minute else None,
            pause_s=options.session_pause_s,
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
        elif not self._stopping:
            self._stopping = True
            self._stopped = reason
            if reason != ALL_DONE:
                _say(f"the run ends early: {reason}")
            gevent.spawn(self._runner.quit if self._headless else self._runner.stop)

    def _listen_to_peers(self) -> None:
        runner = self._runner
        if isinstance(runner, MasterRunner):
            runner.register_message(STOP, self._on_worker_stop)
            runner.register_message(DONE, self._on_worker_done)
        elif isinstance(runner, WorkerRunner):
            runner.register_message(DRAIN, self._on_master_drain, concurrent=True)

    def _on_worker_stop(self, msg: Any, **_: Any) -> None:
        self._request_stop(str(msg.data["reason"]))

    def _on_worker_done(self, msg: Any, **_: Any) -> None:
        self._workers_done.add(msg.node_id)
        if len(self._workers_done) >= self._worker_count:
            self._request_stop(ALL_DONE)

    def _on_master_drain(self, **_: Any) -> None:
        self._drain()
        self._finish()

    def _drain(self) -> None:
        with self._closing:
            if isinstance(self._runner, MasterRunner):
                self._drain_workers()
            elif self.live is not None and not self.live.closed:
                self._drain_own(self.live)

    def _drain_own(self, live: LiveRun) -> None:
        live.ending = True
        if live.active and not isinstance(self._runner, WorkerRunner):
            _say(f"ending: {live.active} sessions finish their turn; Ctrl-C abandons them")
        live.drain(lambda: self._hurried)

    def _drain_workers(self) -> None:
        """Tell the workers, and wait until each has flushed its last row."""
        if self._folder is None or not self._unfinished_workers():
            return
        self._runner.send_message(DRAIN, {})
        limits = [play.script.limits for play in self._plays.values()]
        longest_s = max((limit.first_delta + limit.done for limit in limits), default=0.0) + WORKERS_CLOSE_S
        until_ns = monotonic_ns() + int(longest_s * 1e9)
        while self._unfinished_workers() and monotonic_ns() < until_ns:
            gevent.sleep(0.1)

    def _unfinished_workers(self) -> list[Path]:
        assert self._folder is not None
        counters = (self._folder / "spool").glob("worker-*.json")
        return [path for path in counters if '"done": false' in path.read_text(encoding="utf-8")]

    def _on_interrupt(self, *_: Any) -> None:
        """Ctrl-C ends the run in order; a second one abandons what is in flight. Called between two bytecodes."""
        if self._interrupted:
            self._hurried = True
        else:
            self._interrupted = True
            self._stopped = self._stopped or "interrupted"
            gevent.spawn(self._runner.quit)

    def _finish(self) -> None:
        """Close what this process recorded; whoever made the folder closes the run. Does it once."""
        with self._closing:
            if self.live is not None and not self.live.closed:
                self.live.close()
                if self.live.problem:
                    self._environment.process_exit_code = USAGE_STATUS
            if self._folder is not None and not self._reported:
                self._reported = True
                self._close_run(self._folder)

    def _close_run(self, folder: Path) -> None:
        """Parquet, histograms, verdict and report are made in a child, for this process's loop must not stand still."""
        self._document |= {
            "state": "closing",
            "ended_utc_ns": utc_ns(),
            "stopped": self._stopped or "its time was over, or its users were stopped",
        }
        with contextlib.suppress(OSError):  # a full disk was reported; the document of the start is still there
            files.write_document(folder, self._document)
        colour = {"FORCE_COLOR": "1"} if sys.stdout.isatty() and "NO_COLOR" not in os.environ else {}
        child = subprocess.run(
            [sys.executable, "-m", "bench.cli.app", "report", str(folder)],
            capture_output=True,
            text=True,
            start_new_session=True,  # Ctrl-C is not for it
            env=os.environ | colour,
            check=False,
        )
        if child.returncode not in (0, INVALID_STATUS):
            said = child.stderr.strip().splitlines() or ["the report could not be made"]
            _say(said[-1].removeprefix("rtbench: "))
            _say(f"nothing recorded is lost; when that is mended: rtbench report {folder}")
            self._environment.process_exit_code = USAGE_STATUS
            return
        self._summary = child.stdout.rstrip("\n")
        verdict = files.read_document(folder).get("verdict") or {}
        if verdict.get("valid") is False and self._environment.process_exit_code is None:
            self._environment.process_exit_code = INVALID_STATUS

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
