"""Writes to disk that are done whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


class GrowingFile:
    """A new file that grows by whole writes, or not at all. Raises FileExistsError where there is one already."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._good_bytes = 0

    def append(self, data: bytes) -> None:
        """Write all of the data. Raises OSError and leaves the file as it was where the disk takes no more."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # half a batch would hide all that is written behind it
            os.ftruncate(self._file, self._good_bytes)
            os.lseek(self._file, self._good_bytes, os.SEEK_SET)
            raise
        self._good_bytes += len(data)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step, so that a reader sees the old one or the new one."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)
