"""`rtbench baseline save|list|show`: a folder of good runs' figures, small enough for git, for `rtbench check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.plain import printable

if TYPE_CHECKING:
    from reports.gate import baselines

baseline = typer.Typer(
    name="baseline",
    help="Keep the figures of good runs, for `rtbench check --baseline FOLDER`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Folder = Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="where baselines are kept")]
FOLDER = Path("baselines")


@baseline.command()
def save(
    run: Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)], folder: Folder = FOLDER
) -> None:
    """Store a run's figures, of each target a file. A run that is invalid, not judged or without data is refused."""
    from bench.cli.report import close_if_left
    from bench.errors import UsageError
    from bench.run.folder import read_document
    from reports.gate import baselines
    from reports.runs import load_for_report
    from reports.sides.side import targets_of

    close_if_left(run, read_document(run))
    found = [baselines.baseline_of(side) for side in targets_of(load_for_report(run))]
    if not found:
        raise UsageError(f"{run} is no baseline: it has no turns")
    for one in found:
        sys.stdout.write(f"{printable(str(baselines.save(one, folder)))}\n")


@baseline.command(name="list")
def listing(folder: Folder = FOLDER) -> None:
    """Which scenarios and targets have baselines, of how many runs."""
    from reports.gate.shelf import overview

    stored, notices = _stored(folder)
    sys.stdout.write(overview(stored) + notices)


@baseline.command()
def show(
    which: Annotated[str, typer.Argument(metavar="SCENARIO/TARGET", show_default=False)], folder: Folder = FOLDER
) -> None:
    """The stored runs of a target, and how far their figures spread from run to run."""
    from bench.errors import UsageError
    from reports.gate.shelf import details

    scenario, _, target = which.partition("/")
    stored, notices = _stored(folder)
    found = [one for one in stored if (one.baseline.scenario, one.baseline.target) == (scenario, target)]
    if not found:
        known = dict.fromkeys(f"{one.baseline.scenario}/{one.baseline.target}" for one in stored)
        raise UsageError(f"{folder} has no baseline of {which}; it has {', '.join(known)}")
    sys.stdout.write(details(found) + notices)


def _stored(folder: Path) -> tuple[list[baselines.Kept], str]:
    """A folder's baselines, and lines on files that are none there. Raises UsageError where there are none."""
    from bench.errors import UsageError
    from reports.gate import baselines
    from reports.gate.eligible import each_once

    found, notices = each_once(baselines.read(folder))
    if not found:
        raise UsageError(f"{folder} has no baselines: save one by `rtbench baseline save RUN --folder {folder}`")
    return found, "".join(f"note: {printable(notice)}\n" for notice in notices)
