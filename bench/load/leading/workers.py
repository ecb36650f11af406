"""Divides runs between a master, which leads them and plays nothing, and its workers, which play.

A master makes the folder and hands it to its workers with Locust's options; workers on one host write into its spool,
and tell their master each second how they stand.
"""

from __future__ import annotations

import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import gevent

from bench.clock import monotonic_ns
from bench.errors import USAGE_STATUS, UsageError
from bench.load.leading import lifeline
from bench.load.leading.lead import Lead
from bench.load.leading.runs import DRAINING, Runs
from bench.load.planning.environment import Environment
from bench.load.playing.arm import Arm, arms_of
from bench.load.playing.live import ALL_DONE
from bench.load.playing.place import Place
from bench.load.playing.progress import ProgressReport
from bench.run import spool
from bench.run.part import parts
from bench.target.tokens import Keyring, closed_on_failure
from bench.units import NS_PER_S

WORKERS_START_NS = 10 * NS_PER_S
WORKERS_CLOSE_S = 30.0
HERE, STOP, DONE = "rtbench_here", "rtbench_stop", "rtbench_done"
REFUSED, STANDING = "rtbench_refused", "rtbench_standing"
"""What workers send to their master."""
DRAIN = "rtbench_drain"
"""What a master sends to its workers."""


class Master(Lead):
    """The runs of a master."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._done: set[str] = set()
        """The workers whose sessions are done."""
        self._here: set[str] = set()
        """The workers that can be told to quit."""
        listen = environment.runner.register_message
        listen(HERE, lambda msg, **_: self._here.add(msg.node_id))
        listen(STOP, lambda msg, **_: self.request_stop(str(msg.data["reason"])))
        listen(DONE, self._on_worker_done)
        listen(REFUSED, lambda msg, **_: self.refuse(str(msg.data["problem"])))
        listen(STANDING, lambda msg, **_: self._on_standing(msg.data))

    @property
    def _workers(self) -> int:
        return int(self._environment.runner.worker_count)

    def give_up(self) -> NoReturn:
        """Dismiss the workers of `--processes` first, which would else wait a minute for their master.

        One that Locust counts may still be starting: told to quit then, it would do so, go on starting, and never end.
        """
        runner, processes = self._environment.runner, self._environment.parsed_options.processes
        if processes:
            until_ns = monotonic_ns() + WORKERS_START_NS
            while len(self._here) < processes and monotonic_ns() < until_ns:
                gevent.sleep(0.05)
            runner.quit()
        super().give_up()

    def _start(self) -> None:
        self._done = set()
        super()._start()

    def _let_play(self, folder: Path, place: Place, arms: list[Arm], keyring: Keyring) -> None:
        """Hand the run to the workers."""
        lifeline.hold(folder)
        keyring.close()  # its workers sign in themselves
        self._environment.parsed_options.rtbench_run = {
            "folder": str(folder.resolve()),
            "place": asdict(place),  # workers are on this host, so they share CLOCK_MONOTONIC
            "host": socket.gethostname(),
            "identity": self._planned.identity,
        }

    def _on_worker_done(self, msg: Any, **_: Any) -> None:
        self._done.add(msg.node_id)
        if len(self._done) >= self._workers:
            self.request_stop(ALL_DONE)

    def _on_standing(self, report: Any) -> None:
        watch = self._current.watch
        if watch is not None:
            watch.heard(int(report["worker"]), ProgressReport(**report["standing"]), report["held_s"])
            self._keep_budget(watch)

    def _drain_sessions(self) -> None:
        """Tell the workers to end, and wait until each has flushed its last row."""
        folder = self._current.folder
        if folder is None or not _unfinished(folder):
            return
        self._environment.runner.send_message(DRAIN, {})
        until_ns = monotonic_ns() + int((self._longest_s + WORKERS_CLOSE_S) * NS_PER_S)
        while _unfinished(folder) and monotonic_ns() < until_ns:
            gevent.sleep(0.1)


def _unfinished(folder: Path) -> bool:
    """Whether a worker still has something to flush."""
    return any(part.unfinished for part in parts(folder))


class Worker(Runs):
    """The runs of a worker: its users play."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.runner.register_message(DRAIN, self._on_master_drain, concurrent=True)
        environment.runner.send_message(HERE, {})

    def open(self) -> None:
        """Do nothing: its master says what is to be done."""

    def _start(self) -> None:
        handed = self._environment.parsed_options.rtbench_run
        if handed is None:
            return  # its master could not start the run, and has said so
        folder = Path(handed["folder"])
        spool.check_reach(folder, handed["host"])
        self.prepare()
        if handed["identity"] != self._planned.identity:
            raise UsageError("this worker has other scripts or other targets than its master: it takes no part")
        try:
            keyring = self._signed_in()
            if not spool.is_kept(folder):  # the run is over
                keyring.close()
                return
            with closed_on_failure(keyring):
                self._current.folder = folder
                place = Place(**handed["place"] | {"worker": self._environment.runner.worker_index})
                self._go_live(folder, place, arms_of(self._planned, keyring, place), keyring)
        except UsageError as error:  # its master could: without this worker the run is not what was asked for
            self.refuse(str(error))

    def _look(self) -> None:
        folder, live = self._current.folder, self._current.live
        if folder is not None and lifeline.is_cut(folder):
            self._leave(folder)
        elif live is not None:
            report = {"standing": asdict(live.standing()), "held_s": live.held_s()}
            runner = self._environment.runner
            runner.send_message(STANDING, report | {"worker": runner.worker_index})

    def _leave(self, folder: Path) -> None:
        """End without a master, and abandon what is in flight: it costs money that nobody counts."""
        self._current.hurried = True
        if not self._current.ending:
            self._current.ending = DRAINING
            where = f"what was recorded is in {folder}: rtbench report {folder}" if folder.exists() else f"{folder} too"
            self.say(f"worker {self._environment.runner.worker_index} ends, for its master is gone; {where}")
            self._environment.process_exit_code = USAGE_STATUS
            gevent.spawn(self._environment.runner.quit)

    def request_stop(self, reason: str) -> None:
        self._environment.runner.send_message(DONE if reason == ALL_DONE else STOP, {"reason": reason})

    def refuse(self, problem: str) -> None:
        self._environment.runner.send_message(REFUSED, {"problem": problem})

    def _on_master_drain(self, **_: Any) -> None:
        self._drain()
        self._finish()

    def on_test_stop(self, **_: Any) -> None:
        super().on_test_stop()
        self._environment.stop_timeout = 0  # a worker sleeps for so long before it is ready again

    @property
    def _headless(self) -> bool:
        return True
