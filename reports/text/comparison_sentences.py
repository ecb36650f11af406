"""The sentences at the top of a comparison. They are templates with numbers, and judge only what
code can compute.
"""

from collections.abc import Collection
from dataclasses import replace

from msgspec import structs

from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.summary.run_validity import data_notes, validity_of
from reports.analysis.targets.compared_target import Targets
from reports.analysis.targets.fairness import FairnessCheck
from reports.data.samples import VOICE_TO_VOICE
from reports.data.turns import measured_sessions
from reports.engine.judge import Judged
from reports.formatting import NBSP, format_number, join_present, join_words
from reports.results.value import Reason, VerdictName
from reports.text import comparison_rows, validity
from reports.text.check_reasons import RUN_TO_RUN
from reports.text.comparability import check_name, check_texts
from reports.text.comparison_rows import MEANINGS, ComparisonRow, change_in_words, direction_of
from reports.text.decision_sentences import decision_details, decision_headline, remedy
from reports.text.metric_sentences import (
    displayed_overall,
    headline,
    headline_details,
    overall,
    subject,
    worst_first,
)
from reports.text.notices import run_notices, uncertain_line
from reports.text.reasons import remedies, remedies_text

BY_ANALYSES = "Interim analyses that were planned before the run decided the verdict."
ONE_TEST = "The table contains all pairs of the run, evaluated as one test of a fixed size."
PROVISIONAL = (
    "Provisional: runs of an unchanged service differ by chance; a standard deviation of"
    f" {RUN_TO_RUN} was assumed."
)
AVOID = (
    "To avoid the assumption, run both targets in one run (--targets A,B), or store five baselines."
)


def candidates(comparison: Comparison) -> list[tuple[str, VerdictName | None]]:
    """Return each candidate with its verdict, the worst verdict first.

    Candidates with the same verdict are sorted by how far they are beyond the margin.
    """
    if comparison.decision is not None:
        return [(comparison.targets[1].label, comparison.decision.verdict)]
    verdicts = {mine[0].target: verdict for verdict, mine in worst_first(comparison.primary)}
    for target in comparison.targets[1:]:
        verdicts.setdefault(target.label, None)
    return [*verdicts.items()]


def verdict_title(comparison: Comparison) -> str:
    """Return the displayed verdict, such as `slower`; "" if there is no verdict.

    If there were interim analyses, it is the verdict of these.
    """
    if (decision := comparison.decision) is not None:
        mine = [one for one in decision.comparisons if one.verdict.name == decision.verdict]
        return displayed_overall(mine) or decision.verdict
    return displayed_overall(worst_first(comparison.primary)[0][1]) if comparison.primary else ""


def comparison_headline(comparison: Comparison) -> str:
    """Return the result in a sentence. With several candidates, the sentence is about the worst
    one.
    """
    if comparison.failed_checks:
        return validity.do_not_use(validity.summarized(comparison.invalid_reasons))
    if comparison.decision is not None:
        return join_present(" ", decision_headline(comparison.decision), _so_far(comparison))
    return headline(comparison.primary)


def _so_far(comparison: Comparison) -> str:
    """Return how a primary metric differs if no interim analysis took place; "" if it does not.

    The interval of a run that a person ended because of its results would be too narrow.
    """
    known = [one for one in comparison.primary if one.direction]
    if not comparison.decision or comparison.decision.end != "no_analysis" or not known:
        return ""
    one = subject(known)
    return (
        f"So far, {one.target} is {direction_of(one)} than {one.baseline}:"
        f" {_difference(comparison, one)}, if the results did not cause the end of the run."
    )


def heard(comparison: Comparison) -> str:
    """Return what callers of the worst candidate hear, if this is a secondary metric; "" otherwise,
    or if the comparison is invalid.
    """
    if comparison.failed_checks:
        return ""
    wanted = (candidates(comparison)[0][0], VOICE_TO_VOICE, 0.5, False)
    for one in comparison.comparisons:
        found = (one.target, one.spec.metric, one.spec.p, one.spec.primary)
        if found == wanted and one.published and not one.unfit:
            verdict = ComparisonRow(one).verdict_text
            return f"For callers (secondary): {_difference(comparison, one)}, {verdict}."
    return ""


def _difference(comparison: Comparison, one: Judged) -> str:
    level = interval_text(comparison.method.level)
    interval = comparison_rows.interval_text(one)
    return f"{one.spec.title} {change_in_words(one)}, {level} interval {interval}"


def comparison_second(comparison: Comparison) -> str:
    """Return the text after the headline: its meaning, its confidence, and the other metrics."""
    if comparison.failed_checks:
        return remedies_text(comparison.invalid_reasons)
    if (decision := comparison.decision) is not None:
        verdict: VerdictName | None = decision.verdict
        by = BY_ANALYSES if decision.is_decided_by_analysis else ""
        details = join_present(" ", decision_details(decision), remedy(decision), by, ONE_TEST)
    else:
        verdict = overall(comparison.primary)
        details = headline_details(comparison.primary)
    meaning = f"{MEANINGS[verdict][0]}." if verdict else ""
    return join_present(" ", meaning, details)


def unusable_status(comparison: Comparison) -> str:
    """Return the status of a comparison whose values must not be used.

    It is INVALID or NO VERDICT if a candidate's run has that status, otherwise INVALID COMPARISON.
    """
    validities = [validity_of(target.run.metadata) for target in comparison.targets[1:]]
    first, *_ = [one for one in validities if one.status != "valid"] or validities
    return validity.run_status(first.title, usable=False)


def assumption(comparison: Comparison) -> str:
    """Return sentences on the run-to-run variation that was assumed.

    Return "" if none was assumed, or if the comparison has no verdict.
    """
    if not comparison.method.run_sd or comparison.failed_checks:
        return ""
    is_provisional = any(one.verdict.provisional for one in comparison.comparisons)
    return f"{PROVISIONAL} {AVOID}" if is_provisional else ""


def worst_steps(comparison: Comparison) -> list[str]:
    """Return a text for each candidate on its step that is most likely to be worse: name,
    difference, and verdict.
    """
    texts = []
    for target in comparison.targets[1:]:
        mine = [compared for compared in comparison.steps if compared.target == target.label]
        if mine:
            worst = ComparisonRow(mine[0], not comparison.failed_checks)
            spec = mine[0].spec
            metric = replace(spec, step="").title
            texts.append(
                f"{spec.step} of {target.label}, {metric} {worst.change_text}, margin"
                f" {worst.margin_text}: {worst.verdict} (secondary; the worst of {len(mine)} steps,"
                " with an interval that is not corrected for this choice)"
            )
    return texts


def written_check(check: FairnessCheck) -> FairnessCheck:
    """Return a check with its texts."""
    remedy = join_words(remedies(check.reasons))
    return structs.replace(check, name=check_name(check), texts=check_texts(check), remedy=remedy)


def all_notices(comparison: Comparison) -> list[Reason]:
    """Return the notices on the comparison, then those on each run, which have no code of their
    own.
    """
    primary = [*dict.fromkeys(compared.spec.metric for compared in comparison.primary)]
    return [*comparison.notices, *run_reasons(comparison.targets, primary)]


def run_reasons(targets: Targets, metrics: Collection[str]) -> list[Reason]:
    """Return the notices on the runs of these targets, and on those of `metrics` that are uncertain
    in a run.

    A notice names the runs that it is about, unless it is about all of them.
    """
    labels: dict[str, list[str]] = {}
    runs = {id(target.run): target for target in targets}.values()
    for target in runs:
        ignored = target.outcomes.ignored
        notes = data_notes(target.run, target.turns, measured_sessions(target.run), ignored)
        for line in dict.fromkeys(
            (*run_notices(target.run, notes), uncertain_line(target.run, [*metrics]))
        ):
            labels.setdefault(line, []).append(target.label)
    return [
        Reason(
            "run_notice",
            ({} if len(of) == len(runs) else {"target": join_words(of)}) | {"notice": line},
        )
        for line, of in labels.items()
        if line
    ]


def interval_text(level: float) -> str:
    """Return the confidence of the two-sided interval between two one-sided bounds, such as `90
    %`.
    """
    return f"{format_number(100 * (1 - 2 * level))}{NBSP}%"
