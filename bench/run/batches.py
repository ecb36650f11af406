"""Puts rows into a stream in batches: an Arrow IPC stream that is readable up to its last whole batch.

Rows gather in memory until they are flushed and are written in batches. A write that fails (a full disk) leaves the
stream as it was and the rows in memory, so the next attempt continues where the last good one ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar

import pyarrow as pa

from bench.run.disk import GrowingFile

BATCH_ROWS = 200
AnyRow = TypeVar("AnyRow")
"""Whatever columns are made of."""
Columns = Mapping[str, Sequence[Any]]
"""The values of each column, one of each row; a column that is not there is null."""
ValueRefused = Callable[[str, Mapping[str, Any], str], None]
"""Hears of a value that its column cannot hold: the column, the row, and why."""


class Batches(Generic[AnyRow]):
    """Writes the rows of one table, of which `columns_of` makes columns, many at once.

    A value that its column cannot hold is null there, and `refused` hears of it.
    """

    def __init__(
        self,
        stream: GrowingFile,
        schema: pa.Schema,
        columns_of: Callable[[Sequence[AnyRow]], Columns],
        refused: ValueRefused,
    ) -> None:
        self._stream, self._columns_of = stream, columns_of
        self._table = _Table(schema, refused)
        self._rows: list[AnyRow] = []
        self._sealed = deque([(0, schema.serialize().to_pybytes())])
        self.written = 0
        self._table.batch({}, 1)  # the first one imports pandas, for 0.2 s: better now than between two events

    def append(self, row: AnyRow) -> None:
        """Add a row. Every 200th makes a batch (1.5 ms), so that no flush holds the event loop up for longer."""
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
        rows = len(self._rows)
        batch = self._table.batch(self._columns_of(self._rows), rows)
        self._sealed.append((rows, batch.serialize().to_pybytes()))
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


def columns_of(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Make columns of rows that name their values."""
    names = dict.fromkeys(chain.from_iterable(rows))
    return {name: [row.get(name) for row in rows] for name in names}


class _Table:
    """Makes record batches of one schema."""

    def __init__(self, schema: pa.Schema, refused: ValueRefused) -> None:
        self._schema, self._refused = schema, refused
        self._by_type: dict[pa.DataType, list[str]] = {}
        for field in schema:
            self._by_type.setdefault(field.type, []).append(field.name)

    def batch(self, columns: Columns, rows: int) -> pa.RecordBatch:
        """Make a batch. The columns of a type are converted together, for a call takes as long as a hundred values."""
        nulls = (None,) * rows
        arrays: dict[str, pa.Array] = {}
        for kind, names in self._by_type.items():
            values = [columns.get(name, nulls) for name in names]
            try:
                together = pa.array(list(chain.from_iterable(values)), kind)
            except Exception:  # of Arrow, or of Python where an integer is too large: some column holds the reason
                arrays |= {name: self._column(name, kind, columns, rows) for name in names}
            else:
                arrays |= {name: together.slice(place * rows, rows) for place, name in enumerate(names)}
        return pa.RecordBatch.from_arrays([arrays[name] for name in self._schema.names], schema=self._schema)

    def _column(self, name: str, kind: pa.DataType, columns: Columns, rows: int) -> pa.Array:
        values = columns.get(name, (None,) * rows)
        try:
            return pa.array(values, kind)
        except Exception:
            reasons = [_why_not(value, kind) for value in values]
        for place, why in enumerate(reasons):
            if why:
                self._refused(name, {column: of_rows[place] for column, of_rows in columns.items()}, why)
        return pa.array([None if why else value for value, why in zip(values, reasons, strict=True)], kind)


def _why_not(value: object, kind: pa.DataType) -> str:
    """Why a column of this type cannot hold a value; empty where it can."""
    try:
        pa.array([value], kind)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""
