"""The table of several runs, with one run below the other. It neither pools nor compares the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.files.sanitize import escape_control
from reports.analysis.summary.summary import Summary
from reports.formatting import NONE, count, excerpt
from reports.render.blocks import Column, Head, Inline, table
from reports.render.terminal import render_lines
from reports.results.levels import LEVEL_NAMES, MAIN_LEVELS
from reports.text import cells

RUN_HEADS: tuple[Head, ...] = (
    Column("run", min_width=12),
    "target",
    "turns",
    *(LEVEL_NAMES[p] for p in MAIN_LEVELS),
    "failed",
    "valid",
)
RUN_LEFT = (0, 1, len(RUN_HEADS) - 1)
"""The indexes of the columns that contain text."""
MAX_TARGET_CHARACTERS = 24
WARNING = "Each row is a separate run: `rtbench compare` tests whether they differ by more than chance."


def rows_of(summary: Summary) -> list[tuple[str, list[Inline]]]:
    """Return the rows of one run, each with its heading.

    A run without turns has one row, with the heading `no turns`.
    """
    run, valid = escape_control(summary.run.folder.resolve().name), " ".join(cells.run_badges(summary))
    if not summary.endings.started:
        return [("no turns", [run, NONE, "0", *("n/a",) * (len(MAIN_LEVELS) + 1), valid])]
    rows: list[tuple[str, list[Inline]]] = []
    for result in (result for group in cells.tables(summary) for result in group.rows):
        quantiles = (cells.quantile_cell(result, p).text for p in MAIN_LEVELS)
        parts = [
            excerpt(result.target, MAX_TARGET_CHARACTERS),
            count(result.turns),
            *quantiles,
            cells.failures(result).text,
        ]
        rows.append((f"{cells.row_title(result)}, ms", [run, *parts, valid]))
    return rows


def several(rows: Sequence[tuple[str, list[Inline]]], pages: Sequence[Path], width: int = 100) -> str:
    """Return the table of the runs, and below it the path of each run's report.

    Only a path may be wider than `width`.
    """
    heads = dict.fromkeys(head for head, _ in rows)
    tables = (
        [table(RUN_HEADS, [parts for title, parts in rows if title == head], left=RUN_LEFT, caption=head)]
        for head in heads
    )
    return "\n".join((render_lines(tables, width), WARNING, *map(str, pages), ""))
