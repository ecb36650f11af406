"""Tables of metrics, and other parts that several sections of a report use."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.summary.metrics import ALL, HistogramSummary, MetricSummary
from reports.analysis.summary.summary import Summary
from reports.formatting import NONE, count, format_number
from reports.render.blocks import Cell, Column, Head, Inline, Line, Table, Term, table
from reports.results.levels import LEVEL_NAMES, LEVELS
from reports.text import cells

METRICS: list[Head] = ["metric", Column("target", left=True), *LEVEL_NAMES.values(), "max"]
METRICS += ["planned", "completed", "unfinished"]

BRIEF_ROWS = 4
"""The maximum number of lines of one kind that a terminal shows."""


def metrics(summary: Summary, rows: Sequence[MetricSummary], events: Sequence[HistogramSummary] = ()) -> Table:
    """Return a table with a row for each metric of turns or sessions, then a row for each metric of events."""
    lines: list[Line] = []
    for row_summary in rows:
        since = cells.measured_from_text(row_summary.metric, row_summary.stratum)
        head = Cell(Term(row_summary.metric), f"{row_summary.unit},{since}" if since else row_summary.unit)
        target = target_cell(summary, row_summary.target, cells.row_target(row_summary))
        lines.append([head, target, *quantile_cells(row_summary), count(row_summary.unfinished)])
    for event in events:
        counted = ((event.negative, "negative"), (event.out_of_range, "out of range"))
        more = ", ".join(f"{count(n)} {word}" for n, word in counted if n) or NONE
        head = Cell(Term(event.metric), f"{event.unit}, every event")
        lines.append(
            [head, target_cell(summary, event.target), *quantiles(event), count(event.n), Cell(more, columns=2)]
        )
    return table(METRICS, lines, "quantiles")


def quantiles(row: HistogramSummary) -> list[Inline]:
    """Return the quantiles and the maximum as texts."""
    return [*map(format_number, (*row.quantiles, row.high))]


def quantile_cells(row_summary: MetricSummary) -> Line:
    """Return cells with the quantiles, the maximum, the number of planned turns, and the share that completed."""
    return [
        *(cells.quantile_cell(row_summary, p, "") for p in LEVELS),
        format_number(row_summary.high),
        count(row_summary.planned),
        cells.completed_share(row_summary),
    ]


def target_cell(summary: Summary, target: str, text: str = "", *, marked: bool = False) -> Cell:
    """Return a cell in the colour of a target. It has the name of the target, or the given text.

    If `marked`, it also has the marker of the target.
    """
    index = summary.targets.index(target) if target in summary.targets else 0
    return Cell(text or target, target=index, marked=marked)


def rows_of(summary: Summary, names: tuple[str, ...]) -> list[MetricSummary]:
    """Return the summaries of these metrics over all steps, in the order of `names`."""
    rows = [f for f in summary.turn_metrics if f.step == ALL and f.metric in names]
    return sorted(rows, key=lambda f: names.index(f.metric))


def texts_by_target(summary: Summary, texts_of_target: dict[str, list[str]]) -> str:
    """Return the texts of all targets as one text, such as `direct: 3 of 40 replies stalled (7.5 %); gateway: …`."""
    named = len(summary.targets) > 1
    parts = [
        f"{target}: {', '.join(words)}" if named else ", ".join(words)
        for target, words in texts_of_target.items()
        if words
    ]
    return "; ".join(parts)
