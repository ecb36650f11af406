"""What sections are put together from: figures with their numbers, cells of targets, and the table of measures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from reports.blocks import Block, Cell, Column, Drawing, Figure, Inline, Line, Paragraph, Table, Term, table
from reports.numbers import NONE, count, three
from reports.page.svg import Plot
from reports.summary.figures import PS, Distribution, Figures
from reports.summary.summary import Summary
from reports.wording import words
from reports.wording.settings import contained_chunk
from reports.wording.words import cell


def plot_figure(plot: Plot, caption: Inline = "", **more: Any) -> Figure:
    """A drawing with what it says at each stop of its readout, unless `more` has other rows."""
    said = (plot.stops or {"t": []})["t"]
    stops = [str(text).split(" · ") for text in said]  # type: ignore[attr-defined]
    return Figure(Markup(plot.svg()), caption, **{"stops": stops, **more})


def drawing(plot: Plot, head: str, narrow: Plot) -> Drawing:
    """A drawing by itself, and what stands for it on a phone."""
    return Drawing(Markup(plot.svg()), head, Markup(narrow.svg()))


def note(text: Inline) -> list[Block]:
    """A remark; nothing where there is no text."""
    return [Paragraph(text, "note")] if text else []


def line(text: Inline) -> list[Block]:
    """What follows is of this; nothing where there is no text."""
    return [Paragraph(text)] if text else []


def grown(summary: Summary) -> Inline:
    """By how much the caller's chunks make measures longer; empty where they do not."""
    lead = contained_chunk(summary.setup)
    return (f"{lead[:1].upper()}{lead[1:]} ", Term("packetisation"), ".") if summary.setup.vad_chunks_ms else ""


def of_target(summary: Summary, place: int, text: Inline = "") -> Cell:
    """A text about a target in its colour; the target's name unless another text is given."""
    return Cell(text or summary.targets[place], target=place)


def marked_target(summary: Summary, place: int) -> Cell:
    """The name of a target with its mark."""
    return Cell(summary.targets[place], target=place, marked=True)


def cells_of(cells: Iterable[words.Shown]) -> list[Cell]:
    """Figures with what belongs below them."""
    return [Cell(cell.figure, cell.below) for cell in cells]


def capital(said: str, summary: Summary) -> str:
    """A sentence, with a capital letter unless it begins with a target's name."""
    return f"{said}." if said and len(summary.targets) > 1 else words.as_sentence(said)


MEASURES = ("measure", Column("target", left=True), "p50", "p90", "p95", "p99", "max", "wanted", "reached", "cut")


def measures(summary: Summary, rows: Sequence[Figures], events: Sequence[Distribution] = ()) -> Table:
    """A line for each measure of turns or sessions, then for each that is counted at every event."""
    lines: list[Line] = []
    for figures in rows:
        since = words.since(figures.measure, figures.stratum)
        head = Cell(Term(figures.measure), f"{figures.unit},{since}" if since else figures.unit)
        target = of_target(summary, summary.targets.index(figures.target), words.whose(figures))
        lines.append([head, target, *quantile_cells(figures), count(figures.censored)])
    for one in events:
        counted = ((one.negative, "negative"), (one.out_of_range, "out of range"))
        beside = ", ".join(f"{count(n)} {word}" for n, word in counted if n) or NONE
        head = Cell(Term(one.measure), f"{one.unit}, every event")
        target = of_target(
            summary, summary.targets.index(one.target) if one.target in summary.targets else 0, one.target
        )
        lines.append([head, target, *quantiles(one), count(one.n), Cell(beside, columns=2)])
    return table(MEASURES, lines)


def quantiles(one: Distribution) -> list[Inline]:
    """p50, p90, p95, p99 and the largest value."""
    return [three(value) for value in (one.p50, one.p90, one.p95, one.p99, one.high)]


def quantile_cells(figures: Figures) -> Line:
    """p50, p90, p95, p99, the largest value, and how many were wanted and reached it."""
    shown = cells_of(cell(figures, p, "") for p in PS)
    return [*shown, three(figures.high), count(figures.wanted), *cells_of([words.reached(figures)])]
