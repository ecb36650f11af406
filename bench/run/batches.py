"""Puts rows into a stream in batches: an Arrow IPC stream that is readable up to its last whole batch.

Rows gather in memory until they are flushed and are written in batches. A write that fails (a full disk) leaves the
stream as it was and the rows in memory, so the next attempt continues where the last good one ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from bench.run.spool import Stream

BATCH_ROWS = 200
ValueRefused = Callable[[str, dict[str, Any], str], None]
"""Hears of a value that its column cannot hold: the column, the row, and why."""


class Batches:
    """Writes the rows of one table. A value that its column cannot hold is null there, and `refused` hears of it."""

    def __init__(self, stream: Stream, schema: pa.Schema, refused: ValueRefused) -> None:
        self._stream, self._schema, self._refused = stream, schema, refused
        self._rows: list[dict[str, Any]] = []
        self._sealed = deque([(0, schema.serialize().to_pybytes())])
        self.written = 0
        _batch([{}], schema, refused)  # the first one imports pandas, for 0.2 s: better now than between two events

    def append(self, row: dict[str, Any]) -> None:
        """Add a row. Every 200th makes a batch of them (1 ms), so that no flush holds the event loop up for longer."""
        self._rows.append(row)
        if len(self._rows) == BATCH_ROWS:
            self._seal()

    def __len__(self) -> int:
        """Rows that are not in the stream yet."""
        return sum(rows for rows, _ in self._sealed) + len(self._rows)

    def flush(self) -> None:
        """Write what has gathered, 200 rows a batch. Raises OSError and keeps it where the stream takes no more."""
        self._write()
        if self._rows:
            self._seal()
            self._write()

    def _seal(self) -> None:
        batch = _batch(self._rows, self._schema, self._refused)
        self._sealed.append((len(self._rows), batch.serialize().to_pybytes()))
        self._rows = []

    def _write(self) -> None:
        while self._sealed:
            rows, data = self._sealed[0]
            self._stream.append(data)
            self._sealed.popleft()
            self.written += rows

    def close(self) -> None:
        """Let go of the stream; rows that could not be written stay counted in `len`."""
        self._stream.close()


def _batch(rows: list[dict[str, Any]], schema: pa.Schema, refused: ValueRefused) -> pa.RecordBatch:
    try:
        return pa.RecordBatch.from_pylist(rows, schema=schema)
    except Exception:  # of Arrow, or of Python where an integer is too large: some column holds the reason
        return pa.RecordBatch.from_arrays([_column(rows, field, refused) for field in schema], schema=schema)


def _column(rows: list[dict[str, Any]], field: pa.Field, refused: ValueRefused) -> pa.Array:
    values = [row.get(field.name) for row in rows]
    try:
        return pa.array(values, field.type)
    except Exception:
        reasons = [_why_not(value, field.type) for value in values]
    for row, why in zip(rows, reasons, strict=True):
        if why:
            refused(field.name, row, why)
    return pa.array([None if why else value for value, why in zip(values, reasons, strict=True)], field.type)


def _why_not(value: object, kind: pa.DataType) -> str:
    """Why a column of this type cannot hold a value; empty where it can."""
    try:
        pa.array([value], kind)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""
