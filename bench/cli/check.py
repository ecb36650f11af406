"""`rtbench check`, `rtbench baseline`: a run against thresholds and good runs, for CI; good runs kept for that."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.report import FOLDER, RunName, run_named
from bench.errors import BenchError, UsageError
from bench.plain import printable

if TYPE_CHECKING:
    from reports.gate import baselines
    from reports.gate.items import Checked

baseline = typer.Typer(
    name="baseline",
    help="Keep the figures of good runs, for `rtbench check --baseline FOLDER`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Folder = Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="where baselines are kept")]
BASELINES = Path("baselines")


class OnInconclusive(StrEnum):
    """What to make of a threshold of which a run cannot say whether it is kept."""

    FAIL = "fail"
    PASS = "pass"
    WARN = "warn"


def check(
    name: RunName = "",
    thresholds: Annotated[
        Path | None, typer.Option(metavar="FILE", help="limits and margins in YAML, see scenarios/ci.yaml")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|FOLDER|TARGET",
            help="RUN, RUN:TARGET, a folder of `rtbench baseline save`, FOLDER:TARGET, or a target of this "
            "interleaved run (default: its first one)",
        ),
    ] = None,
    on_inconclusive: Annotated[
        OnInconclusive, typer.Option(help="fail: exit 3; pass: 0; warn: 0, and say so loudly")
    ] = OnInconclusive.FAIL,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="write JUnit XML to this file, too")] = None,
    allow: Annotated[
        str, typer.Option(metavar="NAMES", help="conditions in which stored baselines may differ: model,region")
    ] = "",
) -> None:
    """Check a run against thresholds and a baseline.

    Exit status: 0 passed, 1 regressed or over a threshold, 2 the question cannot be asked, 3 inconclusive, 4 invalid or
    no data.
    """
    from bench.cli.report import wants_colour, width
    from reports.gate import outputs
    from reports.gate.outputs import terminal

    run = Path(name or FOLDER)
    try:
        run = _whole_run(name)
        found = _asked(run, thresholds, baseline, on_inconclusive, allow)
    except BenchError as error:
        tell_ci_of_refusal(str(error))
        outputs.refuse(str(error), run, junit)
        raise
    paths = outputs.write(found, run, junit)
    sys.stdout.write(terminal(found, width(), colour=wants_colour()))
    tell_ci(found, paths.markdown)
    sys.stdout.write(f"{printable(str(paths.markdown))}\n")
    if found.status:
        raise typer.Exit(found.status)


def _asked(
    run: Path, thresholds: Path | None, baseline: str | None, on_inconclusive: OnInconclusive, allow: str
) -> Checked:
    """The check. Raises UsageError for what cannot be asked so."""
    from bench.cli.report import close_if_left
    from bench.run.folder import read_document
    from reports.gate.check import checked
    from reports.sides.workload import allowed
    from reports.thresholds import read_thresholds

    limits = read_thresholds(thresholds) if thresholds else ()
    may_differ = allowed(allow)
    close_if_left(run, read_document(run))
    return checked(run, limits, baseline, on_inconclusive=on_inconclusive.value, allow=may_differ)


def _whole_run(name: str) -> Path:
    """The folder of a run. Raises UsageError for RUN:TARGET, and where there is none."""
    from reports.sides.named import folder_of

    if not Path(name).exists() and (whole := folder_of(name)).is_dir():
        target = name.removeprefix(f"{whole}:")
        raise UsageError(
            f"check takes a whole run, {whole}; to check one target, write ttfa{{target:{target}}} in the thresholds"
        )
    return run_named(name)


def tell_ci_of_refusal(error: str) -> None:
    """An annotation, in the words of the CI system that runs this."""
    from reports.gate import ci

    if os.environ.get("GITHUB_ACTIONS") == "true":
        sys.stdout.write(f"{ci.github_refusal(error)}\n")
    if os.environ.get("TF_BUILD") == "True":
        sys.stdout.write(f"{ci.azure_refusal(error)}\n")


def tell_ci(found: Checked, comment: Path) -> None:
    """Annotations, and the comment where the CI system shows it, in the words of the one that runs this."""
    from reports.gate import ci, outputs

    if os.environ.get("GITHUB_ACTIONS") == "true":
        sys.stdout.writelines(f"{line}\n" for line in ci.github_commands(found))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        outputs.append_summary(found, Path(summary))
    if os.environ.get("TF_BUILD") == "True":
        sys.stdout.writelines(f"{line}\n" for line in ci.azure_commands(found, comment))


@baseline.command()
def save(name: RunName = "", folder: Folder = BASELINES) -> None:
    """Store a run's figures, of each target a file. A run that is invalid, not judged or without data is refused."""
    from bench.cli.report import close_if_left
    from bench.errors import UsageError
    from bench.run.folder import read_document
    from reports.gate import baselines
    from reports.runs import load_for_report
    from reports.sides.side import targets_of

    run = run_named(name)
    close_if_left(run, read_document(run))
    found = [baselines.baseline_of(side) for side in targets_of(load_for_report(run))]
    if not found:
        raise UsageError(f"{run} is no baseline: it has no turns")
    for one in found:
        sys.stdout.write(f"{printable(str(baselines.save(one, folder)))}\n")


@baseline.command(name="list")
def listing(folder: Folder = BASELINES) -> None:
    """Which scenarios and targets have baselines, of how many runs."""
    from reports.gate.baselines import list_baselines

    stored, notices = _stored(folder)
    sys.stdout.write(list_baselines(stored) + notices)


@baseline.command()
def show(
    which: Annotated[str, typer.Argument(metavar="SCENARIO/TARGET", show_default=False)], folder: Folder = BASELINES
) -> None:
    """The stored runs of a target, and how far their figures spread from run to run."""
    from bench.errors import UsageError
    from reports.gate.baselines import describe_baselines

    scenario, _, target = which.partition("/")
    stored, notices = _stored(folder)
    found = [one for one in stored if (one.baseline.scenario, one.baseline.target) == (scenario, target)]
    if not found:
        known = dict.fromkeys(f"{one.baseline.scenario}/{one.baseline.target}" for one in stored)
        raise UsageError(f"{folder} has no baseline of {which}; it has {', '.join(known)}")
    sys.stdout.write(describe_baselines(found) + notices)


def _stored(folder: Path) -> tuple[list[baselines.StoredBaseline], str]:
    """A folder's baselines, and lines on files that are none there. Raises UsageError where there are none."""
    from bench.errors import UsageError
    from reports.gate import baselines
    from reports.gate.by_stored import each_once

    found, notices = each_once(baselines.read_baselines(folder))
    if not found:
        raise UsageError(f"{folder} has no baselines: save one by `rtbench baseline save RUN --folder {folder}`")
    return found, "".join(f"note: {printable(notice)}\n" for notice in notices)
