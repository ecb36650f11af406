"""The preparation of a search, and the headless Locust run of a ramp or a level, which ends early
if its answer is clear.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bench.base.clock import monotonic_ns
from bench.base.errors import UsageError
from bench.base.installation import child_environment, python_command
from bench.base.units import NS_PER_S
from bench.catalogue.pricing import dollars
from bench.load.lifecycle import SEARCH_SIGNAL
from bench.load.planning.command_line import locust_files
from bench.load.simulator_process import last_lines
from bench.record import folder as files
from bench.target.target_settings import ServiceOptions
from bench.transport.connect import is_refused
from bench.transport.interface import WEB_PORTS
from rtbench.capacity.document import SearchPlan
from rtbench.capacity.text import concurrent
from rtbench.capacity.verification import AFTER_RAMP_S, ANALYSES, AROUND_S
from rtbench.locust_run import environment_without, headless, locust_run

POLL_S = 0.2
END_S = 300.0
"""How many seconds a run may take to end its last turns and to finalize, before it is killed."""
NO_LIMIT_NS = 1 << 62  # an instant that is never reached
CLOSE_S = 10.0
"""How many seconds before the end of a search the open turns are abandoned, so that the run is
finalized in time."""
GUARD_S = 60.0
"""How many seconds after its planned end a run ends on its own, if the search has not ended it."""
DRY_RUN_S = 600.0


class LevelTask(NamedTuple):
    """A ramp or a level to run, of at most `load_s` seconds. `load` is the number of concurrent
    calls.

    - `stages` is the file of a load that changes, up to `load`.
    - `analyses` is the times of its analyses, as parts of `load_s`. The last one is 1.
    - `drain_s` is the time in which open turns may end after the load, and `clear_drain_s` after an
      analysis with a clear answer.
    """

    name: str
    load: int
    load_s: float
    ramp_s: float
    budget_usd: float | None = None
    stages: Path | None = None
    analyses: Sequence[float] = ANALYSES
    drain_s: float = END_S
    clear_drain_s: float = END_S


class LocustCommand(NamedTuple):
    """The command that starts a run. `options` are those that name the service, and those of the
    user.
    """

    files: Sequence[Path]
    runs: Path
    options: Sequence[str] = ()

    def arguments(self, task: LevelTask) -> list[str]:
        load: dict[str, object] = {"--session-pause": 0, "--name": task.name}
        shown = []
        if task.stages is not None:
            load["--stages"] = task.stages
            shown = ["--show-open-turns"]
        else:
            load |= {
                "--users": task.load,
                "--spawn-rate": f"{task.load / task.ramp_s:.4g}",
                "--run-time": f"{task.load_s + GUARD_S:.0f}s",
                "--warmup": f"{task.ramp_s + AFTER_RAMP_S:.0f}s",
            }
        if task.budget_usd is not None:
            load["--budget"] = f"{task.budget_usd:.6f}"
        file = locust_files(*self.files)[0]
        return [*headless(file, self.runs, load), *shown, *self.options]


class FinishedLevel(NamedTuple):
    """The run of a level that has ended, and the number of its interim analyses.

    `died` is how it ended if it did not reach its end; else "". `was_stopped` is True if open turns
    were abandoned.
    """

    folder: Path
    died: str
    analyses: int
    was_stopped: bool = False


def run_level(
    locust: LocustCommand,
    task: LevelTask,
    is_clear: Callable[[Path, int], bool],
    until_ns: int = NO_LIMIT_NS,
    killed_ns: int = NO_LIMIT_NS,
) -> FinishedLevel:
    """Run a level.

    - `is_clear` returns, for the folder and the number (from 0) of an interim analysis, whether the
      answer is clear.
    - `until_ns` is the planned end of the run, on CLOCK_MONOTONIC: the load ends `AROUND_S` before,
      and open turns are abandoned `CLOSE_S` before. The run is killed at `killed_ns`.

    Raise UsageError if the run was refused. KeyboardInterrupt propagates, after the run has ended
    normally.
    """
    log = locust.runs.with_name("logs") / f"{task.name}.log"
    log.parent.mkdir(exist_ok=True)
    with locust_run(locust.arguments(task), _environ(locust.files), log=log) as run:
        folder = run.wait_for_folder(locust.runs, task.name)
        was_stopped = False
        drain_s = task.drain_s
        number = signal.SIGINT
        try:
            latest_ns = until_ns - int(AROUND_S * NS_PER_S)
            start_ns = run.started_ns(folder)
            analyses, clear = _watched(run.process, folder, start_ns, task, is_clear, latest_ns)
            number = SEARCH_SIGNAL
            if clear:
                drain_s = task.clear_drain_s
        finally:
            drain_s = min(drain_s, _left_s(until_ns) - CLOSE_S)
            was_stopped = _stopped(run.process, folder, drain_s, number)
            died = run.wait_for_end(folder, min(END_S, _left_s(killed_ns)))
    return FinishedLevel(folder, died, analyses, was_stopped)


def _environ(script_files: Iterable[Path]) -> dict[str, str]:
    return environment_without(os.environ, *SHAPING) | locust_files(*script_files)[1]


def _left_s(until_ns: int) -> float:
    return (until_ns - monotonic_ns()) / NS_PER_S


def _watched(
    process: subprocess.Popen[bytes],
    folder: Path,
    start_ns: int,
    task: LevelTask,
    is_clear: Callable[[Path, int], bool],
    latest_ns: int,
) -> tuple[int, bool]:
    """Wait until a level's time is over, or its answer is clear. Return the number of interim
    analyses, and whether it is clear.

    On CLOCK_MONOTONIC, its load ends at `latest_ns` or earlier. The final analysis, after the run,
    does not count.
    """
    for number, fraction in enumerate(task.analyses):
        due_ns = start_ns + int(fraction * task.load_s * NS_PER_S)
        until_ns = min(due_ns, latest_ns)
        while process.poll() is None and (left_s := _left_s(until_ns)) > 0:
            time.sleep(min(POLL_S, left_s))
        if due_ns >= latest_ns or process.poll() is not None:
            return number, False
        if fraction < 1 and is_clear(folder, number):
            return number + 1, True
    return len(task.analyses) - 1, False


def _stopped(
    process: subprocess.Popen[bytes], folder: Path, drain_s: float, number: signal.Signals
) -> bool:
    """End a run normally by a signal. If turns are still open after `drain_s` seconds, abandon
    them and return True.
    """
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(max(0.0, drain_s))
    except subprocess.TimeoutExpired:
        if files.read_document(folder).get("state") == "running":
            process.send_signal(signal.SIGINT)
            return True
    return False


SHAPING = frozenset(
    f"LOCUST_{name}"
    for name in (
        "USERS",
        "SPAWN_RATE",
        "RUN_TIME",
        "SESSIONS",
        "ARRIVAL_RATE",
        "MAX_CONCURRENT",
        "STAGES",
        "WARMUP",
        "BUDGET",
        "NAME",
        "RUNS_DIR",
        "HEADLESS",
        "UNTIL_DECIDED",
        "SESSION_PAUSE",
    )
)
"""The environment variables that contain settings of a run which the search sets for each level
itself."""


def worker_count(document: Mapping[str, Any]) -> int:
    return int(document.get("workers") or 1)


class PreparedSearch(NamedTuple):
    """The command and the target of a search. `forecast` is that of
    `bench.load.runners.dry_run`, and `costs` has the lines about cost, which are printed first.
    """

    locust: LocustCommand
    target: str
    costs: Sequence[str]
    forecast: Mapping[str, Any]


CONNECT_S = 2.0


def refuse_closed_port(url: str) -> None:
    """Raise UsageError if no server listens at the URL of a server on this machine.

    Otherwise the first ramp would find it out, call by call.
    """
    parts = urlsplit(url)
    if parts.scheme not in WEB_PORTS:
        return
    host = parts.hostname or ""
    port = parts.port or WEB_PORTS[parts.scheme]
    if is_refused(host, port, CONNECT_S):
        raise UsageError(f"no server listens on {host} port {port}: start it, or check --url")


def prepare_search(
    service_options: ServiceOptions,
    script_files: Sequence[Path],
    plan: SearchPlan,
    runs: Path,
    options: Sequence[str],
    *,
    yes: bool,
) -> PreparedSearch:
    """Prepare a search. Raise UsageError if it is impossible, or if the service is billed and
    `yes` is False.
    """
    own = {name.replace("LOCUST_", "--").replace("_", "-").lower() for name in SHAPING}
    for word in options:
        name = word.partition("=")[0]
        if name in own or name in ("-u", "-r", "-t"):
            raise UsageError(f"the search sets {name} for each run: leave it out after --")
    arguments = [*service_options.arguments(), *options, *(["--yes"] if yes else [])]
    forecast = _dry_run(script_files, arguments)
    if len(forecast["targets"]) != 1:
        labels = ", ".join(target["name"] for target in forecast["targets"])
        raise UsageError(
            f"capacity calls one target, but several are selected: {labels}; name one with"
            " --targets"
        )
    (target,) = forecast["targets"]
    if target["max_calls"] is not None and plan.max > target["max_calls"]:
        raise UsageError(
            f"the ports for RTP are for {target['max_calls']} calls at the same time, but the"
            f" search has up to {plan.max}: use more ports (--rtp-ports), or lower --to"
        )
    if target["loopback"]:
        refuse_closed_port(str(target["url"]))
    if not target["loopback"] and not yes:
        amounts = "; ".join(cost_amounts(forecast, plan))
        raise UsageError(
            f"a search opens hundreds of sessions to {target['url']}, which may cost money"
            f" ({amounts}): add --yes to allow it, and --budget USD to limit the cost"
        )
    costs = [*forecast["notices"]]
    if not target["loopback"]:
        costs += cost_amounts(forecast, plan)
        costs += [] if plan.budget_usd is not None else ["--budget USD limits the cost"]
    return PreparedSearch(
        LocustCommand(script_files, runs, arguments),
        target["name"],
        costs,
        forecast,
    )


def cost_amounts(forecast: Mapping[str, Any], plan: SearchPlan) -> list[str]:
    """Return what a session costs, and what the whole search may cost at most, if that is known."""
    lines = [str(forecast["cost"])]
    session_s = forecast["session_s"]
    if forecast["session_usd"] is not None and session_s:
        calls = plan.max * plan.time_s / session_s
        usd = dollars(calls * forecast["session_usd"][1])
        lines.append(
            f"the search makes at most {calls:,.0f} calls for {usd} USD, if all of its time is"
            f" spent at {concurrent(plan.max)}"
        )
    return lines


def _dry_run(script_files: Sequence[Path], arguments: Sequence[str]) -> dict[str, Any]:
    """Return the plan of a run, with the cost of a session. Raise UsageError if the run is
    impossible.
    """
    locust_value = locust_files(*script_files)[0]
    command = python_command(
        "rtbench.capacity.dry_run", "-f", locust_value, "--headless", *arguments
    )
    environ = child_environment(_environ(script_files))
    named = ", ".join(map(str, script_files))
    try:
        process = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environ,
            check=False,
            timeout=DRY_RUN_S,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"{named} cannot be run: it was not planned within {DRY_RUN_S:.0f} s"
        ) from None
    lines = process.stdout.strip().splitlines()
    if process.returncode or not lines:
        raise UsageError(f"{named} cannot be run: {last_lines(process.stderr)}")
    forecast: dict[str, Any] = json.loads(lines[-1])
    return forecast
