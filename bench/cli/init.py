"""`rtbench init [FOLDER]`: a folder to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bench.starter import CiSystem


def init(
    folder: Annotated[Path, typer.Argument(help="the folder to write into; made where it is not there")] = Path("."),
    ci: Annotated[CiSystem, typer.Option(help="write a workflow for GitHub Actions, or for Azure Pipelines")] = (
        CiSystem.GITHUB
    ),
) -> None:
    """Write a scenario, its script and audio, targets, thresholds and a CI workflow to begin with.

    What is there already is left as it was. What is written plays against the simulator as it stands.
    """
    from bench.starter import write_starter

    for path, written in write_starter(folder, ci).items():
        print(folder / path if written else f"{folder / path} was there already, and is left as it was")
    enter = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    print(f"Next: {enter}rtbench doctor --offline, and go on with README.md")
