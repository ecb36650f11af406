"""A worker's part of a run: complete by itself, and with those of the other workers the whole of it.

It is made of the streams and documents of a spool (`bench.run.spool`), which a recorder writes and `WorkerPart` reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, BinaryIO, Protocol, cast

import msgspec
import pyarrow as pa

from bench.errors import UsageError
from bench.installation import is_alive
from bench.run import spool
from bench.run.document import HostEntry, IncidentEntry
from bench.run.histograms import Histograms, decode
from bench.untrusted.safe_io import JsonError, open_file, read_json
from bench.untrusted.sanitize import escape_control, excerpt

TRANSCRIPT, HISTOGRAMS, FACTS = "transcripts.jsonl", "histograms.hlog", "worker.json"


def rows_of(table: str) -> str:
    return f"{table}.arrows"


class PartFacts(msgspec.Struct):
    """What a worker counted beside its rows and histograms, and whether it is done: its last row is written.

    Counts are by name; `out_of_range` and `negative` are of values that no histogram holds, by metric. `hosts`: the
    machine that recorded it; none if the facts are damaged.
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
    """Rows of each table, of a worker that is done."""


class PartLike(Protocol):
    """A part of a run, of which its final files are made: what one worker recorded, or a whole run that was apart."""

    @property
    def facts(self) -> PartFacts: ...

    def batches(self, table: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows of a table in whole batches, with every column of the schema."""

    def transcript(self) -> Iterator[bytes] | None:
        """What was said, a JSON line per turn; None where nobody asked for it."""

    def histograms(self) -> Histograms:
        """The histograms of events and of the harness; others are made of rows, and may be there or not."""

    def keep_documents(self, folder: Path) -> None:
        """Keep each worker's histograms and facts in a run folder, where they are known one by one."""


class WorkerPart:
    """What worker number `worker` recorded, from 0, up to its last append, as far as it can be read.

    `damage`: what cannot, by the name of the stream or document, as far as it was looked at.
    """

    def __init__(self, folder: Path, worker: int, place: str = spool.SPOOL) -> None:
        self._folder, self.worker, self._place = folder, worker, place
        self.damage: dict[str, str] = {}

    @cached_property
    def begun(self) -> bool:
        """Whether the worker has begun to record: it writes its facts first."""
        return self._read(FACTS) is not None

    @cached_property
    def facts(self) -> PartFacts:
        """What the worker wrote last of them; those of one that is not done where they are missing or damaged."""
        data = self._read(FACTS)
        if data is None:
            return PartFacts()
        try:
            return cast(PartFacts, read_json(data, PartFacts))
        except JsonError as error:
            self._note(FACTS, error)
            return PartFacts()

    @property
    def host(self) -> str:
        """The machine that recorded it; empty where that is not known."""
        return next((host["name"] for host in self.facts.hosts), "")

    @property
    def alive(self) -> bool:
        return is_alive(self.facts.pid)

    @property
    def unfinished(self) -> bool:
        """Whether its worker still has something to write; one that died has not."""
        return not self.facts.done and self.alive

    @property
    def damage_words(self) -> str:
        """turns.arrows: second is of type string, not int64; empty where nothing is damaged."""
        return "; ".join(f"{name}: {why}" for name, why in sorted(self.damage.items()))

    def batches(self, table: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows of a table in whole batches; a stream that was cut or is damaged ends at its last whole batch."""
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
                    if self.facts.done or not isinstance(error, pa.ArrowInvalid):  # else it was killed in mid-write
                        self._note(name, error)
        # a stream may end with a whole batch and lack others
        if count < (written := self.facts.rows.get(table, 0)):
            self._note(name, ValueError(f"{count} of {written} rows are there"))

    def size_bytes(self, table: str) -> int:
        if (file := self._open(rows_of(table))) is None:
            return 0
        with file:
            return file.seek(0, os.SEEK_END)

    def transcript(self) -> Iterator[bytes] | None:
        """What was said, a JSON line per turn without one that was cut; None where nobody asked for it."""
        file = self._open(TRANSCRIPT)
        if file is None:
            return None
        file.close()
        return self._whole_lines()

    def histograms(self) -> Histograms:
        """What its worker wrote last of them; none where they cannot be read."""
        if (data := self._read(HISTOGRAMS)) is not None:
            try:
                return decode(data, f"{HISTOGRAMS} of worker {self.worker}")
            except UsageError as error:
                self._note(HISTOGRAMS, error)
        return Histograms()

    def keep_documents(self, folder: Path, as_worker: int | None = None, facts: PartFacts | None = None) -> None:
        """Keep the worker's histograms and facts in a run folder; under another number, with these facts, if given."""
        worker = self.worker if as_worker is None else as_worker
        spool.keep(folder, worker, FACTS, msgspec.json.encode(self.facts if facts is None else facts))
        if HISTOGRAMS not in self.damage and (data := self._read(HISTOGRAMS)) is not None:
            spool.keep(folder, worker, HISTOGRAMS, data)

    def _whole_lines(self) -> Iterator[bytes]:
        # opened when it is read, so that none is left open that nobody reads
        if (file := self._open(TRANSCRIPT)) is not None:
            with file:
                yield from (line for line in file if line.endswith(b"\n"))

    def _read(self, name: str) -> bytes | None:
        if (file := self._open(name)) is not None:
            try:
                with file:
                    return file.read()
            except OSError as error:
                self._note(name, error)
        return None

    def _open(self, name: str) -> BinaryIO | None:
        try:
            return open_file(spool.path_of(self._folder, self.worker, name, self._place))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._note(name, error)
            return None

    def _note(self, name: str, error: Exception) -> None:
        why = str(getattr(error, "strerror", None) or error) or type(error).__name__
        self.damage.setdefault(name, excerpt(escape_control(why.splitlines()[0]), 200))


def with_columns_of(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with the columns of a schema. Raises ValueError if one is missing or has another type."""
    if batch.schema.equals(schema):
        return batch
    there = set(batch.schema.names)
    for field in schema:
        if field.name not in there:
            raise ValueError(f"{field.name} is missing")
        if batch.schema.field(field.name).type != field.type:
            raise ValueError(f"{field.name} is of type {batch.schema.field(field.name).type}, not {field.type}")
    return pa.RecordBatch.from_arrays([batch[name] for name in schema.names], schema=schema)


def parts(folder: Path, place: str = spool.SPOOL) -> Sequence[WorkerPart]:
    """Return the part of each worker that has written any; in `spool.WORKERS` what a closed run keeps of them."""
    return [WorkerPart(folder, worker, place) for worker in spool.workers_in(folder, place)]
