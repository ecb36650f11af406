"""`rtbench sweep`: a run that compares the values of a setting."""

from typing import Annotated

import typer

from bench.load.planning.command_line import named_files
from bench.target.vary import FORM, OPTION, settings_of
from rtbench.cli.options import argument, option
from rtbench.run_process import become_run


def sweep(
    ctx: typer.Context,
    script: Annotated[str, argument("Script or Locust file that the callers play.", "SCRIPT")],
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
    named_files([script])
    text = ";".join(vary)
    settings_of(text)
    become_run([script, OPTION, text, *ctx.args])
