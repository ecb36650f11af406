"""The top of the page: the tables of the answer and the percentile curves. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from bench.measures import CATALOGUE
from reports.blocks import (
    Block,
    Cell,
    Column,
    Figure,
    Fold,
    Head,
    Inline,
    Line,
    Panes,
    Reading,
    Row,
    Section,
    Table,
    Term,
    row_of,
    table,
)
from reports.numbers import NBSP, NONE, listed, three
from reports.page import bars, charts
from reports.page.pieces import cells_of, grown, note, plot_figure
from reports.page.svg import COLOURS
from reports.strata import Stratum
from reports.summary import curves
from reports.summary.summary import DRAWN, CallerWait, Summary
from reports.wording import words
from reports.wording.words import answer_cell, estimate_cell

READ_ACROSS = "Read across: 95 % of the turns were faster than the curve above p95."
FEWEST = 5
"""Good turns from which on a percentile curve says more than the table of the slowest turns."""


MARKS = "Filled mark p50, open marks p95 and p99, bars are 95 % intervals over sessions."
ENDLESS = "Failed turns count as endlessly slow, as do turns that never began: neither improves a figure."
READING = (
    "“Failed turns” are turns that failed and turns that were wanted and never begun, of all turns wanted. A "
    "percentile stands here only if enough turns lie beyond it. "
    "These are service times: they count from an instant of the turn itself, not from a schedule."
)


HEADS = ("measure", "p50", "p95", "p99", "slowest", "failed turns")


def answers(summary: Summary) -> list[Block]:
    """The measures that matter in one table with one scale, targets in rows below each; and how to read it."""
    groups = words.tables(summary) if sum(summary.outcomes.begun) else []
    if not groups:
        return []
    chunked = note(grown(summary)) if summary.setup.vad_chunks_ms else []
    drawn = any(estimate.bounded for group in groups for a in group.rows for estimate in a.figures.quantiles)
    marks = [Reading(MARKS)] if drawn else []
    how = Fold("How to read this table", [*marks, *note(ENDLESS), *chunked, *note(READING)], style="note")
    return [_table(summary, groups, drawn=drawn), how]


def _table(summary: Summary, groups: Sequence[words.Answers], *, drawn: bool) -> Table:
    """With the intervals drawn, where there are any."""
    ends = bars.strip_scale([a.figures for group in groups for a in group.rows]) if drawn else None
    heads: list[Head] = [*HEADS]
    if ends:
        axis = Markup(f'{bars.strip_axis(ends)}<span class="vh">intervals</span>')
        heads.append(Column(axis, left=True, style="wideonly", drawn=True))
    origins, alone = list(dict.fromkeys(group.origin for group in groups)), len(summary.targets) == 1
    since = f", from {origins[0]}" if alone and len(origins) == 1 else ""
    caption = f"{f'{summary.targets[0]}{since}, in' if alone else 'In'} ms, with 95{NBSP}% intervals over sessions"
    rows: list[Line | Row] = []
    for place, group in enumerate(groups):
        begins = place == 0 or groups[place - 1].origin != group.origin
        if not alone:
            of: Inline = (Term(group.measure), f", from {group.origin} to {group.end}")
            rows.append(row_of([Cell(of, columns=len(heads))], "of"))
        elif len(origins) > 1 and begins:
            rows.append(row_of([Cell(f"from {group.origin}", columns=len(heads))], "of"))
        rows += [_row(summary, group, answer, ends) for answer in group.rows]
    style = "struck" if summary.verdict.valid is False else ""
    return table(heads, rows, style, stacked=True, caption=caption, answers=True)


def _row(summary: Summary, group: words.Answers, answer: CallerWait, ends: tuple[float, float] | None) -> Line:
    """Named by its target; in a run of one target by its measure."""
    target, failed, apart = summary.targets.index(answer.target), words.failures(answer), group.apart(answer)
    beside = f" · {apart}" if apart else ""
    name = (
        Cell((Term(group.measure), beside), f"to {group.end}; {group.counts(answer)}")
        if len(summary.targets) == 1
        else Cell(f"{answer.target}{beside}", group.counts(answer), target, marked=True)
    )
    shown = [answer_cell(answer.figures, p) for p in (0.5, 0.95, 0.99)]
    return [
        name,
        *(Cell(cell.figure, cell.below, style="na" if cell.figure == "n/a" else "") for cell in shown),
        Cell(three(answer.figures.high), "good turns"),
        Cell(failed.figure, f"{failed.below} wanted"),
        *([Cell(Markup(bars.strip(answer.figures, target, ends)), style="hide")] if ends else []),
    ]


def spread(summary: Summary) -> Section | None:
    """A pane of percentile curves for each measure that has one, the main ones first; None where there is none."""
    panes = list(_panes(summary))
    banded = "Shaded: 95 % interval." if len(summary.targets) <= COLOURS else "95 % intervals stand in the numbers."
    unmet = any(summary.outcomes.unmet)
    failed = "Where a curve meets the red shelf, all turns beyond failed or never began." if unmet else ""
    read = (READ_ACROSS, banded, failed, "Dotted: fewer than five turns beyond.", counted_from(summary))
    question = "How long is the wait, from the luckiest turn to the unluckiest?"
    return Section("spread", "Percentiles", question, [Panes(" ".join(filter(None, read)), panes)]) if panes else None


def _panes(summary: Summary) -> Iterable[tuple[str, str, Figure]]:
    """(key, title, figure) of each measure; strata have panes apart."""
    chosen = [name for name in DRAWN if name in summary.samples]
    for name in sorted(chosen, key=lambda name: (name != summary.main, name not in summary.mains.values())):
        pools = list(summary.samples[name].pools())
        strata = list(dict.fromkeys(pool.stratum for pool in pools))
        for stratum in strata:
            drawn = curves.curves(summary.samples[name], [pool for pool in pools if pool.stratum == stratum])
            if any(curve.n - curve.failed >= FEWEST for curve in drawn):
                title = f"{name} {_counted(name, stratum)}" if len(strata) > 1 else name
                key = f"{name}-{stratum.key}".replace("+", "-")
                yield key, title, plot_figure(charts.percentiles(drawn, name), stops=(), numbers=[_percentiles(drawn)])


def _counted(measure: str, stratum: Stratum) -> str:
    """Which of a measure's turns a pane is of, where there are panes of several strata."""
    return stratum.since if CATALOGUE[measure].begin == "origin" else f"of {stratum.turns}"


def counted_from(summary: Summary) -> str:
    """What the measures of the panes count from, where it is one instant; else each pane says it itself."""
    names = [name for name in DRAWN if name in summary.samples and CATALOGUE[name].begin == "origin"]
    if len(summary.turns.strata) > 1 or not names:
        return ""
    verb = "counts" if len(names) == 1 else "count"
    return f"{listed(names)} {verb} {summary.turns.strata[0].since}."


def _percentiles(drawn: Sequence[curves.Curve]) -> Table:
    by_p = [{e.p: e for e in curve.points} for curve in drawn]
    rows: list[Row | Line] = []
    for p in curves.PUBLISHED:
        if any(p in points for points in by_p):
            cells = (
                estimate_cell(points[p], curve.n, curve.failed) if p in points else words.Shown(NONE, "")
                for points, curve in zip(by_p, drawn, strict=True)
            )
            rows.append([f"p{p * 100:g}", *cells_of(cells)])
    return table(["percentile", *(f"{curve.target}, ms" for curve in drawn)], rows)
