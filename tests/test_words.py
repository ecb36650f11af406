"""Rules for names and words that a program can hold."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

from tests.test_imports import MODULES, nodes, tree, within

UNITS = "bench.units"
FACTOR = re.compile(r"[MUN]?S_PER_[MUN]?S")
ARRAYS = {"Floats"}

NOUNLESS = {
    *("By", "From", "It", "Of", "So", "Such", "That", "These"),
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


def test_a_name_of_bench_is_one_thing() -> None:
    """A reader who meets a class or a type there need not ask which of several it is."""
    defined = [(name, path) for path in MODULES if within(path, "bench") for name in types(tree(path))]
    times = Counter(name for name, _ in defined)

    assert {(name, path) for name, path in defined if times[name] > 1} == set()


def test_a_docstring_begins_with_what_it_is_about() -> None:
    """`Of the first that told` leaves out of what; a reader who meets it would have to look for the noun."""
    nounless = [
        f"{path}:{line} {text.splitlines()[0]}"
        for path in MODULES
        if within(path, "bench")
        for line, text in docstrings(tree(path))
        if text.split()[0].rstrip(",:") in NOUNLESS
    ]

    assert nounless == []


def docstrings(module: ast.Module) -> Iterator[tuple[int, str]]:
    """The docstrings of a module, of what is in it, and those below its constants and attributes, with their lines."""
    for node in ast.walk(module):
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
