"""Tables of metrics and cells of targets, shared by the sections of a report."""

from __future__ import annotations

from collections.abc import Sequence

from reports.formatting import NONE, count, format_number
from reports.render.blocks import Cell, Column, Inline, Line, Table, Term, table
from reports.summary.metrics import PS, HistogramSummary, MetricSummary
from reports.summary.summary import Summary
from reports.wording import cells

METRICS = (
    *("metric", Column("target", left=True), "p50", "p90", "p95", "p99", "max"),
    *("planned", "completed", "unfinished"),
)


def metrics(summary: Summary, rows: Sequence[MetricSummary], events: Sequence[HistogramSummary] = ()) -> Table:
    """Return a row for each metric of turns or sessions, then for each metric of events."""
    lines: list[Line] = []
    for figures in rows:
        since = cells.measured_from_text(figures.metric, figures.stratum)
        head = Cell(Term(figures.metric), f"{figures.unit},{since}" if since else figures.unit)
        target = target_cell(summary, figures.target, cells.row_target(figures))
        lines.append([head, target, *quantile_cells(figures), count(figures.unfinished)])
    for one in events:
        counted = ((one.negative, "negative"), (one.out_of_range, "out of range"))
        more = ", ".join(f"{count(n)} {word}" for n, word in counted if n) or NONE
        head = Cell(Term(one.metric), f"{one.unit}, every event")
        lines.append([head, target_cell(summary, one.target), *quantiles(one), count(one.n), Cell(more, columns=2)])
    return table(METRICS, lines)


def quantiles(one: HistogramSummary) -> list[Inline]:
    """Return p50, p90, p95, p99, and the maximum."""
    return [format_number(value) for value in (one.p50, one.p90, one.p95, one.p99, one.high)]


def quantile_cells(figures: MetricSummary) -> Line:
    """Return p50, p90, p95, p99, the maximum, and the numbers of planned and completed turns."""
    shown = [cells.quantile_cell(figures, p, "") for p in PS]
    return [*shown, format_number(figures.high), count(figures.planned), cells.completed_share(figures)]


def target_cell(summary: Summary, target: str, text: str = "", *, marked: bool = False) -> Cell:
    """Return the name of a target, or a text about it, in its colour; with its marker if `marked`."""
    place = summary.targets.index(target) if target in summary.targets else 0
    return Cell(text or target, target=place, marked=marked)
