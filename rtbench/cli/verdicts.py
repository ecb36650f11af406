"""The commands that give verdicts: `rtbench check`, `compare`, `baseline`, `sample-size` and
`trend`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from bench.base.errors import (
    FAIL_STATUS,
    INCONCLUSIVE_STATUS,
    INVALID_STATUS,
    OnInconclusive,
    RtbenchError,
    UsageError,
)
from bench.base.standard_streams import print_notice
from bench.files.sanitize import escape_control, one_line, to_safe_json
from bench.record.presence import FOLDER, file_status, is_folder, is_run, may_close, runs_folder
from rtbench.cli.options import Command, Group, ThresholdTexts, argument, option
from rtbench.cli.report import (
    Explain,
    RunName,
    close_if_left,
    newest_valid_run,
    print_blocks,
    print_page,
    print_path,
    run_with_name,
    without_other_folders,
)

if TYPE_CHECKING:
    from reports.analysis.check import baselines
    from reports.analysis.check.results import CheckResult

baseline = typer.Typer(
    cls=Group,
    help="Store the values of valid runs, for `rtbench check --baseline FOLDER`.",
    no_args_is_help=True,
)
Folder = Annotated[Path, option("Folder of the baselines.", "--baselines-dir", "FOLDER")]
BASELINES = Path("baselines")


def compare(
    names: Annotated[
        list[str] | None,
        argument(
            "Runs or targets of runs; the first is the baseline (default: the targets of the newest"
            " run).",
            "[RUN[:TARGET]]...",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        option(
            "Where to write compare.html, .md and .json (default: the last run's folder).", "FOLDER"
        ),
    ] = None,
    confidence: Annotated[
        float,
        option("Confidence of each verdict: it is wrong in 1 - CONFIDENCE of runs (one-sided)."),
    ] = 0.95,
    fail_on_regression: Annotated[
        bool,
        option(
            "Exit 1 if a primary metric regressed (with two services: is slower).",
        ),
    ] = False,
    on_inconclusive: Annotated[
        OnInconclusive | None,
        option(
            "With --fail-on-regression: fail: exit 3; pass: 0 (the default); warn: 0 and a warning."
        ),
    ] = None,
    png: Annotated[
        Path | None,
        option("Also write a picture of the answer, to show to others.", "--png", "FILE"),
    ] = None,
    explain: Explain = False,
) -> None:
    """Compare runs, or the targets of one interleaved run: each metric's difference, its interval,
    a verdict.

    `compare` and `check` share their metrics, margins and verdicts. `compare` explains a
    difference: all metrics, on a page. It exits 0 with any verdict, unless --fail-on-regression is
    given. `check` is about one run: your thresholds, stored baselines, JUnit; its exit status is
    the verdict.

    If the comparison is not fair, only the reason and what to do are printed, unless --explain is
    given.

    Exit status: 0 compared; 4 no fair comparison, or no data. With --fail-on-regression also 1 a
    primary metric regressed; 3 inconclusive, only with --on-inconclusive fail. Runs that were
    killed are finalized first. The last line is the path of compare.html.
    """
    if on_inconclusive is not None and not fail_on_regression:
        raise UsageError(
            "--on-inconclusive needs --fail-on-regression: add it, or leave --on-inconclusive out"
        )
    from bench.record.run_list import split_name
    from reports.analysis.comparisons.comparison import compare_targets, one_sided_alpha
    from reports.analysis.targets.named import parse_targets
    from reports.pages.comparisons.document import write_comparison
    from reports.pages.comparisons.page import comparison_page, unusable
    from reports.render.terminal import essentials

    one_sided_alpha(confidence)  # raise an error before any folder is written to
    target_names = [target_with_name(name) for name in without_other_folders(names or [""])]
    for folder in dict.fromkeys(split_name(target_name)[0] for target_name in target_names):
        close_if_left(folder)
    targets = parse_targets(target_names)
    comparison = compare_targets(targets, confidence=confidence)
    page = comparison_page(comparison)
    html = None
    try:
        with nullcontext() if out else _optional():
            html = write_comparison(comparison, page, out or targets[-1].run.folder).html
    finally:
        if comparison.failed_checks and not explain:  # no value of the page may be used
            print_blocks([unusable(comparison)])
        else:
            print_page(page, explain=explain)
        print(essentials(page))
    if html is not None:
        print_path(html)
    if png is not None:
        from reports.pages.comparisons.card import card
        from reports.render.picture import png_of

        picture = png_of(card(comparison))
        try:
            png.write_bytes(picture)
        except OSError as error:
            raise UsageError(f"--png {png} cannot be written: {error.strerror}") from None
    if comparison.exit_status == INVALID_STATUS or (
        fail_on_regression and comparison.exit_status == FAIL_STATUS
    ):
        raise typer.Exit(comparison.exit_status)
    if comparison.exit_status == INCONCLUSIVE_STATUS and on_inconclusive == "warn":
        print_notice("inconclusive; passes because of --on-inconclusive warn")
    if comparison.exit_status == INCONCLUSIVE_STATUS and on_inconclusive == "fail":
        raise typer.Exit(INCONCLUSIVE_STATUS)


def target_with_name(name: str) -> str:
    """Return RUN or RUN:TARGET with the folder of the run in place of its name."""
    from bench.record.run_list import reference, split_name

    folder, target = split_name(name)
    run = run_with_name(str(folder) if name else "")
    return reference(run, target)


def sample_size(
    pilot: Annotated[
        str,
        option(
            "A run similar to the planned one, or RUN:TARGET (default: the newest valid one).",
            "RUN",
            show_default=False,
        ),
    ] = "",
    metric: Annotated[str, option("ttfa:p95, response_total:p50, failure_rate, …")] = "ttfa:p95",
    detect: Annotated[
        str | None,
        option(
            "The change to detect: 20% (default: twice the margin; for rates 3%, in points).",
            "SHARE",
        ),
    ] = None,
    margin: Annotated[
        str | None,
        option("The accepted degradation: 10% (default: that of `rtbench compare`).", "SHARE"),
    ] = None,
    power: Annotated[float, option("Probability of detecting the change.")] = 0.9,
    primary: Annotated[
        int,
        option(
            "Number of primary metrics that share the error of the check (Holm); 3: p50, p95 and"
            " failure_rate."
        ),
    ] = 3,
    as_json: Annotated[bool, option("Print JSON.", "--json")] = False,
) -> None:
    """Print the sessions, hours and dollars that are needed to detect a change (sample size by
    power).

    Exit status: 0; 4 if the pilot run is INVALID or has no verdict.
    """
    from reports.analysis.sample_size import power_spec, sample_size
    from reports.pages.sample_size import sample_size_blocks
    from reports.results.json_entries import to_json_data

    named = target_with_name(pilot) if pilot else str(newest_valid_run())
    result = sample_size(named, power_spec(metric, detect, margin, power, primary))
    if as_json:
        print(to_safe_json(to_json_data(result)))
    else:
        print_blocks(sample_size_blocks(result))
    if result.validity != "valid":
        raise typer.Exit(INVALID_STATUS)


def trend(
    folder: Annotated[
        list[Path] | None,
        argument("Folders of runs or of stored baselines, or runs (default: runs).", "FOLDER"),
    ] = None,
    metric: Annotated[
        list[str] | None,
        option(
            "ttfa:p95, response_total:p50, failure_rate, …; may be repeated (default: latencies and"
            " the failure rate).",
            "METRIC",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        option("Where to write the page (default: trend.html in the first FOLDER).", "FILE"),
    ] = None,
    as_json: Annotated[
        bool, option("Print the series as JSON, and write no page.", "--json")
    ] = False,
) -> None:
    """Show each metric over weeks, a point for each run and target, and mark the changes of its
    level.

    Exit status 0: shown, with or without changes; 4: no run is valid. The last line is the path of
    the page.
    """
    from bench.record.run_list import run_or_path
    from reports.analysis.trends.trend import in_folders, trend_of, trend_spec

    named = without_other_folders([*map(str, folder or [runs_folder()])])
    folders = [run_or_path(Path(name)) for name in named]
    if len(folders) == 1 and is_run(folders[0]):
        one = quote(str(folders[0]))
        raise UsageError(
            f"a trend is about several runs: name their folder, or run `rtbench report {one}`"
        )
    specs = [trend_spec(text) for text in metric or ()]
    runs, stored = in_folders(folders)
    result = trend_of(runs, stored, specs)
    if as_json:
        from reports.pages.trends.page import trend_data

        print(to_safe_json(trend_data(result)))
    else:
        from reports.pages.trends.page import trend_page, write_trend

        # the page of one run would be in its folder; a page of many runs is next to their folders
        first = folders[0].resolve().parent if is_run(folders[0]) else folders[0]
        path = out or first / "trend.html"
        page = trend_page(result, path.parent)
        try:
            write_trend(page, path)
        finally:
            print_page(page)
        print_path(path)
    if all(point.excluded for point in result.points):
        raise typer.Exit(INVALID_STATUS)


def check(
    name: RunName = "",
    thresholds: ThresholdTexts = None,
    baseline: Annotated[
        str | None,
        option(
            "Folder or name of a run, RUN:TARGET, a folder of `rtbench baseline save`,"
            " FOLDER:TARGET, or a target of this interleaved run (default: its first one).",
            "RUN|FOLDER|TARGET",
        ),
    ] = None,
    on_inconclusive: Annotated[
        OnInconclusive, option("fail: exit 3; pass: 0; warn: 0 and a clear warning.")
    ] = "fail",
    write: Annotated[
        list[str] | None,
        option(
            "Also write the check to a file in this format, such as junit=junit.xml; may be"
            " repeated.",
            "FORMAT=FILE",
            show_default=False,
        ),
    ] = None,
    junit: Annotated[str, option("The same as --write junit=FILE.", "FILE")] = "",
    allow_different: Annotated[
        str,
        option(
            "Conditions in which stored baselines may differ, such as model,region: api_version,"
            " client_version, "
            "concurrency, model, pacing, region, scripts, service, voice, warmup.",
            "NAMES",
        ),
    ] = "",
    explain: Explain = False,
    quiet: Annotated[bool, option("Print only the annotations for GitHub and Azure.")] = False,
) -> None:
    """Check a run against thresholds, a baseline, or both. The exit status is the verdict.

    `check` and `compare` share their metrics, margins and verdicts. `check` is about one run: your
    thresholds, stored baselines, JUnit, and an exit status for CI. `compare` explains a difference
    between runs or targets: all metrics, on a page; it exits 0 with any verdict, unless
    --fail-on-regression is given.

    A run that was started with --until-decided is checked by its interim analyses, also while it is
    in progress, and they are shown. Margins or a baseline that differ from the planned ones are
    refused; a baseline from another run is not.

    Exit status: 0 passed, 1 regressed or over a threshold, 2 bad thresholds or arguments, 3
    inconclusive or not decided yet, 4 invalid or no data. The check is written to check.json and
    check.md in the run's folder; `rtbench report RUN` writes the report with it. If the check is
    refused, these files of an earlier check are removed.
    """
    from bench.files.safe_io import save_text
    from reports.analysis.check.check import check_of
    from reports.metrics.thresholds import requested_thresholds
    from reports.pages.check.document import (
        append_summary,
        files_of,
        requested_files,
        write_check,
        write_refusal,
    )
    from reports.pages.check.report import check_page

    run = Path(name or FOLDER)
    files = []
    try:
        files = requested_files([*(write or ()), *([f"junit={junit}"] if junit else [])])
        run = _whole_run(name)
        reported = _reported_check(run)
        limits = requested_thresholds(thresholds or ())
        may_differ = _allowed(allow_different)
        close_if_left(run, by_writer=may_close(run))
        result = check_of(run, limits, baseline, on_inconclusive=on_inconclusive, allow=may_differ)
    except RtbenchError as error:
        _report_to_ci(error)
        for file in (*files_of(run), *files):
            with _optional():
                write_refusal(*file, str(error))
        raise
    comment = None
    page = check_page(result)
    with _optional():
        comment = write_check(result, page, run)
        _notice_report_of(reported, run)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with _optional():
            append_summary(page, Path(summary))
    try:
        for form, path in files:
            save_text(path, form.text(result, page))
    finally:
        if not quiet:
            print_page(page, explain=explain)
        _report_to_ci(result, comment)
    if comment and not quiet:
        print_path(comment)
    if result.exit_status:
        raise typer.Exit(result.exit_status)


def _report_to_ci(ended: CheckResult | RtbenchError, comment: Path | None = None) -> None:
    """Print the lines about a check, or about what prevented it, for the CI systems of this
    process. `comment` is as in `reports.pages.check.ci.azure_commands`.
    """
    from reports.pages.check.ci_systems import ci_systems

    systems = ci_systems(os.environ)
    if not systems:
        return
    from reports.pages.check.ci import refusal_lines, result_lines

    lines = (
        refusal_lines(str(ended), systems)
        if isinstance(ended, RtbenchError)
        else result_lines(ended, comment, systems)
    )
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _allowed(names: str) -> tuple[str, ...]:
    """Return the conditions that `--allow-different` names."""
    if not names:
        return ()
    from reports.analysis.targets.conditions import allowed

    return allowed(names)


def _reported_check(run: Path) -> bytes | None:
    """Return the content of check.json if the report of the run may show it, otherwise None."""
    from reports.pages.thresholds import CHECK_FILE

    names = (CHECK_FILE, "report.html")
    stored = all(file_status(run / name) for name in names)
    return (run / CHECK_FILE).read_bytes() if stored else None


def _notice_report_of(check: bytes | None, run: Path) -> None:
    """Print a notice if the report of the run shows an earlier check than the newest one."""
    if check is not None and check != _reported_check(run):
        named = quote(escape_control(str(run)))
        print_notice(f"report.html shows an earlier check: rtbench report {named} renews it")


@contextmanager
def _optional() -> Iterator[None]:
    """Write files on which the exit status does not depend. If one cannot be written, print a
    warning.
    """
    try:
        yield
    except UsageError as error:
        print_notice(f"warning: {one_line(str(error))}")


def _whole_run(name: str) -> Path:
    """Return the folder of a run. Raise UsageError if the name is RUN:TARGET, or if there is no
    such run.
    """
    from bench.record.run_list import split_name

    folder, target = split_name(name)
    if target is not None and is_folder(folder):
        raise UsageError(
            f"check accepts only a whole run, {folder}; to check one target, write"
            f" ttfa{{target:{target}}} in the thresholds"
        )
    return run_with_name(name)


@baseline.command(cls=Command)
def save(name: RunName = "", folder: Folder = BASELINES) -> None:
    """Store the values of a run, a file for each target.

    A run that is invalid, without a verdict or without data is refused.
    """
    from reports.analysis.check import baselines
    from reports.analysis.targets.named import targets_of
    from reports.data.runs import load_for_report
    from reports.formatting import NBSP
    from reports.text.reasons import reason_line

    run = run_with_name(name)
    close_if_left(run)
    targets = targets_of(load_for_report(run))
    if not targets:
        raise UsageError(f"{run} cannot be a baseline: it has no turns")
    if reason := next(filter(None, map(baselines.unfit_reason, targets)), None):
        raise UsageError(f"{run} cannot be a baseline: {reason_line(reason)}".replace(NBSP, " "))
    for target in targets:
        print_path(baselines.save(baselines.baseline_of(target), folder))


@baseline.command(name="list", cls=Command)
def listing(folder: Folder = BASELINES) -> None:
    """List the scenarios and targets that have baselines, with the number of runs of each."""
    from reports.pages.check.baselines import list_baselines

    stored, notices = _stored(folder)
    print_blocks([list_baselines(stored)], notices)


@baseline.command(cls=Command)
def show(
    which: Annotated[str, argument("", "SCENARIO/TARGET")], folder: Folder = BASELINES
) -> None:
    """Show the stored runs of a target, and the run-to-run variation of their values."""
    from reports.pages.check.baselines import describe_baselines

    scenario, _, target = which.partition("/")
    stored, notices = _stored(folder)
    matching = [
        entry
        for entry in stored
        if (entry.baseline.scenario, entry.baseline.target) == (scenario, target)
    ]
    if not matching:
        known = dict.fromkeys(
            f"{entry.baseline.scenario}/{entry.baseline.target}" for entry in stored
        )
        raise UsageError(f"{folder} has no baseline of {which}; it has {', '.join(known)}")
    print_blocks(describe_baselines(matching), notices)


def _stored(folder: Path) -> tuple[list[baselines.StoredBaseline], str]:
    """Return (the baselines of a folder, a line for each other file). Raise UsageError if it has
    no baselines.
    """
    from reports.analysis.check import baselines
    from reports.analysis.check.stored_runs import without_duplicates
    from reports.text.reasons import reason_text

    stored, notices = without_duplicates(baselines.read_baselines(folder))
    if not stored:
        raise UsageError(
            f"{folder} has no baselines: save one with `rtbench baseline save RUN --baselines-dir"
            f" {folder}`"
        )
    return stored, "".join(f"note: {reason_text(notice)}\n" for notice in notices)
