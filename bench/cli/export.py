"""`rtbench export RUN --format csv|parquet|json|hlog`: a run's rows or histograms for other tools."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from bench.errors import UsageError
from bench.plain import printable

if TYPE_CHECKING:
    from reports.export.formats import Format


class Form(StrEnum):
    """What is written."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"
    HLOG = "hlog"


class TableChoice(StrEnum):
    """A table of the run folder."""

    TURNS = "turns"
    SESSIONS = "sessions"
    SECONDS = "seconds"


def export(
    run: Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)],
    form: Annotated[
        Form,
        typer.Option(
            "--format", help="Write rows as CSV, Parquet or JSON lines, or the histograms.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write to this folder (default: export in the run's folder).")
    ] = None,
    table: Annotated[
        list[TableChoice] | None, typer.Option(help="Write only this table; may be repeated (default: all).")
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With hlog: write only the histograms of this measure, such as ttfa."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what an earlier export wrote.")] = False,
) -> None:
    """Write a run's rows with their measures, or its histograms, as files for other tools.

    Says what it wrote, a line per file. A run that was killed is closed first; of one that is under way, it writes what
    is there so far.
    """
    from bench.cli.report import close_if_left
    from bench.run.folder import read_document
    from reports.export.export import TABLES, export_log, export_tables

    _refuse_mixture(form, table, measure)
    close_if_left(run, read_document(run))
    if form is Form.HLOG:
        written = [export_log(run, out, measure, force=force)]
    else:
        tables = [name for name in TABLES if not table or name in table]
        written = export_tables(run, cast("Format", form.value), out, tables, force=force)
    for one in written:
        sys.stdout.write(f"{printable(str(one.path))}  {one.count:,} {one.what}\n")


def _refuse_mixture(form: Form, table: list[TableChoice] | None, measure: str | None) -> None:
    """Options that say nothing together."""
    from bench.measures import CATALOGUE

    if form is Form.HLOG and table:
        raise UsageError("--table goes with csv, parquet and json: histograms are of the whole run; leave it out")
    if form is not Form.HLOG and measure is not None:
        raise UsageError("--measure goes with --format hlog: rows have every measure; leave it out")
    if measure is not None and measure not in CATALOGUE:
        raise UsageError(f"there is no measure {measure}: docs/measures.md lists them")
