"""Rows on disk while a run goes on: an Arrow IPC stream that is readable up to its last whole batch.

Rows gather in memory for at most a second and are written in batches. A write that fails (a full disk) leaves the file
as it was and the rows in memory, so the next attempt continues where the last good one ended.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

BATCH_ROWS = 200


class GrowingFile:
    """A new file that grows by whole writes, or not at all."""

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
            os.ftruncate(self._file, self._good_bytes)
            os.lseek(self._file, self._good_bytes, os.SEEK_SET)
            raise
        self._good_bytes += len(data)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


class Spool:
    """One table of one worker."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._file = GrowingFile(path)
        self._sealed = deque([(0, schema.serialize().to_pybytes())])
        self.written = 0
        _batch([{}], schema)  # the first conversion imports pandas, for 0.2 s: better now than between two events

    def append(self, row: dict[str, Any]) -> None:
        """Add a row. Every 200th makes a batch of them (1 ms), so that no flush holds the event loop up for longer."""
        self._rows.append(row)
        if len(self._rows) == BATCH_ROWS:
            with suppress(Exception):  # a row that no batch can hold is no fault of the session's: the flush will tell
                self._seal()

    def __len__(self) -> int:
        """Rows that are not on disk yet."""
        return sum(rows for rows, _ in self._sealed) + len(self._rows)

    def flush(self) -> None:
        """Write what has gathered, 200 rows a batch. Raises OSError and keeps the rows where the disk takes no more."""
        self._write()
        if self._rows:
            self._seal()
            self._write()

    def _seal(self) -> None:
        self._sealed.append((len(self._rows), _batch(self._rows, self._schema).serialize().to_pybytes()))
        self._rows = []

    def _write(self) -> None:
        while self._sealed:
            rows, data = self._sealed[0]
            self._file.append(data)
            self._sealed.popleft()
            self.written += rows

    def close(self) -> None:
        """Let go of the file; rows that could not be written stay counted in `len`."""
        self._file.close()


def _batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=schema)
