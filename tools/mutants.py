"""Count the mutants of the product that the tests kill. A mutant is one changed expression, drawn
with a seed.

python -m tools.mutants [--count N] [--seed N] [--again FILE] [--product PATH…] [--tests PATH…]
[--jobs N] [--matrix]

A first run records which tests execute each line (coverage contexts, in build/mutants). Then the
tests that execute the line of a mutant test this mutant, in a forked process that imports the
changed module. No file is changed. The result is written to build/mutants.json. `--again` repeats
the mutants of an earlier result, except those that were killed by a test that still exists.
`--product` selects the folders or files to mutate, and `--tests` selects the tests to run (by
default all except tests/system). `--matrix` runs all tests of each mutant, also after the first one
that fails, and writes a row for each test to build/mutants.txt: the mutants that it executes, that
it kills, and that no other test kills.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import selectors
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path("build/mutants")
RESULT = Path("build/mutants.json")
MATRIX = Path("build/mutants.txt")
PACKAGES = ["bench", "reports", "rtbench", "rtbench_simulator"]
FIRST_TESTS, FIRST_FILES = 40, 8
"""The maximum number of tests, and the maximum number of test files, in the first part of a trial.

The quickest tests run first. They come from few files, because the import of a file takes longer
than most tests.
"""
LONGEST_S = 40.0
"""The maximum total duration of the tests of one mutant, from durations that were measured
without mutants."""
HANGS_S = 240
SWAPPED: dict[type, type] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
}
LOGS = {
    f"tests/{name}.py"
    for name in (
        "observe/test_talks",
        "services/test_messages",
        "sessions/test_sessions",
        "simulator/telephone/test_calls",
        "simulator/test_talks",
        "transport/sip/test_dialogs",
    )
}
"""The files whose tests play logs with many cases."""
NO_LOGIC = (ast.JoinedStr, ast.Raise, ast.Assert)


@dataclass
class Mutant:
    """A change of one expression. `was` is the original expression, and `now` replaces it.

    `line` is the text of the line that contains the expression. The line is found again by this
    text.
    """

    path: str
    number: int
    line: str
    was: str
    now: str
    column: int = 0
    fate: str = ""
    """The result of the test of this mutant.

    It is `killed by TEST`, `killed: it hangs`, `killed: the process ends`, `lives`, `not covered`,
    or `gone` (the line does not exist any more).
    """
    killers: list[str] = field(default_factory=list)
    """All tests that fail, with `--matrix`; otherwise the first one."""

    def find(self, text: str) -> bool:
        """Set `number` to the nearest line of `text` that has the text `line`. Return whether
        there is such a line.
        """
        found = [
            number for number, line in enumerate(text.splitlines()) if line.strip() == self.line
        ]
        self.number = min(found, key=lambda at: abs(at - self.number), default=self.number)
        return bool(found)

    def spoil(self, text: str) -> str:
        """Return the text of the file in which this mutant has replaced the original expression."""
        lines = text.splitlines(keepends=True)
        line = lines[self.number]
        at = len(line) - len(line.lstrip()) + self.column
        lines[self.number] = line[:at] + self.now + line[at + len(self.was) :]
        return "".join(lines)


def mutants(path: str, text: str) -> Iterator[Mutant]:
    """Yield every mutant of a file.

    A mutant has a swapped operator, a number plus one, an inverted condition, or a removed result.
    """
    lines = text.splitlines()
    for node in _logic(ast.parse(text)):
        if node.lineno != node.end_lineno:  # type: ignore[attr-defined]
            continue
        for now in _spoilt(node):
            number = node.lineno - 1  # type: ignore[attr-defined]
            line = lines[number]
            first, end = (
                len(line.encode()[:at].decode())
                for at in (node.col_offset, node.end_col_offset)  # type: ignore[attr-defined]
            )
            indent = len(line) - len(line.lstrip())
            yield Mutant(path, number, line.strip(), line[first:end], now, first - indent)


def _logic(node: ast.AST, *, inside: bool = False) -> Iterator[ast.AST]:
    """Yield the statements and expressions inside functions. Leave out annotations and messages."""
    inside |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for name, value in ast.iter_fields(node):
        if name not in (
            "annotation",
            "returns",
            "args",
            "decorator_list",
            "type_params",
        ) or isinstance(node, ast.Call):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not isinstance(child, NO_LOGIC):
                    if inside and hasattr(child, "col_offset"):
                        yield child
                    yield from _logic(child, inside=inside)


def _spoilt(node: ast.AST) -> Iterable[str]:
    match node:
        case ast.Compare(left, [op], [right]) if type(op) in SWAPPED:
            yield f"({ast.unparse(ast.Compare(left, [SWAPPED[type(op)]()], [right]))})"
        case ast.BoolOp(op, values):
            yield f"({ast.unparse(ast.BoolOp(SWAPPED[type(op)](), values))})"
        case ast.BinOp(left, op, right) if type(op) in SWAPPED and not isinstance(
            left, ast.Constant | ast.JoinedStr
        ):
            yield f"({ast.unparse(ast.BinOp(left, SWAPPED[type(op)](), right))})"
        case ast.UnaryOp(ast.Not(), operand):
            yield f"bool({ast.unparse(operand)})"
        case ast.Constant(bool() as value):
            yield str(not value)
        case ast.Constant(int() | float() as value):
            yield str(value + 1)
        case ast.Return(ast.expr() as value) if ast.unparse(value) != "None":
            yield "return None"
        case ast.IfExp(test, body, other):
            yield f"({ast.unparse(ast.IfExp(test, other, body))})"


def chosen(product: Sequence[str], seed: int, count: int) -> list[Mutant]:
    """Draw `count` lines of the product, and draw one mutant for each of these lines."""
    listed = subprocess.run(["git", "ls-files", *product], capture_output=True, text=True)
    by_line: dict[tuple[str, int], list[Mutant]] = {}
    for path in sorted(path for path in listed.stdout.split() if path.endswith(".py")):
        for mutant in mutants(path, Path(path).read_text(encoding="utf-8")):
            by_line.setdefault((path, mutant.number), []).append(mutant)
    rng = random.Random(seed)
    return [rng.choice(by_line[line]) for line in rng.sample(sorted(by_line), count)]


class Contexts:
    """A plugin for the first run, which records the lines that each test executes.

    It uses the ID of a test as the name of its coverage context, and records the duration of each
    test.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        from coverage import Coverage  # only the measuring run needs it

        measured = Coverage.current()
        assert measured is not None
        measured.switch_context(test_of(item.nodeid))
        result = yield
        measured.switch_context("")
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[test_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):
            (FOLDER / "seconds.json").write_text(json.dumps(self.seconds), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Register this module as a plugin, so that `-p tools.mutants` works."""
    config.pluginmanager.register(Contexts())


def test_of(nodeid: str) -> str:
    """Return the ID of a test without its parameters. A case of a log is a test of its own."""
    name, bracket, case = nodeid.partition("[")
    return name + bracket + case if name.partition("::")[0] in LOGS else name


SETTINGS = """[run]
source = {source}
parallel = true
patch = subprocess
data_file = {folder}/covered
"""


def measure(tests: Sequence[str]) -> None:
    """Run the tests once and record the lines that each test executes."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    settings = FOLDER / "coveragerc"
    settings.write_text(
        SETTINGS.format(source=", ".join(PACKAGES), folder=FOLDER.resolve()), encoding="utf-8"
    )
    for old in FOLDER.glob("covered*"):
        old.unlink()
    coverage = [sys.executable, "-m", "coverage"]
    command = [
        *coverage,
        "run",
        f"--rcfile={settings}",
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-p",
        "tools.mutants",
    ]
    environment = os.environ | {"CI": "1", "COVERAGE_RUN": "1"}
    subprocess.run(
        [*command, "-p", "no:cacheprovider", "--ignore", "tests/system", *tests],
        env=environment,
        check=True,
    )
    subprocess.run([*coverage, "combine", "-q", f"--rcfile={settings}"], check=True)


class Suite:
    """The tests that execute each line of the product, and the duration of each of these tests
    in seconds.
    """

    def __init__(self) -> None:
        from coverage import CoverageData

        self.seconds: dict[str, float] = json.loads(
            (FOLDER / "seconds.json").read_text(encoding="utf-8")
        )
        self._data = CoverageData(str(FOLDER / "covered"))
        self._data.read()
        self._lines: dict[str, dict[int, list[str]]] = {}

    def tests(self, mutant: Mutant) -> list[str]:
        """Return the tests that execute the line of a mutant. The quickest test is first."""
        path = str(Path(mutant.path).resolve())
        if path not in self._lines:
            self._lines[path] = self._data.contexts_by_lineno(path)
        found = [
            test for test in self._lines[path].get(mutant.number + 1, []) if test in self.seconds
        ]
        return sorted(found, key=lambda test: self.seconds[test])


def parts(tests: Sequence[str], seconds: dict[str, float]) -> Iterator[list[str]]:
    """Yield the tests for the first process, and then the tests for the second one.

    Leave out tests beyond `LONGEST_S`.
    """
    first: list[str] = []
    files: set[str] = set()
    rest: list[str] = []
    spent_s = 0.0
    for test in tests:
        spent_s += seconds[test]
        if spent_s > LONGEST_S and first:
            break
        file = test.partition("::")[0]
        if len(first) < FIRST_TESTS and (file in files or len(files) < FIRST_FILES):
            files.add(file)
            first.append(test)
        else:
            rest.append(test)
    yield first
    if rest:
        yield rest


class Killer:
    """A plugin that runs tests in the given order, and writes the name of each failing test to a
    pipe.
    """

    def __init__(self, order: Sequence[str], pipe: int) -> None:
        self._order = {test: at for at, test in enumerate(order)}
        self._pipe = pipe

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._order.get(test_of(item.nodeid), len(self._order)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self._pipe, f"killed by {report.nodeid}\n".encode())

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            os.write(self._pipe, f"killed by {report.nodeid} (import)\n".encode())


def run(mutant: Mutant, tests: Sequence[str], pipe: int, *, until_killed: bool) -> None:
    """Run tests with a mutant in this process. This process must not have imported the product
    before.
    """
    path = str(Path(mutant.path).resolve())
    changed = mutant.spoil(Path(path).read_text(encoding="utf-8"))
    original = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> Any:
        if loader.path == path:
            return loader.source_to_code(changed, path)
        return original(loader, name)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    options = ["-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:randomly"]
    pytest.main(
        [*options, *(["-x"] if until_killed else []), *tests], plugins=[Killer(tests, pipe)]
    )


class Trial:
    """The test of one mutant. It has at most two parts, and each part is a forked process. It ends
    with the first test that kills the mutant if `until_killed`.
    """

    def __init__(self, mutant: Mutant, suite: Suite, *, until_killed: bool) -> None:
        self.mutant, self._until_killed = mutant, until_killed
        tests = suite.tests(mutant)
        self._parts = parts(tests, suite.seconds) if until_killed else iter([tests])
        mutant.fate = "lives" if tests else "not covered"
        self.pipe = self.pid = -1
        self.ends_at = 0.0

    def go_on(self) -> bool:
        """Start the next part. Return False if there is no next part, or if the mutant has
        already been killed.
        """
        tests = next(self._parts, [])
        if not tests or self.mutant.fate != "lives":
            return False
        self.pipe, theirs = os.pipe()
        self.ends_at = time.monotonic() + HANGS_S
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.setsid()
                os.close(self.pipe)
                run(self.mutant, tests, theirs, until_killed=self._until_killed)
                status = 0
            finally:
                os._exit(status)
        os.close(theirs)
        return True

    def end(self) -> None:
        """Kill the process of the current part, which has ended or hangs. Read the result of the
        mutant.
        """
        hangs = time.monotonic() >= self.ends_at
        with_signal(self.pid)
        _, status = os.waitpid(self.pid, 0)
        with open(self.pipe, encoding="utf-8") as written:
            killers = written.read().splitlines()
        if killers:
            self.mutant.fate = killers[0]
            names = (test_of(each.removeprefix("killed by ")) for each in killers)
            self.mutant.killers = list(dict.fromkeys(names))
        elif hangs:
            self.mutant.fate = "killed: it hangs"
        elif os.WIFEXITED(status) and os.WEXITSTATUS(status):
            self.mutant.fate = "killed: the process ends"


def with_signal(group: int) -> None:
    """Kill a process group: a process and the processes that it started."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def try_all(
    mutants: Sequence[Mutant],
    every: Sequence[Mutant],
    suite: Suite,
    jobs: int,
    *,
    until_killed: bool,
) -> None:
    """Test the mutants. Test up to `jobs` mutants at the same time."""
    waiting = iter(mutants)
    running: dict[int, Trial] = {}
    with selectors.DefaultSelector() as selector:
        while True:
            while len(running) < jobs and (mutant := next(waiting, None)):
                start(Trial(mutant, suite, until_killed=until_killed), running, selector)
            if not running:
                return
            ready = {key.fd for key, _ in selector.select(timeout=1)}
            for fd, trial in list(running.items()):
                if fd in ready or time.monotonic() >= trial.ends_at:
                    selector.unregister(fd)
                    del running[fd]
                    trial.end()
                    start(trial, running, selector)
                    if trial not in running.values():
                        show(trial.mutant)
                        write(every)


def start(trial: Trial, running: dict[int, Trial], selector: selectors.BaseSelector) -> None:
    """Start the next part of a trial. Do nothing if the trial has no next part."""
    if trial.go_on():
        running[trial.pipe] = trial
        selector.register(trial.pipe, selectors.EVENT_READ)


def show(one: Mutant) -> None:
    print(f"{one.path}:{one.number + 1}: {one.was} → {one.now}: {one.fate}", flush=True)


def write(every: Sequence[Mutant]) -> None:
    RESULT.write_text(json.dumps([asdict(one) for one in every], indent=1), encoding="utf-8")


def matrix(every: Sequence[Mutant], suite: Suite) -> Iterator[str]:
    """Yield a row for each test that executes a mutant: the numbers of mutants that it executes,
    that it kills, and that it alone kills. The tests that kill nothing alone are last.
    """
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for mutant in every:
        for test in suite.tests(mutant):
            is_killer = test in mutant.killers
            is_only = mutant.killers == [test]
            for place, counted in enumerate((True, is_killer, is_only)):
                counts[test][place] += counted
    yield "alone killed executed test\n"
    for test, (executed, killed, alone) in sorted(
        counts.items(), key=lambda each: (-each[1][2], -each[1][1], each[0])
    ):
        yield f"{alone} {killed} {executed} {test}\n"


def main() -> None:
    """Measure the tests, test the mutants, and print the share of killed mutants."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", type=Path)
    parser.add_argument("--matrix", action="store_true")
    parser.add_argument("--product", nargs="*", default=PACKAGES)
    parser.add_argument("--tests", nargs="*", default=["tests"])
    parser.add_argument(
        "--measured", action="store_true", help="use the lines that an earlier run noted"
    )
    given = parser.parse_args()
    if not given.measured:
        measure(given.tests)
    suite = Suite()
    if given.again:
        every = [Mutant(**one) for one in json.loads(given.again.read_text(encoding="utf-8"))]
    else:
        every = chosen(given.product, given.seed, given.count)
    every = [one for one in every if one.path.startswith(tuple(given.product))]
    tried = []
    for one in every:
        file = Path(one.path)
        if not file.exists() or not one.find(file.read_text(encoding="utf-8")):
            one.fate = "gone"
        elif not is_there(one, suite, given.tests):
            tried.append(one)
    for module in PRELOADED:
        __import__(module)
    try_all(tried, every, suite, given.jobs, until_killed=not given.matrix)
    write(every)
    if given.matrix:
        MATRIX.write_text("".join(matrix(every, suite)), encoding="utf-8")
    there = [one for one in every if one.fate != "gone"]
    killed = sum(one.fate.startswith("killed") for one in there)
    print(
        f"{killed} of {len(there)} mutants are killed; {len(every) - len(there)} no longer have"
        " their line"
    )


def is_there(one: Mutant, suite: Suite, tests: Sequence[str]) -> bool:
    """Return whether the test that killed a mutant in an earlier run still exists.

    If this test is not among `tests`, only check that its file exists.
    """
    killer = test_of(one.fate.removeprefix("killed by "))
    file = killer.partition("::")[0]
    elsewhere = not file.startswith(tuple(tests)) and Path(file).is_file()
    return one.fate.startswith("killed") and (killer in suite.seconds or elsewhere)


PRELOADED = (
    "hypothesis",
    "jsonschema",
    "msgspec",
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "soundfile",
    "yaml",
)
"""The packages that most tests import."""

if __name__ == "__main__":
    os.environ |= {"CI": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    sys.exit(main())
