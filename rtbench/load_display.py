"""The display of loads, for the calibration and the capacity search: the symbols of their results,
the plot of a curve, and the rows of a table. Pure.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reports.render.markers import colour_class, marker_shape
from reports.render.svg import Plot

SYMBOLS = {
    "pass": ("✓", "green"),
    "fail": ("✕", "red"),
    "not_evaluated": ("!", "yellow"),
    **dict.fromkeys(("inconclusive", "simulator_late", "machine_busy"), ("?", "yellow")),
}
"""A mapping from the result of a load, in either search, to its symbol and colour."""


class LoadPoint(NamedTuple):
    """A load in a plot, with the ends of its interval. The line through the loads passes it if
    it is connected.
    """

    x: float
    y: float
    passes: bool
    tip: str
    ends: tuple[float, float] | None = None
    is_connected: bool = True


def draw_curve(plot: Plot, colour: int, points: Sequence[LoadPoint]) -> None:
    """Draw a line through loads, with their intervals and markers. The marker of a load that did
    not pass is hollow.
    """
    style = f"curve {colour_class(colour)}"
    plot.path([(point.x, point.y) for point in points if point.is_connected], style)
    for x, y, passes, tip, ends, _ in points:
        if ends is not None:
            plot.line(x, ends[0], x, ends[1], style)
        look = f"mark{'' if passes else ' open'} {colour_class(colour)}"
        plot.dot(x, y, marker_shape(colour), look, tip=tip)


Columns = Sequence[tuple[str, int]]
"""The columns of a table: (head, width)."""


def row(cells: Iterable[str], columns: Columns) -> str:
    """Return a line of a table."""
    return "".join(cell.rjust(width) for cell, (_, width) in zip(cells, columns, strict=True))


def head_row(columns: Columns) -> str:
    """Return the line above a table."""
    return row((head for head, _ in columns), columns)
