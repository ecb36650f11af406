"""The sentences of the decision on a run with planned interim analyses."""

import math

from reports.analysis.sequential.analysis import End
from reports.analysis.sequential.decide import BY_ANALYSIS, Decision
from reports.formatting import NBSP, count, format_duration, join_present, plural
from reports.metrics.metric_spec import MetricSpec
from reports.render.blocks import MARKS
from reports.results.value import as_share
from reports.text.metric_sentences import displayed, headline, headline_details
from reports.text.reasons import reason_text
from reports.text.validity import do_not_use
from reports.text.verdicts import signed

FOR_INFORMATION = (
    "For information only, not a verdict: interim analyses of these pairs, computed after the run."
)
DRIFTED = "Provisional: one target drifted or had bursts."
REASONS: dict[End, str] = {
    "regressed": "A primary metric is worse than its margin allows.",
    "not_regressed": "No primary metric is worse than its margin allows.",
    "futility": "Further analyses were unlikely to decide.",
    "final_analysis": "The final analysis was inconclusive.",
    "invalid": "The targets could not be compared at that time, so nothing was decided.",
    "stopped_by_user": "The run was interrupted; only bounds that were crossed before that count.",
    "pending": "The run is in progress.",
    "no_analysis": "The run ended before its first interim analysis.",
}


def decision_sentence(decision: Decision) -> str:
    """Return the headline, its details, and what ended the run."""
    return join_present(" ", decision_headline(decision), decision_details(decision))


def decision_headline(decision: Decision) -> str:
    """Return the result as one sentence."""
    analyses = decision.analyses
    planned = decision.plan["analyses"]
    if decision.invalid:
        return do_not_use(decision.invalid)
    if decision.end == "pending":
        after = f"Not decided after {analysis_place(decision)}" if analyses else ""
        status = after or "No interim analysis yet"
        ended = f"{plural(decision.pairs_ended, 'pair')} ended so far"
        return f"{status}: {ended}, the next analysis is at {count(planned[len(analyses)])}."
    if decision.end == "no_analysis":
        pairs = f"{count(decision.pairs_ended)} of {count(planned[0])} pairs"
        return (
            "Inconclusive: the run ended before its first interim analysis, with"
            f" {pairs}{_because(decision)}."
        )
    return headline(decision.comparisons)


def decision_details(decision: Decision) -> str:
    """Return the text after the headline: the confidence, the other metrics, and what ended the
    run.

    Return "" if the run has not ended, or ended before its first analysis.
    """
    if not decision.is_decided_by_analysis:
        return end_sentence(decision) if decision.ended and decision.invalid else ""
    drifted = not decision.invalid and any(one.verdict.provisional for one in decision.comparisons)
    return join_present(" ", _details(decision), DRIFTED if drifted else "", end_sentence(decision))


def _details(decision: Decision) -> str:
    """Return the confidence and the other metrics; "" if no analysis gave the result, or if the
    run is invalid.
    """
    decided = decision.is_decided_by_analysis and not decision.invalid
    return headline_details(decision.comparisons, settle=False) if decided else ""


def outcome(decision: Decision) -> str:
    """Return the headline and its confidence, without the sentence about the end of the run."""
    return join_present(" ", decision_headline(decision), _details(decision))


def end_sentence(decision: Decision) -> str:
    """Return a sentence that states what ended the run, and the last analysis or the number of
    analyses.
    """
    pairs = decision.plan["pairs"]
    if decision.stopped_by_analysis and decision.end == "futility":
        futile = f"it would stay inconclusive at {plural(pairs, 'pair')}"
        return f"Stopped for futility at {analysis_place(decision)}: {futile}."
    if decision.stopped_by_analysis:
        return f"Stopped at {analysis_place(decision)}."
    ended = (
        f"The run ended at {count(decision.pairs_ended)} of {count(pairs)}"
        f" pairs{_because(decision)}"
    )
    if decision.is_decided_by_analysis:
        return f"{ended}; its last analysis was {analysis_place(decision)}."
    return f"{ended}{'; ' if (made := made_text(decision)) else ''}{made}."


def remedy(decision: Decision) -> str:
    """Return how to get a verdict, if the run ended before its analyses decided; otherwise ""."""
    if decision.invalid or decision.end not in ("no_analysis", "stopped_by_user"):
        return ""
    pairs = count(decision.plan["analyses"][len(decision.analyses)])
    return f"For a verdict, let a run continue: the next analysis was at {pairs} pairs."


def made_text(decision: Decision) -> str:
    """Return the number of analyses, such as `0 of 5 interim analyses took place`; "" if it is
    unknown.
    """
    if decision.analyses_made is None:
        return ""
    planned = plural(len(decision.plan["analyses"]), "interim analysis", "interim analyses")
    return f"{count(decision.analyses_made)} of {planned} took place"


def _because(decision: Decision) -> str:
    """Return why the run ended, in parentheses; "" if it is unknown, or if the headline states
    it.
    """
    reason = decision.stop_reason
    if reason == BY_ANALYSIS:
        return " (an interim analysis stopped it)"
    return f" ({reason})" if reason and reason not in map(reason_text, decision.invalid) else ""


def analysis_place(decision: Decision) -> str:
    """Return the last analysis that was made, such as `interim analysis 3 of 10, 150 pairs over
    5 min`.
    """
    made = len(decision.analyses)
    planned = len(decision.plan["analyses"])
    kind = "final" if made == planned else "interim"
    pairs = (
        f"{plural(decision.pairs, 'pair')} over {format_duration(decision.analyses[-1].observed_s)}"
    )
    return f"{kind} analysis{NBSP}{made} of {planned}, {pairs}"


def estimate_text(spec: MetricSpec, d: float) -> str:
    """Return a difference as text, such as `+47 %` or `+1.2 points`. An unbounded difference has
    no number.
    """
    return signed(as_share(d, spec.scale), spec.scale)


def verdict_lines(decision: Decision) -> list[str]:
    """Return a sentence for each primary metric: its verdict, its estimate, and the corrected
    estimate.

    The estimate is corrected for the bias that an early stop causes. Return [] if the run is
    invalid for another reason than an analysis.
    """
    if decision.invalid and not decision.is_decided_by_analysis:
        return []
    lines = []
    for index, one in enumerate(decision.comparisons if decision.analyses else ()):
        spec = one.spec
        analysis = decision.analyses[(one.analysis or 1) - 1]
        reason = f" ({reason_text(one.reason)})" if one.reason else ""
        verdict = f"{MARKS[one.verdict.name].marker} {spec.title} {displayed(one)}{reason}"
        seen = analysis.primary_metrics[index]
        estimate = f": {estimate_text(spec, seen.d)}" if seen.is_estimated else ""
        corrected = ""
        if math.isfinite(one.corrected) and one.verdict.name != "inconclusive":
            corrected = f", corrected for the early stop {estimate_text(spec, one.corrected)}"
        over = f"{count(analysis.pairs)}{NBSP}pairs over {format_duration(analysis.observed_s)}"
        lines.append(
            f"{verdict} at {over}{estimate}{corrected}; the margin is {spec.margin_text()}."
        )
    return lines


def end_reason(decision: Decision) -> str:
    """Return a text that explains why the analyses ended, and how many pairs the verdict does
    not include.
    """
    if decision.invalid and not decision.is_decided_by_analysis:
        return f"{end_sentence(decision)} {FOR_INFORMATION}"
    ended = end_sentence(decision) if decision.is_decided_by_analysis else ""
    after = (
        f"{count(decision.pairs_after)} complete pairs after that analysis are not part of the"
        " verdict."
    )
    return join_present(" ", ended, REASONS[decision.end], after if decision.pairs_after else "")
