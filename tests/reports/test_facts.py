"""What one module says in words no other reads again: facts are handed on as values."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import reports

SAID = frozenset(("reason", "verdict", "judged", "why", "sentence", "threshold", "notice", "headline", "remedy"))
"""Names of what is worded."""
READ = frozenset(("startswith", "endswith", "partition", "rpartition", "split", "find", "index", "removeprefix"))


def parsed(tree: ast.AST) -> Iterator[int]:
    """The lines in which something worded is asked what it says."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=asked, attr=how)) if how in READ and worded(asked):
                yield node.lineno
            case ast.Compare(left=ast.Constant() | ast.Name(), ops=[ast.In() | ast.NotIn()], comparators=[asked]):
                if worded(asked):
                    yield node.lineno


def worded(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in SAID


def test_no_module_reads_what_another_said() -> None:
    found = []
    folder = Path(reports.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        found += [f"{path.relative_to(folder)}:{line}" for line in parsed(ast.parse(path.read_text("utf-8")))]

    assert found == []


def test_a_sentence_that_is_read_is_found() -> None:
    assert list(parsed(ast.parse('x = verdict.reason.partition(": ")'))) == [1]
    assert list(parsed(ast.parse('x = "Holm" in verdict.reason'))) == [1]
    assert list(parsed(ast.parse('x = item.threshold.startswith("failures")'))) == [1]
