"""Texts for users contain the terms of the field. They do not contain everyday words that once were
terms of this tool.

The tests check all string literals of the tool, because screens, pages, help, columns and schemas
consist of them. Docstrings and the messages of vendors are left out. The tests also check the
README and docs, except their code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from rtbench.cli.app import commands
from rtbench.cli.options import Group

ROOT = Path(__file__).parents[2]
WORDS = (
    "told",
    "kept",
    "broken",
    "wanted",
    "lost",
    "look",
    "looks",
    "arm",
    "arms",
    "side",
    "sides",
    "edge",
    "harness",
    "figure",
    "figures",
    "stamp",
    "stamps",
    "wait",
    "waits",
    "worth",
    "apart",
    "beside",
    "alike",
    "drawn",
    "floor",
    "ear",
    "begun",
    "least",
    "most",
    "void",
    "unsure",
)
FORBIDDEN = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)
ORDINARY = (
    # superlatives and bounds in ordinary English
    "at least",
    "at most",
    "most often",
    "most sessions",
    "most turns",
    "needs most",
    "than at most",
    "which has most",
    "the most",
    "least squares",
    # the verbs: to look at something, to wait for something
    "look at",
    "look into",
    "looks for",
    "looks parcels up",
    "looks up orders",
    "no wait, just",
    "look parcels up",
    "to wait",
    "callers wait",
    "waited for",
    "wait for",
    "waits for",
    "kept up",
    "keeps up",
    "do not use these results",
    # names in code that no screen shows
    "no_analysis",
    "final_analysis",
    "no figure",
    # labels of public data
    "strong floor hold",
    "floor-taking",
)
"""Phrases of ordinary English that are allowed although they contain forbidden words."""
VENDORS = ("rtbench_simulator/refusals.py", "rtbench_simulator/responses/lifecycle.py")
"""Modules whose literals are messages of services. The simulator sends the same messages."""
MODULES = [
    module
    for package in ("bench", "reports", "rtbench", "scenarios")
    for path in sorted((ROOT / package).rglob("*.py"))
    if (module := path.relative_to(ROOT).as_posix()) not in VENDORS
]
PAGES = [
    "README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "scenarios").rglob("*.yaml"))),
]
NO_PROSE = re.compile(r"`[^`]*`|--[a-z-]+|\]\([^)]*\)|<[^>]*>")
"""The parts of a page's text that are not checked: code, options, link targets, and tags."""
FENCED = re.compile(r"```.*?```|<!-- made:.*?<!-- end -->", re.DOTALL)
"""The blocks of a page that are not checked: code blocks, and tables that are generated from
literals."""
CODE = re.compile(r"[a-z0-9_.:/+-]*")
"""A literal that is a name and not a text: it has neither a space nor a capital letter."""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each string literal of a module that is neither a docstring nor a
    name.
    """
    module = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = set[int]()
    for node in ast.walk(module):
        if isinstance(node, ast.Expr):  # which ast.walk yields before its value
            docstrings.add(id(node.value))
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            text = node.value if isinstance(node.value, str) else ""
            if not CODE.fullmatch(text):
                yield node.lineno, text


def found_in(text: str) -> list[str]:
    """Return the forbidden words of a text, except those in ordinary phrases."""
    rest = text.lower()
    for phrase in ORDINARY:
        rest = rest.replace(phrase, "")
    return FORBIDDEN.findall(NO_PROSE.sub("", rest))


def test_no_printed_text_uses_a_coined_word_as_a_term() -> None:
    found = [
        f"{module}:{line}: {words} in {text!r}"
        for module in MODULES
        for line, text in texts(ROOT / module)
        if (words := found_in(text))
    ]

    assert found == []


def test_no_help_text_uses_a_coined_word_as_a_term() -> None:
    assert [(words, text) for text in helps(commands()) if (words := found_in(text))] == []


def helps(command: Any) -> Iterator[str]:
    """Yield the help of a command, of its parameters, and of its subcommands."""
    yield command.help or ""
    yield from (str(getattr(one, "help", None) or "") for one in command.params)
    if isinstance(command, Group):
        for name in command.list_commands(cast(Any, None)):
            yield from helps(command.get_command(cast(Any, None), name))


def test_no_page_uses_a_coined_word_as_a_term() -> None:
    found = [
        f"{page}: {words} in {line!r}"
        for page in PAGES
        for line in FENCED.sub("", (ROOT / page).read_text(encoding="utf-8")).splitlines()
        if (words := found_in(line))
    ]

    assert found == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("look 3 of 5 held", ["look"]),
        ("it needs at least 20 sessions: look at its status page", []),
        ("the harness is late", ["harness"]),
    ],
)
def test_the_check_finds_coined_words_but_not_ordinary_english(text: str, words: list[str]) -> None:
    assert found_in(text) == words
