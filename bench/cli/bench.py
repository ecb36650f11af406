"""`rtbench bench`: the shipped scenarios in one small run, against the simulator or your deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    target: Annotated[
        str, typer.Option(help="`simulator` simulates even where AZURE_OPENAI_ENDPOINT is set; `auto` does not.")
    ] = "auto",
    targets: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Call these targets of targets.yaml side by side, as in west,east.quick."),
    ] = "",
    target_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read targets from this file instead of ./targets.yaml.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before calling a deployment.")] = False,
    runs: Annotated[Path, typer.Option(help="Make run folders in this folder.")] = Path("runs"),
) -> None:
    """Play a small run of the shipped scenarios (on a deployment: voice only) and print what they measured.

    Without targets and Azure's variables it starts the simulator in a process of its own, and everything says
    SIMULATED. Before it calls a deployment it says what that may cost, and asks.
    """
    from bench.quick import quick_run
    from bench.target.endpoint import ServiceOptions

    service_options = ServiceOptions(tuple(name.strip() for name in targets.split(",")) if targets else (), target_file)
    raise typer.Exit(quick_run(target, service_options, yes=yes, runs=runs))
