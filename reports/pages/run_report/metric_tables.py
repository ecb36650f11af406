"""Tables of metrics, and cells about targets. Several sections of a report use them."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.summary.metrics import PS, HistogramSummary, MetricSummary
from reports.analysis.summary.summary import Summary
from reports.formatting import NONE, count, format_number
from reports.render.blocks import Cell, Column, Inline, Line, Table, Term, table
from reports.text import cells

METRICS = (
    *("metric", Column("target", left=True), "p50", "p90", "p95", "p99", "max"),
    *("planned", "completed", "unfinished"),
)


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


def quantiles(distribution: HistogramSummary) -> list[Inline]:
    """Return p50, p90, p95, p99, and the maximum, as texts."""
    return [
        format_number(value)
        for value in (distribution.p50, distribution.p90, distribution.p95, distribution.p99, distribution.high)
    ]


def quantile_cells(row_summary: MetricSummary) -> Line:
    """Return cells with p50, p90, p95, p99, the maximum, the number of planned turns, and the share that completed."""
    percentiles = [cells.quantile_cell(row_summary, p, "") for p in PS]
    return [
        *percentiles,
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
