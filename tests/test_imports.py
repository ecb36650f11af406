"""Rules for imports, names and texts. A rule for imports says where a module or a library may be
imported.

All tests that read parsed code are in this file, so that each module is parsed only once.
"""

from __future__ import annotations

import ast
import gc
import importlib
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import files, packages_distributions
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench.catalogue.outcomes import PERMANENT
from bench.services.names import TrackName
from bench.services.openai.dialect import GA
from bench.services.openai.events import EFFECTS, MAX_DURATION_CLOSE, MODALITIES
from bench.services.openai.preview import PREVIEW
from bench.services.registry import DIALECTS, SERVICES
from bench.wire.audio import AudioFormat
from tests.compiled import needs_compiler

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "rtbench_simulator", "reports", "rtbench", "scenarios")

LAYERS: dict[str, tuple[str, ...]] = {
    "": ("bench", "rtbench_simulator", "reports", "rtbench", "scenarios"),
    "bench": (
        "base",
        "files",
        "catalogue",
        "wire",
        "protocols",
        "sound",
        "services",
        "transport",
        "target",
        "plan",
        "observe",
        "session",
        "record",
        "load",
        "probe",
        "recorded_calls",
        "corpus",
        "doctor",
    ),
    "bench.base": (
        "units",
        "compiled",
        "errors",
        "suggestions",
        "installation",
        "standard_streams",
        "stop_signals",
        "clock",
        "cpu",
        "memory",
    ),
    "bench.files": ("sanitize", "safe_io", "values", "yaml_file", "validation"),
    "bench.services": (
        "names",
        "confirmed_settings",
        "replying",
        "full_duplex",
        "pages",
        "openai",
        "azure",
        "gpt_live",
        "translation",
        "voice_live",
        "foundry",
        "xai",
        "qwen",
        "stepfun",
        "glm",
        "inworld",
        "vllm_omni",
        "gemini",
        "deepgram",
        "nova_sonic",
        "openai_hosts",
        "agents",
        "telephone",
        "registry",
    ),
    "bench.protocols": (
        "rtp",
        "sdp",
        "call_media",
        "sip",
        "ice",
        "turn",
        "sctp",
        "webrtc",
        "event_stream",
    ),
    "bench.transport": (
        "challenges",
        "gevent_patch",
        "impairment",
        "interface",
        "tx_timestamps",
        "own_limits",
        "_datagrams_interpreted",
        "datagrams",
        "_loop_interpreted",
        "loop_monitor",
        "event_loop",
        "parser",
        "fast",
        "tcp",
        "ring",
        "tls",
        "connect",
        "websocket",
        "rtp_checks",
        "rtp_track",
        "sip",
        "webrtc",
        "event_stream",
        "links",
        "impaired",
    ),
    "bench.load": (
        "simulator_process",
        "planning",
        "lifecycle",
        "execution",
        "events",
        "runners",
        "user",
        "rtbench_scripts",
        "locust_file",
        "run_files",
    ),
    "rtbench_simulator": (
        "refusals",
        "quota",
        "overload",
        "delay",
        "server_events",
        "recorded_replies",
        "faults",
        "profile",
        "session",
        "conversation",
        "turn_taking",
        "simulated_session",
        "responses",
        "caller_turns",
        "behaviour",
        "ground_truth_log",
        "serving",
        "services",
        "ready",
    ),
    "rtbench_simulator.services": (
        "answering",
        "openai",
        "azure",
        "vllm_omni",
        "voice_live",
        "xai",
        "qwen",
        "gpt_live",
        "foundry",
        "translation",
        "gemini",
        "deepgram",
        "agents",
        "described_agents",
        "described_services",
        "telephone",
        "webrtc",
        "nova_sonic",
        "registry",
    ),
    "reports": (
        "formatting",
        "render",
        "results",
        "statistics",
        "metrics",
        "data",
        "engine",
        "analysis",
        "text",
        "pages",
        "api",
    ),
    "reports.metrics": (
        "strata",
        "rate_metrics",
        "stored",
        "metric_spec",
        "statistic_types",
        "argument_names",
        "thresholds",
        "step_names",
        "measurable",
    ),
    "reports.data": ("uncertainty", "runs", "planned_turns", "turns", "parts", "samples", "export"),
    "reports.analysis": (
        "calls_in_time",
        "overload",
        "events",
        "summary",
        "targets",
        "sample_size",
        "sequential",
        "comparisons",
        "check",
        "trends",
    ),
    "reports.pages": (
        "thresholds",
        "run_report",
        "comparisons",
        "check",
        "trends",
        "sample_size",
    ),
    "rtbench": (
        "evaluation",
        "locust_user",
        "locust_process",
        "run_process",
        "synthesis",
        "locust_run",
        "load_display",
        "simulator_profile",
        "overload",
        "calibrate",
        "capacity",
        "azure_load_testing",
        "cli",
    ),
}
"""The layers of each package, from the lowest layer to the highest. A layer contains modules.

A module may import only from its own layer and from lower layers.
"""

REPORTS_MAY_USE = {
    "bench.base.cpu",
    "bench.base.errors",
    "bench.base.suggestions",
    "bench.base.units",
    "bench.files.safe_io",
    "bench.files.sanitize",
    "bench.files.yaml_file",
    "bench.catalogue.causes",
    "bench.catalogue.columns",
    "bench.catalogue.metrics",
    "bench.catalogue.model_retirements",
    "bench.catalogue.other_names",
    "bench.catalogue.outcomes",
    "bench.catalogue.pricing",
    "bench.catalogue.reference_workload",
    "bench.catalogue.threshold_form",
    "bench.catalogue.timeouts",
    "bench.record.call_audio",
    "bench.record.document",
    "bench.record.folder",
    "bench.record.histograms",
    "bench.record.metric_values",
    "bench.record.presence",
    "bench.record.run_list",
    "bench.record.spool",
    "bench.record.validity",
    "bench.record.validity_data",
    "bench.services.confirmed_settings",
    "bench.services.registry",
}

# Library → the modules that may import it.
NAMED_IN = {
    "locust": (
        "bench.load.runners",
        "bench.load.user",
        "bench.load.locust_file",
        "rtbench.overload.callers",
        "bench.load.run_files",
        "scenarios",
    ),
    "gevent": (
        "bench.load.execution",
        "bench.load.events.played",
        "bench.load.runners",
        "bench.load.user",
        "bench.transport",
    ),
    "flask": ("bench.load.runners.web_ui",),
    "werkzeug": ("bench.load.runners.web_ui",),
    "soundfile": (
        "bench.plan.audio_files",
        "bench.plan.recordings",
        "rtbench_simulator.recorded_replies",
    ),
    "soxr": ("bench.plan.recordings", "rtbench_simulator.recorded_replies"),
    "hdrh": ("bench.record.histograms",),
    "azure": ("bench.target.identity",),
    "websockets": ("bench.transport.websocket", "bench.transport.parser", "rtbench_simulator"),
    "python_socks": ("bench.transport.connect",),
    "sipmessage": ("bench.protocols.sip", "rtbench_simulator.services.telephone"),
    "pylibsrtp": ("bench.protocols.rtp.srtp",),
    "OpenSSL": ("bench.protocols.webrtc.dtls",),
    "google_crc32c": ("bench.protocols.sctp.sctp_packets",),
    "opuslib_next": ("bench.protocols.rtp.opus",),
    "G722": ("bench.protocols.rtp.wideband",),
    "botocore": (
        "bench.protocols.event_stream",
        "bench.transport.event_stream",
        "rtbench_simulator.services.nova_sonic",
    ),
    "h2": ("bench.transport.event_stream", "rtbench_simulator.services.nova_sonic"),
    "requests": (),
    "openai": (),
    "jiwer": ("bench.observe.observation",),
    "opentelemetry": ("bench.load.runners.otel_exporter",),
    "junitparser": ("reports.pages.check.junit",),
    "resvg_py": ("reports.render.picture",),
    "ruamel": ("bench.files.yaml_file",),
}

CLOCK_FREE = (
    "bench.files.sanitize",
    "bench.files.values",
    "bench.catalogue.outcomes",
    "bench.catalogue.metrics",
    "bench.catalogue.pricing",
    "bench.wire",
    "bench.services",
    "bench.observe",
    "rtbench_simulator.behaviour",
    "rtbench_simulator.caller_turns",
    "rtbench_simulator.conversation",
    "rtbench_simulator.turn_taking",
    "rtbench_simulator.responses",
    "rtbench_simulator.session",
    "rtbench_simulator.quota",
    "rtbench_simulator.delay",
    "rtbench_simulator.refusals",
    "rtbench_simulator.faults",
    "rtbench_simulator.server_events",
    "rtbench_simulator.services.gpt_live",
    "rtbench_simulator.services.translation",
    "rtbench_simulator.serving.credentials",
    "rtbench_simulator.serving.handshake",
    "rtbench_simulator.simulated_session",
    *(
        f"rtbench_simulator.services.{name}"
        for name in (
            "agents",
            "answering",
            "azure",
            "openai",
            "qwen",
            "registry",
            "voice_live",
            "xai",
            "telephone.call_faults",
            *(f"webrtc.{part}" for part in ("live_session", "output_buffer", "session")),
            "nova_sonic.behaviour",
        )
    ),
    "bench.session.session_io",
    "bench.plan.recordings",
    "bench.plan.synthesizer",
    "bench.plan.prepared",
    "bench.plan.compiled_script",
    "bench.record.rtp_streams",
    "bench.record.validity",
    "bench.load.execution.pairs",
    "bench.transport.parser",
    "bench.transport.impairment",
    "bench.protocols.call_media",
    *(
        f"bench.protocols.{name}"
        for name in (
            "ice",
            "rtp",
            "sctp",
            "sdp",
            "sip",
            "turn",
            "webrtc.description",
            "webrtc.peer",
        )
    ),
    "bench.protocols.event_stream.messages",
    "bench.sound",
    "bench.transport.sip.call_setup",
    "bench.doctor.diagnosis",
    "rtbench.calibrate.ground_truth",
    "rtbench.calibrate.load_step_search",
    "rtbench.calibrate.load_search",
    "rtbench.load_display",
    "rtbench.capacity.document",
    "rtbench.capacity.verification",
    "rtbench.capacity.ramp",
    "rtbench.capacity.load_thresholds",
    "rtbench.capacity.conclusion",
    "reports.statistics",
)
"""The modules that read no clock and open no socket, so that tests run them on a virtual clock.

Not all of them are pure: `bench.session.session_io` sends and receives, by the transport that it is
given.
"""
IMPURE = {
    "time",
    "datetime",
    "socket",
    "ssl",
    "select",
    "asyncio",
    "threading",
    "gevent",
    "locust",
    "random",
    "os",
}
CLOCKLESS_NAMES = {"Arrival", "SendTime"}
"""The names that a clock-free module may import from `bench.base.clock`. They are allowed because
they are plain data.
"""

KNOW_THE_FAST_PATH = {
    "bench.transport.websocket",
    "bench.transport.tcp",
    "bench.transport.tls",
    "bench.doctor.machine_checks",
    "bench.session.session_io",
}
"""The only modules that may import the fast path.

`websocket` reads messages with it, `tcp` reads sockets with it, and `tls` decrypts with it.
`machine_checks` reports whether it was compiled. `session_io` has the microphone, whose plain
chunks the fast path sends.
"""

MAKES_SOCKETS = (
    "bench.base.clock",
    "bench.transport.connect",
    "bench.transport.datagrams",
    "bench.transport.own_limits",
    "rtbench_simulator",
    "bench.load.runners.web_ui",
)
"""The modules that may create sockets.

`bench.base.clock` opens a socket only to keep timestamps enabled. `runners.web_ui` checks that a
port is free, and `transport.own_limits` that a socket can be opened.
"""
SOCKET_MAKERS = {
    "socket",
    "create_connection",
    "create_server",
    "socketpair",
    "wrap_socket",
    "open_connection",
}
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
    "reports.pages.run_report.bar_charts",
    "reports.pages.run_report.charts",
    "reports.pages.run_report.sections.overload",
    "reports.pages.run_report.time_panels",
    "reports.pages.run_report.speech_timeline",
    "reports.render.svg",
    "reports.pages.comparisons.forest",
    "reports.pages.trends.plot",
)
COMPUTING = (
    "pandas",
    "pathlib",
    "scipy",
    "reports.data.runs",
    "reports.data.samples",
    "reports.analysis.targets",
)
"""The modules that a plotting module must not import. A plotting module gets its data as a
frame."""


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
    code = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    # The parsed tree stays in memory and is excluded from garbage collection. Otherwise the garbage
    # collector would scan all trees repeatedly, which takes four times as long as parsing.
    gc.freeze()
    return code


@cache
def nodes(name: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(name)))


@cache
def imports(name: str) -> frozenset[str]:
    """Return every module that the module `name` imports, and every name that it imports from a
    module.

    Imports anywhere in the code count.
    """
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


def layer_of(name: str, package: str) -> str | None:
    """Return the layer of `package` that contains a module.

    Return None if the module is the package itself, or if it is not in the package.
    """
    if not package:
        return name.partition(".")[0]
    return (
        name.removeprefix(f"{package}.").partition(".")[0]
        if name.startswith(f"{package}.")
        else None
    )


def test_a_layer_imports_only_layers_below_it() -> None:
    used = {
        (package, layer, name, module, other)
        for package in LAYERS
        for name in MODULES
        if (layer := layer_of(name, package)) is not None
        for module in {*imports(name), name}
        if module in MODULES and (other := layer_of(module, package)) is not None
    }

    assert {(package, layer) for package, layer, *_ in used} == {
        (one, layer) for one in LAYERS for layer in LAYERS[one]
    }
    assert [
        f"{name} imports {module}"
        for package, layer, name, module, other in sorted(used)
        if LAYERS[package].index(other) > LAYERS[package].index(layer)
    ] == []


def modules_used_by(name: str) -> set[str]:
    """Return the modules of this project that the module `name` imports, within functions and for
    types, too.

    Imports for types count, because a cycle of them is also a cycle for a reader. Leave out a
    package from which only modules are imported, and a package that contains the module `name`.
    """
    packages = {
        node.module
        for node in nodes(name)
        if isinstance(node, ast.ImportFrom)
        and all(f"{node.module}.{alias.name}" in CODE for alias in node.names)
    }
    return {
        module for module in imports(name) - packages if module in CODE and not within(name, module)
    }


CIMPORT = re.compile(r"^(?:from|import) ((?:bench|reports)[\w.]*)(?: import (\w+))?", re.MULTILINE)
C_MODULES = {name_of(path): path for path in (ROOT / "bench").rglob("*.pyx")}
CODE = MODULES.keys() | C_MODULES.keys()


def test_the_architecture_draws_the_layers_of_bench_and_of_the_packages() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    bench, packages = re.findall(
        r"^    (?:bench|packages)  +((?:.+\n)(?:  +<.*\n)*)", text, re.MULTILINE
    )

    assert tuple(bench.split()[::2]) == LAYERS["bench"]
    assert tuple(re.sub(r"\(.*?\)", "", packages).split()[::2]) == LAYERS[""]


def test_a_module_assigns_each_constant_once() -> None:
    """If a constant were assigned again further down, the functions above that line would also
    use the second value.
    """
    given = Counter(
        (name, target.id)
        for name in MODULES
        for node in tree(name).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id.isupper()
    )

    assert [constant for constant, times in given.items() if times > 1] == []


def test_modules_do_not_import_each_other_in_a_cycle() -> None:
    uses = {name: modules_used_by(name) for name in MODULES}
    for name, path in C_MODULES.items():
        found = CIMPORT.findall(path.read_text(encoding="utf-8"))
        uses[name] = {
            f"{module}.{taken}" if f"{module}.{taken}" in CODE else module
            for module, taken in found
        }

    TopologicalSorter(uses).prepare()  # It raises CycleError with the modules of the cycle.


TEST_MODULE = re.compile(
    r"^\s*(?:from tests[\w.]*\.test_\w+ |from tests[\w.]* import [^#\n]*\btest_|import"
    r" tests[\w.]*\.test_)",
    re.MULTILINE,
)


def test_no_module_imports_a_module_of_tests() -> None:
    """What several modules of tests use is in a module that contains no test."""
    paths = [path for top in ("tests", "tools") for path in (ROOT / top).rglob("*.py")]

    assert [
        f"{path.relative_to(ROOT)}"
        for path in paths
        if TEST_MODULE.search(path.read_text(encoding="utf-8"))
    ] == []
    assert TEST_MODULE.search("from tests.observe import helpers, test_calls\n")


def test_reports_import_only_the_permitted_modules_of_bench() -> None:
    packages = (
        "bench",
        "bench.base",
        "bench.files",
        "bench.catalogue",
        "bench.record",
        "bench.services",
    )
    used = {
        (name, module)
        for name in MODULES
        if within(name, "reports")
        for module in imports(name)
        if within(module, "bench")
        and module not in packages
        and not within(module, *REPORTS_MAY_USE)
    }

    assert used == set()


def test_only_one_module_names_the_folder_of_the_workers_parts() -> None:
    folders = {
        name
        for name in MODULES
        if within(name, "bench", "reports")
        for node in nodes(name)
        if isinstance(node, ast.Constant) and node.value == "spool"
    }

    assert folders == {"bench.record.spool"}


def test_only_the_readers_import_the_fast_path() -> None:
    fast = "bench.transport.fast"
    named = {
        name
        for name in MODULES
        for module in imports(name)
        if within(module, fast) and not within(name, fast)
    }

    assert named == KNOW_THE_FAST_PATH


def test_each_library_is_imported_only_in_its_permitted_modules() -> None:
    named = {
        (name, library)
        for name in MODULES
        for module in imports(name)
        if (library := module.partition(".")[0]) in NAMED_IN
    }

    assert {
        (name, library) for name, library in named if not within(name, *NAMED_IN[library])
    } == set()


def test_a_clock_free_module_imports_no_clock_and_no_socket() -> None:
    clock = "bench.base.clock"
    permitted = {clock, *(f"{clock}.{name}" for name in CLOCKLESS_NAMES)}
    used = {
        (name, module) for name in MODULES if within(name, *CLOCK_FREE) for module in imports(name)
    }

    assert {
        (name, module)
        for name, module in used
        if module.partition(".")[0] in IMPURE or (within(module, clock) and module not in permitted)
    } == set()


def test_no_module_starts_a_module_of_a_higher_package() -> None:
    """A process that is started as `python -m MODULE` is an import that the other tests do not
    see. The composition root hands in what a lower package needs of a higher one.
    """
    order = LAYERS[""]
    started = {
        (name, ast.literal_eval(node.args[0]))
        for name in MODULES
        for node in nodes(name)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("python_command")
    }
    written = {
        name
        for name in MODULES
        for node in nodes(name)
        if isinstance(node, ast.Constant) and node.value == "-m"
    }

    upwards = {
        (by, module)
        for by, module in started
        if module in MODULES
        and order.index(module.partition(".")[0]) > order.index(by.partition(".")[0])
    }

    assert {module for _, module in started} - MODULES.keys() <= NAMED_IN.keys()
    assert upwards == set()
    assert written == {"bench.base.installation"}


def calls(name: str, functions: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield (module, function) for each call `module.function(…)` in the module `name` to one of
    these functions.
    """
    for node in nodes(name):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in functions
        ):
            yield ast.unparse(node.func.value), node.func.attr


def test_sockets_are_created_only_in_the_permitted_modules() -> None:
    made = {
        (name, f"{module}.{function}")
        for name in MODULES
        if not within(name, *MAKES_SOCKETS)
        for module, function in calls(name, SOCKET_MAKERS)
    }

    assert made == set()


def test_no_text_is_read_or_written_in_the_encoding_of_the_locale() -> None:
    """A call decides by its name, because a parser does not know the type of the object."""
    offences = []
    for name in MODULES:
        for call in (node for node in nodes(name) if isinstance(node, ast.Call)):
            options = {keyword.arg for keyword in call.keywords}
            match call.func:
                case ast.Attribute(attr="read_text"):
                    is_text = not call.args
                case ast.Attribute(attr="write_text"):
                    is_text = True
                case ast.Name(id="open"):
                    modes = [
                        word.value for word in call.args[1:2] if isinstance(word, ast.Constant)
                    ]
                    is_text = not any("b" in str(mode) for mode in modes)
                case _:
                    is_text = (
                        not options.isdisjoint({"text", "universal_newlines"})
                        and "capture_output" in options
                    )
            if is_text and "encoding" not in options:
                offences.append(f"{name}, line {call.lineno}")

    assert offences == []


def test_clocks_are_read_only_in_bench_clock() -> None:
    read = {
        (name, f"{module}.{function}")
        for name in MODULES
        if name != "bench.base.clock"
        for module, function in calls(name, {*CLOCKS, "now", "utcnow"})
        if module == "time" or function in ("now", "utcnow")
    }
    taken = {
        (name, module)
        for name in MODULES
        for module in imports(name)
        if name != "bench.base.clock" and module.removeprefix("time.") in CLOCKS - {"time"}
    }

    assert read | taken == set()


def test_a_module_that_draws_figures_computes_nothing() -> None:
    """A module that draws figures may import only types from `reports.statistics`."""
    named = {(name, module) for name in DRAWING for module in imports(name)}

    assert {use for use in named if within(use[1], *COMPUTING)} == set()
    assert {
        use
        for use in named
        if use[1].startswith("reports.statistics.") and use[1].count(".") == 3 and use[1].islower()
    } == set()


LIVE_VIEWS = tuple(
    f"bench.load.{name}"
    for name in (
        "execution.session_registry",
        "execution.progress",
        *(f"runners.{name}" for name in ("otel_exporter", "live_totals", "monitor", "web_ui")),
    )
)
PARSERS = {
    "startswith",
    "endswith",
    "partition",
    "rpartition",
    "split",
    "rsplit",
    "removeprefix",
    "removesuffix",
    "find",
    "index",
}


def test_live_views_parse_no_names() -> None:
    """The target, the metric and `measured_from` are fields of a latency's key, so no view
    parses them from a name.
    """
    parsed = {
        (name, f"{of}.{function}")
        for name in LIVE_VIEWS
        for of, function in calls(name, PARSERS - {"endswith"})
    }

    assert parsed == set()


# Declared dependencies.

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ONLY_FOR_TYPES = {"_typeshed"}
NEVER_NAMED = {"pysocks"}
"""The distributions that no module imports by its name.

requests needs pysocks for SOCKS proxies, and azure-identity uses requests.
"""
distributions = cache(packages_distributions)


def distribution(module: str) -> str | None:
    """Return the distribution that contains the module.

    Return None for a namespace that is shared by several distributions.
    """
    named = distributions()[module.partition(".")[0]]
    if len(set(named)) == 1:
        return canonicalize_name(named[0])
    holding = (
        canonicalize_name(name)
        for path in (module, module.rpartition(".")[0])
        for name in _holding(path)
    )
    return next(holding, None)


def _holding(module: str) -> Iterator[str]:
    path = module.replace(".", "/")
    for name in sorted(set(distributions()[module.partition(".")[0]])) if module else ():
        if not {f"{path}.py", f"{path}/__init__.py"}.isdisjoint(files_of(name)):
            yield name


@cache
def files_of(distribution: str) -> frozenset[str]:
    return frozenset(map(str, files(distribution) or ()))


def declared(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


def imported() -> set[str | None]:
    """Return the distributions whose modules are imported by our modules."""
    foreign = {
        module
        for name in MODULES
        for module in imports(name)
        if module.partition(".")[0] not in {*PACKAGES, *ONLY_FOR_TYPES, *sys.stdlib_module_names}
    }
    return {distribution(module) for module in foreign} - {None}


def test_the_declared_dependencies_are_exactly_the_imported_ones() -> None:
    extras = PROJECT["optional-dependencies"]
    of_extras = (extras[name] for name in ("aws", "calls", "otel"))
    needed = declared([*PROJECT["dependencies"], *chain.from_iterable(of_extras)])

    assert imported() == needed - NEVER_NAMED
    assert needed >= NEVER_NAMED


# Names and texts.

UNITS = "bench.base.units"
FACTOR = re.compile(r"[MUN]?S_PER_[MUN]?S")
ARRAYS = {"Floats"}

NOUNLESS = {
    "By",
    "From",
    "It",
    "Of",
    "So",
    "Such",
    "That",
    "These",
    "No",
    "Nobody",  # codespell:ignore
    "Not",
    "Nothing",
    "They",
    "Those",
    "To",
    "Who",
    "Whoever",  # codespell:ignore
    "Whose",
    "With",
}

NANOSECONDS = 1_000_000_000
"""The number of nanoseconds per second. This factor has only one meaning. Any other factor may
also be a count."""


def test_factors_between_units_are_defined_only_in_bench_units() -> None:
    named = {
        (name, node.id)
        for name in MODULES
        for node in nodes(name)
        if isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Store)
        and FACTOR.fullmatch(node.id)
    }
    written = {
        (name, node.lineno)
        for name in MODULES
        for node in nodes(name)
        if isinstance(node, ast.BinOp)
        and any(literal(side) == NANOSECONDS for side in (node.left, node.right))
    }

    assert {name for name, _ in named | written} <= {UNITS}
    assert named


@needs_compiler
@pytest.mark.parametrize("name", C_MODULES)
def test_every_compiled_module_can_be_imported(name: str) -> None:
    """If the import fails, slower general code replaces the module, and no message is displayed."""
    importlib.import_module(name)


def test_class_names_are_unique_within_a_package() -> None:
    defined = {
        (path.partition(".")[0], name, path)
        for path in MODULES
        if not within(path, "scenarios")
        for name in types(tree(path))
    }
    times = Counter((package, name) for package, name, _ in defined)

    assert {(name, path) for package, name, path in defined if times[package, name] > 1} == set()


RESULTS = ("reports", "rtbench")
OWN_INTERVALS = 6
"""The number of classes with an interval of their own, outside of `results` and `statistics`. It
may only fall."""
JSON_TYPES = 73
"""The number of types of JSON documents. It may only fall."""


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield each class of the packages that compute results, with its module."""
    for name in MODULES:
        if within(name, *RESULTS):
            yield from ((name, node) for node in nodes(name) if isinstance(node, ast.ClassDef))


def test_the_number_of_classes_with_an_interval_of_their_own_only_falls() -> None:
    found = []
    for name, node in classes():
        fields = [
            of.target.id
            for of in node.body
            if isinstance(of, ast.AnnAssign) and isinstance(of.target, ast.Name)
        ]
        ends = {end for end in ("low", "high") if any(field.startswith(end) for field in fields)}
        if len(ends) == 2 and not within(name, "reports.results", "reports.statistics"):
            found.append(f"{name}.{node.name}")

    assert len(found) == OWN_INTERVALS, found


def test_the_number_of_types_of_json_documents_only_falls() -> None:
    bases = {
        node.name: {
            last_name(base.value if isinstance(base, ast.Subscript) else base)
            for base in node.bases
        }
        for _, node in classes()
    }
    kinds = {"JsonEntry"}
    while more := {name for name, of in bases.items() if of & kinds} - kinds:
        kinds |= more

    assert len(kinds) == JSON_TYPES


def test_a_docstring_begins_with_its_subject() -> None:
    """A docstring such as `Of the first that told` has no noun. A reader would have to search
    for its subject.
    """
    nounless = [
        f"{path}:{line} {text.splitlines()[0]}"
        for path in MODULES
        if within(path, "bench")
        for line, text in docstrings(path)
        if text.split()[0].rstrip(",:") in NOUNLESS
    ]

    assert nounless == []


def docstrings(name: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each docstring in a module.

    These are the docstrings of the module, its classes, functions, constants and attributes.
    """
    for node in nodes(name):
        body = getattr(node, "body", None)
        for line in body if isinstance(body, list) else ():
            if isinstance(line, ast.Expr) and isinstance(text := literal(line.value), str):
                yield line.lineno, text


def types(module: ast.Module) -> Iterator[str]:
    """Yield the names of the public classes and type aliases of a module.

    Leave out short names for numpy types (`Floats`).
    """
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        else:
            continue
        if name[0].isupper() and not name.isupper() and name not in ARRAYS:
            yield name


def literal(node: ast.expr) -> object:
    """Return the value of a constant, or of a power whose two operands are integers.

    Return None for any other expression.
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, power = literal(node.left), literal(node.right)
        return base**power if isinstance(base, int) and isinstance(power, int) else None
    return node.value if isinstance(node, ast.Constant) else None


PROSE = {
    "sentence",
    "notice",
    "note",
    "reason",
    "remedy",
    "verdict",
    "headline",
    "mark",
    "stopped",
    "cause",
    "unfit",
    "why",
    "said",
    "judged",
    "outcome",
    "threshold",
}
"""The names of values that contain text for people.

Code must not parse such a text. Instead, it must use the value from which the text is made.
"""
MATCHES = {"match", "fullmatch", "search"}
PARSED = {
    # a field of run.json: one of three constants, or the ends of several runs
    "stopped.startswith(ORDINARY_ENDS)",
}


def test_reports_do_not_parse_sentences_that_another_module_made() -> None:
    found = {
        (name, ast.unparse(node))
        for name in MODULES
        if within(name, "reports")
        for node in nodes(name)
        if parses(node) and ast.unparse(node) not in PARSED
    }

    assert found == set()


OF_OUTCOMES = {"outcome", "detail", "message", "words", "cause", "refusal", "event_id", "request"}
PARSES_ONCE = {
    ("bench.catalogue.outcomes", "outcome.partition(':')"),  # `parsed`
    ("bench.catalogue.outcomes", "outcome.startswith(EXPECTED)"),
    ("bench.catalogue.outcomes", "outcome.removeprefix(EXPECTED)"),
    ("bench.catalogue.words", "_CHARACTER.match(word)"),
    (
        "bench.catalogue.outcomes",
        "detail.removeprefix(f'{parts.code or parts.family}: ')",
    ),  # only shows it
    ("bench.observe.pending_turns", "event_id.rpartition('-')"),  # `cut_of`
}


def test_no_words_of_an_outcome_decide_in_the_core() -> None:
    """Decisions read `OutcomeParts` and `Code`. Texts are for people."""
    found = {
        (name, ast.unparse(node))
        for name in MODULES
        if within(name, "bench.observe", "bench.catalogue", "bench.doctor", "bench.session")
        and name != "bench.catalogue.causes"  # the reader of stored texts
        for node in nodes(name)
        if parses(node, OF_OUTCOMES)
    }

    assert found <= PARSES_ONCE


@pytest.mark.parametrize(
    "code",
    [
        'verdict.reason.partition(": ")',
        '"Holm" in verdict.reason',
        'item.threshold.startswith("failures")',
    ],
)
def test_the_check_for_parsed_sentences_finds_them(code: str) -> None:
    assert parses(ast.parse(code, mode="eval").body)


NAMED = {
    "not reported",
    "unnamed model",  # entries of summary.json without a name
}
PHRASE = re.compile(r"[a-z]{2,},? [a-z]")
CODES_ONLY = (
    "reports.analysis.summary",
    "reports.analysis.comparisons",
    "reports.analysis.targets.conditions",
    "reports.analysis.targets.fairness",
    "reports.analysis.check.results",
    "reports.analysis.check.stored_runs",
    "reports.analysis.trends.metric_trend",
    "reports.metrics.stored",
    "reports.results",
)


def test_results_contain_no_english_sentences() -> None:
    """Results contain codes and numbers. Their texts are in `reports/text`.

    The descriptions of the fields are in the schemas.
    """
    sentences = {
        (name, node.value)
        for name in MODULES
        if within(name, *CODES_ONLY)
        for node in texts(tree(name))
        if PHRASE.search(str(node.value)) and node.value not in NAMED
    }

    assert sentences == set()


def texts(module: ast.Module) -> Iterator[ast.Constant]:
    """Yield the string constants of a module. Leave out docstrings, the descriptions of fields,
    and user errors.
    """
    docstrings: set[int] = set()
    for node in ast.walk(module):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if docstring or (isinstance(node, ast.Call) and last_name(node) in ("Meta", "UsageError")):
            docstrings |= {id(inner) for inner in ast.walk(node)}
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ):
            yield node


def parses(node: ast.AST, prose: Collection[str] = PROSE) -> bool:
    """Return whether a node parses, searches or indexes a text with one of these names. A split
    after the first letter does not count.
    """
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        taken = (
            [node.func.value]
            if node.func.attr in PARSERS
            else node.args[:1]
            if node.func.attr in MATCHES
            else []
        )
        return any(last_name(each) in prose for each in taken)
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        return (
            isinstance(node.left, ast.Constant | ast.Name)
            and last_name(node.comparators[0]) in prose
        )
    if isinstance(node, ast.Subscript) and last_name(node.value) in prose:
        return isinstance(node.slice, ast.Constant | ast.Slice) and ast.unparse(node.slice) not in (
            ":1",
            "1:",
        )
    return False


def last_name(expression: ast.expr) -> str:
    """Return the last name of an expression. It is `reason` for `item.reason`, `reason(item)`
    and `reason`.
    """
    if isinstance(expression, ast.Call):
        return last_name(expression.func)
    return (
        expression.attr if isinstance(expression, ast.Attribute) else getattr(expression, "id", "")
    )


WORDS = {
    *GA.message_kinds,
    *GA.kinds,
    *PREVIEW.kinds,
    *EFFECTS,
    *MODALITIES,
    MAX_DURATION_CLOSE[1],
} - {"error"}  # an English word
LIKE_A_NAME = re.compile(
    r"(session|conversation|response|input_audio_buffer|output_audio_buffer|rate_limits)\.[\w.]+"
)

MAY_KNOW = (
    "bench.services",
    "rtbench_simulator",  # the service
    "bench.doctor",  # explains the service's messages
    "bench.catalogue.outcomes",  # names remedies for these messages
)
KERNEL = tuple(
    f"bench.{name}"
    for name in (
        "base",
        "files",
        "catalogue",
        "wire",
        "transport",
        "plan",
        "observe",
        "session",
        "record",
        "load",
    )
)
"""The packages that measure any service, and name none."""
REGISTRY = (
    "bench.services.registry",
    "bench.services.names",
    "bench.services.confirmed_settings",
)
IMPORT_A_SERVICE = {
    ("bench.target.address", "bench.services.azure"),  # the key `endpoint` is Azure's
    # reads what the simulator sent
    ("rtbench.calibrate.ground_truth", "bench.services.openai.dialect"),
    ("rtbench.calibrate.ground_truth", "bench.services.openai.preview"),
}
"""The modules that still import a service without the registry. This set may only become
smaller."""
NAME_A_SERVICE = {
    "bench.catalogue.causes": 5,  # in rows
    "bench.catalogue.columns": 5,
    "bench.catalogue.metrics": 1,
    "bench.catalogue.outcomes": 8,
    "bench.catalogue.turn_detection": 3,
    "bench.load.planning.lacking": 1,  # a column
    "bench.load.planning.run_options": 2,
    "bench.observe.observation": 1,  # the column
    "bench.observe.timeline": 1,  # the name of a cause
    "bench.plan.functions": 1,
    "bench.plan.script": 1,
    "bench.plan.script_keys": 4,
    "bench.plan.synthesizer": 3,
    "bench.record.upload": 2,  # Azure Blob Storage
    "bench.wire.settings": 2,
}
"""The numbers of names of services, and of the delegation that one of them has, in modules of the
kernel. They may only become smaller.
"""
DELEGATION = re.compile("delegat", re.IGNORECASE)
SERVICE_NAME = re.compile(
    r"(?<![a-z])(azure|openai|voice.?live|gpt.?live|xai|inworld|qwen|glm|stepfun|twilio|acs|"
    r"foundry(?:.?live)?|telnyx|plivo|exotel|vonage|genesys|elevenlabs|assemblyai|ultravox|"
    r"localai|huggingface|litellm|gemini|vertex.?ai|deepgram|nova.?sonic|vllm.?omni)(?![a-z])",
    re.IGNORECASE,
)


def constants(name: str) -> Iterator[str]:
    """Yield every string constant of a module."""
    for node in nodes(name):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_only_the_permitted_modules_contain_a_service_s_event_names() -> None:
    others = [name for name in MODULES if within(name, "bench") and not within(name, *MAY_KNOW)]
    texts = {(name, text) for name in others for text in constants(name)}

    # This outcome has the same spelling as a code of one service.
    texts -= {(name, "session_expired") for name in others}
    assert {
        (name, text) for name, text in texts if text in WORDS or LIKE_A_NAME.fullmatch(text)
    } == set()


def test_services_are_imported_only_by_the_registry() -> None:
    named = {
        (name, module)
        for name in MODULES
        if not within(name, "bench.services", "rtbench_simulator")
        for module in imports(name)
        if module in MODULES
        and within(module, "bench.services")
        and module not in ("bench.services", *REGISTRY)
    }

    assert named == IMPORT_A_SERVICE


def test_the_kernel_names_no_service() -> None:
    """Names and texts count, and docstrings do not."""
    named = Counter(
        name
        for name in MODULES
        if within(name, *KERNEL)
        for word in words_of(name)
        if SERVICE_NAME.search(word) or DELEGATION.search(word)
    )

    assert named == NAME_A_SERVICE


SHARED = tuple(
    f"rtbench_simulator.{name}"
    for name in (
        "behaviour",
        "caller_turns",
        "conversation",
        "delay",
        "faults",
        "ground_truth_log",
        "profile",
        "quota",
        "recorded_replies",
        "server_events",
        "serving",
        "session",
        "simulated_session",
    )
)
"""The modules of the simulator that serve any service, and name none."""
READ_CONSTANTS = ("rtbench_simulator.caller_turns", "rtbench_simulator.session")


def test_the_shared_modules_of_the_simulator_know_no_service() -> None:
    shared = [name for name in MODULES if within(name, *SHARED)]
    used = {
        (name, module)
        for name in shared
        for module in imports(name)
        if within(module, "rtbench_simulator.services")
        or (within(module, "bench.services") and not within(name, *READ_CONSTANTS))
    }

    assert used == set()
    assert {
        (name, word) for name in shared for word in words_of(name) if SERVICE_NAME.search(word)
    } == set()


def test_the_simulator_imports_only_constants_of_the_client_s_services() -> None:
    """A function or class of the client would make the same mistake on both sides, and no test
    would find it.
    """
    used = {
        (name, node.module, alias.name)
        for name in MODULES
        if within(name, "rtbench_simulator")
        for node in nodes(name)
        if isinstance(node, ast.ImportFrom)
        and node.module is not None
        and within(node.module, "bench.services")
        for alias in node.names
    }

    assert used
    assert {
        use for use in used if not is_plain(getattr(importlib.import_module(use[1]), use[2], None))
    } == set()


def test_the_simulator_imports_nothing_of_the_client_s_transport() -> None:
    """An error of the sockets and timestamps of one side must not hide in the other."""
    used = {
        (name, module)
        for name in MODULES
        if within(name, "rtbench_simulator")
        for module in imports(name)
    }

    assert {module for _, module in used if within(module, "bench.protocols")}
    assert {use for use in used if within(use[1], "bench.transport")} == set()


def is_plain(value: object) -> bool:
    """Return whether a value is data: texts, numbers, audio formats, and collections of them."""
    if isinstance(value, Mapping):
        return all(map(is_plain, (*value.keys(), *value.values())))
    if isinstance(value, tuple | frozenset):
        return all(map(is_plain, value))
    return isinstance(value, str | int | float | AudioFormat)


def words_of(name: str) -> Iterator[str]:
    """Yield the names and the string constants of a module, without docstrings."""
    documented = Counter(text for _, text in docstrings(name))
    for node in nodes(name):
        if isinstance(node, ast.Name | ast.Attribute):
            yield last_name(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            documented[node.value] -= 1
            if documented[node.value] < 0:
                yield node.value


def test_every_name_of_a_service_is_found() -> None:
    generic = {"ga", *get_args(TrackName), "preview", "translation", "pcm", "sip", "webrtc"}
    generic |= {"asterisk"}  # also a PBX, which remedies of telephone calls name
    names = {name for name in (*SERVICES, *DIALECTS) if name not in generic}

    assert all(SERVICE_NAME.fullmatch(name) for name in names)


def test_the_event_names_are_found_in_the_services() -> None:
    known = {text for name in MODULES if within(name, "bench.services") for text in constants(name)}

    assert known >= {*GA.message_kinds, *EFFECTS.keys() - PERMANENT.keys(), *MODALITIES}
