"""The spool: the parts of a run's workers until the run is finalized.

Its files are in `spool/`. The name of each file contains the number of its worker:

    turns-0.arrows sessions-0.arrows seconds-0.arrows   rows, as Arrow IPC streams
    transcripts-0.jsonl                                 transcripts
    histograms-0.hlog worker-0.json                     histograms and counts
    open_turns-0.arrows                                 rows of the turns in progress, on request

Each part is complete without the others. All parts together are the run. A part consists of
streams, which only grow, and of documents, which are replaced as a whole. Rows are buffered in
memory until they are flushed in batches. A stream is readable up to its last complete batch. If a
write fails (a full disk), the stream is unchanged, and the rows stay in memory. So the next attempt
continues where the last successful attempt ended. Workers on other hosts write the same files into
a local folder, from which the files are copied (`bench.record.replica`).

Event logs are written to their final place, the folder `events/` of the run folder. When a run is
finalized, the documents of all workers are summed, and the sum cannot be split again. Therefore a
run of several hosts, an incomplete run, and a merged run also store the documents of each worker,
in `workers/`.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Protocol, TypeVar, cast

import msgspec
import pyarrow as pa

from bench.base.errors import UsageError
from bench.base.installation import is_alive
from bench.catalogue import columns
from bench.catalogue.columns import CAUSE, EARLIER_CAUSE
from bench.files.safe_io import (
    AppendFile,
    JsonError,
    open_file,
    read_json,
    replace_bytes,
)
from bench.files.sanitize import escape_control, excerpt
from bench.record.document import HostEntry, IncidentEntry
from bench.record.histograms import Histograms, decode

SPOOL = "spool"
WORKERS = "workers"
EVENTS = "events"
"""The name of the folder in a run folder that contains the event logs."""
OF_WORKER = re.compile(r"\w+-(\d{1,9})\.\w+", re.ASCII)


class Spool:
    """The writer of the part of worker number `worker`, counted from 0.

    `run_id` is the id of the run, if it differs from the name of the folder.
    """

    def __init__(self, folder: Path, worker: int, run_id: str = "") -> None:
        self._folder = folder
        self.run_id = run_id or folder.name
        self.worker = worker
        self.events = folder / EVENTS

    def stream(self, name: str) -> AppendFile:
        """Create and return a stream. Call this once for each name. Raise OSError if the stream
        cannot be created.
        """
        return AppendFile(path_of(self._folder, self.worker, name))

    def replace(self, name: str, data: bytes) -> None:
        """Replace the document of this name, in one step. If that fails, the old document remains,
        and OSError is raised.
        """
        replace_bytes(path_of(self._folder, self.worker, name), data)


def path_of(folder: Path, worker: int, name: str, subfolder: str = SPOOL) -> Path:
    """Return the path of a worker's stream or document, such as `spool/turns-0.arrows`."""
    stem, _, suffix = name.partition(".")
    return folder / subfolder / f"{stem}-{worker}.{suffix}"


def prepare(folder: Path) -> None:
    (folder / SPOOL).mkdir()


def is_stored(folder: Path) -> bool:
    """Return whether the run folder still contains the parts of its workers, because the run was
    not finalized.
    """
    # a link would lead out of the run folder
    return (folder / SPOOL).is_dir() and not (folder / SPOOL).is_symlink()


def remove(folder: Path) -> None:
    shutil.rmtree(folder / SPOOL)


def store_empty(folder: Path, worker: int) -> None:
    """Store the part of a worker that has recorded nothing, and will record nothing."""
    Spool(folder, worker).replace(FACTS, msgspec.json.encode(PartFacts(done=True)))


def store(folder: Path, worker: int, name: str, data: bytes) -> None:
    """Store a worker's document in `workers/` of a finalized run folder."""
    path = path_of(folder, worker, name, WORKERS)
    if path.parent.is_symlink():
        path.parent.unlink()  # the link would lead out of the run folder
    path.parent.mkdir(exist_ok=True)
    replace_bytes(path, data)


def is_reached(folder: Path, host: str) -> bool:
    """Return whether a worker in this process is on the machine of its master, and can write to
    the master's spool.
    """
    return host == socket.gethostname() and folder.is_dir()


# The rows of a table go through three stages: a list, then a batch that is encoded once (`_seal`),
# then the stream. A batch leaves memory only after the write succeeded, so a full disk loses no row
# and repeats none.
BATCH_ROWS = 200
Columns = Mapping[str, Sequence[Any]]
"""The values of each column, one for each row. If a column is missing, all its values are null."""


class BatchWriter:
    """The writer of one table, in batches.

    If a column cannot hold a value, null is stored, and `refused` is called with the column, the
    row, and the reason.
    """

    def __init__(
        self,
        stream: AppendFile,
        schema: pa.Schema,
        columns_of: Callable[[Sequence[Any]], Columns],
        refused: Callable[[str, Mapping[str, Any], str], None],
    ) -> None:
        self._stream = stream
        self._schema = schema
        self._columns_of = columns_of
        self._refused = refused
        self._by_type: dict[pa.DataType, list[str]] = {}
        for field in schema:
            self._by_type.setdefault(field.type, []).append(field.name)
        self._rows: list[Any] = []
        self._sealed = deque([(0, schema.serialize().to_pybytes())])
        self.written = 0

    def append(self, row: Any) -> None:
        """Add a row. Every 200th row completes a batch (1.5 ms), so that no flush blocks the
        event loop for longer.
        """
        self._rows.append(row)
        if len(self._rows) == BATCH_ROWS:
            self._seal()

    def __len__(self) -> int:
        """Return the number of rows that are not yet in the stream."""
        return sum(rows for rows, _ in self._sealed) + len(self._rows)

    def flush(self) -> None:
        """Write the buffered rows, in batches. If a write fails, keep the rows that were not
        written; raise OSError.
        """
        while self._sealed or self._rows:
            # only if no batch waits; otherwise every flush on a full disk would make another batch
            if not self._sealed:
                self._seal()
            rows, data = self._sealed[0]
            self._stream.append(data)
            # only after the write, so that after a failure the next attempt writes the batch again
            self._sealed.popleft()
            self.written += rows

    def alone(self, rows: Sequence[Any]) -> bytes:
        """Return a stream of these rows alone, which are not added to the table."""
        batch = self._batch(self._columns_of(rows) if rows else {}, len(rows))
        return b"".join(part.serialize().to_pybytes() for part in (self._schema, batch))

    def _seal(self) -> None:
        rows = len(self._rows)
        batch = self._batch(self._columns_of(self._rows), rows)
        self._sealed.append((rows, batch.serialize().to_pybytes()))
        self._rows = []

    def close(self) -> None:
        """Close the stream. `len` still returns the number of rows that could not be written."""
        self._stream.close()

    def _batch(self, columns: Columns, rows: int) -> pa.RecordBatch:
        """Return the columns as a batch with `rows` rows. Those of one type are converted
        together, which is faster, and those without values share one array.
        """
        nulls = (None,) * rows
        arrays: dict[str, pa.Array] = {}
        for data_type, all_names in self._by_type.items():
            names = [name for name in all_names if columns.get(name, nulls).count(None) < rows]
            if len(names) < len(all_names):
                arrays |= dict.fromkeys(all_names, pa.nulls(rows, data_type))
            values = [columns[name] for name in names]
            try:
                joined = pa.array(list(chain.from_iterable(values)), data_type)
            # raised by Arrow, or by Python for a large integer: a value of one of the columns is
            # the cause
            except Exception:
                arrays |= {name: self._column(name, data_type, columns, rows) for name in names}
            else:
                arrays |= {
                    name: joined.slice(index * rows, rows) for index, name in enumerate(names)
                }
        return pa.RecordBatch.from_arrays(
            [arrays[name] for name in self._schema.names], schema=self._schema
        )

    def _column(self, name: str, data_type: pa.DataType, columns: Columns, rows: int) -> pa.Array:
        values = columns.get(name, (None,) * rows)
        try:
            return pa.array(values, data_type)
        # as above; the values are converted one by one, so that only unusable ones become null and
        # are reported
        except Exception:
            cells = []
            for index, value in enumerate(values):
                try:
                    pa.array([value], data_type)
                    cells.append(value)
                except Exception as error:
                    row = {
                        column: column_values[index] for column, column_values in columns.items()
                    }
                    self._refused(name, row, f"{type(error).__name__}: {error}".splitlines()[0])
                    cells.append(None)
            return pa.array(cells, data_type)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> Columns:
    names = dict.fromkeys(chain.from_iterable(rows))
    return {name: [row.get(name) for row in rows] for name in names}


# Reading a part.

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)
TRANSCRIPT = "transcripts.jsonl"
HISTOGRAMS = "histograms.hlog"
FACTS = "worker.json"
OPEN_TURNS = "open_turns.arrows"


def rows_of(table: str) -> str:
    return f"{table}.arrows"


class PartFacts(msgspec.Struct):
    """The counts of a worker that are not in rows and histograms.

    `done` is true if the worker has written its last row. `out_of_range` and `negative` are the
    numbers of values that no histogram can hold, by metric. `hosts` is the machine that recorded
    the part, unless the facts are damaged.
    """

    done: bool = False
    pid: int | None = None
    simulated: bool = False
    hosts: list[HostEntry] = []
    out_of_range: dict[str, int] = {}
    negative: dict[str, int] = {}
    unknown_events: dict[str, int] = {}
    timestamp_fallbacks: int = 0
    incidents: list[IncidentEntry] = []
    incident_counts: dict[str, int] = {}
    rows: dict[str, Annotated[int, msgspec.Meta(ge=0)]] = {}
    """The number of rows of each table. It is set when the worker is done."""


class PartLike(Protocol):
    """A part of a run: a `WorkerPart`, or a finalized run that is merged. The final files are
    made from the parts.
    """

    @property
    def facts(self) -> PartFacts: ...

    def batches(self, table: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]: ...

    def transcript(self) -> Iterator[bytes] | None: ...

    def histograms(self) -> Histograms:
        """Return the histograms of events and of the load generator; others are computed again
        from the rows.
        """

    def copy_documents(self, folder: Path) -> None:
        """Store the histograms and facts of each worker in a run folder, if the part has them
        separately.
        """


class WorkerPart:
    """The record of worker number `worker`, counted from 0. It is read up to the last complete
    batch or line.

    `damage` has, for each stream or document, a description of the data that could not be read.
    """

    def __init__(self, folder: Path, worker: int, subfolder: str = SPOOL) -> None:
        self._folder = folder
        self.worker = worker
        self._subfolder = subfolder
        self.damage: dict[str, str] = {}

    @cached_property
    def has_started(self) -> bool:
        """True if the worker has started to record. A worker writes its facts before it writes
        anything else.
        """
        return self._read(FACTS) is not None

    @cached_property
    def facts(self) -> PartFacts:
        """The last facts that the worker wrote; if missing or damaged, the facts of a worker
        that is not done.
        """
        if (data := self._read(FACTS)) is not None:
            try:
                return cast(PartFacts, read_json(data, PartFacts))
            except JsonError as error:
                self._set_damage(FACTS, error)
        return PartFacts()

    @property
    def host(self) -> str:
        """The name of the machine that recorded the part; empty if it is unknown."""
        return next((host["name"] for host in self.facts.hosts), "")

    @property
    def is_alive(self) -> bool:
        return is_alive(self.facts.pid)

    @property
    def is_unfinished(self) -> bool:
        """True if the worker of this part is alive and has not written its last row."""
        return not self.facts.done and self.is_alive

    @property
    def damage_text(self) -> str:
        """The damage as text, such as `turns.arrows: second is of type string, not int64`; empty
        if there is none.
        """
        return "; ".join(f"{name}: {reason}" for name, reason in sorted(self.damage.items()))

    def batches(self, table: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table in complete batches, with every column of the schema.

        The rows of a damaged or truncated file end with its last complete batch. The turns in
        progress follow. They are read last, and written first, so that no turn has two rows.
        """
        count = 0
        for batch in self._batches(rows_of(table), schema):
            yield batch
            count += len(batch)
        # a stream that lacks batches may still end with a complete one
        if count < (written := self.facts.rows.get(table, 0)):
            self._set_damage(rows_of(table), ValueError(f"it has {count} of {written} rows"))
        if table == "turns":
            yield from self._batches(OPEN_TURNS, schema)

    def _batches(self, name: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        if (file := self._open(name)) is None:
            return
        with file:
            try:
                with pa.ipc.open_stream(file) as stream:
                    for batch in stream:
                        batch.validate(full=True)
                        yield with_columns_of(batch, schema)
            except (pa.ArrowException, OSError, TypeError, ValueError) as error:
                # otherwise the worker was killed during a write
                if self.facts.done or not isinstance(error, pa.ArrowInvalid):
                    self._set_damage(name, error)

    def size_bytes(self, table: str) -> int:
        if (file := self._open(rows_of(table))) is None:
            return 0
        with file:
            return file.seek(0, os.SEEK_END)

    def transcript(self) -> Iterator[bytes] | None:
        """Return an iterator over the complete lines of the transcripts, a JSON line per turn; None
        if there are none.

        The file is opened again when it is read, so that no unread file stays open.
        """

        def complete_lines() -> Iterator[bytes]:
            if (file := self._open(TRANSCRIPT)) is not None:
                with file:
                    yield from (line for line in file if line.endswith(b"\n"))

        if (file := self._open(TRANSCRIPT)) is None:
            return None
        file.close()
        return complete_lines()

    def histograms(self) -> Histograms:
        """Return the last histograms that the worker wrote; empty histograms if they are missing
        or cannot be read.
        """
        if (data := self._read(HISTOGRAMS)) is not None:
            try:
                return decode(data, f"{HISTOGRAMS} of worker {self.worker}")
            except UsageError as error:
                self._set_damage(HISTOGRAMS, error)
        return Histograms()

    def copy_documents(
        self, folder: Path, as_worker: int | None = None, facts: PartFacts | None = None
    ) -> None:
        """Store the worker's histograms and facts in a run folder, with another number or other
        facts if given.
        """
        worker = self.worker if as_worker is None else as_worker
        store(folder, worker, FACTS, msgspec.json.encode(self.facts if facts is None else facts))
        if HISTOGRAMS not in self.damage and (data := self._read(HISTOGRAMS)) is not None:
            store(folder, worker, HISTOGRAMS, data)

    def _read(self, name: str) -> bytes | None:
        if (file := self._open(name)) is not None:
            try:
                with file:
                    return file.read()
            except OSError as error:
                self._set_damage(name, error)
        return None

    def _open(self, name: str) -> BinaryIO | None:
        try:
            return open_file(path_of(self._folder, self.worker, name, self._subfolder))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._set_damage(name, error)
            return None

    def _set_damage(self, name: str, error: Exception) -> None:
        reason = str(getattr(error, "strerror", None) or error) or type(error).__name__
        self.damage.setdefault(name, excerpt(escape_control(reason.splitlines()[0]), 200))


def with_added(rows: Rows, schema: pa.Schema) -> Rows:
    """Add those of `columns.ADDED` in the schema that the rows lack, with nulls: an older tool
    wrote the rows. Its texts become the causes.
    """
    for field in schema:
        if field.name in columns.ADDED and field.name not in rows.schema.names:
            is_text = field.name == CAUSE and EARLIER_CAUSE in rows.schema.names
            added = rows[EARLIER_CAUSE] if is_text else pa.nulls(len(rows), field.type)
            rows = rows.append_column(field.name, added)
    return rows


def with_columns_of(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with the columns of a schema. Raise ValueError if a column is missing or
    has another type.
    """
    if batch.schema.equals(schema):
        return batch
    batch = with_added(batch, schema)
    names = set(batch.schema.names)
    for field in schema:
        if field.name not in names:
            raise ValueError(f"{field.name} is missing")
        if batch.schema.field(field.name).type != field.type:
            raise ValueError(
                f"{field.name} is of type {batch.schema.field(field.name).type}, not {field.type}"
            )
    return pa.RecordBatch.from_arrays([batch[name] for name in schema.names], schema=schema)


def parts(folder: Path, subfolder: str = SPOOL) -> Sequence[WorkerPart]:
    """Return the part of each worker that has written any file in the spool.

    If `subfolder` is `WORKERS`, return the parts that are stored in a finalized run.
    """
    names = (OF_WORKER.fullmatch(path.name) for path in (folder / subfolder).glob("*"))
    return [
        WorkerPart(folder, worker, subfolder)
        for worker in sorted({int(name[1]) for name in names if name})
    ]
