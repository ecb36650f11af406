"""`rtbench bench`: the shipped scenarios in one small run, against the simulator or your deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    target: Annotated[
        str, typer.Option(help="`simulator` simulates even where AZURE_OPENAI_ENDPOINT is set; `auto` does not.")
    ] = "auto",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before calling a deployment.")] = False,
    runs: Annotated[Path, typer.Option(help="Where run folders are made.")] = Path("runs"),
) -> None:
    """Run the text and voice scenarios for half a minute and print what they measured.

    Without Azure's variables it starts the simulator in a process of its own, and everything says SIMULATED.
    """
    from bench.load.quick import quick_run

    raise typer.Exit(quick_run(target, yes=yes, runs=runs))
