"""Writes a worker's part of a run into its spool; `bench.run.part` reads it.

Rows and what was said gather in memory until they are flushed. Rows of a table are written in batches into an Arrow IPC
stream that is readable up to its last whole batch. A write that fails (a full disk) leaves the stream as it was and the
rows in memory, so the next attempt continues where the last good one ended.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Generic, TypeVar

import msgspec
import pyarrow as pa

from bench.run import folder as files
from bench.run.disk import GrowingFile
from bench.run.part import FACTS, HISTOGRAMS, TRANSCRIPT, Facts, rows_of
from bench.run.spool import Spool

RowValueRefused = Callable[[files.TableName, str, Mapping[str, Any], str], None]
"""Hears of a value that its column cannot hold: the table, the column, the row, and why."""


class PartWriter:
    """Writes one worker's part: rows of all tables, and what was said where `transcripts` are wanted.

    `turn_columns` makes columns of the rows of turns.
    """

    def __init__(
        self,
        spool: Spool,
        turn_columns: Callable[[Sequence[tuple[Any, ...]]], Columns],
        refused: RowValueRefused,
        *,
        transcripts: bool = False,
    ) -> None:
        self._spool = spool
        self._turns = Batches(spool.stream(rows_of("turns")), files.TURNS, turn_columns, partial(refused, "turns"))
        self._rows: dict[files.TableName, Batches[Mapping[str, Any]]] = {
            table: Batches(spool.stream(rows_of(table)), schema, columns_of, partial(refused, table))
            for table, schema in files.SCHEMAS.items()
            if table != "turns"
        }
        self._tables: tuple[Batches[Any], ...] = (self._turns, *self._rows.values())
        self._transcript = spool.stream(TRANSCRIPT) if transcripts else None
        self._said: list[str] = []

    def append_turn(self, row: tuple[Any, ...]) -> None:
        """Add a row to the turns."""
        self._turns.append(row)

    def append(self, table: files.TableName, row: Mapping[str, Any]) -> None:
        """Add a row to another table."""
        self._rows[table].append(row)

    def append_said(self, row: Mapping[str, Any]) -> None:
        """Add what was said in a turn, where transcripts are wanted."""
        if self._transcript is not None:
            self._said.append(json.dumps(row, ensure_ascii=False) + "\n")

    @property
    def written_rows(self) -> dict[str, int]:
        """How many rows of each table are in the spool."""
        return {"turns": self._turns.written} | {table: rows.written for table, rows in self._rows.items()}

    @property
    def unwritten_rows(self) -> int:
        """How many rows have gathered since the last flush."""
        return sum(len(table) for table in self._tables)

    def flush(self) -> None:
        """Write what has gathered. Raises OSError and keeps it where the spool takes no more."""
        for table in self._tables:
            table.flush()
        if self._transcript is not None:
            self._transcript.append("".join(self._said).encode())
            self._said.clear()

    def replace_histograms(self, log: str) -> None:
        """Write all histograms anew. Raises OSError where the spool takes no more."""
        self._spool.replace(HISTOGRAMS, log)

    def replace_facts(self, facts: Facts) -> None:
        """Write all facts anew. Raises OSError where the spool takes no more."""
        self._spool.replace(FACTS, msgspec.json.encode(facts).decode())

    def close(self) -> None:
        """Let go of the streams, after the last flush."""
        for table in self._tables:
            table.close()
        if self._transcript is not None:
            self._transcript.close()


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
        self._schema, self._refused = schema, refused
        self._by_type: dict[pa.DataType, list[str]] = {}
        for field in schema:
            self._by_type.setdefault(field.type, []).append(field.name)
        self._rows: list[AnyRow] = []
        self._sealed = deque([(0, schema.serialize().to_pybytes())])
        self.written = 0
        self._batch({}, 1)  # the first one imports pandas, for 0.2 s: better now than between two events

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
        batch = self._batch(self._columns_of(self._rows), rows)
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

    def _batch(self, columns: Columns, rows: int) -> pa.RecordBatch:
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


def columns_of(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Make columns of rows that name their values."""
    names = dict.fromkeys(chain.from_iterable(rows))
    return {name: [row.get(name) for row in rows] for name in names}


def _why_not(value: object, kind: pa.DataType) -> str:
    """Why a column of this type cannot hold a value; empty where it can."""
    try:
        pa.array([value], kind)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""
