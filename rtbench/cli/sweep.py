"""`rtbench sweep`: a run that compares the values of a setting."""

from pathlib import Path
from typing import Annotated

import typer

from bench.base.errors import UsageError
from bench.target.vary import FORM, OPTION, settings_of
from rtbench.cli.options import argument, option
from rtbench.cli.run import become_run


def sweep(
    ctx: typer.Context,
    script: Annotated[Path, argument("Script or Locust file that the callers play.", "SCRIPT")],
    vary: Annotated[
        list[str],
        option(f"A setting: {FORM}; several make a grid.", OPTION, "KEY=V,V"),
    ],
) -> None:
    """Run a script with each value of a setting, interleaved; print how late replies are, how
    often callers are cut off, and whether the setting does what it says.

    `rtbench sweep mine.yaml --vary session.turn_detection.silence_duration_ms=200,400,700` also has
    the options of `rtbench run`, such as --sessions, --targets, --budget and --yes, and its exit
    status.
    """
    if not script.is_file():
        raise UsageError(f"{script}: no such script")
    text = ";".join(vary)
    settings_of(text)
    become_run([str(script), OPTION, text, *ctx.args])
