"""The standard streams of our processes, and a status line that is redrawn in the same place of a
terminal.

A stream that is closed, full, or not in UTF-8 ends no process. The exit status is a verdict, and a
run was paid for. So neither depends on where the text is printed.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDERR = 2
ASCII_SIGNS = {
    **{
        "−": "-",
        "–": "-",
        "·": "|",
        "…": "...",
        "\N{NO-BREAK SPACE}": " ",
        "’": "'",
        "“": '"',
        "”": '"',
    },
    **{
        "×": "x",
        "÷": "/",
        "±": "+/-",
        "≤": "<=",
        "≥": ">=",
        "≈": "~",
        "∞": "inf",
        "µ": "u",
        "²": "^2",
        "Σ": "sum",
    },
    **{
        "✓": "v",
        "✕": "x",
        "◇": "o",
        "→": "->",
        "←": "<-",
        "↕": "|",
        "♪": "~",
        "●": "*",
        "░": ".",
        "█": "#",
        "│": "|",
    },
}
"""The signs of our texts, as an encoding without them prints them. None becomes `?`, which marks
an open verdict."""


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    sign = ASCII_SIGNS.get(error.object[error.start])
    if sign is not None:
        return sign, error.start + 1
    # one character at a time: one of ours may follow
    one = UnicodeEncodeError(
        error.encoding, error.object, error.start, error.start + 1, error.reason
    )
    return codecs.backslashreplace_errors(one)


codecs.register_error(REPLACED := "rtbench.replaced", _replaced)


# Python ends a process with status 120 if it cannot flush a stream, and prints a traceback if a
# pipe is closed. Both would replace the exit status, which a CI reads as the verdict. So the file
# below never raises.
class OutputFile(io.FileIO):
    """The file of an output stream. Text that it does not take (`rtbench check RUN | head -1`)
    is discarded.
    """

    error: OSError | None = None
    """The error by which output was lost. A reader that closes the pipe wants no more output, so
    it loses none."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write as FileIO does, and wait for a full descriptor. Report the first OSError on
        standard error instead.
        """
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            if error.errno != errno.EPIPE and self.error is None:
                self.error = error
                if self.fileno() != STDERR:
                    print(
                        f"rtbench: the output cannot be written: {error.strerror}",
                        file=sys.stderr,
                        flush=True,
                    )
            return memoryview(data).nbytes
        return written


def prepare() -> None:
    """Make the standard streams of this process safe to use. Do this before the process opens
    files.

    A missing stream (`>&-`) becomes the null device, also for child processes. Otherwise the next
    file that is opened would get its number. Characters that the encoding of a stream lacks are
    replaced. Streams of notebooks and tests stay.
    """
    for number in range(STDERR + 1):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # until the process ends
    sys.stdout, sys.stderr = _safe(sys.stdout, sys.__stdout__), _safe(sys.stderr, sys.__stderr__)


def _safe(stream: TextIO | None, original: TextIO | None) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper) or stream is not original:
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(OutputFile(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=REPLACED,
        line_buffering=stream.line_buffering or stream.isatty(),
        write_through=stream.write_through,
    )


def print_notice(text: str) -> None:
    """Print a line of this tool on stderr."""
    print(f"rtbench: {text}", file=sys.stderr, flush=True)


def lost_output() -> bool:
    """Return whether standard output could not be written. Write what is still in its buffer
    first.
    """
    sys.stdout.flush()
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(file, OutputFile) and file.error is not None


# The status line.

SEPARATOR = " · "
USUAL_COLUMNS = 80
USUAL_ROWS = 24
MAX_WIDTH = 100
"""The maximum width of text, in columns. It is also the width if there is no terminal."""
ERASE_REST = "\x1b[K"
COLOURS = {"bad": "31", "sim": "35"}


def text_width() -> int:
    """Return the width that a report's text may have on this terminal, in columns."""
    return min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, USUAL_ROWS)).columns)


@dataclass(frozen=True)
class StatusPart:
    """A part of the status line, in several complete forms of decreasing length, and then in
    incomplete ones.

    If the line is too long, the part with the highest `rank` is shortened first: among complete
    forms, then among incomplete ones, and then by removal. So problems have low ranks: they stay
    longer than good news.
    """

    rank: int
    forms: tuple[str, ...]
    style: str = ""
    shorter_forms: tuple[str, ...] = ()


def fitted(parts: Iterable[StatusPart], width: int | None = None, *, colour: bool = False) -> str:
    """Return the parts as one line of at most `width` columns. If `width` is None, there is no
    limit.
    """
    remaining = list(parts)
    while (
        width is not None
        and remaining
        and len(SEPARATOR.join(part.forms[0] for part in remaining)) > width
    ):
        _shorten(remaining)
    return SEPARATOR.join(
        (
            f"\x1b[{COLOURS[part.style]}m{part.forms[0]}\x1b[0m"
            if colour and part.style
            else part.forms[0]
        )
        for part in remaining
    )


def _shorten(parts: list[StatusPart]) -> None:
    """Shorten one part. If no part has a shorter complete form, replace a part by its incomplete
    form, or remove it.
    """
    shortenable = [index for index, part in enumerate(parts) if len(part.forms) > 1]
    index = max(shortenable or range(len(parts)), key=lambda index: parts[index].rank)
    part = parts[index]
    if shortenable:
        parts[index] = replace(part, forms=part.forms[1:])
    elif part.shorter_forms:
        parts[index] = replace(
            part, forms=part.shorter_forms[:1], shorter_forms=part.shorter_forms[1:]
        )
    else:
        del parts[index]


class StatusLine:
    """A status line on a stream. Write other text through this object, so that it does not run
    into the line.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self.in_place = stream.isatty() and environ.get("TERM") != "dumb"
        self.colour = self.in_place and not environ.get("NO_COLOR")
        self._drawn = False
        """True if the screen shows a line, which must be cleared before other text."""

    @property
    def width(self) -> int:
        """The number of columns that the line may have. The last column stays free, or a
        terminal would wrap there.
        """
        columns = 0
        with contextlib.suppress(OSError, ValueError):
            columns = os.get_terminal_size(self._stream.fileno()).columns
        return (columns or USUAL_COLUMNS) - 1

    def can_write(self) -> bool:
        """Return whether the stream accepts a line now. Writing to a stopped terminal (Ctrl-S)
        would block.
        """
        try:
            return bool(select.select([], [self._stream], [], 0)[1])
        except (OSError, ValueError):  # the stream has no file: it is in memory
            return True

    def draw(self, line: str) -> None:
        """Draw a line in the place of the last one."""
        self._put(f"\r{line}{ERASE_REST}")
        self._drawn = True

    def write(self, text: str) -> None:
        """Write text in the place of the line. The next call of `draw` draws the line again,
        after the text.
        """
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
        # if the reader is gone, the work continues without the line
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
