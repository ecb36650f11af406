"""A line that is redrawn in the same place of a terminal, and the width of text there.

Pure functions compute the text of the line. If the line is too long, they remove its least important parts first.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TextIO

SEPARATOR = " · "
USUAL_COLUMNS, USUAL_ROWS = 80, 24
MAX_WIDTH = 100
"""The maximum width of text, in columns. It is also the width if there is no terminal."""
ERASE_REST = "\x1b[K"
COLOURS = {"bad": "31", "sim": "35"}


def text_width() -> int:
    """Return the width that a report's text may have on this terminal, in columns."""
    return min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, USUAL_ROWS)).columns)


@dataclass(frozen=True)
class StatusPart:
    """A part of the status line, in several complete forms of decreasing length, and then in incomplete ones.

    If the line is too long, the part with the highest `rank` is shortened first: among complete forms, then among
    incomplete ones, and then by removal. So problems have low ranks: they stay longer than good news.
    """

    rank: int
    forms: tuple[str, ...]
    style: str = ""
    shorter_forms: tuple[str, ...] = ()


def fitted(parts: Iterable[StatusPart], width: int | None = None, *, colour: bool = False) -> str:
    """Return the parts as one line of at most `width` columns. If `width` is None, there is no limit."""
    remaining = list(parts)
    while width is not None and remaining and len(SEPARATOR.join(part.forms[0] for part in remaining)) > width:
        _shorten(remaining)
    return SEPARATOR.join(
        f"\x1b[{COLOURS[part.style]}m{part.forms[0]}\x1b[0m" if colour and part.style else part.forms[0]
        for part in remaining
    )


def _shorten(parts: list[StatusPart]) -> None:
    """Shorten one part. If no part has a shorter complete form, replace a part by its incomplete form, or remove it."""
    shortenable = [index for index, part in enumerate(parts) if len(part.forms) > 1]
    index = max(shortenable or range(len(parts)), key=lambda index: parts[index].rank)
    part = parts[index]
    if shortenable:
        parts[index] = replace(part, forms=part.forms[1:])
    elif part.shorter_forms:
        parts[index] = replace(part, forms=part.shorter_forms[:1], shorter_forms=part.shorter_forms[1:])
    else:
        del parts[index]


class StatusLine:
    """A status line on a stream. Write other text through this object, so that it does not run into the line."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self.in_place = stream.isatty() and environ.get("TERM") != "dumb"
        self.colour = self.in_place and not environ.get("NO_COLOR")
        self._drawn = False
        """True if the screen shows a line, which must be cleared before other text."""

    @property
    def width(self) -> int:
        """The number of columns that the line may have. The last column stays free, or a terminal would wrap there."""
        columns = 0
        with contextlib.suppress(OSError, ValueError):
            columns = os.get_terminal_size(self._stream.fileno()).columns
        return (columns or USUAL_COLUMNS) - 1

    def can_write(self) -> bool:
        """Return whether the stream accepts a line now. Writing to a stopped terminal (Ctrl-S) would block."""
        try:
            return bool(select.select([], [self._stream], [], 0)[1])
        except (OSError, ValueError):  # the stream has no file: it is in memory
            return True

    def draw(self, line: str) -> None:
        """Draw a line in the place of the last one."""
        self._put(f"\r{line}{ERASE_REST}")
        self._drawn = True

    def write(self, text: str) -> None:
        """Write text in the place of the line. The next call of `draw` draws the line again, after the text."""
        self.clear()
        self._put(text)

    def flush(self) -> None:
        """Do nothing, because this stream has no buffer."""

    def clear(self) -> None:
        """Remove the line, so that another writer can use the terminal."""
        if self._drawn:
            self._put(f"\r{ERASE_REST}")
            self._drawn = False

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # if the reader is gone, the work continues without the line
            self._stream.write(text)
            self._stream.flush()
