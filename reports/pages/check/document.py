"""The files of a check: check.json and check.md, and JUnit XML on request."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from bench.base.errors import UsageError
from bench.files.safe_io import save_text
from bench.record.presence import is_run
from reports.analysis.check.results import CheckResult, OnInconclusive, ThresholdResult
from reports.analysis.check.results import make_row as flat_row
from reports.metrics.metric_spec import Sign
from reports.pages.check.report import BY_SEVERITY, check_page
from reports.pages.comparisons.interim import write_decision
from reports.render.markdown import render_markdown
from reports.results.json_entries import ClosedJsonEntry, Count, Known, Rounded, described, text_of
from reports.results.reason import Reason
from reports.results.verdict import RESULT_OF_STATUS, Conclusion, Result
from reports.statistics.target_counts import NO_TURNS
from reports.text.check_sentences import check_headline
from reports.text.finding_entry import ComparisonEntry, entry_of
from reports.text.reasons import document_data
from reports.text.validity import ValidityEntry, validity_entry

SCHEMA = 4


class LimitEntry(ClosedJsonEntry, frozen=True):
    """A value and its limit, both in the unit of the metric; null if a value does not exist or is infinite."""

    operator: Sign
    limit: float
    value: Rounded
    low: Annotated[Rounded, described("lower end of the 95 % interval, as in a report")]
    high: Rounded
    bound: Annotated[Rounded, described("the one-sided bound that decided, type I error 5 %; null if none did")]
    in_failures: Annotated[
        bool, described("true if the value is infinite because too many turns failed; then it is null")
    ]


class ThresholdEntry(ClosedJsonEntry, frozen=True):
    """One threshold on one target. An absolute one has a `limit`, a relative one a `comparison`."""

    threshold: str
    title: str
    target: str
    metric: str
    unit: str
    result: Result
    reason: Annotated[Reason | None, described("why it is inconclusive or not evaluated")]
    note: Annotated[Known, described("what the values of the result do not show")]
    provisional: bool
    turns: Count
    sessions: Count
    failed: Count
    completed_share: Annotated[Rounded, described("share of the planned turns that have a value; null for rates")]
    effective_sessions: Annotated[Rounded, described("effective number of sessions, if they are of unequal length")]
    shortfall: Annotated[
        Reason | None, described("the samples that the value lacks to be printed; null if there are enough")
    ]
    limit: LimitEntry | None
    comparison: Annotated[ComparisonEntry | None, described("as in compare.json")]


def threshold_entry(result: ThresholdResult) -> ThresholdEntry:
    """Return a result as an entry of check.json."""
    row, counts = flat_row(result), result.counts or NO_TURNS
    same = {name: row[name] for name in ("threshold", "title", "target", "metric", "unit", "result", "provisional")}
    limit = None
    if result.limit is not None:
        known = (math.nan if row[name] is None else row[name] for name in ("value", "low", "high", "bound"))
        value, low, high, bound = known
        limit = LimitEntry(*result.limit, value, low, high, bound, row["in_failures"])
    return ThresholdEntry(
        **same,
        reason=result.reason,
        note=result.note,
        limit=limit,
        shortfall=result.shortfall,
        turns=counts.turns,
        sessions=counts.sessions,
        failed=counts.failed,
        completed_share=counts.completed_share,
        effective_sessions=counts.effective_sessions,
        comparison=entry_of(result.finding) if result.finding else None,
    )


class CheckDocument(Conclusion, frozen=True):
    """The file of a check."""

    schema: Annotated[int, Meta(ge=1)]
    run_id: str
    scenario: str
    labels: dict[str, str]
    simulated: bool
    recorded: bool
    validity: ValidityEntry
    baseline: Known
    on_inconclusive: OnInconclusive
    observed_s: float
    result_counts: dict[Result, int]
    thresholds: list[ThresholdEntry]
    differs: tuple[str, ...]
    notices: tuple[str, ...]
    warnings: tuple[str, ...]


def check_data(checked: CheckResult) -> dict[str, Any]:
    """Return the document check.json as lists, dictionaries, strings and numbers."""
    return document_data(
        CheckDocument(
            schema=SCHEMA,
            result=RESULT_OF_STATUS[checked.exit_status],
            exit_status=checked.exit_status,
            headline=check_headline(checked).replace("\u00a0", " "),
            run_id=checked.run_id,
            scenario=checked.scenario,
            labels=dict(checked.labels),
            simulated=checked.simulated,
            recorded=checked.recorded,
            validity=validity_entry(checked.validity, checked.invalid_reasons),
            baseline=checked.baseline,
            on_inconclusive=checked.on_inconclusive,
            observed_s=checked.observed_s,
            result_counts={result: len(checked.of(result)) for result in BY_SEVERITY},
            thresholds=[threshold_entry(item) for item in checked.thresholds],
            differs=checked.differs,
            notices=checked.notices,
            warnings=checked.warnings,
        )
    )


class CheckPaths(NamedTuple):
    """The paths of the files of a check."""

    json: Path
    markdown: Path


def write_check(checked: CheckResult, folder: Path) -> CheckPaths:
    """Write check.json and check.md, each atomically.

    If the run has a decision, write decision.json again.

    Raise UsageError if a file cannot be written.
    """
    paths = paths_in(folder)
    if checked.decision:
        write_decision(checked.decision, folder)
    save_text(paths.json, text_of(check_data(checked)))
    save_text(paths.markdown, render_markdown(check_page(checked)))
    return paths


def remove_earlier(folder: Path) -> None:
    """Remove the files of an earlier check in the folder, which could be mistaken for the results of a refused one.

    Raise UsageError if a file cannot be removed.
    """
    try:
        earlier = paths_in(folder) if is_run(folder) else ()
    except UsageError:
        earlier = ()  # the check was refused because of the same folder
    for path in earlier:
        try:
            path.unlink(missing_ok=True)
        except OSError as cause:
            raise UsageError(f"{path}, written by an earlier check, cannot be removed: {cause.strerror}") from None


def paths_in(folder: Path) -> CheckPaths:
    """Return the paths of the files of a run's check."""
    return CheckPaths(folder / "check.json", folder / "check.md")


def append_summary(checked: CheckResult, path: Path) -> None:
    """Append the comment (check.md) to the summary of a GitHub step, after the text that other steps wrote."""
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(render_markdown(check_page(checked)) + "\n")
    except OSError as error:
        raise UsageError(f"GITHUB_STEP_SUMMARY {path} cannot be written: {error.strerror}") from None
