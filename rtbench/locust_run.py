"""Starts what a command plays: a headless Locust run as users start one, and a simulator for it to call.

Each is a process of its own that ends with the command, and what it says last is told where it does not do its part.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.clock import monotonic_ns, monotonic_of
from bench.errors import INTERRUPTED_STATUS, INVALID_STATUS, USAGE_STATUS, UsageError
from bench.installation import child_environment, last_line, python_command, terminate
from bench.run import folder as files
from bench.units import NS_PER_S

T = TypeVar("T")
START_S, SIMULATOR_ENDS_S, POLL_S = 60.0, 30.0, 0.02
ENDED = (0, 1, INVALID_STATUS, INTERRUPTED_STATUS)
"""Exit statuses of a run that came to its end: good, with failed turns, invalid, interrupted, as levels are."""
SHOWN_OF_LOG = 300


@dataclass(frozen=True)
class LocustRun:
    """A run that was started. `log`: None: it prints to this terminal. `spawned_ns`: by CLOCK_MONOTONIC."""

    process: subprocess.Popen[bytes]
    log: Path | None = None
    spawned_ns: int = 0

    def begun(self, runs: Path, name: str = "") -> Path:
        """Its folder in `runs`, once it is there. Raises UsageError where the run, of this name, does not begin."""
        pattern = f"*-{name}/run.json" if name else "*/run.json"
        what = f"the run{name and f' of {name}'}"
        return _awaited(lambda: next(runs.glob(pattern), None), self.process, what, self.log).parent

    def began_ns(self, folder: Path) -> int:
        """Return when the run began, by CLOCK_MONOTONIC. Ask at once: run.json has UTC, a clock that can be set."""
        now_ns = monotonic_ns()
        told_ns = monotonic_of(int(files.read_document(folder)["started_utc_ns"]))
        return now_ns if told_ns is None else min(now_ns, max(self.spawned_ns, told_ns))

    def ended(self, folder: Path, within_s: float) -> str:
        """Wait until its folder is closed. Returns how it ended, where it did not come to its end; "" where it did."""
        try:
            status = self.process.wait(max(0.0, within_s))
        except subprocess.TimeoutExpired:
            return f"the run did not end within {within_s:.0f} s of its planned end"
        if status in ENDED and "validity" in files.read_document(folder):
            return ""
        return f"the run ended with status {status}" + (f": {last_words(self.log)}" if status == USAGE_STATUS else "")


@contextmanager
def locust_run(
    words: Sequence[str], environ: Mapping[str, str], *, log: Path | None = None, folder: Path | None = None
) -> Iterator[LocustRun]:
    """A run by Locust's command line `words`, in a working folder; it is killed where it outlasts the block.

    With a `log` it has no terminal, and Ctrl-C is for this process to act on; without one both are its own as well.
    """
    spawned_ns = monotonic_ns()
    with nullcontext() if log is None else log.open("wb") as output:
        process = subprocess.Popen(
            python_command("locust", *words),
            cwd=folder,
            env=child_environment(environ),
            stdin=None if log is None else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=log is not None,
        )
    try:
        yield LocustRun(process, log, spawned_ns)
    finally:
        terminate(process)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM is Ctrl-C within the block, so that what the command started ends as well."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def environment_without(environ: Mapping[str, str], *beginnings: str) -> dict[str, str]:
    """The environment without the variables whose names begin so: what is set for other runs does not reach a run."""
    return {name: value for name, value in environ.items() if not name.startswith(beginnings)}


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The simulator is on this machine, whatever way leads out of it."""
    return {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")}


@contextmanager
def simulator(*options: str) -> Iterator[dict[str, Any]]:
    """`rtbench simulate` in a process of its own, on a free port; yields what its ready file says."""
    with tempfile.TemporaryDirectory() as scratch:
        ready, log = Path(scratch) / "ready.json", Path(scratch) / "simulator.log"
        command = python_command("rtbench.cli.app", "simulate", "--port", "0", "--ready-file", str(ready), *options)
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, env=child_environment(os.environ)
            )
        try:
            _awaited(ready.exists, process, "the simulator", log)
            yield json.loads(ready.read_text())
        finally:
            process.send_signal(signal.SIGTERM)
            terminate(process, SIMULATOR_ENDS_S)


def _awaited(found: Callable[[], T | None], process: subprocess.Popen[bytes], what: str, log: Path | None) -> T:
    """What is found once a process has started. Raises UsageError where it ended before, or takes too long."""
    until_ns = monotonic_ns() + int(START_S * NS_PER_S)
    while not (known := found()):
        if process.poll() is not None or monotonic_ns() > until_ns:
            raise UsageError(f"{what} did not start: {last_words(log)}")
        time.sleep(POLL_S)
    return known


def last_words(printed: str | Path | None) -> str:
    """The end of the last line that a process printed, to us or to its log; None: it has neither."""
    text = printed.read_text(errors="replace") if isinstance(printed, Path) else printed
    return last_line(text or "")[-SHOWN_OF_LOG:]
