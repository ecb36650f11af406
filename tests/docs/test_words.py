"""What users read has the field's terms: none of the words that only this tool once used as terms.

In scope: the string literals of the modules that write what screens show (verdicts, notes, terminal texts, live line,
capacity, doctor, sample size), and the pages of docs that are listed. Out of scope for now: the rest of docs, whose
prose is being rewritten; names in JSON and columns; docstrings and comments; the texts of `bench/plan` and
`bench/target`, of calibration and of the simulator.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = (
    "told", "kept", "broken", "wanted", "lost", "look", "looks", "arm", "arms", "side", "sides", "edge", "harness",
    "figure", "figures", "stamp", "stamps", "wait", "waits", "worth", "apart", "beside", "alike", "drawn", "floor",
    "ear", "begun", "least", "most", "void", "unsure",
)  # fmt: skip
FORBIDDEN = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)
ORDINARY = (
    # superlatives and bounds in running English
    *("at least", "at most", "most often", "most sessions", "most turns", "needs most", "than at most"),
    *("which has most", "the most", "least squares"),
    # to look at something, to wait for something: verbs
    *("look at", "look into", "to wait", "waited for", "wait for", "waits for"),
    *("kept up", "keeps up", "no row is lost", "do not use these figures"),
    # kinds that code calls so, which no screen shows
    *("no look", "last look", "no figure"),
)
"""Ordinary English that these words are allowed in."""
MODULES = (
    "reports/finding_sentences.py",
    "reports/comparisons/sentences.py",
    "reports/looks/decision.py",
    "reports/gate/sentences.py",
    "reports/wording/verdicts.py",
    "bench/load/leading/terminal.py",
    "bench/capacity/conclude.py",
    "reports/sizing.py",
    "reports/wording/notices.py",
    "reports/wording/sentences.py",
    "reports/text/terminal.py",
    "reports/comparisons/outputs.py",
    "reports/gate/outputs.py",
    "reports/gate/check.py",
    "reports/gate/relative.py",
    "reports/finding_rows.py",
    "bench/load/leading/leader.py",
    "bench/load/leading/tally.py",
)
CODE = re.compile(r"[a-z0-9_.:/+-]*")
"""A literal without a space or a capital is a name, not a text."""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each literal of a module that is no docstring, no name and no description of a JSON field."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    beside: set[int] = set()
    for node in ast.walk(module):
        documented = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        described = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "about"
        if documented or described:
            beside |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and id(node) not in beside:
            text = node.value if isinstance(node.value, str) else ""
            if not CODE.fullmatch(text):
                yield node.lineno, text


def found_in(text: str) -> list[str]:
    """Return the forbidden words of a text, without those in ordinary English."""
    rest = text.lower()
    for phrase in ORDINARY:
        rest = rest.replace(phrase, "")
    return FORBIDDEN.findall(re.sub(r"`[^`]*`|--[a-z-]+", "", rest))


@pytest.mark.parametrize("module", MODULES)
def test_no_text_on_a_screen_uses_a_coined_word_as_a_term(module: str) -> None:
    found = [(line, words, text) for line, text in texts(ROOT / module) if (words := found_in(text))]

    assert found == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("an arm drifts by itself", ["arm"]),
        ("look 3 of 5 held", ["look"]),
        ("it needs at least 20 sessions: look at its status page", []),
        ("each figure is gated", ["figure"]),
        ("the harness is late", ["harness"]),
    ],
)
def test_a_coined_word_is_found_and_ordinary_english_is_not(text: str, words: list[str]) -> None:
    assert found_in(text) == words
