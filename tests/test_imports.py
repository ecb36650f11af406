"""Who may import whom, and which library is named where."""

from __future__ import annotations

import ast
import gc
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "reports", "rtbench", "scenarios")

# From the ground up: a part of `bench` uses only what stands before it, and itself.
ORDER = (
    "units", "errors", "installation", "clock", "columns", "measures", "limits", "money",
    "retirements", "remedies", "plain", "foreign", "cores", "live_line", "yaml_file", "shapes",
    "protocol", "transport", "target", "plan", "observe", "simulator",
    "dial", "run", "line", "session",
    "load", "probe", "doctor", "reports",
    "locust_run", "load_search",
    "calibrate",
    "capacity",
    "cli",
)  # fmt: skip

# The same of `bench.load`: what is done before the first session, the sessions of one process, the run, the users.
ROOMS = ("planning", "playing", "leading", "user")

# The same of `bench.simulator`: what is known of the service, what a session is made of, the session, its server.
STATIONS = (
    "refusals", "quota", "delay", "wire", "voice", "faults", "profile",
    "session", "conversation", "answering", "caller_turns", "behaviour",
    "gpt_live_behaviour", "agent_behaviour", "truth", "serving",
)  # fmt: skip

# The same of `reports`: its folders, and the modules that stand beside them.
FLOORS = (
    "blocks", "numbers", "records", "statistics",
    "question", "thresholds", "exactness",
    "runs", "turns", "samples",
    "export", "summary", "api", "wording", "finding",
    "page", "text",
    "sides", "sizing", "looks", "comparisons", "gate", "histories",
)  # fmt: skip

REPORTS_MAY_USE = {
    "bench.columns", "bench.errors", "bench.foreign", "bench.limits", "bench.measures", "bench.money",
    "bench.plain", "bench.remedies", "bench.retirements", "bench.units", "bench.yaml_file",
    "bench.run.document", "bench.run.folder",
    "bench.run.part", "bench.run.kept",
    "bench.run.histograms", "bench.run.measured", "bench.run.evidence",
    "bench.run.validity",
}  # fmt: skip

# A library → the modules that may name it.
NAMED_IN = {
    "locust": ("bench.load.leading", "bench.load.user", "scenarios"),
    "gevent": ("bench.load.playing", "bench.load.leading", "bench.load.user", "bench.transport"),
    "flask": ("bench.load.leading.web_ui",),
    "werkzeug": ("bench.load.leading.web_ui",),
    "soundfile": ("bench.plan.recordings", "bench.simulator.voice"),
    "soxr": ("bench.plan.recordings", "bench.simulator.voice"),
    "hdrh": ("bench.run.histograms",),
    "azure": ("bench.target.identity",),
    "websockets": ("bench.transport.websocket", "bench.transport.parser", "bench.transport.fast.frames",
     "bench.simulator"),
    "python_socks": ("bench.transport.connect",),
    "requests": (),
    "openai": (),
    "jiwer": ("bench.observe.observation",),
    "opentelemetry": ("bench.load.leading.exporter",),
    "junitparser": ("reports.gate.outputs",),
    "ruamel": ("bench.yaml_file",),
}  # fmt: skip

PURE = (
    "bench.remedies", "bench.plain", "bench.money", "bench.measures", "bench.protocol",
    "bench.observe", "bench.simulator.behaviour",
    "bench.simulator.caller_turns", "bench.simulator.conversation", "bench.simulator.answering",
    "bench.simulator.session", "bench.simulator.quota", "bench.simulator.delay", "bench.simulator.refusals",
    "bench.simulator.faults", "bench.simulator.wire", "bench.simulator.gpt_live_behaviour",
    "bench.simulator.serving.handshake", "bench.line",
    "bench.plan.recordings", "bench.plan.prepared", "bench.plan.repertoire", "bench.run.validity",
    "bench.load.playing.pairs",
    "bench.transport.parser", "bench.doctor.explain", "bench.calibrate.deviations", "bench.calibrate.ladder",
    "bench.load_search", "bench.capacity.search", "bench.capacity.judge", "bench.capacity.conclude",
    "reports.statistics",
)  # fmt: skip
IMPURE = {"time", "datetime", "socket", "ssl", "select", "asyncio", "threading", "gevent", "locust", "random", "os"}
CLOCKLESS_NAMES = {"Arrival", "Handed"}
"""What a pure module may take from `bench.clock`: plain data."""

KNOW_THE_FAST_PATH = {"bench.transport.websocket", "bench.transport.tcp", "bench.doctor.surroundings"}
"""Who reads messages, who reads sockets, and who says whether that was compiled; nobody else knows how it is done."""

MAKES_SOCKETS = ("bench.clock", "bench.transport.connect", "bench.simulator", "bench.load.leading.web_ui")
"""`bench.clock` opens one dummy socket that keeps stamping on; `leading.web_ui` looks whether a port is free."""
SOCKET_MAKERS = {"socket", "create_connection", "create_server", "socketpair", "wrap_socket", "open_connection"}
CLOCKS = {
    "time",
    "time_ns",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "clock_gettime",
    "thread_time_ns",
}


DRAWING = (
    "reports.page.bars", "reports.page.charts", "reports.page.panels", "reports.page.speech", "reports.page.svg",
    "reports.comparisons.forest", "reports.histories.figure",
)  # fmt: skip
COMPUTING = ("pandas", "pathlib", "scipy", "reports.runs", "reports.samples", "reports.sides")
"""What a module that draws has no need of: it is handed a frame."""

STARTED = {
    "bench.locust_run": {"locust", "bench.cli.app"},
    "bench.capacity.play": {"bench.load.leading.forecast"},
    "bench.load.leading.looks": {"reports.looks", "bench.cli.app"},
    "bench.load.leading.monitor": {"bench.load.leading.exporter"},
}
"""Who starts which modules as processes of their own."""


def modules() -> dict[str, Path]:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(paths) > 30, "the packages were not found"
    return {name_of(path): path for path in paths}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = modules()


@cache
def tree(name: str) -> ast.Module:
    """A module's code."""
    code = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    gc.freeze()  # it is kept: to look for garbage in all of them, again and again, takes four times as long as to parse
    return code


@cache
def nodes(name: str) -> tuple[ast.AST, ...]:
    """All nodes of a module's code."""
    return tuple(ast.walk(tree(name)))


@cache
def imports(name: str) -> frozenset[str]:
    """Every module that a module names in an import, wherever the import stands; what it takes from one included."""
    return frozenset(_imports(name))


def _imports(name: str) -> Iterator[str]:
    for node in nodes(name):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def part_of(name: str) -> str | None:
    """The part of `bench` that a module belongs to; None for `bench` itself."""
    if within(name, "reports"):
        return "reports"
    parts = name.split(".")
    return parts[1] if parts[0] == "bench" and len(parts) > 1 else None


def used_by(name: str, place_of: Callable[[str], str | None]) -> set[tuple[str, str, str]]:
    """(module, its place, a place that it uses), of modules that have one."""
    place = place_of(name)
    others = {other for module in imports(name) if module in MODULES and (other := place_of(module)) is not None}
    return set() if place is None else {(name, place, other) for other in others | {place}}


def test_a_part_uses_only_what_stands_before_it() -> None:
    used = {use for name in MODULES for use in used_by(name, part_of)}

    assert {part for _, _, part in used} <= set(ORDER), "a part has no place in the order"
    assert {use for use in used if ORDER.index(use[2]) > ORDER.index(use[1])} == set()


@pytest.mark.parametrize(("part", "rooms"), [("load", ROOMS), ("simulator", STATIONS)])
def test_a_room_of_a_part_uses_only_those_before_it(part: str, rooms: tuple[str, ...]) -> None:
    def room_of(name: str) -> str | None:
        """The room that a module stands in; None outside of the part."""
        parts = name.split(".")
        return parts[2] if parts[:2] == ["bench", part] and len(parts) > 2 else None

    used = {use for name in MODULES for use in used_by(name, room_of)}

    assert {room for _, _, room in used} == set(rooms)
    assert {use for use in used if rooms.index(use[2]) > rooms.index(use[1])} == set()


def floor_of(name: str) -> str | None:
    """The floor of `reports` that a module stands on; None for `reports` itself, and outside of it."""
    parts = name.split(".")
    return parts[1] if parts[0] == "reports" and len(parts) > 1 else None


def test_a_floor_of_reports_stands_on_those_below_it() -> None:
    used = {use for name in MODULES for use in used_by(name, floor_of)}

    assert {floor for _, _, floor in used} == set(FLOORS)
    assert {use for use in used if FLOORS.index(use[2]) > FLOORS.index(use[1])} == set()


def modules_used_by(name: str) -> set[str]:
    """Our modules that a module names, also within functions and for types alone: a circle is one for its readers.

    A package that something is taken from is not meant where that is a module of its own, nor is one by what it holds.
    """
    packages = {
        node.module
        for node in nodes(name)
        if isinstance(node, ast.ImportFrom) and all(f"{node.module}.{alias.name}" in CODE for alias in node.names)
    }
    return {module for module in imports(name) - packages if module in CODE and not within(name, module)}


CIMPORT = re.compile(r"^(?:from|import) ((?:bench|reports)[\w.]*)(?: import (\w+))?", re.MULTILINE)
C_MODULES = {name_of(path): path for path in (ROOT / "bench").rglob("*.pyx")}
CODE = MODULES.keys() | C_MODULES.keys()


def test_a_constant_of_a_module_is_given_once() -> None:
    """A second value, further down, would be that of all who use the first."""
    given = Counter(
        (name, target.id)
        for name in MODULES
        for node in tree(name).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id.isupper()
    )

    assert [constant for constant, times in given.items() if times > 1] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    uses = {name: modules_used_by(name) for name in MODULES}
    for name, path in C_MODULES.items():
        found = CIMPORT.findall(path.read_text(encoding="utf-8"))
        uses[name] = {f"{module}.{taken}" if f"{module}.{taken}" in CODE else module for module, taken in found}

    TopologicalSorter(uses).prepare()  # raises CycleError, naming the circle


def test_reports_know_of_the_measuring_half_only_its_files_and_its_catalogue() -> None:
    used = {
        (name, module)
        for name in MODULES
        if within(name, "reports")
        for module in imports(name)
        if within(module, "bench") and module not in ("bench", "bench.run") and not within(module, *REPORTS_MAY_USE)
    }

    assert used == set()


def test_where_workers_parts_stand_is_known_in_one_place() -> None:
    folders = {
        name
        for name in MODULES
        if within(name, "bench", "reports")
        for node in nodes(name)
        if isinstance(node, ast.Constant) and node.value == "spool"
    }

    assert folders == {"bench.run.spool"}


def test_the_fast_path_is_known_where_it_is_read_from_alone() -> None:
    fast = "bench.transport.fast"
    named = {name for name in MODULES for module in imports(name) if within(module, fast) and not within(name, fast)}

    assert named == KNOW_THE_FAST_PATH


@pytest.mark.parametrize("library", NAMED_IN)
def test_a_library_is_named_in_one_place(library: str) -> None:
    named = {name for name in MODULES for module in imports(name) if within(module, library)}

    assert {name for name in named if not within(name, *NAMED_IN[library])} == set()


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, *PURE)])
def test_a_pure_module_knows_no_clock_and_no_socket(name: str) -> None:
    used = set(imports(name))

    assert {module for module in used if module.partition(".")[0] in IMPURE} == set()
    assert {module.removeprefix("bench.clock.") for module in used if within(module, "bench.clock")} <= {
        "bench.clock",
        *CLOCKLESS_NAMES,
    }


def test_what_is_started_by_name_is_written_down() -> None:
    """A process that is started as `python -m MODULE` is an import that the tests above do not see."""
    started = {
        (name, node.args[0].value if isinstance(node.args[0], ast.Constant) else None)
        for name in MODULES
        for node in nodes(name)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("python_command")
    }
    written = {
        name for name in MODULES for node in nodes(name) if isinstance(node, ast.Constant) and node.value == "-m"
    }

    assert {name: {module for by, module in started if by == name} for name, _ in started} == STARTED
    assert written == {"bench.installation"}


def calls(name: str, functions: Collection[str]) -> Iterator[tuple[str, str]]:
    """(module, function) of every `module.function(…)` of these functions."""
    for node in nodes(name):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in functions:
            yield ast.unparse(node.func.value), node.func.attr


def test_sockets_are_made_in_one_place() -> None:
    made = {
        (name, f"{module}.{function}")
        for name in MODULES
        if not within(name, *MAKES_SOCKETS)
        for module, function in calls(name, SOCKET_MAKERS)
    }

    assert made == set()


def test_clocks_are_read_in_one_place() -> None:
    read = {
        (name, f"{module}.{function}")
        for name in MODULES
        if name != "bench.clock"
        for module, function in calls(name, {*CLOCKS, "now", "utcnow"})
        if module == "time" or function in ("now", "utcnow")
    }
    taken = {(name, module) for name in MODULES for module in imports(name)
             if name != "bench.clock" and module.removeprefix("time.") in CLOCKS - {"time"}}  # fmt: skip

    assert read | taken == set()


@pytest.mark.parametrize("name", DRAWING)
def test_what_draws_a_figure_computes_nothing(name: str) -> None:
    """Of statistics it takes types alone."""
    named = set(imports(name))

    assert not [module for module in named if within(module, *COMPUTING)]
    assert not [n for n in named if n.startswith("reports.statistics.") and n.count(".") == 3 and n.islower()]


LIVE_VIEWS = tuple(
    f"bench.load.{name}"
    for name in ("playing.sessions", "playing.progress", *(f"leading.{name}" for name in (
        "exporter", "tally", "terminal", "monitor", "web_ui")))
)  # fmt: skip
TAKES_APART = {"partition", "rpartition", "split", "rsplit", "startswith", "removeprefix", "removesuffix"}


def test_live_views_take_no_name_apart() -> None:
    """A time's role, measure and origin are fields of its key; only an outcome is taken apart, for its first word."""
    apart = {(name, f"{of}.{function}") for name in LIVE_VIEWS for of, function in calls(name, TAKES_APART)}

    assert apart == {("bench.load.playing.progress", "turn.outcome.partition")}
