"""The part of a run that one worker recorded. Each part is complete without the others. All parts together are the run.

A part consists of the streams and documents of a spool (`bench.record.spool`). A recorder writes them, and `WorkerPart`
reads them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, BinaryIO, Protocol, TypeVar, cast

import msgspec
import pyarrow as pa

from bench.base.errors import UsageError
from bench.base.installation import is_alive
from bench.catalogue import columns
from bench.files.safe_io import JsonError, open_file, read_json
from bench.files.sanitize import escape_control, excerpt
from bench.record import spool
from bench.record.document import HostEntry, IncidentEntry
from bench.record.histograms import Histograms, decode

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)
TRANSCRIPT, HISTOGRAMS, FACTS = "transcripts.jsonl", "histograms.hlog", "worker.json"


def rows_of(table: str) -> str:
    return f"{table}.arrows"


class PartFacts(msgspec.Struct):
    """The counts of a worker that are not in rows and histograms.

    `done` is true if the worker has written its last row. `out_of_range` and `negative` are the numbers of values that
    no histogram can hold, by metric. `hosts` is the machine that recorded the part, unless the facts are damaged.
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
    """A part of a run: a `WorkerPart`, or a finalized run that is merged. The final files are made from the parts."""

    @property
    def facts(self) -> PartFacts: ...

    def batches(self, table: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]: ...

    def transcript(self) -> Iterator[bytes] | None: ...

    def histograms(self) -> Histograms:
        """Return the histograms of events and of the load generator; others are computed again from the rows."""

    def copy_documents(self, folder: Path) -> None:
        """Store the histograms and facts of each worker in a run folder, if the part has them separately."""


class WorkerPart:
    """The record of worker number `worker`, counted from 0. It is read up to the last complete batch or line.

    `damage` has, for each stream or document, a description of the data that could not be read.
    """

    def __init__(self, folder: Path, worker: int, subfolder: str = spool.SPOOL) -> None:
        self._folder, self.worker, self._subfolder = folder, worker, subfolder
        self.damage: dict[str, str] = {}

    @cached_property
    def has_started(self) -> bool:
        """True if the worker has started to record. A worker writes its facts before it writes anything else."""
        return self._read(FACTS) is not None

    @cached_property
    def facts(self) -> PartFacts:
        """The last facts that the worker wrote; if missing or damaged, the facts of a worker that is not done."""
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
        """The damage as text, such as `turns.arrows: second is of type string, not int64`; empty if there is none."""
        return "; ".join(f"{name}: {reason}" for name, reason in sorted(self.damage.items()))

    def batches(self, table: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table in complete batches, with every column of the schema.

        The rows of a damaged or truncated file end with its last complete batch.
        """
        name, count = rows_of(table), 0
        if (file := self._open(name)) is not None:
            with file:
                try:
                    with pa.ipc.open_stream(file) as stream:
                        for batch in stream:
                            batch.validate(full=True)
                            yield with_columns_of(batch, schema)
                            count += len(batch)
                except (pa.ArrowException, OSError, TypeError, ValueError) as error:
                    # otherwise the worker was killed during a write
                    if self.facts.done or not isinstance(error, pa.ArrowInvalid):
                        self._set_damage(name, error)
        # a stream that lacks batches may still end with a complete one
        if count < (written := self.facts.rows.get(table, 0)):
            self._set_damage(name, ValueError(f"it has {count} of {written} rows"))

    def size_bytes(self, table: str) -> int:
        if (file := self._open(rows_of(table))) is None:
            return 0
        with file:
            return file.seek(0, os.SEEK_END)

    def transcript(self) -> Iterator[bytes] | None:
        """Return an iterator over the complete lines of the transcripts, a JSON line per turn; None if there are none.

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
        """Return the last histograms that the worker wrote; empty histograms if they are missing or cannot be read."""
        if (data := self._read(HISTOGRAMS)) is not None:
            try:
                return decode(data, f"{HISTOGRAMS} of worker {self.worker}")
            except UsageError as error:
                self._set_damage(HISTOGRAMS, error)
        return Histograms()

    def copy_documents(self, folder: Path, as_worker: int | None = None, facts: PartFacts | None = None) -> None:
        """Store the worker's histograms and facts in a run folder, with another number or other facts if given."""
        worker = self.worker if as_worker is None else as_worker
        spool.store(folder, worker, FACTS, msgspec.json.encode(self.facts if facts is None else facts))
        if HISTOGRAMS not in self.damage and (data := self._read(HISTOGRAMS)) is not None:
            spool.store(folder, worker, HISTOGRAMS, data)

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
            return open_file(spool.path_of(self._folder, self.worker, name, self._subfolder))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._set_damage(name, error)
            return None

    def _set_damage(self, name: str, error: Exception) -> None:
        reason = str(getattr(error, "strerror", None) or error) or type(error).__name__
        self.damage.setdefault(name, excerpt(escape_control(reason.splitlines()[0]), 200))


def with_added(rows: Rows, schema: pa.Schema) -> Rows:
    """Add those of `columns.ADDED` in the schema that the rows lack, with nulls: an older tool wrote the rows."""
    for field in schema:
        if field.name in columns.ADDED and field.name not in rows.schema.names:
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows


def with_columns_of(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with the columns of a schema. Raise ValueError if a column is missing or has another type."""
    if batch.schema.equals(schema):
        return batch
    batch = with_added(batch, schema)
    names = set(batch.schema.names)
    for field in schema:
        if field.name not in names:
            raise ValueError(f"{field.name} is missing")
        if batch.schema.field(field.name).type != field.type:
            raise ValueError(f"{field.name} is of type {batch.schema.field(field.name).type}, not {field.type}")
    return pa.RecordBatch.from_arrays([batch[name] for name in schema.names], schema=schema)


def parts(folder: Path, subfolder: str = spool.SPOOL) -> Sequence[WorkerPart]:
    """Return the part of each worker that has written any file in the spool.

    If `subfolder` is `spool.WORKERS`, return the parts that are stored in a finalized run.
    """
    return [WorkerPart(folder, worker, subfolder) for worker in spool.workers_in(folder, subfolder)]
