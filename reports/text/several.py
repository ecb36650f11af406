"""Several runs side by side for a terminal: a row for each target of each run. Nothing is pooled, nothing compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.numbers import NBSP, NONE, count, shortened, three
from reports.summary.summary import Answer, Summary
from reports.wording import words

HEADS = ("run", "target", "turns", "p50", "p95", "p99", "failed", "valid")
LEFT = (0, 1, 7)
"""Columns of text."""
GAP = 2
RUN_LEAST, TARGET_MOST = 12, 24
WARNING = "Each row is a run of its own: `rtbench compare` says what of their differences is more than chance."


@dataclass(frozen=True)
class Row:
    """What is told of one target of one run; `head` says what it counts, rows of one head stand together."""

    head: str
    cells: tuple[str, ...]


def rows_of(summary: Summary) -> list[Row]:
    """The rows of one run; of a run without turns one that says so."""
    verdict, run = summary.verdict, summary.run.folder.resolve().name
    valid = f"{verdict.glyph} {verdict.word}{' ◇ SIMULATED' if summary.simulated else ''}"
    if not sum(summary.outcomes.begun):
        return [Row("no turns", (run, NONE, "0", *("n/a",) * 3, "n/a", valid))]
    return [
        Row(f"{words.named(answer.figures)}, ms", (run, *_cells(answer), valid))
        for group in words.tables(summary)
        for answer in group
    ]


def _cells(answer: Answer) -> Iterable[str]:
    yield shortened(answer.target, TARGET_MOST)
    yield count(answer.turns)
    for p in (0.5, 0.95, 0.99):
        estimate = answer.figures.at(p)
        endless = estimate.status == "failed share"
        yield three(estimate.value) if estimate.published else "> timeout" if endless else "n/a"
    yield words.failures(answer).figure


def several(rows: Sequence[Row], pages: Sequence[Path], width: int = 100) -> str:
    """The table, and where each run's own report was written; lines of at most so many columns, paths apart."""
    lines: list[str] = []
    for head in dict.fromkeys(row.head for row in rows):
        lines += [head, *_table([row.cells for row in rows if row.head == head], width), ""]
    text = "\n".join([*lines, WARNING, *map(str, pages)])
    return text.replace(NBSP, " ") + "\n"


def _table(rows: Sequence[tuple[str, ...]], width: int) -> Iterable[str]:
    """What is too wide loses letters of the runs' names, from their beginning: the scenario is at their end."""
    widths = [max(len(row[place]) for row in (HEADS, *rows)) for place in range(len(HEADS))]
    over = sum(widths) + GAP * (len(widths) - 1) - width
    widths[0] = max(min(widths[0], RUN_LEAST), widths[0] - max(0, over))
    for row in (HEADS, *rows):
        name = row[0] if len(row[0]) <= widths[0] else f"…{row[0][1 - widths[0] :]}"
        cells = [
            text.ljust(room) if place in LEFT else text.rjust(room)
            for place, (text, room) in enumerate(zip((name, *row[1:]), widths, strict=True))
        ]
        yield (" " * GAP).join(cells).rstrip()
