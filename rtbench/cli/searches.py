"""`rtbench calibrate` and `rtbench capacity`: searches for the load up to which values are
exact, or thresholds pass.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.errors import (
    INTERRUPTED_STATUS,
    INVALID_STATUS,
    PASS_STATUS,
    USAGE_STATUS,
    UsageError,
)
from bench.base.standard_streams import StatusLine
from bench.files.safe_io import replace_text, save_text
from bench.load.planning.stages import A_SPAN, span_s
from bench.record.presence import runs_folder
from bench.services.names import DialectName
from bench.target.target_settings import ServiceOptions
from rtbench.cli.options import ThresholdTexts, argument, option
from rtbench.cli.report import print_blocks
from rtbench.cli.service import with_service_options

if TYPE_CHECKING:
    from bench.base.cpu import CpuAssignment
    from bench.record.calibration import Calibration, LoadStep
    from rtbench.calibrate.load_steps import CalibrationPlan
    from rtbench.capacity.document import CapacityDocument, SearchPlan
    from rtbench.capacity.level_evaluation import SearchConfig

SPARE_DESCRIPTORS = 100


def calibrate(
    max_sessions: Annotated[int, option("Maximum number of sessions.", min=1, max=100_000)] = 1600,
    quick: Annotated[
        bool, option("Test fewer loads, each for a shorter time, for a rough result.")
    ] = False,
    tls: Annotated[bool, option("Call the simulator over TLS, as a service is called.")] = False,
    dialect: Annotated[
        DialectName, option("Dialect of the simulated service or agent to call.")
    ] = "ga",
    out: Annotated[
        Path | None, option("Also write the page and the data to this folder.", "FOLDER")
    ] = None,
) -> None:
    """Run the load generator against the simulator at rising load; print the highest load at which
    values are exact.

    Each run's rows are compared with the ground truth of the simulator. The result is saved. Later
    runs cite it, and warn if their load is higher. Exit status 4: there is no conclusion, because
    the simulator or other programs set the limit; 130: interrupted.
    """
    from bench.base.cpu import allowed_cores, assign_cores
    from bench.record.calibration import date_of, file_name, machine
    from bench.services.registry import DIALECTS, links_of
    from rtbench.calibrate.load_step_search import calibration_of, is_concluded
    from rtbench.calibrate.load_steps import plan_of, refuse_without_truth
    from rtbench.calibrate.page import error_table
    from rtbench.calibrate.text import conclusions
    from rtbench.locust_run import terminable

    refuse_without_truth(dialect)
    _check_descriptors(max_sessions, links_of(DIALECTS[dialect])[0].sockets)
    folders = _writable_folders(out)
    plan = plan_of(max_sessions, quick=quick, dialect=dialect)
    cores = assign_cores(allowed_cores())
    start_utc_ns = utc_ns()
    typer.echo(
        _opening(
            plan,
            cores,
            [folder / file_name(tls=tls, dialect=dialect) for folder in folders],
            tls=tls,
        )
    )
    steps: list[LoadStep] = []

    def print_errors() -> None:
        typer.echo()
        print_blocks([[error_table(steps, plan.kinds, "errors")]], "\n")

    try:
        with terminable():
            _run_steps(plan, cores, steps, tls=tls)
    except KeyboardInterrupt:
        print_errors()
        typer.echo("interrupted: there is no result, and nothing was saved")
        raise
    result = calibration_of(
        steps, machine(), date_of(start_utc_ns), tls=tls, quick=quick, dialect=dialect
    )
    is_known = is_concluded(result)
    # the result is saved to each writable folder; the first folder decides the exit status
    problems = [_error_text(result, folder) for folder in folders if is_known]
    print_errors()
    typer.echo("\n".join(conclusions(result)))
    if not is_known:
        raise typer.Exit(INVALID_STATUS)
    for problem in filter(None, problems):
        typer.echo(problem, err=True)
    raise typer.Exit(USAGE_STATUS if problems[0] else PASS_STATUS)


def _check_descriptors(max_sessions: int, per_session: int) -> None:
    """Raise UsageError if a process may not open enough file descriptors for its sessions."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < max_sessions * per_session + SPARE_DESCRIPTORS:
        lower = max(1, (hard - SPARE_DESCRIPTORS) // per_session)
        raise UsageError(
            f"a process may open only {hard} files, too few for {max_sessions:,} sessions: "
            f"raise the limit with `ulimit -n`, or calibrate with --max-sessions {lower}"
        )


def _writable_folders(out: Path | None) -> list[Path]:
    """Return the folders to write to: the user's folder `out`, and the folder that runs read.

    Raise UsageError, before the minutes of the calibration, if the first of them cannot be written.
    """
    from bench.record.calibration import state_folder, writable

    folders = [writable(out)] if out else []
    try:
        return [*folders, writable(state_folder(os.environ))]
    except UsageError as error:
        if not folders:
            raise
        typer.echo(f"{error}; later runs will not cite this calibration", err=True)
        return folders


def _opening(
    plan: CalibrationPlan, cores: CpuAssignment, files: Iterable[Path], *, tls: bool
) -> str:
    loaded, simulated = (
        ", ".join(map(str, sorted(core_set)))
        for core_set in (cores.load_generator, cores.simulator)
    )
    where = (
        "load generator and simulator share cores: errors are larger than with separate cores"
        if cores.shared
        else f"load generator on core {loaded}, simulator on {simulated}"
    )
    transport = "over TLS" if tls else "without TLS (services use TLS: add --tls)"
    first = min(plan.grid.first, plan.grid.max)
    return (
        f"SIMULATED: {' and '.join(plan.kinds)} sessions, up to {plan.grid.max:,} in one"
        f" process\n{where}\n{transport}\nat most about {plan.minutes_at_most:.0f} min, or longer"
        f" if {first} sessions are already too many\n"
        + "\n".join(f"the page will be {file.with_suffix('.html')}" for file in files)
    )


def _run_steps(
    plan: CalibrationPlan, cores: CpuAssignment, steps: list[LoadStep], *, tls: bool
) -> None:
    from rtbench.calibrate.load_steps import run_load_step, run_load_steps
    from rtbench.calibrate.page import step_heads, step_lines
    from rtbench.load_display import SYMBOLS

    for kind in plan.kinds:
        typer.echo("\n".join(["", *step_heads(kind)]))
        for step in run_load_steps(
            kind, plan.grid, partial(run_load_step, plan=plan, cores=cores, tls=tls)
        ):
            steps.append(step)
            typer.secho("\n".join(step_lines(step)), fg=SYMBOLS[step.result][1])


def _error_text(calibration: Calibration, folder: Path) -> str:
    """Save the data and the page. Return why they could not be saved; "" if they were saved.

    A coarse calibration does not replace a fuller one of the same machine.
    """
    from bench.record.calibration import load_calibration, save_calibration
    from reports.render.html import render_html
    from rtbench.calibrate.load_step_search import is_coarse
    from rtbench.calibrate.page import calibration_page

    before = load_calibration(folder / calibration.file_name)
    is_fuller = (
        before is not None and not is_coarse(before) and before.machine == calibration.machine
    )
    if is_coarse(calibration) and before is not None and is_fuller:
        typer.echo(
            f"{folder / calibration.file_name} was not replaced: it is a fuller calibration, of"
            f" {before.date_utc}",
            err=True,
        )
        return ""
    try:
        page = save_calibration(calibration, folder).with_suffix(".html")
        replace_text(page, render_html(calibration_page(calibration)))
    except UsageError as error:
        return str(error)
    except OSError as error:
        return f"{folder}: the calibration page cannot be saved: {error.strerror}"
    return ""


MAX_LOAD = 100_000
DEFAULT_MAX_LOAD = 256
MIN_TIME_S = 27.0
"""The minimum time of the ramps."""


@with_service_options()
def capacity(
    service_options: ServiceOptions,
    words: Annotated[
        list[str],
        argument(
            "YAML scripts or Locust files; after --, further options of each run.",
            "FILE... [-- OPTIONS OF LOCUST]",
        ),
    ],
    thresholds: ThresholdTexts = None,
    first: Annotated[
        int | None,
        option("The number of calls at which the ramp begins (default 2).", "--from", min=1),
    ] = None,
    last: Annotated[
        int | None,
        option("The highest number of calls (default 256).", "--to", min=1, max=MAX_LOAD),
    ] = None,
    verify: Annotated[
        bool, option("Verify the ends of the range by up to three levels, which pass or fail.")
    ] = False,
    max_time: Annotated[
        str | None,
        option("Maximum duration of the search (default: 3m, with --verify 30m).", "SPAN"),
    ] = None,
    budget: Annotated[float | None, option("Maximum cost of the search.", "USD")] = None,
    require: Annotated[
        int | None, option("Exit with 0 if this load passes, otherwise with 1, 3 or 4.", "N", min=1)
    ] = None,
    out: Annotated[
        Path | None,
        option("Write the report and all runs to this folder.", "-o", "--out", "FOLDER"),
    ] = None,
    yes: Annotated[
        bool, option("Allow calls to a host that is not loopback, which may cost money.")
    ] = False,
) -> None:
    """Find the number of concurrent calls up to which the thresholds pass, and what fails above it.

    `rtbench capacity mine.yaml --thresholds "ttfa: p(95)<800"` ramps up the calls of mine.yaml.

    Exit status: 0 a load passes (with --require: this load), 1 the breaking point is lower, 2 bad
    thresholds or arguments, or no call opens, 3 inconclusive, 4 the load generator was the limit,
    130 interrupted.
    """
    import msgspec

    from bench.record.calibration import date_of
    from reports.metrics.measurable import refuse_unmeasurable
    from reports.metrics.thresholds import quoted, requested_thresholds
    from rtbench.capacity.document import SearchPlan
    from rtbench.capacity.level_evaluation import SearchConfig
    from rtbench.capacity.level_run import prepare_search
    from rtbench.capacity.load_thresholds import EXAMPLES, allowed_share
    from rtbench.capacity.ramp import FIRST, ends_ns, ramps_s
    from rtbench.capacity.terminal import opening
    from rtbench.capacity.verification import ERROR

    start_ns = monotonic_ns()
    script_files, locust_options = _files_and_options(words)
    required = list(dict.fromkeys(requested_thresholds(thresholds or ())))
    if not required:
        raise UsageError(f"name a threshold that must pass: add --thresholds {EXAMPLES}")
    for threshold in required:
        allowed_share(threshold)
    quantiles = [threshold.metric for threshold in required if threshold.statistic.is_monotone]
    highest = last or max(DEFAULT_MAX_LOAD, require or 0, first or 0)
    plan = SearchPlan(
        thresholds=[threshold.source_text for threshold in required],
        metric=quantiles[0] if quantiles else "",
        first=first or min(FIRST, highest),
        max=highest,
        verify=verify,
        error=ERROR,
        time_s=_span_s(max_time or ("30m" if verify else "3m")),
        budget_usd=budget,
        required=require,
    )
    _refuse_impossible(plan)
    folder = _folder(out, script_files)
    try:
        ready = prepare_search(
            service_options, script_files, plan, folder / "levels", locust_options, yes=yes
        )
        for threshold in required:
            named = f"--thresholds {quoted(threshold.source_text)}"
            refuse_unmeasurable(threshold, ready.forecast["lacking"], named)
    except UsageError:
        # an empty folder is removed, so that the next search can use the name
        with suppress(OSError):
            (folder / "levels").rmdir()
            folder.rmdir()
        raise
    plan = msgspec.structs.replace(plan, call_s=ready.forecast["call_s"])
    ramps_until_ns, until_ns = (ends_ns(start_ns, span) for span in (ramps_s(plan), plan.time_s))
    search = SearchConfig(
        plan, required, ready.locust, ready.forecast["connect_rate"], ramps_until_ns, until_ns
    )
    about = {
        "date_utc": date_of(utc_ns()),
        "target": ready.target,
        "scenario": ready.forecast["scenario"],
    }
    typer.echo("\n".join(opening(plan, str(folder), ready.costs)))
    raise typer.Exit(_searched(search, about, folder))


def _files_and_options(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return (the scripts and Locust files, the options of Locust) of a command line. Raise
    UsageError.
    """
    from bench.load.planning.command_line import named_files

    count = next(
        (position for position, word in enumerate(words) if word.startswith("-")), len(words)
    )
    return named_files(words[:count]), list(words[count:])


def _refuse_impossible(plan: SearchPlan) -> None:
    """Raise UsageError if the plan is impossible."""
    from rtbench.capacity.ramp import ramps_s

    if plan.first > plan.max:
        raise UsageError(f"--from {plan.first} is higher than --to {plan.max}")
    if plan.required is not None and plan.required > plan.max:
        raise UsageError(f"--require {plan.required} is higher than --to {plan.max}")
    if plan.budget_usd is not None and not 0 < plan.budget_usd < float("inf"):
        raise UsageError("--budget must be more than 0 USD")
    if ramps_s(plan) < MIN_TIME_S:
        least_s = MIN_TIME_S * plan.time_s / ramps_s(plan)
        raise UsageError(
            f"--max-time {plan.time_s:g}s is too short for a search: use at least {least_s:.0f} s"
        )


def _span_s(text: str) -> float:
    seconds = span_s(text)
    if seconds is None:
        raise UsageError(f"--max-time must be {A_SPAN}, not {text}")
    return seconds


def _folder(out: Path | None, script_files: Sequence[Path]) -> Path:
    """Create the folders of a search and of its runs. Raise UsageError if they already contain a
    search.
    """
    from bench.load.planning.command_line import scenario_of
    from bench.record.folder import create_named, make_parent

    folder = out or create_named(runs_folder(), f"capacity-{scenario_of(script_files)}", utc_ns())
    levels = folder / "levels"
    # a command that was killed before its first level leaves an empty folder
    if (folder / "capacity.json").exists() or (os.path.lexists(levels) and not _is_empty(levels)):
        raise UsageError(f"{folder} already contains a search: choose another folder with -o")
    make_parent(levels)
    return folder


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _searched(config: SearchConfig, about: Mapping[str, str], folder: Path) -> int:
    """Search, save and print the result, and return the exit status. On Ctrl-C, the result has what
    was measured until then.
    """
    from rtbench.capacity.search import Search
    from rtbench.capacity.terminal import Curve, level_heads, level_lines
    from rtbench.load_display import SYMBOLS
    from rtbench.locust_run import terminable

    curve = Curve(config.thresholds[0], StatusLine(sys.stderr, os.environ), typer.echo)
    search = Search(config, curve.show)
    interrupted = False
    try:
        with terminable():
            for level in search.run():
                with suppress(UsageError):  # a search that is killed keeps what it knows
                    _save(search.document(interrupted=True, **about), folder)
                if level is None:
                    continue
                if len(search.levels) == 1:
                    typer.echo(level_heads())
                typer.secho("\n".join(level_lines(level)), fg=SYMBOLS[level.result or ""][1])
    except KeyboardInterrupt:
        interrupted = True
    finally:
        curve.line.clear()
    return _saved(
        search.document(interrupted=interrupted, **about), folder, interrupted=interrupted
    )


def _saved(outcome: CapacityDocument, folder: Path, *, interrupted: bool) -> int:
    """Save and print the result, and return the exit status."""
    from rtbench.capacity.terminal import closing_lines

    try:
        page = _save(outcome, folder)
    finally:
        typer.echo("\n".join(["", *closing_lines(outcome)]))
    typer.echo(page)
    return INTERRUPTED_STATUS if interrupted else outcome.exit_status


def _save(outcome: CapacityDocument, folder: Path) -> Path:
    """Save the result, and return its page."""
    from reports.render.html import render_html
    from reports.results.json_entries import text_of
    from rtbench.capacity.page import capacity_page
    from rtbench.capacity.text import document_data

    page = folder / "capacity.html"
    save_text(folder / "capacity.json", text_of(document_data(outcome)))
    save_text(page, render_html(capacity_page(outcome)))
    return page
