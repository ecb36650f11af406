"""A line that is refreshed in its own place on a terminal, and the width of text there.

Pure functions compute the text of the line and make it fit: its least important parts are removed first.
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
"""The maximum number of columns of text, and the number without a terminal."""
ERASE_REST = "\x1b[K"
COLOURS = {"bad": "31", "sim": "35"}


def text_width() -> int:
    """Return the number of columns of a report's text on this terminal."""
    return min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, USUAL_ROWS)).columns)


@dataclass(frozen=True)
class StatusPart:
    """A part of the line: forms of one text, each shorter than the last, and then incomplete ones (`shorter_forms`).

    If the line is too long, forms are shortened first, beginning at the part of the highest `rank`; then whole parts
    are removed. Problems therefore have low ranks, and stay longer than good news.
    """

    rank: int
    forms: tuple[str, ...]
    style: str = ""
    shorter_forms: tuple[str, ...] = ()


def fitted(parts: Iterable[StatusPart], width: int | None = None, *, colour: bool = False) -> str:
    """Return the parts as a line of at most `width` columns; None for no limit."""
    remaining = list(parts)
    while width is not None and remaining and len(SEPARATOR.join(part.forms[0] for part in remaining)) > width:
        _shorten(remaining)
    return SEPARATOR.join(_coloured(part.forms[0], part.style if colour else "") for part in remaining)


def _shorten(parts: list[StatusPart]) -> None:
    """Shorten one part. If none has a shorter form, replace a part by its incomplete form, or remove it."""
    shortenable = [index for index, part in enumerate(parts) if len(part.forms) > 1]
    index = max(shortenable or range(len(parts)), key=lambda index: parts[index].rank)
    part = parts[index]
    if shortenable:
        parts[index] = replace(part, forms=part.forms[1:])
    elif part.shorter_forms:
        parts[index] = replace(part, forms=part.shorter_forms[:1], shorter_forms=part.shorter_forms[1:])
    else:
        del parts[index]


def _coloured(text: str, style: str) -> str:
    return f"\x1b[{COLOURS[style]}m{text}\x1b[0m" if style else text


class StatusLine:
    """A status line on a stream. Text that is written through it does not run into the line."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self.in_place = stream.isatty() and environ.get("TERM") != "dumb"
        self.colour = self.in_place and not environ.get("NO_COLOR")
        self._drawn = False
        """True if a line is on the screen, which has to be replaced."""

    @property
    def width(self) -> int:
        """The number of columns that a line may take. The last one stays free, because a terminal would wrap there."""
        columns = 0
        with contextlib.suppress(OSError, ValueError):
            columns = os.get_terminal_size(self._stream.fileno()).columns
        return (columns or USUAL_COLUMNS) - 1

    def can_write(self) -> bool:
        """Return whether the stream accepts a line now: a stopped terminal (Ctrl-S) would block the whole process."""
        try:
            return bool(select.select([], [self._stream], [], 0)[1])
        except (OSError, ValueError):  # the stream has no file: it is in memory
            return True

    def draw(self, line: str) -> None:
        """Draw a line, which replaces the last one."""
        self._put(f"\r{line}{ERASE_REST}")
        self._drawn = True

    def write(self, text: str) -> None:
        """Write text in the place of the line. The line is drawn again when it is due next."""
        self.clear()
        self._put(text)

    def flush(self) -> None:
        """Do nothing, because this stream has no buffer."""

    def clear(self) -> None:
        """Remove the line, before another writer uses the terminal."""
        if self._drawn:
            self._put(f"\r{ERASE_REST}")
            self._drawn = False

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # if the reader is gone, the work continues without the line
            self._stream.write(text)
            self._stream.flush()
