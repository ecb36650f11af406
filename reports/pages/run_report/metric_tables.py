"""Tables of metrics, and other parts that several sections of a report use."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.summary.metrics import ALL, HistogramSummary, MetricSummary
from reports.analysis.summary.summary import Summary
from reports.formatting import NONE, count, format_number
from reports.render.blocks import Cell, Column, Head, Inline, Line, Table, Term, table
from reports.results.value import LEVEL_NAMES, LEVELS
from reports.text import cells

TARGET = Column("target", left=True)
"""The column of the cells that `target_cell` returns."""
METRICS: list[Head] = ["metric", TARGET, *LEVEL_NAMES.values(), "max"]
METRICS += ["planned", "completed", "unfinished"]

BRIEF_ROWS = 4
"""The maximum number of lines of one kind that a terminal shows."""


def metrics(
    summary: Summary, rows: Sequence[MetricSummary], events: Sequence[HistogramSummary] = ()
) -> Table:
    """Return a table with a row for each metric of turns or sessions, then a row for each metric
    of events.
    """
    lines: list[Line] = []
    for row in rows:
        since = cells.measured_from_text(row.metric, row.stratum)
        head = Cell(Term(row.metric), f"{row.unit},{since}" if since else row.unit)
        target = target_cell(summary, row.target, cells.row_target(row))
        lines.append([head, target, *quantile_cells(row), count(row.unfinished)])
    for event in events:
        counted = ((event.negative, "negative"), (event.out_of_range, "out of range"))
        more = ", ".join(f"{count(n)} {word}" for n, word in counted if n) or NONE
        head = Cell(Term(event.metric), f"{event.unit}, every event")
        lines.append(
            [
                head,
                target_cell(summary, event.target),
                *quantiles(event),
                count(event.n),
                Cell(more, columns=2),
            ]
        )
    return table(METRICS, lines, "quantiles")


def quantiles(row: HistogramSummary) -> list[Inline]:
    """Return the quantiles and the maximum as texts."""
    return [*map(format_number, (*row.quantiles, row.high))]


def quantile_cells(row: MetricSummary) -> Line:
    """Return cells with the quantiles, the maximum, the number of planned turns, and the share
    that completed.
    """
    return [
        *(cells.quantile_cell(row, p, "") for p in LEVELS),
        format_number(row.high),
        count(row.planned),
        cells.completed_share(row),
    ]


def target_cell(summary: Summary, target: str, text: str = "", *, marked: bool = False) -> Cell:
    """Return a cell in the colour of a target. It has the name of the target, or the given text. If
    `marked`, it also has the marker of the target.
    """
    index = summary.targets.index(target) if target in summary.targets else 0
    return Cell(text or target, target=index, marked=marked)


def rows_of(summary: Summary, names: tuple[str, ...]) -> list[MetricSummary]:
    """Return the summaries of these metrics over all steps, in the order of `names`."""
    rows = [row for row in summary.turn_metrics if row.step == ALL and row.metric in names]
    return sorted(rows, key=lambda row: names.index(row.metric))


def texts_by_target(summary: Summary, texts_of_target: dict[str, list[str]]) -> str:
    """Return the texts of all targets as one text, such as `direct: 3 of 40 replies stalled (7.5
    %); gateway: …`.
    """
    named = len(summary.targets) > 1
    parts = [
        f"{target}: {', '.join(words)}" if named else ", ".join(words)
        for target, words in texts_of_target.items()
        if words
    ]
    return "; ".join(parts)
