"""The runs of a folder as a table for a terminal. It is in a separate module, so that the
commands start fast.
"""

from datetime import UTC, datetime

from bench.base.units import NS_PER_S
from bench.files.sanitize import escape_control, one_line
from bench.record.run_list import ListedRun, RunList
from reports.formatting import NONE, count, excerpt, quantity
from reports.render.blocks import (
    MARKS,
    Block,
    Cell,
    Column,
    Line,
    Paragraph,
    Row,
    TextColumn,
    make_row,
    source_marks,
    table,
    with_marker,
)
from reports.render.terminal import render_lines

HEADS = (
    Column("run", inline=True),
    TextColumn("started, UTC", leave_out=1),
    TextColumn("targets", leave_out=2),
    "sessions",
    TextColumn("verdict"),
    "size",
)
MAX_TARGETS = 24


def runs_text(run_list: RunList, width: int = 100, *, colour: bool = False) -> str:
    """Return the table, with the labels of each run below its row, and the notices on runs that
    cannot be read.
    """
    runs: Block = table(HEADS, map(_row, run_list.runs))
    if not run_list.runs:
        runs = Paragraph(f"{escape_control(run_list.folder)} has no runs")
    notices = (Paragraph(f"not shown: {one_line(text)}", "warn") for text in run_list.notices)
    return render_lines(([runs], notices), width, colour)


def _row(run: ListedRun) -> Row:
    labels = " · ".join(f"{key}={value}" for key, value in run.labels.items())
    cells: Line = [
        run.name,
        f"{datetime.fromtimestamp(run.started_utc_ns / NS_PER_S, UTC):%Y-%m-%d %H:%M}",
        excerpt(escape_control(", ".join(run.targets)) or NONE, MAX_TARGETS),
        NONE if run.sessions is None else count(run.sessions),
        _verdict(run),
        quantity(run.size_bytes),
    ]
    return make_row(cells, more=[Paragraph(labels)])


def _verdict(run: ListedRun) -> Cell:
    marks = source_marks(simulated=run.simulated, recorded=run.recorded)
    if run.under_way:
        return Cell(" ".join(("… in progress", *marks)))
    word = run.validity.replace("_", " ").upper()
    return Cell(" ".join((with_marker(word), *marks)), style=MARKS[word].colour)
