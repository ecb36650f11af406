"""A terminal for tests. A test can read what a program displays on the terminal."""

from __future__ import annotations

import os
import pty
import select
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def terminal(columns: int = 80) -> Iterator[tuple[int, TextIO]]:
    """Open a pseudoterminal.

    Yield the file descriptor from which a test reads, and the stream to which the program under
    test writes.
    """
    reads, writes = pty.openpty()
    termios.tcsetwinsize(writes, (24, columns))
    with os.fdopen(reads, "rb", buffering=0), os.fdopen(writes, "w") as stream:
        yield reads, stream


def screen(reads: int) -> str:
    """Return all that was written to the terminal."""
    text = b""
    while select.select([reads], [], [], 0.05)[0]:
        text += os.read(reads, 65_536)
    return text.decode().replace("\r\n", "\n")
