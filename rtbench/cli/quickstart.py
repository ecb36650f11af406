"""The run of `rtbench quickstart`: shipped scenarios in one Locust process, with the simulator
or a named service.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from bench.base.clock import monotonic_ns
from bench.base.cpu import core_count, cpu_limit, cpu_times, load_average, shares
from bench.base.errors import (
    FAIL_STATUS,
    INTERRUPTED_STATUS,
    INVALID_STATUS,
    PASS_STATUS,
    UsageError,
)
from bench.base.installation import EXAMPLES
from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import CANCELLED_SPLIT, NO_REPLY
from bench.load.planning.command_line import COMMAND, program
from bench.load.planning.cost_estimate import estimate_text, session_cost
from bench.plan.script import load_script
from bench.record.document import INTERRUPTED
from bench.record.validity import LOAD_GENERATOR_CHECKS
from bench.target.price_table import load_price_table
from bench.target.target import Target
from bench.target.target_settings import ServiceOptions
from bench.target.targets import TARGET_FILE, resolve_targets
from bench.target.unread_variables import ENDPOINT
from reports.formatting import capitalize, join_words, plural
from rtbench.cli.service import called_simulator
from rtbench.locust_run import environment_without, headless, locust_run

if TYPE_CHECKING:
    from reports.analysis.summary.summary import Summary

RUN_S = 3_600.0
OF_RESULTS = ("reports.analysis.summary.summary", "reports.text.cells")
"""The modules that are needed after the run, and are imported in a second while it starts."""


@dataclass(frozen=True)
class DemoLoad:
    """The scenarios of a quick run, and their load with each target."""

    scenarios: tuple[str, ...]
    users: int
    spawn_rate: int
    sessions: int
    played_failures: frozenset[str] = frozenset()
    """The outcomes that fail turns and sessions, but not the quick run, because the simulated
    service plays them."""

    def arguments(self, runs: Path) -> list[str]:
        files = ",".join(str(EXAMPLES / f"{name}.py") for name in self.scenarios)
        load = {
            "--users": self.users,
            "--spawn-rate": self.spawn_rate,
            "--sessions": self.sessions,
        }
        return headless(files, runs.resolve(), load)


SIMULATED = DemoLoad(
    ("quickstart",),
    users=135,
    spawn_rate=27,
    sessions=135,
    played_failures=frozenset({CANCELLED_SPLIT, NO_REPLY}),
)
"""The load with at least two free cores: a third each of calls with an interruption, spoken calls,
and typed calls, of four turns. A p95 needs 45 calls of each kind."""
IGNORED = "The exit status of this first run ignores the failures that the simulated service plays."
CALLS_PER_CORE = 75
MIN_USERS = 60
NONE_FREE = 0.1
"""The number of free cores below which none counts as free."""
RAMP_S = 5
OBSERVED_S = 0.5
BILLED = DemoLoad(("voice_turns",), users=3, spawn_rate=1, sessions=6)
"""The load on a billed service: as many sessions as a median needs."""


def quick_run(
    service_options: ServiceOptions, *, yes: bool, runs: Path, sessions: int | None = None
) -> int:
    """Run the demo. Return its exit status; 0 if the user rejects its cost. `sessions` is None
    for the default.
    """
    if not service_options.simulator and (service_options.targets or os.environ.get(ENDPOINT)):
        file = (service_options.target_file or TARGET_FILE).resolve()
        target_options = (
            replace(service_options, target_file=file)
            if service_options.targets
            else ServiceOptions()
        )
        return _run_billed(
            replace(BILLED, sessions=sessions or BILLED.sessions), target_options, runs, yes=yes
        )
    load = fitting_load(spare := spare_cores())
    with nullcontext() if service_options.simulator else called_simulator():
        if load.users < SIMULATED.users:
            print(fewer_at_a_time(load, spare), flush=True)
        load = replace(load, sessions=sessions or load.sessions)
        return _run_and_explain(load, runs, "--simulator")


def fewer_at_a_time(load: DemoLoad, spare: float) -> str:
    """Return why fewer calls run at a time than on an idle machine."""
    others = (os.cpu_count() or 1) - core_count()
    reserved = (
        f" (the machine has {plural(others, 'more core')} that this process may not use)"
        if others > 0
        else ""
    )
    cores = plural(core_count(), "core")
    are = "is" if core_count() == 1 else "are"
    free = (
        f"Other programs use {'the' if core_count() == 1 else 'all'} {cores}"
        if spare < NONE_FREE
        else f"{spare:.1f} of {cores} {are} free"
    )
    advice = "Stop other programs now" if load.users > CALLS_PER_CORE * spare else "Start no others"
    return (
        f"{free}{reserved}, so {load.users} calls run at a time instead of {SIMULATED.users}. The"
        f" run lasts up to two minutes.\n{advice}: if they delay the run, it is INVALID."
    )


def uncertain_run_text(summary: Summary) -> str:
    """Return the last lines of a quick run whose values are uncertain: the tool works, and the
    cause.
    """
    from reports.text import cells, phrases

    turns = summary.endings.started
    failed = summary.endings.failed
    how = f"{plural(failed, 'turn')} failed (see above)" if failed else "none failed"
    failed_checks = summary.validity.failed
    failures = [
        f"{phrases.CHECKS[check.name].failure} ({phrases.check_values(check)})"
        for check in failed_checks
    ]
    remedy = join_words(list(dict.fromkeys(check.remedy for check in failed_checks)))
    return (
        f"The tool works: it measured {plural(turns, 'turn')}; {how}.\n"
        f"{capitalize(cells.cause(summary))}, so the values above are uncertain:"
        f" {join_words(failures)}.\n"
        f"Do not use them as a measurement. For a valid one: {remedy}."
    )


def _run_billed(load: DemoLoad, service_options: ServiceOptions, runs: Path, *, yes: bool) -> int:
    targets = resolve_targets(os.environ, service_options)
    urls = " and ".join(target.public_url for target in targets)
    load_text = f"{' and '.join(load.scenarios)}, {_amount(load, targets)}"
    print(f"This calls {urls} with {load_text}: {_cost(load, targets)}.", flush=True)
    if not yes and not _confirm():
        print(
            "No call was made. Add --yes to skip this question, or --simulator to call the"
            " simulator."
        )
        return 0
    return _run_and_explain(load, runs, *service_options.arguments(), "--yes")


def spare_cores() -> float:
    """Return how many of the cores that this process may use are free."""
    start = cpu_times()
    time.sleep(OBSERVED_S)
    end = cpu_times()
    cores = min(core_count(), cpu_limit() or math.inf)
    if start is None or end is None or end.all_s <= start.all_s:
        return max(0.0, cores - (load_average() or 0.0))
    return (1 - shares(start, end)[-1]) * cores


def fitting_load(spare: float) -> DemoLoad:
    """Return the load for `spare` free cores. It has as many calls as `SIMULATED`, but perhaps
    fewer at a time.
    """
    users = max(MIN_USERS, min(SIMULATED.users, int(CALLS_PER_CORE * spare)))
    return replace(SIMULATED, users=users, spawn_rate=math.ceil(users / RAMP_S))


def _run_and_explain(load: DemoLoad, runs: Path, *options: str) -> int:
    """Run the load, and return the exit status.

    If only checks of the load generator failed, the run is not INVALID, because a quick run is not
    a gate. If only failures occurred that the simulated service plays, it has not failed.
    """
    before = set(runs.glob("*"))
    status = _locust(load, runs, *options)
    made = sorted(set(runs.glob("*")) - before)
    if status not in (FAIL_STATUS, INVALID_STATUS) or len(made) != 1:
        return status
    from reports.analysis.summary.summary import summarise
    from reports.data.runs import load_frames as load_run

    summary = summarise(load_run(made[0]))
    failures = {
        end.outcome
        for end in (*summary.endings.turns, *summary.endings.sessions)
        if end.kind == "failed"
    }
    checks = summary.validity.failed
    if status == INVALID_STATUS and (
        not checks or {check.name for check in checks} - LOAD_GENERATOR_CHECKS.keys()
    ):
        return status
    explained = [IGNORED] if failures & load.played_failures else []
    if status == INVALID_STATUS:
        explained.append(uncertain_run_text(summary))
    if explained:
        print("\n".join([*explained, str(summary.run.folder / "report.html")]), flush=True)
    if status == INVALID_STATUS and summary.run.metadata.get("stop_reason") == INTERRUPTED:
        return INTERRUPTED_STATUS
    is_explained = failures <= load.played_failures and (bool(failures) or status == INVALID_STATUS)
    return PASS_STATUS if is_explained else FAIL_STATUS


def _amount(load: DemoLoad, targets: Sized) -> str:
    """Return the number of sessions as text. With several targets, a user runs a pair: one
    session on each.
    """
    if len(targets) == 1:
        return f"{load.sessions} sessions, {load.users} at a time"
    return (
        f"{load.sessions} sessions on each of {len(targets)} targets, {load.users} pairs at a time"
    )


def _cost(load: DemoLoad, targets: Iterable[Target]) -> str:
    table = load_price_table(None)
    scripts = [load_script(EXAMPLES / "scripts" / f"{name}.yaml") for name in load.scenarios]
    return estimate_text(
        [session_cost(target, scripts, table.models, table.as_of) for target in targets],
        load.sessions,
    )


def _confirm() -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to confirm the cost: add --yes (make: YES=1) to call the"
            " deployment, or --simulator (make: SIMULATOR=1)"
        )
    return input("Continue? [y/N] ").strip().lower() in ("y", "yes")


def _locust(load: DemoLoad, runs: Path, *options: str) -> int:
    """Run Locust without settings for other runs (LOCUST_…, a locust.conf), and return its exit
    status.
    """
    variables = {COMMAND: json.dumps([program("rtbench"), *sys.argv[1:]])}
    with (
        tempfile.TemporaryDirectory() as scratch,
        locust_run(
            [*load.arguments(runs), *options],
            environment_without(os.environ, "LOCUST_") | variables,
            folder=Path(scratch),
        ) as run,
        _forwarded(signal.SIGTERM, run.process),
        _forwarded(signal.SIGHUP, run.process),
    ):
        threading.Thread(target=lambda: [*map(import_module, OF_RESULTS)], daemon=True).start()
        return _wait(run.process)


@contextmanager
def _forwarded(number: signal.Signals, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Forward a signal to another process, so that it ends normally. Both processes receive
    Ctrl-C.
    """
    before = signal.signal(number, lambda *_: process.send_signal(number))
    try:
        yield
    finally:
        signal.signal(number, before)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait until the process ends. Ignore Ctrl-C, because the process also receives it, and then
    ends.
    """
    until_ns = monotonic_ns() + int(RUN_S * NS_PER_S)
    while True:
        try:
            return process.wait(max(0.0, (until_ns - monotonic_ns()) / NS_PER_S))
        except KeyboardInterrupt:
            continue
        except subprocess.TimeoutExpired:
            raise UsageError(
                f"the run did not end within {RUN_S / 60:.0f} min and was stopped"
            ) from None
