"""Where the parts of a run's workers stand until it is closed: files in its `spool/`, each with its worker's number.

    turns-0.arrows sessions-0.arrows seconds-0.arrows   rows, as Arrow IPC streams
    transcripts-0.jsonl                                 what was said
    histograms-0.hlog worker-0.json                     histograms and counts

A part (`bench.run.worker_part`) is made of streams, which only grow, and of documents, which are replaced as a whole.
Rows gather in memory until they are flushed in batches; a stream is readable up to its last complete batch. A write
that fails (a full disk) leaves the stream as it was and the rows in memory, so the next attempt continues where the
last good one ended. Workers on other hosts write the same into a folder of their own, whose files are copied (`bench.run.replica`).

Event logs are written where they stay, in the run folder's `events/`. A run of several hosts, one of which something is
missing, and one that was merged keep each worker's documents in `workers/`: their sum cannot be taken apart again.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.untrusted.safe_io import AppendFile, fresh_beside, replace_text

SPOOL, WORKERS = "spool", "workers"
EVENTS = "events"
"""The part of a run folder that holds event logs."""
OF_WORKER = re.compile(r"\w+-(\d{1,9})\.\w+", re.ASCII)


class Spool:
    """Takes the part of worker number `worker`, from 0. `run_id`: the run's name, where it is not the folder's."""

    def __init__(self, folder: Path, worker: int, run_id: str = "") -> None:
        self._folder, self.run_id, self.worker = folder, run_id or folder.name, worker
        self.events = folder / EVENTS

    def stream(self, name: str) -> AppendFile:
        """A new stream; one name has one. Raises OSError where there can be none."""
        return AppendFile(path_of(self._folder, self.worker, name))

    def replace(self, name: str, text: str) -> None:
        """Keep a document instead of the one of this name. Raises OSError, and keeps the old one, where it cannot."""
        replace_text(path_of(self._folder, self.worker, name), text)


def path_of(folder: Path, worker: int, name: str, place: str = SPOOL) -> Path:
    """`spool/turns-0.arrows`: where a worker's stream or document of this name is."""
    stem, _, suffix = name.partition(".")
    return folder / place / f"{stem}-{worker}.{suffix}"


def prepare(folder: Path) -> None:
    (folder / SPOOL).mkdir()


def is_kept(folder: Path) -> bool:
    """Whether the run folder holds its workers' parts, for it was not closed yet."""
    return (folder / SPOOL).is_dir() and not (folder / SPOOL).is_symlink()  # a link leads to what is not the run's


def remove(folder: Path) -> None:
    shutil.rmtree(folder / SPOOL)


def workers_in(folder: Path, place: str = SPOOL) -> list[int]:
    names = (OF_WORKER.fullmatch(path.name) for path in (folder / place).glob("*"))
    return sorted({int(name[1]) for name in names if name})


def keep(folder: Path, worker: int, name: str, data: bytes) -> None:
    """Keep a worker's document in a run folder that is closed."""
    path = path_of(folder, worker, name, WORKERS)
    if path.parent.is_symlink():
        path.parent.unlink()  # it leads to what is not the run's
    path.parent.mkdir(exist_ok=True)
    fresh = fresh_beside(path)
    fresh.write_bytes(data)
    os.replace(fresh, path)


def is_reached(folder: Path, host: str) -> bool:
    """Whether a worker here can write to the spool of a master on `host`: both are on one machine."""
    return host == socket.gethostname() and folder.is_dir()


BATCH_ROWS = 200
Columns = Mapping[str, Sequence[Any]]
"""The values of each column, one of each row; a column that is not there is null."""
ValueRefused = Callable[[str, Mapping[str, Any], str], None]
"""Hears of a value that its column cannot hold: the column, the row, and why."""


class BatchWriter:
    """Writes the rows of one table, many at once. `refused` hears of values that a column cannot hold: null there."""

    def __init__(
        self,
        stream: AppendFile,
        schema: pa.Schema,
        columns_of: Callable[[Sequence[Any]], Columns],
        refused: ValueRefused,
    ) -> None:
        self._stream, self._schema, self._columns_of, self._refused = stream, schema, columns_of, refused
        self._by_type: dict[pa.DataType, list[str]] = {}
        for field in schema:
            self._by_type.setdefault(field.type, []).append(field.name)
        self._rows: list[Any] = []
        self._sealed = deque([(0, schema.serialize().to_pybytes())])
        self.written = 0
        self._batch({}, 1)  # the first one imports pandas, for 0.2 s: better now than between two events

    def append(self, row: Any) -> None:
        """Add a row. Every 200th makes a batch (1.5 ms), so that no flush holds the event loop up for longer."""
        self._rows.append(row)
        if len(self._rows) == BATCH_ROWS:
            self._seal()

    def __len__(self) -> int:
        """Rows that are not in the stream yet."""
        return sum(rows for rows, _ in self._sealed) + len(self._rows)

    def flush(self) -> None:
        """Write what has gathered, 200 rows a batch. Raises OSError and keeps it where the stream takes no more."""
        while self._sealed or self._rows:
            if not self._sealed:  # only then: a disk that takes nothing would have every flush seal a batch of its own
                self._seal()
            rows, data = self._sealed[0]
            self._stream.append(data)
            self._sealed.popleft()  # not before: what was not written stands here for the next attempt
            self.written += rows

    def _seal(self) -> None:
        rows = len(self._rows)
        batch = self._batch(self._columns_of(self._rows), rows)
        self._sealed.append((rows, batch.serialize().to_pybytes()))
        self._rows = []

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
        except Exception:  # as above: now value by value, so that only what cannot be held is null, and is told
            held: list[Any] = []
            for place, value in enumerate(values):
                try:
                    pa.array([value], kind)
                    held.append(value)
                except Exception as error:
                    row = {column: of_rows[place] for column, of_rows in columns.items()}
                    self._refused(name, row, f"{type(error).__name__}: {error}".splitlines()[0])
                    held.append(None)
            return pa.array(held, kind)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> Columns:
    names = dict.fromkeys(chain.from_iterable(rows))
    return {name: [row.get(name) for row in rows] for name in names}
