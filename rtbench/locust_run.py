"""The headless Locust run that a command starts, as users start it.

The run ends with the command. If it does not start, the error contains the last line of its output.
"""

import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from bench.base.clock import monotonic_ns, monotonic_of
from bench.base.errors import (
    FAIL_STATUS,
    INTERRUPTED_STATUS,
    INVALID_STATUS,
    PASS_STATUS,
    USAGE_STATUS,
)
from bench.base.installation import child_environment, python_command, terminate
from bench.base.stop_signals import stop_signals
from bench.load.simulator_process import last_lines, wait_until
from bench.record import folder as files

ENDED = (PASS_STATUS, FAIL_STATUS, INVALID_STATUS, INTERRUPTED_STATUS)
"""The exit statuses of a run that reached its end. An interrupted run reached it too: a search
interrupts runs."""


class LocustRun(NamedTuple):
    """A started run. `log` is the file with its output; None if it prints to this terminal."""

    process: subprocess.Popen[bytes]
    log: Path | None = None
    spawned_ns: int = 0

    def wait_for_folder(self, runs: Path, name: str = "") -> Path:
        """Wait until the folder that this process writes exists. `name` is that of the run in
        messages. Raise UsageError if no run starts.
        """

        def own_folder() -> Path | None:
            folders = (path.parent for path in runs.glob("*/run.json"))
            return next((path for path in folders if self._writes(path)), None)

        return wait_until(own_folder, self.process, f"the run{name and f' of {name}'}", self.log)

    def _writes(self, folder: Path) -> bool:
        writer = files.read_document(folder).get("writer") or {}
        return bool(writer.get("pid") == self.process.pid)

    def started_ns(self, folder: Path) -> int:
        """Return when the run started (CLOCK_MONOTONIC). Call it early: run.json has UTC, which
        may be set later.
        """
        now_ns = monotonic_ns()
        recorded_ns = monotonic_of(int(files.read_document(folder)["started_utc_ns"]))
        return now_ns if recorded_ns is None else min(now_ns, max(self.spawned_ns, recorded_ns))

    def wait_for_end(self, folder: Path, within_s: float) -> str:
        """Wait until the run's folder is finalized. Return how the run ended; "" if it reached
        its end.
        """
        try:
            status = self.process.wait(max(0.0, within_s))
        except subprocess.TimeoutExpired:
            return f"the run did not end within {within_s:.0f} s after its planned end"
        document = files.read_document(folder)
        if status in ENDED and "validity" in document:
            return ""
        problem = document.get("refused") or last_lines(self.log)
        return f"the run ended with status {status}" + (
            f": {problem}" if status == USAGE_STATUS else ""
        )


def headless(files: object, runs: Path, options: Mapping[str, object]) -> list[str]:
    """Return the arguments of a headless run that prints only warnings. `runs` is the folder for
    its folder.
    """
    settings = {"-f": files, "--runs-dir": runs, "--loglevel": "WARNING", **options}
    return [*(str(word) for setting in settings.items() for word in setting), "--headless"]


@contextmanager
def locust_run(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    log: Path | None = None,
    folder: Path | None = None,
) -> Iterator[LocustRun]:
    """Run Locust in `folder`, and kill it at the end of the block if it has not ended.

    With a `log`, the run has no terminal, and only this process receives Ctrl-C. Otherwise both
    receive it.
    """
    spawned_ns = monotonic_ns()
    with nullcontext() if log is None else log.open("wb") as output:
        process = subprocess.Popen(
            python_command("rtbench.locust_process", *arguments),
            cwd=folder,
            env=child_environment(environ, captured=log is not None),
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
    """Treat SIGTERM and SIGHUP as Ctrl-C within the block, so that processes that the command
    started end as well.
    """

    def interrupt(number: int, _: object) -> None:
        if number == signal.SIGHUP:  # the shell and the kernel may both send it
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt)
        for number in stop_signals()
        if number != signal.SIGINT
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def environment_without(environ: Mapping[str, str], *beginnings: str) -> dict[str, str]:
    """Return the environment without the variables that begin with these prefixes. They are
    settings for other runs.
    """
    return {name: value for name, value in environ.items() if not name.startswith(beginnings)}


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without proxies, because the simulator is on this machine."""
    return {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")}
