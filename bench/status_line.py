"""Draws a line that is refreshed in its own place on a terminal, and says how wide text may be there.

What the line says is pure and made to fit: its least important parts go first.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TextIO

BETWEEN = " · "
USUAL_COLUMNS, USUAL_ROWS = 80, 24
WIDEST = 100
"""Columns that text has at most, and where there is no terminal."""
ERASE_REST = "\x1b[K"
COLOURS = {"bad": "31", "sim": "35"}


def text_width() -> int:
    """The columns that a report's text takes on this terminal."""
    return min(WIDEST, shutil.get_terminal_size((WIDEST, USUAL_ROWS)).columns)


@dataclass(frozen=True)
class StatusPart:
    """A piece of the line: the same thing in fewer and fewer words, at last with something left out (`cut`).

    Where the line is too long words go first, of the parts of the highest `rank` before others; then whole parts. So
    trouble has low ranks, and stays when good news has gone.
    """

    rank: int
    forms: tuple[str, ...]
    style: str = ""
    cut: tuple[str, ...] = ()


def fitted(parts: Iterable[StatusPart], width: int | None = None, *, colour: bool = False) -> str:
    """The parts as a line of `width` columns at most; None for no limit."""
    left = list(parts)
    while width is not None and left and len(BETWEEN.join(part.forms[0] for part in left)) > width:
        _shorten(left)
    return BETWEEN.join(_inked(part.forms[0], part.style if colour else "") for part in left)


def _shorten(parts: list[StatusPart]) -> None:
    """One part in fewer words; where there are none, a part cut or left out."""
    wordy = [place for place, part in enumerate(parts) if len(part.forms) > 1]
    place = max(wordy or range(len(parts)), key=lambda place: parts[place].rank)
    part = parts[place]
    if wordy:
        parts[place] = replace(part, forms=part.forms[1:])
    elif part.cut:
        parts[place] = replace(part, forms=part.cut[:1], cut=part.cut[1:])
    else:
        del parts[place]


def _inked(text: str, style: str) -> str:
    return f"\x1b[{COLOURS[style]}m{text}\x1b[0m" if style else text


class StatusLine:
    """Draws on a stream, and is one itself: what is written to it does not run into the line."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self.in_place = stream.isatty() and environ.get("TERM") != "dumb"
        self.colour = self.in_place and not environ.get("NO_COLOR")
        self._drawn = False
        """Whether a line is on the screen, to be replaced."""

    @property
    def width(self) -> int:
        """The columns that a line may take: the last one stays free, for there a terminal would wrap."""
        columns = 0
        with contextlib.suppress(OSError, ValueError):
            columns = os.get_terminal_size(self._stream.fileno()).columns
        return (columns or USUAL_COLUMNS) - 1

    def takes(self) -> bool:
        """Whether the stream takes a line now: a terminal that was stopped (Ctrl-S) would hold up the whole process."""
        try:
            return bool(select.select([], [self._stream], [], 0)[1])
        except (OSError, ValueError):  # no file behind it: memory
            return True

    def draw(self, line: str) -> None:
        """Draw a line, which replaces the last one."""
        self._put(f"\r{line}{ERASE_REST}")
        self._drawn = True

    def write(self, text: str) -> None:
        """Write as a stream does, in the place of the line, which comes back when it is due."""
        self.clear()
        self._put(text)

    def flush(self) -> None:
        """Do nothing, for nothing is held back here: a stream has it."""

    def clear(self) -> None:
        """Take the line away, before somebody else writes."""
        if self._drawn:
            self._put(f"\r{ERASE_REST}")
            self._drawn = False

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more: the work goes on without its line
            self._stream.write(text)
            self._stream.flush()
