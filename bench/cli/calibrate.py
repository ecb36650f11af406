"""`rtbench calibrate`: how wrong this machine's figures are, at which load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.calibrate.climb import Plan
    from bench.calibrate.machine import Cores
    from bench.run.calibration import Calibration, Step


def calibrate(
    most: Annotated[int, typer.Option(min=1, max=100_000, help="Try no more sessions than this.")] = 1600,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer loads, each for a shorter time: a first idea.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="Over TLS, as services are called.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write the page and the data here, too.")] = None,
) -> None:
    """Run the harness against the simulator at rising load, and say up to where its figures can be trusted.

    Each run's rows are compared with what the simulator really did. The result is saved: later runs cite it, and warn
    beyond it. Exit status 4 where nothing could be concluded, for the simulator or other programs were at the limit.
    """
    from bench.calibrate.climb import plan_of
    from bench.calibrate.conclude import closing, conclude, is_concluded
    from bench.calibrate.machine import allowed_cores, cores_of
    from bench.calibrate.text import error_lines
    from bench.clock import utc_ns
    from bench.errors import INVALID_STATUS
    from bench.run.calibration import date_of, machine

    plan, cores, began = plan_of(most, quick=quick), cores_of(allowed_cores()), utc_ns()
    typer.echo(_opening(plan, cores, tls=tls))
    steps: list[Step] = []
    try:
        _climb(plan, cores, steps, tls=tls)
    except KeyboardInterrupt:
        typer.echo("\n".join(["", *error_lines(steps), "interrupted: nothing is concluded, and nothing saved"]))
        raise
    found = conclude(steps, machine(), date_of(began), tls=tls)
    typer.echo("\n".join(["", *error_lines(steps), ""]))
    if is_concluded(found):
        _save(found, out)
    typer.echo("\n".join(closing(found)))
    raise typer.Exit(0 if is_concluded(found) else INVALID_STATUS)


def _opening(plan: Plan, cores: Cores, *, tls: bool) -> str:
    from bench.calibrate.conclude import KINDS

    where = (
        "harness and simulator SHARE their cores: figures are worse than with a core for each"
        if cores.shared
        else f"harness on core {_listed(cores.harness)}, simulator on {_listed(cores.simulator)}"
    )
    way = "over TLS" if tls else "without TLS (services are called over it: --tls)"
    return (
        f"SIMULATED: {' and '.join(KINDS)} sessions, up to {plan.ladder.most:,} in one process\n"
        f"{where}\n"
        f"{way}; about {plan.minutes_at_most:.0f} min, less where the limit comes early"
    )


def _listed(cores: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(cores)))


def _climb(plan: Plan, cores: Cores, steps: list[Step], *, tls: bool) -> None:
    """Every step into `steps`, each printed as it comes."""
    from functools import partial

    from bench.calibrate.climb import climb, played
    from bench.calibrate.conclude import KINDS
    from bench.calibrate.text import COLOURS, heads, step_lines

    for kind in KINDS:
        typer.echo("\n".join(["", *heads(kind)]))
        for step in climb(kind, plan.ladder, partial(played, pace=plan.pace, cores=cores, tls=tls)):
            steps.append(step)
            typer.secho("\n".join(step_lines(step)), fg=COLOURS[step.outcome])


def _save(found: Calibration, out: Path | None) -> None:
    """Where runs look for it, and where the user wants it."""
    import os

    from bench.calibrate.page import html
    from bench.errors import UsageError
    from bench.run.calibration import save, state_folder
    from bench.run.folder import write_text

    for folder in (state_folder(os.environ), *([out] if out else [])):
        path = save(found, folder)
        page = path.with_suffix(".html")
        try:
            write_text(page, html(found))
        except OSError as error:
            raise UsageError(f"{page} cannot be written: {error.strerror}") from None
        typer.echo(f"saved: {path}\npage:  {page}")
