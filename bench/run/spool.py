"""The spool: the parts of a run's workers until it is finalized; files in `spool/`, each with its worker's number.

    turns-0.arrows sessions-0.arrows seconds-0.arrows   rows, as Arrow IPC streams
    transcripts-0.jsonl                                 transcripts
    histograms-0.hlog worker-0.json                     histograms and counts

A part (`bench.run.worker_part`) is made of streams, which only grow, and of documents, which are replaced as a whole.
Rows are buffered in memory until they are flushed in batches; a stream is readable up to its last complete batch. A
write that fails (a full disk) leaves the stream unchanged and the rows in memory, so the next attempt continues where
the last successful one ended. Workers on other hosts write the same into a local folder, whose files are copied
(`bench.run.replica`).

Event logs are written to their final place, the run folder's `events/`. A run of several hosts, an incomplete one, and
a merged one store each worker's documents in `workers/`: their sum cannot be split again.
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
"""The folder of event logs in a run folder."""
OF_WORKER = re.compile(r"\w+-(\d{1,9})\.\w+", re.ASCII)


class Spool:
    """The writer of worker number `worker`'s part, from 0. `run_id`: the run's name, if it is not the folder's."""

    def __init__(self, folder: Path, worker: int, run_id: str = "") -> None:
        self._folder, self.run_id, self.worker = folder, run_id or folder.name, worker
        self.events = folder / EVENTS

    def stream(self, name: str) -> AppendFile:
        """Return a new stream; a name has only one. Raise OSError if it cannot be created."""
        return AppendFile(path_of(self._folder, self.worker, name))

    def replace(self, name: str, text: str) -> None:
        """Replace the document of this name. Raise OSError, and keep the old one, if that fails."""
        replace_text(path_of(self._folder, self.worker, name), text)


def path_of(folder: Path, worker: int, name: str, place: str = SPOOL) -> Path:
    """Return the path of a worker's stream or document, such as `spool/turns-0.arrows`."""
    stem, _, suffix = name.partition(".")
    return folder / place / f"{stem}-{worker}.{suffix}"


def prepare(folder: Path) -> None:
    (folder / SPOOL).mkdir()


def is_stored(folder: Path) -> bool:
    """Return whether the run folder still holds its workers' parts, because it was not finalized."""
    return (folder / SPOOL).is_dir() and not (folder / SPOOL).is_symlink()  # a link leads out of the run folder


def remove(folder: Path) -> None:
    shutil.rmtree(folder / SPOOL)


def workers_in(folder: Path, place: str = SPOOL) -> list[int]:
    names = (OF_WORKER.fullmatch(path.name) for path in (folder / place).glob("*"))
    return sorted({int(name[1]) for name in names if name})


def store(folder: Path, worker: int, name: str, data: bytes) -> None:
    """Store a worker's document in a finalized run folder."""
    path = path_of(folder, worker, name, WORKERS)
    if path.parent.is_symlink():
        path.parent.unlink()  # the link leads out of the run folder
    path.parent.mkdir(exist_ok=True)
    fresh = fresh_beside(path)
    fresh.write_bytes(data)
    os.replace(fresh, path)


def is_reached(folder: Path, host: str) -> bool:
    """Return whether a worker here can write to the spool of a master on `host`: both are on one machine."""
    return host == socket.gethostname() and folder.is_dir()


BATCH_ROWS = 200
Columns = Mapping[str, Sequence[Any]]
"""The values of each column, one for each row; a missing column is null."""
ValueRefused = Callable[[str, Mapping[str, Any], str], None]
"""The callback for a value that its column cannot hold: the column, the row, and why."""


class BatchWriter:
    """The writer of one table, in batches. `refused` is called for values that a column cannot hold: null there."""

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
        self._batch({}, 1)  # the first batch imports pandas, which takes 0.2 s: better now than between two events

    def append(self, row: Any) -> None:
        """Add a row. Every 200th completes a batch (1.5 ms), so that no flush blocks the event loop for longer."""
        self._rows.append(row)
        if len(self._rows) == BATCH_ROWS:
            self._seal()

    def __len__(self) -> int:
        """Return the number of rows that are not in the stream yet."""
        return sum(rows for rows, _ in self._sealed) + len(self._rows)

    def flush(self) -> None:
        """Write the buffered rows, 200 rows a batch. Raise OSError, and keep them, if the stream accepts no more."""
        while self._sealed or self._rows:
            if not self._sealed:  # only if it is empty; otherwise every flush on a full disk would make another batch
                self._seal()
            rows, data = self._sealed[0]
            self._stream.append(data)
            self._sealed.popleft()  # only now, so that after a failure the next attempt writes it again
            self.written += rows

    def _seal(self) -> None:
        rows = len(self._rows)
        batch = self._batch(self._columns_of(self._rows), rows)
        self._sealed.append((rows, batch.serialize().to_pybytes()))
        self._rows = []

    def close(self) -> None:
        """Close the stream; `len` still counts rows that could not be written."""
        self._stream.close()

    def _batch(self, columns: Columns, rows: int) -> pa.RecordBatch:
        """Return a batch. The columns of a type are converted together, as a call costs as much as a hundred values."""
        nulls = (None,) * rows
        arrays: dict[str, pa.Array] = {}
        for kind, names in self._by_type.items():
            values = [columns.get(name, nulls) for name in names]
            try:
                together = pa.array(list(chain.from_iterable(values)), kind)
            except Exception:  # from Arrow, or from Python for a large integer: one of the columns is the cause
                arrays |= {name: self._column(name, kind, columns, rows) for name in names}
            else:
                arrays |= {name: together.slice(place * rows, rows) for place, name in enumerate(names)}
        return pa.RecordBatch.from_arrays([arrays[name] for name in self._schema.names], schema=self._schema)

    def _column(self, name: str, kind: pa.DataType, columns: Columns, rows: int) -> pa.Array:
        values = columns.get(name, (None,) * rows)
        try:
            return pa.array(values, kind)
        except Exception:  # as above; value by value, so that only unusable values are null, and reported
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
