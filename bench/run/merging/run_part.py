"""Reads a whole run as a part of another: one that ended from its Parquet files, one that was killed from its spool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec.structs import replace

from bench.errors import UsageError
from bench.plain import shortened
from bench.run import folder as files
from bench.run import spool
from bench.run.close import CLOSED, is_under_way
from bench.run.document import KILLED, RunDocument
from bench.run.histograms import Histograms, read
from bench.run.hosts import hosts_of, leader_of
from bench.run.merging.numbering import Numbering
from bench.run.merging.pairs import PairStarts, first_starts
from bench.run.part import TRANSCRIPT, Facts, parts
from bench.units import NS_PER_S

BATCH_ROWS = 10_000


class DamagedPartError(Exception):
    """A run whose files cannot be read, or are not all there, so that it can be no part of another; says why."""

    def __init__(self, part: RunPart, why: str) -> None:
        super().__init__(why)
        self.part, self.why = part, why


class Extent(NamedTuple):
    """What a run's rows come to: how many there are, of which workers and pairs, and their last second (UTC)."""

    sessions: int
    turns: int
    workers: tuple[int, ...]
    pairs: PairStarts
    last_second: int | None


class RunPart:
    """A run in its folder, which becomes a part of another; `numbering` has to be there before its rows are read.

    Raises UsageError where the folder is no run, or one of a newer version. What it reads raises DamagedPartError.
    """

    numbering: Numbering

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document = files.read_document(folder)
        try:
            msgspec.convert(self.document, RunDocument)
        except msgspec.ValidationError as error:
            raise UsageError(f"{folder / 'run.json'} is damaged: {shortened(str(error), 200)}") from None
        self.is_closed = self.document.get("state") in CLOSED
        self._spooled = [] if self.is_closed else parts(folder)

    @property
    def name(self) -> str:
        """20261120T091400Z-voice_turns on bench-1."""
        return f"{self.document['run_id']} on {self.host}"

    @cached_property
    def host(self) -> str:
        """The name of the host that led the run."""
        return str(leader_of(self.document)["name"])

    @property
    def is_under_way(self) -> bool:
        """Whether somebody on this host may still write to it; of another host nobody can tell."""
        return is_under_way(self.folder, self.document)

    # What `bench.run.close.merge` reads of a part.

    @property
    def facts(self) -> Facts:
        """What all of its workers counted."""
        facts = self._recorded_facts
        return replace(facts, incidents=[self.numbering.incident(incident) for incident in facts.incidents])

    @cached_property
    def _recorded_facts(self) -> Facts:
        if self.is_closed:
            return self._stored_facts()
        facts = [part.facts for part in self._spooled]
        done = bool(facts) and all(each.done for each in facts) and self.document.get("state") != "running"
        return Facts(
            done=done,
            simulated=any(each.simulated for each in facts),
            hosts=[host for each in facts for host in each.hosts or [leader_of(self.document)]],
            out_of_range=_sum(each.out_of_range for each in facts),
            negative=_sum(each.negative for each in facts),
            unknown_events=_sum(each.unknown_events for each in facts),
            stamp_fallbacks=sum(each.stamp_fallbacks for each in facts),
            incidents=[incident for each in facts for incident in each.incidents],
            incident_counts=_sum(each.incident_counts for each in facts),
        )

    def _stored_facts(self) -> Facts:
        totals = self.document.get("totals") or {}
        return Facts(
            done=self.document["state"] == "ended",
            simulated=bool(self.document.get("simulated")),
            hosts=hosts_of(self.document),
            out_of_range=totals.get("out_of_range") or {},
            negative=totals.get("negative") or {},
            unknown_events=totals.get("unknown_events") or {},
            stamp_fallbacks=int(totals.get("stamp_fallbacks") or 0),
            incidents=self.document.get("incidents") or [],
            incident_counts=totals.get("incident_counts") or {},
        )

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """The rows of a table, with every column, numbered anew."""
        for batch in self._batches(cast("files.TableName", table)):
            yield self.numbering.rows(batch, self.host)

    def _batches(self, table: files.TableName, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows as they were recorded."""
        schema = files.SCHEMAS[table]
        names = schema.names if columns is None else list(columns)
        try:
            for batch in self._recorded(table, names):
                yield files.with_every_column(batch, pa.schema([schema.field(name) for name in names]))
        except (pa.ArrowException, OSError) as error:
            raise DamagedPartError(self, f"its {table} cannot be read: {str(error).splitlines()[0]:.200}") from None

    def _recorded(self, table: files.TableName, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        if not self.is_closed:
            for part in self._spooled:
                yield from (
                    batch.select([name for name in names if name in batch.schema.names])
                    for batch in part.batches(table)
                )
            return
        with pq.ParquetFile(self.folder / f"{table}.parquet") as file:
            there = [name for name in names if name in file.schema_arrow.names]
            yield from file.iter_batches(BATCH_ROWS, columns=there)

    def transcript(self) -> Iterator[bytes] | None:
        """What was said in it; None where nobody asked for it."""
        if not self.is_closed:
            transcripts = [lines for part in self._spooled if (lines := part.transcript()) is not None]
            return (self._renamed(line) for lines in transcripts for line in lines) if transcripts else None
        path = self.folder / TRANSCRIPT
        return self._stored_transcript(path) if path.exists() else None

    def _stored_transcript(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as lines:
            yield from map(self._renamed, lines)

    def _renamed(self, line: bytes) -> bytes:
        """A line of a transcript with the session's new name."""
        try:
            return self.numbering.line(line)
        except (ValueError, KeyError, TypeError):
            raise DamagedPartError(self, f"its {TRANSCRIPT} has a line that is no turn") from None

    def histograms(self) -> Histograms:
        """Those of all of its workers together."""
        try:
            if self.is_closed:
                return read(files.histograms_path(self.folder))
            total = Histograms()
            for part in self._spooled:
                total.merge(part.histograms())
            return total
        except UsageError as error:
            raise DamagedPartError(self, str(error)) from None

    def copy_event_logs(self, events: Path) -> None:
        """Copy the event logs of its sessions, under their names in the other run, into this folder."""
        for log in sorted((self.folder / spool.EVENTS).glob("*.jsonl")):
            events.mkdir(exist_ok=True)
            with log.open("rb") as old, (events / f"{self.numbering.session_id(log.stem)}.jsonl").open("xb") as new:
                new.write(self._log_header(old.readline()))
                while data := old.read(1 << 20):
                    new.write(data)

    def _log_header(self, line: bytes) -> bytes:
        """The first line with the session's new name; one that was cut stays as it is."""
        try:
            return self.numbering.log_header(line)
        except (ValueError, KeyError, TypeError):
            return line

    # What it comes to.

    @cached_property
    def extent(self) -> Extent:
        """What its rows come to, and that they are as many as its run.json says."""
        if not self.is_closed and not spool.is_kept(self.folder):
            raise DamagedPartError(self, "it was not closed, and its spool is gone")
        rows: Counter[str] = Counter()
        workers = {part.worker for part in self._spooled}
        starts: list[PairStarts] = []
        last_second: int | None = None
        for table in files.SCHEMAS:
            beside = ["second"] if table == "seconds" else ["pair", "start_utc_ns"]
            for batch in self._batches(table, ["worker", *beside]):
                rows[table] += len(batch)
                workers |= set(pc.unique(batch["worker"].fill_null(0)).to_pylist())
                if table == "seconds":
                    last_second = max(last_second or 0, pc.max(batch["second"]).as_py() or 0)
                else:
                    paired = batch.filter(batch["pair"].is_valid())
                    starts.append(first_starts([PairStarts(*(paired[name].to_numpy() for name in beside))]))
        self._check_rows(rows)
        self.histograms()
        return Extent(rows["sessions"], rows["turns"], tuple(sorted(workers)), first_starts(starts), last_second)

    def _check_rows(self, rows: Counter[str]) -> None:
        totals = self.document.get("totals") or {}
        for table in ("turns", "sessions"):
            counted = totals.get(table)
            if self.is_closed and counted is not None and sum(counted.values()) != rows[table]:
                raise DamagedPartError(
                    self, f"it has {rows[table]} {table}, and its run.json says {sum(counted.values())}"
                )

    @property
    def closed_document(self) -> dict[str, Any]:
        """Its run.json with how it ended, as it is once it is closed: one that was killed ends with its last second."""
        document, last_second = self.document, self.extent.last_second
        last_ns = document["began_utc_ns"] if last_second is None else (last_second + 1) * NS_PER_S
        return document | {
            "state": "ended" if self._recorded_facts.done else "killed",
            "stopped": document.get("stopped") or KILLED,
            "ended_utc_ns": document.get("ended_utc_ns") or last_ns,
        }


def _sum(counts: Iterator[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
