"""`rtbench report`, `rtbench export`: a run for people, its data for other tools; what a terminal can show."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from bench.errors import UsageError
from bench.manual import see
from bench.status_line import text_width
from bench.untrusted.sanitize import escape_control

if TYPE_CHECKING:
    from reports.export import Format
    from reports.summary.summary import Summary

FOLDER = Path("runs")
RunName = Annotated[
    str,
    typer.Argument(metavar="[RUN]", help="a run, by its folder or its name; the newest by default", show_default=False),
]
COLOURLESS = ("dumb", "unknown")
"""Terminals without colours, by TERM."""


def runs_folder() -> Path:
    """The folder in which runs are kept, as whoever starts them says."""
    return Path(os.environ.get("LOCUST_RUNS_DIR") or FOLDER)


def run_named(name: str) -> Path:
    """The folder of a run by its path, or by its name where runs are kept; the newest one for no name, which is told.

    Raises UsageError where there is none.
    """
    from bench.run.presence import file_status
    from bench.run.run_list import chosen_run

    if name and file_status(Path(name)):
        return Path(name)
    run = chosen_run(name, runs_folder())
    if not name:
        print(f"rtbench: {escape_control(str(run))}, the newest run", file=sys.stderr)
    return run


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...", help="runs, by their folders or names; the newest by default", show_default=False
        ),
    ] = None,
) -> None:
    """Write a run's report: report.html, report.md and summary.json in its folder, and print a summary.

    A run that was killed is closed first. The last line is the path of report.html; the one before it has the verdict.
    Of several runs each has its report written, and the terminal shows them in one table; nothing is pooled.
    """
    runs = [run_named(name) for name in names or [""]]
    if len(runs) > 1:
        _side_by_side(list(dict.fromkeys(runs)))
        return
    from reports.formatting import NBSP
    from reports.render.terminal import render_page
    from reports.run_report.report import run_page
    from reports.text.document import write_report
    from reports.wording.sentences import run_essentials

    summary = summarised(runs[0])
    page = run_page(summary)
    paths = write_report(summary, page)
    sys.stdout.write(render_page(page, text_width(), colour=wants_colour()))
    essentials = run_essentials(summary).replace(NBSP, " ")
    sys.stdout.write(f"{essentials}\n{escape_control(str(paths.html))}\n")


def _side_by_side(runs: list[Path]) -> None:
    """One run after the other: only the rows of the table are kept of each."""
    from bench.run.folder import read_document
    from reports.run_report.several_runs import rows_of, several
    from reports.text.document import write_report

    for run in runs:
        read_document(run)  # what is no run is said before anything is written
    rows, pages = [], list[Path]()
    for run in runs:
        summary = summarised(run)
        pages.append(write_report(summary).html)
        rows += rows_of(summary)
    sys.stdout.write(several(rows, pages, text_width()))


def summarised(run: Path) -> Summary:
    """The summary of a run, which is closed first where its writer is gone."""
    from reports import runs
    from reports.summary.summary import summarise

    close_if_left(run)
    return summarise(runs.load_for_report(run))


def close_if_left(folder: Path) -> None:
    """Give a run whose writer is gone the files of a clean end. One that is under way is read as it is.

    Raises UsageError for what is no run.
    """
    from bench.run import spool
    from bench.run.folder import read_document

    document = read_document(folder)
    if not spool.is_kept(folder):
        return
    from bench.run import finalize

    if finalize.writer_is_gone(folder, document):
        finalize.finalize(folder)


def wants_colour() -> bool:
    """Colour on a terminal, or where FORCE_COLOR says that one is behind; never with NO_COLOR, or where it has none."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in COLOURLESS:
        return False
    return sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))


class ReportFormat(StrEnum):
    """What is written."""

    CSV = "csv"
    PARQUET = "parquet"
    HLOG = "hlog"


def export(
    name: RunName = "",
    form: Annotated[
        ReportFormat, typer.Option("--format", help="Write rows as CSV or Parquet, or the histograms.")
    ] = ReportFormat.CSV,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write to this folder (default: export in the run's folder).")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With hlog: write only the histograms of this metric, such as ttfa."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what an earlier export wrote.")] = False,
) -> None:
    """Write a run's rows with their metrics, or its histograms, as files for other tools.

    Says what it wrote, a line per file. A run that was killed is closed first; of one that is under way, it writes what
    is there so far.
    """
    from bench.metrics import CATALOGUE
    from reports.export import export_log, export_tables
    from reports.runs import document_of
    from reports.summary.run_validity import validity_of

    if form is not ReportFormat.HLOG and metric is not None:
        raise UsageError("--metric goes with --format hlog: rows have every metric; leave it out")
    if metric is not None and metric not in CATALOGUE:
        raise UsageError(f"there is no metric {metric}: {see('metrics')} lists them")
    run = run_named(name)
    close_if_left(run)
    if form is ReportFormat.HLOG:
        written = [export_log(run, out, metric, force=force)]
    else:
        written = export_tables(run, cast("Format", form.value), out, force=force)
    for one in written:
        sys.stdout.write(f"{escape_control(str(one.path))}  {one.count:,} {one.what}\n")
    if validity_of(document_of(run)).status == "invalid":
        print("rtbench: the run is INVALID: do not use its values; the rows are for finding out why", file=sys.stderr)
