"""Rows on disk while a run goes on: an Arrow IPC stream that is readable up to its last whole batch.

Rows gather in memory for at most a second and are written as one batch. A write that fails (a full disk) leaves the
file as it was and the rows in memory, so the next attempt continues where the last good one ended.
"""

from __future__ import annotations

import os
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
        self._pending = schema.serialize().to_pybytes()
        self.written = 0
        _batch([{}], schema)  # the first conversion imports pandas, for 0.2 s: better now than between two events

    def append(self, row: dict[str, Any]) -> None:
        self._rows.append(row)

    def __len__(self) -> int:
        """Rows that are not on disk yet."""
        return len(self._rows)

    def flush(self) -> None:
        """Write what has gathered, 200 rows a batch. Raises OSError and keeps the rows where the disk takes no more."""
        while self._rows or self._pending:
            batch = self._rows[:BATCH_ROWS]
            data = _batch(batch, self._schema).serialize().to_pybytes() if batch else b""
            self._file.append(self._pending + data)
            self._pending = b""
            self.written += len(batch)
            del self._rows[: len(batch)]

    def close(self) -> None:
        """Let go of the file; rows that could not be written stay counted in `len`."""
        self._file.close()


def _batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=schema)
