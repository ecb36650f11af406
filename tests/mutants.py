"""Do the tests see it when a line of the product is wrong? Thirty lines are spoilt, one at a time, chosen by a seed.

    python -m tests.mutants [--tree FOLDER] [--seed N] [--count N] [--again FILE]

Files of the tree are changed in place and put back, so it wants a worktree of its own with a `.venv`. Each mutant meets
the tests that stand nearest (those that import its module, and the folder of its name); all that live meet the whole
suite at once, and each test that then fails meets each of them alone. `--again` tries the mutants of an earlier run
(`build/mutants.json`) whose lines still stand, so that two suites are held against the same ones.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

NEAR_S, ALL_S = 900, 7200
"""After so long a mutant hangs, which some test would have told."""
SWAPPED: dict[type, type] = {
    ast.Lt: ast.GtE, ast.LtE: ast.Lt, ast.Gt: ast.LtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
}  # fmt: skip
NO_LOGIC = (ast.JoinedStr, ast.Raise, ast.Assert)


@dataclass
class Mutant:
    """`line`: what stood there, by which it is found again; `now`: what stands there instead of `was`."""

    path: str
    number: int
    line: str
    was: str
    now: str
    column: int = 0
    fate: str = ""

    def spoil(self, text: str) -> str | None:
        """The file with the mutant in it; None where its line is gone, or no longer one of its kind."""
        lines = text.splitlines(keepends=True)
        found = [place for place, line in enumerate(lines) if line.strip() == self.line]
        place = min(found, key=lambda at: abs(at - self.number), default=None)
        if place is None:
            return None
        at = len(lines[place]) - len(lines[place].lstrip()) + self.column
        lines[place] = lines[place][:at] + self.now + lines[place][at + len(self.was) :]
        return "".join(lines)


def mutants(path: str, text: str) -> Iterator[Mutant]:
    """Every one of a file: comparisons and operators swapped, numbers one more, conditions and results undone."""
    lines = text.splitlines()
    for node in _logic(ast.parse(text)):
        if node.lineno != node.end_lineno:  # type: ignore[attr-defined]
            continue
        for now in _spoilt(node):
            number = node.lineno - 1  # type: ignore[attr-defined]
            line = lines[number]
            first, end = (len(line.encode()[:at].decode()) for at in (node.col_offset, node.end_col_offset))  # type: ignore[attr-defined]
            indent = len(line) - len(line.lstrip())
            yield Mutant(path, number, line.strip(), line[first:end], now, first - indent)


def _logic(node: ast.AST, *, inside: bool = False) -> Iterator[ast.AST]:
    """Statements and expressions inside functions, without annotations, messages and words."""
    inside |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "args", "decorator_list", "type_params") or isinstance(node, ast.Call):
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
        case ast.BinOp(left, op, right) if type(op) in SWAPPED and not isinstance(left, ast.Constant | ast.JoinedStr):
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


def chosen(tree: Path, seed: int, count: int) -> list[Mutant]:
    """So many lines of the product, each with one of its mutants."""
    listed = subprocess.run(["git", "ls-files", "bench/*.py", "reports/*.py"], cwd=tree, capture_output=True, text=True)
    by_line: dict[tuple[str, int], list[Mutant]] = {}
    for path in sorted(listed.stdout.split()):
        for mutant in mutants(path, (tree / path).read_text(encoding="utf-8")):
            by_line.setdefault((path, mutant.number), []).append(mutant)
    rng = random.Random(seed)
    return [rng.choice(by_line[line]) for line in rng.sample(sorted(by_line), count)]


def near(tree: Path, path: str) -> list[str]:
    """Tests of its name, of the folder of its package's name, and that import it, or else what imports it."""
    module, folder = Path(path).with_suffix(""), Path(path).parent
    tests = [test for test in sorted((tree / "tests").rglob("test_*.py")) if "release" not in test.parts]
    tops = [tree / "tests", tree / "tests" / "system"]
    mine = [top / inner for top in tops for inner in (folder, folder.relative_to(folder.parts[0]))]
    found = [test for test in tests if test.stem == f"test_{module.name}"]
    found += [test for one in mine if one not in tops and one.is_dir() for test in sorted(one.rglob("test_*.py"))]
    found += _importing(tests, module)
    if not found:
        product = [one for top in ("bench", "reports") for one in sorted((tree / top).rglob("*.py"))]
        above = [one.relative_to(tree).with_suffix("") for one in _importing(product, module)]
        found = [test for one in above for test in _importing(tests, one)]
    ordered = sorted(dict.fromkeys(found), key=lambda test: "system" in test.parts)  # these take long
    return [str(test.relative_to(tree)) for test in ordered]


def _importing(files: Iterable[Path], module: Path) -> list[Path]:
    package, name = ".".join(module.parts[:-1]), module.name
    imports = re.compile(rf"\b(from|import) {re.escape(package)}(\.{name}\b| import [^\n]*\b{name}\b)")
    return [file for file in files if imports.search(file.read_text(encoding="utf-8"))]


@contextmanager
def spoilt(tree: Path, several: Sequence[Mutant]) -> Iterator[bool]:
    """Each of them in its file. Yields whether all found their lines."""
    before = {tree / one.path: (tree / one.path).read_bytes() for one in several}
    try:
        told = []
        for one in several:
            text = one.spoil((tree / one.path).read_text(encoding="utf-8"))
            told.append(text is not None)
            if text is not None:
                (tree / one.path).write_text(text, encoding="utf-8")
        yield all(told)
    finally:
        for path, text_before in before.items():
            path.write_bytes(text_before)


def failed(tree: Path, tests: Sequence[str], *more: str, limit_s: float = NEAR_S) -> list[str] | None:
    """The tests that fail, or what happened instead of them; None where it never ended."""
    command = [str(tree / ".venv/bin/python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", *more, *tests]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}  # else a mutant's bytecode may outlive it
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None
    told = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
    return told or ([] if process.returncode in (0, 5) else [f"exit {process.returncode}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=Path.cwd())
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--again", type=Path)
    given = parser.parse_args()
    tree = given.tree.resolve()
    written = given.again and [Mutant(**one) for one in json.loads(given.again.read_text(encoding="utf-8"))]
    tried = written or chosen(tree, given.seed, given.count)
    for one in tried:
        with spoilt(tree, [one]) as there:
            tests = near(tree, one.path)
            told = failed(tree, tests, "-x") if there and tests else []
            one.fate = "its line is gone" if not there else _fate(told)
        _say(one)
        _keep(tree, tried)
    living = [one for one in tried if one.fate == ""]
    both = ("-n", "2", "--dist", "worksteal")
    with spoilt(tree, living):
        suspects = failed(tree, ["tests"], *both, limit_s=ALL_S) if living else []
    for one in living:  # the suspects may be hundreds, of which another mutant kills most
        with spoilt(tree, [one]):
            one.fate = _fate(failed(tree, suspects, "-x", *both, limit_s=ALL_S) if suspects else suspects) or "LIVES"
        _say(one)
    _keep(tree, tried)
    print(f"{sum(one.fate.startswith('killed') for one in tried)} of {len(tried)} killed")


def _fate(told: list[str] | None) -> str:
    return "killed: it hangs" if told is None else f"killed by {told[0]}" if told else ""


def _say(one: Mutant) -> None:
    print(f"{one.path}:{one.number + 1}: {one.was} → {one.now}: {one.fate or 'lives so far'}", flush=True)


def _keep(tree: Path, tried: Sequence[Mutant]) -> None:
    (tree / "build").mkdir(exist_ok=True)
    (tree / "build" / "mutants.json").write_text(json.dumps([asdict(one) for one in tried], indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
