"""The files of a run folder: names, schemas and reading. Analysis code reads measurements only
through this module.

`docs/run-folder.md` describes the files. `uncertainty.parquet` has a row for each row of
`turns.parquet`, with the uncertainty of its instants. It is read only if a caller needs it. While
the run is active, `spool/` contains one part for each worker. If a run is killed, its spool
remains. Readers use the spool or the final files, whichever exists. Instants are columns
`<name>_at_ns`, relative to the row's `start_ns` (CLOCK_MONOTONIC). Only instants are stored;
metrics are computed from them when the rows are read.

A folder may come from another person, and a table of a few kilobytes can contain a billion rows.
Tables of this tool have at least 20 bytes per row, and are 30 times as large in memory. A table
that is much more compressed is rejected before it is read. A column whose type differs from our
schema is also rejected.

A load generator writes rows and reads none, so the libraries for Parquet are imported by the
functions that read it.
"""

from __future__ import annotations

import errno
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate, chain, count, groupby, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.catalogue import columns
from bench.catalogue.columns import CAUSE, EARLIER_CAUSE, TURN_KEYS, UNCERTAINTY_COLUMNS, ColumnKind
from bench.files.safe_io import JsonError, open_file, read_file, read_json, replace_text
from bench.record import spool
from bench.record.document import SCHEMA_VERSION
from bench.record.presence import not_a_run
from bench.record.spool import parts, with_added

if TYPE_CHECKING:
    import pyarrow.parquet as pq

# A table from another person is checked before any of its rows is in memory. What is checked is in
# the footer of the file: the number of rows, the type of each column, and the size of each column.
# The size there counts a repeated text once, but an array in memory counts it for each row. So the
# lengths of texts are read, too, if the worst case would not fit (`_is_of_size`). With encodings
# that are not listed, even this size is unknown.
ANY_ROWS = 100_000
BYTES_PER_ROW = 4
"""A file may have `ANY_ROWS` rows, plus one row for each `BYTES_PER_ROW` bytes of its size."""
ANY_BYTES = 256 << 20
GROWTH = 200
"""A column may take `ANY_BYTES` of memory, plus `GROWTH` bytes for each byte of the file."""
ENCODINGS = frozenset({"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED"})
"""The encodings whose decoded size is known. With others, a text can be encoded as a copy of the
text before it."""


@contextmanager
def open_rows(
    path: Path, schema: pa.Schema, dictionaries: Collection[str] = (), rows: int = 0
) -> Iterator[pq.ParquetFile]:
    """Open a file of rows that has the columns of `schema`, except perhaps those of
    `columns.ADDED`.

    `dictionaries` are the text columns that stay dictionary-encoded. The file may have at least
    `rows` rows, those of the file to which it belongs, even if it is very small. Raise OSError if
    the path is not a regular file. Raise pyarrow.ArrowException if it is not a Parquet file, or not
    such a table.
    """
    import pyarrow.parquet as pq

    with open_file(path) as opened:
        size = os.fstat(opened.fileno()).st_size
    # Arrow rejects the surrogates of file names that are not UTF-8
    with pa.OSFile(os.fsencode(path)) as file:
        try:
            table = pq.ParquetFile(file)
        except UnicodeDecodeError:
            raise pa.ArrowInvalid(f"a name in {path.name} is not UTF-8") from None
        metadata = table.metadata
        if metadata.num_rows > max(rows, ANY_ROWS + size // BYTES_PER_ROW):
            raise pa.ArrowInvalid(
                f"{path.name} has {metadata.num_rows:,} rows in {size:,} bytes, which is impossible"
                " for a run"
            )
        if encoded := [name for name in metadata.schema.names if name in dictionaries]:
            table = pq.ParquetFile(file, metadata=metadata, read_dictionary=encoded)
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        column_indexes = {
            metadata.schema.column(index).path: index for index in range(metadata.num_columns)
        }
        file_schema = table.schema_arrow
        for field in _in_file(schema, file_schema.names):
            _check_type(path, file_schema, field)
            chunks = [group.column(column_indexes[field.name]) for group in groups]
            is_text = pa.types.is_string(field.type) and field.name not in encoded
            if not _is_of_size(
                path, file, metadata, field.name, chunks, ANY_BYTES + GROWTH * size, is_text=is_text
            ):
                raise pa.ArrowInvalid(
                    f"the column {field.name} of {path.name} is too large for a run"
                )
        yield table


def _in_file(schema: pa.Schema, names: Collection[str]) -> pa.Schema:
    """Return the columns to read from a file that has the columns `names`: without those of
    `columns.ADDED` that it lacks, but with the texts of causes in its rows of an earlier version.
    """
    has_texts = CAUSE in schema.names and CAUSE not in names and EARLIER_CAUSE in names
    texts = [pa.field(EARLIER_CAUSE, pa.string())] if has_texts else []
    added = columns.ADDED.difference(names)
    return pa.schema([*(field for field in schema if field.name not in added), *texts])


def _check_type(path: Path, file_schema: pa.Schema, field: pa.Field) -> None:
    """Check that the file has the column exactly once, with the type of `field`. Raise
    pyarrow.ArrowInvalid if not.
    """
    indexes = file_schema.get_all_field_indices(field.name)
    if not indexes:
        raise pa.ArrowInvalid(f"{path.name} has no column {field.name}")
    if len(indexes) > 1:
        raise pa.ArrowInvalid(f"{path.name} has the column {field.name} twice")
    stored_type = file_schema.field(indexes[0]).type
    stored_type = stored_type.value_type if pa.types.is_dictionary(stored_type) else stored_type
    if stored_type != field.type:
        raise pa.ArrowInvalid(
            f"the column {field.name} of {path.name} is {stored_type}, but must be {field.type}"
        )


def _is_of_size(
    path: Path,
    file: pa.OSFile,
    metadata: pq.FileMetaData,
    name: str,
    chunks: list[pq.ColumnChunkMetaData],
    max_bytes: int,
    *,
    is_text: bool,
) -> bool:
    """Return whether a column takes at most `max_bytes` bytes in memory. Raise pyarrow.ArrowInvalid
    if that is unknown.

    Rows may share a text in the file, but not in memory. Texts are read only if their copies may be
    too large.
    """
    if other := {encoding for chunk in chunks for encoding in chunk.encodings} - ENCODINGS:
        raise pa.ArrowInvalid(
            f"the column {name} of {path.name} has the unsupported encoding {min(other)}"
        )
    if sum(chunk.total_uncompressed_size for chunk in chunks) > max_bytes:
        return False
    longest = (
        c.total_uncompressed_size * (c.num_values if c.has_dictionary_page else 1) for c in chunks
    )
    if not is_text or sum(longest) <= max_bytes:
        return True
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(file, metadata=metadata, read_dictionary=[name]) as table:
        for group in range(metadata.num_row_groups):
            for texts in table.read_row_group(group, [name]).column(0).chunks:
                lengths = pc.binary_length(texts.dictionary).cast(pa.int64())
                max_bytes -= pc.sum(lengths.take(texts.indices)).as_py() or 0
            if max_bytes < 0:
                return False
    return True


# Names and schemas. One table has several files if a part of its columns is rarely needed. Both
# come from `bench.catalogue.columns`, so a new column needs no change here.
BLOCK_NS = 120 * NS_PER_S
"""The duration of a block of a run. Pairs of sessions that started in the same block had similar
conditions."""
TableName = Literal["turns", "sessions", "seconds"]
ReadRows = Callable[[TableName, list[str]], pa.Table]
SMALL_BYTES = 4 << 20
"""The maximum size of a table that is read completely at once: about twenty thousand turns in
Parquet."""

TYPES: dict[ColumnKind, pa.DataType] = {
    "label": pa.string(),
    "text": pa.string(),
    "whole": pa.int64(),
    "number": pa.float64(),
    "flag": pa.bool_(),
}
TABLES: dict[TableName, tuple[columns.ColumnGroup, ...]] = {
    "turns": columns.TURNS,
    "sessions": columns.SESSIONS,
    "seconds": columns.SECONDS,
}
SCHEMAS: dict[TableName, pa.Schema] = {
    name: pa.schema([(column, TYPES[group.kind]) for group in table for column in group.names])
    for name, table in TABLES.items()
}
BOUNDS_FILE = "uncertainty.parquet"
STORED: dict[TableName, dict[str, pa.Schema]] = {
    "turns": {
        "uncertainty": pa.schema(
            [SCHEMAS["turns"].field(name) for name in (*TURN_KEYS, *UNCERTAINTY_COLUMNS)]
        ),
        "turns": pa.schema(
            [field for field in SCHEMAS["turns"] if field.name not in UNCERTAINTY_COLUMNS]
        ),
    },
    "sessions": {"sessions": SCHEMAS["sessions"]},
    "seconds": {"seconds": SCHEMAS["seconds"]},
}
"""The Parquet files of each table. All files of a table are written from the same batches.

The file with the table's name appears last. So if `turns.parquet` exists, `uncertainty.parquet`
exists, too. Rows in the spool contain all columns. Therefore a crash cannot separate a row from its
uncertainty.
"""


def create(parent: Path, scenario: str, started_utc_ns: int) -> Path:
    """Create the folder of a new run, with an empty spool. Raise UsageError if it cannot be
    written.
    """
    folder = create_named(parent, scenario, started_utc_ns)
    with _writing_to(parent):
        spool.prepare(folder)
    return folder


def create_named(parent: Path, name: str, started_utc_ns: int) -> Path:
    """Create a new, unique folder `<UTC time>-<name>[-2…]`. Raise UsageError if that fails."""
    timestamp = datetime.fromtimestamp(started_utc_ns / NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ")
    make_parent(parent)
    with _writing_to(parent):
        for suffix in chain([""], map("-{}".format, count(2))):
            folder = parent / f"{timestamp}-{name}{suffix}"
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
    raise AssertionError("unreachable: names are endless")


def make_parent(parent: Path) -> None:
    """Create the folder for run folders. Raise UsageError if it cannot be created or written to."""
    with _writing_to(parent):
        parent.mkdir(parents=True, exist_ok=True)
        if not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def _writing_to(parent: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write runs to {parent}: {error.strerror}; set another folder with --runs-dir"
        ) from None


def read_document(folder: Path) -> dict[str, Any]:
    """Read run.json. Raise UsageError if the folder is not a run, or has a format that this
    version does not read.
    """
    try:
        document = read_json(read_file(folder / "run.json"))
    except FileNotFoundError:
        raise UsageError(not_a_run(folder)) from None
    except (OSError, JsonError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{folder / 'run.json'} cannot be read: {reason}") from None
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise UsageError(
            f"{folder / 'run.json'} is not the run.json of a run: it has no schema version"
        )
    if document["schema"] != SCHEMA_VERSION:
        writer = (
            "a newer rtbench"
            if document["schema"] > SCHEMA_VERSION
            else "an rtbench from before its first release"
        )
        raise UsageError(
            f"{folder} was written by {writer}: its format is {document['schema']}, but this"
            f" version reads {SCHEMA_VERSION}; use the version that wrote it"
        )
    return document


def write_document(folder: Path, document: dict[str, Any]) -> None:
    """Replace run.json atomically: a reader gets either the old document or the new document,
    complete.
    """
    replace_text(folder / "run.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def histograms_path(folder: Path) -> Path:
    return folder / "histograms.hlog"


def spooled_batches(folder: Path, table: TableName) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table that the workers have written so far. The run is not finalized
    yet.
    """
    return (batch for part in parts(folder) for batch in part.batches(table, SCHEMAS[table]))


def read_table(
    folder: Path,
    table: TableName,
    columns: list[str] | None = None,
    *,
    dictionaries: Collection[str] = (),
) -> pa.Table:
    """Read a table, from the spool if the run is not finalized. `dictionaries` are as in
    `open_rows`.
    """
    path = folder / f"{table}.parquet"
    schema = (
        SCHEMAS[table]
        if columns is None
        else pa.schema([SCHEMAS[table].field(name) for name in columns])
    )
    if path.exists():
        return _stored(folder, table, schema, dictionaries)
    batches = (batch.select(schema.names) for batch in spooled_batches(folder, table))
    return pa.concat_tables([schema.empty_table(), *grouped(batches)])


def row_reader(folder: Path) -> ReadRows:
    """Return a function that reads columns of a run. It reads a small table only once, and keeps
    it in memory.
    """
    small = {}

    def read(table: TableName, columns: list[str]) -> pa.Table:
        if table not in small:
            path = folder / f"{table}.parquet"
            size = (
                path.stat().st_size
                if path.exists()
                else sum(part.size_bytes(table) for part in parts(folder))
            )
            if size > SMALL_BYTES:
                return read_table(folder, table, columns)
            small[table] = read_table(folder, table)
        return small[table].select(columns)

    return read


def _stored(
    folder: Path, table: TableName, schema: pa.Schema, dictionaries: Collection[str]
) -> pa.Table:
    """Read columns from Parquet. If the uncertainties are unknown, their columns are null.

    One thread reads the file: several threads take 60 MB more for a million turns, and are hardly
    faster. Columns without values are not read: most columns of a run have none, and to decode
    their nulls takes as long as the rest.
    """
    main_schema, uncertainties = _by_file(table, schema)
    with open_rows(folder / f"{table}.parquet", main_schema, dictionaries) as file:
        rows = _valued(file, main_schema)
        number = file.metadata.num_rows
    if not uncertainties.names:
        return rows
    if no_uncertainty(folder):
        others = pa.table(
            [pa.nulls(number, kind) for kind in uncertainties.types], schema=uncertainties
        )
    else:
        with open_rows(folder / BOUNDS_FILE, uncertainties, rows=number) as file:
            others = _valued(file, uncertainties)
    return pa.table(
        [(rows if name in main_schema.names else others)[name] for name in schema.names],
        names=schema.names,
    )


def _valued(file: pq.ParquetFile, schema: pa.Schema) -> pa.Table:
    """Read the columns of a file that have values. The others, and those that the file lacks,
    are null.
    """
    number = file.metadata.num_rows
    file_names = file.schema_arrow.names
    groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
    in_file = [
        name
        for name in _in_file(schema, file_names).names
        if _has_values([group.column(file_names.index(name)) for group in groups])
    ]
    read = file.read(in_file, use_threads=False)
    if EARLIER_CAUSE in in_file:
        read = with_added(read, pa.schema([schema.field(CAUSE)]))
    names = read.column_names
    nulls = {
        kind: pa.nulls(number, kind)
        for kind in {field.type for field in schema if field.name not in names}
    }
    arrays = [read[field.name] if field.name in names else nulls[field.type] for field in schema]
    return pa.table(arrays, names=schema.names)


def _has_values(chunks: Iterable[pq.ColumnChunkMetaData]) -> bool:
    """Return False if a column has only nulls, by the statistics of its chunks."""
    for chunk in chunks:
        known = chunk.statistics if chunk.is_stats_set else None
        if known is None or not known.has_null_count or known.null_count < chunk.num_values:
            return True
    return False


def stored_batches(
    folder: Path, table: TableName, columns: Sequence[str], max_rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a finalized run in batches of at most `max_rows`. Raise OSError or
    pyarrow.ArrowException.
    """
    main_schema, uncertainties = _by_file(
        table, pa.schema([SCHEMAS[table].field(name) for name in columns])
    )
    with ExitStack() as files:
        file = files.enter_context(open_rows(folder / f"{table}.parquet", main_schema))
        in_file = _in_file(main_schema, file.schema_arrow.names).names
        stored = file.iter_batches(max_rows, columns=in_file)
        batches: Iterator[pa.RecordBatch] = (with_added(batch, main_schema) for batch in stored)
        if uncertainties.names and no_uncertainty(folder):
            nulls = pa.record_batch(
                [pa.nulls(max_rows, kind) for kind in uncertainties.types], schema=uncertainties
            )
            batches = _side_by_side(batches, repeat(nulls))
        elif uncertainties.names:
            number = file.metadata.num_rows
            file = files.enter_context(open_rows(folder / BOUNDS_FILE, uncertainties, rows=number))
            bounds = file.iter_batches(max_rows, columns=uncertainties.names)
            batches = _side_by_side(batches, (with_added(batch, uncertainties) for batch in bounds))
        for batch in batches:
            yield batch.select(columns)


def _side_by_side(
    batches: Iterator[pa.RecordBatch], others: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Join the columns of two sequences of batches. Both sequences have the same rows; their
    batch sizes may differ.
    """
    buffered = None
    for batch in batches:
        while buffered is None or len(buffered) < len(batch):
            more = pa.Table.from_batches([next(others)])
            buffered = more if buffered is None else pa.concat_tables([buffered, more])
        rows = buffered.slice(0, len(batch)).combine_chunks()
        buffered = buffered.slice(len(batch))
        columns = [*batch.columns, *(column.chunk(0) for column in rows.columns)]
        yield pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, *rows.column_names])


def _by_file(table: TableName, schema: pa.Schema) -> tuple[pa.Schema, pa.Schema]:
    """Split columns of a table by file: those of the table's main file, and those of the file
    with uncertainties.
    """
    uncertainties = set(UNCERTAINTY_COLUMNS if table == "turns" else ()).intersection(schema.names)
    main_fields = [field for field in schema if field.name not in uncertainties]
    return pa.schema(main_fields), pa.schema(
        [field for field in schema if field.name in uncertainties]
    )


def no_uncertainty(folder: Path) -> str:
    """Return the reason why the timestamp uncertainty of a finalized run's turns is unknown; ""
    if it is known.
    """
    files = tuple(folder / name for name in ("turns.parquet", BOUNDS_FILE))
    stats = [file.stat() if file.exists() else None for file in files]
    file_states = tuple(stat and (stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)
    return _unfit_uncertainty(*files, file_states) if stats[0] else ""


# a reader that reads a table for one metric after another calls this function each time
@lru_cache(8)
def _unfit_uncertainty(turns: Path, uncertainty: Path, _: object) -> str:
    keys = pa.schema([SCHEMAS["turns"].field(name) for name in TURN_KEYS])
    with open_rows(turns, keys) as file:
        rows = file.read(keys.names)
    try:
        with open_rows(uncertainty, STORED["turns"]["uncertainty"], rows=len(rows)) as file:
            is_same = rows.equals(file.read(keys.names))
    except FileNotFoundError:
        return f"it has no {BOUNDS_FILE}"
    except (pa.ArrowException, OSError) as error:
        return f"its {BOUNDS_FILE} cannot be read: {str(error).splitlines()[0]:.200}"
    return "" if is_same else f"the rows of its {BOUNDS_FILE} do not match its turns"


def read_values(folder: Path, table: TableName, column: str, indexes: Sequence[int]) -> list[Any]:
    """Return the values of a column in these rows of a finalized run. Only the row groups with
    these rows are read.
    """
    schema = pa.schema([SCHEMAS[table].field(column)])
    with open_rows(folder / f"{table}.parquet", schema) as file:
        ends = list(
            accumulate(
                file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)
            )
        )
        values: dict[int, Any] = {}
        for group, group_indexes in groupby(
            sorted(indexes), lambda index: bisect_right(ends, index)
        ):
            in_file = _in_file(schema, file.schema_arrow.names).names
            rows = with_added(file.read_row_group(group, in_file), schema).column(column)
            values |= {index: rows[index - ends[group]].as_py() for index in group_indexes}
    return [values[index] for index in indexes]


def grouped(batches: Iterable[pa.RecordBatch], rows: int = 50_000) -> Iterator[pa.Table]:
    """Join small batches into tables of about `rows` rows.

    Parquet works better with large batches, and one column in use keeps the memory of its whole
    batch allocated.
    """
    buffered = []
    for batch in batches:
        buffered.append(batch)
        if sum(map(len, buffered)) >= rows:
            yield pa.Table.from_batches(buffered).combine_chunks()
            buffered = []
    if buffered:
        yield pa.Table.from_batches(buffered).combine_chunks()
