"""Writes a worker's part of a run into its spool; `bench.run.part` reads it.

Rows and what was said gather in memory until they are flushed. Where the spool takes no more they stay there, and the
next flush continues where the last good one ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from bench.run import folder as files
from bench.run.batches import Batches, Columns, columns_of
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
        self._transcript = _Lines(spool.stream(TRANSCRIPT)) if transcripts else None

    def append_turn(self, row: tuple[Any, ...]) -> None:
        """Add a row to the turns."""
        self._turns.append(row)

    def append(self, table: files.TableName, row: Mapping[str, Any]) -> None:
        """Add a row to another table."""
        self._rows[table].append(row)

    def append_said(self, row: Mapping[str, Any]) -> None:
        """Add what was said in a turn, where transcripts are wanted."""
        if self._transcript is not None:
            self._transcript.append(row)

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
            self._transcript.flush()

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


class _Lines:
    """Gathers objects, as JSON lines, on their way into a stream."""

    def __init__(self, stream: GrowingFile) -> None:
        self._stream = stream
        self._lines: list[str] = []

    def append(self, row: Mapping[str, Any]) -> None:
        self._lines.append(json.dumps(row, ensure_ascii=False) + "\n")

    def flush(self) -> None:
        self._stream.append("".join(self._lines).encode())
        self._lines.clear()

    def close(self) -> None:
        self._stream.close()
