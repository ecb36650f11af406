"""Runs tests in processes that are forked once all tests are collected: what they import is imported once.

`python -m pytest -p tests.forked.workers --workers N`. Workers take a file each, in the order of the collection, until
none is left, so what a module's fixture makes is made once. Of xdist's workers each collects by itself, which takes
longer than any file of the small circle: with these it costs nothing to have more workers than cores.

A worker that dies is replaced: the test in which it died has failed, and so has what it had taken and did not run.
One whose test runs for `faulthandler_timeout` is ended so, and says where it was. Its parent looks at the clock: pytest
does that for each test in a thread of its own, which costs as much as a test.
With --pdb and --trace there are no workers, for one process has the terminal.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from multiprocessing.connection import Connection, Pipe, wait

import pytest

NUMBER = struct.Struct("=i")
Items = list[pytest.Item]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--workers", type=int, default=0, help="fork so many processes, which run the tests")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    option = session.config.option
    if not option.workers or option.collectonly or option.usepdb or option.trace or session.testsfailed:
        return None
    crew = Crew(session)
    try:
        for _ in range(option.workers):
            crew.begin_worker()
        for report in crew.reports():
            session.config.hook.pytest_runtest_logreport(report=report)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
    finally:
        crew.end()
    return True


class Crew:
    """The workers of a run, as they are seen by the process that forks them."""

    def __init__(self, session: pytest.Session) -> None:
        self.session = session
        self.files = [list(items) for _, items in groupby(session.items, key=lambda item: item.path)]
        self.todo, more = os.pipe()
        os.set_blocking(more, False)  # the pipe holds 16,000 numbers; who has more files fails here, and does not hang
        for number in range(len(self.files)):
            os.write(more, NUMBER.pack(number))
        os.close(more)
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # in which each has its own
        self.longest_s = float(session.config.getini("faulthandler_timeout") or 0) or None
        self.begun = 0
        self.workers: dict[Connection, Worker] = {}

    def begin_worker(self) -> None:
        worker = Worker(self.session, self.files, self.todo, self.begun)
        self.workers[worker.said] = worker
        self.begun += 1

    def reports(self) -> Iterator[pytest.TestReport]:
        """Of every test, as they come; of one that no worker survived, and of those it left, that they failed."""
        items = self.session.items
        untold: dict[int | None, pytest.Item] = dict(enumerate(items))
        died = []
        while self.workers:
            for worker in self.workers.values():
                if self.longest_s and worker.said_s + self.longest_s <= time.monotonic():
                    worker.said_s = math.inf
                    os.kill(worker.pid, signal.SIGABRT)  # of which faulthandler tells
            for said in wait(list(self.workers), self.longest_s):
                worker = self.workers[said]  # type: ignore[index]
                try:
                    told = worker.said.recv()
                except (EOFError, OSError):  # the latter in the middle of a message
                    del self.workers[worker.said]
                    status = worker.ended()
                    if worker.place is None:
                        raise RuntimeError(f"a worker died before its first test (status {status})") from None
                    item = items[worker.place]
                    died.append(item.nodeid)
                    ended = f" after {self.longest_s:g} s" if worker.said_s == math.inf else ""
                    told = [_failure(item, f"the worker died in it{ended} (status {status})")]
                    self.begin_worker()
                worker.said_s = time.monotonic()
                if told is None:
                    del self.workers[worker.said]
                    worker.ended()
                elif isinstance(told, int):
                    worker.place = told
                else:
                    untold.pop(worker.place, None)
                    yield from told
        for item in untold.values():
            yield _failure(item, f"not run: the worker that had taken it died in {' or '.join(died)}")

    def end(self) -> None:
        """Of those that are left, without delay: one of them may hang."""
        os.close(self.todo)
        for worker in self.workers.values():
            os.kill(worker.pid, signal.SIGKILL)
            worker.ended()


def _failure(item: pytest.Item, why: str) -> pytest.TestReport:
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call")


class Worker:
    """A forked process that takes files from `todo`.

    It says the place of each test that it begins, then that test's reports; None once no file is left.
    """

    place: int | None = None
    """The test in which it is, or was last."""
    said_s: float
    """When it last said something, by the monotonic clock."""

    def __init__(self, session: pytest.Session, files: Sequence[Items], todo: int, number: int) -> None:
        self.said, theirs = Pipe(duplex=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: those of numpy and Arrow know of forks
            self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                self.said.close()
                _work(session, files, todo, theirs, number)
                status = 0
            except KeyboardInterrupt:  # of which its parent tells
                pass
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        theirs.close()
        self.said_s = time.monotonic()

    def ended(self) -> int:
        """Its exit status; a signal is negative."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


class Told:
    """The reports of a test that runs here, for whoever prints them."""

    def __init__(self) -> None:
        self.reports: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)


def _work(session: pytest.Session, files: Sequence[Items], todo: int, said: Connection, number: int) -> None:
    """What a worker does: the tests of each file."""
    atexit._clear()  # what its parent began its parent ends
    factory, capture = session.config._tmp_path_factory, session.config.pluginmanager.getplugin("capturemanager")  # type: ignore[attr-defined]
    factory._basetemp = factory.getbasetemp() / f"worker-{number}"
    factory._basetemp.mkdir(mode=0o700)
    capture.stop_global_capturing()  # its files have one place with its parent's
    capture.start_global_capturing()
    capture.suspend_global_capture()
    for plugin in ("terminalreporter", "faulthandler"):
        session.config.pluginmanager.unregister(name=plugin)
    told = Told()
    session.config.pluginmanager.register(told)
    places = {item: at for at, item in enumerate(session.items)}
    for item, following in _with_next(item for file in _taken(files, todo) for item in file):
        said.send(places[item])
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        said.send(told.reports)
        told.reports = []
    capture.stop_global_capturing()
    atexit._run_exitfuncs()
    said.send(None)


def _taken(files: Sequence[Items], todo: int) -> Iterator[Items]:
    while got := os.read(todo, NUMBER.size):
        yield files[NUMBER.unpack(got)[0]]


def _with_next(items: Iterator[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    """Each with the one after it, by which pytest knows what to tear down."""
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        yield item, following
        item = following
