"""Plays one level: a headless Locust run as users start it, ended early once its answer is clear."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.capacity.document import LoadUnit
from bench.capacity.search import AFTER_RAMP_S, AROUND_S
from bench.capacity.spending import LOOKS
from bench.clock import monotonic_ns, utc_ns
from bench.errors import INVALID_STATUS, USAGE_STATUS, UsageError
from bench.run import folder as files
from bench.spawn import end, own_environment, python_command
from bench.units import NS_PER_S

CALLS_PER_SLOT_S = 300
"""Of calls that arrive, so long may each last before slots run out, where nobody says how many there are."""
START_S, POLL_S = 60.0, 0.2
END_S = 300.0
"""How long a run may take for its last turns, and for closing, before it is killed."""
ENDLESS_NS = 1 << 62
"""An instant that never comes."""
CLOSE_S = 10.0
"""So long before the end of a search turns in flight are abandoned, for the run to be closed by then."""
GUARD_S = 60.0
"""So much later the run ends by itself, should nobody be there to end it."""
ENDED = (0, 1, INVALID_STATUS)
"""Exit statuses of a run that came to its end: good, with failed turns, invalid."""


@dataclass(frozen=True)
class LevelTask:
    """A level to play: of `load` calls at a time, or calls a minute, for `load_s` seconds at most.

    `max_sessions`: of calls that arrive, how many may be in progress. `budget_usd`: what it may cost.
    """

    name: str
    load: int
    load_s: float
    ramp_s: float
    max_sessions: int | None = None
    budget_usd: float | None = None


@dataclass(frozen=True)
class Locust:
    """How runs are started: the Locust file, the options of the service and of the user, and where run folders go."""

    file: str
    by: LoadUnit
    runs: Path
    options: Sequence[str] = ()

    def words(self, task: LevelTask) -> list[str]:
        """The command line of a level's run."""
        warm_s = task.ramp_s + AFTER_RAMP_S
        load: dict[str, object] = {"--run-time": f"{task.load_s + GUARD_S:.0f}s", "--warmup": f"{warm_s:.0f}s"}
        if self.by == "sessions":
            load |= {"--users": task.load, "--spawn-rate": f"{task.load / task.ramp_s:.4g}", "--session-pause": 0}
        else:
            slots = task.max_sessions or max(1, round(task.load * CALLS_PER_SLOT_S / 60))
            load |= {"--arrivals": f"{task.load}/min", "--max-sessions": slots}
        if task.budget_usd is not None:
            load["--budget"] = f"{task.budget_usd:.6f}"
        own = [word for name, value in load.items() for word in (name, str(value))]
        place = ["--headless", "--name", task.name, "--runs", str(self.runs), "--loglevel", "WARNING"]
        return ["-f", self.file, *place, *own, *self.options]


@dataclass(frozen=True)
class PlayedLevel:
    """The run of a level that is over. `died`: how it ended, where it did not come to its end; "" where it did.

    `looks`: how often it was looked at while it went on. `cut`: whether turns in flight at its end were abandoned.
    """

    folder: Path
    died: str
    looks: int
    cut: bool = False


def play(
    locust: Locust, task: LevelTask, is_clear: Callable[[Path, int], bool], until_ns: int = ENDLESS_NS
) -> PlayedLevel:
    """Play a level. `is_clear`: whether the answer is clear at a look, of a folder; looks are numbered from 0.

    `until_ns`: when it must be over, on CLOCK_MONOTONIC. Its load ends AROUND_S before that, turns in flight are
    abandoned CLOSE_S before, and what is not closed then is killed.

    Raises UsageError where the run was refused. KeyboardInterrupt ends the run in order, and goes on.
    """
    log = locust.runs.with_name("logs") / f"{task.name}.log"
    log.parent.mkdir(exist_ok=True)
    with _running(locust, task, log) as process:
        folder = _when_begun(process, locust.runs, task.name, log)
        cut = False
        try:
            looks = _watched(process, folder, task.load_s, is_clear, _left_s(until_ns) - AROUND_S)
        finally:
            cut = _stopped(process, folder, min(END_S, _left_s(until_ns) - CLOSE_S))
            died = _ended(process, folder, log, min(END_S, _left_s(until_ns)))
    return PlayedLevel(folder, died, looks, cut)


def _left_s(until_ns: int) -> float:
    """How long it is until an instant of CLOCK_MONOTONIC."""
    return (until_ns - monotonic_ns()) / NS_PER_S


@contextmanager
def _running(locust: Locust, task: LevelTask, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The run's process, which ends with the block at the latest."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            python_command("locust", *locust.words(task)),
            env=environment_of_runs(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for this process to act on
        )
    try:
        yield process
    finally:
        end(process)


def _when_begun(process: subprocess.Popen[bytes], runs: Path, name: str, log: Path) -> Path:
    until_ns = monotonic_ns() + int(START_S * NS_PER_S)
    while not (begun := list(runs.glob(f"*-{name}/run.json"))):
        if process.poll() is not None or monotonic_ns() > until_ns:
            raise UsageError(f"the run of {name} did not start: {_last_line(log)}")
        time.sleep(POLL_S)
    return begun[0].parent


def _watched(
    process: subprocess.Popen[bytes],
    folder: Path,
    load_s: float,
    is_clear: Callable[[Path, int], bool],
    most_s: float,
) -> int:
    """Wait for the end of a level's time, or for a look at which its answer is clear. Returns the number of looks.

    The last look is not held here: it is at the run that is over. `most_s`: it ends so long from now at the latest.
    """
    began_ns = int(files.read_document(folder)["began_utc_ns"])
    end_s = (utc_ns() - began_ns) / NS_PER_S + most_s
    for number, part in enumerate(LOOKS):
        _wait_until(process, began_ns + int(min(part * load_s, end_s) * NS_PER_S))
        if part * load_s >= end_s:
            return number
        if process.poll() is not None:
            return number
        if part < 1 and is_clear(folder, number):
            return number + 1
    return len(LOOKS) - 1


def _wait_until(process: subprocess.Popen[bytes], at_utc_ns: int) -> None:
    while process.poll() is None and (left_s := (at_utc_ns - utc_ns()) / NS_PER_S) > 0:
        time.sleep(min(POLL_S, left_s))


def _stopped(process: subprocess.Popen[bytes], folder: Path, drain_s: float) -> bool:
    """End a run in order: turns in flight end. Returns whether those were abandoned that had not after so long."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(max(0.0, drain_s))
    except subprocess.TimeoutExpired:
        if files.read_document(folder).get("state") == "running":
            process.send_signal(signal.SIGINT)
            return True
    return False


def _ended(process: subprocess.Popen[bytes], folder: Path, log: Path, close_s: float) -> str:
    """Wait until the run's folder is closed. Returns how it ended, where it did not so."""
    try:
        status = process.wait(max(0.0, close_s))
    except subprocess.TimeoutExpired:
        return f"the run did not end within {END_S:.0f} s of its planned end"
    if status == USAGE_STATUS:
        return f"the run ended with status {status}: {_last_line(log)}"
    closed = "verdict" in files.read_document(folder)
    return "" if status in ENDED and closed else f"the run ended with status {status}"


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("rtbench: ")[-300:] if lines else "it printed nothing"


SHAPING = frozenset(
    f"LOCUST_{name}"
    for name in (
        *("USERS", "SPAWN_RATE", "RUN_TIME", "SESSIONS", "ARRIVALS", "MAX_SESSIONS", "STAGES", "WARMUP", "BUDGET"),
        *("NAME", "RUNS", "HEADLESS", "UNTIL_DECIDED", "SESSION_PAUSE"),
    )
)
"""Variables that say for other runs what the search says itself."""


def environment_of_runs(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what is set for other runs."""
    return own_environment({name: value for name, value in environ.items() if name not in SHAPING})


def own_options() -> frozenset[str]:
    """The options that the search gives itself."""
    return frozenset(name.replace("LOCUST_", "--").replace("_", "-").lower() for name in SHAPING)


def worker_count(document: Mapping[str, Any]) -> int:
    """How many processes played."""
    return int(document.get("workers") or 1)
