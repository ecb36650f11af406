"""The finalizing of a run: merge the workers' parts into Parquet files and histograms, and add the
verdict to run.json.

A run that ended normally and a run that was killed are finalized in the same way. The part of a
worker is removed only when all of its data is stored elsewhere.
"""

# The process that leads a run starts this in a child process, because it takes seconds and would
# delay the event loop. `rtbench report` finalizes a run that was killed, and `rtbench merge` writes
# merged runs by `merge_parts`.
#
# The order makes an interruption harmless. Each file is written next to its final name, and then
# renamed. run.json, whose state declares the run as finalized, follows all other files. The spool
# is removed last. A process that is killed before run.json is replaced has lost nothing, because
# the parts still exist. One that is killed later leaves only a rest of the spool, which the next
# call removes.

import itertools
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import to_builtins

from bench.base.clock import utc_ns
from bench.base.units import NS_PER_S
from bench.files.safe_io import fresh_beside, replace_text
from bench.record import folder as files
from bench.record import spool
from bench.record.document import KILLED, SCHEMA_VERSION
from bench.record.histograms import MEASURED, WARMUP, HistogramKey, Histograms, header
from bench.record.marks import with_marks
from bench.record.metric_values import CARRIED, RATED_INSTANTS, all_histograms, bytes_per_s
from bench.record.missing_workers import (
    OF_SECONDS,
    OF_SESSIONS,
    OF_TURNS,
    UNSEEN_NS,
    MissingWorker,
    load_of,
    missing_entries,
)
from bench.record.provenance import recorded_by
from bench.record.spool import TRANSCRIPT, PartFacts, PartLike, WorkerPart, parts
from bench.record.validity import evaluate_checks
from bench.record.validity_data import load_validity_data
from bench.record.writers import CLOSED

SUMMED = ("unknown_events", "incident_counts")
RATED = ["target", "phase", *RATED_INSTANTS, *CARRIED.values()]
PER_SECOND = "run"
PER_SESSION = "session"
"""The two values of `step` in the histogram of a rate, which has one value for each second, or
for each session."""


def finalize(folder: Path) -> dict[str, Any]:
    """Write the final files of a run from the parts of its workers; return the new run.json.

    Do nothing if the run is already finalized.
    """
    document = files.read_document(folder)
    if not spool.is_stored(folder):
        return document
    # otherwise the last attempt was ended during the removal of the parts
    if document.get("state") not in CLOSED:
        recorded = parts(folder)
        document = merge_parts(
            folder,
            with_marks(folder, document),
            recorded,
            lambda read, ends_ns: _missing(read, missing_of(document, recorded, ends_ns)),
        )
    # last: before run.json is final, a failed attempt can be repeated from the parts
    spool.remove(folder)
    return document


def missing_of(
    document: Mapping[str, Any], parts: Sequence[WorkerPart], ends_utc_ns: int
) -> list[MissingWorker]:
    """Return the workers whose data is incomplete: they disconnected, were killed, or have damaged
    data.

    Call this after the parts were read, because damage is detected when a part is read.
    `ends_utc_ns` is the end of the run. It is used if `document` does not state when the run began
    to stop.
    """
    present = {part.worker for part in parts}
    absent = {
        entry["worker"]: str(entry["host"])
        for entry in document.get("remote") or []
        if entry["worker"] not in present
    }
    numbers = itertools.count()
    # workers without any file: their files are gone, or they wrote none
    while len(present) + len(absent) < document.get("workers", 1):
        if (number := next(numbers)) not in present:
            absent.setdefault(number, "")
    partial = [part for part in parts if not part.facts.done or part.damage]
    ends_utc_ns = document.get("stopping_utc_ns") or ends_utc_ns
    load = load_of(document, len(absent) + len(partial), [*present, *absent], ends_utc_ns)
    return [
        *(
            MissingWorker(part.worker, part.host, load, part.facts.rows or None, part.damage_text)
            for part in partial
        ),
        *(MissingWorker(worker, host, load) for worker, host in absent.items()),
    ]


def merge_parts(
    folder: Path,
    document: dict[str, Any],
    parts: Sequence[PartLike],
    missing: Callable[[files.ReadRows, int], list[dict[str, Any]]],
) -> dict[str, Any]:
    """Write the final files of a run into its folder, from its parts; return the new run.json.

    Parts are read one after another, batch by batch, so that memory does not grow with the run.
    `missing` is called after all parts were read. Its arguments are a reader of the rows, and the
    end of the run (UTC). It returns the entries of `missing_workers` in run.json.
    """
    facts = [part.facts for part in parts]
    is_incomplete = not (facts and all(part_facts.done for part_facts in facts))
    # a live master first sets the state to "closing"
    killed = is_incomplete or document.get("state") == "running"
    sessions = (
        rows for part in parts for rows in part.batches("sessions", files.SCHEMAS["sessions"])
    )
    # the rows are checked, too: the facts of a killed worker may be older than its first simulated
    # session
    simulated = any(part_facts.simulated for part_facts in facts) or any(
        pc.any(rows["simulated"]).as_py() for rows in sessions
    )
    for table in files.SCHEMAS:
        _to_parquet(folder, table, parts, simulated=simulated)
    _join_transcripts(folder, parts)
    read = files.row_reader(folder)
    histograms = all_histograms(read, parts)
    _add_rates(read, histograms)
    last_second = pc.max(read("seconds", ["second"])["second"]).as_py()
    started_utc_ns = document["started_utc_ns"]
    last_utc_ns = None if last_second is None else (last_second + 1) * NS_PER_S
    log = histograms.lines(started_utc_ns, last_utc_ns or started_utc_ns)
    replace_text(
        files.histograms_path(folder), header(started_utc_ns, simulated=simulated) + "".join(log)
    )
    document |= {
        "simulated": simulated,
        "state": "killed" if killed else "ended",
        "ended_utc_ns": document.get("ended_utc_ns") or last_utc_ns or utc_ns(),
        "missing_workers": missing(
            read, document.get("ended_utc_ns") or (last_utc_ns or started_utc_ns) + UNSEEN_NS
        ),
        "hosts": recorded_by(parts, document, histograms),
        "receive_timestamp_source": _receive_timestamp_source(read),
        "totals": _totals(read, facts, histograms),
        "incidents": sorted(
            itertools.chain(*(part_facts.incidents for part_facts in facts)),
            key=itemgetter("at_utc_ns"),
        ),
    }
    document["validity"] = to_builtins(
        evaluate_checks(*load_validity_data(read, histograms, document))
    )
    # only such a run (incomplete, merged, or of several hosts) may have to be split by part later
    if document["missing_workers"] or "parts" in document or len(document["hosts"]) > 1:
        for part in parts:
            part.copy_documents(folder)
    if killed:
        document["stop_reason"] = document.get("stop_reason") or KILLED
    # after all other files, because its state means that they are complete
    files.write_document(folder, document)
    # a report may follow in this process, and needs the memory
    pa.default_memory_pool().release_unused()
    return document


def _missing(
    read: files.ReadRows, missing_workers: Sequence[MissingWorker]
) -> list[dict[str, Any]]:
    """Return the run.json entries of workers whose data is incomplete. If there is no such
    worker, read no rows.
    """
    if not missing_workers:
        return []
    turns = read("turns", OF_TURNS)
    sessions = read("sessions", OF_SESSIONS)
    seconds = read("seconds", OF_SECONDS)
    return missing_entries(
        missing_workers, turns.to_pandas(), sessions.to_pandas(), seconds.to_pandas()
    )


def _to_parquet(
    folder: Path, table: files.TableName, parts: Sequence[PartLike], *, simulated: bool
) -> None:
    """Write a table batch by batch, so that memory does not grow with it. Each file is complete
    when it appears.
    """
    about = {
        "rtbench.schema": str(SCHEMA_VERSION),
        "rtbench.simulated": "SIMULATED" if simulated else "no",
    }
    schemas = {name: schema.with_metadata(about) for name, schema in files.STORED[table].items()}
    fresh = {name: fresh_beside(folder / f"{name}.parquet") for name in schemas}
    with ExitStack() as opened:
        writers = {
            name: opened.enter_context(
                pq.ParquetWriter(opened.enter_context(file), schema, compression="zstd")
            )
            for name, schema in schemas.items()
            if (file := fresh[name].open("wb"))
        }
        batches = (batch for part in parts for batch in part.batches(table, files.SCHEMAS[table]))
        for rows in files.grouped(batches):
            for name, writer in writers.items():
                writer.write_table(rows.select(schemas[name].names).cast(schemas[name]))
    for name in schemas:
        os.replace(fresh[name], folder / f"{name}.parquet")


def _join_transcripts(folder: Path, parts: Sequence[PartLike]) -> None:
    """Write the transcripts of all parts into one file. Do nothing if no transcripts were
    recorded.
    """
    transcripts = [transcript for part in parts if (transcript := part.transcript()) is not None]
    if transcripts:
        fresh = fresh_beside(folder / TRANSCRIPT)
        with fresh.open("wb") as joined:
            joined.writelines(itertools.chain(*transcripts))
        os.replace(fresh, folder / TRANSCRIPT)


def _add_rates(read: files.ReadRows, histograms: Histograms) -> None:
    """Record bytes per second in both directions: for the whole run (the sum of all workers),
    and for each session.
    """
    seconds = read("seconds", files.SCHEMAS["seconds"].names).to_pandas()
    # a second of which less than half was recorded has no meaningful rate
    seconds = seconds[seconds["duration_ns"] >= NS_PER_S // 2]
    sessions = read("sessions", RATED).to_pandas()
    phases = sessions["phase"].fillna(MEASURED)
    # the rate of each worker uses the worker's own duration; then the rates of all workers are
    # summed
    columns = list(CARRIED.values())
    by_worker = seconds.groupby(["target", "phase", "second", "worker"])[
        [*columns, "duration_ns"]
    ].sum()
    rates = (
        by_worker[columns]
        .div(by_worker["duration_ns"] / NS_PER_S, axis=0)
        .groupby(["target", "phase", "second"])
        .sum()
    )
    rate_targets, rate_phases = (rates.index.get_level_values(name) for name in ("target", "phase"))
    for metric, column in CARRIED.items():
        for target, phase, rate in zip(rate_targets, rate_phases, rates[column], strict=True):
            histograms.record(HistogramKey(metric, target, PER_SECOND, phase), int(rate))
        for target, phase, rate in zip(
            sessions["target"], phases, bytes_per_s(sessions, metric), strict=True
        ):
            if not np.isnan(rate):
                histograms.record(HistogramKey(metric, target, PER_SESSION, phase), int(rate))


def _receive_timestamp_source(read: files.ReadRows) -> str | None:
    """Return the source of the arrival timestamps of turns; "mixed" for several sources; None
    without timestamps.
    """
    column = read("turns", ["receive_timestamp_source"])["receive_timestamp_source"]
    sources = set(pc.unique(column).to_pylist()) - {None}
    return sources.pop() if len(sources) == 1 else "mixed" if sources else None


def _totals(
    read: files.ReadRows, facts: Sequence[PartFacts], histograms: Histograms
) -> dict[str, Any]:
    turns = read("turns", ["outcome", "phase"])
    sessions = read("sessions", ["outcome", "turns_planned", "turns_not_started", "events"])
    turns_started = read("seconds", ["turns_started"])["turns_started"]
    summed = {
        name: sum((Counter(getattr(part_facts, name)) for part_facts in facts), Counter[str]())
        for name in SUMMED
    }
    return {
        "sessions": _counted(sessions["outcome"]),
        "turns": _counted(turns["outcome"]),
        "turns_planned": pc.sum(sessions["turns_planned"]).as_py() or 0,
        # after a kill either of the two counts may be behind the other
        "turns_started": max(pc.sum(turns_started).as_py() or 0, len(turns)),
        "warmup_turns": pc.sum(pc.equal(turns["phase"], WARMUP)).as_py() or 0,
        "turns_not_started": pc.sum(sessions["turns_not_started"]).as_py() or 0,
        "events": pc.sum(sessions["events"]).as_py() or 0,
        "timestamp_fallbacks": sum(part_facts.timestamp_fallbacks for part_facts in facts),
        "out_of_range": dict(histograms.out_of_range),
        "negative": dict(histograms.negative),
        **{name: dict(counter) for name, counter in summed.items()},
    }


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    return dict(
        sorted((entry["values"], entry["counts"]) for entry in pc.value_counts(column).to_pylist())
    )
