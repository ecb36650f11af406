"""Every test that a claim in tests/claims.md names exists."""

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
CLAIM = re.compile(r"- (?P<claim>.+?\.)(?P<tests>(?: `tests/[\w/]+\.py::test_\w+`){1,2})")


def functions_of(path: str) -> set[str]:
    """Return the names of a module's functions without importing the module."""
    return set(re.findall(r"^def (\w+)\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE))


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
        f"{path}::{test}"
        for path in paths
        if (ROOT / path).is_file()
        for test in functions_of(path)
    }

    assert [line for line, found in claims.items() if not found] == []
    assert sorted(named - there) == []


def test_no_claim_is_listed_twice() -> None:
    listed = Counter(line.partition(" `tests/")[0].casefold() for line in LINES)

    assert listed, "tests/claims.md holds no claim"
    assert [claim for claim, times in listed.items() if times > 1] == []
