"""Every test, and every conversation of a log, that a claim in tests/claims.md names exists."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = [
    line
    for line in (ROOT / "tests/claims.md").read_text(encoding="utf-8").splitlines()
    if line[:2] == "- "
]
TEST = r"tests/[\w/]+(?:\.py::test_\w+|\.log::[^`]+)"
CLAIM = re.compile(rf"- (?P<claim>.+?\.)(?P<tests>(?: `{TEST}`){{1,2}})")
FORMS = {".py": r"^def (\w+)\(", ".log": r"^(\w[^:\n]*)"}
"""How a test, and how a conversation without its variant, begins."""


def names_in(path: str) -> set[str]:
    """Return the names of a file's tests without importing the file."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return set(re.findall(FORMS[Path(path).suffix], text, re.MULTILINE))


def test_every_claim_names_tests_that_exist() -> None:
    claims = {line: CLAIM.fullmatch(line) for line in LINES}
    named = {
        name
        for found in claims.values()
        if found
        for name in re.findall("`([^`]+)`", found["tests"])
    }
    paths = {name.partition("::")[0] for name in named}
    there = {
        f"{path}::{test}" for path in paths if (ROOT / path).is_file() for test in names_in(path)
    }

    assert [line for line, found in claims.items() if not found] == []
    assert sorted(named - there) == []


def test_no_claim_is_listed_twice() -> None:
    listed = Counter(line.partition(" `tests/")[0].casefold() for line in LINES)

    assert listed, "tests/claims.md holds no claim"
    assert [claim for claim, times in listed.items() if times > 1] == []
