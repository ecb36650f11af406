"""`rtbench report` and `rtbench runs export`: a run as a report and as data; and how commands find
and finalize runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

from bench.base.errors import UsageError, see
from bench.base.standard_streams import print_notice, text_width
from bench.files.sanitize import escape_control
from bench.record.presence import (
    FOLDER,
    file_status,
    is_run,
    may_close,
    not_a_run,
    page_of,
    run_folders,
    runs_folder,
    written_by,
)
from rtbench.cli.options import argument, option

if TYPE_CHECKING:
    from reports.analysis.summary.summary import Summary
    from reports.render.blocks import Block, Page

RunName = Annotated[str, argument("Folder or name of a run (default: the newest).", "[RUN]")]
Explain = Annotated[
    bool, option("Also print what explains the error rates of the verdicts.", "--explain")
]
RunsFolder = Annotated[
    Path, option("Folder of the runs.", "--runs-dir", "FOLDER", envvar="LOCUST_RUNS_DIR")
]
COLOURLESS = ("dumb", "unknown")  # values of TERM


def run_with_name(name: str, runs_dir: Path | None = None) -> Path:
    """Return the folder of a run by its path, or by its name in the runs folder. Raise UsageError
    if there is none.

    If `name` is "", return the newest run, and print its folder on stderr.
    """
    if name and file_status(Path(name)):
        return Path(name)
    from bench.record.run_list import resolve_run

    run = resolve_run(name, runs_dir or runs_folder())
    if not name:
        print_notice(f"{escape_control(str(run))}, the newest run")
    return run


def without_other_folders(names: Sequence[str]) -> list[str]:
    """Return the names without folders of other commands, if several are named, as by a pattern of
    the shell.

    Print each of these folders with the command that opens it. The result has at least one name.
    """

    def is_other(folder: Path) -> bool:
        return not is_run(folder) and written_by(folder) is not None and not run_folders(folder)

    others = [name for name in names if is_other(Path(name))]
    if len(others) == len(names):
        return list(names)
    for name in others:
        print_notice(f"left out: {escape_control(not_a_run(Path(name)))}")
    return [name for name in names if name not in others]


def newest_valid_run() -> Path:
    """Return the folder of the newest valid run, or of the newest run if none is valid. Print it
    on stderr.
    """
    from bench.record.run_list import newest_run

    run = newest_run(runs_folder(), prefer_valid=True)
    newest = newest_run(runs_folder())
    noun = "the newest run" if run == newest else "the newest valid run"
    print_notice(f"{escape_control(str(run))}, {noun}")
    return run


def report(
    names: Annotated[
        list[str] | None, argument("Folder or name of a run (default: the newest).", "[RUN]")
    ] = None,
    only: Annotated[
        Literal["failed", "slow"] | None,
        option("Write only the failed, or the slow turns, for the service's support.", "--only"),
    ] = None,
    explain: Explain = False,
    is_open: Annotated[
        bool,
        option(
            "Open report.html, or the page or the folder of a search that is named, in the browser"
            " instead; without a browser, print its path.",
            "--open",
        ),
    ] = False,
    runs_dir: RunsFolder = FOLDER,
) -> None:
    """Write a run's report: report.html, report.md and summary.json in its folder, and print a
    summary.

    A run that was killed is finalized first. The last line is the path of report.html; the line
    before it has the verdict. `rtbench compare A B` shows how runs differ, and `rtbench trend`
    values over time.

    With --only, a page for a support case is written instead (report-failed.html and .md):
    these turns with their instants, IDs and errors as received. It contains no transcripts, no
    settings of sessions, and no credentials.

    `rtbench report --open RUN/compare.html` opens this page, and `rtbench report --open FOLDER` the
    page of a search, a comparison or a trend. A run without a report gets it first.
    """
    if is_open and not only and len(names or ()) < 2:
        _open(names[0] if names else "", runs_dir)
        return
    if is_open:
        raise UsageError("--open opens one page: name one run or page, and omit --only")
    runs = [run_with_name(name, runs_dir) for name in without_other_folders(names or [""])]
    if len(runs) > 1:
        named = " ".join(quote(str(run)) for run in runs[:2])
        raise UsageError(
            f"a report is about one run, but {len(runs)} are named: `rtbench compare {named}` shows"
            " how they differ, and `rtbench trend` values over time"
        )
    if only:
        _report_part(runs[0], only)
        return
    from reports.formatting import NBSP
    from reports.pages.run_report.document import write_report
    from reports.pages.run_report.report import run_page
    from reports.pages.thresholds import stored_check
    from reports.text.check_sentences import result_line
    from reports.text.sentences import run_essentials

    summary = summarise(runs[0])
    checked = stored_check(summary.run)
    page = run_page(summary, checked)
    is_valid = summary.validity.status == "valid"
    outcome = result_line(checked) if checked and is_valid else ""
    try:
        paths = write_report(summary, page)
    finally:
        print_page(page, explain=explain)
        print(run_essentials(summary, outcome).replace(NBSP, " "))
    print_path(paths.html)


def _open(name: str, runs_dir: Path) -> None:
    """Open the page with this name, or the report of the run with this name, and print its path."""
    from bench.record.folder import read_document
    from bench.record.run_list import resolve_run
    from bench.record.writers import is_under_way

    named = (Path(name), runs_dir / name) if name else ()
    pages = (path if path.suffix == ".html" and path.is_file() else page_of(path) for path in named)
    page = next(filter(None, pages), None)
    path = page.parent if page else resolve_run(name, runs_dir)
    page = page or path / "report.html"
    if not page.exists():
        if is_under_way(path, read_document(path)):
            raise UsageError(
                f"{path} is in progress and has no report yet: run `rtbench report {path}` for the"
                " rows so far"
            )
        from reports.pages.run_report.document import write_report

        write_report(summarise(path))
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        print("no browser was found, so nothing was opened:")
    print_path(page)


def _report_part(run: Path, part: Literal["failed", "slow"]) -> None:
    from reports.pages.run_report.support import support_page, write_support_page

    summary = summarise(run)
    page = support_page(summary, part)
    try:
        paths = write_support_page(summary, page, part)
    finally:
        print_page(page)
    for path in (paths.markdown, paths.html):
        print_path(path)


def summarise(run: Path) -> Summary:
    """Return the summary of a run. Finalize it first if its writer is gone, or lets this child
    process close it.
    """
    from reports.analysis.summary.summary import summarise
    from reports.data import runs

    close_if_left(run, by_writer=may_close(run))
    return summarise(runs.load_for_report(run))


def close_if_left(folder: Path, *, by_writer: bool = False) -> None:
    """Finalize a run if the process that wrote it is gone, or lets this child close it
    (`by_writer`).

    Raise UsageError if the folder is not a run.
    """
    from bench.record import spool
    from bench.record.folder import read_document

    document = read_document(folder)
    if not spool.is_stored(folder):
        return
    from bench.record import finalize, writers

    if by_writer or writers.writer_is_gone(folder, document):
        finalize.finalize(folder)


def wants_colour() -> bool:
    """Return whether to use colour: on a terminal, or with FORCE_COLOR, unless NO_COLOR or TERM
    forbids it.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in COLOURLESS:
        return False
    return sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))


def print_page(page: Page, *, explain: bool = False) -> None:
    """Print a page. `explain` adds what explains the error rates of its verdicts."""
    from reports.render.terminal import render_page

    sys.stdout.write(render_page(page, text_width(), colour=wants_colour(), explain=explain))


def print_blocks(groups: Iterable[Iterable[Block]], after: str = "") -> None:
    """Print groups of blocks, and a text after them."""
    from reports.render.terminal import render_lines

    sys.stdout.write(render_lines(groups, text_width(), wants_colour()) + after)


def print_path(path: Path) -> None:
    print(escape_control(str(path)))


def export(
    name: RunName = "",
    form: Annotated[
        Literal["csv", "parquet", "hlog", "svg", "png"],
        option("Rows as CSV or Parquet, the histograms, or the plots.", "--format"),
    ] = "csv",
    out: Annotated[
        Path | None, option("Write to this folder (default: export in the run's folder).", "FOLDER")
    ] = None,
    metric: Annotated[
        str | None,
        option("With hlog: write only the histograms of this metric, such as ttfa.", "NAME"),
    ] = None,
    force: Annotated[bool, option("Overwrite the files of an earlier export.")] = False,
) -> None:
    """Write a run's rows with their metrics, its histograms, or the plots of its report.

    Prints a line for each file that it wrote. A run that was killed is finalized first; of a run in
    progress, the rows so far are written.
    """
    from bench.catalogue.metrics import CATALOGUE
    from reports.analysis.summary.run_validity import validity_of
    from reports.data.export import export_log, export_tables
    from reports.data.runs import document_of

    if form != "hlog" and metric is not None:
        raise UsageError(
            "--metric needs --format hlog: rows contain every metric; leave --metric out"
        )
    if metric is not None and metric not in CATALOGUE:
        raise UsageError(f"unknown metric {metric}: {see('metrics')} lists the metrics")
    run = run_with_name(name)
    close_if_left(run)
    match form:
        case "hlog":
            files = [export_log(run, out, metric, force=force)]
        case "svg" | "png":
            from reports.pages.run_report.figure_files import export_figures

            files = export_figures(run, form, out, force=force)
        case _:
            files = export_tables(run, form, out, force=force)
    for file in files:
        print(f"{escape_control(str(file.path))}  {file.count:,} {file.what}")
    if validity_of(document_of(run)).status == "invalid":
        print_notice("the run is INVALID: do not use its values; the rows help to find the cause")
