"""`rtbench calibrate`: how wrong this machine's figures are, at which load."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.target.options import AgentName

if TYPE_CHECKING:
    from bench.calibrate.climb import CalibrationPlan
    from bench.cores import Cores
    from bench.run.calibration import Calibration, LoadStep

SPARE_DESCRIPTORS = 100


def calibrate(
    most: Annotated[int, typer.Option(min=1, max=100_000, help="Try no more sessions than this.")] = 1600,
    quick: Annotated[
        bool, typer.Option("--quick", help="Try fewer loads, each for a shorter time, for a first idea.")
    ] = False,
    tls: Annotated[bool, typer.Option("--tls", help="Call the simulator over TLS, as services are called.")] = False,
    agent: Annotated[
        AgentName | None, typer.Option(help="Call an agent, in this way; without it a model is called.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the page and the data to this folder, too.")
    ] = None,
) -> None:
    """Run the harness against the simulator at rising load, and say up to which load its figures can be trusted.

    Each run's rows are compared with what the simulator really did. The result is saved: later runs cite it, and warn
    beyond it. Exit status 4: nothing could be concluded, because the simulator or other programs were at the limit.
    """
    from bench.calibrate.climb import plan_of
    from bench.calibrate.ladder import calibration_of, conclusions, is_concluded
    from bench.calibrate.page import error_lines
    from bench.clock import utc_ns
    from bench.cores import allowed_cores, cores_of
    from bench.errors import INVALID_STATUS, USAGE_STATUS
    from bench.locust_run import terminable
    from bench.run.calibration import KINDS, date_of, file_name, machine

    _check_descriptors(most)
    folders = _writable_folders(out)
    kinds = (agent,) if agent else KINDS
    plan, cores, began = plan_of(most, quick=quick, kinds=kinds), cores_of(allowed_cores()), utc_ns()
    typer.echo(_opening(plan, cores, [folder / file_name(tls=tls, agent=agent) for folder in folders], tls=tls))
    steps: list[LoadStep] = []
    try:
        with terminable():
            _climb(plan, cores, steps, tls=tls)
    except KeyboardInterrupt:
        typer.echo("\n".join(["", *error_lines(steps), "interrupted: nothing is concluded, and nothing saved"]))
        raise
    found = calibration_of(steps, machine(), date_of(began), tls=tls, quick=quick, agent=agent)
    typer.echo("\n".join(["", *error_lines(steps), "", *conclusions(found)]))
    if not is_concluded(found):
        raise typer.Exit(INVALID_STATUS)
    problems = [_problem(found, folder) for folder in folders]  # into every folder that takes it; the first one counts
    for problem in filter(None, problems):
        typer.echo(problem, err=True)
    raise typer.Exit(USAGE_STATUS if problems[0] else 0)


def _check_descriptors(most: int) -> None:
    """Each session is a file descriptor, and a process has so many. Raises UsageError before minutes are spent."""
    import resource

    from bench.errors import UsageError

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < most + SPARE_DESCRIPTORS:
        lower = max(1, hard - SPARE_DESCRIPTORS)
        raise UsageError(f"a process may open {hard} files here, too few for {most:,} sessions: "
                         f"raise the limit with `ulimit -n`, or calibrate with --most {lower}")  # fmt: skip


def _writable_folders(out: Path | None) -> list[Path]:
    """Where the user wants the result, and where runs look for it; tried before minutes are spent.

    Raises UsageError where the former, or any, cannot be written.
    """
    import os

    from bench.errors import UsageError
    from bench.run.calibration import state_folder, writable

    wanted = [writable(out)] if out else []
    try:
        return [*wanted, writable(state_folder(os.environ))]
    except UsageError as error:
        if not wanted:
            raise
        typer.echo(f"{error}; later runs will not cite it", err=True)
        return wanted


def _opening(plan: CalibrationPlan, cores: Cores, files: Iterable[Path], *, tls: bool) -> str:
    where = (
        "harness and simulator SHARE their cores: figures are worse than with a core for each"
        if cores.shared
        else f"harness on core {_listed(cores.harness)}, simulator on {_listed(cores.simulator)}"
    )
    way = "over TLS" if tls else "without TLS (services are called over it: --tls)"
    first = min(plan.ladder.first, plan.ladder.most)
    return (
        f"SIMULATED: {' and '.join(plan.kinds)} sessions, up to {plan.ladder.most:,} in one process\n"
        f"{where}\n"
        f"{way}\n"
        f"at most some {plan.minutes_at_most:.0f} min, more where {first} sessions are too much already\n"
        + "\n".join(f"the page will be {file.with_suffix('.html')}" for file in files)
    )


def _listed(cores: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(cores)))


def _climb(plan: CalibrationPlan, cores: Cores, steps: list[LoadStep], *, tls: bool) -> None:
    """Every step into `steps`, each printed as it comes."""
    from functools import partial

    from bench.calibrate.climb import climb, played
    from bench.calibrate.page import step_heads, step_lines
    from bench.load_search import SHOWN

    for kind in plan.kinds:
        typer.echo("\n".join(["", *step_heads(kind)]))
        for step in climb(kind, plan.ladder, partial(played, plan=plan, cores=cores, tls=tls)):
            steps.append(step)
            typer.secho("\n".join(step_lines(step)), fg=SHOWN[step.outcome][1])


def _problem(found: Calibration, folder: Path) -> str:
    """Save data and page; why that cannot be, "" where it can, or where there is a fuller one of this machine."""
    from bench.calibrate.ladder import is_coarse
    from bench.calibrate.page import calibration_page
    from bench.errors import UsageError
    from bench.run.calibration import load_calibration, save_calibration
    from bench.run.disk import write_text
    from reports.page.html import poured

    before = load_calibration(folder / found.file_name)
    if is_coarse(found) and before is not None and not is_coarse(before) and before.machine == found.machine:
        typer.echo(
            f"{folder / found.file_name} stays as it is: it is a fuller calibration, of {before.date_utc}",
            err=True,
        )
        return ""
    try:
        page = save_calibration(found, folder).with_suffix(".html")
        write_text(page, poured(calibration_page(found)))
    except UsageError as error:
        return str(error)
    except OSError as error:
        return f"{folder}: the calibration's page cannot be saved: {error.strerror}"
    return ""
