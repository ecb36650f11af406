"""Settings of all tests."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings

from tests import forked

# Machines are shared: an example that takes long is no failure, nor is one that is long drawn. CI looks at the same
# examples every time, a developer at new ones, and `EXAMPLES=all` at many. A property that needs more examples to find
# what it is for says so itself.
settings.register_profile("shared", deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("shared"), derandomize=True)
settings.register_profile("all", deadline=None, max_examples=300)
settings.load_profile(os.environ.get("EXAMPLES") or ("ci" if os.environ.get("CI") else "shared"))

# A shell starts what stands before an `&` with SIGINT ignored, and so would be what tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Of what this does at its import, 1.2 s, no schema of ours has need: it makes a parser of IRIs for jsonschema.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# A command that is called here would take it, `python -m pytest`, for its own name.
sys.modules["__main__"].__package__ = None

forked.servers_folder()  # made here by the first process of a run, and used by its workers

# What a machine says to our commands, to Locust and to libraries: here tests alone say it, and nobody's calibration.
SAID = re.compile(
    "(AZURE|GITHUB|IDENTITY|LC|LOCUST|MSI|OPENAI|OTEL|XDG)_.*|PYTEST_ADDOPTS|PY_COLORS|TF_BUILD"
    "|BROWSER|COLUMNS|(FORCE|NO|CLI)_?COLOR|LANG(UAGE)?|LINES|PAGER|TERM"
)
for name in filter(SAID.fullmatch, list(os.environ)):
    del os.environ[name]
os.environ["LANG"] = "C.UTF-8"  # in none Python has a mode of its own
os.environ["XDG_STATE_HOME"] = str(forked.servers_folder() / "state")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected stays to the end, with all that is imported: nobody looks for garbage there."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.set_threshold(10_000)  # else a twentieth of the time goes into looking
    gc.enable()
    return result


TRIM = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)


FILES_APART = 8
played: set[Path] = set()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Give back what the tests of some files have freed: else a process keeps hundreds of MB of them to its end.

    What is there then was imported or is kept by its module, and is not looked at again.
    """
    played.add(item.path)
    if nextitem is None or (nextitem.path != item.path and len(played) >= FILES_APART):
        played.clear()
        gc.collect()
        gc.freeze()
        pa.default_memory_pool().release_unused()
        TRIM(0)


# What each file costs, in build/tests.json: seconds (wall), CPU seconds with those of processes that have ended, and
# how many processes it started. The CPU of a simulator that several files share is nobody's.
COSTS = Path(__file__).parents[1] / "build" / "tests.json"
SYSTEM = "tests/system/"
MAY_START = (SYSTEM, "tests/release/", "tests/test_main_job.py")
"""Who may start processes; any other test that does fails."""
BUDGET_CPU_S, SYSTEM_BUDGET_CPU_S = 4, 20
OVER = {
    "real runs: fork servers, simulators, Locust and reports": """
        test_main_job system/end_to_end/test_calibrate system/end_to_end/test_run_command
        system/end_to_end/test_shipped
    """,
    "every command of every page": "system/docs/test_running",
    "pipelines as they stand, with the commands of each": "system/end_to_end/test_workflows",
    "every fault at every place, in the clear and over TLS": "system/faults/test_cells",
    "each step of a close is cut, in a run folder of its own": "run/test_close",
    "how often a notice is wrong is counted over invented runs": "reports/test_by_load",
    "pages of a dozen runs and as many comparisons are drawn and parsed": """
        reports/test_every_page reports/test_snapshots
    """,
    "runs of 1,500 to 2,400 turns are resampled at each look, threshold or comparison": """
        reports/comparisons/test_comparison reports/gate/test_check
        reports/looks/test_decide
    """,
    "every quantile of five runs is reckoned again from their rows": "reports/test_api",
    "every frame of four runs goes to Parquet and back": "reports/test_typed_frames",
    "every module of the product and of the tests is parsed": "test_imports",
    "each way of talking is held against the truth, in each dialect and format": "test_talking",
    "each reader meets each of its files, spoilt in each way": "attack/test_files",
    "documents of runs of every kind are held against their schemas": "reports/test_schemas",
    "runs are played or invented, merged, and read again as one": "system/run/test_merge",
    "rows are changed for one figure, and the run with them is summarised, in nearly every test": """
        reports/test_arms reports/test_costs reports/test_lost reports/test_spoken reports/test_summary
    """,
}
"""Why files may cost more. Any other is told at the end, and fails where CI is set and it costs three budgets."""
FAR = 3
"""Budgets that no file of one budget costs, for a neighbour on the same core may double CPU seconds."""
EXCUSED = {f"tests/{name}.py" for names in OVER.values() for name in names.split()}
STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn")
started: Counter[str] = Counter()
spent: tuple[float, int] = (0.0, 0)
EARLIER = pytest.StashKey[dict[str, dict[str, float]]]()
by_file: defaultdict[str, Counter[str]] = defaultdict(Counter)


def _note_start(starts: tuple[str, ...], event: str, _: object) -> None:
    """Count a process that is started. `starts` is at hand to the end, when this module's own names are gone."""
    if event in starts:
        started.update([event])


sys.addaudithook(partial(_note_start, STARTS))


def _spent() -> tuple[float, int]:
    """CPU seconds and processes started, so far."""
    return sum(os.times()[:4]) + forked.cpu_s, started.total()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    global spent
    spent = _spent()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, pytest.TestReport]:
    """A setup, a call or a teardown has ended."""
    global spent
    report = yield
    last, spent = spent, _spent()
    report.cost = {"cpu_s": spent[0] - last[0], "processes": spent[1] - last[1]}
    if report.passed and report.cost["processes"] and not report.nodeid.startswith(MAY_START):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} started {report.cost['processes']} processes: it belongs to tests/system"
    return report


def pytest_runtest_logreport(report: Any) -> None:
    cost = {"s": report.duration, "tests": report.when == "call"} | getattr(report, "cost", {})  # none of a dead worker
    by_file[report.nodeid.split("::")[0]].update(cost)


def pytest_configure(config: pytest.Config) -> None:
    with suppress(FileNotFoundError, ValueError):
        config.stash[EARLIER] = json.loads(COSTS.read_text(encoding="utf-8"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Workers must collect in one order, so they have the costs from the process that starts them."""
    node.workerinput["costs"] = node.config.stash.get(EARLIER, {})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The files that took longest, or at first those in OVER, come first: none is left to one worker at the end."""
    costs = getattr(config, "workerinput", {}).get("costs", config.stash.get(EARLIER, {}))
    took_s = {name: cost["s"] for name, cost in costs.items()}
    longest = dict.fromkeys(EXCUSED, float(BUDGET_CPU_S)) | took_s
    items.sort(key=lambda item: -longest.get(item.nodeid.split("::")[0], 0))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if by_file and not hasattr(session.config, "workerinput"):
        costs = {name: {key: round(of, 2) for key, of in cost.items()} for name, cost in by_file.items()}
        earlier = session.config.stash.get(EARLIER, {})
        kept = {name: cost for name, cost in earlier.items() if (COSTS.parents[1] / name).exists()}
        COSTS.parent.mkdir(exist_ok=True)
        COSTS.write_text(json.dumps(dict(sorted((kept | costs).items())), indent=1), encoding="utf-8")
        far = any(cpu_s > FAR * budget_s for _, cpu_s, budget_s in over_budget())
        if far and os.environ.get("CI") and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for name, cpu_s, budget_s in over_budget():
        terminalreporter.write_line(
            f"{name} took {cpu_s:.1f} s of CPU; its budget is {budget_s} s (OVER in {__file__})"
        )


def over_budget() -> list[tuple[str, float, int]]:
    """Files of this run that cost more than they may, in CPU seconds; none where all examples or lines are counted."""
    if os.environ.get("EXAMPLES") == "all" or os.environ.get("COVERAGE_RUN"):
        return []
    budgets = {name: SYSTEM_BUDGET_CPU_S if name.startswith(SYSTEM) else BUDGET_CPU_S for name in by_file}
    return [
        (name, cost["cpu_s"], budgets[name])
        for name, cost in sorted(by_file.items())
        if cost["cpu_s"] > budgets[name] and name not in EXCUSED and not name.startswith("tests/release/")
    ]
