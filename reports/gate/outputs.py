"""A check as a terminal, Markdown and JSON have it, its files, and what CI systems show of it: GitHub's annotations,
Azure's issues and summary, JUnit XML for all of them.

Workflow commands of GitHub Actions escape a message as `%25`, `%0D`, `%0A`; a property such as its title also as `%3A`
and `%2C` (docs.github.com, "Workflow commands"; actions/toolkit, `command.ts`). Logging commands of Azure Pipelines
escape it as `%AZP25`, `%0D`, `%0A`; a property also as `%5D` and `%3B` (learn.microsoft.com, "Logging commands";
azure-pipelines-task-lib, `taskcommand.ts`).
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult
from msgspec import Meta

from bench.errors import UsageError
from bench.run.presence import is_run
from bench.untrusted.safe_io import replace_text
from bench.untrusted.sanitize import escape_control
from reports.finding import ExitStatus, Result
from reports.finding_entry import ComparisonEntry, entry_of
from reports.gate.results import Checked, OnInconclusive, ThresholdResult
from reports.gate.results import row_of as flat_row
from reports.gate.sentences import (
    baseline_text,
    beside,
    check_badges,
    check_causes,
    check_glyph,
    check_headline,
    completed_text,
    ending,
    interval_text,
    is_judged,
    limit_text,
    mark,
    reason,
    remarks,
    result_sentence,
    shown_result,
    value_text,
    verdict_text,
)
from reports.looks.decision import analyses, write_decision
from reports.numbers import NBSP, count, plural, shortened
from reports.records import Closed, Count, Known, Record, Rounded, about, data_of, text_of
from reports.render.blocks import (
    MARKS,
    Block,
    Bullets,
    Cell,
    Code,
    Details,
    Fact,
    Heading,
    Inline,
    Paragraph,
    Row,
    Strong,
    Table,
    make_row,
    table,
)
from reports.render.markdown import markdown_blocks
from reports.render.terminal import Grid, Part, render_lines
from reports.statistics.target_counts import NO_TURNS
from reports.thresholds import Sign
from reports.wording.validity import ValidityEntry, validity_entry
from reports.wording.words import observed

ROWS_MOST = 10
WORST_FIRST: tuple[Result, ...] = ("fail", "not_evaluated", "inconclusive", "pass")


def check_markdown(checked: Checked) -> str:
    """The file's text."""
    return markdown_blocks(_parts(checked))


def _parts(checked: Checked) -> Iterable[Block]:
    items = sorted(checked.thresholds, key=lambda item: WORST_FIRST.index(item.result))
    shown, more = items[:ROWS_MOST], items[ROWS_MOST:]
    yield Heading(f"{check_glyph(checked)} {check_headline(checked)}")
    yield Paragraph(" · ".join([*_head(checked), ending(checked)]))
    yield from (Paragraph(Strong(f"! {warning}")) for warning in checked.warnings)
    yield _table(shown, checked)
    yield Paragraph(_intervals(checked))
    judged = [item for item in checked.thresholds if is_judged(item, checked)]
    reasons = (f"{item.target}: {item.title}: {why}" for item in judged if (why := reason(item)))
    yield Details("Why, and what to do", [Bullets([*beside(checked), *reasons])])
    yield Details(plural(len(more), "more threshold"), [_table(more, checked)])
    sizes = [
        (*(count(n) for n in (found.turns, found.sessions, found.failed)), completed_text(item))
        for item in items
        for found in [item.counts or NO_TURNS]
    ]
    rows = [[item.title, item.target, *size] for item, size in zip(items, sizes, strict=True)]
    heads = ("metric", "target", "turns", "sessions", "failed", "completed")
    yield Details("Turns, sessions and failures", [table(heads, rows, left=(0, 1))])


def _table(items: Sequence[ThresholdResult], checked: Checked) -> Table:
    return table(
        ("threshold", "target", "baseline", "value", "interval", "limit", "verdict"),
        (
            [
                Code(item.threshold),
                item.target,
                baseline_text(item),
                value_text(item),
                interval_text(item),
                limit_text(item),
                _verdict(item, checked),
            ]
            for item in items
        ),
        left=(0, 1, -1),
    )


INTERVALS = (
    "Intervals of values are 95 %, as in a report. A threshold passes or fails by one bound, which errs in 5 % of runs."
)
DIFFERENCES = "Intervals of differences are 90 %, as in a comparison: their ends are the bounds that decide."


def _intervals(checked: Checked) -> str:
    """Return which intervals a check shows, and what decides."""
    limits, differences = ({one.relative for one in checked.thresholds} >= {way} for way in (False, True))
    return " ".join([*([INTERVALS] if limits else []), *([DIFFERENCES] if differences else [])])


def _verdict(item: ThresholdResult, checked: Checked) -> Inline:
    verdict: Inline = mark(item, checked)
    if not is_judged(item, checked):
        return verdict
    if item.result in ("fail", "not_evaluated"):
        verdict = (f"{MARKS[item.result].glyph} ", Strong(verdict_text(item)))
    return (verdict, ", provisional") if item.provisional else verdict


NAMES = 44
"""Letters of a figure with its target."""
NAME, VALUE, INTERVAL, LIMIT, VERDICT = range(5)
LAYOUTS = (NAME, VALUE, INTERVAL, LIMIT, VERDICT), (VALUE, INTERVAL, LIMIT, VERDICT)


def check_text(checked: Checked, width: int = 100, colour: bool = False) -> str:
    """The check as text."""
    several = len({item.target for item in checked.thresholds}) > 1
    rows: list[Row] = []
    for item in checked.thresholds:
        name = f"{item.target}: {item.title}" if several else item.title
        judged = is_judged(item, checked)
        verdict = Cell(
            mark(item, checked), reason(item) if judged else "", style=MARKS[item.result].ink if judged else "soft"
        )
        rows.append(
            make_row([shortened(name, NAMES), value_text(item), interval_text(item), limit_text(item), verdict])
        )
    grid = Grid(rows, (NAME, VERDICT), LAYOUTS, indent="  ")
    table: list[Part] = [grid, Paragraph(_intervals(checked), "soft")] if rows else []
    decided = analyses(checked.decision) if checked.decision else ()
    closing: list[Part] = [
        *(Fact("note:", [remark], indent=6) for remark in beside(checked)),
        Paragraph(ending(checked)),
    ]
    return render_lines((_opening(checked), table, decided, closing), width, colour)


def _head(checked: Checked) -> list[str]:
    """Return what was checked: badges, scenario, run, baseline, and for how long the service was observed."""
    against = f"against {checked.baseline}" if checked.baseline else ""
    head = [*check_badges(checked), checked.called, checked.run_id, against, observed(checked.observed_s)]
    return list(filter(None, head))


def _opening(checked: Checked) -> Iterable[Part]:
    yield Fact(check_glyph(checked), [check_headline(checked)], "bold", indent=2)
    yield Paragraph(" · ".join(_head(checked)))
    for warning in checked.warnings:
        yield Fact("!", [warning], "warn bold", indent=2)


SCHEMA = 3


class LimitEntry(Closed, frozen=True):
    """A value against its limit, both in the unit of the metric; null where a value does not exist or is infinite."""

    operator: Sign
    limit: float
    value: Rounded
    low: Annotated[Rounded, about("lower end of the interval of 95 %, as in a report")]
    high: Rounded
    bound: Annotated[Rounded, about("the bound that decided, with an error of 5 %; null if none did")]
    in_failures: Annotated[bool, about("whether the value lies among the failed turns; then it is null")]


class ThresholdEntry(Closed, frozen=True):
    """One threshold on one target. An absolute one has a `limit`, a relative one a `comparison`."""

    threshold: str
    title: str
    target: str
    metric: str
    unit: str
    result: Result
    reason_code: Known
    reason: Annotated[Known, about("why it is inconclusive or not evaluated")]
    provisional: bool
    turns: Count
    sessions: Count
    failed: Count
    completed_share: Annotated[Rounded, about("of the planned turns, the share that has a value; null of rates")]
    effective_sessions: Annotated[Rounded, about("sessions of one length that say as much as these do")]
    required: Annotated[int | None, about("what the value needs to be shown; null if there is enough")]
    available: int | None
    required_unit: Literal["turns", "sessions", "words"] | None
    limit: LimitEntry | None
    comparison: Annotated[ComparisonEntry | None, about("as in compare.json")]


def threshold_entry(one: ThresholdResult) -> ThresholdEntry:
    """Return a result as check.json has it."""
    row, counts = flat_row(one), one.counts or NO_TURNS
    limit = None
    if one.limit is not None:
        value, low, high, bound = (
            math.nan if row[name] is None else row[name] for name in ("value", "low", "high", "bound")
        )
        limit = LimitEntry(*one.limit, value, low, high, bound, row["in_failures"])
    return ThresholdEntry(
        threshold=one.threshold,
        title=one.title,
        target=one.target,
        metric=one.metric,
        unit=one.question.unit,
        result=one.result,
        reason_code=row["reason_code"] or "",
        reason=one.reason_text,
        provisional=one.provisional,
        turns=counts.turns,
        sessions=counts.sessions,
        failed=counts.failed,
        completed_share=counts.completed_share,
        effective_sessions=counts.effective_sessions,
        required=row["required"],
        available=row["available"],
        required_unit=row["required_unit"],
        limit=limit,
        comparison=entry_of(one.finding) if one.finding else None,
    )


class CheckDocument(Record, frozen=True):
    """The file. `exit_status`: 0 pass, 1 fail, 3 inconclusive, 4 invalid or without data."""

    schema: Annotated[int, Meta(ge=1)]
    exit_status: ExitStatus
    headline: str
    run_id: str
    scenario: str
    labels: dict[str, str]
    simulated: bool
    validity: ValidityEntry
    baseline: Known
    on_inconclusive: OnInconclusive
    observed_s: float
    result_counts: dict[Result, int]
    thresholds: list[ThresholdEntry]
    differs: tuple[str, ...]
    notices: tuple[str, ...]
    warnings: tuple[str, ...]


def check_data(checked: Checked) -> dict[str, Any]:
    """The check as lists, dictionaries, strings and numbers."""
    return data_of(
        CheckDocument(
            schema=SCHEMA,
            exit_status=checked.exit_status,
            headline=check_headline(checked).replace("\u00a0", " "),
            run_id=checked.run_id,
            scenario=checked.scenario,
            labels=dict(checked.labels),
            simulated=checked.simulated,
            validity=validity_entry(checked.validity, check_causes(checked)),
            baseline=checked.baseline,
            on_inconclusive=checked.on_inconclusive,
            observed_s=checked.observed_s,
            result_counts={result: len(checked.of(result)) for result in WORST_FIRST},
            thresholds=[threshold_entry(one) for one in checked.thresholds],
            differs=checked.differs,
            notices=checked.notices,
            warnings=checked.warnings,
        )
    )


def check_json(checked: Checked) -> str:
    """The file's text."""
    return text_of(check_data(checked))


class CheckPaths(NamedTuple):
    """Where a check was written."""

    json: Path
    markdown: Path


def write_check(checked: Checked, folder: Path, junit: Path | None = None) -> CheckPaths:
    """Write the files, each in one step, and decision.json anew. Raises UsageError for one that cannot be written."""
    paths = paths_in(folder)
    if checked.decision:
        write_decision(checked.decision, folder)
    texts = [(paths.json, check_json(checked)), (paths.markdown, check_markdown(checked))]
    for path, text in [*texts, *([(junit, junit_xml(checked))] if junit else [])]:
        _write(path, text)
    return paths


def refuse(error: str, folder: Path, junit: Path | None = None) -> None:
    """Nothing was checked: an earlier check's files are removed, which would be taken for this one's; JUnit says why.

    Raises UsageError for a file that cannot be removed or written.
    """
    try:
        there = is_run(folder)
    except UsageError:
        there = False  # `error` is about the same folder
    if there:
        for path in paths_in(folder):
            try:
                path.unlink(missing_ok=True)
            except OSError as cause:
                raise UsageError(f"{path} is of an earlier check and cannot be removed: {cause.strerror}") from None
    if junit:
        _write(junit, junit_refusal(error))


def paths_in(folder: Path) -> CheckPaths:
    """Where a run's check is written."""
    return CheckPaths(folder / "check.json", folder / "check.md")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def append_summary(checked: Checked, path: Path) -> None:
    """Add the comment to the summary of a GitHub step, after what other steps wrote there."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(check_markdown(checked) + "\n")
    except OSError as error:
        raise UsageError(f"GITHUB_STEP_SUMMARY {path} cannot be written: {error.strerror}") from None


MOST = 10
"""Annotations of one kind that a step shows."""


def github_commands(checked: Checked) -> Iterable[str]:
    """Lines for the step's output. What passes by `--on-inconclusive=pass` is not annotated."""
    if checked.exit_status == 4:
        yield github_command("error", "rtbench check", check_headline(checked))
        return
    yield from (github_command("warning", "rtbench check", warning) for warning in checked.warnings)
    for item in checked.of("fail")[:MOST]:
        yield github_command("error", f"{item.title} {shown_result(item)}", result_sentence(item))
    if checked.on_inconclusive != "pass":
        kind = "error" if checked.exit_status == 3 else "warning"
        for item in checked.of("inconclusive")[:MOST]:
            yield github_command(kind, f"{item.title} {shown_result(item)}", result_sentence(item))


def github_refusal(error: str) -> str:
    """Of what cannot be asked so."""
    return github_command("error", "rtbench check", error)


def github_command(kind: str, title: str, message: str) -> str:
    """::error title=…::…"""
    title = _github_data(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={title}::{_github_data(message)}"


def _github_data(text: str) -> str:
    return escape_control(text.replace(NBSP, " ").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def azure_commands(checked: Checked, comment: Path) -> Iterable[str]:
    """Lines for the step's output; `comment`: check.md, which is shown under the run."""
    if checked.exit_status == 4:
        yield azure_command("task.logissue", {"type": "error"}, check_headline(checked))
    else:
        for item in checked.of("fail"):
            yield azure_command("task.logissue", {"type": "error"}, result_sentence(item))
        kind = "error" if checked.exit_status == 3 else "warning"
        for item in checked.of("inconclusive") if checked.on_inconclusive != "pass" else ():
            yield azure_command("task.logissue", {"type": kind}, result_sentence(item))
    yield from (azure_command("task.logissue", {"type": "warning"}, warning) for warning in checked.warnings)
    yield azure_command("task.uploadsummary", {}, str(comment.resolve()))
    if checked.warns:
        yield azure_command("task.complete", {"result": "SucceededWithIssues"}, check_headline(checked))


def azure_refusal(error: str) -> str:
    """Of what cannot be asked so."""
    return azure_command("task.logissue", {"type": "error"}, error)


def azure_command(name: str, properties: Mapping[str, str], message: str) -> str:
    """##vso[task.logissue type=error;]…"""
    escaped = {key: _azure_data(value).replace("]", "%5D").replace(";", "%3B") for key, value in properties.items()}
    told = "".join(f"{key}={value};" for key, value in escaped.items())
    return f"##vso[{name}{' ' if told else ''}{told}]{_azure_data(message)}"


def _azure_data(text: str) -> str:
    return escape_control(text.replace(NBSP, " ").replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A"))


_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write; labels are anyone's."""


def junit_xml(checked: Checked) -> str:
    """Return the file's text. Failed thresholds are failures, inconclusive ones too or skipped, invalid ones errors."""
    suite = TestSuite("rtbench check")
    suite.add_property("run", _plain(checked.run_id))
    suite.add_property("simulated", "yes" if checked.simulated else "no")
    invalid = " ".join(remarks(checked)) if checked.causes or checked.differs else ""
    if not checked.thresholds:
        suite.add_testcase(_case("run", checked, [Error(_plain(invalid or "nothing was checked"), "invalid")]))
    for item in checked.thresholds:
        suite.add_testcase(
            _case(f"{item.threshold} [{item.target}, {item.title}]", checked, _results(item, checked, invalid))
        )
    return _text(suite)


def junit_refusal(error: str) -> str:
    """The file's text where nothing was checked, for it cannot be asked so: one error."""
    suite, case = TestSuite("rtbench check"), TestCase("run", classname="rtbench.check", time=0.0)
    case.result = [Error(_plain(error), "usage")]
    suite.add_testcase(case)
    return _text(suite)


def _text(suite: TestSuite) -> str:
    whole = JUnitXml("rtbench")
    whole.add_testsuite(suite)
    whole.update_statistics()  # type: ignore[no-untyped-call]
    found = io.BytesIO()
    whole.write(found, pretty=True)
    return found.getvalue().decode()


def _case(name: str, checked: Checked, results: list[FinalResult]) -> TestCase:
    case = TestCase(_plain(name), classname=f"rtbench.{_plain(checked.scenario)}", time=0.0)
    case.result = results
    return case


def _results(item: ThresholdResult, checked: Checked, invalid: str) -> list[FinalResult]:
    text = _plain(result_sentence(item))
    if invalid or item.result == "not_evaluated":
        return [Error(_plain(invalid) or text, "invalid")]
    if item.result == "fail":
        return [Failure(text, item.finding.verdict.name if item.finding else item.result)]
    if item.result == "inconclusive":
        return [Failure(text, item.result) if checked.on_inconclusive == "fail" else Skipped(text, item.result)]
    return []


def _plain(text: str) -> str:
    return _NO_XML.sub("�", text.replace(NBSP, " "))
