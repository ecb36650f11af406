"""`rtbench history [FOLDER…]`: all runs of folders over time, as a page and a table, with the changes marked."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import INVALID_STATUS
from bench.plain import json_text, printable

RUNS = Path("runs")


def history(
    folder: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER", help="folders of runs or of stored baselines, or runs [default: runs]", show_default=False
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MEASURE",
            help="ttfa:p95, response_total:p50, failures, …; may be repeated [default: waits and failures]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="where to write the page [default: history.html in the first FOLDER]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the history as JSON, and write no page")] = False,
) -> None:
    """Show each figure over weeks, a point for each run and target, and mark where its level changed.

    Exit status 0: shown, whatever changed; 4: none of the runs may be used. The last line is the path of the page.
    """
    from reports.history.asked import asked
    from reports.history.history import history_of

    folders = folder or [RUNS]
    questions = [asked(text) for text in measure or ()]
    runs, stored = _found(folders)
    found = history_of(runs, stored, questions)
    if as_json:
        from reports.history.document import as_data

        print(json_text(as_data(found)))
    else:
        from bench.cli.report import wants_colour, width
        from reports.history.render import write
        from reports.history.text import terminal

        page = write(found, out or _beside(folders[0]))
        sys.stdout.write(f"{terminal(found, width(), colour=wants_colour())}{printable(str(page))}\n")
    if all(entry.unfit for entry in found.entries):
        raise typer.Exit(INVALID_STATUS)


def _found(folders: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """(run folders, folders of stored baselines). Raises UsageError where one of them is no folder."""
    from bench.run.kept import run_folders

    runs: list[Path] = []
    stored: list[Path] = []
    for folder in folders:
        inside = [folder] if (folder / "run.json").is_file() else sorted(run_folders(folder))
        runs += inside
        stored += [] if inside else [folder]
    return runs, stored


def _beside(folder: Path) -> Path:
    """A run's page would lie in its folder; that of many lies beside them."""
    return (folder.resolve().parent if (folder / "run.json").is_file() else folder) / "history.html"
