"""Rules for names and words that a program can hold."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.test_imports import MODULES, nodes, tree, within

UNITS = "bench.units"
FACTOR = re.compile(r"[MUN]?S_PER_[MUN]?S")
ARRAYS = {"Floats"}

NOUNLESS = {
    *("By", "From", "It", "Of", "So", "Such", "That", "These"),
    *("No", "Nobody", "Not", "Nothing"),
    *("They", "Those", "To", "Who", "Whoever", "Whose", "With"),
}

NANOSECONDS = 1_000_000_000
"""The one factor that nothing else is: a second of nanoseconds. Every other may be a count of something."""


def test_factors_between_units_are_named_in_one_place() -> None:
    named = {
        (name, node.id)
        for name in MODULES
        for node in nodes(name)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and FACTOR.fullmatch(node.id)
    }
    written = {
        (name, node.lineno)
        for name in MODULES
        for node in nodes(name)
        if isinstance(node, ast.BinOp) and any(literal(side) == NANOSECONDS for side in (node.left, node.right))
    }

    assert {name for name, _ in named | written} <= {UNITS}
    assert named


@pytest.mark.parametrize("package", ["bench", "reports"])
def test_a_name_of_a_package_is_one_thing(package: str) -> None:
    """A reader who meets a class or a type there need not ask which of several it is."""
    assert standing_twice(package, types) == set()


@pytest.mark.parametrize("package", ["bench", "reports"])
def test_a_public_function_of_a_package_has_a_name_of_its_own(package: str) -> None:
    """Commands are called as users type them, and may be named like what they call."""
    twice = {(name, path) for name, path in standing_twice(package, public_functions) if not within(path, "bench.cli")}

    assert {name for name, _ in twice if sum(name == other for other, _ in twice) > 1} == set()


def test_a_module_of_bench_has_a_name_of_its_own() -> None:
    """Errors, tests and readers call a module by its last word alone; each search has its `page`."""
    times = Counter(path.stem for name, path in MODULES.items() if within(name, "bench") and path.stem != "__init__")

    assert {name for name, count in times.items() if count > 1} == {"page"}


def standing_twice(package: str, names: Callable[[ast.Module], Iterator[str]]) -> set[tuple[str, str]]:
    """The names that several modules of a package have, each with its modules."""
    defined = [(name, path) for path in MODULES if within(path, package) for name in names(tree(path))]
    times = Counter(name for name, _ in defined)
    return {(name, path) for name, path in defined if times[name] > 1}


def public_functions(module: ast.Module) -> Iterator[str]:
    """The names of a module's functions that others may use."""
    yield from (
        node.name for node in module.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    )


def test_a_docstring_begins_with_what_it_is_about() -> None:
    """`Of the first that told` leaves out of what; a reader who meets it would have to look for the noun."""
    nounless = [
        f"{path}:{line} {text.splitlines()[0]}"
        for path in MODULES
        if within(path, "bench")
        for line, text in docstrings(path)
        if text.split()[0].rstrip(",:") in NOUNLESS
    ]

    assert nounless == []


def docstrings(name: str) -> Iterator[tuple[int, str]]:
    """The docstrings of a module, of what is in it, and those below its constants and attributes, with their lines."""
    for node in nodes(name):
        body = getattr(node, "body", None)
        for line in body if isinstance(body, list) else ():
            if isinstance(line, ast.Expr) and isinstance(text := literal(line.value), str):
                yield line.lineno, text


def types(module: ast.Module) -> Iterator[str]:
    """The names of a module's public classes and type aliases; `Floats` and the like are numpy's, by a short name."""
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
    """The number that an expression of literals is; None of any other."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, power = literal(node.left), literal(node.right)
        return base**power if isinstance(base, int) and isinstance(power, int) else None
    return node.value if isinstance(node, ast.Constant) else None


PROSE = {
    *("sentence", "notice", "note", "reason", "remedy", "verdict", "headline", "mark", "stopped", "cause", "unfit"),
    *("why", "said", "judged", "outcome"),
}
"""What holds a text for people: who wants to know what it says asks for the value that it was made of."""
PARSERS = {
    *("startswith", "endswith", "partition", "rpartition", "split", "removeprefix", "removesuffix", "find", "index"),
}
MATCHES = {"match", "fullmatch", "search"}
PARSED = {
    "stopped.startswith(ORDINARY_ENDS)",  # of run.json: one of three constants, or how several runs ended
    *("outcome.startswith(EXPECTED)", "outcome.removeprefix(EXPECTED)", "outcome.split(':')"),  # codes, no texts
}


def test_no_report_parses_a_sentence_that_another_one_made() -> None:
    found = {
        (name, ast.unparse(node))
        for name in MODULES
        if within(name, "reports")
        for node in nodes(name)
        if parses(node) and ast.unparse(node) not in PARSED
    }

    assert found == set()


NAMED = {
    "not told", "a model that was not named",  # names in summary.json of what has none
    "permessage-deflate in ", "; else the service declined",  # a fact of an arm, as its document keeps it
}  # fmt: skip
PHRASE = re.compile(r"[a-z]{2,},? [a-z]")


def test_what_sums_up_a_run_speaks_no_english() -> None:
    """It has kinds and numbers; `wording` has the words. Sentences about fields are the schemas'."""
    said = {
        (name, node.value)
        for name in MODULES
        if within(name, "reports.summary")
        for node in texts(tree(name))
        if PHRASE.search(str(node.value)) and node.value not in NAMED
    }

    assert said == set()


def texts(module: ast.Module) -> Iterator[ast.Constant]:
    """The texts of a module that are neither docstrings nor about fields."""
    beside: set[int] = set()
    for node in ast.walk(module):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if docstring or (isinstance(node, ast.Call) and last_name(node) == "about"):
            beside |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in beside:
            yield node


def parses(node: ast.AST) -> bool:
    """Whether a text is taken apart, searched or indexed; a capital letter before the rest of it is neither."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        taken = [node.func.value] if node.func.attr in PARSERS else node.args[:1] if node.func.attr in MATCHES else []
        return any(last_name(each) in PROSE for each in taken)
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        return isinstance(node.left, ast.Constant) and last_name(node.comparators[0]) in PROSE
    if isinstance(node, ast.Subscript) and last_name(node.value) in PROSE:
        return isinstance(node.slice, ast.Constant | ast.Slice) and ast.unparse(node.slice) not in (":1", "1:")
    return False


def last_name(expression: ast.expr) -> str:
    """Of `item.reason`, of `reason(item)` and of `reason` alike: reason."""
    if isinstance(expression, ast.Call):
        return last_name(expression.func)
    return expression.attr if isinstance(expression, ast.Attribute) else getattr(expression, "id", "")
