"""Holds what one look at one thing found, in plain data, and writes its lines for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from bench import plain

FindingState = Literal["ok", "warning", "failed", "skipped"]

NAME_WIDTH, STATE_WIDTH = 16, 8
ARROW = "→ "


@dataclass(frozen=True)
class Finding:
    """The result of one look.

    `said`: what was found, with its figure; `remedy`: what to do, "" where nothing is to be done.
    """

    name: str
    state: FindingState
    said: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def any_failed(findings: Iterable[Finding]) -> bool:
    return any(finding.state == "failed" for finding in findings)


def printable_finding(finding: Finding) -> Finding:
    """The finding without anything that steers a terminal: services put words of theirs into it."""
    return replace(finding, said=plain.printable(finding.said), remedy=plain.printable(finding.remedy))


def lines(finding: Finding, width: int) -> Iterator[str]:
    """The finding in lines of at most `width` columns; the first begins with its state."""
    margin = " " * (STATE_WIDTH + 1 + NAME_WIDTH + 1)
    first = f"{finding.state:<{STATE_WIDTH}} {finding.name:<{NAME_WIDTH}} "
    yield from _wrapped(finding.said, first, margin, width) or [first.rstrip()]
    if finding.remedy:
        yield from _wrapped(finding.remedy, margin + ARROW, margin + " " * len(ARROW), width)


def _wrapped(text: str, first: str, later: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
