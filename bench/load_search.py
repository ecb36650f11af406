"""What a calibration and a capacity share, both of which search a load: its bounds, and how it is shown; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from reports.page.svg import Plot, shape, tone

TRIES = 2
"""How often a load is played that says nothing, or not what was hoped for: noise makes figures worse, never better."""
GOOD, BAD, UNKNOWN, OWN = ("✓", "green"), ("✕", "red"), ("?", "yellow"), ("!", "yellow")
SHOWN: Mapping[str, tuple[str, str]] = {
    **{"pass": GOOD, "fail": BAD, "simulator_late": UNKNOWN, "machine_busy": UNKNOWN},
    **{"pass": GOOD, "fail": BAD, "inconclusive": UNKNOWN, "load_generator": OWN, "crashed": OWN},
}
"""What a load came to, in either search → its mark and its colour."""


class Bounds(NamedTuple):
    """`good`: the largest good load below all that were too much, 0 for none; `too_much`: the least of those."""

    good: int
    too_much: int | None


def bounds(good: Iterable[int], too_much: Iterable[int]) -> Bounds:
    """The bounds between which the answer lies."""
    least = min(too_much, default=None)
    return Bounds(max((load for load in good if least is None or load < least), default=0), least)


def between(found: tuple[int, int], close: float, middle: int) -> int | None:
    """The load in the middle of two; None where they are `close` by their ratio, or no number lies between."""
    low, high = found
    return middle if high > low * close and low < middle < high else None


class Mark(NamedTuple):
    """A load in a picture, by its place there. `ends`: of its interval; `joined`: it lies on the curve."""

    x: float
    y: float
    good: bool
    tip: str
    ends: tuple[float, float] | None = None
    joined: bool = True


def draw_curve(plot: Plot, colour: int, marks: Sequence[Mark]) -> None:
    """Draw a line through loads, with a mark and an interval at each; what was not good is hollow."""
    plot.path([(mark.x, mark.y) for mark in marks if mark.joined], f"curve s{tone(colour)}")
    for mark in marks:
        if mark.ends is not None:
            plot.line(mark.x, mark.ends[0], mark.x, mark.ends[1], f"curve s{tone(colour)}")
        plot.dot(mark.x, mark.y, shape(colour), f"mark{'' if mark.good else ' open'} s{tone(colour)}", tip=mark.tip)


def row(cells: Iterable[str], columns: Sequence[tuple[str, int]]) -> str:
    """A line of a table, by the widths of its columns."""
    return "".join(cell.rjust(width) for cell, (_, width) in zip(cells, columns, strict=True))
