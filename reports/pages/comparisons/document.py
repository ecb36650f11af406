"""The document compare.json, the frame of a comparison, and the writing of its files."""

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from reports.analysis.comparisons.comparison import Comparison, Method
from reports.analysis.targets.fairness import FairnessCheck, definitions_version
from reports.data.runs import run_id_of
from reports.engine.judge import baseline_finding
from reports.render.blocks import Page
from reports.render.files import PagePaths, write_page
from reports.results.json_entries import (
    ClosedJsonEntry,
    Count,
    Known,
    Version,
    text_of,
)
from reports.results.value import (
    RESULT_OF_STATUS,
    BaselineFinding,
    Conclusion,
    Reason,
    ValidityEntry,
    Value,
    VerdictName,
    validity_entry,
)
from reports.text import comparison_sentences as sentences
from reports.text.decision_sentences import decision_sentence
from reports.text.metric_sentences import sentence
from reports.text.reasons import document_data
from reports.text.validity import with_messages

COMPARE_VERSION: Literal[7] = 7


class ComparedTargetEntry(ClosedJsonEntry):
    """A compared target."""

    title: str
    target: Known
    run_id: str
    folder: str
    """name of the run's folder"""
    sessions: Count
    """sessions that count; in an interleaved run, those of complete pairs"""
    turns: Count
    pairs_incomplete: Count
    """incomplete pairs, which do not count"""
    simulated: bool
    recorded: bool


class SequentialEntry(Conclusion, forbid_unknown_fields=True):
    """The decision of planned interim analyses; decision.json has all of it."""

    analysis: int | None
    """interim analyses made so far; null if unknown"""
    analyses: int
    """interim analyses planned"""
    pairs: int
    """pairs in the verdict"""


class CompareDocument(Conclusion, forbid_unknown_fields=True):
    """A comparison of targets. The first one is the baseline. Values that do not exist are null."""

    schema: Literal[7]
    validity: ValidityEntry
    """whether and why not the targets may be compared; if invalid, use no value"""
    simulated: bool
    recorded: bool
    definitions_version: Version
    compared: Annotated[list[ComparedTargetEntry], Meta(min_length=2)]
    verdicts: dict[str, VerdictName | None]
    """verdict on all primary metrics per candidate, the worst first; null if it has none"""
    comparisons: list[BaselineFinding]
    steps: list[BaselineFinding]
    """p50 of each step, without effect on the verdict, with Holm's correction; per candidate, the
    worst first"""
    turn_taking: tuple[Value, ...]
    """of each target by the pause in the caller's speech; empty without pauses of a set length"""
    turn_taking_findings: tuple[BaselineFinding, ...]
    """rates of each step, and of all turns with a pause; without verdicts"""
    sequential: SequentialEntry | None
    """the result of interim analyses, which is then the overall verdict; `comparisons` has one test
    over all pairs"""
    fairness_checks: list[FairnessCheck]
    method: Method
    notices: list[Reason]


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """Return the document compare.json as lists, dictionaries, strings and numbers."""
    planned = None
    if (decision := comparison.decision) is not None:
        planned = SequentialEntry(
            result=decision.result,
            exit_status=decision.exit_status,
            headline=decision_sentence(decision),
            analysis=decision.analyses_made,
            analyses=len(decision.plan["analyses"]),
            pairs=decision.pairs,
        )
    return document_data(
        CompareDocument(
            schema=COMPARE_VERSION,
            result=RESULT_OF_STATUS[comparison.exit_status],
            exit_status=comparison.exit_status,
            simulated=comparison.simulated,
            recorded=comparison.recorded,
            method=comparison.method,
            validity=with_messages(validity_entry("valid", comparison.invalid_reasons)),
            headline=sentences.comparison_headline(comparison),
            definitions_version=definitions_version(comparison.targets[0]),
            compared=[
                ComparedTargetEntry(
                    title=target.label,
                    target=target.name,
                    run_id=run_id_of(target.run),
                    folder=target.run.folder_name,
                    sessions=target.sessions,
                    simulated=target.simulated,
                    turns=int(target.turn_mask.sum()),
                    pairs_incomplete=target.clusters.cut,
                    recorded=target.run.recorded,
                )
                for target in comparison.targets
            ],
            verdicts=dict(sentences.candidates(comparison)),
            comparisons=[baseline_finding(one, sentence(one)) for one in comparison.comparisons],
            steps=[baseline_finding(one, sentence(one)) for one in comparison.steps],
            turn_taking=comparison.pauses,
            turn_taking_findings=comparison.turn_taking,
            sequential=planned,
            fairness_checks=[sentences.written_check(check) for check in comparison.checks],
            notices=sentences.all_notices(comparison),
        ),
        findings=("comparisons", "steps", "turn_taking_findings"),
    )


def write_comparison(comparison: Comparison, page: Page, folder: Path) -> PagePaths:
    """Write compare.html, compare.md and compare.json. Raise UsageError if the folder is not
    writable.
    """
    data = text_of(comparison_data(comparison))
    return write_page(page, data, folder / "compare.html", "the comparison")
