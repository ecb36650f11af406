"""The interim analyses of a comparison as a table: for each primary metric, the estimate and the bounds that decide.

At an analysis with critical value c, the bounds are d ∓ T⁻¹(Φ(c))·SE. T is the distribution function of Student's t
with the degrees of freedom of the estimate. A metric is worse if the lower bound is beyond the margin. It passes if the
upper bound is below the margin.
"""

from __future__ import annotations

import math

from reports.analysis.sequential.analysis import End, InterimAnalysis
from reports.analysis.sequential.decision import FOR_INFORMATION, Decision, end_sentence
from reports.formatting import NBSP, NONE, count, format_duration
from reports.metrics.metric_spec import MetricSpec
from reports.render.blocks import MARKS, Cell, Column, Table, make_row
from reports.statistics.group_sequential import bound_distance
from reports.statistics.interim import InterimStatistic
from reports.text.finding_sentences import displayed
from reports.text.reasons import reason_text
from reports.text.verdicts import as_share, difference_interval, margin, metric_text, signed

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


def interim_analyses(decision: Decision) -> Table | None:
    """Return a table with a row for each interim analysis; None if no analysis has an estimate."""
    analyses, rulings = decision.result.analyses, decision.result.decisions
    if not any(_is_estimated(statistic) for analysis in analyses for statistic in analysis.statistics):
        return None
    head = [
        Column("analysis"),
        Column("pairs"),
        Column("over"),
        *(Column(metric_text(gate)) for gate in decision.primary_metrics),
    ]
    rows = []
    for k, analysis in enumerate(analyses):
        cells = [
            Cell(
                _estimate(gate, analysis, analysis.statistics[index]),
                MARKS[ruling.verdict].marker + NBSP + displayed(decision.findings[index])
                if ruling.analysis == k
                else "",
            )
            for index, (gate, ruling) in enumerate(zip(decision.primary_metrics, rulings, strict=True))
        ]
        place = [f"{k + 1} of {len(decision.plan.analyses)}", count(analysis.pairs)]
        rows.append(make_row([*place, format_duration(decision.observed_s[k]), *cells]))
    return Table(tuple(head), tuple(rows), stacked=True)


def _is_estimated(statistic: InterimStatistic) -> bool:
    return math.isfinite(statistic.d) and not statistic.untested


def _estimate(gate: MetricSpec, analysis: InterimAnalysis, statistic: InterimStatistic) -> str:
    """Return an estimate with its bounds, such as `+47 % (+10 to +95 %)`; a dash if there is no estimate."""
    if not _is_estimated(statistic):
        return NONE
    known = math.isfinite(statistic.se) and math.isfinite(statistic.df) and math.isfinite(analysis.c)
    distance = bound_distance(analysis.c, statistic.df) * statistic.se if known else math.inf
    scale = gate.scale
    low, high = as_share(statistic.d - distance, scale), as_share(statistic.d + distance, scale)
    return f"{_value_text(gate, statistic.d)} ({difference_interval(low, high, scale)})"


def _value_text(gate: MetricSpec, value: float) -> str:
    """Return a difference as text, such as `+47 %` or `+1.2 points`. An unbounded difference has no number."""
    return signed(as_share(value, gate.scale), gate.scale)


def verdict_lines(decision: Decision) -> list[str]:
    """Return a sentence for each primary metric: its verdict, its estimate, and the corrected estimate.

    The estimate is corrected for the bias that an early stop causes. Return [] if the run is invalid for another reason
    than an analysis.
    """
    if decision.invalid and not decision.is_decided_by_analysis:
        return []
    lines = []
    for index, ruling in enumerate(decision.result.decisions):
        gate, analysis = decision.primary_metrics[index], decision.result.analyses[ruling.analysis]
        statistic = analysis.statistics[index]
        reason = f" ({reason_text(ruling.reason)})" if ruling.reason else ""
        verdict = f"{MARKS[ruling.verdict].marker} {metric_text(gate)} {displayed(decision.findings[index])}{reason}"
        estimate = f": {_value_text(gate, statistic.d)}" if _is_estimated(statistic) else ""
        is_corrected = math.isfinite(ruling.corrected) and ruling.verdict != "inconclusive"
        corrected = f", corrected for the early stop {_value_text(gate, ruling.corrected)}" if is_corrected else ""
        allowed, over = f"; the margin is {margin(gate)}", format_duration(decision.observed_s[ruling.analysis])
        lines.append(f"{verdict} at {count(analysis.pairs)}{NBSP}pairs over {over}{estimate}{corrected}{allowed}.")
    return lines


def end_reason(decision: Decision) -> str:
    """Return a text that explains why the analyses ended, and how many pairs the verdict does not include."""
    if decision.invalid and not decision.is_decided_by_analysis:
        return f"{end_sentence(decision)} {FOR_INFORMATION}"
    ended = end_sentence(decision) if decision.is_decided_by_analysis else ""
    beyond = (
        f"{count(decision.after)} complete pairs after that analysis are not part of the verdict."
        if decision.after
        else ""
    )
    return " ".join(filter(None, (ended, REASONS[decision.result.reason], beyond)))
