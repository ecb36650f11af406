"""Names the files of a run folder, with their schemas, and reads them. The one door from measuring to understanding.

    run.json            what was run, where, with what; totals; the verdict (see `docs/run-folder.md`)
    turns.parquet       a row per turn, sessions.parquet a row per session, seconds.parquet a row per second and target
    histograms.hlog     HdrHistogram log, one cumulative histogram per Tag=measure|target|step|phase
    events/             on request: a log of every event of some sessions, `<session_id>.jsonl`
    transcripts.jsonl   on request: what was said, a line per turn
    spool/              while running: a part of each worker (`bench.run.part`), readable up to the last flush
    report.html report.md summary.json

A run that was killed leaves its spool; reading takes whichever is there. Instants are columns `<name>_at_ns`, relative
to the row's `start_ns` (CLOCK_MONOTONIC); they are stored once, and measures are derived on reading.
"""

from __future__ import annotations

import errno
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate, groupby, islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from bench.errors import UsageError
from bench.foreign import JsonError, read_file, read_json
from bench.measures import SESSION_ARRIVALS, SESSION_SENDS, TURN_ARRIVALS, TURN_SENDS
from bench.run import spool
from bench.run.disk import write_text
from bench.run.document import SCHEMA_VERSION
from bench.run.parquet import opened
from bench.run.part import AnyPart, parts
from bench.units import NS_PER_S

BLOCK_NS = 120 * NS_PER_S
"""How long a block of a run is: the pairs of one began under much the same conditions."""
TableName = Literal["turns", "sessions", "seconds"]
ReadColumns = Callable[[list[str]], pa.Table]
SMALL_BYTES = 4 << 20
"""Up to this size a table is read in one go: as Parquet some twenty thousand turns."""

TURN_INSTANTS = (
    "speech_begin",
    "speech_end",
    "requested",
    "request_acked",
    "speech_started",
    "speech_stopped",
    "committed",
    "response_created",
    "first_text",
    "first_audio",
    "first_transcript",
    "first_audible",
    "last_audio",
    "audio_done",
    "transcript_done",
    "response_done",
    "input_transcribed",
    "call_named",
    "call_done",
    "answer_requested",
    "answer_audio",
    "answer_audible",
    "function_audible",
    "barge_in",
    "barge_in_heard",
    "silent",
    "quiet",
    "cancelled",
    "truncate_sent",
    "truncated",
    "ended",
)
SESSION_INSTANTS = (
    "called",
    "heard_before",
    "intended_start",
    "connect_start",
    "dns_done",
    "tcp_done",
    "tls_done",
    "upgrade_done",
    "session_created",
    "update_sent",
    "session_updated",
    "history_begun",
    "history_taken",
    "first_reply",
    "first_audible",
    "idle_due",
    "idle_prompted",
    "ended",
)


def _columns(kind: pa.DataType, *names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, kind) for name in names]


_IDENTITY = [
    *_columns(pa.string(), "run_id", "session_id", "service_session_id", "target", "arm"),
    *_columns(pa.int64(), "block", "pair"),  # of interleaved runs: two minutes of it; the sessions that began together
    *_columns(pa.string(), "phase", "scenario", "script"),
    ("worker", pa.int64()),
    ("host", pa.string()),
    ("simulated", pa.bool_()),
    *_columns(pa.string(), "outcome", "detail"),
    *_columns(pa.int64(), "start_ns", "start_utc_ns"),
]

_TOKENS = [
    *_columns(pa.int64(), "tokens_text_in", "tokens_audio_in", "tokens_cached_in"),
    *_columns(pa.int64(), "tokens_cached_text_in", "tokens_cached_audio_in"),
    *_columns(pa.int64(), "tokens_text_out", "tokens_audio_out", "tokens_image_in", "tokens_cached_image_in"),
]

TURNS = pa.schema(
    [
        *_IDENTITY,
        *_columns(pa.string(), "response_id", "answer_response_id", "item_id"),  # of the first response, of the last
        *_columns(pa.string(), "step", "audio"),  # audio: the file that was played
        ("turn", pa.int64()),
        ("origin", pa.string()),  # the instant that latency counts from: "requested" or "speech_end"
        ("traits", pa.string()),  # what sets it apart from others of its step: of TRAITS, joined by "+"
        *_columns(pa.int64(), *(f"{name}_at_ns" for name in TURN_INSTANTS)),
        *_columns(pa.int64(), *(f"{name}_width_ns" for name in TURN_SENDS)),
        *_columns(pa.int64(), *(f"{name}_error_ns" for name in TURN_ARRIVALS)),
        ("transmit_lag_ns", pa.int64()),  # the kernel's transmit stamp of the request − the clock before that call
        ("sent_source", pa.string()),  # of `requested` and `speech_end`: "kernel", "user" or "mixed"
        ("stamp_source", pa.string()),  # of arrivals: "kernel", "user" or "mixed"
        *_columns(pa.int64(), "stamp_error_ns", "stamp_error_max_ns"),  # of the first delta; the largest of all events
        *_columns(pa.int64(), "audio_bytes_sent", "audio_bytes_received", "wire_bytes_sent", "wire_bytes_received"),
        *_columns(pa.int64(), "events", "audio_deltas", "text_deltas", "transcript_deltas", "unknown_events"),
        *_columns(pa.int64(), "late_chunks", "delta_gap_max_ns", "delta_gap_p95_ns", "inexact_gaps"),
        *_columns(pa.int64(), "stall_ns", "stalls", "stall_error_ns", "vad_splits"),
        *_columns(pa.int64(), "network_rtt_ns", "network_rtt_smoothed_ns", "retransmits"),
        ("audio_speed", pa.float64()),
        ("rtt_scope", pa.string()),  # where the network's figures end: "service", or "proxy"
        ("retry_after_ns", pa.int64()),  # the wait that the service asked for
        *_columns(pa.int64(), "context_tokens", "context_cached_tokens"),  # input of its first response
        *_columns(pa.bool_(), "preamble", "yielded", "false_yield", "truncated_right", "false_reply", "cut_off"),
        ("interruption", pa.string()),  # what spoke into the reply: "speech", "client", or the kind of a sound
        *_columns(pa.int64(), "function_calls", "function_time_ns", "dead_air_ns"),
        *_columns(pa.int64(), "late_audio_ns", "wasted_audio_ns", "received_audio_ns", "overlap_ns"),
        *_TOKENS,
        *_columns(pa.int64(), "input_words", "input_word_errors", "reply_words", "reply_word_errors"),
        ("task_done", pa.bool_()),  # whether the turn did what its script calls success
    ]
)

SESSIONS = pa.schema(
    [
        *_IDENTITY,
        *_columns(pa.int64(), *(f"{name}_at_ns" for name in SESSION_INSTANTS)),
        *_columns(pa.int64(), *(f"{name}_width_ns" for name in SESSION_SENDS)),
        *_columns(pa.int64(), *(f"{name}_error_ns" for name in SESSION_ARRIVALS)),
        *_columns(pa.int64(), "token_wait_ns", "caller_time_ns", "retry_after_ns"),
        *_columns(pa.int64(), "turns_wanted", "turns_begun", "turns_ended", "turns_good", "lost_turns"),
        *_columns(pa.int64(), "audio_bytes_sent", "audio_bytes_received", "wire_bytes_sent", "wire_bytes_received"),
        *_columns(pa.int64(), "events", "unknown_events", "service_errors", "stamp_fallbacks", "stray_commits"),
        ("renewed", pa.bool_()),  # whether another session of its call took its place
        ("idle_prompts", pa.int64()),  # how often the service spoke up by itself
        *_TOKENS,  # of responses that belong to no turn
        ("variables_row", pa.int64()),  # which row of the script's variables it took, from 1
        ("event_log", pa.bool_()),  # whether its events are in events/
        ("close_code", pa.int64()),
        *_columns(pa.string(), "close_reason", "model", "region", "request_id"),
        *_columns(pa.string(), "effective_settings", "headers"),  # JSON
    ]
)

SECONDS = pa.schema(
    [
        ("run_id", pa.string()),
        ("second", pa.int64()),  # UTC, seconds since 1970
        ("length_ns", pa.int64()),  # how much of it was recorded: less at both ends, more where the loop was held up
        ("phase", pa.string()),  # by when it began
        ("target", pa.string()),
        ("worker", pa.int64()),
        ("host", pa.string()),
        ("simulated", pa.bool_()),
        # Calls that arrived; of them those that found no free slot, those that were held back and started, and those
        # that waited for their start when the run ended.
        *_columns(pa.int64(), "calls", "calls_blocked", "calls_held", "calls_cut"),
        *_columns(pa.int64(), "sessions_active", "session_starts", "turns_begun", "turns_ended", "turns_failed"),
        *_columns(pa.int64(), "events", "audio_bytes_sent", "audio_bytes_received"),
        *_columns(pa.int64(), "wire_bytes_sent", "wire_bytes_received"),
        *_columns(pa.int64(), "receive_lag_max_ns", "hub_delay_max_ns"),
        ("throttled", pa.int64()),  # sessions and turns that ended as throttled
        *_columns(pa.int64(), "requests_limit", "requests_remaining"),  # as the service told last in this second:
        *_columns(pa.int64(), "tokens_limit", "tokens_remaining"),  # the least that remained; null where it did not
        ("cpu", pa.float64()),  # share of one core that the worker's process took
    ]
)

IN_EACH_ROW = ("session_id", "target", "outcome", "start_utc_ns", "ended_at_ns", "second", "length_ns")
"""The columns that are null in no row of any table, whichever version wrote it."""
SCHEMAS: dict[TableName, pa.Schema] = {"turns": TURNS, "sessions": SESSIONS, "seconds": SECONDS}


def create(parent: Path, scenario: str, began_utc_ns: int) -> Path:
    """Make a new folder of a run, with an empty spool. Raises UsageError where the folder cannot be written."""
    folder = create_named(parent, scenario, began_utc_ns)
    try:
        spool.prepare(folder)
    except OSError as error:
        raise _unwritable(parent, error) from None
    return folder


def create_named(parent: Path, name: str, began_utc_ns: int) -> Path:
    """Make a new folder `<UTC time>-<name>[-2…]`, which nobody else has. Raises UsageError where that cannot be."""
    stamp = datetime.fromtimestamp(began_utc_ns / NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ")
    make_parent(parent)
    try:
        for free in _names(f"{stamp}-{name}"):
            try:
                (parent / free).mkdir()
            except FileExistsError:
                continue
            return parent / free
    except OSError as error:
        raise _unwritable(parent, error) from None
    raise AssertionError("unreachable: names are endless")


def make_parent(parent: Path) -> None:
    """Make the folder that run folders are made in. Raises UsageError where there can be none, or one to write to."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(parent, error) from None
    if not os.access(parent, os.W_OK | os.X_OK):
        raise _unwritable(parent, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _unwritable(parent: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write runs to {parent}: {error.strerror}; choose another folder with --runs")


def _names(first: str) -> Iterator[str]:
    yield first
    number = 2
    while True:
        yield f"{first}-{number}"
        number += 1


def read_document(folder: Path) -> dict[str, Any]:
    """Read run.json. Raises UsageError where the folder is no run, or one of a newer version of this tool."""
    try:
        document = read_json(read_file(folder / "run.json"))
    except FileNotFoundError:
        raise UsageError(f"{folder} is not a run folder: it has no run.json") from None
    except (OSError, JsonError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{folder / 'run.json'} cannot be read: {why}") from None
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise UsageError(f"{folder / 'run.json'} is not a run's document: it has no schema version")
    if document["schema"] > SCHEMA_VERSION:
        raise UsageError(f"{folder} was written by a newer rtbench (schema {document['schema']}); upgrade to read it")
    return document


def write_document(folder: Path, document: dict[str, Any]) -> None:
    """Replace run.json in one step, so that a reader sees the old one or the new one."""
    write_text(folder / "run.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def histograms_path(folder: Path) -> Path:
    """Where the log of all histograms is."""
    return folder / "histograms.hlog"


def batches(parts: Iterable[AnyPart], table: TableName) -> Iterator[pa.RecordBatch]:
    """Read the rows of a table in all parts, in whole batches with every column."""
    for part in parts:
        yield from part.batches(table, SCHEMAS[table])


def spooled_batches(folder: Path, table: TableName) -> Iterator[pa.RecordBatch]:
    """Read the rows of a table that the workers of a run that is not closed have written so far."""
    return batches(parts(folder), table)


def read_table(
    folder: Path, table: TableName, columns: list[str] | None = None, *, dictionaries: Collection[str] = ()
) -> pa.Table:
    """Read all rows of a table, from Parquet after a clean end and from the spool before one.

    `dictionaries`: columns of texts that are left encoded as dictionaries where Parquet has them so.
    """
    path = folder / f"{table}.parquet"
    schema = SCHEMAS[table] if columns is None else pa.schema([SCHEMAS[table].field(name) for name in columns])
    if path.exists():
        return _with_all_columns(path, schema, dictionaries)
    batches = (batch.select(schema.names) for batch in spooled_batches(folder, table))
    return pa.concat_tables([schema.empty_table(), *_copied(batches)])


def column_reader(folder: Path, table: TableName) -> ReadColumns:
    """Return what reads columns of a table for whoever goes through it measure by measure: a small one is read once."""
    path = folder / f"{table}.parquet"
    size = path.stat().st_size if path.exists() else sum(part.size_bytes(table) for part in parts(folder))
    if size > SMALL_BYTES:
        return lambda columns: read_table(folder, table, columns)
    rows = read_table(folder, table)
    return lambda columns: rows.select(columns)


def _with_all_columns(path: Path, schema: pa.Schema, dictionaries: Collection[str]) -> pa.Table:
    """Add the columns that an older version of this tool did not write; they are null."""
    with opened(path, schema, dictionaries) as (file, there):
        table = file.read(there)
    for place, field in enumerate(schema):
        if field.name not in there:
            table = table.add_column(place, field, pa.nulls(len(table), field.type))
    return table


def read_values(folder: Path, table: TableName, column: str, places: Sequence[int]) -> list[Any]:
    """Read a column in a few rows of a run that ended, by their places: from the row groups that they stand in."""
    wanted = pa.schema([SCHEMAS[table].field(column)])
    with opened(folder / f"{table}.parquet", wanted) as (file, there):
        if not there:
            return [None] * len(places)
        ends = list(accumulate(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)))
        values: dict[int, Any] = {}
        for group, mine in groupby(sorted(places), lambda place: bisect_right(ends, place)):
            rows = file.read_row_group(group, [column]).column(column)
            values |= {place: rows[place - ends[group]].as_py() for place in mine}
    return [values[place] for place in places]


def _copied(batches: Iterator[pa.RecordBatch], batches_at_once: int = 256) -> Iterator[pa.Table]:
    """Copy batches in larger pieces: a column of a streamed batch keeps all of the batch in memory."""
    while held := list(islice(batches, batches_at_once)):
        yield pa.Table.from_batches(held).combine_chunks()
