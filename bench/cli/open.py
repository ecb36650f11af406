"""`rtbench open [RUN]`: the page of a run in the browser, of the newest one where none is named."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from bench.plain import printable


def open_run(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="a run by its name or its folder; the newest by default")
    ] = "",
    folder: Annotated[
        Path, typer.Option("--runs", metavar="FOLDER", help="where runs are kept", envvar="LOCUST_RUNS")
    ] = Path("runs"),
) -> None:
    """Open a run's report.html in the browser; where there is none, its path says where it is.

    A run that has no page yet, as it was killed, gets its report first. The last line is the path.
    """
    from bench.errors import UsageError
    from bench.run.close import is_under_way
    from bench.run.folder import read_document
    from bench.run.kept import named_run, newest_run

    path = named_run(run, folder) if run else newest_run(folder)
    page = path / "report.html"
    if not page.exists():
        if is_under_way(path, read_document(path)):
            raise UsageError(
                f"{path} is under way, and has no page yet: run `rtbench report` to make one of what is there"
            )
        from bench.cli.report import summarised
        from reports import render

        render.write(summarised(path))
    webbrowser.open(page.resolve().as_uri())
    print(printable(str(page)))
