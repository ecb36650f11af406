"""The spool: the parts of a run's workers until the run is finalized.

Its files are in `spool/`. The name of each file contains the number of its worker:

    turns-0.arrows sessions-0.arrows seconds-0.arrows   rows, as Arrow IPC streams
    transcripts-0.jsonl                                 transcripts
    histograms-0.hlog worker-0.json                     histograms and counts

A part (`bench.record.worker_part`) consists of streams, which only grow, and of documents, which are replaced as a
whole. Rows are buffered in memory until they are flushed in batches. A stream is readable up to its last complete
batch. If a write fails (a full disk), the stream is unchanged, and the rows stay in memory. So the next attempt
continues where the last successful attempt ended. Workers on other hosts write the same files into a local folder, from
which the files are copied (`bench.record.replica`).

Event logs are written to their final place, the folder `events/` of the run folder. When a run is finalized, the
documents of all workers are summed, and the sum cannot be split again. Therefore a run of several hosts, an incomplete
run, and a merged run also store the documents of each worker, in `workers/`.
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

from bench.files.safe_io import AppendFile, fresh_beside, replace_text

SPOOL, WORKERS = "spool", "workers"
EVENTS = "events"
"""The name of the folder in a run folder that contains the event logs."""
OF_WORKER = re.compile(r"\w+-(\d{1,9})\.\w+", re.ASCII)


class Spool:
    """The writer of the part of worker number `worker`, counted from 0.

    `run_id` is the id of the run, if it differs from the name of the folder.
    """

    def __init__(self, folder: Path, worker: int, run_id: str = "") -> None:
        self._folder, self.run_id, self.worker = folder, run_id or folder.name, worker
        self.events = folder / EVENTS

    def stream(self, name: str) -> AppendFile:
        """Create and return a stream. Call this once for each name. Raise OSError if the stream cannot be created."""
        return AppendFile(path_of(self._folder, self.worker, name))

    def replace(self, name: str, text: str) -> None:
        """Replace the document of this name. If that fails, the old document remains, and OSError is raised."""
        replace_text(path_of(self._folder, self.worker, name), text)


def path_of(folder: Path, worker: int, name: str, subfolder: str = SPOOL) -> Path:
    """Return the path of a worker's stream or document, such as `spool/turns-0.arrows`."""
    stem, _, suffix = name.partition(".")
    return folder / subfolder / f"{stem}-{worker}.{suffix}"


def prepare(folder: Path) -> None:
    (folder / SPOOL).mkdir()


def is_stored(folder: Path) -> bool:
    """Return whether the run folder still contains the parts of its workers, because the run was not finalized."""
    return (folder / SPOOL).is_dir() and not (folder / SPOOL).is_symlink()  # a link would lead out of the run folder


def remove(folder: Path) -> None:
    shutil.rmtree(folder / SPOOL)


def workers_in(folder: Path, subfolder: str = SPOOL) -> list[int]:
    names = (OF_WORKER.fullmatch(path.name) for path in (folder / subfolder).glob("*"))
    return sorted({int(name[1]) for name in names if name})


def store(folder: Path, worker: int, name: str, data: bytes) -> None:
    """Store a worker's document in `workers/` of a finalized run folder."""
    path = path_of(folder, worker, name, WORKERS)
    if path.parent.is_symlink():
        path.parent.unlink()  # the link would lead out of the run folder
    path.parent.mkdir(exist_ok=True)
    fresh = fresh_beside(path)
    fresh.write_bytes(data)
    os.replace(fresh, path)


def is_reached(folder: Path, host: str) -> bool:
    """Return whether a worker in this process is on the machine of its master, and can write to the master's spool."""
    return host == socket.gethostname() and folder.is_dir()


BATCH_ROWS = 200
Columns = Mapping[str, Sequence[Any]]
"""The values of each column, one for each row. If a column is missing, all its values are null."""


class BatchWriter:
    """The writer of one table, in batches.

    If a column cannot hold a value, null is stored, and `refused` is called with the column, the row, and the reason.
    """

    def __init__(
        self,
        stream: AppendFile,
        schema: pa.Schema,
        columns_of: Callable[[Sequence[Any]], Columns],
        refused: Callable[[str, Mapping[str, Any], str], None],
    ) -> None:
        self._stream, self._schema, self._columns_of, self._refused = stream, schema, columns_of, refused
        self._by_type: dict[pa.DataType, list[str]] = {}
        for field in schema:
            self._by_type.setdefault(field.type, []).append(field.name)
        self._rows: list[Any] = []
        self._sealed = deque([(0, schema.serialize().to_pybytes())])
        self.written = 0
        self._batch({}, 1)  # the first batch imports pandas, which takes 0.2 s and should not happen between two events

    def append(self, row: Any) -> None:
        """Add a row. Every 200th row completes a batch (1.5 ms), so that no flush blocks the event loop for longer."""
        self._rows.append(row)
        if len(self._rows) == BATCH_ROWS:
            self._seal()

    def __len__(self) -> int:
        """Return the number of rows that are not yet in the stream."""
        return sum(rows for rows, _ in self._sealed) + len(self._rows)

    def flush(self) -> None:
        """Write the buffered rows, in batches. If a write fails, keep the rows that were not written; raise OSError."""
        while self._sealed or self._rows:
            # only if no batch waits; otherwise every flush on a full disk would make another batch
            if not self._sealed:
                self._seal()
            rows, data = self._sealed[0]
            self._stream.append(data)
            # only after the write, so that after a failure the next attempt writes the batch again
            self._sealed.popleft()
            self.written += rows

    def _seal(self) -> None:
        rows = len(self._rows)
        batch = self._batch(self._columns_of(self._rows), rows)
        self._sealed.append((rows, batch.serialize().to_pybytes()))
        self._rows = []

    def close(self) -> None:
        """Close the stream. `len` still returns the number of rows that could not be written."""
        self._stream.close()

    def _batch(self, columns: Columns, rows: int) -> pa.RecordBatch:
        """Return the columns as a batch with `rows` rows. Those of one type are converted together, which is faster."""
        nulls = (None,) * rows
        arrays: dict[str, pa.Array] = {}
        for data_type, names in self._by_type.items():
            values = [columns.get(name, nulls) for name in names]
            try:
                joined = pa.array(list(chain.from_iterable(values)), data_type)
            # raised by Arrow, or by Python for a large integer: a value of one of the columns is the cause
            except Exception:
                arrays |= {name: self._column(name, data_type, columns, rows) for name in names}
            else:
                arrays |= {name: joined.slice(index * rows, rows) for index, name in enumerate(names)}
        return pa.RecordBatch.from_arrays([arrays[name] for name in self._schema.names], schema=self._schema)

    def _column(self, name: str, data_type: pa.DataType, columns: Columns, rows: int) -> pa.Array:
        values = columns.get(name, (None,) * rows)
        try:
            return pa.array(values, data_type)
        # as above; the values are converted one by one, so that only unusable ones become null and are reported
        except Exception:
            cells: list[Any] = []
            for index, value in enumerate(values):
                try:
                    pa.array([value], data_type)
                    cells.append(value)
                except Exception as error:
                    row = {column: column_values[index] for column, column_values in columns.items()}
                    self._refused(name, row, f"{type(error).__name__}: {error}".splitlines()[0])
                    cells.append(None)
            return pa.array(cells, data_type)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> Columns:
    names = dict.fromkeys(chain.from_iterable(rows))
    return {name: [row.get(name) for row in rows] for name in names}
