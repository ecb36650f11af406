"""compare.json: the comparison for programs. Versioned, see compare.schema.json; what does not exist is null."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, field

from bench.errors import UsageError
from bench.measures import CATALOGUE
from bench.run.disk import write_text
from reports.comparisons import sentences
from reports.comparisons.comparison import Comparison, Method, run_id
from reports.comparisons.forest_rows import few_cell
from reports.comparisons.page import comparison_page
from reports.finding import ExitStatus, Finding
from reports.looks.decision import Decision, decision_sentence
from reports.page.html import poured
from reports.page.markdown import markdown_text
from reports.question import Kind
from reports.schemas.document import Closed, Count, Known, Rounded, Version, about, data_of, text_of
from reports.sides.fairness import definitions_version
from reports.sides.side import Side
from reports.statistics.differences import Difference, Margin, Scale
from reports.statistics.verdicts import Word
from reports.strata import NO_STRATUM
from reports.wording.differences import figure
from reports.wording.reasons import said

COMPARE_VERSION: Literal[1] = 1


class ComparedSide(Closed, frozen=True):
    """An arm."""

    label: str
    name: Known = field(name="target")
    run_id: str
    folder: Annotated[str, about("name of the run's folder")]
    sessions: Annotated[Count, about("sessions that count; of an interleaved run those of whole pairs")]
    turns: Count
    pairs_cut: Annotated[Count, about("pairs that were not whole and do not count")]
    simulated: bool


class FigureDifference(Closed, frozen=True):
    """Candidate against baseline, with its bounds."""

    scale: Annotated[
        Scale, about("ratio: d, low, high are logs of candidate / baseline; points: candidate − baseline, of shares")
    ]
    level: float
    baseline: Annotated[Rounded, about("in the unit of the measure; null among the failed turns")]
    candidate: Rounded
    d: Rounded
    low: Annotated[Rounded, about("lower one-sided bound; null where it is open")]
    high: Rounded
    se: Rounded
    df: Rounded
    worse_low: Annotated[
        Rounded, about("lower bound of how far the candidate is beyond the margin on the bad side: above 0 it is")
    ]
    worse_high: Rounded
    better_low: Rounded
    p_worse: Rounded
    p_better: Rounded
    baseline_in_failed_share: bool
    candidate_in_failed_share: bool


class OfBoth(Closed, frozen=True):
    """A number of each arm."""

    baseline: Count
    candidate: Count


class SharesOfBoth(Closed, frozen=True):
    """A share of each arm's; null of rates and means."""

    baseline: Rounded
    candidate: Rounded


class ComparedFigure(Closed, frozen=True):
    """One finding; values in the unit of its measure, rates as shares."""

    candidate: str
    figure: str
    measure: str
    kind: Kind
    p: float | None
    origin: Annotated[Known, about("what the turns count from, where a run has several")]
    traits: Annotated[Known, about("which turns they are; null of plain ones, and where a run has no others")]
    step: Known
    unit: str
    gated: bool
    margin: Margin
    word: Word = field(name="verdict")
    passes: bool
    provisional: Annotated[bool, about("run-to-run spread was assumed, not known, or an arm drifts by itself")]
    reason: Annotated[Known, about("why it is inconclusive, where the interval does not say it")]
    more_sessions: Annotated[int | None, about("about so many more in each arm, or pairs, would settle it")]
    sentence: str
    difference: Annotated[FigureDifference | None, about("null where an arm has no such figure")]
    turns: OfBoth
    sessions: OfBoth
    failed: OfBoth
    reached: Annotated[SharesOfBoth, about("of what was wanted, the share that has the figure")]


class FairnessCheck(Closed, frozen=True):
    """A line of whether the comparison was fair."""

    name: str
    texts: Annotated[list[str], about("one for each side")]
    fair: Annotated[bool | None, about("null: said for information")]
    remedy: Known


class PlannedDecision(Closed, frozen=True):
    """What planned looks decided; decision.json has all of it."""

    sentence: str
    status: ExitStatus
    look: Annotated[int, about("looks that were held")]
    looks: Annotated[int, about("looks that were planned")]
    used: Annotated[int, about("pairs in the verdict")] = field(name="pairs")


class CompareDocument(Closed, frozen=True):
    """A comparison of arms. The first side is the baseline. What does not exist is null."""

    schema: Literal[1]
    status: Annotated[
        ExitStatus, about("0 every gated figure passes, 1 one regressed, 3 one is inconclusive, 4 invalid")
    ]
    valid: Annotated[bool, about("whether the comparison was fair; if not, its figures must not be used")]
    simulated: bool
    headline: str
    definitions: Version
    sides: Annotated[list[ComparedSide], Meta(min_length=2)]
    verdicts: Annotated[
        dict[str, Word | None],
        about("by candidate, the worst first: of its gated figures together; null where none was gated"),
    ]
    findings: list[ComparedFigure]
    steps: Annotated[
        list[ComparedFigure],
        about("p50 of each step, not gated, Holm's correction over them; of each candidate the worst first"),
    ]
    decision: Annotated[
        PlannedDecision | None,
        about(
            "what planned looks decided: then the verdict of the whole is theirs, and findings are of one "
            "test over all pairs"
        ),
    ]
    checks: list[FairnessCheck]
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
            status=comparison.status,
            valid=not comparison.unfair,
            simulated=comparison.simulated,
            headline=sentences.comparison_headline(comparison),
            definitions=definitions_version(comparison.sides[0]),
            sides=[_side(side) for side in comparison.sides],
            verdicts=dict(sentences.candidates(comparison)),
            findings=[_finding(finding, comparison) for finding in comparison.findings],
            steps=[_finding(finding, comparison) for finding in comparison.steps],
            decision=_decision(comparison.decision) if comparison.decision else None,
            checks=[FairnessCheck(one.name, list(one.texts), one.fair, one.remedy) for one in comparison.checks],
            method=comparison.method,
            notices=list(comparison.notices),
        )
    )


def _decision(decision: Decision) -> PlannedDecision:
    looks = len(decision.course.looks), len(decision.plan.looks)
    return PlannedDecision(decision_sentence(decision), decision.status, *looks, decision.used)


def _side(side: Side) -> ComparedSide:
    return ComparedSide(
        label=side.label,
        name=side.name,
        run_id=run_id(side),
        folder=side.run.folder.name,
        sessions=side.sessions,
        turns=int(side.here.sum()),
        pairs_cut=side.clusters.cut,
        simulated=side.simulated,
    )


def _finding(finding: Finding, comparison: Comparison) -> ComparedFigure:
    question, difference, verdict = finding.question, finding.difference, finding.verdict
    stratum = question.stratum or NO_STRATUM
    return ComparedFigure(
        candidate=finding.candidate,
        figure=figure(question),
        measure=question.measure,
        kind=question.kind,
        p=question.p,
        origin=stratum.origin,
        traits=stratum.traits,
        step=question.step,
        unit="share" if question.kind == "rate" else CATALOGUE[question.measure].unit,
        gated=question.gated,
        margin=question.margin,
        word=verdict.word,
        passes=verdict.passes,
        provisional=verdict.provisional,
        reason=said(verdict.reason),
        more_sessions=verdict.more_sessions,
        sentence=sentences.sentence(finding, comparison),
        difference=None if difference is None or few_cell(finding) else _difference(difference),
        turns=OfBoth(*finding.turns),
        sessions=OfBoth(*finding.sessions),
        failed=OfBoth(*finding.failed),
        reached=SharesOfBoth(*finding.reached),
    )


def _difference(difference: Difference) -> FigureDifference:
    """`d`, `low`, `high`: logs of a ratio on the scale `ratio`, shares on the scale `points`."""
    return FigureDifference(
        scale=difference.scale,
        level=difference.level,
        baseline=difference.baseline,
        candidate=difference.candidate,
        d=difference.d,
        low=difference.low,
        high=difference.high,
        se=difference.se,
        df=difference.df,
        worse_low=difference.worse_low,
        worse_high=difference.worse_high,
        better_low=difference.better_low,
        p_worse=difference.p_worse,
        p_better=difference.p_better,
        baseline_in_failed_share=math.isinf(difference.baseline),
        candidate_in_failed_share=math.isinf(difference.candidate),
    )


class ComparePaths(NamedTuple):
    """Where a comparison was written."""

    html: Path
    markdown: Path
    json: Path


def write_comparison(comparison: Comparison, folder: Path) -> ComparePaths:
    """Write the three files, each in one step. Raises UsageError where the folder cannot be written."""
    paths = ComparePaths(*(folder / f"compare.{ending}" for ending in ("html", "md", "json")))
    page = comparison_page(comparison)
    texts = poured(page), markdown_text(page), comparison_json(comparison)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, texts, strict=True):
            write_text(path, content)
    except OSError as error:
        raise UsageError(f"the comparison cannot be written to {folder}: {error.strerror}") from None
    return paths
