"""`rtbench bench`: the shipped scenarios in one small run, against the simulator or your deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.service_options import with_service_options
from bench.target.options import ServiceOptions


@with_service_options("targets", "target_file")
def bench(
    service_options: ServiceOptions,
    target: Annotated[
        str, typer.Option(help="`simulator` simulates even where AZURE_OPENAI_ENDPOINT is set; `auto` does not.")
    ] = "auto",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before calling a deployment.")] = False,
    runs: Annotated[Path, typer.Option(help="Make run folders in this folder.")] = Path("runs"),
) -> None:
    """Play a small run of the shipped scenarios (on a deployment: voice only) and print what they measured.

    Without targets and Azure's variables it starts the simulator in a process of its own, and everything says
    SIMULATED. Before it calls a deployment it says what that may cost, and asks.
    """
    from bench.quick import quick_run

    raise typer.Exit(quick_run(target, service_options, yes=yes, runs=runs))
