"""`export(run, "csv")`: the tables of a run, or its histograms, as files of one format in a folder.

Each file is written beside its place and put there in one step. Nothing is overwritten unless that is asked for, and
never a file of a run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from bench.errors import UsageError
from bench.run import folder as run_folder
from bench.run.folder import SCHEMAS, TableName
from reports.export.formats import SUFFIXES, WRITERS, Format
from reports.export.logs import write_log
from reports.export.rows import rows, schema_of

FOLDER = "export"
LOG = "histograms.hlog"
TABLES: tuple[TableName, ...] = tuple(SCHEMAS)


@dataclass(frozen=True)
class Written:
    """One file, and how many rows, or histograms, are in it."""

    path: Path
    count: int
    what: Literal["rows", "histograms"]


def export_tables(
    folder: Path, form: Format, out: Path | None = None, tables: Sequence[TableName] = TABLES, *, force: bool = False
) -> list[Written]:
    """Write tables with their measures into `out`, by default the folder `export` in the run's own.

    Raises UsageError where the folder is no run, a file is there already and `force` is not said, or it cannot be
    written.
    """
    wanted = dict.fromkeys(tables)
    paths = {table: f"{table}.{SUFFIXES[form]}" for table in wanted}
    place = _place(folder, out, list(paths.values()), force=force)

    def writing(table: TableName) -> Callable[[Path], int]:
        return lambda path: WRITERS[form](path, schema_of(table), rows(folder, table))

    return [
        Written(place / name, _write(folder, place / name, writing(table)), "rows") for table, name in paths.items()
    ]


def export_log(folder: Path, out: Path | None = None, measure: str | None = None, *, force: bool = False) -> Written:
    """Write the histograms, of one measure alone if it is named. Raises UsageError as `export_tables` does."""
    path = _place(folder, out, [LOG], force=force) / LOG
    return Written(path, _write(folder, path, lambda fresh: write_log(fresh, folder, measure)), "histograms")


def _place(folder: Path, out: Path | None, names: Sequence[str], *, force: bool) -> Path:
    """The folder to write to, made and looked at before anything is written."""
    run_folder.read_document(folder)
    place = out or folder / FOLDER
    if out is None and place.is_symlink():
        raise UsageError(f"{place} is a link, which may lead anywhere: choose another folder with --out")
    try:
        if (place / "run.json").exists():
            raise UsageError(f"{place} is a run's own folder, whose files have these names; choose another --out")
        there = [name for name in names if (place / name).exists()]
        if there and not force:
            raise UsageError(f"{place / there[0]} exists already; --force overwrites it, --out writes elsewhere")
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}; choose another folder with --out") from None
    return place


def _write(folder: Path, path: Path, write: Callable[[Path], int]) -> int:
    fresh = path.with_name(path.name + ".new")
    try:
        count = write(fresh)
        os.replace(fresh, path)
    except (pa.ArrowException, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(f"{path} cannot be made of {folder}: {reason}") from None
    finally:
        fresh.unlink(missing_ok=True)
    return count
