"""`rtbench compare A B`: what differs between two runs, or between the targets of one, and how surely."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import INVALID_STATUS, UsageError
from bench.plain import printable


def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            help="runs, or targets of runs; the first is the baseline",
            metavar="RUN[:TARGET]",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="where to write compare.html, .md and .json (default: the last run's folder)", metavar="FOLDER"
        ),
    ] = None,
    level: Annotated[float, typer.Option(help="one-sided level of the verdicts")] = 0.05,
) -> None:
    """Compare runs, or the targets of one interleaved run: each figure's difference, its interval, a verdict.

    Exit status 0: compared, whatever the verdict (`rtbench check` decides by it); 4: no fair comparison, or no data.
    Runs that were killed are closed first. The last line is the path of compare.html.
    """
    if not 0 < level < 0.5:
        raise UsageError(f"--level must be between 0 and 0.5, such as 0.05, not {level:g}")
    from bench.cli.report import close_if_left, wants_colour, width
    from bench.run.folder import read_document
    from reports.compare import render, text
    from reports.compare.comparison import compared
    from reports.sides.named import folder_of
    from reports.sides.side import sides_of

    for folder in dict.fromkeys(folder_of(side) for side in sides):
        close_if_left(folder, read_document(folder))
    found = sides_of(sides)
    comparison = compared(found, level=level)
    paths = render.write(comparison, out or found[-1].run.folder)
    sys.stdout.write(text.terminal(comparison, width(), colour=wants_colour()))
    sys.stdout.write(f"{text.essentials(comparison)}\n{printable(str(paths.html))}\n")
    if comparison.status == INVALID_STATUS:
        raise typer.Exit(INVALID_STATUS)
