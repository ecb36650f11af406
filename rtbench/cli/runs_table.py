"""Shows the runs of a folder as a table for a terminal: apart from the commands, which import little."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from bench.run.document import ValidityStatus
from bench.run.run_list import ListedRun, RunList
from bench.units import NS_PER_S
from bench.untrusted.sanitize import escape_control, one_line
from reports.numbers import NONE, count, quantity, shortened
from reports.render.blocks import Cell, Paragraph, make_row
from reports.render.terminal import Grid, Part, render_lines

HEADS = ("run", "began, UTC", "targets", "sessions", "verdict", "size")
LEFT = (0, 1, 2, 4)
"""Columns of text."""
LAYOUTS = (range(6), (0, 2, 3, 4, 5), (0, 3, 4, 5))
NAME_LEAST, TARGETS_MOST = 24, 24


def table(kept: RunList, width: int = 100, *, colour: bool = False) -> str:
    """A row for each run, with its labels below it; then what could not be read."""
    return render_lines(
        (_runs(kept), (Paragraph(f"not shown: {one_line(notice)}", "warn") for notice in kept.notices)), width, colour
    )


def _runs(kept: RunList) -> Iterator[Part]:
    if not kept.runs:
        yield Paragraph(f"{escape_control(kept.folder)} has no runs")
        return
    rows = (make_row([*_cells(run)]) for run in kept.runs)
    yield Grid([make_row([*HEADS]), *rows], LEFT, LAYOUTS, least=NAME_LEAST, ending=NAME_LEAST // 2)


def _cells(run: ListedRun) -> Iterator[Cell | str]:
    labels = " · ".join(f"{key}={value}" for key, value in run.labels.items())
    yield Cell(escape_control(run.name), below=escape_control(labels))
    yield f"{datetime.fromtimestamp(run.started_utc_ns / NS_PER_S, UTC):%Y-%m-%d %H:%M}"
    yield shortened(escape_control(", ".join(run.targets)) or NONE, TARGETS_MOST)
    yield NONE if run.sessions is None else count(run.sessions)
    yield _verdict(run)
    yield quantity(run.size_bytes)


def _verdict(run: ListedRun) -> Cell:
    """Whether its figures may be used; of one that is not closed, what it is doing."""
    simulated = " ◇ SIMULATED" if run.simulated else ""
    if run.under_way:
        return Cell(f"… under way{simulated}")
    word, style = WORDS[run.validity]
    return Cell(f"{word}{simulated}", style=style)


WORDS: dict[ValidityStatus, tuple[str, str]] = {
    "valid": ("✓ VALID", "good"),
    "invalid": ("✕ INVALID", "bad"),
    "no_verdict": ("? NO VERDICT", "warn"),
}
