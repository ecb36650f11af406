"""The configuration of all tests."""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import re
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from tests import forked

if TYPE_CHECKING:
    from tests.transport.certificates import Certificate

# Machines are shared, so neither a slow example nor a slow generation of examples is a failure. CI
# runs the same examples every time, a developer runs new ones, and `EXAMPLES=all` runs many. A
# property that needs more examples to find a defect sets its own number.
settings.register_profile(
    "shared", deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("shared"), derandomize=True)
settings.register_profile("all", deadline=None, max_examples=300)
PROFILE = os.environ.get("EXAMPLES") or ("ci" if os.environ.get("CI") else "shared")
settings.load_profile(PROFILE)
if PROFILE != "all":
    # Hypothesis also draws constants that it finds in the loaded modules of a project. Each worker
    # would parse all modules for them, and in CI a change of one module would change the examples
    # of all properties.
    providers._get_local_constants = lambda: providers._local_constants

# A shell starts a command before an `&` with SIGINT ignored. Without this line, the processes that
# tests start and interrupt would inherit the ignored signal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The import of this module takes 1.2 s, because it builds a parser of IRIs for jsonschema. Our
# schemas do not need it.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# A command that tests run in this process would otherwise take `python -m pytest` for its own name.
sys.modules["__main__"].__package__ = None

forked.servers_folder()  # The first process of a test run creates the folder; its workers use it.

# These environment variables configure our commands, Locust and libraries. They are removed, and
# only tests may set them. The tests have their own state folder, so no calibration of this machine
# is used.
SAID = re.compile(
    "(AZURE|GITHUB|IDENTITY|LC|LOCUST|MSI|OPENAI|OTEL|XDG)_.*|PYTEST_ADDOPTS|PY_COLORS|TF_BUILD"
    "|BROWSER|COLUMNS|(FORCE|NO|CLI)_?COLOR|LANG(UAGE)?|LINES|PAGER|TERM"
)
for name in filter(SAID.fullmatch, list(os.environ)):
    del os.environ[name]
os.environ["LANG"] = "C.UTF-8"  # Without a locale Python enables its UTF-8 mode.
os.environ["XDG_STATE_HOME"] = str(forked.servers_folder() / "state")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Exclude all objects of collected tests and imported modules from garbage collection.

    These objects exist until the end anyway.
    """
    gc.disable()
    result = yield
    gc.freeze()
    gc.set_threshold(10_000)  # With the default, a twentieth of the time is garbage collection.
    gc.enable()
    return result


TRIM = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)


FILES_APART = 8
played: set[Path] = set()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After every `FILES_APART` test files, return the freed memory to the system.

    Otherwise a process keeps hundreds of MB until its end. The objects that still exist then were
    imported or belong to modules, so they are excluded from later garbage collections.
    """
    played.add(item.path)
    if nextitem is None or (nextitem.path != item.path and len(played) >= FILES_APART):
        played.clear()
        gc.collect()
        gc.freeze()
        pa.default_memory_pool().release_unused()
        TRIM(0)


# The cost of each test file goes to build/tests.json: wall-clock seconds, CPU seconds (including
# ended child processes) and the number of processes that it started. The CPU time of a simulator
# that several files share is assigned to none.
ROOT = Path(__file__).parents[1]
COSTS = ROOT / "build" / "tests.json"
SYSTEM = "tests/system/"
MAY_START = (SYSTEM, "tests/release/", "tests/test_main_job.py")
"""The beginnings of the paths of the tests that may start processes. Any other test that starts
a process fails."""
BUDGET_CPU_S, SYSTEM_BUDGET_CPU_S = 4, 20
OVER = {
    "real runs: fork servers, simulators, Locust and reports": """
        test_main_job system/end_to_end/test_engines system/end_to_end/test_calibrate
        system/end_to_end/test_run_command system/end_to_end/test_shipped
        system/end_to_end/test_calls system/end_to_end/test_capacity
        system/end_to_end/test_capacity_ends
    """,
    "every command of every page": """
        system/docs/test_first_pages system/docs/test_agent_pages system/docs/test_other_pages
    """,
    "services that misbehave, and tens of thousands of random datagrams": """
        system/end_to_end/test_hostile_telephones system/attack/test_hostile_webrtc
    """,
    "calls of two other implementations, in real time": "system/transport/test_foreign_webrtc",
    "pipelines as they stand, with the commands of each": "system/end_to_end/test_workflows",
    "every fault at every place, in the clear and over TLS": "system/faults/test_cells",
    "each step of a close is cut, in a run folder of its own": "record/test_finalize",
    "how often a notice is wrong is counted over invented runs": "reports/test_by_load",
    "pages of twenty runs and as many comparisons are drawn and parsed": "reports/test_snapshots",
    "runs of 1,500 to 2,400 turns are resampled at each look, threshold or comparison": """
        reports/comparisons/test_comparison reports/check/test_check
        reports/sequential/test_decide
    """,
    "every quantile of five runs is reckoned again from their rows": "reports/test_api",
    "every frame of four runs goes to Parquet and back": "reports/test_typed_frames",
    "each connection is read by io_uring, and by epoll": "transport/test_tcp",
    "every module of the product and of the tests is parsed": "test_imports",
    "fifty recordings are measured, and as many runs written": """
        recorded_calls/test_command recorded_calls/test_unusual_files
    """,
    "each way of talking is held against the truth, in each dialect and format": "test_talking",
    "each reader meets each of its files, spoilt in each way": "attack/test_files",
    "documents of runs of every kind are held against their schemas": "reports/test_schemas",
    "runs are played or invented, merged, and read again as one": "system/record/test_merge",
    "rows are changed for one figure, and the run with them is summarised, in most tests": """
        reports/test_targets reports/test_costs reports/test_not_started reports/test_turn_types
        reports/test_summary reports/test_overload reports/test_unscored
    """,
    "the noise of a thousand series is simulated for each number of turns": """
        reports/statistics/test_recovery load/test_overload_command
    """,
}
"""The files that may exceed the budget of CPU time, by the reason.

Any other file that exceeds its budget is printed at the end. In CI, the test run fails if such a
file needs more than three times its budget.
"""
FAR = 3
"""A file fails CI if its CPU time exceeds its budget by more than this factor.

A process on the same core may double the CPU time of a test.
"""
EXCUSED = {f"tests/{name}.py" for names in OVER.values() for name in names.split()}
SLOWEST = """
    system/docs/test_other_pages system/transport/test_agents_of_others
    system/end_to_end/test_calls system/end_to_end/test_workflows system/end_to_end/test_engines
    system/docs/test_first_pages
    system/end_to_end/test_calibrate system/faults/test_cells system/end_to_end/test_webrtc
    system/end_to_end/test_capacity system/end_to_end/test_capacity_ends
    system/attack/test_hostile_texts
    system/end_to_end/test_overload system/simulator/test_voice_agent_clients
    system/end_to_end/test_run_command system/docs/test_agent_pages system/end_to_end/test_turn
    system/end_to_end/test_interrupts_and_failures system/test_simulator_option
    system/browser/test_pages system/end_to_end/test_abort system/test_peers system/test_probe
    system/attack/test_hostile_webrtc system/end_to_end/test_secrets system/browser/test_webrtc
    system/end_to_end/test_webrtc_agents system/end_to_end/test_hosts system/test_deploy
    system/attack/test_evil_server system/test_memory_limits
    system/clients/test_cells system/end_to_end/test_hostile_telephones
    system/transport/test_turn system/test_platforms system/test_vendors_schemas
    reports/test_snapshots reports/test_api test_main_job transport/sip/test_hostile_calls
    transport/test_tcp transport/sip/test_unanswered_calls reports/sequential/test_decide
"""
"""The files with the longest durations, which start first in a new clone."""
PLACES = {f"tests/{name}.py": place for place, name in enumerate(SLOWEST.split())}
STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn")
started: Counter[object] = Counter()
began, spent = 0, 0.0
EARLIER = pytest.StashKey[dict[str, dict[str, float]]]()
by_file: defaultdict[str, Counter[str]] = defaultdict(Counter)


class Start(str):
    """The name of an event that starts a process. Its comparison with the event counts the event.

    There are hundreds of events for each test. A dictionary compares only those whose hash is that
    of a name, so Python code does not run for the others.
    """

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, event: object) -> bool:
        started.update([event])
        return True


sys.addaudithook({Start(name): None for name in STARTS}.get)  # type: ignore[arg-type]


def _spent() -> float:
    """Return the CPU time in seconds that this process and its ended child processes have used."""
    return sum(os.times()[:4]) + forked.cpu_s


COUNTED, NOT_COUNTED = (
    tuple(os.environ.get(name, "").split())
    for name in ("COVERAGE_COUNTS", "COVERAGE_DOES_NOT_COUNT")
)
"""The tests whose coverage `make coverage` counts: files and folders, and the files in these
folders that do not count.

Any other test is not traced, because tracing multiplies its CPU time by about `TRACED`.
"""
TRACED = 2
is_traced = True


def is_counted(file: str) -> bool:
    return file not in NOT_COUNTED and any(
        file == name or file.startswith(f"{name}/") for name in COUNTED
    )


def trace_if_counted(file: str) -> None:
    global is_traced
    if is_counted(file) != is_traced:
        (tracer().stop if is_traced else tracer().start)()
        is_traced = not is_traced


@cache
def tracer() -> Any:
    """Return the tracer of this process. Call this function first while it traces, because later
    it is not found.
    """
    from coverage import Coverage  # only `make coverage` needs it

    return Coverage.current()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    global began, spent
    if COUNTED:
        trace_if_counted(item.nodeid.split("::")[0])
    began, spent = started.total(), _spent()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, pytest.TestReport]:
    """Add the cost of a test to the report of its last phase, the teardown.

    If a phase started a process but may not start any, let the test fail.
    """
    report = yield
    processes = started.total() - began
    if report.when == "teardown":
        report.cost = {"cpu_s": _spent() - spent, "processes": processes}
    if report.passed and processes and not report.nodeid.startswith(MAY_START):
        report.outcome = "failed"
        report.longrepr = (
            f"{report.nodeid} started {processes} processes: it belongs to tests/system"
        )
    return report


def pytest_runtest_logreport(report: Any) -> None:
    # Only the last report of a test has a cost.
    cost = {"s": report.duration, "tests": report.when == "call"} | getattr(report, "cost", {})
    by_file[report.nodeid.split("::")[0]].update(cost)


def pytest_configure(config: pytest.Config) -> None:
    if moved := [
        name for name in (*COUNTED, *NOT_COUNTED, *EXCUSED, *PLACES) if not (ROOT / name).exists()
    ]:
        raise pytest.UsageError(
            f"Makefile or {__file__} names files that do not exist: {' '.join(moved)}"
        )
    with suppress(FileNotFoundError, ValueError):
        config.stash[EARLIER] = json.loads(COSTS.read_text(encoding="utf-8"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Send the costs of earlier test runs to a worker, because all workers must collect the
    tests in the same order.
    """
    node.workerinput["costs"] = node.config.stash.get(EARLIER, {})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests so that the slowest files come first. Otherwise one worker could run a slow
    file alone at the end.

    A file of unknown duration comes before the others.
    """
    costs = getattr(config, "workerinput", {}).get("costs", config.stash.get(EARLIER, {}))

    def place_of(item: pytest.Item) -> tuple[float, int]:
        file = item.nodeid.split("::")[0]
        return -costs[file]["s"] if file in costs else -math.inf, PLACES.get(file, len(PLACES))

    items.sort(key=place_of)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if by_file and not hasattr(session.config, "workerinput"):
        costs = {
            name: {key: round(of, 2) for key, of in cost.items()} for name, cost in by_file.items()
        }
        earlier = session.config.stash.get(EARLIER, {})
        kept = {name: cost for name, cost in earlier.items() if (ROOT / name).exists()}
        COSTS.parent.mkdir(exist_ok=True)
        COSTS.write_text(
            json.dumps(dict(sorted((kept | costs).items())), indent=1), encoding="utf-8"
        )
        far = any(cpu_s > FAR * budget_s for _, cpu_s, budget_s in over_budget())
        if far and os.environ.get("CI") and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for name, cpu_s, budget_s in over_budget():
        terminalreporter.write_line(
            f"{name} took {cpu_s:.1f} s of CPU; its budget is {budget_s} s (OVER in {__file__})"
        )


def over_budget() -> list[tuple[str, float, int]]:
    """Return each file of this test run that exceeds its budget, with its CPU time in seconds and
    its budget.

    Return an empty list if all examples are run or if all tests are traced.
    """
    if os.environ.get("EXAMPLES") == "all" or (os.environ.get("COVERAGE_RUN") and not COUNTED):
        return []
    budgets = {
        name: (
            (SYSTEM_BUDGET_CPU_S if name.startswith(SYSTEM) else BUDGET_CPU_S)
            * (TRACED if is_counted(name) else 1)
        )
        for name in by_file
    }
    return [
        (name, cost["cpu_s"], budgets[name])
        for name, cost in sorted(by_file.items())
        if cost["cpu_s"] > budgets[name]
        and name not in EXCUSED
        and not name.startswith("tests/release/")
    ]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Return the TLS context of a server, and the file of its certificate authority."""
    from rtbench_simulator.serving.certificates import loopback_tls  # few tests need it

    ca = tmp_path_factory.mktemp("tls") / "ca.pem"
    return loopback_tls(ca), ca
