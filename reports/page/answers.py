"""The top of the page: the tables of the answer and the percentile curves. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from bench.measures import CATALOGUE
from reports.blocks import Figure, Fold, Line, Panes, Row, Section, Table, table
from reports.numbers import NONE, listed, plural, three
from reports.page import bars, charts, frames
from reports.page.pieces import cells_of, figure
from reports.page.svg import COLOURS
from reports.summary.summary import Answer, Summary
from reports.turns import ORIGINS, STARTED_BY
from reports.wording import words
from reports.wording.words import answer_cell, estimate_cell

TABS = ("ttfa", "ttft", "voice_to_voice", "response_total", "transcript_total")
READ_ACROSS = "Read across: 95 % of the turns were faster than the curve above p95."
FEWEST = 5
"""Good turns from which on a percentile curve says more than the table of the slowest turns."""


def answers(summary: Summary) -> Iterable[dict[str, Any]]:
    """The tables of the answer: one for each measure that answers, a row for each target and origin."""
    groups = words.tables(summary) if sum(summary.outcomes.begun) else []
    for place, group in enumerate(groups):
        told = [answer.figures for answer in group]
        ends = bars.strip_scale(told)
        axis = any(e.published for figures in told for e in figures.quantiles)
        yield {
            "measure": group[0].figures.measure,
            "caption": words.caption(group, summary),
            "grown": place == len(groups) - 1 and bool(summary.setup.chunks),
            "axis": Markup(bars.strip_axis(ends)) if axis else "",
            "rows": [_answer(summary, answer, ends) for answer in group],
        }


def _answer(summary: Summary, answer: Answer, ends: tuple[float, float]) -> dict[str, Any]:
    colour, failed = summary.targets.index(answer.target), words.failures(answer)
    return {
        "colour": colour,
        "label": words.whose(answer.figures),
        "turns": plural(answer.turns, "turn"),
        "sessions": plural(answer.sessions, "session"),
        "cells": [answer_cell(answer.figures, p) for p in (0.5, 0.95, 0.99)],
        "high": three(answer.figures.high),
        "failed": failed.figure,
        "wanted": f"{failed.below} wanted",
        "strip": Markup(bars.strip(answer.figures, colour, ends)),
    }


def spread(summary: Summary) -> Section | None:
    """A pane of percentile curves for each measure that has one, the main ones first; None where there is none."""
    panes = list(_panes(summary))
    banded = "Shaded: 95 % interval." if len(summary.targets) <= COLOURS else "95 % intervals stand in the numbers."
    failed = "Where a curve meets the red shelf, all turns beyond failed." if any(summary.outcomes.failed) else ""
    read = (READ_ACROSS, banded, failed, "Dotted: fewer than five turns beyond.", counted(summary))
    question = "How long is the wait, from the luckiest turn to the unluckiest?"
    return Section("spread", "Percentiles", question, [Panes(" ".join(filter(None, read)), panes)]) if panes else None


def _panes(summary: Summary) -> Iterable[tuple[str, str, Figure]]:
    """(key, title, figure) of each measure; origins have panes apart."""
    chosen = [name for name in TABS if name in summary.samples]
    for name in sorted(chosen, key=lambda name: (name != summary.main, name not in summary.mains.values())):
        pools = list(summary.samples[name].pools())
        origins = list(dict.fromkeys(pool.origin for pool in pools))
        for origin in origins:
            curves = frames.curves(summary.samples[name], [pool for pool in pools if pool.origin == origin])
            if any(curve.n - curve.failed >= FEWEST for curve in curves):
                title = f"{name} {_counted(name, origin)}" if len(origins) > 1 else name
                numbers = Fold(f"The numbers: {title}", [_percentiles(curves)])
                yield f"{name}-{origin}", title, figure(charts.percentiles(curves, name), numbers=(), below=[numbers])


def _counted(measure: str, origin: str) -> str:
    """Which of a measure's turns a pane is of, where there are panes of two origins."""
    return f"from {ORIGINS[origin]}" if CATALOGUE[measure].begin == "origin" else f"of {STARTED_BY[origin]}"


def counted(summary: Summary) -> str:
    """What the measures of the panes count from, where it is one instant; else each pane says it itself."""
    names = [name for name in TABS if name in summary.samples and CATALOGUE[name].begin == "origin"]
    if len(summary.turns.origins) > 1 or not names:
        return ""
    verb = "counts" if len(names) == 1 else "count"
    return f"{listed(names)} {verb} from {ORIGINS[summary.turns.origins[0]]}."


def _percentiles(curves: Sequence[frames.Curve]) -> Table:
    by_p = [{e.p: e for e in curve.points} for curve in curves]
    rows: list[Row | Line] = []
    for p in frames.PUBLISHED:
        if any(p in points for points in by_p):
            cells = (
                estimate_cell(points[p], curve.n, curve.failed) if p in points else words.Cell(NONE, "")
                for points, curve in zip(by_p, curves, strict=True)
            )
            rows.append([f"p{p * 100:g}", *cells_of(cells)])
    return table(["percentile", *(f"{curve.target}, ms" for curve in curves)], rows)
