"""`rtbench reference`: the table of the reference workload, for values that are published."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.base.errors import INVALID_STATUS
from bench.base.standard_streams import text_width
from bench.files.sanitize import escape_control
from rtbench.cli.options import argument, option
from rtbench.cli.report import close_if_left, wants_colour
from rtbench.cli.verdicts import target_with_name


def reference(
    names: Annotated[
        list[str] | None, argument("Runs, or targets of runs (default: the newest run).", "[RUN[:TARGET]]...")
    ] = None,
    out: Annotated[
        Path | None, option("Where to write reference.html, .md and .json (default: the last run's folder).", "FOLDER")
    ] = None,
    link: Annotated[
        str | None,
        option(
            "Address of the folder in which the run folders are published (default: links are relative paths).", "URL"
        ),
    ] = None,
    digest: Annotated[
        bool, option("Only print the digest of each run's raw data, and write nothing.", "--digest")
    ] = False,
) -> None:
    """Make the table of the reference workload from runs of `rtbench run reference` and `reference-typed`.

    Each target of each run is a row. A target is not listed if its run is not VALID, has other scripts or settings than
    the workload, or is too small for p50 and p95. The reasons are printed.

    Exit status: 0 at least one target is listed; 4 none is. Runs that were killed are finalized first. The last line is
    the path of reference.html.
    """
    from reports.analysis.reference.run_digest import run_digest
    from reports.analysis.targets.named import split_name

    chosen = [split_name(target_with_name(name)) for name in names or [""]]
    folders = list(dict.fromkeys(folder for folder, _ in chosen))
    for folder in folders:
        close_if_left(folder)
    if digest:
        for folder in folders:
            print(f"{run_digest(folder)}  {escape_control(str(folder))}")
        return
    from reports.pages.reference.table import reference_table, write_table
    from reports.render.terminal import render_page

    page_folder = out or folders[-1]
    table = reference_table(chosen, page_folder, link)
    sys.stdout.write(render_page(table.page, text_width(), colour=wants_colour()))
    sys.stdout.write(f"{escape_control(str(write_table(table, page_folder).html))}\n")
    if not table.document.listed:
        raise typer.Exit(INVALID_STATUS)
