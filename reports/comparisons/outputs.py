"""A comparison as JSON, as a terminal has it, and its files.

compare.json is versioned; what does not exist is null.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from bench.errors import INVALID_STATUS
from reports.comparisons import sentences
from reports.comparisons.comparison import Comparison, Method
from reports.comparisons.forest_rows import finding_row
from reports.comparisons.page import comparison_page
from reports.finding import RESULT_OF_STATUS, ExitStatus, Result
from reports.finding_entry import ComparisonEntry, entry_of
from reports.finding_rows import FindingRow, with_unit
from reports.looks.decision import decision_sentence
from reports.numbers import NBSP, count, listed, percent, plural, span
from reports.records import Closed, Count, Known, Version, about, data_of, text_of
from reports.render import blocks
from reports.render.blocks import MARKS, Fact, with_marker
from reports.render.files import PagePaths, write_page
from reports.render.markers import marker_char
from reports.render.terminal import Badges, Grid, Part, render_lines
from reports.runs import all_called, labels_of, run_id_of
from reports.sides.fairness import Fairness, definitions_version
from reports.statistics.verdicts import ORDERS, VerdictName
from reports.wording.validity import ValidityEntry, validity_entry
from reports.wording.verdicts import figure

COMPARE_VERSION: Literal[3] = 3


class ComparedSide(Closed, frozen=True):
    """An arm."""

    title: str
    target: Known
    run_id: str
    folder: Annotated[str, about("name of the run's folder")]
    sessions: Annotated[Count, about("sessions that count; of an interleaved run those of whole pairs")]
    turns: Count
    pairs_incomplete: Annotated[Count, about("pairs that were not whole and do not count")]
    simulated: bool


class FairnessEntry(Closed, frozen=True):
    """A line of whether the comparison was fair."""

    name: str
    texts: Annotated[list[str], about("one for each target")]
    result: Fairness
    remedy: Known


class PlannedDecision(Closed, frozen=True):
    """What planned looks decided; decision.json has all of it."""

    sentence: str
    exit_status: ExitStatus
    analysis: Annotated[int, about("interim analyses made so far")]
    analyses: Annotated[int, about("interim analyses planned")]
    pairs: Annotated[int, about("pairs in the verdict")]


class CompareDocument(Closed, frozen=True):
    """A comparison of arms. The first side is the baseline. What does not exist is null."""

    schema: Literal[3]
    result: Annotated[
        Result, about("fail: a primary metric regressed; pass: each passes; not_evaluated: the comparison is not fair")
    ]
    validity: Annotated[ValidityEntry, about("whether the targets may be compared; if not, no value may be used")]
    simulated: bool
    headline: str
    definitions_version: Version
    compared: Annotated[list[ComparedSide], Meta(min_length=2)]
    verdicts: Annotated[
        dict[str, VerdictName | None],
        about("by candidate, the worst first: of its primary metrics together; null if it has none"),
    ]
    comparisons: list[ComparisonEntry]
    steps: Annotated[
        list[ComparisonEntry],
        about("p50 of each step, not gated, Holm's correction over them; of each candidate the worst first"),
    ]
    sequential: Annotated[
        PlannedDecision | None,
        about(
            "the result of interim analyses, which is then the verdict of the whole; the comparisons are of "
            "one test over all pairs"
        ),
    ]
    fairness_checks: list[FairnessEntry]
    method: Method
    notices: list[str]


def comparison_json(comparison: Comparison) -> str:
    """The file's text."""
    return text_of(comparison_data(comparison))


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """The comparison as lists, dictionaries, strings and numbers; an open or endless bound is null."""
    return data_of(
        CompareDocument(
            schema=COMPARE_VERSION,
            result=RESULT_OF_STATUS[comparison.exit_status],
            validity=validity_entry("valid", comparison.causes),
            simulated=comparison.simulated,
            headline=sentences.comparison_headline(comparison),
            definitions_version=definitions_version(comparison.sides[0]),
            compared=[
                ComparedSide(
                    title=side.label,
                    target=side.name,
                    run_id=run_id_of(side.run),
                    folder=side.run.folder_name,
                    sessions=side.sessions,
                    turns=int(side.here.sum()),
                    pairs_incomplete=side.clusters.cut,
                    simulated=side.simulated,
                )
                for side in comparison.sides
            ],
            verdicts=dict(sentences.candidates(comparison)),
            comparisons=[entry_of(finding) for finding in comparison.findings],
            steps=[entry_of(finding) for finding in comparison.steps],
            sequential=None
            if (decision := comparison.decision) is None
            else PlannedDecision(
                decision_sentence(decision),
                decision.exit_status,
                len(decision.course.looks),
                len(decision.plan.analyses),
                decision.used,
            ),
            fairness_checks=[
                FairnessEntry(one.name, list(one.texts), one.result, one.remedy) for one in comparison.checks
            ],
            method=comparison.method,
            notices=list(comparison.notices),
        )
    )


def write_comparison(comparison: Comparison, folder: Path) -> PagePaths:
    """Write compare.html, .md and .json. Raises UsageError where the folder cannot be written."""
    paths = PagePaths(*(folder / f"compare.{ending}" for ending in ("html", "md", "json")))
    return write_page(comparison_page(comparison), comparison_json(comparison), paths, "the comparison")


def comparison_text(comparison: Comparison, width: int = 100, colour: bool = False) -> str:
    """The comparison as text: the verdict first."""
    table = [_table(comparison)] if comparison.findings else []
    return render_lines((_opening(comparison), table, _closing(comparison)), width, colour)


def comparison_essentials(comparison: Comparison) -> str:
    """✕ REGRESSED · ✓ VALID · ◇ SIMULATED · gateway against direct: the comparison in one line."""
    base, *others = [side.label for side in comparison.sides]
    badges = [text for text, _ in badges_of(comparison)]
    return " · ".join([*badges, f"{listed(others)} against {base}"]).replace(NBSP, " ")


def badges_of(comparison: Comparison) -> list[tuple[str, str]]:
    """Each badge with its style: the verdict, whether it may be used, simulated, provisional."""
    if comparison.unfair or (comparison.exit_status == INVALID_STATUS and comparison.decision is not None):
        status = sentences.unusable_status(comparison)
        judged = [(with_marker(status), MARKS[status].ink)]
    else:
        status = sentences.verdict(comparison) or "NO VERDICT"
        shown = sentences.verdict_shown(comparison) or status
        judged = [
            (f"{MARKS[status].glyph} {shown.upper()}", MARKS[status].ink),
            (with_marker("VALID"), MARKS["VALID"].ink),
        ]
    simulated = [("◇ SIMULATED", "sim")] if comparison.simulated else []
    doubted = any(finding.verdict.provisional for finding in comparison.primary) and not comparison.unfair
    assumed = [("PROVISIONAL", "warn")] if doubted else []
    return [*judged, *simulated, *assumed]


def _opening(comparison: Comparison) -> Iterable[Part]:
    badges = badges_of(comparison)
    yield blocks.Paragraph(sentences.comparison_headline(comparison), f"{badges[0][1]} bold")
    yield Badges(badges, design(comparison))
    yield blocks.Paragraph(sentences.comparison_second(comparison))


def design(comparison: Comparison) -> str:
    """Return the size: 200 pairs over 10 min, interleaved in one run; 100 sessions per target; 100 and 120 sessions."""
    sizes = [side.sessions for side in comparison.sides]
    over = f" over {span(comparison.method.observed_s)}" if comparison.method.observed_s else ""
    if comparison.method.design == "pairs":
        return f"{plural(sizes[0], 'pair')}{over}, interleaved in one run"
    if len(set(sizes)) == 1:
        return f"{plural(sizes[0], 'session')} per target{over}"
    return f"{listed([count(size) for size in sizes])} sessions{over}"


FIGURE, BASELINE, CANDIDATE, DIFFERENCE, MARGIN, JUDGED, VERDICT = range(7)
LAYOUTS = (
    (FIGURE, BASELINE, CANDIDATE, DIFFERENCE, MARGIN, JUDGED),
    (FIGURE, BASELINE, CANDIDATE, DIFFERENCE, MARGIN, VERDICT),
    (FIGURE, BASELINE, CANDIDATE, DIFFERENCE, VERDICT),
    (BASELINE, CANDIDATE, DIFFERENCE, MARGIN, VERDICT),
)
"""From the widest to the narrowest. Both values and the interval stay, for a difference says little without them."""
STACKED = ((BASELINE, CANDIDATE, MARGIN), (DIFFERENCE, VERDICT))


def _table(comparison: Comparison) -> Grid:
    """Return for each candidate the primary metrics, then the secondary ones."""
    places = {side.label: place for place, side in enumerate(comparison.sides)}
    findings = [finding_row(finding, comparison) for finding in comparison.findings]
    difference = f"difference ({percent(1 - 2 * comparison.method.level, 1)})"
    heads = ("metric", "baseline", "candidate", difference, "margin", "verdict", "verdict")
    rows: list[blocks.Row] = []
    for label, _ in sentences.candidates(comparison):
        title = f"{marker_char(places[label])} {label} against {marker_char(0)} {comparison.sides[0].label}"
        rows += [
            *([blocks.make_row([""])] if rows else []),
            blocks.make_row([title]),
            blocks.make_row(list(heads), "soft"),
        ]
        own = [row for row in findings if row.candidate == label]
        rows += [_line(row) for row in own if row.finding.question.primary]
        others = [_line(row) for row in own if not row.finding.question.primary]
        rows += [*([blocks.make_row([blocks.Cell("secondary", style="soft")])] if others else []), *others]
    return Grid(rows, (FIGURE, JUDGED, VERDICT), LAYOUTS, indent="  ", stacked=STACKED)


def _line(row: FindingRow) -> blocks.Row:
    values = [with_unit(value, row.unit) for value in row.values]
    style = MARKS[row.verdict_name].ink if row.finding.question.primary else "soft"
    verdicts = [blocks.Cell(one, style=style) for one in (row.judged, row.starred)]
    return blocks.make_row([figure(row.finding.question), *values, row.told, row.margin_text, *verdicts])


def _closing(comparison: Comparison) -> Iterable[Part]:
    """Yield why primary metrics are inconclusive, whether the comparison was fair, what differs, and notes."""
    doubted = [one.difference for one in comparison.findings if finding_row(one, comparison).doubted]
    if orders := dict.fromkeys(ORDERS[one.order] for one in doubted if one and one.order):
        yield blocks.Paragraph(f"* provisional: {'; '.join(orders)}", "soft")
    spoken = sentences.candidates(comparison)[0][0]
    for row in (finding_row(finding, comparison) for finding in comparison.primary):
        if row.why and comparison.decision is None and row.candidate != spoken:
            yield Fact("undecided", [f"{figure(row.finding.question)} on {row.candidate}: {row.why}"])
    for worst in sentences.worst_steps(comparison):
        yield Fact("worst step", [worst])
    base, reached = comparison.sides[0].label, list[str]()
    for finding in comparison.primary:
        if min(finding.reached) < 1:  # ttfa by 71.2 % of the planned turns on a, 99 % on b
            first, second = (percent(share, 1) for share in finding.reached)
            metric, of = finding.question.metric, f"{first} of the planned turns on {base}"
            reached.append(f"{metric} in {of}, {second} on {finding.candidate}")
    yield Fact("completed", list(dict.fromkeys(reached)))
    documents = [side.run.metadata for side in comparison.sides]
    if any(labels_of(document) for document in documents):
        yield Fact("of", [listed(all_called(documents))])
    yield Fact("fair", [f"✓ {check.name}" for check in comparison.checks if check.result == "pass"])
    yield Fact("not fair", [f"✕ {check.name}" for check in comparison.unfair], "bad")
    for check in comparison.checks:
        if check.result == "informational" and len(set(check.texts)) > 1:
            texts = [f"{side.label} {text}" for side, text in zip(comparison.sides, check.texts, strict=True)]
            yield Fact("differs", [f"{check.name}: {', '.join(texts)}"])
    for notice in (sentences.assumption(comparison), *comparison.notices):
        yield Fact("note", [notice])
