"""A finalized run as a part of a merged run: its rows, histograms and facts, with new numbers.

Only the workers in `added_workers` are merged. Other workers have a folder of their own, which
replaces the data that the master received from them.
"""

# A source is read in two passes. The first (`extent`) reads a few columns of all rows: it counts
# the rows of each worker, finds the starts of pairs, and checks that the tables agree with
# run.json. Then `merge` chooses the workers of each source, and numbers them. The second pass
# copies the rows with the new numbers, batch by batch. If a file proves damaged in either pass,
# DamagedPartError names the source, and the merge begins again without it.

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from bench.base.errors import UsageError
from bench.files.safe_io import is_regular, open_file, read_json
from bench.files.sanitize import excerpt
from bench.record import folder as files
from bench.record import spool
from bench.record.document import KILLED, HostEntry, IncidentEntry, RunDocument
from bench.record.finalize import finalize
from bench.record.histograms import Histograms, read
from bench.record.merging.merged_document import PairStarts, RunNumbering, first_starts, worker_of
from bench.record.metric_values import repeated, wrong_column
from bench.record.provenance import leader_of, recorded_by
from bench.record.spool import TRANSCRIPT, PartFacts, WorkerPart, parts
from bench.record.whole_run import problem_of
from bench.record.writers import CLOSED

BATCH_ROWS = 10_000
KEYS: Mapping[files.TableName, list[str]] = {
    "sessions": ["session_id"],
    "turns": ["session_id", "turn"],
}
COUNTS = ("out_of_range", "negative", "unknown_events", "incident_counts")
RunKey = tuple[int, str]
"""The start of a run (UTC, ns since 1970) and its id."""


class DamagedPartError(Exception):
    """An error for a run whose files are incomplete or unreadable, so that it cannot be merged."""

    def __init__(self, part: SourceRun, reason: str) -> None:
        super().__init__(reason)
        self.part = part
        self.reason = reason


class RunExtent(NamedTuple):
    """The size of a run.

    `rows` has the number of rows of each worker in each table. `pairs` has the pairs of each
    worker.
    """

    rows: dict[int, Counter[str]]
    pairs: dict[int, PairStarts]


class SourceRun:
    """A run in its folder. Its workers in `added_workers` become a part of a merged run.

    Call `finalize` before anything else is read. Set `added_workers`, `numbering` and `is_complete`
    before rows are read. The constructor raises UsageError if the folder is not a run, or has a
    format that this version does not read. Reading rows or files raises DamagedPartError.
    """

    numbering: RunNumbering
    added_workers: frozenset[int]
    is_complete: bool
    """True if the run ended normally, and all given folders together contain the data of all its
    workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document = files.read_document(folder)
        try:
            msgspec.convert(self.document, RunDocument)
        except msgspec.ValidationError as error:
            raise UsageError(
                f"{folder / 'run.json'} is damaged: {excerpt(str(error), 200)}"
            ) from None
        if problem := problem_of(
            self.document.get("planned_load") or {}, self.document.get("whole_run")
        ):
            raise UsageError(f"{folder / 'run.json'} is damaged: {problem}")

    def finalize(self) -> None:
        """Write the final files of a run that was killed, as `rtbench report` does. Raise
        UsageError if that fails.
        """
        try:
            self.document = finalize(self.folder)
        except OSError as error:
            raise UsageError(
                f"{self.folder} cannot be finalized: {error.strerror or error}"
            ) from None

    @property
    def name(self) -> str:
        """The name in messages, such as `20261120T091400Z-voice_turns on bench-1`."""
        return f"{self.document['run_id']} on {self.host}"

    @cached_property
    def host(self) -> str:
        """The name of the host that led the run."""
        return str(leader_of(self.document)["name"])

    @property
    def run(self) -> RunKey:
        return self.document["started_utc_ns"], self.document["run_id"]

    @property
    def is_of_master(self) -> bool:
        """True if a master wrote this folder, from the data that workers on other hosts sent."""
        return "remote" in self.document

    @property
    def was_ended(self) -> bool:
        """True if the run ended normally, and was not killed."""
        stopped = str(self.document.get("stop_reason") or "")
        return self.document["state"] != "running" and bool(stopped) and stopped != KILLED

    @property
    def held(self) -> frozenset[int]:
        """The numbers of the workers whose rows or facts are in this folder."""
        return frozenset(self.extent.rows)

    @property
    def missing(self) -> dict[int, dict[str, Any]]:
        """The entry in run.json for each worker whose data is incomplete, by the worker's
        number.
        """
        return {entry["worker"]: entry for entry in self.document.get("missing_workers") or []}

    @cached_property
    def workers(self) -> dict[int, WorkerPart]:
        """The histograms and facts of each worker that the folder stores separately, by the
        worker's number.
        """
        return {part.worker: part for part in parts(self.folder, spool.WORKERS)}

    # The data that `bench.record.finalize.merge_parts` reads of a part.

    @property
    def facts(self) -> PartFacts:
        taken_parts = self._taken_workers
        incidents = self.document.get("incidents") or []
        # of all workers together
        of_run = (self.document.get("totals") or {}) | {"incidents": incidents}
        facts = [part.facts for part in taken_parts] or [msgspec.convert(of_run, PartFacts)]
        counts: dict[str, Any] = {
            name: dict(sum((Counter(getattr(part_facts, name)) for part_facts in facts), Counter()))
            for name in COUNTS
        }
        hosts = (
            recorded_by(taken_parts, self.document, self.histograms())
            if taken_parts
            else self.document["hosts"]
        )
        return PartFacts(
            done=self.is_complete,
            simulated=any(part_facts.simulated for part_facts in facts)
            or bool(self.document.get("simulated")),
            hosts=cast("list[HostEntry]", hosts),
            timestamp_fallbacks=sum(part_facts.timestamp_fallbacks for part_facts in facts),
            incidents=[
                incident for part_facts in facts for incident in self._incidents(part_facts)
            ],
            **counts,
        )

    def _incidents(self, facts: PartFacts) -> list[IncidentEntry]:
        return [self.numbering.incident(incident) for incident in facts.incidents]

    @property
    def _taken_workers(self) -> list[WorkerPart]:
        """The part of each worker in `added_workers`; empty if the folder has only the sum of
        all workers.
        """
        has_parts = self.added_workers <= self.workers.keys()
        return [self.workers[number] for number in sorted(self.added_workers)] if has_parts else []

    def batches(self, table: str, _schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the workers in `added_workers`, with all columns and with their new
        numbers.
        """
        worker_numbers = pa.array(sorted(self.added_workers), pa.int64())
        for batch in self._batches(cast("files.TableName", table)):
            rows = batch.filter(pc.is_in(batch["worker"], worker_numbers))
            if len(rows):
                yield self.numbering.rows(rows)

    def _batches(
        self, table: files.TableName, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows with the numbers and names that were recorded."""
        names = files.SCHEMAS[table].names if columns is None else columns
        try:
            for batch in files.stored_batches(self.folder, table, names, BATCH_ROWS):
                if wrong := wrong_column(table, batch):
                    raise DamagedPartError(self, wrong)
                yield batch
        except (pa.ArrowException, OSError) as error:
            raise DamagedPartError(
                self, f"its {table} cannot be read: {str(error).splitlines()[0]:.200}"
            ) from None

    def transcript(self) -> Iterator[bytes] | None:
        """Return the transcript lines of `added_workers`, with the sessions' new names; None
        without transcripts.
        """
        return self._lines(path) if (path := self.folder / TRANSCRIPT).exists() else None

    def _lines(self, path: Path) -> Iterator[bytes]:
        try:
            with open_file(path) as lines:
                for line in lines:
                    row = read_json(line)
                    if worker_of(str(row["session_id"])) in self.added_workers:
                        yield self.numbering.line(row)
        except OSError as error:
            raise DamagedPartError(
                self, f"its {TRANSCRIPT} cannot be read: {error.strerror}"
            ) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DamagedPartError(
                self, f"its {TRANSCRIPT} has a line that is not a turn"
            ) from None

    def histograms(self) -> Histograms:
        if not self._taken_workers:
            return self._stored_histograms()
        total = Histograms()
        for part in self._taken_workers:
            total.merge(part.histograms())
        return total

    def _stored_histograms(self) -> Histograms:
        try:
            return read(files.histograms_path(self.folder))
        except UsageError as error:
            raise DamagedPartError(self, str(error)) from None

    def copy_event_logs(self, events: Path) -> int:
        """Copy the event logs of the workers in `added_workers` into a folder, under the new names
        of their sessions.

        Return how many event logs were not copied. Links and special files are not copied, because
        a link can lead to any file of this machine.
        """
        event_folder = self.folder / spool.EVENTS
        uncopied = 0
        for log in sorted(event_folder.glob("*.jsonl")):
            if worker_of(log.stem) not in self.added_workers:
                continue
            if event_folder.is_symlink() or not is_regular(log):
                uncopied += 1
                continue
            events.mkdir(exist_ok=True)
            with (
                open_file(log, follow_link=False) as old,
                (events / f"{self.numbering.session_id(log.stem)}.jsonl").open("xb") as new,
            ):
                header = old.readline()
                # a log that ends early is copied unchanged
                with suppress(ValueError, KeyError, TypeError):
                    header = self.numbering.log_header(header)
                new.write(header)
                shutil.copyfileobj(old, new)
        return uncopied

    def copy_documents(self, folder: Path) -> None:
        """Write the facts and histograms of each worker in `added_workers` to a run folder,
        under its new number.
        """
        for part in self._taken_workers:
            facts = replace(part.facts, incidents=self._incidents(part.facts))
            part.copy_documents(folder, self.numbering.workers[part.worker], facts)

    # The size of the run.

    @cached_property
    def extent(self) -> RunExtent:
        """The size of the run. Computing it checks that no row occurs twice, and that run.json
        has the same counts.
        """
        if self.document["state"] not in CLOSED:
            raise DamagedPartError(
                self, "it was not finalized, and its recorded data no longer exists"
            )
        rows: dict[int, Counter[str]] = {number: Counter() for number in self.workers}
        starts: dict[int, list[PairStarts]] = {}
        for table in files.SCHEMAS:
            paired = [] if table == "seconds" else ["pair", "start_utc_ns"]
            for batch in self._batches(table, ["worker", *paired]):
                for number in pc.unique(batch["worker"]).to_pylist():
                    worker_rows = batch.filter(pc.equal(batch["worker"], number))
                    rows.setdefault(number, Counter())[table] += len(worker_rows)
                    if paired:
                        in_pairs = worker_rows.filter(worker_rows["pair"].is_valid())
                        pairs = PairStarts(*(in_pairs[name].to_numpy() for name in paired))
                        starts.setdefault(number, []).append(first_starts([pairs]))
        self._check_keys()
        row_counts = sum(rows.values(), Counter[str]())
        totals = self.document.get("totals") or {}
        for table in ("turns", "sessions"):
            if table in totals and (counted := sum(totals[table].values())) != row_counts[table]:
                raise DamagedPartError(
                    self, f"it has {row_counts[table]} {table}, but its run.json states {counted}"
                )
        self._stored_histograms()
        return RunExtent(
            rows, {number: first_starts(worker_starts) for number, worker_starts in starts.items()}
        )

    @cached_property
    def no_uncertainty(self) -> str:
        """The reason why the timestamp uncertainty of the run's turns is unknown; empty if it is
        known.
        """
        try:
            return files.no_uncertainty(self.folder)
        except (pa.ArrowException, OSError):
            return ""  # its turns cannot be read either, which another check reports

    def _check_keys(self) -> None:
        sessions, turns = (
            pa.Table.from_batches(
                self._batches(table, keys), pa.schema(map(files.SCHEMAS[table].field, keys))
            )
            for table, keys in KEYS.items()
        )
        ids, of_turns = (
            table["session_id"].dictionary_encode().unify_dictionaries().combine_chunks()
            for table in (sessions, turns)
        )
        numbers = turns["turn"].to_numpy().astype(float)
        names = ids.dictionary.to_pylist()
        codes = ids.indices.to_numpy()
        of_codes = of_turns.indices.to_numpy()
        if wrong := repeated(codes, names.__getitem__, of_codes, numbers):
            raise DamagedPartError(self, wrong)
