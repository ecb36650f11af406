"""Reads a whole run as a part of another: one that ended from its Parquet files, one that was killed from its spool.

Of the copies of a worker's part in several folders the one counts that holds most. A worker's folder holds all that it
recorded; its master's holds what was shipped, which is the begin of the same streams; a merged run holds either. So of
two copies the longer one holds the other, and any set of folders of one run comes to their union, in any order, however
often one is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from bench.columns import BOUNDS
from bench.errors import UsageError
from bench.foreign import is_regular, open_file, read_json
from bench.plain import shortened
from bench.run import folder as files
from bench.run import spool
from bench.run.close import CLOSED, is_under_way
from bench.run.document import KILLED, RunDocument
from bench.run.histograms import Histograms, read
from bench.run.integrity import repeated, wrong_column
from bench.run.merging.merged import Numbering, PairStarts, first_starts, worker_of
from bench.run.part import TRANSCRIPT, Facts, Part, kept_parts, parts, with_every_column
from bench.run.provenance import hosts_of, leader_of, recorded_by
from bench.run.unknown import Lost, WorkerLoad
from bench.units import NS_PER_S


class WorkerId(NamedTuple):
    """What tells a worker from all others, wherever its part has got to: its run, and its number there."""

    run_id: str
    started_utc_ns: int
    worker: int

    @property
    def run(self) -> tuple[int, str]:
        """Its run, in the order in which runs began."""
        return self.started_utc_ns, self.run_id


class Copy(NamedTuple):
    """How much of a worker's part is there: rows, and whether its last one is."""

    turns: int = 0
    sessions: int = 0
    seconds: int = 0
    done: bool = False
    bounds: int = 0
    """The turns of which it is known how far any instant can be off."""


def chosen_workers(folders: Sequence[Mapping[WorkerId, Copy]]) -> list[frozenset[WorkerId]]:
    """Which workers are to be taken from each folder; of equal copies that of the folder which holds most in all."""

    def size(place: int) -> tuple[int, ...]:
        return tuple(map(sum, zip(*folders[place].values(), strict=True)))

    best: dict[WorkerId, int] = {}
    for place in sorted(range(len(folders)), key=size, reverse=True):
        for worker, copy in folders[place].items():
            if worker not in best or copy > folders[best[worker]][worker]:
                best[worker] = place
    return [frozenset(worker for worker, place in best.items() if place == at) for at in range(len(folders))]


BATCH_ROWS = 10_000
KEYS: Mapping[files.TableName, list[str]] = {
    "turns": ["session_id", "turn"],
    "sessions": ["session_id"],
    "seconds": [],
}
"""The columns that name a row, which is there once."""


class DamagedPartError(Exception):
    """A run whose files cannot be read, or are not all there, so that it can be no part of another; says why."""

    def __init__(self, part: RunPart, why: str) -> None:
        super().__init__(why)
        self.part, self.why = part, why


class Extent(NamedTuple):
    """What a run's rows come to: how much there is of each worker, its pairs, and their last second (UTC)."""

    workers: dict[int, Counter[str]]
    """Rows of each table, by the worker's number here."""
    pairs: dict[int, PairStarts]
    last_second: int | None


class RunPart:
    """A run in its folder, of which some workers become a part of another: those that are `taken`.

    `taken` and `numbering` have to be there before its rows are read. `ends_cleanly`: whether somebody ended its run.
    Raises UsageError where the folder is no run, or one of a newer version. What it reads raises DamagedPartError.
    """

    numbering: Numbering
    taken: frozenset[int]
    ends_cleanly: bool

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document = files.read_document(folder)
        try:
            msgspec.convert(self.document, RunDocument)
        except msgspec.ValidationError as error:
            raise UsageError(f"{folder / 'run.json'} is damaged: {shortened(str(error), 200)}") from None
        self.is_closed = self.document.get("state") in CLOSED
        self._parts = {part.worker: part for part in (kept_parts(folder) if self.is_closed else parts(folder))}

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

    # Whose sessions it holds.

    @cached_property
    def ids(self) -> dict[int, WorkerId]:
        """Each worker of which anything is known here, by its number here."""
        numbers = {*self.extent.workers, *(entry["worker"] for entry in self.document.get("missing_workers") or [])}
        if not self.is_closed:
            numbers |= set(self._parts) | {entry["worker"] for entry in self.document.get("remote") or []}
            if "remote" not in self.document:  # nobody's who led the run: what it says of its workers is all there is
                numbers |= set(range(self.document["workers"]))
        return {number: self._id_of(number) for number in sorted(numbers)}

    def _id_of(self, number: int) -> WorkerId:
        for entry in self.document.get("parts") or []:
            if number - entry["worker_offset"] in entry["workers"] and not entry["excluded_because"]:
                return WorkerId(entry["run_id"], entry["started_utc_ns"], number - entry["worker_offset"])
        return WorkerId(self.document["run_id"], self.document["started_utc_ns"], number)

    @property
    def copies(self) -> dict[WorkerId, Copy]:
        """How much of each worker is here."""
        nothing: Counter[str] = Counter()
        rows = {number: self.extent.workers.get(number, nothing) for number in self.ids}
        return {
            self.ids[number]: Copy(of["turns"], of["sessions"], of["seconds"], self._is_whole(number), of["bounds"])
            for number, of in rows.items()
        }

    def _is_whole(self, number: int) -> bool:
        if self.is_closed:
            return all(entry["worker"] != number for entry in self.document.get("missing_workers") or [])
        part = self._parts.get(number)
        return part is not None and part.facts.done and not part.damage

    @property
    def can_be_split(self) -> bool:
        """Whether what was counted is known of each worker alone, or all that it holds is taken."""
        here = self.extent.workers.keys()
        return not self.is_closed or self.taken >= here or self.taken & here <= self._parts.keys()

    @property
    def is_merged(self) -> bool:
        """Whether it was merged itself, so that its document is not that of one run."""
        return bool(self.document.get("parts"))

    @cached_property
    def hosts(self) -> dict[int, str]:
        """The host of each worker, where that is known of each alone."""
        entries = [*(self.document.get("remote") or []), *(self.document.get("missing_workers") or [])]
        hosts = {entry["worker"]: str(entry["host"]) for entry in entries}
        return hosts | {n: part.host for n, part in self._parts.items() if part.host}

    def lost(self, load: WorkerLoad | None) -> list[Lost]:
        """The workers taken from here of which not all is there. `load`: None where only a bound was told before."""
        told = {entry["worker"]: entry for entry in self.document.get("missing_workers") or []}
        lost = []
        for number in sorted(self.taken):
            if self._is_whole(number):
                continue
            part = self._parts.get(number)
            host, before = self.hosts.get(number, ""), told.get(number)
            one = Lost(self.numbering.workers[number], host, load or WorkerLoad(0, 0, 0), told=None if load else before)
            if part is not None:
                one = one._replace(rows=part.facts.rows or None, why=part.damage_words)
            lost.append(one._replace(why=one.why or str((before or {}).get("why", ""))))
        return lost

    # What `bench.run.close.merge_parts` reads of a part.

    @property
    def facts(self) -> Facts:
        """What those workers counted that are taken."""
        whole = self.ends_cleanly and all(map(self._is_whole, self.taken))
        if self.is_closed and not self._taken_parts:
            stored = _stored_facts(self.document)
            return replace(stored, done=whole, incidents=self._incidents(stored))
        mine = self._taken_parts
        facts = [part.facts for part in mine]
        return Facts(
            done=whole,
            simulated=any(each.simulated for each in facts) or bool(self.document.get("simulated")),
            hosts=recorded_by(mine, self.document, self.histograms()) if mine else [],
            out_of_range=_sum(each.out_of_range for each in facts),
            negative=_sum(each.negative for each in facts),
            unknown_events=_sum(each.unknown_events for each in facts),
            timestamp_fallbacks=sum(each.timestamp_fallbacks for each in facts),
            incidents=[incident for each in facts for incident in self._incidents(each)],
            incident_counts=_sum(each.incident_counts for each in facts),
        )

    def _incidents(self, facts: Facts) -> list[dict[str, Any]]:
        return [self.numbering.incident(incident) for incident in facts.incidents]

    @property
    def _taken_parts(self) -> list[Part]:
        """The parts of workers that are taken, where all of them are known one by one."""
        known = [part for number, part in self._parts.items() if number in self.taken]
        return known if not self.is_closed or len(known) == len(self.taken & self.extent.workers.keys()) else []

    def batches(self, table: str, _schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows of a table that are taken, with every column, numbered anew."""
        mine = pa.array(sorted(self.taken), pa.int64())
        for batch in self._batches(cast("files.TableName", table)):
            rows = batch.filter(pc.is_in(batch["worker"].fill_null(0), mine))
            if len(rows):
                yield self.numbering.rows(rows, self.host)

    def _batches(self, table: files.TableName, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows as they were recorded."""
        schema = files.SCHEMAS[table]
        names = schema.names if columns is None else list(columns)
        recorded = (
            files.stored_batches(self.folder, table, names, BATCH_ROWS)
            if self.is_closed
            else (batch.select(names) for part in self._parts.values() for batch in part.batches(table, schema))
        )
        try:
            for batch in recorded:
                if wrong := wrong_column(table, batch):
                    raise DamagedPartError(self, wrong)
                yield with_every_column(batch, pa.schema([schema.field(name) for name in names]))
        except (pa.ArrowException, OSError) as error:
            raise DamagedPartError(self, f"its {table} cannot be read: {str(error).splitlines()[0]:.200}") from None

    def transcript(self) -> Iterator[bytes] | None:
        """What was said in it; None where nobody asked for it."""
        if not self.is_closed:
            transcripts = [lines for part in self._parts.values() if (lines := part.transcript()) is not None]
            return self._renamed(line for lines in transcripts for line in lines) if transcripts else None
        path = self.folder / TRANSCRIPT
        return self._stored_transcript(path) if path.exists() else None

    def _stored_transcript(self, path: Path) -> Iterator[bytes]:
        try:
            lines = open_file(path)
        except OSError as error:
            raise DamagedPartError(self, f"its {TRANSCRIPT} cannot be read: {error.strerror}") from None
        with lines:
            yield from self._renamed(lines)

    def _renamed(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The lines of a transcript that are taken, with the sessions' new names."""
        try:
            for line in lines:
                row = read_json(line)
                if worker_of(str(row["session_id"])) in self.taken:
                    yield self.numbering.line(row)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DamagedPartError(self, f"its {TRANSCRIPT} has a line that is no turn") from None

    def histograms(self) -> Histograms:
        """The histograms of the workers together that are taken."""
        try:
            if self.is_closed and not self._taken_parts:
                return read(files.histograms_path(self.folder))
            total = Histograms()
            for part in self._taken_parts:
                total.merge(part.histograms())
            return total
        except UsageError as error:
            raise DamagedPartError(self, str(error)) from None

    def copy_event_logs(self, events: Path) -> int:
        """Copy the event logs of its sessions, under their names in the other run, into this folder.

        Links and special files are not copied: a link can lead to any file of this machine. Returns their number.
        """
        kept, uncopied = self.folder / spool.EVENTS, 0
        for log in sorted(kept.glob("*.jsonl")):
            if worker_of(log.stem) not in self.taken:
                continue
            if kept.is_symlink() or not is_regular(log):
                uncopied += 1
                continue
            events.mkdir(exist_ok=True)
            with (
                open_file(log, follow_link=False) as old,
                (events / f"{self.numbering.session_id(log.stem)}.jsonl").open("xb") as new,
            ):
                header = old.readline()
                with suppress(ValueError, KeyError, TypeError):  # one that was cut stays as it is
                    header = self.numbering.log_header(header)
                new.write(header)
                while data := old.read(1 << 20):
                    new.write(data)
        return uncopied

    def keep_documents(self, folder: Path) -> None:
        """Keep those of each worker that is taken, under its new number, where they are known."""
        for part in self._taken_parts:
            facts = replace(part.facts, incidents=self._incidents(part.facts))
            part.keep_documents(folder, self.numbering.workers[part.worker], facts)

    # What it comes to.

    @cached_property
    def extent(self) -> Extent:
        """What its rows come to, once it is known that each is there once, and as many as its run.json says."""
        if not self.is_closed and not spool.is_kept(self.folder):
            raise DamagedPartError(self, "it was not closed, and its spool is gone")
        workers: dict[int, Counter[str]] = {number: Counter() for number in self._parts}
        starts: dict[int, list[PairStarts]] = {}
        last_second: int | None = None
        keys: dict[str, list[pa.RecordBatch]] = {table: [] for table in KEYS}
        for table in files.SCHEMAS:
            beside = ["second"] if table == "seconds" else ["pair", "start_utc_ns"]
            bounds = BOUNDS if table == "turns" else ()
            for batch in self._batches(table, ["worker", *beside, *bounds, *KEYS[table]]):
                if KEYS[table]:
                    keys[table].append(batch.select(KEYS[table]))
                of_rows = batch["worker"].fill_null(0)
                for number in pc.unique(of_rows).to_pylist():
                    mine = batch.filter(pc.equal(of_rows, number))
                    workers.setdefault(number, Counter())[table] += len(mine)
                    if bounds:
                        known = reduce(pc.or_, (mine[name].is_valid() for name in bounds))
                        workers[number]["bounds"] += pc.sum(known).as_py() or 0
                    if table != "seconds":
                        paired = mine.filter(mine["pair"].is_valid())
                        rows = PairStarts(*(paired[name].to_numpy() for name in beside))
                        starts.setdefault(number, []).append(first_starts([rows]))
                if table == "seconds":
                    last_second = max(last_second or 0, pc.max(batch["second"]).as_py() or 0)
        self._check_keys(keys)
        self._check_rows(sum(workers.values(), Counter()))
        for part in self._parts.values():
            part.histograms()
        if self.is_closed:
            try:
                read(files.histograms_path(self.folder))
            except UsageError as error:
                raise DamagedPartError(self, str(error)) from None
        return Extent(workers, {number: first_starts(mine) for number, mine in starts.items()}, last_second)

    @property
    def taken_pairs(self) -> PairStarts:
        """The pairs of the workers that are taken."""
        return first_starts(pairs for number, pairs in self.extent.pairs.items() if number in self.taken)

    @cached_property
    def lost_bounds(self) -> str:
        """Why nobody knows how far the instants of its turns can be off; empty where that is known."""
        try:
            return files.lost_bounds(self.folder) if self.is_closed else ""
        except (pa.ArrowException, OSError):
            return ""  # its turns cannot be read at all, which is told by whoever reads them

    def _check_keys(self, keys: Mapping[str, list[pa.RecordBatch]]) -> None:
        sessions, turns = (
            pa.Table.from_batches(keys[table], pa.schema([files.SCHEMAS[table].field(name) for name in KEYS[table]]))
            for table in ("sessions", "turns")
        )
        ids, of_turns = (
            table["session_id"].dictionary_encode().unify_dictionaries().combine_chunks() for table in (sessions, turns)
        )
        numbers = turns["turn"].to_numpy().astype(np.float64)
        names, codes, of_codes = ids.dictionary.to_pylist(), ids.indices.to_numpy(), of_turns.indices.to_numpy()
        if wrong := repeated(codes, names.__getitem__, of_codes, numbers):
            raise DamagedPartError(self, wrong)

    def _check_rows(self, rows: Counter[str]) -> None:
        totals = self.document.get("totals") or {}
        for table in ("turns", "sessions"):
            counted = totals.get(table)
            if self.is_closed and counted is not None and sum(counted.values()) != rows[table]:
                raise DamagedPartError(
                    self, f"it has {rows[table]} {table}, and its run.json says {sum(counted.values())}"
                )

    @property
    def was_ended(self) -> bool:
        """Whether somebody ended its run, and wrote down why."""
        stopped = str(self.document.get("stop_reason") or "")
        return self.document.get("state") != "running" and bool(stopped) and stopped != KILLED

    @property
    def last_utc_ns(self) -> int:
        """When its last second was over; its begin where it has none."""
        last_second = self.extent.last_second
        return int(self.document["started_utc_ns"]) if last_second is None else (last_second + 1) * NS_PER_S

    @property
    def closed_document(self) -> dict[str, Any]:
        """Its run.json with how it ended, as it is once it is closed: one that was killed ends with its last second."""
        document = self.document
        return document | {
            "state": "ended" if self.ends_cleanly and all(map(self._is_whole, self.ids)) else "killed",
            "stop_reason": document.get("stop_reason") or KILLED,
            "ended_utc_ns": document.get("ended_utc_ns") or self.last_utc_ns,
        }


def _stored_facts(document: Mapping[str, Any]) -> Facts:
    """What all workers of a run counted, as its run.json has it once it is closed."""
    totals = document.get("totals") or {}
    return Facts(
        simulated=bool(document.get("simulated")),
        hosts=hosts_of(document),
        out_of_range=totals.get("out_of_range") or {},
        negative=totals.get("negative") or {},
        unknown_events=totals.get("unknown_events") or {},
        timestamp_fallbacks=int(totals.get("timestamp_fallbacks") or 0),
        incidents=document.get("incidents") or [],
        incident_counts=totals.get("incident_counts") or {},
    )


def _sum(counts: Iterator[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
