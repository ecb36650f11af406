"""Several runs side by side for a terminal: a row for each target of each run. Nothing is pooled, nothing compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.blocks import Paragraph, row_of
from reports.numbers import NONE, count, shortened
from reports.summary.summary import CallerWait, Summary
from reports.text.lines import Grid, pour
from reports.wording import words

HEADS = ("run", "target", "turns", "p50", "p95", "p99", "failed", "valid")
LEFT = (0, 1, 7)
"""Columns of text."""
RUN_LEAST, TARGET_MOST = 12, 24
WARNING = "Each row is a run of its own: `rtbench compare` says what of their differences is more than chance."


@dataclass(frozen=True)
class Row:
    """The cells of one target of one run; `head` says what it counts, rows of one head stand together."""

    head: str
    cells: tuple[str, ...]


def rows_of(summary: Summary) -> list[Row]:
    """The rows of one run; of a run without turns one that says so."""
    run, valid = summary.run.folder.resolve().name, " ".join(words.badges(summary))
    if not sum(summary.outcomes.begun):
        return [Row("no turns", (run, NONE, "0", *("n/a",) * 3, "n/a", valid))]
    return [
        Row(f"{words.named(answer.figures)}, ms", (run, *_cells(answer), valid))
        for group in words.tables(summary)
        for answer in group
    ]


def _cells(answer: CallerWait) -> Iterable[str]:
    yield shortened(answer.target, TARGET_MOST)
    yield count(answer.turns)
    yield from (words.cell(answer.figures, p).figure for p in (0.5, 0.95, 0.99))
    yield words.failures(answer).figure


def several(rows: Sequence[Row], pages: Sequence[Path], width: int = 100) -> str:
    """The table, and where each run's own report was written; lines of at most so many columns, paths apart."""
    heads = dict.fromkeys(row.head for row in rows)
    tables = ((Paragraph(head), _table([row.cells for row in rows if row.head == head])) for head in heads)
    return "\n".join((pour(tables, width), WARNING, *map(str, pages), ""))


def _table(rows: Sequence[tuple[str, ...]]) -> Grid:
    """What is too wide loses letters of the runs' names, from their beginning: the scenario is at their end."""
    return Grid([row_of(list(cells)) for cells in (HEADS, *rows)], LEFT, least=RUN_LEAST)
