"""The colour and the marker of a target: the same in drawings, tables, legends, and on a terminal."""

from __future__ import annotations

COLOURS = 4
SHAPES = ("circle", "diamond", "triangle", "square", "wedge", "cross", "star", "hexagon")
MARKER_CHARACTERS = "●◆▲■▼✚★⬢"


def colour_class(target: int, of: str = "s") -> str:
    """Return the class of a target's colour: s0 for strokes and fills, t0 for texts; colours repeat after four."""
    return f"{of}{target % COLOURS}"


def curve_class(target: int) -> str:
    """Return the classes of a target's line, which is dashed if its colour repeats that of another."""
    return f"curve {colour_class(target)}{' again' if target >= COLOURS else ''}"


def marker_char(target: int) -> str:
    return MARKER_CHARACTERS[target % len(MARKER_CHARACTERS)]


def marker_shape(target: int) -> str:
    return SHAPES[target % len(SHAPES)]
