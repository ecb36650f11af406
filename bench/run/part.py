"""A worker's part of a run: complete by itself, and with those of the other workers the whole of it.

It is made of streams and documents in a spool (`bench.run.spool`): rows of each table as Arrow IPC, what was said as
JSON lines, histograms as an HdrHistogram log, and its facts as JSON. `PartWriter` writes it, `Part` reads it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
import pyarrow as pa

from bench.foreign import JsonError, read_json
from bench.run import spool
from bench.run.histograms import Histograms, decode

TRANSCRIPT, HISTOGRAMS, FACTS = "transcripts.jsonl", "histograms.hlog", "worker.json"


def rows_of(table: str) -> str:
    """The name of the stream that holds the rows of a table."""
    return f"{table}.arrows"


class Facts(msgspec.Struct, frozen=True):
    """What a worker counted beside its rows and histograms, and whether it is done: its last row is written.

    Counts are by name; `out_of_range` and `negative` are of values that no histogram holds, by measure. Each incident
    has `at_utc_ns`, `worker`, `kind` and `text`. `hosts`: the machine that recorded it, as `HostEntry` of
    `bench.run.document` has it; older versions say nothing of it.
    """

    done: bool = False
    pid: int | None = None
    simulated: bool = False
    hosts: list[dict[str, Any]] = []
    out_of_range: dict[str, int] = {}
    negative: dict[str, int] = {}
    unknown_events: dict[str, int] = {}
    stamp_fallbacks: int = 0
    incidents: list[dict[str, Any]] = []
    incident_counts: dict[str, int] = {}


class AnyPart(Protocol):
    """A part of a run, of which its final files are made: what one worker recorded, or a whole run that was apart."""

    @property
    def facts(self) -> Facts:
        """What was counted beside rows and histograms."""

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """The rows of a table in whole batches."""

    def transcript(self) -> Iterator[bytes] | None:
        """What was said, a JSON line per turn; None where nobody asked for it."""

    def histograms(self) -> Histograms:
        """Those of events and of the harness; others are made of rows, and may be there or not."""

    def copy_event_logs(self, events: Path) -> None:
        """Copy the event logs that do not stand in this folder yet, which may not be there."""


class Part:
    """What one worker recorded, up to its last append."""

    def __init__(self, stored: spool.Stored) -> None:
        self._stored = stored

    @property
    def worker(self) -> int:
        """The worker's number in the run, from 0."""
        return self._stored.worker

    @cached_property
    def begun(self) -> bool:
        """Whether the worker has begun to record: it writes its facts first."""
        return self._read(FACTS) is not None

    @cached_property
    def facts(self) -> Facts:
        """What the worker wrote last of them; those of one that is not done where they are missing or damaged."""
        try:
            return cast(Facts, read_json(self._read(FACTS) or b"{}", Facts))
        except JsonError:
            return Facts()

    @property
    def alive(self) -> bool:
        """Whether its worker lives, and may write more."""
        return self._stored.is_written_by(self.facts.pid)

    @property
    def unfinished(self) -> bool:
        """Whether its worker still has something to write; one that died has not."""
        return not self.facts.done and self.alive

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """The rows of a table in whole batches; a stream that was cut ends at its last whole batch."""
        file = self._stored.open(rows_of(table))
        if file is None:
            return
        with file:
            try:
                with pa.ipc.open_stream(file) as stream:
                    yield from stream
            except (pa.ArrowInvalid, OSError):  # the worker was killed in mid-write
                return

    def size_bytes(self, table: str) -> int:
        """How long the stream of a table's rows is."""
        file = self._stored.open(rows_of(table))
        if file is None:
            return 0
        with file:
            return file.seek(0, os.SEEK_END)

    def transcript(self) -> Iterator[bytes] | None:
        """What was said, a JSON line per turn without one that was cut; None where nobody asked for it."""
        file = self._stored.open(TRANSCRIPT)
        if file is None:
            return None
        file.close()
        return self._whole_lines(TRANSCRIPT)

    def histograms(self) -> Histograms:
        """What its worker wrote last of them. Raises UsageError where they cannot be read."""
        data = self._read(HISTOGRAMS)
        return Histograms() if data is None else decode(data, f"{HISTOGRAMS} of worker {self._stored.worker}")

    def copy_event_logs(self, events: Path) -> None:
        """Copy those that the worker wrote elsewhere."""
        for log in self._stored.event_logs:
            events.mkdir(exist_ok=True)
            shutil.copy(log, events / log.name)

    def _whole_lines(self, name: str) -> Iterator[bytes]:
        """Opens the stream when it is read, so that none is left open that nobody reads."""
        file = self._stored.open(name)
        if file is not None:
            with file:
                yield from (line for line in file if line.endswith(b"\n"))

    def _read(self, name: str) -> bytes | None:
        file = self._stored.open(name)
        if file is None:
            return None
        with file:
            return file.read()


def parts(folder: Path) -> Sequence[Part]:
    """The part of each worker that has written any, by its number; none once the run is closed."""
    return [Part(stored) for stored in spool.stored(folder)]
