"""A terminal of a test: what is drawn on one end is read at the other."""

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
    """(what reads its screen, what writes to it) of a terminal of our own."""
    reads, writes = pty.openpty()
    termios.tcsetwinsize(writes, (24, columns))
    with os.fdopen(reads, "rb", buffering=0), os.fdopen(writes, "w") as stream:
        yield reads, stream


def screen(reads: int) -> str:
    """All that was written to it."""
    text = b""
    while select.select([reads], [], [], 0.05)[0]:
        text += os.read(reads, 65_536)
    return text.decode().replace("\r\n", "\n")
