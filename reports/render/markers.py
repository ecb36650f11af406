"""The colour and the marker of each target. They are the same in drawings, tables, and legends,
and on a terminal.
"""

COLOURS = 4
SHAPES = ("circle", "diamond", "triangle", "square", "wedge", "cross", "star", "hexagon")
MARKER_CHARACTERS = "●◆▲■▼✚★⬢"


def colour_class(target: int, of: str = "s") -> str:
    """Return the CSS class of a target's colour: `s` for strokes and fills, `t` for texts.
    Colours repeat.
    """
    return f"{of}{target % COLOURS}"


def curve_class(target: int) -> str:
    """Return the CSS classes of a target's line. It is dashed if another target has the same
    colour.
    """
    return f"curve {colour_class(target)}{' again' if target >= COLOURS else ''}"


def marker_char(target: int) -> str:
    return MARKER_CHARACTERS[target % len(MARKER_CHARACTERS)]


def marker_shape(target: int) -> str:
    return SHAPES[target % len(SHAPES)]
