"""The standard streams of our processes. A stream that is closed, full, or not in UTF-8 ends no process.

The exit status is a verdict, and a run was paid for. So neither depends on where the text is printed.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDERR = 2
ASCII_SIGNS = {
    **{"−": "-", "–": "-", "·": "|", "…": "...", "\N{NO-BREAK SPACE}": " ", "’": "'", "“": '"', "”": '"'},
    **{"×": "x", "÷": "/", "±": "+/-", "≤": "<=", "≥": ">=", "≈": "~", "∞": "inf", "µ": "u", "²": "^2", "Σ": "sum"},
    **{"✓": "v", "✕": "x", "◇": "o", "→": "->", "←": "<-", "↕": "|", "♪": "~", "●": "*", "░": ".", "█": "#", "│": "|"},
}
"""The signs of our texts, as an encoding without them prints them. None becomes `?`, which marks an open verdict."""


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    sign = ASCII_SIGNS.get(error.object[error.start])
    if sign is not None:
        return sign, error.start + 1
    # one character at a time: one of ours may follow
    one = UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
    return codecs.backslashreplace_errors(one)


codecs.register_error(REPLACED := "rtbench.replaced", _replaced)


class OutputFile(io.FileIO):
    """The file of an output stream. Text that it does not take (`rtbench check RUN | head -1`) is discarded."""

    error: OSError | None = None
    """The error by which output was lost. A reader that closes the pipe wants no more output, so it loses none."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write as FileIO does, and wait for a full descriptor. Report the first OSError on standard error instead."""
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            if error.errno != errno.EPIPE and self.error is None:
                self.error = error
                if self.fileno() != STDERR:
                    print(f"rtbench: the output cannot be written: {error.strerror}", file=sys.stderr, flush=True)
            return memoryview(data).nbytes
        return written


def prepare() -> None:
    """Make the standard streams of this process safe to use. Do this before the process opens files.

    A missing stream (`>&-`) becomes the null device, also for child processes. Otherwise the next file that is opened
    would get its number. Characters that the encoding of a stream lacks are replaced. Streams of notebooks and tests
    stay.
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


def lost_output() -> bool:
    """Return whether standard output could not be written. Write what is still in its buffer first."""
    sys.stdout.flush()
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(file, OutputFile) and file.error is not None
