"""All commands use the exit statuses of one table."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = "bench/base/errors.py"
# they run if the table cannot be imported
BEFORE_IMPORT = ("rtbench/__init__.py", "rtbench/cli/__init__.py")
EXITS = {"exit", "Exit", "SystemExit"}


def literals(path: Path) -> list[str]:
    """Return the places of a module where a number is an exit status: a constant, or the
    argument of an exit.
    """
    found: list[str] = []
    text = path.read_text()
    if "exit" not in text.lower() and "_STATUS" not in text:
        return found  # Most modules need not be parsed.
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign) and any(
            "_STATUS" in ast.unparse(target) for target in node.targets
        ):
            numbers: list[ast.expr] = (
                node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            )
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in EXITS:
            either = [
                [of.body, of.orelse] if isinstance(of, ast.IfExp) else [of] for of in node.args
            ]
            numbers = [part for parts in either for part in parts]
        else:
            continue
        is_number = any(
            isinstance(number, ast.Constant) and type(number.value) is int for number in numbers
        )
        found += [f"{path.relative_to(ROOT)}:{node.lineno}"] if is_number else []
    return found


def test_no_other_module_defines_an_exit_status() -> None:
    modules = [
        path
        for package in ("bench", "reports", "rtbench", "rtbench_simulator")
        for path in (ROOT / package).rglob("*.py")
    ]
    known = {ROOT / name for name in (TABLE, *BEFORE_IMPORT)}

    assert [place for path in sorted(set(modules) - known) for place in literals(path)] == []
    assert all(literals(ROOT / name) for name in BEFORE_IMPORT)
