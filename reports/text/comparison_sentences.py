"""The sentences at the top of a comparison. They are templates with numbers, and judge only what code can compute."""

from __future__ import annotations

from dataclasses import replace

from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.sequential.decision import decision_details, decision_headline
from reports.analysis.summary.run_validity import validity_of
from reports.pages.comparisons.forest_rows import finding_row
from reports.results.verdict import VerdictName
from reports.text import validity
from reports.text.finding_sentences import answer, answer_details, displayed_overall, worst_first
from reports.text.reasons import remedies_text
from reports.text.verdicts import RUN_TO_RUN, metric_text

BY_ANALYSES = (
    "Interim analyses that were planned before the run decided the verdict. The table contains all pairs of the run, "
    "evaluated as one test of a fixed size."
)
PROVISIONAL = (
    f"Provisional: runs of an unchanged service differ by chance; a standard deviation of {RUN_TO_RUN} was assumed."
)
AVOID = "To avoid the assumption, run both targets in one run (--targets A,B), or store five baselines."


def candidates(comparison: Comparison) -> list[tuple[str, VerdictName | None]]:
    """Return each candidate with its verdict, the worst verdict first.

    Candidates with the same verdict are sorted by how far they are beyond the margin.
    """
    if comparison.decision is not None:
        return [(comparison.targets[1].label, comparison.decision.verdict)]
    verdicts = {mine[0].candidate: verdict for verdict, mine in worst_first(comparison.primary)}
    return [
        *verdicts.items(),
        *((target.label, None) for target in comparison.targets[1:] if target.label not in verdicts),
    ]


def verdict_title(comparison: Comparison) -> str:
    """Return the displayed verdict, such as `slower`; "" if there is no verdict.

    If there were interim analyses, it is the verdict of these.
    """
    if comparison.decision is not None:
        verdict = comparison.decision.verdict
        return (
            displayed_overall([finding for finding in comparison.decision.findings if finding.verdict.name == verdict])
            or verdict
        )
    return displayed_overall(worst_first(comparison.primary)[0][1]) if comparison.primary else ""


def comparison_headline(comparison: Comparison) -> str:
    """Return the result in a sentence. With several candidates, the sentence is about the worst one."""
    if comparison.failed_checks:
        return validity.do_not_use(comparison.invalid_reasons)
    if comparison.decision is not None:
        return decision_headline(comparison.decision)
    return answer(comparison.primary)


def comparison_second(comparison: Comparison) -> str:
    """Return the text after the headline: its confidence, and the other metrics."""
    if comparison.failed_checks:
        return remedies_text(comparison.invalid_reasons)
    if comparison.decision is not None:
        return " ".join(filter(None, (decision_details(comparison.decision), BY_ANALYSES)))
    return answer_details(comparison.primary)


def unusable_status(comparison: Comparison) -> str:
    """Return the status of a comparison whose values must not be used.

    It is INVALID or NO VERDICT if a candidate's run has that status, otherwise INVALID COMPARISON.
    """
    validities = [validity_of(target.run.metadata) for target in comparison.targets[1:]]
    unfit = next((run_validity for run_validity in validities if run_validity.status != "valid"), validities[0])
    return validity.run_status(unfit.title, usable=False)


def assumption(comparison: Comparison) -> str:
    """Return sentences on the run-to-run variation that was assumed.

    Return "" if none was assumed, or if the comparison has no verdict.
    """
    assumed = comparison.method.run_sd and any(finding.verdict.provisional for finding in comparison.findings)
    if not assumed or comparison.failed_checks:
        return ""
    return f"{PROVISIONAL} {AVOID}"


def worst_steps(comparison: Comparison) -> list[str]:
    """Return a text for each candidate on its step that is most likely to be worse: name, difference, and verdict."""
    texts = []
    for target in comparison.targets[1:]:
        mine = [finding for finding in comparison.steps if finding.candidate == target.label]
        if mine:
            step_row, spec = finding_row(mine[0], comparison), mine[0].question
            metric = metric_text(replace(spec, step=""))
            texts.append(
                f"{spec.step} of {target.label}, {metric} {step_row.change_text}, margin "
                f"{step_row.margin_text}: {step_row.verdict} (secondary; the worst of {len(mine)} steps, with an "
                "interval that is not corrected for this choice)"
            )
    return texts
