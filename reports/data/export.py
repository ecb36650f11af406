"""The export of a run, such as `export(run, "csv")`: its tables with their metrics, or its
histograms, as files.

An existing file is replaced only on request, and atomically. The files of the run itself are never
replaced. Rows are read a few thousand at a time. A file has the stored columns first, then the
derived columns. A NaN in a frame becomes a null in a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.catalogue.columns import LABELS
from bench.files.safe_io import fresh_beside, read_file
from bench.record import histograms as hdr
from bench.record.folder import (
    SCHEMAS,
    TableName,
    grouped,
    histograms_path,
    read_document,
    read_table,
    spooled_batches,
    stored_batches,
)
from reports.data.runs import read_histograms, session_frame, turn_frame

Format = Literal["csv", "parquet"]
_FORMULA = r"^([=+\-@\t\r])"
ROW_GROUP = 131_072
"""The number of rows in a row group of Parquet. Smaller groups would compress badly, and would
be slow to read."""


def write_table(path: Path, form: Format, schema: pa.Schema, pieces: Iterable[pa.Table]) -> int:
    """Write a file, and return its number of rows. Parquet is compressed with zstd.

    CSV is UTF-8 with a header. Texts are in quotes; numbers and true/false are not. Null is an
    empty cell, and an empty text is `""`. A text that a spreadsheet would compute as a formula gets
    a leading `'`, because some texts come from services and from files that others wrote.
    """
    count = 0
    open_writer = (
        pa_csv.CSVWriter if form == "csv" else partial(pq.ParquetWriter, compression="zstd")
    )
    with path.open("wb") as file, open_writer(file, schema) as writer:
        for chunk in map(_without_formulas, pieces) if form == "csv" else _row_groups(pieces):
            writer.write_table(chunk)
            count += len(chunk)
    return count


def _without_formulas(piece: pa.Table) -> pa.Table:
    """Put a `'` before texts that start with `= + - @`, tab, or CR. Spreadsheets would compute
    them as formulas.
    """
    for number, field in enumerate(piece.schema):
        if pa.types.is_string(field.type):
            text = pc.replace_substring_regex(piece.column(number), _FORMULA, r"'\1")
            piece = piece.set_column(number, field, text)
    return piece


def _row_groups(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    group: list[pa.Table] = []
    for piece in pieces:
        group.append(piece)
        if sum(map(len, group)) >= ROW_GROUP:
            yield pa.concat_tables(group)
            group = []
    if group:
        yield pa.concat_tables(group)


AT_ONCE = 8192
"""The number of rows that are processed together. As text, they take about 25 MB."""
DERIVE: dict[TableName, Callable[[pa.Table], pd.DataFrame]] = {
    "turns": turn_frame,
    "sessions": session_frame,
}
"""For each table, the function that derives its metrics; the table `seconds` has no metrics."""
NO_LOG = {"start", "measured"}
"""The derived columns that are not exported, because the exported columns `start_utc_ns` and
`phase` have the same facts."""


@cache
def export_schema(table: TableName) -> pa.Schema:
    """Return the exported columns of a table with their types: the stored columns, then the
    derived columns.
    """
    empty = SCHEMAS[table].empty_table()
    return (
        SCHEMAS[table]
        if table not in DERIVE
        else pa.schema([*SCHEMAS[table], *_derived(empty, table).schema])
    )


def rows(folder: Path, table: TableName) -> Iterator[pa.Table]:
    """Yield the rows of a table with its derived columns. The run may still be in progress. Raise
    OSError or ArrowException if the rows cannot be read.
    """
    for piece in _stored(folder, table):
        if table in DERIVE:
            derived = _derived(piece, table)
            for name in derived.column_names:
                piece = piece.append_column(derived.schema.field(name), derived[name])
        yield piece


def _derived(piece: pa.Table, table: TableName) -> pa.Table:
    """Return the derived columns of these rows: the columns of their frame that are not stored."""
    used = [
        field.name
        for field in piece.schema
        if not pa.types.is_string(field.type) or field.name in LABELS
    ]
    # the frame consumes its table, so it gets a table of its own
    frame = DERIVE[table](pa.table(piece.select(used).columns, names=used))
    columns = {
        str(name): frame[name] for name in frame.columns.difference(piece.column_names, sort=False)
    }
    return pa.table(
        {name: _array(column, name) for name, column in columns.items() if name not in NO_LOG}
    )


def _array(column: pd.Series[float], name: str) -> pa.Array:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pa.array(column.astype(object), pa.string())
    values = column.to_numpy(float)
    kind = pa.int64() if name.endswith("_ns") else pa.float64()
    return pa.array(values, pa.float64(), from_pandas=True).cast(kind)


def _stored(folder: Path, table: TableName) -> Iterator[pa.Table]:
    """Yield the rows of a table with all stored columns. They are read from Parquet if it exists,
    otherwise from the spool, which has one batch for each second and worker.
    """
    if (folder / f"{table}.parquet").exists():
        batches = stored_batches(folder, table, SCHEMAS[table].names, AT_ONCE)
    else:
        batches = spooled_batches(folder, table)
    for group in grouped(batches, AT_ONCE):
        for first in range(0, len(group), AT_ONCE):
            yield group.slice(first, AT_ONCE)


AS_IT_IS = "surrogateescape"
"""The name of the error handler by which bytes that are not valid UTF-8 are copied unchanged."""


def write_log(path: Path, folder: Path, metric: str | None) -> int:
    """Write the histogram log, or only the lines of one metric. Return the number of histograms.
    Raise UsageError if `metric` is given and the log has no histogram of it.
    """
    lines = list(_lines(folder))
    metrics = [_metric_of(line) for line in lines if line.startswith("Tag=")]
    if metric is not None:
        if metric not in metrics:
            metric_names = ", ".join(sorted(set(metrics)))
            raise UsageError(
                f"{folder} has no histogram of {metric}; it has {metric_names or 'none'}"
            )
        lines = [
            line for line in lines if not line.startswith("Tag=") or _metric_of(line) == metric
        ]
    path.write_text("".join(lines), encoding="utf-8", errors=AS_IT_IS, newline="")
    return len(metrics) if metric is None else metrics.count(metric)


def _metric_of(line: str) -> str:
    """Return the metric of a log line that starts with `Tag=metric|target|step|phase,…`."""
    return line.removeprefix("Tag=").partition("|")[0]


def _lines(folder: Path) -> Iterator[str]:
    """Yield the lines of the run's final log. If the run has no final log yet, make the lines
    from its data so far.
    """
    final = histograms_path(folder)
    if final.exists():
        yield from read_file(final).decode("utf-8", AS_IT_IS).splitlines(keepends=True)
        return
    document = read_document(folder)
    began_ns = int(document["started_utc_ns"])
    last_s = pc.max(read_table(folder, "seconds", ["second"])["second"]).as_py()
    ended_ns = began_ns if last_s is None else (last_s + 1) * NS_PER_S
    columns = (read_table(folder, table, ["simulated"])["simulated"] for table in SCHEMAS)
    simulated = bool(document.get("simulated")) or any(pc.any(column).as_py() for column in columns)
    yield from hdr.header(began_ns, simulated=simulated).splitlines(keepends=True)
    yield from read_histograms(folder, document).lines(began_ns, ended_ns)


FOLDER = "export"
LOG = "histograms.hlog"
TABLES: tuple[TableName, ...] = tuple(SCHEMAS)


@dataclass(frozen=True)
class ExportedFile:
    """An exported file, and its number of rows, histograms or bytes."""

    path: Path
    count: int
    what: Literal["rows", "histograms", "bytes"]


def export_tables(
    folder: Path, form: Format, out: Path | None = None, *, force: bool = False
) -> list[ExportedFile]:
    """Write the tables with their metrics into the folder `out`, by default the folder `export` of
    the run. Raise UsageError if the folder is no run, if a file cannot be written, or if a file
    exists already and `force` is False.
    """
    out_folder = output_folder(folder, out, [f"{table}.{form}" for table in TABLES], force=force)
    files = []
    for table in TABLES:
        path = out_folder / f"{table}.{form}"
        write = partial(
            write_table, form=form, schema=export_schema(table), pieces=rows(folder, table)
        )
        files.append(ExportedFile(path, write_file(folder, path, write), "rows"))
    return files


def export_log(
    folder: Path, out: Path | None, metric: str | None = None, *, force: bool = False
) -> ExportedFile:
    """Write the histograms, or only those of `metric`. Raise UsageError as `export_tables` does."""
    path = output_folder(folder, out, [LOG], force=force) / LOG
    return ExportedFile(
        path,
        write_file(folder, path, partial(write_log, folder=folder, metric=metric)),
        "histograms",
    )


def output_folder(folder: Path, out: Path | None, names: Sequence[str], *, force: bool) -> Path:
    """Create the output folder and return it. `names` is the names of the files to write there.
    Raise UsageError if it is a run folder or cannot be written, or if one of the files exists and
    `force` is False.
    """
    read_document(folder)
    out_folder = out or folder / FOLDER
    if out is None and out_folder.is_symlink():
        raise UsageError(f"{out_folder} is a symbolic link: choose another folder with --out")
    try:
        if (out_folder / "run.json").exists():
            raise UsageError(
                f"{out_folder} is a run folder, which has files of these names; choose another"
                " folder with --out"
            )
        existing = [path for name in names if (path := out_folder / name).exists()]
        if existing and not force:
            raise UsageError(
                f"{existing[0]} exists already; overwrite it with --force, or choose another folder"
                " with --out"
            )
        out_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{out_folder} cannot be written: {error.strerror}; choose another folder with --out"
        ) from None
    return out_folder


def write_file(folder: Path, path: Path, write: Callable[[Path], int]) -> int:
    try:
        fresh = fresh_beside(path)
        try:
            count = write(fresh)
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    except (pa.ArrowException, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(f"{path} cannot be exported from {folder}: {reason}") from None
    return count
