"""The index of docs/decisions, from the heads of the decisions: `python -m tests.docs.decisions` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.made_page import made_anew, table

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
INDEX = FOLDER / "README.md"
HEAD = re.compile(
    r"# (?P<number>\d{4}) (?P<title>[^\n.:;]+)\n\n"
    r"(?P<date>\d{4}-\d\d-\d\d) · (?P<status>accepted|superseded by \[\d{4}\]\([^)]+\))[^\n]*\n\n"
)
"""A number, a noun, a line with date and status, which may go on."""


class Decision(NamedTuple):
    """The head of a decision, and the name of its file."""

    file: str
    number: str
    title: str
    date: str
    status: str


def decisions() -> Iterator[Decision]:
    """All of them, by number; one without a proper head is an error."""
    for path in sorted(FOLDER.glob("0*.md")):
        head = HEAD.match(path.read_text(encoding="utf-8"))
        if head is None:
            raise ValueError(f"{path.name} does not begin with a number, a noun, a date and a status")
        yield Decision(path.name, **head.groupdict())


def written(page: str) -> str:
    """The index with its table made anew."""
    rows = ((each.number, f"[{each.title}]({each.file})", each.date, each.status) for each in decisions())
    return made_anew(page, {"decisions": table(("", "decision", "date", "status"), rows)})


if __name__ == "__main__":
    INDEX.write_text(written(INDEX.read_text(encoding="utf-8")), encoding="utf-8")
