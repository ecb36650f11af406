"""The rows of a run with their derived measures, a few thousand at a time: memory does not grow with the run.

Stored columns come first, as they are stored; then the derived ones, as `reports.load` has them: `origin_at_ns`,
`outcome_class` and one `<measure>_ms` for each measure in ms. What is NaN in a frame is null here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.run import folder as run_folder
from bench.run.folder import SCHEMAS, TableName
from bench.run.parquet import opened
from reports.runs import REPEATING, session_frame, turn_frame

AT_ONCE = 8192
"""Rows; some 25 MB of them as text."""
DERIVE: dict[TableName, Callable[[pa.Table], pd.DataFrame]] = {"turns": turn_frame, "sessions": session_frame}
"""What derives the measures of a table; seconds have none."""
FRAMES_ALONE = {"start", "measured"}
"""Columns that repeat others in pandas' own types; `start_utc_ns` and `phase` say the same in any file."""


@cache
def schema_of(table: TableName) -> pa.Schema:
    """The columns that are exported, with their types: those that are stored, then those that are derived."""
    empty = SCHEMAS[table].empty_table()
    return SCHEMAS[table] if table not in DERIVE else pa.schema([*SCHEMAS[table], *_derived(empty, table).schema])


def rows(folder: Path, table: TableName) -> Iterator[pa.Table]:
    """The rows of a run that ended, is under way or was killed, in the order in which they were written.

    Raises OSError or pyarrow.ArrowException where the folder cannot be read.
    """
    for piece in _stored(folder, table):
        if table in DERIVE:
            derived = _derived(piece, table)
            for name in derived.column_names:
                piece = piece.append_column(derived.schema.field(name), derived[name])
        yield piece


def _derived(piece: pa.Table, table: TableName) -> pa.Table:
    """The columns that a frame has beyond the stored ones."""
    used = [field.name for field in piece.schema if not pa.types.is_string(field.type) or field.name in REPEATING]
    frame = DERIVE[table](pa.table(piece.select(used).columns, names=used))  # the frame takes its table apart
    columns = {str(name): frame[name] for name in frame.columns.difference(piece.column_names, sort=False)}
    return pa.table({name: _array(column, name) for name, column in columns.items() if name not in FRAMES_ALONE})


def _array(column: pd.Series[float], name: str) -> pa.Array:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pa.array(column.astype(object), pa.string())
    values = column.to_numpy(dtype=np.float64)
    kind = pa.int64() if name.endswith("_ns") else pa.float64()
    return pa.array(values, pa.float64(), from_pandas=True).cast(kind)


def _stored(folder: Path, table: TableName) -> Iterator[pa.Table]:
    """All stored columns, from Parquet after a clean end and from the spool before one."""
    path, schema = folder / f"{table}.parquet", SCHEMAS[table]
    batches = _parquet(path, schema) if path.exists() else run_folder.spooled_batches(folder, table)
    for held in _regrouped(batches):
        whole = pa.Table.from_batches(held).combine_chunks()
        for first in range(0, len(whole), AT_ONCE):
            yield whole.slice(first, AT_ONCE)


def _parquet(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """A column that an older version of this tool did not write is null."""
    with opened(path, schema) as (file, there):
        for batch in file.iter_batches(AT_ONCE, columns=there):
            columns = [batch[f.name] if f.name in there else pa.nulls(len(batch), f.type) for f in schema]
            yield pa.RecordBatch.from_arrays(
                [c.cast(f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
            )


def _regrouped(batches: Iterator[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """A spool has a batch a second and worker, often of a few rows: so many together that the work is worth it."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch)
        if count >= AT_ONCE:
            yield held
            held, count = [], 0
    if held:
        yield held
