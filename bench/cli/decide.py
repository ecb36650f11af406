"""`rtbench decide RUN`: whether a comparison that was planned with looks is decided, and by which of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.report import close_if_left


def decide(
    run: Annotated[Path, typer.Argument(help="the folder of a run with --until-decided", show_default=False)],
) -> None:
    """Say whether a run that was started with --until-decided is decided, and how it came to that.

    Exit status: 0 every gate passes, 1 one regressed, 3 inconclusive or not decided yet, 4 invalid. Writes
    decision.json.
    """
    from bench.run.folder import read_document
    from reports.looks.decide import look_at
    from reports.looks.text import lines
    from reports.numbers import NBSP

    close_if_left(run, read_document(run))
    decision = look_at(run)
    for line in lines(decision):
        sys.stdout.write(line.replace(NBSP, " ") + "\n")
    if decision.status:
        raise typer.Exit(decision.status)
